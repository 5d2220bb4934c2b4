//! What a replay cannot read any more: records that the log has dropped before their turn.
//!
//! A log skips what it no longer holds without a word, and offsets without a record look the same.
//! So it is asked what it holds: before each read where that costs nothing, else once a second and
//! whenever offsets were left out. Of two doubts the one is told that loses nothing: a gap too
//! much.

use crate::event::Position;
use crate::feed::FeedItem;
use crate::log::{Log, LogError};
use crate::pipeline::judged_tail::JudgedRecords;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a log that others share is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Offsets left out in a row that mere markers of transactions hardly take: the log is asked at
/// once.
const LARGE: u64 = 16;

/// Places where offsets were left out that wait for the next question.
const MANY: usize = 1_024;

/// See the module's description.
#[derive(Default)]
pub(super) struct GapWatch {
    /// When the log was last asked.
    asked: Option<Instant>,
    /// Offsets that were left out since: partition, first, and the one after the last.
    left_out: Vec<(u32, u64, u64)>,
}

/// Gaps by partition, where they begin and where they end.
#[derive(Default)]
struct Found {
    from: BTreeMap<u32, u64>,
    to: BTreeMap<u32, u64>,
}

impl Found {
    fn add(&mut self, partition: u32, from: u64, to: u64) {
        let first = self.from.entry(partition).or_insert(from);
        *first = from.min(*first);
        let last = self.to.entry(partition).or_insert(to);
        *last = to.max(*last);
    }
}

impl GapWatch {
    /// Notes which offsets are missing among records that were read.
    pub(super) fn note(&mut self, judged: &JudgedRecords<'_>) {
        let partition = judged.batch.partition;
        let known = judged.position.0.contains_key(&partition);
        let mut next = known.then_some(judged.from);
        let new = judged.records.iter().map(|record| record.offset);
        for offset in new.filter(|offset| *offset >= judged.from) {
            if let Some(next) = next.filter(|next| *next < offset) {
                self.left_out.push((partition, next, offset));
            }
            next = Some(offset + 1);
        }
    }

    /// Notes that a partition was read from `from` up to `to`, by itself: whatever of it is gone
    /// was passed over.
    pub(super) fn note_range(&mut self, partition: u32, from: u64, to: u64) {
        self.left_out.push((partition, from, to));
    }

    /// Whether offsets were left out since the log was last asked.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.left_out.is_empty()
    }

    /// Whether the log is to be asked before more is read.
    pub(super) fn is_due(&self, shared: bool) -> bool {
        let large = |(_, from, to): &(u32, u64, u64)| to - from > LARGE;
        !shared
            || self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY)
            || self.left_out.len() >= MANY
            || self.left_out.iter().any(large)
    }

    /// Asks the log what it holds, and moves `at` to where it can be read. The first time it also
    /// sees to it that `at` names the partitions that there are, new ones at their end, and begins
    /// with the first record held where `at` is beyond the end. Returns the gaps to be told.
    ///
    /// # Errors
    /// [`LogError`]: the log does not answer.
    pub(super) fn ask(
        &mut self,
        log: &dyn Log,
        at: &mut Position,
    ) -> Result<Option<FeedItem>, LogError> {
        let bounds = log.bounds()?;
        let first = self.asked.replace(Instant::now()).is_none();
        let mut found = Found::default();
        if first {
            at.0.retain(|partition, _| bounds.iter().any(|held| held.partition == *partition));
        }
        for held in &bounds {
            let begins = if first { held.end } else { held.start };
            let next = at.0.entry(held.partition).or_insert(begins);
            // What waits for the end of a transaction is there, too.
            let beyond = first && *next > held.end.saturating_add(held.open);
            if *next < held.start || beyond {
                found.add(held.partition, *next, held.start);
                *next = held.start;
            }
        }
        for (partition, from, to) in self.left_out.drain(..) {
            let held = bounds.iter().find(|held| held.partition == partition);
            if let Some(held) = held.filter(|held| from < held.start) {
                found.add(partition, from, to.min(held.start));
            }
        }
        let Found { from, to } = found;
        let any = !from.is_empty();
        Ok(any.then_some(FeedItem::Gap { from: Position(from), to: Position(to) }))
    }
}
