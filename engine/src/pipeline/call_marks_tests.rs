//! Marks survive the process that wrote them; anything else in the file is read as no mark.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use proptest::prelude::*;

fn called(metric: &str, from: u64) -> MarkedCall {
    let revision = RevisionId { metric: metric.into(), fingerprint: 0xFEDC_BA98_7654_3210 };
    MarkedCall {
        revision,
        code: "0123456789abcdef0123456789abcdef".into(),
        partition: 3,
        from,
        to: from + 2_048,
    }
}

fn left(path: &Path) -> Vec<UnreturnedCall> {
    CallMarks::open(path).unwrap().1
}

#[test]
fn a_call_that_had_not_returned_is_found_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    let (marks, before) = CallMarks::open(&path).unwrap();
    assert_eq!(before, []);
    let (one, other, third) =
        (marks.take_slot().unwrap(), marks.take_slot().unwrap(), marks.take_slot().unwrap());
    one.begin(&called("orders", 7));
    one.end();
    other.begin(&called("visits", u64::MAX - 3_000));
    third.begin(&called("clicks", 1));
    third.set_hung();
    // As at the end of a process: nothing is dropped.
    std::mem::forget((one, other, third));
    let found = left(&path);
    assert_eq!(
        found[0],
        UnreturnedCall { called: called("visits", u64::MAX - 3_000), cause: None }
    );
    assert_eq!(
        found[1],
        UnreturnedCall { called: called("clicks", 1), cause: Some(EndCause::Hung) }
    );
    assert_eq!((found.len(), left(&path)), (2, Vec::new()), "a start empties the file");
}

#[test]
fn the_call_of_the_thread_that_ended_the_process_has_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    for (thread_of, signal, cause) in [
        (thread(), 11, Some(EndCause::Signal(11))),
        (thread(), 0, Some(EndCause::Exit)),
        (thread() + 1, 11, None),
    ] {
        let (marks, _) = CallMarks::open(&path).unwrap();
        let mark = marks.take_slot().unwrap();
        mark.begin(&called("orders", 7));
        let mut words = [RECORDED, signal, 0, 0, 0, 0, 0, 0];
        words[4..].copy_from_slice(&thread_of.to_le_bytes());
        marks.file().write_all_at(&words, 0).unwrap();
        std::mem::forget(mark);
        assert_eq!(left(&path), [UnreturnedCall { called: called("orders", 7), cause }]);
    }
}

#[test]
fn a_call_that_returns_late_is_not_marked_as_hung() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    let mark = CallMarks::open(&path).unwrap().0.take_slot().unwrap();
    mark.begin(&called("orders", 7));
    mark.set_hung();
    mark.end();
    mark.begin(&called("orders", 8));
    std::mem::forget(mark);
    assert_eq!(left(&path)[0].cause, None);
}

#[test]
fn slots_are_reused() {
    let folder = tempfile::tempdir().unwrap();
    let (marks, _) = CallMarks::open(&folder.path().join("marks")).unwrap();
    let mut slots: Vec<CallMark> = (0..SLOTS).map(|_| marks.take_slot().unwrap()).collect();
    assert!(marks.take_slot().is_none());
    slots.pop();
    assert!(marks.take_slot().is_some());
}

#[test]
fn a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (other, path) = (folder.path().join("other"), folder.path().join("marks"));
    std::fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert!(CallMarks::open(&path).is_err());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
}

proptest! {
    #[test]
    fn whatever_stands_in_the_file_is_no_reason_to_fail(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        std::fs::write(&path, bytes).unwrap();
        prop_assert_eq!(left(&path), []);
    }
}
