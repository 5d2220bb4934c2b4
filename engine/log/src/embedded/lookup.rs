//! What readers of the embedded log ask: what is held, whether there is more, and the records
//! themselves. They see only what was committed; it keeps no reader's offset.

use super::error::SegmentLogError;
use super::log::SegmentLog;
use super::segment::{self, Range, Segment};
use super::value;
use crate::{Bounds, LogError, LogRecord, Survey, Surveyed};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tally_database::Slice;

/// A stored batch of records.
pub(super) struct StoredBatch {
    /// Offset of its first record.
    pub(super) base: u64,
    /// See `value`.
    pub(super) bytes: Slice,
}

impl Survey for SegmentLog {
    fn topic(&self, _: Duration) -> Result<Option<String>, LogError> {
        Ok(None)
    }

    fn ask(&self, _: Duration) -> Result<Surveyed, LogError> {
        Ok(Surveyed { topic: None, bounds: self.bounds() })
    }
}

impl SegmentLog {
    /// Whether records can be appended now, as far as is known without appending one.
    ///
    /// # Errors
    /// [`SegmentLogError`]: the disk is full, or failed.
    pub fn writable(&self) -> Result<(), SegmentLogError> {
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

    /// Grows with every commit; see [`SegmentLog::wait_beyond`].
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

    /// Copies of records from `offset` on, about `bytes` of them. None: `offset` is not held.
    ///
    /// # Errors
    /// [`SegmentLogError`]: it cannot be read, or is damaged.
    pub fn records(
        &self,
        partition: u32,
        offset: u64,
        bytes: usize,
    ) -> Result<Vec<LogRecord>, SegmentLogError> {
        let mut batches = VecDeque::new();
        self.read(partition, offset, bytes, &mut batches)?;
        let mut records = Vec::new();
        for batch in &batches {
            let damaged = |fault| {
                SegmentLogError::Damaged(format!(
                    "the batch at partition {partition}, offset {} is damaged: {fault}",
                    batch.base
                ))
            };
            value::verify(&batch.bytes).map_err(damaged)?;
            let wanted =
                value::records(&batch.bytes, batch.base).filter(|record| record.offset >= offset);
            records.extend(wanted.map(|record| LogRecord::from(&record)));
        }
        Ok(records)
    }

    /// Per partition the offset of the first record that was appended at `since` (Unix
    /// milliseconds) or later; the end where there is none. If the clock that stamped them jumped,
    /// one of the offsets where it passed `since`.
    ///
    /// # Errors
    /// As [`SegmentLog::records`].
    pub fn starts(&self, since: i64) -> Result<BTreeMap<u32, u64>, SegmentLogError> {
        let start = |bounds: Bounds| {
            let (mut low, mut high) = (bounds.start, bounds.end);
            while low < high && since < i64::MAX {
                let middle = low + (high - low) / 2;
                match self.records(bounds.partition, middle, 1)?.first() {
                    Some(record) if record.timestamp_ms < since => low = middle + 1,
                    Some(_) => high = middle,
                    // Dropped meanwhile.
                    None => low = middle + 1,
                }
            }
            Ok((bounds.partition, if since == i64::MAX { bounds.end } else { low }))
        };
        self.bounds().into_iter().map(start).collect()
    }

    /// Stored batches from the one that holds `offset` on, about `bytes` of them, of one segment.
    /// None: `offset` is not held.
    pub(super) fn read(
        &self,
        partition: u32,
        offset: u64,
        bytes: usize,
        into: &mut VecDeque<StoredBatch>,
    ) -> Result<(), SegmentLogError> {
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
        let failed = |fault| SegmentLogError::from(self.database.failed(&fault));
        let end = segment::key(partition, range.next);
        let mut taken = 0;
        let mut take = |guard: tally_database::Guard, into: &mut VecDeque<StoredBatch>| {
            let (key, value) = guard.into_inner().map_err(failed)?;
            taken += value.len();
            into.push_back(StoredBatch { base: segment::base(&key), bytes: value });
            Ok::<_, SegmentLogError>(taken < bytes)
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
