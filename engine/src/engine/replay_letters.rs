//! Dead letters again: those whose record the log no longer holds are judged by today's `[events]`,
//! and what is an event now is appended to the log.
//!
//! A copy says of which record it is one, by which it counts once within the dedupe window. That
//! nothing is sent twice beyond it: a letter is marked before its record is sent and after it is
//! there; what was marked when an earlier call ended is looked for in the log first. A log that
//! others write to is looked through for what they sent, again and again, so that what was not
//! looked through is never longer than half of the window. What a metric has counted from the log
//! itself, because it began anew while the record was still there, is not sent.
//!
//! One call at a time, bounded in letters and time; the next one goes on where it ended. Verdicts
//! of metrics' own code are never judged again, nor is a letter of a copy: that was an event once.

use super::counted_records::{CountedFate, CountedRecords};
use super::replay_memory::{LeftOff, ReplayMemory};
use super::{AppendError, Engine, LogError, StateUnavailable};
use crate::clock::wall_ms;
use crate::database::DatabaseError;
use crate::dead_letter::{DeadLetter, DeadLetters, ReplayNotes};
use crate::decode::{Decoder, Reason};
use crate::event::{RecordPlace, ReplayOf};
use crate::failpoint::point;
use crate::log::{Bounds, Log, ReplayRecord};
use crate::outage::Cause;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Letters, and bytes of letters, that are sent together.
const TOGETHER: usize = 1_000;
const TOGETHER_BYTES: usize = 8 << 20;

/// Most letters of a call, in steps of [`TOGETHER`].
const STEPS: usize = 20;

/// How long a call may take, but for a step that was begun.
const CALL_TIME: Duration = Duration::from_secs(8);

/// How long the log may take to say what it holds.
const ANSWER: Duration = Duration::from_secs(5);

/// How wrong the timestamps of records may be, milliseconds: nothing was sent again before the
/// oldest letter came.
const CLOCKS: i64 = 86_400_000;

/// What became of dead letters that were judged again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Events now, and appended.
    pub appended: u64,
    /// No events today, either; or not kept whole.
    pub still_refused: u64,
    /// Not sent: the log still holds them, or they were appended, or counted, before.
    pub in_log: u64,
    /// Of all letters, those that wait until a metric has passed the place of their record, which
    /// it may have read before the log dropped it. 0 until a call has come to the end.
    pub undecided: u64,
    /// Whether the call ended at its bound: the next one goes on. Or some are undecided: a later
    /// one begins again.
    pub more: bool,
}

/// Dead letters are not judged again, or not all of them. What was appended by then is, and is
/// known to the next call.
#[derive(Clone, Debug, Error)]
pub enum ReplayFault {
    /// Another call is at it.
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

impl ReplayFault {
    /// Whether the same call may succeed later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            ReplayFault::Busy => true,
            ReplayFault::Letters(fault) => fault.retry_helps(),
            ReplayFault::State(fault) => fault.retry_helps(),
            ReplayFault::Log(fault) => fault.retry_helps(),
            ReplayFault::Append(fault) => fault.retry_helps(),
        }
    }
}

impl Engine {
    /// Judges dead letters again, of one reason if `reason` is given, and appends what is an event
    /// now and no longer in the log. Blocks for some seconds, and as long as an append may take.
    ///
    /// # Errors
    /// [`ReplayFault`]. What was appended before is marked, and not appended again.
    pub fn replay_letters(&self, reason: Option<&str>) -> Result<ReplayCounts, ReplayFault> {
        let Some(mut memory) = self.replaying.try_lock() else { return Err(ReplayFault::Busy) };
        let until = Instant::now() + CALL_TIME;
        let left = memory.left_off.take().filter(|left| left.is_of(reason));
        let (from, undecided) = left.map_or((0, 0), |left| (left.next, left.undecided));
        // First: what is no longer held then is not counted by who begins later.
        let held = held(&*self.log)?;
        let mut replay = LetterReplay {
            log: &*self.log,
            letters: &self.dead_letters,
            judge: &self.checker,
            memory: &mut memory,
            window: self.events.dedupe_window,
            counted: self.counted_records()?,
            now: held.clone(),
            held,
            looked: BTreeMap::new(),
            undecided,
            until,
            counts: ReplayCounts::default(),
        };
        let next = replay.run(reason, from, STEPS)?;
        let (counts, undecided) = (replay.counts, replay.undecided);
        memory.left_off = next.map(|next| {
            let reason = reason.map(str::to_owned);
            LeftOff { reason, next, undecided, at: Instant::now() }
        });
        let ReplayCounts { appended, still_refused, in_log, undecided, more } = counts;
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

/// What the log holds, asked now.
fn held(log: &dyn Log) -> Result<BTreeMap<u32, Bounds>, LogError> {
    let bounds = log.survey().ask(ANSWER)?.bounds;
    Ok(bounds.into_iter().map(|bounds| (bounds.partition, bounds)).collect())
}

/// What becomes of a letter.
enum LetterVerdict {
    Refused,
    InLog,
    /// A metric may still count its record.
    Undecided,
    /// An event, with the key of its record.
    Event(Box<str>),
}

/// One call.
struct LetterReplay<'a> {
    log: &'a dyn Log,
    letters: &'a DeadLetters,
    judge: &'a Decoder,
    memory: &'a mut ReplayMemory,
    /// The dedupe window, offsets.
    window: u64,
    counted: CountedRecords,
    /// What the log held at the begin, by which letters are judged.
    held: BTreeMap<u32, Bounds>,
    /// What it held when it was asked last.
    now: BTreeMap<u32, Bounds>,
    /// Per partition, before which offset every record that was sent again is marked.
    looked: BTreeMap<u32, u64>,
    /// Letters that were undecided, from the first on.
    undecided: u64,
    until: Instant,
    counts: ReplayCounts,
}

impl LetterReplay<'_> {
    /// Goes through the letters from a number on, at most so many steps; the number of the next one
    /// if it did not come to the end.
    fn run(
        &mut self,
        reason: Option<&str>,
        from: u64,
        steps: usize,
    ) -> Result<Option<u64>, ReplayFault> {
        if self.letters.kept() == 0 {
            return Ok(None);
        }
        let mut from = Some(from);
        if !self.settle()? {
            self.counts.more = true;
            return Ok(from);
        }
        for _ in 0..steps {
            let Some(next) = from else { break };
            let page = self.letters.page(next, TOGETHER, TOGETHER_BYTES)?;
            if !self.keep_up()? {
                break;
            }
            self.send(&page.letters, reason)?;
            from = page.next;
            if Instant::now() >= self.until {
                break;
            }
        }
        self.counts.more = from.is_some() || self.undecided > 0;
        if from.is_none() {
            self.counts.undecided = self.undecided;
        }
        Ok(from)
    }

    /// Finds out what of what was sent before is in the log. `false`: there was no time for it.
    fn settle(&mut self) -> Result<bool, ReplayFault> {
        let intended = self.letters.intended()?;
        self.looked = self.letters.looked_through(self.log.name())?;
        if !self.log.is_shared() && intended.is_empty() {
            return Ok(true);
        }
        if self.looked.is_empty() {
            let Some(first) = self.first_offsets()? else { return Ok(false) };
            self.looked = first;
        }
        if !self.look_through()? {
            return Ok(false);
        }
        let left = self.letters.intended()?;
        if left.is_empty() {
            self.memory.ends.clear();
            return Ok(true);
        }
        if self.memory.ends.is_empty() {
            let ends = self.now.values().map(|held| (held.partition, held.end + held.open));
            self.memory.ends = ends.collect();
        }
        // Transactions that begin later hold back nothing of it.
        let passed = |held: &Bounds| {
            self.memory.ends.get(&held.partition).is_none_or(|end| held.end >= *end)
        };
        let mut open = self.now.values().filter(|held| held.open > 0);
        if let Some(Bounds { partition, .. }) = open.find(|held| !passed(held)) {
            let what = format!(
                "an earlier replay ended before its outcome was known, and what may be of it in \
                 partition {partition} waits for the end of an open transaction; try again then"
            );
            return Err(LogError::Transient(Cause::Passing, what).into());
        }
        let dropped = left.iter().filter_map(|place| RecordPlace::parse(place)).collect();
        self.letters.note(&ReplayNotes { dropped, ..ReplayNotes::default() })?;
        self.memory.ends.clear();
        Ok(true)
    }

    fn behind_transaction(&self) -> Option<u32> {
        self.now.values().find(|held| held.open > 0).map(|held| held.partition)
    }

    /// From where on a log is looked through first: what was sent again came after the oldest
    /// letter. Where timestamps do not say when that was, all of it. `None`: there was no time to
    /// look at all letters, and the next call goes on.
    fn first_offsets(&mut self) -> Result<Option<BTreeMap<u32, u64>>, ReplayFault> {
        let now = wall_ms();
        let plausible = 1..=now;
        let (mut next, mut oldest) = self.memory.oldest.unwrap_or((0, now));
        loop {
            let page = self.letters.page(next, TOGETHER, TOGETHER_BYTES)?;
            let times = page.letters.iter().map(|letter| letter.timestamp_ms);
            oldest = times
                .map(|time| if plausible.contains(&time) { time } else { 0 })
                .fold(oldest, i64::min);
            let Some(following) = page.next else { break };
            next = following;
            self.memory.oldest = Some((next, oldest));
            if Instant::now() >= self.until {
                return Ok(None);
            }
        }
        let first = self.log.starts((oldest - CLOCKS).max(0))?;
        self.memory.oldest = None;
        Ok(Some(first))
    }

    /// Marks what was sent again, from where it was last looked through up to the end that was
    /// asked for. `false`: there was no time for all of it; what was done is noted.
    fn look_through(&mut self) -> Result<bool, ReplayFault> {
        let bounds: Vec<Bounds> = self.now.values().copied().collect();
        for Bounds { partition, start, end, open } in bounds {
            let from = self.looked.get(&partition).copied().unwrap_or(start);
            // It may be another log of this name, or have dropped its oldest meanwhile.
            let from = if from > end + open { start } else { from.max(start) };
            self.looked.insert(partition, from);
            if from < end && !self.look_at(partition, from, end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look_at(&mut self, partition: u32, from: u64, to: u64) -> Result<bool, ReplayFault> {
        let mut reader = self.log.range(partition, from, to)?;
        loop {
            let records = reader.batch()?;
            let mut done = Vec::new();
            for record in &records {
                let Some(original) = &record.original else { continue };
                // Only what counts is a copy: anybody may write the header.
                let payload = record.payload.as_deref().unwrap_or_default();
                if let Some(place) = RecordPlace::parse(&original.place)
                    && self.letters.keeps(place)?
                    && self.judge.check(payload, original.timestamp_ms).is_ok()
                {
                    done.push(place);
                }
            }
            let next = records.last().map_or(to, |last| last.offset + 1);
            self.looked.insert(partition, next);
            let (at_end, late) = (records.is_empty(), Instant::now() >= self.until);
            if !done.is_empty() || at_end || late {
                let looked_through = Some((self.log.name(), &self.looked));
                self.letters.note(&ReplayNotes { done, looked_through, ..Default::default() })?;
            }
            if at_end || late {
                return Ok(at_end);
            }
        }
    }

    /// Sees to it that what others send now is either marked or within the dedupe window of what is
    /// sent next. `false`: there was no time for it.
    fn keep_up(&mut self) -> Result<bool, ReplayFault> {
        self.now = held(self.log)?;
        if !self.log.is_shared() {
            // Nobody else sends anything.
            self.looked = self.now.values().map(|held| (held.partition, held.end)).collect();
            return Ok(true);
        }
        if self.is_near() {
            return Ok(true);
        }
        if !self.look_through()? {
            return Ok(false);
        }
        self.now = held(self.log)?;
        // Without a window there is no more to be done.
        if self.is_near() || self.window == 0 {
            return Ok(true);
        }
        let what = match self.behind_transaction() {
            Some(partition) => format!(
                "more records than half of [events] dedupe_window wait in partition {partition} \
                 for the end of an open transaction, so what others replayed cannot be known; try \
                 again then"
            ),
            None => "records come faster than they are looked through for what others replayed; \
                     try again when fewer come, or with a longer [events] dedupe_window"
                .to_owned(),
        };
        Err(LogError::Transient(Cause::Passing, what).into())
    }

    fn is_near(&self) -> bool {
        let ahead = |held: &Bounds| {
            let looked = self.looked.get(&held.partition).copied().unwrap_or(held.start);
            (held.end + held.open).saturating_sub(looked)
        };
        self.now.values().all(|held| ahead(held) <= self.window / 2)
    }

    /// Judges letters, and sends those that are events now.
    fn send(&mut self, letters: &[DeadLetter], reason: Option<&str>) -> Result<(), ReplayFault> {
        let (mut chosen, mut places) = (Vec::new(), HashSet::new());
        for letter in letters.iter().filter(|letter| is_replayed(&letter.reason, reason)) {
            match self.verdict(letter)? {
                LetterVerdict::Refused => self.counts.still_refused += 1,
                LetterVerdict::Undecided => self.undecided += 1,
                // A record may have several letters.
                LetterVerdict::Event(key) if places.insert(letter.place()) => {
                    chosen.push((letter, key));
                }
                LetterVerdict::InLog | LetterVerdict::Event(_) => self.counts.in_log += 1,
            }
        }
        if chosen.is_empty() {
            return Ok(());
        }
        let places: Vec<RecordPlace<'_>> =
            chosen.iter().map(|(letter, _)| letter.place()).collect();
        let origins: Vec<String> = places.iter().map(ToString::to_string).collect();
        let records = chosen.iter().zip(&origins).map(|((letter, key), origin)| ReplayRecord {
            key: key.as_bytes(),
            payload: &letter.bytes,
            of: ReplayOf { origin, timestamp_ms: letter.timestamp_ms },
        });
        let records: Vec<ReplayRecord<'_>> = records.collect();
        let looked_through = Some((self.log.name(), &self.looked));
        let intended = places.clone();
        self.letters.note(&ReplayNotes { intended, looked_through, ..Default::default() })?;
        point("replay.intended");
        let outcome = self.log.append_replayed(&records, wall_ms())?;
        point("replay.appended");
        let (mut done, mut dropped) = (Vec::new(), Vec::new());
        for (index, place) in places.iter().enumerate() {
            let is_sent = !outcome.too_large.contains(&index);
            if is_sent { &mut done } else { &mut dropped }.push(*place);
        }
        self.letters.note(&ReplayNotes { done, dropped, ..Default::default() })?;
        point("replay.marked");
        self.counts.appended += (places.len() - outcome.too_large.len()) as u64;
        self.counts.still_refused += outcome.too_large.len() as u64;
        Ok(())
    }

    fn verdict(&self, letter: &DeadLetter) -> Result<LetterVerdict, DatabaseError> {
        let ours = *letter.topic == *self.log.name();
        let held = self.held.get(&letter.partition).filter(|_| ours);
        let is_held = |held: &Bounds| (held.start..held.end + held.open).contains(&letter.offset);
        let is_held = held.is_some_and(is_held);
        if is_held || letter.origin.is_some() || self.letters.was_replayed(letter.place())? {
            return Ok(LetterVerdict::InLog);
        }
        if letter.bytes.len() as u64 != letter.length {
            return Ok(LetterVerdict::Refused);
        }
        let Ok(checked) = self.judge.check(&letter.bytes, letter.timestamp_ms) else {
            return Ok(LetterVerdict::Refused);
        };
        let event = LetterVerdict::Event(checked.user_id.unwrap_or_default());
        if !ours {
            return Ok(event);
        }
        Ok(match self.counted.fate(letter.partition, letter.offset) {
            CountedFate::Counted => LetterVerdict::InLog,
            // Other places are those of an earlier topic of this name.
            CountedFate::Undecided if held.is_some_and(|held| letter.offset < held.start) => {
                LetterVerdict::Undecided
            }
            CountedFate::Undecided | CountedFate::Never => event,
        })
    }
}

/// Whether letters of a reason are judged again: verdicts on records are, those that are asked for.
fn is_replayed(reason: &str, wanted: Option<&str>) -> bool {
    Reason::is_word(reason) && wanted.is_none_or(|wanted| reason == wanted)
}

#[cfg(test)]
#[path = "replay_letters_tests.rs"]
mod tests;
