//! Records that are copies of earlier ones: each counts once, and at the time of the earlier one.

use super::*;
use tally_event::RecordOrigin;

/// A day before the copies.
const THEN: i64 = NOW - 86_400_000;

const ORIGIN: RecordOrigin<'static> = RecordOrigin { place: "events/3/41", timestamp_ms: THEN };

fn copy<'a>(offset: u64, text: &'a str, origin: RecordOrigin<'static>) -> Record<'a> {
    Record { origin: Some(origin), ..Record::new(offset, NOW, Some(text.as_bytes())) }
}

/// The offsets and times that count, the duplicates and the conflicts.
fn counted(window: u64, records: &[Record<'_>]) -> (Vec<u64>, Vec<i64>, u64, u64) {
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    let window = &mut DedupeWindow::new(window);
    decoder().decode(0, records, window, 0, &mut out, &mut refused);
    assert!(refused.is_empty(), "{refused:?}");
    (out.offsets, out.times, out.duplicates, out.conflicts)
}

#[test]
fn copies_of_one_record_count_once_within_the_window() {
    let text = event("\"x\":1");
    let other = RecordOrigin { place: "events/3/42", ..ORIGIN };
    let records = [
        copy(0, &text, ORIGIN),
        copy(10, &text, ORIGIN),
        copy(20, &text, ORIGIN),
        copy(21, &text, other),
        copy(31, &text, ORIGIN),
    ];
    let (offsets, _, duplicates, conflicts) = counted(10, &records);
    assert_eq!((offsets, duplicates, conflicts), (vec![0, 21, 31], 2, 0));
}

#[test]
fn a_copy_with_an_event_id_has_two_identities_and_is_one_duplicate() {
    let with_id = |id: &str| event(&format!("\"event_id\":\"{id}\""));
    let (a, b, c) = (with_id("a"), with_id("b"), with_id("c"));
    let records = [
        copy(0, &a, ORIGIN),
        // Known by both, by the id, by the origin: each is one duplicate.
        copy(1, &a, ORIGIN),
        Record::new(2, NOW, Some(a.as_bytes())),
        copy(3, &b, ORIGIN),
        // Its id stood on a duplicate.
        Record::new(4, NOW, Some(b.as_bytes())),
        Record::new(5, NOW, Some(c.as_bytes())),
    ];
    let (offsets, _, duplicates, conflicts) = counted(100, &records);
    assert_eq!((offsets, duplicates, conflicts), (vec![0, 5], 4, 0));
    let differs = event("\"event_id\":\"a\",\"product_id\":11");
    let (_, _, duplicates, conflicts) =
        counted(100, &[copy(0, &a, ORIGIN), copy(1, &differs, ORIGIN)]);
    assert_eq!((duplicates, conflicts), (1, 1), "one conflict, though both say so");
}

#[test]
fn an_origin_is_no_event_id() {
    let named = event("\"event_id\":\"events/3/41\"");
    let plain = event("\"x\":1");
    let records = [Record::new(0, NOW, Some(named.as_bytes())), copy(1, &plain, ORIGIN)];
    assert_eq!(counted(100, &records).0, [0, 1]);
}

#[test]
fn a_copy_has_the_time_that_the_record_had() {
    let text = event("\"x\":1");
    let records = [Record::new(0, NOW, Some(text.as_bytes())), copy(1, &text, ORIGIN)];
    assert_eq!(counted(100, &records).1, [NOW, THEN]);
    // What is ahead of the earlier record is refused, however late the copy comes.
    let ahead = event(&format!("\"timestamp\":{}", THEN + AHEAD + 1));
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    let window = &mut DedupeWindow::new(100);
    decoder().decode(0, &[copy(0, &ahead, ORIGIN)], window, 0, &mut out, &mut refused);
    assert_eq!(refused, [Refused { index: 0, offset: 0, reason: Reason::TimestampInFuture }]);
    assert_eq!(out.last_timestamp_ms, NOW, "the log's own time goes on");
}

#[test]
fn copies_before_the_start_fill_the_window() {
    let text = event("\"x\":1");
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    let records = [copy(4, &text, ORIGIN), copy(7, &text, ORIGIN)];
    let window = &mut DedupeWindow::new(10);
    decoder().decode(0, &records, window, 6, &mut out, &mut refused);
    assert_eq!((out.len(), out.duplicates, out.records), (0, 1, 1));
}
