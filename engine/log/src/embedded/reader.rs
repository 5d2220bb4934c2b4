//! Reading a range of one partition again, in copies: for who counts again.

use super::log::SegmentLog;
use crate::{LogError, LogReader, LogRecord};
use std::sync::Arc;

/// Bytes of records that are read at a time, about.
const BYTES: usize = 512 << 10;

/// Reads the offsets `next..to` of a partition.
pub(super) struct EmbeddedReader {
    log: Arc<SegmentLog>,
    partition: u32,
    next: u64,
    to: u64,
}

impl EmbeddedReader {
    pub(super) fn new(log: Arc<SegmentLog>, partition: u32, from: u64, to: u64) -> EmbeddedReader {
        EmbeddedReader { log, partition, next: from, to }
    }
}

impl LogReader for EmbeddedReader {
    fn batch(&mut self) -> Result<Vec<LogRecord>, LogError> {
        while self.next < self.to {
            let mut records = self.log.records(self.partition, self.next, BYTES)?;
            let Some(last) = records.last() else {
                // Dropped since: what is held goes on behind.
                let start =
                    self.log.bounds().get(self.partition as usize).map_or(0, |bounds| bounds.start);
                if start <= self.next {
                    let (partition, offset) = (self.partition, self.next);
                    return Err(LogError::Fatal(format!(
                        "partition {partition}, offset {offset} cannot be read"
                    )));
                }
                self.next = start;
                continue;
            };
            self.next = last.offset + 1;
            records.retain(|record| record.offset < self.to);
            return Ok(records);
        }
        Ok(Vec::new())
    }
}
