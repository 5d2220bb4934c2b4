//! Marks survive what wrote them; whatever else stands in the file is no mark.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use proptest::prelude::*;

fn called(metric: &str, from: u64) -> Called {
    let revision = RevisionId { metric: metric.into(), fingerprint: 0xFEDC_BA98_7654_3210 };
    Called { revision, code: "0123456789abcdef0123456789abcdef".into(), partition: 3, from, to: from + 2_048 }
}

fn left(path: &Path) -> Vec<Unreturned> {
    Marks::open(path).unwrap().1
}

#[test]
fn what_had_not_returned_is_found_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    let (marks, before) = Marks::open(&path).unwrap();
    assert_eq!(before, []);
    let (one, other, third) = (marks.slot().unwrap(), marks.slot().unwrap(), marks.slot().unwrap());
    one.enter(&called("orders", 7));
    one.leave();
    other.enter(&called("visits", u64::MAX - 3_000));
    third.enter(&called("clicks", 1));
    third.hangs();
    // As a process that ends leaves it: nothing is dropped.
    std::mem::forget((one, other, third));
    let found = left(&path);
    assert_eq!(found[0], Unreturned { called: called("visits", u64::MAX - 3_000), cause: None });
    assert_eq!(found[1], Unreturned { called: called("clicks", 1), cause: Some(Cause::Hung) });
    assert_eq!((found.len(), left(&path)), (2, Vec::new()), "a start empties the file");
}

#[test]
fn the_thread_that_ended_the_process_is_the_one_that_is_blamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    for (thread_of, signal, cause) in
        [(thread(), 11, Some(Cause::Signal(11))), (thread(), 0, Some(Cause::Exit)), (thread() + 1, 11, None)]
    {
        let (marks, _) = Marks::open(&path).unwrap();
        let mark = marks.slot().unwrap();
        mark.enter(&called("orders", 7));
        let mut words = [SPOKE, signal, 0, 0, 0, 0, 0, 0];
        words[4..].copy_from_slice(&thread_of.to_le_bytes());
        marks.file().write_all_at(&words, 0).unwrap();
        std::mem::forget(mark);
        assert_eq!(left(&path), [Unreturned { called: called("orders", 7), cause }]);
    }
}

#[test]
fn a_call_that_returns_after_all_takes_back_that_it_hung() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("marks");
    let mark = Marks::open(&path).unwrap().0.slot().unwrap();
    mark.enter(&called("orders", 7));
    mark.hangs();
    mark.leave();
    mark.enter(&called("orders", 8));
    std::mem::forget(mark);
    assert_eq!(left(&path)[0].cause, None);
}

#[test]
fn slots_are_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (marks, _) = Marks::open(&folder.path().join("marks")).unwrap();
    let mut slots: Vec<Mark> = (0..SLOTS).map(|_| marks.slot().unwrap()).collect();
    assert!(marks.slot().is_none());
    slots.pop();
    assert!(marks.slot().is_some());
}

#[test]
fn a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (other, path) = (folder.path().join("other"), folder.path().join("marks"));
    std::fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert!(Marks::open(&path).is_err());
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
