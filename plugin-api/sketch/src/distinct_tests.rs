//! The laws on bytes, and the error against exact counts.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::super::hash_id;
use super::*;
use crate::random::Random;

fn of(values: impl IntoIterator<Item = u64>) -> Distinct {
    let mut distinct = Distinct::default();
    values.into_iter().for_each(|value| distinct.add(hash_id(value)));
    distinct
}

fn bytes(distinct: &Distinct) -> Vec<u8> {
    let mut out = Vec::new();
    distinct.write(&mut out);
    out
}

fn merged(parts: &[&Distinct]) -> Distinct {
    let mut all = Distinct::default();
    parts.iter().for_each(|part| all.merge(part));
    all
}

/// Sizes on both sides of every change of form.
const SIZES: [u64; 9] =
    [0, 1, 7, 9, 300, SPARSE as u64 - 1, SPARSE as u64, SPARSE as u64 + 1, 6_000];

#[test]
fn any_split_and_order_gives_the_same_bytes() {
    let mut random = Random(3);
    for size in SIZES {
        let values: Vec<u64> = (0..size).map(|n| n * 31).collect();
        let whole = of(values.iter().copied());
        assert_eq!(bytes(&of(values.iter().rev().copied())), bytes(&whole), "{size}: backwards");
        let mut parts = vec![Distinct::default(); 1 + random.below(5) as usize];
        for value in &values {
            // Some values in several parts.
            for _ in 0..=random.below(2) {
                let part = random.below(parts.len() as u64) as usize;
                parts[part].add(hash_id(*value));
            }
        }
        let forward: Vec<&Distinct> = parts.iter().collect();
        let backward: Vec<&Distinct> = parts.iter().rev().collect();
        assert_eq!(bytes(&merged(&forward)), bytes(&whole), "{size}: merged");
        assert_eq!(bytes(&merged(&backward)), bytes(&whole), "{size}: merged backwards");
    }
}

#[test]
fn merging_is_associative_commutative_and_idempotent() {
    for a in SIZES {
        for b in SIZES {
            let (x, y, z) = (of(0..a), of(a / 2..a / 2 + b), of(b..b + 50));
            assert_eq!(bytes(&merged(&[&x, &y])), bytes(&merged(&[&y, &x])), "{a} {b}");
            let (left, right) =
                (merged(&[&merged(&[&x, &y]), &z]), merged(&[&x, &merged(&[&y, &z])]));
            assert_eq!(bytes(&left), bytes(&right), "{a} {b}");
            assert_eq!(bytes(&merged(&[&x, &x])), bytes(&x), "{a}");
        }
    }
}

/// What is dense was made of the same hashes as if it had been dense from the start.
#[test]
fn the_sparse_form_becomes_the_dense_one() {
    let values = 0..10_000u64;
    let mut registers = vec![0u8; REGISTERS];
    for value in values.clone() {
        let hash = hash_id(value);
        let register = &mut registers[(hash >> (64 - DENSE_BITS)) as usize];
        *register = (*register)
            .max(((hash << DENSE_BITS).leading_zeros() + 1).min(u32::from(DENSE_RANK)) as u8);
    }
    assert_eq!(of(values).0, Form::Dense(registers.into_boxed_slice()));
}

#[test]
fn small_sets_are_exact_and_small() {
    for size in [0, 1, 2, 10, 100, 500] {
        let distinct = of(0..size);
        assert_eq!(distinct.estimate(), size);
        assert!(
            bytes(&distinct).len() as u64 <= 1 + 5 * size,
            "{size}: {} bytes",
            bytes(&distinct).len()
        );
    }
}

/// 200 sets of each size: at least 95 % within 2 %, none beyond 5 %.
#[test]
fn large_sets_are_within_two_per_cent() {
    for size in [2_000u64, 3_000, 10_000, 40_000, 100_000] {
        let rounds = if size > 20_000 { 60 } else { 200 };
        let mut near = 0;
        let mut sum = 0.0;
        for round in 0..rounds {
            let first = (round + 1) << 32;
            let error = of(first..first + size).estimate() as f64 / size as f64 - 1.0;
            assert!(error.abs() < 0.05, "{size}: {error}");
            near += u64::from(error.abs() <= 0.02);
            sum += error;
        }
        assert!(near * 100 >= rounds * 95, "{size}: {near} of {rounds} within 2 %");
        assert!(
            (sum / rounds as f64).abs() < 0.004,
            "{size}: it is off by {} on average",
            sum / rounds as f64
        );
    }
}

#[test]
fn it_comes_back_and_damage_is_noticed() {
    let mut random = Random(11);
    for size in SIZES {
        let distinct = of(0..size);
        let good = bytes(&distinct);
        assert_eq!(Distinct::read(&good).unwrap(), distinct);
        for _ in 0..200 {
            let mut bad = good.clone();
            bad.truncate(random.below(good.len() as u64 + 1) as usize);
            if let Some(byte) =
                bad.len().checked_sub(1).map(|last| random.below(last as u64 + 1) as usize)
            {
                bad[byte] ^= 1 << random.below(8);
            }
            // Whatever is read is in its one form, so that it cannot break the laws later.
            if let Some(read) = Distinct::read(&bad) {
                assert_eq!(bytes(&read), bad);
            }
        }
    }
    assert_eq!(Distinct::read(&[]), None);
    assert_eq!(Distinct::read(&[2]), None);
    assert_eq!(Distinct::read(&[0, 0]), None, "rank 0");
    assert_eq!(Distinct::read(&[0, 0x81, 0]), None, "a number that is longer than it need be");
    assert_eq!(Distinct::read(&[1; 100]), None);
}
