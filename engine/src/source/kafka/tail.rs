//! Reads a topic outside the group, all partitions for the live feed or one for those who count again: what is gone from
//! the log is skipped.

use super::{ANSWER, Fault, raw, settings, told};
use crate::config::KafkaConfig;
use crate::event::{Position, Record};
use crate::source::{Bounds, SourceError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often it looks for partitions that were added.
const LOOK: Duration = Duration::from_secs(5);

/// A reader that no group knows of.
pub struct Tail {
    config: KafkaConfig,
    consumer: raw::Consumer,
    /// Per partition what comes next.
    next: BTreeMap<u32, u64>,
    /// Partitions read; 0 before the topic answered.
    partitions: u32,
    /// When the topic was last asked for its partitions.
    looked: Instant,
    /// Whether only partitions that were named are read.
    named: bool,
}

/// Outside a group nothing is assigned by others.
pub(super) struct Nobody;

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
        Ok(Tail {
            config: config.clone(),
            consumer,
            next: from.0.clone(),
            partitions: 0,
            looked: Instant::now(),
            named: false,
        })
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

    /// Per partition the offset of the first record that was appended at `since` (Unix milliseconds) or later; the end
    /// where there is none. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`SourceError::Transient`] when the log does not answer in time.
    pub fn starts(config: &KafkaConfig, since: i64) -> Result<BTreeMap<u32, u64>, SourceError> {
        let tail = Tail::open(config, &Position::default())?;
        let fault = |fault: Fault| told(config, &fault);
        let start = |partition| {
            let (_, end) = tail.consumer.client().watermarks(partition, ANSWER).map_err(fault)?;
            let found = tail.consumer.client().offset_at(partition, since, ANSWER).map_err(fault)?;
            Ok((partition, found.unwrap_or(end)))
        };
        (0..tail.consumer.partitions(ANSWER).map_err(fault)?).map(start).collect()
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
        if self.partitions == 0 || self.looked.elapsed() > LOOK {
            self.looked = Instant::now();
            self.look(wait.max(ANSWER)).map_err(|fault| told(&self.config, &fault))?;
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
                let (partition, last) = (run[0].partition(), records[records.len() - 1].offset);
                self.next.insert(partition, last + 1);
                each(partition, &records);
            }
        }
        first.map_or(Ok(()), |fault| Err(told(&self.config, &fault)))
    }

    /// Reads all partitions that there are: those that were added since from their first record on.
    fn look(&mut self, wait: Duration) -> Result<(), Fault> {
        let partitions = self.consumer.partitions(wait)?;
        if partitions <= self.partitions {
            return Ok(());
        }
        let new = |partition: &u32| !self.named && !self.next.contains_key(partition);
        for partition in (0..partitions).filter(new).collect::<Vec<_>>() {
            let (start, end) = self.consumer.client().watermarks(partition, wait)?;
            self.next.insert(partition, if self.partitions == 0 { end } else { start });
        }
        let starts: Vec<(u32, i64)> = self.next.iter().map(|(partition, next)| (*partition, *next as i64)).collect();
        self.consumer.assign(&starts)?;
        self.partitions = partitions;
        Ok(())
    }
}
