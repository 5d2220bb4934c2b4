//! What is counted again is what the engine's cells hold, and each way of being wrong is seen. Only
//! here are the two in one place.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tally_plugin::description::Merge;
use tally_sketch::{Given, IdBytes, Sketch};

fn scalar(random: &mut SmallRng) -> Scalar {
    let bits = random.random_range(0..94);
    let product = i128::from(random.random::<u64>()) * i128::from(random.random::<u32>());
    let whole = product & ((1 << bits) - 1);
    let whole = if random.random_bool(0.3) { -whole } else { whole };
    match random.random_range(0..5) {
        0 => Scalar::Id(whole.unsigned_abs() as u64 & ((1 << 53) - 1)),
        1 => Scalar::Text(format!("text {}", whole % 10_000)),
        2 => Scalar::Bool(whole % 2 == 0),
        3 => Scalar::Float(whole as f64 * 2_f64.powi(random.random_range(-80..60))),
        _ => Scalar::Whole(whole),
    }
}

/// What the engine gives to a cell for this value.
fn give(sketch: &mut Option<Sketch>, merge: Merge, value: &Scalar, time: i64) {
    let (mut number, mut text) = ([0; 17], Vec::new());
    let given: Option<Given<'_>> = match value {
        Scalar::Id(id) => Given::of_id(merge, IdBytes::Integer(*id), time, &mut text),
        Scalar::Text(own) => Given::of_id(merge, IdBytes::Text(own.as_bytes()), time, &mut text),
        Scalar::Whole(value) => Some(Given::of_number(merge, *value, time, &mut number)),
        Scalar::Bool(value) => Some(Given::of_number(merge, (*value).into(), time, &mut number)),
        Scalar::Float(value) => Given::of_float(merge, *value, time, &mut number),
    };
    let Some(given) = given else { return };
    match sketch {
        Some(sketch) => sketch.add(&given),
        None => *sketch = Sketch::of(&given),
    }
}

fn stored(sketch: &Option<Sketch>) -> Vec<u8> {
    let mut bytes = Vec::new();
    sketch.as_ref().unwrap().write(&mut bytes);
    bytes
}

#[test]
fn sets_are_those_of_the_engine_small_and_large() {
    let mut random = SmallRng::seed_from_u64(1);
    for count in [1, 2, 50, 2_000, 2_047, 2_048, 2_049, 2_100, 40_000] {
        let (mut own, mut theirs) = (Set::Few(BTreeMap::new()), None);
        for n in 0..count {
            // Each another one, and some again.
            let value = if n % 9 == 8 {
                scalar(&mut random)
            } else {
                Scalar::Text(format!("{n} of {count}"))
            };
            own.add(&value);
            give(&mut theirs, Merge::Distinct, &value, 0);
        }
        let found = Set::of(&stored(&theirs)).unwrap();
        assert!(own == found, "{count}: {own} is not {found}");
        assert_eq!(matches!(own, Set::Many(_)), count > 2_049 || matches!(found, Set::Many(_)));
        // One more is seen, unless it is in a register that says it already.
        let more = Scalar::Text("one more".into());
        own.add(&more);
        if count < 2_049 {
            assert!(own != found && own.to_string() != found.to_string());
        }
    }
    assert_eq!(Set::of(&[]), None);
    assert_eq!(Set::of(&[1, 2, 3]), None);
    assert_eq!(Set::of(&[2]), None);
}

#[test]
fn the_ends_of_hashes_have_their_places() {
    for hash in [
        0,
        1,
        u64::MAX,
        1 << 37,
        (1 << 38) - 1,
        1 << 38,
        5 << 38,
        1 << 50,
        4_095 << 38,
        u64::MAX << 38,
    ] {
        let mut few = Set::Few(BTreeMap::new());
        few.put(hash);
        (0..PLACES as u64).for_each(|n| few.put((n + 7) << 50 | 1 << 49));
        let mut theirs = tally_sketch::Distinct::default();
        theirs.add(hash);
        (0..PLACES as u64).for_each(|n| theirs.add((n + 7) << 50 | 1 << 49));
        let mut bytes = Vec::new();
        theirs.write(&mut bytes);
        assert!(few == Set::of(&bytes).unwrap(), "{hash:x}");
    }
}

#[test]
fn spreads_are_those_of_the_engine() {
    let mut random = SmallRng::seed_from_u64(2);
    let (mut own, mut theirs) = (Spread::default(), None);
    let ends = [
        0,
        1,
        -1,
        63,
        64,
        65,
        127,
        128,
        i128::from(i64::MAX),
        i128::from(i64::MIN),
        10_i128.pow(28) - 1,
    ];
    let ends = ends.map(Scalar::Whole).into_iter();
    let floats = [
        0.0,
        -0.0,
        1e-300,
        2_f64.powi(-32),
        2_f64.powi(-33),
        2_f64.powi(95) * 1.99,
        2_f64.powi(96),
        f64::MAX,
    ];
    let floats = floats.into_iter().flat_map(|value| [Scalar::Float(value), Scalar::Float(-value)]);
    for value in ends.chain(floats).chain((0..20_000).map(|_| scalar(&mut random))) {
        own.add(&value);
        if !matches!(value, Scalar::Bool(_)) {
            give(&mut theirs, Merge::Quantiles, &value, 0);
        }
        if own.0.len() < 40 {
            assert_eq!(own, Spread::of(&stored(&theirs)).unwrap(), "{value:?}");
        }
    }
    let found = Spread::of(&stored(&theirs)).unwrap();
    assert_eq!(own, found);
    own.add(&Scalar::Whole(5));
    assert!(own != found && own.to_string() != found.to_string());
    assert_eq!(Spread::of(&[1]), None, "a bucket without a count");
}

#[test]
fn latest_values_are_those_of_the_engine() {
    let mut random = SmallRng::seed_from_u64(4);
    for _ in 0..300 {
        let (mut own, mut theirs): (Option<Last>, _) = (None, None);
        for _ in 0..random.random_range(1..20) {
            let (value, time) = (scalar(&mut random), random.random_range(-3..3) * 1_000_000_007);
            let last = Last::new(time, &value);
            own = Some(own.map_or(last.clone(), |own| own.max(last)));
            give(&mut theirs, Merge::Latest, &value, time);
        }
        assert_eq!(own, Last::of(&stored(&theirs)));
    }
    for (value, shown) in [
        (Scalar::Id(7), "7 at -5"),
        (Scalar::Text("7".into()), "\"7\" at -5"),
        (Scalar::Whole(-7), "-7 at -5"),
        (Scalar::Float(-2.5), "-2.5 at -5"),
        (Scalar::Float(1e300), "1e300 at -5"),
        (Scalar::Bool(true), "1 at -5"),
    ] {
        assert_eq!(Last::new(-5, &value).to_string(), shown);
    }
    assert_eq!(Last::of(&[]), None);
}
