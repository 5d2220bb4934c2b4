//! Reads a log beside counting, for those who show its events: from given positions on, each record
//! with the verdict that counting has for it.
//!
//! It accepts and drops the same events, duplicates included: it begins to read one dedupe window
//! before the first record that it hands over. It keeps no position: whoever reads says how far it
//! is, and is told. Counts nothing.

use crate::decode::{Decoder, DedupeWindow, MAX_RECORDS, Refused};
use crate::event::{EventBatch, Position, Record};
use crate::log::{Log, LogError, LogRecord, Tail};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A reader of all partitions.
pub(super) struct JudgedTail {
    tail: Box<dyn Tail>,
    judge: RecordJudge,
}

/// What gives verdicts, with its memory of the records before.
struct RecordJudge {
    decoder: Decoder,
    /// The dedupe window, offsets.
    window: u64,
    windows: HashMap<u32, DedupeWindow>,
    /// Per partition the next offset that it has not seen, warm-up included.
    read: BTreeMap<u32, u64>,
    batch: EventBatch,
    refused: Vec<Refused>,
}

/// Records of one partition that were judged.
pub(super) struct JudgedRecords<'a> {
    /// What judged them.
    pub(super) decoder: &'a Decoder,
    /// The accepted ones.
    pub(super) batch: &'a EventBatch,
    /// All of them, in offset order.
    pub(super) records: &'a [Record<'a>],
    /// The first offset that is new; records before it were read for the dedupe window only.
    pub(super) from: u64,
    /// How far all partitions are before them.
    pub(super) position: &'a Position,
}

impl JudgedTail {
    /// A reader from `from` on; partitions that it does not name start at their end.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting cannot be used.
    pub(super) fn open(
        log: &dyn Log,
        decoder: Decoder,
        window: u64,
        from: &Position,
    ) -> Result<JudgedTail, LogError> {
        let warm = from.0.iter().map(|(p, next)| (*p, next.saturating_sub(window))).collect();
        let warm = Position(warm);
        let tail = log.tail(&warm)?;
        let (batch, refused) = (EventBatch::default(), Vec::new());
        let windows = HashMap::new();
        let judge = RecordJudge { decoder, window, windows, read: warm.0, batch, refused };
        Ok(JudgedTail { tail, judge })
    }

    /// Waits up to `wait` for records, at most `most`, and hands over those that are new, partition
    /// by partition; `at` moves along.
    ///
    /// # Errors
    /// As [`Tail::poll`].
    pub(super) fn poll(
        &mut self,
        wait: Duration,
        most: usize,
        at: &mut Position,
        each: &mut dyn FnMut(&JudgedRecords<'_>),
    ) -> Result<(), LogError> {
        let JudgedTail { tail, judge } = self;
        tail.poll(wait, most, &mut |partition, records| judge.judge(partition, records, at, each))
    }

    /// The next offset of a partition that it has not seen, those for the dedupe window included.
    pub(super) fn read(&self, partition: u32) -> Option<u64> {
        self.judge.read.get(&partition).copied()
    }

    /// Reads one partition by itself, from where the tail is up to `to`, also over offsets without
    /// a record, which a tail does not report. After `most` bytes of new records, and the batch
    /// that they are in, it returns `false`: call it again. After it the tail is behind: do not
    /// poll again.
    ///
    /// # Errors
    /// [`LogError`].
    pub(super) fn read_to(
        &mut self,
        log: &dyn Log,
        (partition, to, most): (u32, u64, u64),
        at: &mut Position,
        each: &mut dyn FnMut(&JudgedRecords<'_>),
    ) -> Result<bool, LogError> {
        let from = self.read(partition).or(at.0.get(&partition).copied()).unwrap_or(0);
        let mut reader = log.range(partition, from, to)?;
        let mut bytes = 0;
        while bytes < most {
            let batch = reader.batch()?;
            if batch.is_empty() {
                let next = at.0.entry(partition).or_default();
                *next = to.max(*next);
                return Ok(true);
            }
            let new = at.0.get(&partition).copied().unwrap_or(0);
            let payloads = batch.iter().filter(|record| record.offset >= new);
            bytes +=
                payloads.filter_map(|r| r.payload.as_ref()).map(|p| p.len() as u64).sum::<u64>();
            let records: Vec<Record<'_>> = batch.iter().map(LogRecord::borrowed).collect();
            self.judge.judge(partition, &records, at, each);
        }
        Ok(false)
    }
}

impl RecordJudge {
    fn judge(
        &mut self,
        partition: u32,
        records: &[Record<'_>],
        at: &mut Position,
        each: &mut dyn FnMut(&JudgedRecords<'_>),
    ) {
        let RecordJudge { decoder, window, windows, read, batch, refused } = self;
        let seen = windows.entry(partition).or_insert_with(|| DedupeWindow::new(*window));
        for records in records.chunks(MAX_RECORDS) {
            let from = at.0.get(&partition).copied().unwrap_or(0);
            refused.clear();
            decoder.decode(partition, records, seen, from, batch, refused);
            let Some(last) = records.last() else { continue };
            read.insert(partition, last.offset + 1);
            if last.offset < from {
                continue;
            }
            each(&JudgedRecords { decoder, batch, records, from, position: at });
            at.0.insert(partition, last.offset + 1);
        }
    }
}
