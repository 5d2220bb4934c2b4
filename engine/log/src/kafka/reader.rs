//! Reading a range of one partition again, in copies: for who counts again.

use super::tail::KafkaTail;
use crate::{LogError, LogReader, LogRecord, Tail};
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_event::Record;
use tally_system::outage::Cause;

/// Records that are handed over at a time, at most.
const RECORDS: usize = 2_048;

/// Longest wait for records at a time.
const WAIT: Duration = Duration::from_millis(500);

/// How long nothing may arrive although the range goes on.
const SILENCE: Duration = Duration::from_secs(20);

/// Reads the offsets `next..to` of a partition.
pub(super) struct KafkaReader {
    tail: KafkaTail,
    partition: u32,
    next: u64,
    to: u64,
}

impl KafkaReader {
    pub(super) fn open(
        config: &KafkaConfig,
        partition: u32,
        from: u64,
        to: u64,
    ) -> Result<KafkaReader, LogError> {
        let tail = KafkaTail::of_partition(config, partition, from)?;
        Ok(KafkaReader { tail, partition, next: from, to })
    }
}

impl LogReader for KafkaReader {
    fn batch(&mut self) -> Result<Vec<LogRecord>, LogError> {
        let mut records: Vec<LogRecord> = Vec::new();
        let deadline = Instant::now() + SILENCE;
        while records.is_empty() && self.next < self.to {
            let mut each =
                |_: u32, found: &[Record<'_>]| records.extend(found.iter().map(LogRecord::from));
            let trouble = match self.tail.poll(WAIT, RECORDS, &mut each) {
                Err(fault @ LogError::Fatal(_)) => return Err(fault),
                polled => polled.err(),
            };
            if let Some(last) = records.last() {
                self.next = last.offset + 1;
                records.retain(|record| record.offset < self.to);
                continue;
            }
            let reached = self.tail.reached(self.partition);
            if reached > self.next {
                // The partition goes on, or ends, with offsets that hold no record.
                self.next = reached;
            } else if Instant::now() >= deadline {
                return Err(trouble.unwrap_or_else(|| self.silent()));
            }
        }
        Ok(records)
    }
}

impl KafkaReader {
    fn silent(&self) -> LogError {
        let KafkaReader { partition, next, to, .. } = self;
        let what = format!(
            "partition {partition} delivered no record from offset {next} on within {SILENCE:?}, \
             though it holds some before {to}"
        );
        LogError::Transient(Cause::Unclear, what)
    }
}
