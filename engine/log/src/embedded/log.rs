//! Appending to the embedded log, and dropping its oldest end.
//!
//! Promises: an append that returned survives what `[log] durability` says; offsets of a partition
//! are consecutive; an append that failed is either wholly there afterwards or not at all: the log
//! is read again before the next one. Appends of concurrent callers are committed together: one of
//! the callers does it for all that wait. Retention drops whole segments, the oldest first, at most
//! one per commit, by a time that no single reading of the clock moves (`clock`). It knows nothing
//! of events, and keeps no reader's offset.

use super::error::SegmentLogError;
use super::group::{Group, Waiting, copy_bytes};
use super::segment::{self, Range, Segment};
use super::value::{self, MAX_RECORD};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use tally_config::{Durability, LogConfig, duration};
use tally_database::{Database, Keyspace, Shape};
use tally_event::RecordOrigin;

/// Bytes of records that wait for a commit; further callers wait for it.
const PENDING: usize = 16 << 20;

/// A segment's bytes: a sixteenth of the retention, within these bounds.
const SEGMENT: (u64, u64) = (1 << 20, 256 << 20);

/// Records (payload, timestamp in Unix milliseconds) for one partition.
pub type Part<'a> = (u32, &'a [(&'a [u8], i64)]);

/// The same of copies.
pub type CopiedPart<'a> = (u32, &'a [CopiedRecord<'a>]);

/// A copy that is to be appended to a partition.
#[derive(Clone, Copy, Debug)]
pub struct CopiedRecord<'a> {
    /// The bytes.
    pub payload: &'a [u8],
    /// Its own timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// Where the record first was.
    pub origin: RecordOrigin<'a>,
}

/// The log. Shared by those who append and those who read.
pub struct SegmentLog {
    pub(super) database: Database,
    meta: Keyspace,
    durability: Durability,
    retention_bytes: u64,
    /// Milliseconds; `None`: for ever.
    retention_age: Option<i64>,
    partitions: u32,
    pub(super) state: Mutex<State>,
    /// A commit ended: its callers have their answer, another may begin.
    committed: Condvar,
    /// There is more to read.
    pub(super) appended: Condvar,
}

pub(super) struct State {
    /// What is held and visible to readers, by partition.
    pub(super) ranges: Vec<Range>,
    /// Oldest first; the last one is written to.
    pub(super) segments: VecDeque<Segment>,
    pending: Arc<Group>,
    committing: bool,
    /// Number of the newest segment there ever was; never given twice while the log is open.
    last: u64,
    /// Grows with every commit.
    pub(super) version: u64,
    /// A write failed and may have been applied: what is here is read again before the next one.
    stale: bool,
}

impl SegmentLog {
    /// Opens the log in `database`, or creates it with `[log] partitions`.
    ///
    /// # Errors
    /// [`SegmentLogError`].
    pub fn open(
        database: &Database,
        config: &LogConfig,
    ) -> Result<Arc<SegmentLog>, SegmentLogError> {
        let kept = duration::retention_ms(&config.retention);
        let retention_age =
            kept.map_err(|fault| SegmentLogError::Config(format!("retention {fault}")))?;
        let meta = database.keyspace("log", Shape::Rows)?;
        let mut stored = segment::load(database, &meta)?;
        if stored.next.is_empty() {
            if !(1..=1_024).contains(&config.partitions) {
                return Err(SegmentLogError::Config(format!(
                    "partitions = {}: between 1 and 1024",
                    config.partitions
                )));
            }
            let mut batch = database.batch();
            segment::create(&meta, config.partitions, &mut batch);
            database.commit(batch, Durability::Power)?;
            stored.next = vec![0; config.partitions as usize];
        } else if stored.next.len() != config.partitions as usize {
            tracing::warn!(
                has = stored.next.len(),
                configured = config.partitions,
                "the log keeps the number of partitions it was created with"
            );
        }
        let partitions = stored.next.len() as u32;
        let segments = VecDeque::from(stored.segments);
        let ranges = stored.next.iter().map(|next| Range { start: *next, next: *next }).collect();
        let pending = Group::new(partitions);
        let mut state = State {
            ranges,
            segments,
            pending,
            committing: false,
            last: 0,
            version: 0,
            stale: false,
        };
        state.find_starts();
        state.last = state.segments.back().map_or(0, |segment| segment.number);
        let log = SegmentLog {
            database: database.clone(),
            meta,
            durability: config.durability,
            retention_bytes: config.retention_bytes,
            retention_age,
            partitions,
            state: Mutex::new(state),
            committed: Condvar::new(),
            appended: Condvar::new(),
        };
        while log.retain()? {}
        Ok(Arc::new(log))
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The partition of a key: all records of one user stand in one. Stable for ever (CRC-32 modulo
    /// the partitions).
    #[must_use]
    pub fn partition_of(&self, key: &[u8]) -> u32 {
        crc32fast::hash(key) % self.partitions
    }

    /// Appends records (payload, timestamp in Unix milliseconds) to a partition and waits until
    /// they are durable. Returns the offset after the last one.
    ///
    /// # Errors
    /// [`SegmentLogError`].
    pub fn append(&self, partition: u32, records: &[(&[u8], i64)]) -> Result<u64, SegmentLogError> {
        Ok(self.append_all(&[(partition, records)])?[0])
    }

    /// As [`SegmentLog::append`], to several partitions in one atomic step; the answers are in the
    /// order of the parts.
    ///
    /// # Errors
    /// [`SegmentLogError`].
    pub fn append_all(&self, parts: &[Part<'_>]) -> Result<Vec<u64>, SegmentLogError> {
        let mut bytes = 0;
        for (partition, records) in parts {
            self.check(*partition, records.iter().map(|(payload, _)| *payload))?;
            bytes +=
                records.iter().map(|(payload, _)| payload.len() + value::PER_RECORD).sum::<usize>();
        }
        let partitions = parts.iter().map(|(partition, _)| *partition);
        self.commit_with(bytes, partitions, |waiting| {
            parts.iter().map(|(partition, records)| waiting.push(*partition, records)).collect()
        })
    }

    /// As [`SegmentLog::append_all`], copies.
    ///
    /// # Errors
    /// [`SegmentLogError`].
    pub fn append_copies(&self, parts: &[CopiedPart<'_>]) -> Result<Vec<u64>, SegmentLogError> {
        let mut bytes = 0;
        for (partition, records) in parts {
            self.check(*partition, records.iter().map(|copy| copy.payload))?;
            bytes += records.iter().map(copy_bytes).sum::<usize>();
        }
        let partitions = parts.iter().map(|(partition, _)| *partition);
        self.commit_with(bytes, partitions, |waiting| {
            let push =
                |(partition, records): &CopiedPart<'_>| waiting.push_copies(*partition, records);
            parts.iter().map(push).collect()
        })
    }

    /// Has what `push` adds committed with what else waits; of each of the partitions the offset
    /// after its last record. `push` returns how many records of it the group then has.
    fn commit_with(
        &self,
        bytes: usize,
        partitions: impl Iterator<Item = u32>,
        push: impl Fn(&mut Waiting) -> Vec<u64>,
    ) -> Result<Vec<u64>, SegmentLogError> {
        let mut state = self.state.lock();
        let (group, ends) = loop {
            let mut waiting = state.pending.waiting.lock();
            if waiting.bytes == 0 || waiting.bytes + bytes <= PENDING {
                let ends = push(&mut waiting);
                drop(waiting);
                break (Arc::clone(&state.pending), ends);
            }
            drop(waiting);
            // Full: either lead the commit that makes room or wait for it.
            state = if state.committing { self.wait(state) } else { self.commit(state) };
        };
        while group.outcome.get().is_none() {
            state = if state.committing { self.wait(state) } else { self.commit(state) };
        }
        drop(state);
        let bases = group.outcome.get().expect("the loop above ends when it is set").clone()?;
        Ok(partitions.zip(ends).map(|(partition, end)| bases[partition as usize] + end).collect())
    }

    fn check<'p>(
        &self,
        partition: u32,
        mut payloads: impl Iterator<Item = &'p [u8]>,
    ) -> Result<(), SegmentLogError> {
        if partition >= self.partitions {
            return Err(SegmentLogError::NoPartition { partition, last: self.partitions - 1 });
        }
        match payloads.find(|payload| payload.len() > MAX_RECORD) {
            Some(payload) => Err(SegmentLogError::TooLarge(payload.len())),
            None => Ok(()),
        }
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.committed.wait(&mut state);
        state
    }

    /// Commits all that waits, for every caller that has put something there.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let group = std::mem::replace(&mut state.pending, Group::new(self.partitions));
        if let Err(fault) = self.settle(&mut state) {
            // only this leader sets it
            let _ = group.outcome.set(Err(fault));
            self.committed.notify_all();
            return state;
        }
        let bases: Vec<u64> = state.ranges.iter().map(|range| range.next).collect();
        let (current, number) = (state.segments.back().cloned(), state.last + 1);
        state.committing = true;
        drop(state);

        let leading = Leading { log: self, group: &group };
        let written = self.write(&group, &bases, current, number);
        std::mem::forget(leading);

        let mut state = self.state.lock();
        state.committing = false;
        state.stale = matches!(written, Err(SegmentLogError::Failed(_)));
        let outcome = written.map(|segment| {
            if let Some(segment) = segment {
                state.publish(segment);
            }
            bases
        });
        // only this leader sets it
        let _ = group.outcome.set(outcome);
        self.committed.notify_all();
        self.appended.notify_all();
        drop(state);
        if let Err(fault) = self.retain() {
            tracing::warn!(
                %fault,
                "the oldest records could not be dropped; tried again with the next append"
            );
        }
        self.state.lock()
    }

    /// Has the database opened again if it failed, and what is in doubt read again.
    fn settle(&self, state: &mut State) -> Result<(), SegmentLogError> {
        self.database.mended()?;
        if !state.stale {
            return Ok(());
        }
        let stored = segment::load(&self.database, &self.meta)?;
        state.ranges = stored.next.iter().map(|next| Range { start: *next, next: *next }).collect();
        state.segments = stored.segments.into();
        state.find_starts();
        // Numbers are never given twice, also where a segment was begun and not kept.
        state.last = state.segments.back().map_or(0, |segment| segment.number).max(state.last);
        state.version += 1;
        state.stale = false;
        Ok(())
    }

    /// Writes a group to the current segment or to a new one of that `number`; returns the segment
    /// as it then is.
    fn write(
        &self,
        group: &Group,
        bases: &[u64],
        current: Option<Segment>,
        number: u64,
    ) -> Result<Option<Segment>, SegmentLogError> {
        let mut waiting = group.waiting.lock();
        let batches = std::mem::take(&mut waiting.batches);
        if batches.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let now = self.database.clock().now();
        let mut segment = match current {
            Some(segment) if !self.is_full(&segment, now) => segment,
            _ => Segment::begin(&self.database, number, bases.len(), now)?,
        };
        let mut batch = self.database.batch();
        let mut touched = Vec::new();
        for (partition, writers) in
            batches.into_iter().enumerate().filter(|(_, writers)| !writers.is_empty())
        {
            let mut base = bases[partition];
            let range = &mut segment.ranges[partition];
            if range.is_empty() {
                range.start = base;
            }
            for writer in writers {
                let (count, newest) = (u64::from(writer.count()), writer.newest);
                let bytes = writer.finish();
                segment.bytes += bytes.len() as u64;
                segment.newest = segment.newest.max(newest);
                batch.insert(&segment.keyspace, segment::key(partition as u32, base), bytes);
                base += count;
            }
            range.next = base;
            touched.push(partition as u32);
        }
        segment.describe(&self.meta, touched.into_iter(), &mut batch);
        self.database.commit(batch, self.durability)?;
        Ok(Some(segment))
    }

    fn is_full(&self, segment: &Segment, now: i64) -> bool {
        let old = self.retention_age.is_some_and(|age| now - segment.begun > age / 16);
        old || segment.bytes >= (self.retention_bytes / 16).clamp(SEGMENT.0, SEGMENT.1)
    }

    /// Drops the oldest segment if retention says so; whether it did. Runs after each commit, and
    /// may be called when nothing is appended so that age is kept then too.
    ///
    /// # Errors
    /// [`SegmentLogError`]; nothing is lost, it may be called again.
    pub fn retain(&self) -> Result<bool, SegmentLogError> {
        let mut state = self.state.lock();
        if state.committing {
            return Ok(false); // that commit does it
        }
        self.settle(&mut state)?;
        let held: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
        let Some(oldest) = state.segments.front() else {
            return Ok(false);
        };
        let too_large = held > self.retention_bytes && state.segments.len() > 1;
        let too_old = self
            .retention_age
            .is_some_and(|age| oldest.newest < self.database.clock().now().saturating_sub(age));
        if !too_large && !too_old {
            return Ok(false);
        }
        let oldest = oldest.clone();
        let mut batch = self.database.batch();
        oldest.forget(&self.meta, &mut batch);
        if let Err(fault) = self.database.commit(batch, Durability::Process) {
            state.stale |= !fault.wrote_nothing();
            return Err(fault.into());
        }
        state.segments.pop_front();
        state.find_starts();
        drop(state);
        self.database.delete(oldest.keyspace)?;
        Ok(true)
    }
}

/// A commit in progress. If its thread panics, callers that wait for it get an error, and another
/// may lead.
struct Leading<'a> {
    log: &'a SegmentLog,
    group: &'a Group,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.log.state.lock().committing = false;
        let ended = "the thread that wrote this batch ended by an internal error; whether it is \
                     there is known after a restart";
        // only this leader sets it
        let _ = self.group.outcome.set(Err(SegmentLogError::Failed(ended.into())));
        self.log.committed.notify_all();
    }
}

impl State {
    fn publish(&mut self, segment: Segment) {
        for (range, written) in self.ranges.iter_mut().zip(&segment.ranges) {
            range.next = range.next.max(written.next);
        }
        match self.segments.back_mut() {
            Some(last) if last.number == segment.number => *last = segment,
            _ => {
                self.last = segment.number;
                self.segments.push_back(segment);
            }
        }
        self.version += 1;
    }

    /// A partition starts with the oldest segment that holds anything of it; without one, at its
    /// end.
    fn find_starts(&mut self) {
        for (partition, range) in self.ranges.iter_mut().enumerate() {
            let first = self
                .segments
                .iter()
                .map(|segment| segment.ranges[partition])
                .find(|held| !held.is_empty());
            range.start = first.map_or(range.next, |held| held.start);
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
