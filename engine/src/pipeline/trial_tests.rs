//! Trials count what a lane counts, and end where they must.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::config::EventsConfig;
use crate::pipeline::testing::payload_with;

fn trial(memory: u64) -> Trial {
    let events = EventsConfig::default();
    let parts = TrialParts {
        plugin: Arc::new(crate::host::plain_metric()),
        decoder: Decoder::new(&events).unwrap(),
        dedupe_window: events.dedupe_window,
        types: TypeLimit::new(events.max_types, events.kept_types()),
        memory,
    };
    Trial::new(parts).unwrap()
}

/// Records of a partition from this offset on.
fn count(
    trial: &mut Trial,
    partition: u32,
    from: u64,
    payloads: &[String],
) -> Result<(), TrialEnd> {
    let records: Vec<Record<'_>> = (from..)
        .zip(payloads)
        .map(|(offset, payload)| Record::new(offset, 1_800_000_000_000, Some(payload.as_bytes())))
        .collect();
    trial.count(partition, &records)
}

/// Users that were counted.
fn users(trial: &Trial) -> u64 {
    trial.counted().state.size(trial.id()).0
}

#[test]
fn events_count_and_neither_duplicates_nor_what_is_no_event() {
    let mut trial = trial(1 << 30);
    let id = ",\"event_id\":\"e\"";
    let payloads = [payload_with(1, id), payload_with(2, id), "{".into(), payload_with(3, "")];
    count(&mut trial, 0, 70, &payloads).unwrap();
    assert_eq!((users(&trial), trial.failed()), (2, 0));
    // Its window is that of the partition, and outlives a call.
    count(&mut trial, 0, 74, &[payload_with(4, id)]).unwrap();
    assert_eq!(users(&trial), 2);
    count(&mut trial, 1, 0, &[payload_with(4, id)]).unwrap();
    assert_eq!(users(&trial), 3);
}

#[test]
fn more_records_than_a_batch_count_and_memory_ends_it() {
    let payloads: Vec<String> = (0..5_000).map(|user| payload_with(user, "")).collect();
    let mut whole = trial(1 << 30);
    count(&mut whole, 0, 0, &payloads).unwrap();
    assert_eq!(users(&whole), 5_000);
    assert!(whole.bytes() > 5_000 * 8 && whole.bytes() < 1 << 30, "{}", whole.bytes());
    let mut small = trial(1_000);
    let ended = count(&mut small, 0, 0, &payloads);
    assert!(matches!(ended, Err(TrialEnd::Memory { most: 1_000, .. })), "{ended:?}");
    assert!(users(&small) < 5_000, "it goes on");
}
