//! Dead letters that are judged again, over an embedded log, alone and as one that others write to.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod test_log;
mod waits;

use super::super::counted_records::{CountedMetric, CountedRecords};
use super::memory::GOES_ON;
use super::*;
use crate::config::EventsConfig;
use crate::database::Database;
use crate::dead_letter::DeadLetters;
use crate::decode::{Decoder, DedupeWindow};
use crate::engine::testing::open_log;
use crate::event::{EventBatch, Position, Record};
use crate::log::LogRecord;
use crate::pipeline::Coverage;
use crate::pipeline::testing::payload;
use crate::progress::Span;
use parking_lot::Mutex;
use std::sync::Arc;
use test_log::{Failure, Shared, TestLog};

const THEN: i64 = 1_700_000_000_000;

/// Where a call begins, and how long it goes on.
struct CallBounds {
    /// Number of the first letter.
    next: u64,
    steps: usize,
    time: Duration,
}

/// From the first letter on, as long as a call may go on.
const WHOLE_CALL: CallBounds = CallBounds { next: 0, steps: STEPS, time: CALL_TIME };

/// An engine's letters beside a log.
struct Rig {
    log: Arc<TestLog>,
    letters: DeadLetters,
    window: u64,
    counted: Vec<CountedMetric>,
    memory: Mutex<LetterReplayMemory>,
    _folder: tempfile::TempDir,
}

fn letters(folder: &tempfile::TempDir) -> (Database, DeadLetters) {
    let database = Database::open(folder.path()).unwrap();
    let letters = DeadLetters::open(&database, 10_000).unwrap();
    (database, letters)
}

fn rig(shared: bool) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let (database, letters) = letters(&folder);
    let inner = open_log(&database, 2);
    let (fails, open, start) = (Mutex::default(), Mutex::default(), Mutex::default());
    let log = Arc::new(TestLog { inner, shared, fails, open, start });
    let (counted, memory) = (Vec::new(), Mutex::default());
    Rig { log, letters, window: 1_000, counted, memory, _folder: folder }
}

/// A letter whose record was in another topic.
fn letter(offset: u64, payload: &str) -> DeadLetter {
    DeadLetter::new("invalid_json", "old", 7, offset, THEN, Some(payload.as_bytes()))
}

fn events(offsets: std::ops::Range<u64>) -> Vec<DeadLetter> {
    offsets.map(|offset| letter(offset, &payload(offset))).collect()
}

const fn counts(appended: u64, still_refused: u64, in_log: u64) -> LetterReplayCounts {
    LetterReplayCounts { appended, still_refused, in_log, undecided: 0, more: false }
}

impl Rig {
    /// Another engine on this log, with letters of its own.
    fn other(&self) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let (_, letters) = letters(&folder);
        let (log, counted, memory) = (self.log.clone(), Vec::new(), Mutex::default());
        Rig { log, letters, window: self.window, counted, memory, _folder: folder }
    }

    /// The counts, and the number of the next letter if it did not come to the end.
    fn call(
        &self,
        reason: Option<&str>,
        bounds: CallBounds,
    ) -> Result<(LetterReplayCounts, Option<u64>), LetterReplayFault> {
        let log = Shared(self.log.clone());
        let held = held(&log)?;
        let decoder = Decoder::new(&EventsConfig::default()).unwrap();
        let mut memory = self.memory.lock();
        let judge = LetterJudge {
            log: log.name(),
            letters: &self.letters,
            decoder: &decoder,
            held: held.clone(),
            counted: CountedRecords(self.counted.clone()),
        };
        let copies = KnownCopies {
            log: &log,
            letters: &self.letters,
            decoder: &decoder,
            memory: &mut memory,
            window: self.window,
            held,
            looked_through: BTreeMap::new(),
            until: Instant::now() + bounds.time,
        };
        let mut replay = LetterReplay::new(judge, copies);
        let from = LetterCursor { next: bounds.next, undecided: 0 };
        let cursor = replay.run(reason, from, bounds.steps)?;
        Ok((replay.counts, cursor.map(|cursor| cursor.next)))
    }

    fn replay(&self) -> Result<LetterReplayCounts, LetterReplayFault> {
        self.call(None, WHOLE_CALL).map(|(counts, _)| counts)
    }

    fn append(&self, user: u64, payload: &str) -> (u32, u64) {
        let key = user.to_string();
        let outcome =
            self.log.inner.append(&[(key.as_bytes(), payload.as_bytes())], wall_ms()).unwrap();
        let (partition, next) = outcome.position.0.into_iter().next().unwrap();
        (partition, next - 1)
    }

    fn records(&self) -> Vec<(u32, LogRecord)> {
        let mut all = Vec::new();
        for held in self.log.inner.bounds().unwrap() {
            let mut reader = self.log.inner.range(held.partition, held.start, held.end).unwrap();
            loop {
                let batch = reader.batch().unwrap();
                if batch.is_empty() {
                    break;
                }
                all.extend(batch.into_iter().map(|record| (held.partition, record)));
            }
        }
        all
    }

    /// The origins of the copies in the log: places and times.
    fn copies(&self) -> Vec<(String, i64)> {
        let origins = self.records().into_iter().filter_map(|(_, record)| record.origin);
        let mut copies: Vec<_> =
            origins.map(|origin| (String::from(origin.place), origin.timestamp_ms)).collect();
        copies.sort();
        copies
    }

    /// How many events the log holds, as they are counted.
    fn counted_events(&self) -> usize {
        let records = self.records();
        let mut decoder = Decoder::new(&EventsConfig::default()).unwrap();
        let of = |partition: u32| {
            let records: Vec<Record<'_>> = records
                .iter()
                .filter(|(of, _)| *of == partition)
                .map(|(_, record)| record.borrowed())
                .collect();
            let (mut batch, mut refused) = (EventBatch::default(), Vec::new());
            let window = &mut DedupeWindow::new(self.window);
            decoder.decode(partition, &records, window, 0, &mut batch, &mut refused);
            batch.len()
        };
        (0..2).map(of).sum()
    }
}

#[test]
fn what_is_an_event_now_is_sent_once_and_the_rest_stays() {
    let rig = rig(false);
    let (partition, offset) = rig.append(1, "{");
    let ours = |offset| DeadLetter::new("invalid_json", "log", partition, offset, THEN, Some(b"{"));
    let event_of = |reason: &str, offset| {
        DeadLetter::new(reason, "old", 7, offset, THEN, Some(payload(offset).as_bytes()))
    };
    let large = vec![b'x'; 70_000];
    let all = [
        ours(offset),
        // What lies behind the end is no longer, or not of this log.
        ours(offset + 100),
        event_of("missing_field:user_id", 3),
        // Another letter of the same record, and verdicts that are none on records.
        event_of("wrong_type:user_id", 3),
        event_of("plugin_failed:a", 4),
        event_of("internal_error", 5),
        DeadLetter::new("payload_too_large", "old", 7, 6, THEN, Some(&large)),
        DeadLetter { origin: Some("old/7/8".into()), ..event_of("invalid_json", 9) },
    ];
    rig.letters.put(&all).unwrap();
    assert_eq!(rig.replay().unwrap(), counts(1, 2, 3));
    assert_eq!(rig.copies(), [("old/7/3".to_owned(), THEN)]);
    assert_eq!(rig.replay().unwrap(), counts(0, 2, 4), "again");
    assert_eq!(rig.copies().len(), 1);
    let copy = rig.records().into_iter().find(|(_, record)| record.origin.is_some()).unwrap();
    assert_eq!(rig.append(3, "{").0, copy.0, "it is where its user's events are");
    assert_eq!(rig.counted_events(), 1);
}

#[test]
fn those_of_one_reason_are_judged_again() {
    let rig = rig(false);
    rig.letters.put(&events(0..3)).unwrap();
    let of = |reason| rig.call(Some(reason), WHOLE_CALL).unwrap().0;
    assert_eq!(of("too_deep"), counts(0, 0, 0));
    assert_eq!(of("invalid_json"), counts(3, 0, 0));
}

#[test]
fn what_was_counted_from_the_log_is_not_sent() {
    let mut rig = rig(false);
    let gaps = vec![Span { from: 6, to: 8 }];
    let coverage = Coverage { start: 5, gaps, ..Coverage::default() };
    rig.counted.push(CountedMetric {
        coverages: BTreeMap::from([(1, coverage)]),
        position: Position(BTreeMap::from([(1, 10)])),
        is_behind: false,
    });
    let ours = |offset| {
        DeadLetter::new("invalid_json", "log", 1, offset, THEN, Some(payload(offset).as_bytes()))
    };
    // Before its begin, counted, gone before it was counted, behind what is counted.
    rig.letters.put(&[ours(4), ours(5), ours(6), ours(9), ours(10)]).unwrap();
    rig.letters.put(&[letter(5, &payload(5))]).unwrap();
    assert_eq!(rig.replay().unwrap(), counts(4, 0, 2));
    let origins: Vec<String> = rig.copies().into_iter().map(|(origin, _)| origin).collect();
    assert_eq!(origins, ["log/1/10", "log/1/4", "log/1/6", "old/7/5"]);
}

#[test]
fn what_is_in_doubt_is_looked_for_before_it_is_sent_again() {
    for shared in [false, true] {
        for failure in [Failure::Written, Failure::Lost] {
            let rig = rig(shared);
            rig.append(1, &payload(1));
            rig.letters.put(&events(0..5)).unwrap();
            *rig.log.fails.lock() = Some(failure);
            let fault = rig.replay().unwrap_err();
            assert!(matches!(fault, LetterReplayFault::Append(AppendError::InDoubt(_))), "{fault}");
            assert_eq!(rig.letters.intended().unwrap().len(), 5);
            // A crash is no different: what is on disk is all that the next call knows.
            let expected =
                if failure == Failure::Written { counts(0, 0, 5) } else { counts(5, 0, 0) };
            assert_eq!(rig.replay().unwrap(), expected, "{shared} {failure:?}");
            assert!(rig.letters.intended().unwrap().is_empty());
            assert_eq!(rig.copies().len(), 5);
            assert_eq!(rig.replay().unwrap(), counts(0, 0, 5));
        }
    }
}

#[test]
fn what_the_log_finds_too_large_stays_refused() {
    let rig = rig(false);
    rig.letters.put(&events(0..3)).unwrap();
    *rig.log.fails.lock() = Some(Failure::TooLarge);
    assert_eq!(rig.replay().unwrap(), counts(1, 2, 0));
    assert!(rig.letters.intended().unwrap().is_empty());
    assert_eq!(rig.replay().unwrap(), counts(2, 0, 1), "it takes them now");
}

#[test]
fn what_another_engine_sent_is_found_however_long_ago() {
    let rig = rig(true);
    let other = rig.other();
    for letters in [&rig.letters, &other.letters] {
        letters.put(&events(0..4)).unwrap();
    }
    assert_eq!(rig.replay().unwrap(), counts(4, 0, 0));
    for user in 0..3_000 {
        rig.append(user, &payload(user));
    }
    assert_eq!(other.replay().unwrap(), counts(0, 0, 4));
    other.letters.put(&events(4..6)).unwrap();
    rig.letters.put(&events(4..6)).unwrap();
    assert_eq!(other.replay().unwrap(), counts(2, 0, 4));
    assert_eq!(rig.replay().unwrap(), counts(0, 0, 6));
    assert_eq!(rig.copies().len(), 6);
    assert_eq!(rig.counted_events(), 3_006);
}

#[test]
fn two_that_send_at_once_are_counted_once() {
    let rig = rig(true);
    let other = rig.other();
    for letters in [&rig.letters, &other.letters] {
        letters.put(&events(0..500)).unwrap();
    }
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| rig.replay().unwrap());
        let two = other.replay().unwrap();
        (one.join().unwrap(), two)
    });
    assert!(one.appended + two.appended >= 500, "{one:?} {two:?}");
    assert_eq!(rig.counted_events(), 500, "{one:?} {two:?}");
    assert_eq!(rig.replay().unwrap(), counts(0, 0, 500));
    assert_eq!(other.replay().unwrap(), counts(0, 0, 500));
}

#[test]
fn a_call_that_ends_at_its_bound_is_gone_on_with() {
    let rig = rig(true);
    rig.letters.put(&events(0..2_500)).unwrap();
    let mut sent = Vec::new();
    let mut from = Some(0);
    while let Some(next) = from {
        let (counts, at) = rig.call(None, CallBounds { next, steps: 1, ..WHOLE_CALL }).unwrap();
        assert_eq!(counts.more, at.is_some());
        sent.push(counts.appended);
        from = at;
    }
    assert_eq!(sent, [1_000, 1_000, 500]);
    // Without time there is progress all the same.
    let late = rig.other();
    late.letters.put(&events(0..1_500)).unwrap();
    let (mut from, mut calls, mut known) = (Some(0), 0, 0);
    while let Some(next) = from {
        let (counts, at) =
            late.call(None, CallBounds { next, time: Duration::ZERO, ..WHOLE_CALL }).unwrap();
        assert_eq!(counts.appended, 0);
        (from, calls, known) = (at, calls + 1, known + counts.in_log);
        assert!(calls < 1_000, "it comes to an end");
    }
    assert_eq!(known, 1_500);
    assert!(calls > 1, "{calls}");
}

#[test]
fn without_letters_nothing_is_looked_through() {
    let rig = rig(true);
    rig.append(1, &payload(1));
    assert_eq!(rig.replay().unwrap(), counts(0, 0, 0));
    assert!(rig.letters.looked_through("log").unwrap().is_empty());
}

#[test]
fn a_call_goes_on_only_with_the_same_question() {
    let left = LeftOff {
        reason: Some("a".into()),
        cursor: LetterCursor { next: 7, undecided: 0 },
        at: Instant::now(),
    };
    assert!(left.is_of(Some("a")) && !left.is_of(Some("b")) && !left.is_of(None));
    let Some(before) = Instant::now().checked_sub(GOES_ON) else { return };
    assert!(!LeftOff { at: before, ..left }.is_of(Some("a")), "too long ago");
}
