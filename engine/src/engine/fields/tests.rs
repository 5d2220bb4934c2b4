//! Reports over an embedded log: newest records, order, bounds.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::engine::testing::LogRig;

fn append(rig: &LogRig, user: u64, payload: &str) {
    rig.append(user, payload, wall_ms());
}

fn report_of(rig: &LogRig, records: u64, bytes: usize) -> FieldReport {
    report(&*rig.log, &EventsConfig::default(), records, (bytes, READ)).unwrap()
}

#[test]
fn an_empty_log_has_no_fields() {
    assert_eq!(report_of(&LogRig::new(2), 1_000, BYTES), FieldReport::default());
}

#[test]
fn the_newest_records_are_reported_those_that_most_have_first() {
    let rig = LogRig::new(1);
    (0..50).for_each(|n| append(&rig, 1, &format!("{{\"old\":{n}}}")));
    (0..10).for_each(|n| append(&rig, 1, &format!("{{\"user_id\":1,\"n\":{n}}}")));
    append(&rig, 1, "{\"user_id\":1,\"brand\":\"acme\"}");
    append(&rig, 1, "no event");
    let found = report_of(&rig, 12, BYTES);
    assert_eq!((found.records, found.others), (11, 1));
    assert!(!found.records_left_out && !found.fields_left_out && !found.deeper_left_out);
    let fields: Vec<(&str, u64)> =
        found.fields.iter().map(|field| (field.pointer.as_str(), field.records)).collect();
    assert_eq!(fields, [("/user_id", 11), ("/n", 10), ("/brand", 1)]);
    assert_eq!((found.fields[0].mapped, found.fields[0].distinct), (Some("user_id"), Some(1)));
}

#[test]
fn without_time_no_reader_is_opened_and_that_is_said() {
    let rig = LogRig::new(3);
    (0..30).for_each(|user| append(&rig, user, "{\"a\":1}"));
    let within = (BYTES, Duration::ZERO);
    let found = report(&*rig.log, &EventsConfig::default(), 30, within).unwrap();
    assert_eq!(found, FieldReport { records_left_out: true, ..FieldReport::default() });
}

#[test]
fn each_partition_has_its_part_and_what_is_left_out_is_said() {
    let rig = LogRig::new(4);
    let padding = "x".repeat(20_000);
    (0..800).for_each(|user| append(&rig, user, &format!("{{\"x\":\"{padding}\"}}")));
    let bounds = rig.log.bounds().unwrap();
    assert!(bounds.iter().all(|held| held.end > 100), "{bounds:?}");
    let found = report_of(&rig, 800, 1);
    assert!(found.records_left_out && !found.fields_left_out, "{found:?}");
    assert!((4..800).contains(&found.records), "{found:?}");
    assert!(!report_of(&rig, 800, BYTES).records_left_out);
    let many: String =
        (0..=FIELDS).map(|n| format!("\"k{n}\":1,")).chain(["\"z\":1".to_owned()]).collect();
    append(&rig, 1, &format!("{{{many}}}"));
    let found = report_of(&rig, 801, BYTES);
    assert!(found.fields_left_out && !found.records_left_out, "{found:?}");
    assert_eq!(found.fields.len(), FIELDS);
}

#[test]
fn partitions_without_records_take_no_part_of_others() {
    let padding = "x".repeat(20_000);
    // The records of one user are in one partition, wherever that stands among the others.
    for user in 0..4 {
        let rig = LogRig::new(8);
        (0..150).for_each(|n| append(&rig, user, &format!("{{\"n\":{n},\"x\":\"{padding}\"}}")));
        let found = report_of(&rig, 150, 150 * 20_100);
        assert_eq!((found.records, found.others), (150, 0), "user {user}");
    }
}
