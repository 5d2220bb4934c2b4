//! Between now and its edge a question means what it means now, and at the edge it means something
//! else; one without an edge means the same for ever.

use super::super::edges::next_edge;
use super::*;
use proptest::prelude::*;

/// Params that a schema accepts: times around now, each part given or not.
fn params() -> impl Strategy<Value = Map<String, Value>> {
    let time = || {
        prop_oneof![
            -3 * DAY..3 * DAY,
            (-72..72_i64).prop_map(|hours| hours * HOUR),
            -400 * DAY..400 * DAY,
        ]
        .prop_map(|offset| NOW + offset)
    };
    let windows = vec!["1m", "90m", "2h", "36h", "3d", "5w", "52w", "999999999w", "all"];
    let buckets = vec!["1m", "5m", "15m", "1h", "6h", "1d"];
    (
        prop::option::of(time()),
        prop::option::of(time()),
        prop::option::of(prop::sample::select(windows)),
        prop::option::of(prop::sample::select(buckets)),
    )
        .prop_map(|(from, to, window, bucket)| {
            let mut params = Map::new();
            params.extend(from.map(|from| ("from".to_owned(), json!(from))));
            params.extend(to.map(|to| ("to".to_owned(), json!(to))));
            params.extend(window.map(|window| ("window".to_owned(), json!(window))));
            params.extend(bucket.map(|bucket| ("bucket".to_owned(), json!(bucket))));
            // Not together: most would be refused.
            if params.contains_key("window") && params.contains_key("from") {
                params.remove("from");
            }
            params
        })
}

/// What is held: everything, or each resolution from some time on; and what was counted.
fn held_ranges() -> impl Strategy<Value = HeldRange> {
    let floor = || prop::option::of(-90..3_i64);
    let time = || prop::option::of(-120 * DAY..2 * DAY);
    (floor(), floor(), floor(), time(), time()).prop_map(|(minute, hour, day, first, last)| {
        let floor = |days: Option<i64>| {
            days.map_or(i64::MIN, |days| (NOW + days * DAY).div_euclid(DAY) * DAY)
        };
        let (first, last) = (first.map(|time| NOW + time), last.map(|time| NOW + time));
        let (hour_floor, day_floor) = (floor(hour), floor(day));
        HeldRange { minute_floor: floor(minute), hour_floor, day_floor, first, last }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_question_means_the_same_until_its_edge(
        params in params(),
        held in held_ranges(),
        offset in prop_oneof![Just(0), Just(-200_000), -2 * HOUR..2 * HOUR],
        parts in prop::collection::vec(0..1_000_i64, 8),
    ) {
        let as_of = NOW + offset;
        let Ok(now) = parse(&params, as_of, &held) else {
            prop_assert_eq!(next_edge(&params, as_of, &held), None);
            return Ok(());
        };
        let edge = next_edge(&params, as_of, &held);
        let end = edge.unwrap_or(as_of + 500 * DAY);
        prop_assert!(end > as_of);
        let between = parts.iter().map(|part| as_of + (end - as_of) / 1_000 * part);
        for time in between.chain([as_of + 1, as_of + MINUTE, end - 1]) {
            if (as_of..end).contains(&time) {
                prop_assert_eq!(&parse(&params, time, &held), &Ok(now.clone()), "at {}", time);
            }
        }
        if let Some(edge) = edge {
            prop_assert_ne!(parse(&params, edge, &held), Ok(now), "at its edge {}", edge);
        }
    }
}

#[test]
fn edges_lie_where_panes_begin() {
    let edge = |params: Value, held: &HeldRange| {
        next_edge(params.as_object().expect("an object"), NOW, held).map(|edge| edge - NOW)
    };
    // 02:03:20.
    let (minute, hour) = (40_000, 56 * MINUTE + 40_000);
    let hours = HeldRange { minute_floor: i64::MAX, ..held() };
    for (params, of_minutes, of_hours) in [
        (json!({}), None, None),
        (json!({"window": "all"}), None, None),
        (json!({"from": 0, "to": NOW}), None, None),
        (json!({"window": "1h", "to": NOW}), None, None),
        // Its start is in the next minute before its end is.
        (json!({"window": "1h"}), Some(minute), Some(hour)),
        (json!({"from": NOW - HOUR}), Some(minute + 1), Some(hour + 1)),
        (json!({"bucket": "1d"}), Some(minute + 1), Some(hour + 1)),
        (json!({"from": NOW - DAY, "to": NOW, "bucket": "1h"}), None, None),
    ] {
        assert_eq!(edge(params.clone(), &held()), of_minutes, "{params}");
        assert_eq!(edge(params.clone(), &hours), of_hours, "{params}");
    }
}
