//! Dead letters of which something is not known yet, and what is not taken for a copy.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::super::memory::OldestLetter;
use super::*;

#[test]
fn what_a_metric_may_have_read_ahead_waits_until_it_has_passed() {
    let mut rig = rig(false);
    let at = |next, gaps| {
        let coverage = Coverage { start: 5, gaps, ..Coverage::default() };
        CountedMetric {
            coverages: BTreeMap::from([(1, coverage)]),
            position: Position(BTreeMap::from([(1, next)])),
            is_behind: false,
        }
    };
    *rig.log.start.lock() = 20;
    rig.counted.push(at(10, Vec::new()));
    let ours = |offset| {
        DeadLetter::new("invalid_json", "log", 1, offset, THEN, Some(payload(offset).as_bytes()))
    };
    rig.letters.put(&[ours(9), ours(10), ours(11), letter(10, &payload(10))]).unwrap();
    let waits = LetterReplayCounts { undecided: 2, more: true, ..counts(1, 0, 1) };
    assert_eq!(rig.replay().unwrap(), waits);
    assert_eq!(rig.copies().len(), 1);
    // It had read one of them ahead; the other one was gone when it came there.
    rig.counted[0] = at(20, vec![Span { from: 11, to: 20 }]);
    assert_eq!(rig.replay().unwrap(), counts(1, 0, 3));
    let origins: Vec<String> = rig.copies().into_iter().map(|(origin, _)| origin).collect();
    assert_eq!(origins, ["log/1/11", "old/7/10"]);
    // Another metric that waits does not undo what one counted, and waits for what none did.
    rig.letters.put(&[ours(12), ours(13)]).unwrap();
    rig.counted = vec![at(13, Vec::new()), at(10, Vec::new())];
    let waits = LetterReplayCounts { undecided: 1, more: true, ..counts(0, 0, 5) };
    assert_eq!(rig.replay().unwrap(), waits);
}

#[test]
fn what_a_metric_that_is_behind_may_have_read_waits_until_it_has_counted_there() {
    let mut rig = rig(false);
    *rig.log.start.lock() = 20;
    let payload = payload(7);
    let letter = DeadLetter::new("invalid_json", "log", 1, 7, THEN, Some(payload.as_bytes()));
    rig.letters.put(&[letter]).unwrap();
    rig.counted.push(CountedMetric { is_behind: true, ..CountedMetric::default() });
    let waits = LetterReplayCounts { undecided: 1, more: true, ..counts(0, 0, 0) };
    assert_eq!(rig.replay().unwrap(), waits);
    assert!(rig.copies().is_empty());
    // It had read the record before the log dropped it.
    let coverage = Coverage { start: 5, ..Coverage::default() };
    rig.counted[0] = CountedMetric {
        coverages: BTreeMap::from([(1, coverage)]),
        position: Position(BTreeMap::from([(1, 8)])),
        is_behind: true,
    };
    assert_eq!(rig.replay().unwrap(), counts(0, 0, 1));
    // Another one has counted all that it ever will.
    rig.counted[0] = CountedMetric::default();
    assert_eq!(rig.replay().unwrap(), counts(1, 0, 0));
}

#[test]
fn what_waits_behind_a_transaction_is_not_taken_for_lost() {
    let rig = rig(true);
    rig.letters.put(&events(0..2)).unwrap();
    *rig.log.fails.lock() = Some(Failure::Written);
    rig.replay().unwrap_err();
    *rig.log.open.lock() = 1;
    let fault = rig.replay().unwrap_err();
    assert!(fault.to_string().contains("open transaction") && fault.retry_helps(), "{fault}");
    *rig.log.open.lock() = 0;
    assert_eq!(rig.replay().unwrap(), counts(0, 0, 2));
}

#[test]
fn transactions_that_begin_later_are_not_waited_for() {
    let rig = rig(true);
    rig.letters.put(&events(0..2)).unwrap();
    *rig.log.fails.lock() = Some(Failure::Lost);
    rig.replay().unwrap_err();
    // In each partition there are records, and the last one waits.
    for user in 0..20 {
        rig.append(user, &payload(user));
    }
    *rig.log.open.lock() = 1;
    let fault = rig.replay().unwrap_err();
    assert!(fault.to_string().contains("open transaction"), "{fault}");
    for user in 0..20 {
        rig.append(user, &payload(user));
    }
    assert_eq!(rig.replay().unwrap(), counts(2, 0, 0));
}

#[test]
fn only_an_event_is_taken_for_a_copy() {
    let rig = rig(true);
    rig.letters.put(&events(0..2)).unwrap();
    let pair = ["{}".to_owned(), payload(1)];
    let records: Vec<RecordCopy<'_>> = pair
        .iter()
        .zip(["old/7/0", "old/7/1"])
        .map(|(payload, place)| RecordCopy {
            key: b"1",
            payload: payload.as_bytes(),
            origin: RecordOrigin { place, timestamp_ms: THEN },
        })
        .collect();
    rig.log.inner.append_copies(&records, wall_ms()).unwrap();
    assert_eq!(rig.replay().unwrap(), counts(1, 0, 1));
    let origins: Vec<String> = rig.copies().into_iter().map(|(origin, _)| origin).collect();
    assert_eq!(origins, ["old/7/0", "old/7/0", "old/7/1"]);
    assert_eq!(rig.counted_events(), 2);
}

#[test]
fn the_oldest_letter_is_looked_for_over_several_calls() {
    let rig = rig(true);
    rig.letters.put(&events(0..2_500)).unwrap();
    for next in [1_000, 2_000] {
        let (counts, at) =
            rig.call(None, CallBounds { time: Duration::ZERO, ..WHOLE_CALL }).unwrap();
        assert_eq!((counts.more, counts.appended, at), (true, 0, Some(0)));
        assert_eq!(rig.memory.lock().oldest, Some(OldestLetter { next, time_ms: THEN }));
    }
    rig.call(None, CallBounds { time: Duration::from_secs(60), ..WHOLE_CALL }).unwrap();
    assert_eq!(rig.memory.lock().oldest, None);
    assert_eq!(rig.copies().len(), 2_500);
}
