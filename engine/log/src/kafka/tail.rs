//! Reads a topic outside the group, all partitions for the live feed or one for who counts again:
//! what the topic no longer holds is skipped.

use super::errors::{describe, describe_death, refused};
use super::raw::Fault;
use super::skipped_offsets::ClientPosition;
use super::{origin_headers, raw, settings};
use crate::{LogError, Tail};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_event::Record;
use tally_progress::Position;

/// How long a broker may take to say what it holds.
const ANSWER: Duration = Duration::from_secs(5);

/// How often it looks for partitions that were added.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// A reader that no group knows of.
pub struct KafkaTail {
    config: KafkaConfig,
    consumer: raw::Consumer,
    /// By partition the next offset.
    next: BTreeMap<u32, u64>,
    /// How far the client is in each partition that is read.
    positions: BTreeMap<u32, ClientPosition>,
    /// Partitions read; 0 before the topic answered.
    partitions: u32,
    /// When the topic was last asked for its partitions.
    looked: Instant,
    /// Whether only partitions that were named are read.
    named: bool,
}

fn client(config: &KafkaConfig) -> Result<raw::Consumer, LogError> {
    raw::Consumer::new(&settings::tail(config)?, &config.topic).map_err(|reason| refused(&reason))
}

/// Outside a group nobody else assigns partitions.
pub(super) struct NoGroup;

impl raw::Rebalance for NoGroup {
    fn assigned(&mut self, _: raw::Client<'_>, partitions: &[u32]) -> Vec<i64> {
        vec![-1; partitions.len()]
    }

    fn revoked(&mut self, _: &[u32], _: bool) {}
}

impl KafkaTail {
    /// A reader from `from` on; partitions that it does not name start at their end.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting of `[kafka]` cannot be used.
    pub fn open(config: &KafkaConfig, from: &Position) -> Result<KafkaTail, LogError> {
        Ok(KafkaTail {
            config: config.clone(),
            consumer: client(config)?,
            next: from.0.clone(),
            positions: BTreeMap::new(),
            partitions: 0,
            looked: Instant::now(),
            named: false,
        })
    }

    /// A reader of one partition.
    ///
    /// # Errors
    /// As [`KafkaTail::open`].
    pub fn of_partition(
        config: &KafkaConfig,
        partition: u32,
        from: u64,
    ) -> Result<KafkaTail, LogError> {
        let from = Position([(partition, from)].into());
        Ok(KafkaTail { named: true, ..KafkaTail::open(config, &from)? })
    }

    /// The offset before which all of a partition was handed over, or holds no record.
    pub fn reached(&mut self, partition: u32) -> u64 {
        let next = self.next.get(&partition).copied().unwrap_or(0);
        let reached = self.consumer.client().reached(std::iter::once(partition));
        let reached = reached.first().map_or(0, |(_, reached)| *reached);
        self.positions.entry(partition).or_default().observe(reached).unwrap_or(0).max(next)
    }

    /// Takes up all partitions of the topic: those that were added since from their first record
    /// on.
    fn take_up_partitions(&mut self, wait: Duration) -> Result<(), Fault> {
        let partitions = self.consumer.client().partitions(wait)?;
        if partitions <= self.partitions {
            return Ok(());
        }
        let new = |partition: &u32| !self.named && !self.next.contains_key(partition);
        let new: Vec<u32> = (0..partitions).filter(new).collect();
        for extent in self.consumer.client().extents(&new, wait)? {
            self.next.insert(
                extent.partition,
                if self.partitions == 0 { extent.stable } else { extent.start },
            );
        }
        let starts: Vec<(u32, i64)> =
            self.next.iter().map(|(partition, next)| (*partition, *next as i64)).collect();
        self.consumer.assign(&starts)?;
        let client = self.consumer.client();
        self.positions = self
            .next
            .keys()
            .map(|partition| (*partition, client.position_of_taken_up(*partition)))
            .collect();
        self.partitions = partitions;
        Ok(())
    }
}

impl Tail for KafkaTail {
    fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        each: &mut dyn FnMut(u32, &[Record<'_>]),
    ) -> Result<(), LogError> {
        if let Some(why) = self.consumer.client().fatal() {
            self.consumer = client(&self.config)?;
            self.partitions = 0;
            return Err(describe_death(&why, "it is replaced by a new one"));
        }
        if self.partitions == 0 || self.looked.elapsed() > CHECK_EVERY {
            self.looked = Instant::now();
            self.take_up_partitions(wait.max(ANSWER))
                .map_err(|fault| describe(&self.config, &fault))?;
        }
        let (batch, _, faults) = self.consumer.poll(wait, max_records, &mut NoGroup);
        let mut messages: Vec<raw::Message<'_>> = batch.iter().collect();
        messages.sort_by_key(|message| message.partition());
        let mut first = faults.into_iter().next();
        let mut records = Vec::with_capacity(messages.len());
        for run in messages.chunk_by(|left, right| left.partition() == right.partition()) {
            records.clear();
            for message in run {
                match message.fault() {
                    Some(fault) => {
                        self.positions.entry(message.partition()).or_default().doubt();
                        first = first.or(Some(fault));
                    }
                    None => records.push(origin_headers::record(*message)),
                }
            }
            if !records.is_empty() {
                let (partition, last) = (run[0].partition(), records[records.len() - 1].offset);
                self.next.insert(partition, last + 1);
                each(partition, &records);
            }
        }
        drop(batch);
        first.map_or(Ok(()), |fault| Err(describe(&self.config, &fault)))
    }
}
