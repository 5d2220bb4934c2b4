//! What readers of the embedded log ask: what is held, whether there is more, and the records themselves.
//! It sees only what was committed, and keeps no reader's place.

use super::log::{Log, LogError};
use super::segment::{self, Range, Segment};
use super::value;
use crate::database::Slice;
use crate::event::Record;
use crate::source::{Bounds, SourceError, Survey, Surveyed};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A stored batch of records.
pub(super) struct StoredBatch {
    /// Offset of its first record.
    pub(super) base: u64,
    /// See `value`.
    pub(super) bytes: Slice,
}

impl Survey for Log {
    fn topic(&self, _: Duration) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    fn ask(&self, _: Duration) -> Result<Surveyed, SourceError> {
        Ok(Surveyed { topic: None, bounds: self.bounds() })
    }
}

impl Log {
    /// Whether it takes records now, as far as can be told without one.
    ///
    /// # Errors
    /// [`LogError`]: the disk is full, or failed.
    pub fn writable(&self) -> Result<(), LogError> {
        Ok(self.database.writable()?)
    }

    /// What is held of each partition.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bounds> {
        let state = self.state.lock();
        let bounds = |(partition, range): (usize, &Range)| Bounds {
            partition: partition as u32,
            start: range.start,
            end: range.next,
            open: 0,
        };
        state.ranges.iter().enumerate().map(bounds).collect()
    }

    /// Grows with every commit; see [`Log::wait_beyond`].
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state.lock().version
    }

    /// Waits until something was appended after `version`, at most `wait`. Whether it was.
    pub fn wait_beyond(&self, version: u64, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock();
        while state.version == version {
            if self.appended.wait_until(&mut state, deadline).timed_out() {
                return state.version != version;
            }
        }
        true
    }

    /// Copies of records from `offset` on, about `bytes` of them: offset, timestamp, payload. None: `offset` is not held.
    ///
    /// # Errors
    /// [`LogError`]: it cannot be read, or is damaged.
    pub fn records(&self, partition: u32, offset: u64, bytes: usize) -> Result<Vec<(u64, i64, Vec<u8>)>, LogError> {
        let mut batches = VecDeque::new();
        self.read(partition, offset, bytes, &mut batches)?;
        let mut records = Vec::new();
        for batch in &batches {
            let damaged = |fault| {
                LogError::Failed(format!(
                    "the batch at partition {partition}, offset {} is damaged: {fault}",
                    batch.base
                ))
            };
            value::verify(&batch.bytes).map_err(damaged)?;
            let wanted = value::records(&batch.bytes, batch.base).filter(|record| record.offset >= offset);
            let copied =
                |record: Record<'_>| (record.offset, record.timestamp_ms, record.payload.unwrap_or_default().to_vec());
            records.extend(wanted.map(copied));
        }
        Ok(records)
    }

    /// Per partition the offset of the first record that was appended at `since` (Unix milliseconds) or later; the end
    /// where there is none. The clock that stamped them may have jumped: then one of the places where it passed `since`.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub fn starts(&self, since: i64) -> Result<BTreeMap<u32, u64>, LogError> {
        let start = |bounds: Bounds| {
            let (mut low, mut high) = (bounds.start, bounds.end);
            while low < high && since < i64::MAX {
                let middle = low + (high - low) / 2;
                match self.records(bounds.partition, middle, 1)?.first() {
                    Some((_, time, _)) if *time < since => low = middle + 1,
                    Some(_) => high = middle,
                    // Dropped meanwhile.
                    None => low = middle + 1,
                }
            }
            Ok((bounds.partition, if since == i64::MAX { bounds.end } else { low }))
        };
        self.bounds().into_iter().map(start).collect()
    }

    /// Stored batches from the one that holds `offset` on, about `bytes` of them, of one segment. None: `offset` is not held.
    pub(super) fn read(
        &self,
        partition: u32,
        offset: u64,
        bytes: usize,
        into: &mut VecDeque<StoredBatch>,
    ) -> Result<(), LogError> {
        let found = {
            let state = self.state.lock();
            let holds = |segment: &&Segment| segment.ranges[partition as usize].contains(offset);
            state
                .segments
                .iter()
                .find(holds)
                .map(|segment| (segment.keyspace.clone(), segment.ranges[partition as usize]))
        };
        let Some((keyspace, range)) = found else {
            return Ok(());
        };
        let failed = |fault| LogError::from(self.database.failed(&fault));
        let end = segment::key(partition, range.next);
        let mut taken = 0;
        let mut take = |guard: crate::database::Guard, into: &mut VecDeque<StoredBatch>| {
            let (key, value) = guard.into_inner().map_err(failed)?;
            taken += value.len();
            into.push_back(StoredBatch { base: segment::base(&key), bytes: value });
            Ok::<_, LogError>(taken < bytes)
        };
        let mut batches = keyspace.range(segment::key(partition, offset)..end)?.peekable();
        let mut more = match batches.next() {
            Some(guard) => take(guard, into)?,
            None => true,
        };
        if into.front().is_none_or(|first| first.base != offset) {
            // in the middle of a batch: the one before holds it
            into.clear();
            let before = segment::key(partition, range.start)..segment::key(partition, offset);
            let Some(guard) = keyspace.range(before)?.next_back() else {
                return Ok(());
            };
            take(guard, into)?;
            batches = keyspace.range(segment::key(partition, offset)..end)?.peekable();
            more = true;
        }
        while more && let Some(guard) = batches.next() {
            more = take(guard, into)?;
        }
        Ok(())
    }
}
