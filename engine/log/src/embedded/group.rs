//! Appends of concurrent callers that are committed together: callers add records while an earlier
//! commit runs, and find their result here. No I/O; `log` limits how much may wait.

use super::error::SegmentLogError;
use super::log::CopiedRecord;
use super::value::{self, Writer};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// A batch of records is closed at this size: what a reader must take at once.
const BATCH: usize = 256 << 10;

/// Appends that will be committed together.
pub(super) struct Group {
    pub(super) waiting: Mutex<Waiting>,
    /// Base offset of each partition's first record, once committed.
    pub(super) outcome: OnceLock<Result<Vec<u64>, SegmentLogError>>,
}

pub(super) struct Waiting {
    /// By partition, in order.
    pub(super) batches: Vec<Vec<Writer>>,
    pub(super) counts: Vec<u64>,
    pub(super) bytes: usize,
}

impl Group {
    pub(super) fn new(partitions: u32) -> Arc<Group> {
        let partitions = partitions as usize;
        let waiting = Waiting {
            batches: (0..partitions).map(|_| Vec::new()).collect(),
            counts: vec![0; partitions],
            bytes: 0,
        };
        Arc::new(Group { waiting: Mutex::new(waiting), outcome: OnceLock::new() })
    }
}

impl Waiting {
    /// Number of records of the partition in this group, these included.
    pub(super) fn push(&mut self, partition: u32, records: &[(&[u8], i64)]) -> u64 {
        for (payload, timestamp_ms) in records {
            self.writer(partition).push(payload, *timestamp_ms);
            self.bytes += payload.len() + value::PER_RECORD;
        }
        self.pushed(partition, records.len())
    }

    /// The same of copies.
    pub(super) fn push_copies(&mut self, partition: u32, records: &[CopiedRecord<'_>]) -> u64 {
        for record in records {
            let CopiedRecord { payload, timestamp_ms, origin } = *record;
            self.writer(partition).push_copy(payload, timestamp_ms, origin);
            self.bytes += copy_bytes(record);
        }
        self.pushed(partition, records.len())
    }

    /// The batch to which the next record belongs.
    fn writer(&mut self, partition: u32) -> &mut Writer {
        let batches = &mut self.batches[partition as usize];
        if batches.last().is_none_or(|batch| batch.len() >= BATCH) {
            batches.push(Writer::new());
        }
        let last = batches.len() - 1;
        &mut batches[last]
    }

    fn pushed(&mut self, partition: u32, records: usize) -> u64 {
        let count = &mut self.counts[partition as usize];
        *count += records as u64;
        *count
    }
}

/// Bytes that a copy takes.
pub(super) fn copy_bytes(copy: &CopiedRecord<'_>) -> usize {
    copy.payload.len() + value::PER_RECORD + value::PER_COPY + copy.origin.place.len()
}
