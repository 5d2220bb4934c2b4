//! Of which dead letters does the log already hold a copy?
//!
//! What a call marks as done is known. What an earlier call intended, and whatever other engines
//! append, is found in the log: it is looked through from where that ended last, and copies are
//! marked. What is not looked through stays shorter than the dedupe window, in which a second copy
//! does not count.

use super::memory::{LetterReplayMemory, OldestLetter};
use super::{LetterReplayFault, TOGETHER, TOGETHER_BYTES, held};
use crate::clock::wall_ms;
use crate::dead_letter::{CopyNotes, DeadLetters, LookedThrough};
use crate::decode::Decoder;
use crate::event::RecordPlace;
use crate::log::{Bounds, Log, LogError, LogRecord};
use crate::outage::Cause;
use std::collections::BTreeMap;
use std::time::Instant;

/// How wrong the timestamps of records may be, milliseconds: nothing was copied before the oldest
/// letter came.
const CLOCKS: i64 = 86_400_000;

/// The copies that are known, and how far the log was looked through for them.
pub(super) struct KnownCopies<'a> {
    pub(super) log: &'a dyn Log,
    pub(super) letters: &'a DeadLetters,
    pub(super) decoder: &'a Decoder,
    pub(super) memory: &'a mut LetterReplayMemory,
    /// The dedupe window, offsets.
    pub(super) window: u64,
    /// By partition, what the log held when it was asked last.
    pub(super) held: BTreeMap<u32, Bounds>,
    /// By partition, the offset before which every copy is marked.
    pub(super) looked_through: BTreeMap<u32, u64>,
    /// When the call has used its time.
    pub(super) until: Instant,
}

impl KnownCopies<'_> {
    /// Finds out which copies of earlier calls are in the log. `false`: there was no time for it.
    pub(super) fn settle(&mut self) -> Result<bool, LetterReplayFault> {
        let intended = self.letters.intended()?;
        self.looked_through = self.letters.looked_through(self.log.name())?;
        if !self.log.is_shared() && intended.is_empty() {
            return Ok(true);
        }
        if self.looked_through.is_empty() {
            let Some(first) = self.first_offsets()? else { return Ok(false) };
            self.looked_through = first;
        }
        if !self.look_through()? {
            return Ok(false);
        }
        self.drop_intended()?;
        self.memory.ends.clear();
        Ok(true)
    }

    /// What is still intended is not in the log, once the log has passed all that may be of it.
    fn drop_intended(&mut self) -> Result<(), LetterReplayFault> {
        let left = self.letters.intended()?;
        if left.is_empty() {
            return Ok(());
        }
        if self.memory.ends.is_empty() {
            let ends = self.held.values().map(|held| (held.partition, held.end + held.open));
            self.memory.ends = ends.collect();
        }
        // Transactions that begin later hold back nothing of it.
        let passed = |held: &Bounds| {
            self.memory.ends.get(&held.partition).is_none_or(|end| held.end >= *end)
        };
        let mut open = self.held.values().filter(|held| held.open > 0);
        if let Some(Bounds { partition, .. }) = open.find(|held| !passed(held)) {
            return Err(passing(format!(
                "an earlier replay ended before its outcome was known, and what may be of it in \
                 partition {partition} waits for the end of an open transaction; try again then"
            )));
        }
        let dropped = left.iter().filter_map(|origin| RecordPlace::parse(origin)).collect();
        Ok(self.letters.note(&CopyNotes { dropped, ..CopyNotes::default() })?)
    }

    /// From where on a log is looked through first: copies were appended after the oldest letter
    /// came. Where timestamps do not say when that was, all of it. `None`: there was no time to look
    /// at all letters, and the next call goes on.
    fn first_offsets(&mut self) -> Result<Option<BTreeMap<u32, u64>>, LetterReplayFault> {
        let now = wall_ms();
        let plausible = 1..=now;
        let mut oldest = self.memory.oldest.unwrap_or(OldestLetter { next: 0, time_ms: now });
        loop {
            let page = self.letters.page(oldest.next, TOGETHER, TOGETHER_BYTES)?;
            let times = page.letters.iter().map(|letter| letter.timestamp_ms);
            oldest.time_ms = times
                .map(|time| if plausible.contains(&time) { time } else { 0 })
                .fold(oldest.time_ms, i64::min);
            let Some(next) = page.next else { break };
            oldest.next = next;
            self.memory.oldest = Some(oldest);
            if Instant::now() >= self.until {
                return Ok(None);
            }
        }
        let first = self.log.starts((oldest.time_ms - CLOCKS).max(0))?;
        self.memory.oldest = None;
        Ok(Some(first))
    }

    /// Sees to it that what others append now is either marked or within the dedupe window of what
    /// is appended next. `false`: there was no time for it.
    pub(super) fn keep_up(&mut self) -> Result<bool, LetterReplayFault> {
        self.held = held(self.log)?;
        if !self.log.is_shared() {
            // Nobody else appends anything.
            let ends = self.held.values().map(|held| (held.partition, held.end));
            self.looked_through = ends.collect();
            return Ok(true);
        }
        if self.is_near() {
            return Ok(true);
        }
        if !self.look_through()? {
            return Ok(false);
        }
        self.held = held(self.log)?;
        // Without a window there is no more to be done.
        if self.is_near() || self.window == 0 {
            return Ok(true);
        }
        let behind_transaction = self.held.values().find(|held| held.open > 0);
        Err(passing(match behind_transaction {
            Some(Bounds { partition, .. }) => format!(
                "more records than half of [events] dedupe_window wait in partition {partition} \
                 for the end of an open transaction, so what others replayed cannot be known; try \
                 again then"
            ),
            None => "records come faster than they are looked through for what others replayed; \
                     try again when fewer come, or with a longer [events] dedupe_window"
                .to_owned(),
        }))
    }

    /// Whether what is not looked through is no longer than half of the window.
    fn is_near(&self) -> bool {
        let ahead = |held: &Bounds| {
            let looked = self.looked_through.get(&held.partition).copied().unwrap_or(held.start);
            (held.end + held.open).saturating_sub(looked)
        };
        self.held.values().all(|held| ahead(held) <= self.window / 2)
    }

    /// Marks the copies between where the log was last looked through and the end that it had when
    /// it was asked. `false`: there was no time for all of it; what was done is noted.
    fn look_through(&mut self) -> Result<bool, LetterReplayFault> {
        let bounds: Vec<Bounds> = self.held.values().copied().collect();
        for Bounds { partition, start, end, open } in bounds {
            let from = self.looked_through.get(&partition).copied().unwrap_or(start);
            // It may be another log of this name, or have dropped its oldest meanwhile.
            let from = if from > end + open { start } else { from.max(start) };
            self.looked_through.insert(partition, from);
            if from < end && !self.look_at(partition, from, end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look_at(&mut self, partition: u32, from: u64, to: u64) -> Result<bool, LetterReplayFault> {
        let mut reader = self.log.range(partition, from, to)?;
        loop {
            let records = reader.batch()?;
            let mut done = Vec::new();
            for record in &records {
                done.extend(self.origin_with_letter(record)?);
            }
            let next = records.last().map_or(to, |last| last.offset + 1);
            self.looked_through.insert(partition, next);
            let (at_end, late) = (records.is_empty(), Instant::now() >= self.until);
            if !done.is_empty() || at_end || late {
                let looked_through = Some(self.extent());
                self.letters.note(&CopyNotes { done, looked_through, ..CopyNotes::default() })?;
            }
            if at_end || late {
                return Ok(at_end);
            }
        }
    }

    /// The origin of a copy, if a letter of that record is kept. Only an event is taken for a copy:
    /// anybody may write the header.
    fn origin_with_letter<'r>(
        &self,
        record: &'r LogRecord,
    ) -> Result<Option<RecordPlace<'r>>, LetterReplayFault> {
        let Some(origin) = &record.origin else { return Ok(None) };
        let Some(place) = RecordPlace::parse(&origin.place) else { return Ok(None) };
        let payload = record.payload.as_deref().unwrap_or_default();
        let is_copy =
            self.letters.keeps(place)? && self.decoder.check(payload, origin.timestamp_ms).is_ok();
        Ok(is_copy.then_some(place))
    }

    /// How far the log was looked through, to be noted.
    pub(super) fn extent(&self) -> LookedThrough<'_> {
        LookedThrough { topic: self.log.name(), offsets: &self.looked_through }
    }
}

/// A fault that passes.
fn passing(what: String) -> LetterReplayFault {
    LogError::Transient(Cause::Passing, what).into()
}
