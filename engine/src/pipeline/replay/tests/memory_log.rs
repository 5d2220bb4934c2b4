//! A log in memory, whose offsets may hold no record, and that drops the oldest when it is told to.

use crate::event::{Position, Record};
use crate::log::{
    AppendError, AppendOutcome, Bounds, Log, LogError, LogReader, LogRecord, RecordCopy, Source,
    Survey, Tail, Wanted,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Records of a batch of a range.
const BATCH: usize = 8;

/// The timestamp of every record.
const NOW: i64 = 1_800_000_000_000;

/// What the log holds at an offset.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// An event with an id of its own.
    Event,
    /// An event with the id of the one before it in the partition.
    Again,
    /// Something that is no event.
    Rubbish,
    /// No record: a marker.
    Hole,
}

/// A partition in memory.
#[derive(Default)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) kept: Vec<(Kept, Option<String>)>,
}

impl Part {
    pub(super) fn end(&self) -> u64 {
        self.kept.len() as u64
    }

    /// The records in a range, at most so many.
    pub(super) fn records(&self, from: u64, to: u64, most: usize) -> Vec<LogRecord> {
        let record = |offset: u64| {
            let payload = self.kept[offset as usize].1.clone()?;
            Some(LogRecord::new(offset, NOW, Some(payload.into_bytes())))
        };
        (from.max(self.start)..to.min(self.end())).filter_map(record).take(most).collect()
    }
}

/// A log in memory.
pub(super) struct MemoryLog {
    pub(super) parts: Arc<Mutex<Vec<Part>>>,
    shared: bool,
}

impl MemoryLog {
    pub(super) fn new(partitions: u32, shared: bool) -> MemoryLog {
        let parts = (0..partitions).map(|_| Part::default()).collect();
        MemoryLog { parts: Arc::new(Mutex::new(parts)), shared }
    }
}

struct MemoryTail {
    parts: Arc<Mutex<Vec<Part>>>,
    next: Vec<u64>,
}

struct MemoryReader(Vec<LogRecord>);

impl Tail for MemoryTail {
    fn poll(
        &mut self,
        _: Duration,
        most: usize,
        each: &mut dyn FnMut(u32, &[Record<'_>]),
    ) -> Result<(), LogError> {
        for (n, next) in self.next.iter_mut().enumerate() {
            let read = self.parts.lock()[n].records(*next, u64::MAX, most / 2);
            if let Some(last) = read.last() {
                *next = last.offset + 1;
                each(n as u32, &read.iter().map(LogRecord::borrowed).collect::<Vec<_>>());
            }
        }
        Ok(())
    }
}

impl LogReader for MemoryReader {
    fn batch(&mut self) -> Result<Vec<LogRecord>, LogError> {
        let count = self.0.len().min(BATCH);
        Ok(self.0.drain(..count).collect())
    }
}

impl Log for MemoryLog {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn name(&self) -> &str {
        "memory"
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn begins_at_end(&self) -> bool {
        false
    }

    fn source(&self) -> Result<Box<dyn Source>, LogError> {
        unreachable!("nothing counts here")
    }

    fn replay(&self, _: Wanted) -> Result<Box<dyn Source>, LogError> {
        unreachable!("nothing counts here")
    }

    fn tail(&self, from: &Position) -> Result<Box<dyn Tail>, LogError> {
        let parts = self.parts.lock();
        let next = (0..).zip(parts.iter());
        let next = next.map(|(p, part)| from.0.get(&p).copied().unwrap_or(part.end())).collect();
        Ok(Box::new(MemoryTail { parts: self.parts.clone(), next }))
    }

    fn range(&self, partition: u32, from: u64, to: u64) -> Result<Box<dyn LogReader>, LogError> {
        let parts = self.parts.lock();
        Ok(Box::new(MemoryReader(parts[partition as usize].records(from, to, usize::MAX))))
    }

    fn bounds(&self) -> Result<Vec<Bounds>, LogError> {
        let parts = self.parts.lock();
        let held = |(partition, part): (u32, &Part)| Bounds {
            partition,
            start: part.start,
            end: part.end(),
            open: 0,
        };
        Ok((0..).zip(parts.iter()).map(held).collect())
    }

    fn starts(&self, _: i64) -> Result<BTreeMap<u32, u64>, LogError> {
        unreachable!("nothing asks for times")
    }

    fn append(&self, _: &[(&[u8], &[u8])], _: i64) -> Result<AppendOutcome, AppendError> {
        unreachable!("records are put in directly")
    }

    fn append_copies(&self, _: &[RecordCopy<'_>], _: i64) -> Result<AppendOutcome, AppendError> {
        unreachable!("records are put in directly")
    }

    fn writing(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn survey(&self) -> Arc<dyn Survey> {
        unreachable!("nothing surveys here")
    }
}
