//! Reads a topic outside the group, all partitions for the live feed or one for those who count again: what is gone from
//! the log is skipped.

use super::holes::Believed;
use super::{ANSWER, Fault, raw, settings, told};
use crate::config::KafkaConfig;
use crate::event::{Position, Record};
use crate::outage::Cause;
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
    /// What is known of the client's place in each partition that is read.
    believed: BTreeMap<u32, Believed>,
    /// Partitions read; 0 before the topic answered.
    partitions: u32,
    /// When the topic was last asked for its partitions.
    looked: Instant,
    /// Whether only partitions that were named are read.
    named: bool,
}

fn client(config: &KafkaConfig) -> Result<raw::Consumer, SourceError> {
    raw::Consumer::new(&settings::tail(config)?, &config.topic)
        .map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))
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
        Ok(Tail {
            config: config.clone(),
            consumer: client(config)?,
            next: from.0.clone(),
            believed: BTreeMap::new(),
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
        let partitions: Vec<u32> = (0..tail.consumer.client().partitions(ANSWER).map_err(fault)?).collect();
        let extents = tail.consumer.client().extents(&partitions, ANSWER).map_err(fault)?;
        Ok(extents.into_iter().map(Bounds::from).collect())
    }

    /// Per partition the offset of the first record that was appended at `since` (Unix milliseconds) or later; the end
    /// where there is none. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`SourceError::Transient`] when the log does not answer in time.
    pub fn starts(config: &KafkaConfig, since: i64) -> Result<BTreeMap<u32, u64>, SourceError> {
        let tail = Tail::open(config, &Position::default())?;
        let fault = |fault: Fault| told(config, &fault);
        let partitions: Vec<u32> = (0..tail.consumer.client().partitions(ANSWER).map_err(fault)?).collect();
        let extents = tail.consumer.client().extents(&partitions, ANSWER).map_err(fault)?;
        let start = |extent: raw::Extent| {
            let found = tail.consumer.client().offset_at(extent.partition, since, ANSWER).map_err(fault)?;
            Ok((extent.partition, found.unwrap_or(extent.stable)))
        };
        extents.into_iter().map(start).collect()
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
        if let Some(why) = self.consumer.client().fatal() {
            self.consumer = client(&self.config)?;
            self.partitions = 0;
            let what = format!("the Kafka client cannot go on: {why}: it is made anew");
            return Err(SourceError::Transient(Cause::Unclear, what));
        }
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
                    Some(fault) => {
                        self.believed.entry(message.partition()).or_default().doubt();
                        first = first.or(Some(fault));
                    }
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
        drop(batch);
        first.map_or(Ok(()), |fault| Err(told(&self.config, &fault)))
    }

    /// The offset before which all of a partition was handed over, or holds no record.
    pub fn reached(&mut self, partition: u32) -> u64 {
        let next = self.next.get(&partition).copied().unwrap_or(0);
        let reached = self.consumer.client().reached(std::iter::once(partition));
        let reached = reached.first().map_or(0, |(_, reached)| *reached);
        self.believed.entry(partition).or_default().place(reached).unwrap_or(0).max(next)
    }

    /// Reads all partitions that there are: those that were added since from their first record on.
    fn look(&mut self, wait: Duration) -> Result<(), Fault> {
        let partitions = self.consumer.client().partitions(wait)?;
        if partitions <= self.partitions {
            return Ok(());
        }
        let new = |partition: &u32| !self.named && !self.next.contains_key(partition);
        let new: Vec<u32> = (0..partitions).filter(new).collect();
        for extent in self.consumer.client().extents(&new, wait)? {
            self.next.insert(extent.partition, if self.partitions == 0 { extent.stable } else { extent.start });
        }
        let starts: Vec<(u32, i64)> = self.next.iter().map(|(partition, next)| (*partition, *next as i64)).collect();
        self.consumer.assign(&starts)?;
        let client = self.consumer.client();
        self.believed = self.next.keys().map(|partition| (*partition, client.place(*partition))).collect();
        self.partitions = partitions;
        Ok(())
    }
}
