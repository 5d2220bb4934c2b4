//! Reports over an embedded log: newest records, order, bounds.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::config::Config;
use crate::database::Database;
use crate::log;
use std::sync::Arc;

struct Rig {
    log: Arc<dyn Log>,
    _folder: tempfile::TempDir,
}

fn rig(partitions: u32) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let mut config = Config::default();
    config.log.partitions = partitions;
    Rig { log: log::open(&config, &database).unwrap(), _folder: folder }
}

impl Rig {
    fn append(&self, user: u64, payload: &str) {
        let user = user.to_string();
        self.log.append(&[(user.as_bytes(), payload.as_bytes())], wall_ms()).unwrap();
    }

    fn report(&self, records: u64, bytes: usize) -> FieldReport {
        report(&*self.log, &EventsConfig::default(), records, (bytes, READ)).unwrap()
    }
}

#[test]
fn an_empty_log_has_no_fields() {
    assert_eq!(rig(2).report(1_000, BYTES), FieldReport::default());
}

#[test]
fn the_newest_records_are_reported_those_that_most_have_first() {
    let rig = rig(1);
    (0..50).for_each(|n| rig.append(1, &format!("{{\"old\":{n}}}")));
    (0..10).for_each(|n| rig.append(1, &format!("{{\"user_id\":1,\"n\":{n}}}")));
    rig.append(1, "{\"user_id\":1,\"brand\":\"acme\"}");
    rig.append(1, "no event");
    let found = rig.report(12, BYTES);
    assert_eq!((found.records, found.others, found.more), (11, 1, false));
    let fields: Vec<(&str, u64)> =
        found.fields.iter().map(|field| (field.pointer.as_str(), field.records)).collect();
    assert_eq!(fields, [("/user_id", 11), ("/n", 10), ("/brand", 1)]);
    assert_eq!((found.fields[0].mapped, found.fields[0].distinct), (Some("user_id"), Some(1)));
}

#[test]
fn without_time_no_reader_is_opened_and_that_is_said() {
    let rig = rig(3);
    (0..30).for_each(|user| rig.append(user, "{\"a\":1}"));
    let within = (BYTES, Duration::ZERO);
    let found = report(&*rig.log, &EventsConfig::default(), 30, within).unwrap();
    assert_eq!(found, FieldReport { more: true, ..FieldReport::default() });
}

#[test]
fn each_partition_has_its_part_and_what_is_left_out_is_said() {
    let rig = rig(4);
    let padding = "x".repeat(20_000);
    (0..800).for_each(|user| rig.append(user, &format!("{{\"x\":\"{padding}\"}}")));
    let bounds = rig.log.bounds().unwrap();
    assert!(bounds.iter().all(|held| held.end > 100), "{bounds:?}");
    let found = rig.report(800, 1);
    assert!(found.more && found.records >= 4 && found.records < 800, "{found:?}");
    assert!(!rig.report(800, BYTES).more);
    let many: String =
        (0..=FIELDS).map(|n| format!("\"k{n}\":1,")).chain(["\"z\":1".to_owned()]).collect();
    rig.append(1, &format!("{{{many}}}"));
    let found = rig.report(801, BYTES);
    assert!(found.more && found.fields.len() == FIELDS, "{found:?}");
}
