//! Dead letters again: those whose record the log no longer holds are judged by today's `[events]`,
//! and copies of those that are events now are appended to the log.
//!
//! A copy states its origin, the place that its record first had, by which it counts once within the
//! dedupe window. Beyond the window no second copy is appended (`known_copies`): a letter is marked
//! before its copy is appended and after it is there, and the log is looked through for what an
//! earlier call left in doubt and for what others append. Nor is a copy appended of a record that a
//! metric has counted from the log itself (`verdict`).
//!
//! One call at a time, bounded in letters and time; the next one goes on where it ended (`memory`).
//! Verdicts of metrics' own code are never judged again, nor is a letter of a copy, which was an
//! event once. Replaying older events to listeners, and history to a new metric, are other subjects.

mod known_copies;
mod memory;
mod verdict;

pub(super) use memory::LetterReplayMemory;

use super::{AppendError, Engine, LogError, StateUnavailable};
use crate::clock::wall_ms;
use crate::database::DatabaseError;
use crate::dead_letter::{CopyNotes, DeadLetter};
use crate::event::{RecordOrigin, RecordPlace};
use crate::failpoint::point;
use crate::log::{Bounds, Log, RecordCopy};
use known_copies::KnownCopies;
use memory::{LeftOff, LetterCursor};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};
use thiserror::Error;
use verdict::{LetterJudge, LetterVerdict, is_replayed};

/// Most letters, and bytes of letters, that are read and appended together.
const TOGETHER: usize = 1_000;
const TOGETHER_BYTES: usize = 8 << 20;

/// Most letters of a call, in steps of [`TOGETHER`].
const STEPS: usize = 20;

/// How long a call may take, but for a step that was begun.
const CALL_TIME: Duration = Duration::from_secs(8);

/// How long the log may take to say what it holds.
const ANSWER: Duration = Duration::from_secs(5);

/// What became of dead letters that were judged again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterReplayCounts {
    /// Events now, and appended.
    pub appended: u64,
    /// No events today, either; or not kept whole.
    pub still_refused: u64,
    /// Not appended: the log still holds them, or they were appended, or counted, before.
    pub in_log: u64,
    /// Of all letters, those that wait until a metric has passed the place of their record, which
    /// it may have read before the log dropped it. 0 until a call has come to the end.
    pub undecided: u64,
    /// Whether another call is needed: this one ended at its bound, and the next one goes on; or
    /// some are undecided, and a later one begins again.
    pub more: bool,
}

/// Dead letters were not judged again, or not all of them. The next call knows what was appended by
/// then.
#[derive(Clone, Debug, Error)]
pub enum LetterReplayFault {
    /// Another call replays them.
    #[error("dead letters are being replayed: wait until that has ended")]
    Busy,
    /// The letters cannot be read or marked.
    #[error(transparent)]
    Letters(#[from] DatabaseError),
    /// What a metric counted cannot be read.
    #[error(transparent)]
    State(#[from] StateUnavailable),
    /// The log cannot be read, or does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log does not take them.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl LetterReplayFault {
    /// Whether the same call may succeed later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            LetterReplayFault::Busy => true,
            LetterReplayFault::Letters(fault) => fault.retry_helps(),
            LetterReplayFault::State(fault) => fault.retry_helps(),
            LetterReplayFault::Log(fault) => fault.retry_helps(),
            LetterReplayFault::Append(fault) => fault.retry_helps(),
        }
    }
}

impl Engine {
    /// Judges dead letters again, of one reason if `reason` is given, and appends copies of those
    /// that are events now and no longer in the log. Blocks for some seconds, and as long as an
    /// append may take.
    ///
    /// # Errors
    /// [`LetterReplayFault`]. What was appended before is marked, and not appended again.
    pub fn replay_letters(
        &self,
        reason: Option<&str>,
    ) -> Result<LetterReplayCounts, LetterReplayFault> {
        let Some(mut memory) = self.replaying.try_lock() else {
            return Err(LetterReplayFault::Busy);
        };
        let until = Instant::now() + CALL_TIME;
        let left = memory.left_off.take().filter(|left| left.is_of(reason));
        let from = left.map(|left| left.cursor).unwrap_or_default();
        // First: what is no longer held then is not counted by who begins later.
        let held = held(&*self.log)?;
        let judge = LetterJudge {
            log: self.log.name(),
            letters: &self.dead_letters,
            decoder: &self.checker,
            held: held.clone(),
            counted: self.counted_records()?,
        };
        let copies = KnownCopies {
            log: &*self.log,
            letters: &self.dead_letters,
            decoder: &self.checker,
            memory: &mut memory,
            window: self.events.dedupe_window,
            held,
            looked_through: BTreeMap::new(),
            until,
        };
        let mut replay = LetterReplay::new(judge, copies);
        let next = replay.run(reason, from, STEPS)?;
        let counts = replay.counts;
        memory.left_off = next.map(|cursor| {
            let reason = reason.map(str::to_owned);
            LeftOff { reason, cursor, at: Instant::now() }
        });
        let LetterReplayCounts { appended, still_refused, in_log, undecided, more } = counts;
        tracing::info!(
            appended,
            still_refused,
            in_log,
            undecided,
            more,
            "dead letters were judged again"
        );
        Ok(counts)
    }
}

/// By partition, what the log holds, asked now.
fn held(log: &dyn Log) -> Result<BTreeMap<u32, Bounds>, LogError> {
    let bounds = log.survey().ask(ANSWER)?.bounds;
    Ok(bounds.into_iter().map(|bounds| (bounds.partition, bounds)).collect())
}

/// One call.
struct LetterReplay<'a> {
    judge: LetterJudge<'a>,
    copies: KnownCopies<'a>,
    counts: LetterReplayCounts,
}

/// A letter that is an event now.
struct LetterEvent<'a> {
    letter: &'a DeadLetter,
    /// The key of its record.
    key: Box<str>,
}

impl<'a> LetterReplay<'a> {
    fn new(judge: LetterJudge<'a>, copies: KnownCopies<'a>) -> LetterReplay<'a> {
        LetterReplay { judge, copies, counts: LetterReplayCounts::default() }
    }

    /// Goes through the letters from a cursor on, at most so many steps. Where it ended, if that is
    /// not the end.
    fn run(
        &mut self,
        reason: Option<&str>,
        from: LetterCursor,
        steps: usize,
    ) -> Result<Option<LetterCursor>, LetterReplayFault> {
        let letters = self.judge.letters;
        if letters.kept() == 0 {
            return Ok(None);
        }
        if !self.copies.settle()? {
            self.counts.more = true;
            return Ok(Some(from));
        }
        let (mut cursor, mut at_end) = (from, false);
        for _ in 0..steps {
            let page = letters.page(cursor.next, TOGETHER, TOGETHER_BYTES)?;
            if !self.copies.keep_up()? {
                break;
            }
            let wanted = page.letters.iter().filter(|letter| is_replayed(&letter.reason, reason));
            cursor.undecided += self.replay(wanted)?;
            at_end = page.next.is_none();
            cursor.next = page.next.unwrap_or(cursor.next);
            if at_end || Instant::now() >= self.copies.until {
                break;
            }
        }
        self.counts.more = !at_end || cursor.undecided > 0;
        if at_end {
            self.counts.undecided = cursor.undecided;
        }
        Ok((!at_end).then_some(cursor))
    }

    /// Judges letters, and appends copies of those that are events now. How many are undecided.
    fn replay<'l>(
        &mut self,
        letters: impl Iterator<Item = &'l DeadLetter>,
    ) -> Result<u64, LetterReplayFault> {
        let (mut events, mut origins, mut undecided) = (Vec::new(), HashSet::new(), 0);
        for letter in letters {
            match self.judge.verdict(letter)? {
                LetterVerdict::Refused => self.counts.still_refused += 1,
                LetterVerdict::Undecided => undecided += 1,
                // A record may have several letters.
                LetterVerdict::Event(key) if origins.insert(letter.place()) => {
                    events.push(LetterEvent { letter, key });
                }
                LetterVerdict::InLog | LetterVerdict::Event(_) => self.counts.in_log += 1,
            }
        }
        if !events.is_empty() {
            self.append(&events)?;
        }
        Ok(undecided)
    }

    /// Appends a copy of each, marked before and after.
    fn append(&mut self, events: &[LetterEvent<'_>]) -> Result<(), LetterReplayFault> {
        let letters = self.judge.letters;
        let origins: Vec<RecordPlace<'_>> =
            events.iter().map(|event| event.letter.place()).collect();
        let places: Vec<String> = origins.iter().map(ToString::to_string).collect();
        let copies = events.iter().zip(&places).map(|(LetterEvent { letter, key }, place)| {
            let origin = RecordOrigin { place, timestamp_ms: letter.timestamp_ms };
            RecordCopy { key: key.as_bytes(), payload: &letter.bytes, origin }
        });
        let copies: Vec<RecordCopy<'_>> = copies.collect();
        let (intended, looked_through) = (origins.clone(), Some(self.copies.extent()));
        letters.note(&CopyNotes { intended, looked_through, ..CopyNotes::default() })?;
        point("replay.intended");
        let outcome = self.copies.log.append_copies(&copies, wall_ms())?;
        point("replay.appended");
        let (mut done, mut dropped) = (Vec::new(), Vec::new());
        for (index, origin) in origins.into_iter().enumerate() {
            let is_appended = !outcome.too_large.contains(&index);
            if is_appended { &mut done } else { &mut dropped }.push(origin);
        }
        letters.note(&CopyNotes { done, dropped, ..CopyNotes::default() })?;
        point("replay.marked");
        self.counts.appended += (events.len() - outcome.too_large.len()) as u64;
        self.counts.still_refused += outcome.too_large.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
