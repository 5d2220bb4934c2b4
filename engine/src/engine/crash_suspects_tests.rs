//! Who is blamed for a process's end, and who is not.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;

const CODE: &str = "0123456789abcdef0123456789abcdef";

fn revision() -> RevisionId {
    RevisionId { metric: "orders".into(), fingerprint: 7 }
}

fn ended(partition: u32, offsets: Range<u64>, cause: Option<EndCause>) -> UnreturnedCall {
    let called = MarkedCall {
        revision: revision(),
        code: CODE.into(),
        partition,
        from: offsets.start,
        to: offsets.end,
    };
    UnreturnedCall { called, cause }
}

struct Starts {
    folder: tempfile::TempDir,
}

impl Starts {
    fn new() -> Starts {
        Starts { folder: tempfile::tempdir().unwrap() }
    }

    fn after(&self, found: impl IntoIterator<Item = UnreturnedCall>) -> CrashSuspects {
        CrashSuspects::recall(
            &self.folder.path().join("suspected.json"),
            found.into_iter().collect(),
            1,
        )
    }
}

#[test]
fn a_cause_is_enough() {
    for (cause, word) in [
        (EndCause::Signal(11), "signal 11"),
        (EndCause::Exit, "exit"),
        (EndCause::Hung, "did not return"),
    ] {
        let starts = Starts::new();
        starts.after([ended(2, 100..300, Some(cause))]);
        let why = starts.after([]).blame(&revision(), CODE).unwrap().to_string();
        assert!(why.contains(word) && why.contains("offset 100 of partition 2"), "{why}");
    }
}

#[test]
fn without_one_it_takes_the_same_single_event_twice() {
    let starts = Starts::new();
    let first = starts.after([ended(2, 100..300, None)]);
    assert_eq!(
        (first.blame(&revision(), CODE), first.suspected(&revision(), CODE)),
        (None, vec![(2, 100..300)])
    );
    let second = starts.after([ended(2, 170..171, None)]);
    assert_eq!(
        (second.blame(&revision(), CODE), second.suspected(&revision(), CODE)),
        (None, vec![(2, 170..171)])
    );
    let third = starts.after([ended(2, 170..171, None)]);
    assert!(third.blame(&revision(), CODE).unwrap().to_string().contains("offset 170"));
    assert_eq!(third.suspected(&revision(), CODE), []);
}

#[test]
fn kills_from_outside_blame_nobody() {
    let starts = Starts::new();
    for n in 0..200_u64 {
        let found = ended((n % 3) as u32, n * 37..n * 37 + [1, 500, 2_048][(n % 3) as usize], None);
        assert_eq!(starts.after([found]).blame(&revision(), CODE), None, "{n}");
    }
    // Not even the same batch again: it is never called as one again.
    let starts = Starts::new();
    starts.after([ended(0, 10..20, None)]);
    assert_eq!(starts.after([ended(0, 10..20, None)]).blame(&revision(), CODE), None);
}

#[test]
fn other_code_and_other_revisions_are_not_blamed() {
    let starts = Starts::new();
    let crash_suspects = starts.after([ended(0, 1..2, Some(EndCause::Signal(6)))]);
    assert_eq!(crash_suspects.blame(&revision(), "another"), None);
    assert_eq!(crash_suspects.blame(&RevisionId { fingerprint: 8, ..revision() }, CODE), None);
}

#[test]
fn what_cannot_be_read_is_no_reason_to_fail_and_what_is_remembered_is_bounded() {
    let starts = Starts::new();
    std::fs::write(starts.folder.path().join("suspected.json"), "{]").unwrap();
    assert_eq!(starts.after([]).known, []);
    for partition in 0..100 {
        starts.after([ended(partition, 1..2, Some(EndCause::Exit))]);
    }
    let known = starts.after([]).known;
    assert_eq!((known.len(), known[MOST - 1].partition), (MOST, 99));
}

#[test]
fn a_plugin_that_was_only_tried_is_not_stopped() {
    let starts = Starts::new();
    for cause in [None, Some(EndCause::Signal(6)), Some(EndCause::Hung)] {
        let called = MarkedCall::of_trial("orders");
        let suspects = starts.after([UnreturnedCall { called, cause }]);
        assert!(suspects.known.is_empty());
    }
    assert!(!starts.folder.path().join("suspected.json").exists());
}
