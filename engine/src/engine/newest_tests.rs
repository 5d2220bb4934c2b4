//! The newest records of an embedded log, and how what lies between two looks is divided.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::engine::testing::LogRig;
use proptest::prelude::*;
use std::time::Duration;

const NOW: i64 = 1_800_000_000_000;

/// Appends so many records of a user at once.
fn append(rig: &LogRig, user: u64, records: usize, now: i64) {
    rig.append_all(user, &vec!["{}"; records], now);
}

fn newest_of(rig: &LogRig, most: u64, now: i64) -> NewestRecords {
    newest(&*rig.log, most, now, Instant::now() + Duration::from_secs(60)).unwrap()
}

/// The times of the records before the ranges, and of those in them.
fn times(rig: &LogRig, found: &NewestRecords) -> (Vec<i64>, Vec<i64>) {
    let read = |partition: u32, from: u64, to: u64| {
        let mut times = Vec::new();
        if from < to {
            let mut reader = rig.log.range(partition, from, to).unwrap();
            loop {
                let records = reader.batch().unwrap();
                if records.is_empty() {
                    break;
                }
                times.extend(records.iter().map(|record| record.timestamp_ms));
            }
        }
        times
    };
    let ranges = || found.ranges.iter();
    let before = ranges().flat_map(|range| read(range.partition, 0, range.from)).collect();
    (before, ranges().flat_map(|range| read(range.partition, range.from, range.to)).collect())
}

fn offsets(found: &NewestRecords) -> u64 {
    found.ranges.iter().map(|range| range.to - range.from).sum()
}

#[test]
fn what_is_less_than_wanted_is_all() {
    let rig = LogRig::new(2);
    let none = newest_of(&rig, 10, NOW);
    assert!(none.all && offsets(&none) == 0 && none.ranges.len() == 2, "{none:?}");
    append(&rig, 1, 10, NOW);
    let all = newest_of(&rig, 10, NOW);
    assert!(all.all && offsets(&all) == 10, "{all:?}");
    let some = newest_of(&rig, 9, NOW);
    assert!(!some.all && offsets(&some) == 9, "{some:?}");
}

#[test]
fn records_of_one_time_are_divided() {
    let rig = LogRig::new(4);
    for user in 0..16 {
        append(&rig, user, 100, NOW);
    }
    // Also where the clock was set back, and where they are old.
    for now in [NOW - 1_000_000, NOW, NOW + 86_400_000] {
        for most in [1, 3, 500, 1_599] {
            assert_eq!(offsets(&newest_of(&rig, most, now)), most, "{now}");
        }
    }
}

#[test]
fn without_time_there_are_as_many_records_all_the_same() {
    let rig = LogRig::new(3);
    for user in 0..30 {
        append(&rig, user, 10, NOW);
    }
    let found = newest(&*rig.log, 100, NOW, Instant::now()).unwrap();
    assert_eq!(offsets(&found), 100);
}

#[test]
fn of_few_records_no_partition_is_asked_for_a_time() {
    let rig = LogRig::new(4);
    for user in 0..16 {
        append(&rig, user, 100, NOW - 1_000_000_000);
    }
    append(&rig, 5, 50, NOW);
    let parts = |found: &NewestRecords| {
        assert!(!found.all, "{found:?}");
        found.ranges.iter().filter(|range| range.from < range.to).count()
    };
    // A look finds that the newest are in one partition.
    let looked = newest_of(&rig, 8, NOW);
    assert_eq!((offsets(&looked), parts(&looked)), (8, 1), "{looked:?}");
    let divided = newest_of(&rig, 7, NOW);
    assert!(offsets(&divided) == 7 && parts(&divided) > 1, "{divided:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn they_are_about_those_of_one_time(
        users in prop::collection::vec(0..9_u64, 200..900),
        most in 100..200_u64,
        later in 0..100_000_000_i64,
    ) {
        // One record a second.
        let rig = LogRig::new(3);
        let seconds = users.len() as i64;
        for (second, user) in (1..).zip(&users) {
            append(&rig, *user, 1, NOW + second * 1_000);
        }
        let found = newest_of(&rig, most, NOW + seconds * 1_000 + later);
        prop_assert_eq!(offsets(&found), most);
        let (before, of) = times(&rig, &found);
        // With one look a factor further, halved so often; records may come unevenly between.
        let (first, last) = (of.iter().min().unwrap(), before.iter().max());
        let slack = (later + seconds * 1_000) / 8 + 60_000;
        prop_assert!(last.is_none_or(|last| last - first <= slack), "{:?} {}", last, first);
    }
}
