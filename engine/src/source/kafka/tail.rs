//! Reads a topic outside the group, all partitions for the live feed or one for those who count again: what is gone from
//! the log is skipped.

use super::{ANSWER, Fault, raw, settings, told};
use crate::config::KafkaConfig;
use crate::event::{Position, Record};
use crate::source::{Bounds, SourceError};
use std::time::Duration;

/// A reader that no group knows of.
pub struct Tail {
    config: KafkaConfig,
    consumer: raw::Consumer,
    from: Position,
    /// Partitions of the topic; 0 before it answered.
    partitions: u32,
    /// Whether only partitions that `from` names are read.
    named: bool,
}

/// Outside a group nothing is assigned by others.
struct Nobody;

impl raw::Rebalance for Nobody {
    fn assigned(&mut self, _: raw::Client<'_>, partitions: &[u32]) -> Vec<i64> {
        vec![-1; partitions.len()]
    }

    fn revoked(&mut self, _: &[u32], _: bool) {}
}

impl Tail {
    /// A reader from `from` on; partitions that it does not name start at their end.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig, from: &Position) -> Result<Tail, SourceError> {
        let consumer = raw::Consumer::new(&settings::tail(config)?, &config.topic)
            .map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
        Ok(Tail { config: config.clone(), consumer, from: from.clone(), partitions: 0, named: false })
    }

    /// A reader of one partition.
    ///
    /// # Errors
    /// As [`Tail::open`].
    pub fn of_partition(config: &KafkaConfig, partition: u32, from: u64) -> Result<Tail, SourceError> {
        let from = Position([(partition, from)].into());
        Ok(Tail { named: true, ..Tail::open(config, &from)? })
    }

    /// What the topic holds of each partition, asked now. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`SourceError::Transient`] when the log does not answer in time.
    pub fn bounds(config: &KafkaConfig) -> Result<Vec<Bounds>, SourceError> {
        let tail = Tail::open(config, &Position::default())?;
        let fault = |fault: Fault| told(config, &fault);
        let bounds = |partition| {
            let (start, end) = tail.consumer.client().watermarks(partition, ANSWER).map_err(fault)?;
            Ok(Bounds { partition, start, end })
        };
        (0..tail.consumer.partitions(ANSWER).map_err(fault)?).map(bounds).collect()
    }

    /// Waits up to `wait` for records (the first time longer: for the topic) and hands over at most `max_records`, partition
    /// by partition in offset order. Payloads are valid only during the call.
    ///
    /// # Errors
    /// [`SourceError::Transient`] is over by itself, poll on; [`SourceError::Fatal`] ends the reader.
    pub fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        mut each: impl FnMut(u32, &[Record<'_>]),
    ) -> Result<(), SourceError> {
        let fault = |fault: Fault| told(&self.config, &fault);
        if self.partitions == 0 {
            let partitions = self.consumer.partitions(wait.max(Duration::from_secs(2))).map_err(fault)?;
            let start = |partition| (partition, self.from.0.get(&partition).map_or(-1, |offset| *offset as i64));
            let wanted = |partition: &u32| !self.named || self.from.0.contains_key(partition);
            let starts: Vec<(u32, i64)> = (0..partitions).filter(wanted).map(start).collect();
            self.consumer.assign(&starts).map_err(fault)?;
            self.partitions = partitions;
        }
        let (batch, _, faults) = self.consumer.poll(wait, max_records, &mut Nobody);
        let mut messages: Vec<raw::Message<'_>> = batch.iter().collect();
        messages.sort_by_key(|message| message.partition());
        let mut first = faults.into_iter().next();
        let mut records = Vec::with_capacity(messages.len());
        for run in messages.chunk_by(|left, right| left.partition() == right.partition()) {
            records.clear();
            for message in run {
                match message.fault() {
                    Some(fault) => first = first.or(Some(fault)),
                    None => records.push(Record {
                        offset: message.offset(),
                        timestamp_ms: message.timestamp_ms(),
                        payload: message.payload(),
                    }),
                }
            }
            if !records.is_empty() {
                each(run[0].partition(), &records);
            }
        }
        first.map_or(Ok(()), |fault| Err(told(&self.config, &fault)))
    }
}
