//! Writing to the topic: idempotent, keyed, acknowledged by all replicas in sync. For plain
//! threads: it blocks.
//!
//! [`Producer::send`] waits for the acknowledgement of what it sends; a [`BulkProducer`] waits only
//! for room and counts acknowledgements. A key goes to the partition that Java clients choose, so
//! all events of a user are in one partition whoever writes them. A client that librdkafka declares
//! dead is replaced by the next `send`, after longer and longer pauses while each new one dies too.
//!
//! Queue: librdkafka's, 100,000 messages or 64 MiB; when it is full `send` waits for room. What is
//! not acknowledged within `message.timeout.ms` (20 s) fails. It does not look at events: keys and
//! payloads are the caller's.

use super::raw::Fault;
use super::sender::{Delivered, Deliveries, Sender};
use super::topic::MetadataClient;
use crate::{AppendError, DeliveryCounts, LogError, LogProducer};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_system::outage::Cause;
use thiserror::Error;

/// How long the brokers may take to describe the topic.
const ANSWER: Duration = Duration::from_secs(10);

/// A client that died is replaced so long after it was made, twice as long each time that its
/// successor dies.
const REPLACE: Duration = Duration::from_millis(100);

/// Longest pause before a client is replaced.
const REPLACE_AT_MOST: Duration = Duration::from_secs(5);

/// A producer for the topic of `[kafka]`; shared by any number of threads.
pub struct Producer {
    config: KafkaConfig,
    client: Mutex<Made>,
    writing: Mutex<Writing>,
}

/// The client that is used now.
struct Made {
    sender: Arc<Sender>,
    when: Instant,
    /// How many died since something was acknowledged.
    deaths: u32,
}

/// How writing goes.
#[derive(Clone, Debug, Default)]
struct Writing {
    acknowledged: u64,
    failing: Option<Failing>,
}

#[derive(Clone, Debug)]
struct Failing {
    why: String,
    /// Since when, and how many events since then.
    since: Instant,
    events: u64,
}

/// Some of the records were not acknowledged.
#[derive(Clone, Debug, Error)]
#[error(
    "{unacknowledged} of {sent} events were not acknowledged by Kafka at {brokers}, topic \
     \"{topic}\" ({reason}): they may or may not be in the log; send them again with the same \
     event_id"
)]
pub struct ProduceError {
    /// How many records the call had.
    pub sent: usize,
    /// How many of them were refused, or may or may not be in the log.
    pub unacknowledged: usize,
    /// Of those acknowledged, per partition the offset after the last.
    pub next: BTreeMap<u32, u64>,
    /// Why the first of them was not.
    pub cause: Cause,
    brokers: String,
    topic: String,
    reason: String,
}

impl Producer {
    /// A producer; connecting happens in the background.
    ///
    /// # Errors
    /// [`LogError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<Producer, LogError> {
        let made = Made { sender: Sender::open(config)?, when: Instant::now(), deaths: 0 };
        Ok(Producer { config: config.clone(), client: Mutex::new(made), writing: Mutex::default() })
    }

    /// Sends records (key, payload) and waits until each is acknowledged or has failed. Returns per
    /// partition written to the offset after the last record of this call. Records of one key stay
    /// in order.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub fn send(&self, records: &[(&[u8], &[u8])]) -> Result<BTreeMap<u32, u64>, ProduceError> {
        let sender = match self.working_sender() {
            Ok(sender) => sender,
            Err(fault) => {
                return Err(self.failed(records.len(), records.len(), BTreeMap::new(), &fault));
            }
        };
        let deliveries = Deliveries::new();
        let mut sent = 0;
        let mut refused = None;
        for (key, payload) in records {
            match sender.enqueue(key, payload, &deliveries, sent) {
                Ok(()) => sent += 1,
                Err(fault) => {
                    refused = Some(fault);
                    break;
                }
            }
        }
        let mut state = deliveries.all(sent);
        let Delivered { next, failed, reason, .. } = std::mem::take(&mut *state);
        drop(state);
        let unacknowledged = failed + records.len() - sent;
        if unacknowledged == 0 {
            self.acknowledged(&sender, records.len() as u64);
            return Ok(next);
        }
        let fault = refused.or(reason).map_or_else(
            || LogError::Transient(Cause::Unclear, "no reason given".to_owned()),
            |fault| sender.describe(&self.config, &fault),
        );
        Err(self.failed(records.len(), unacknowledged, next, &fault))
    }

    /// How writing goes, as a line for people.
    ///
    /// # Errors
    /// Why the last events were not written, as a line for people.
    pub fn writing(&self) -> Result<String, String> {
        let Writing { acknowledged, failing } = self.writing.lock().clone();
        match failing {
            Some(Failing { why, since, events }) => Err(format!(
                "{events} events were not written in the last {} s: {why}",
                since.elapsed().as_secs()
            )),
            None if acknowledged == 0 => Ok("nothing has been written yet".to_owned()),
            None => Ok(format!("{acknowledged} events acknowledged")),
        }
    }

    /// A client that works: the present one, or a new one once the pause is over.
    fn working_sender(&self) -> Result<Arc<Sender>, LogError> {
        loop {
            let left = {
                let mut made = self.client.lock();
                let Some(fault) = made.sender.death() else { return Ok(made.sender.clone()) };
                let pause = REPLACE.saturating_mul(1 << made.deaths.min(10)).min(REPLACE_AT_MOST);
                let left = pause.saturating_sub(made.when.elapsed());
                if left.is_zero() {
                    let why = made.sender.describe(&self.config, &fault);
                    tracing::warn!("the Kafka client that writes failed and is replaced: {why}");
                    let deaths = made.deaths + 1;
                    *made =
                        Made { sender: Sender::open(&self.config)?, when: Instant::now(), deaths };
                    return Ok(made.sender.clone());
                }
                left
            };
            std::thread::sleep(left);
        }
    }

    fn acknowledged(&self, sender: &Arc<Sender>, events: u64) {
        let mut made = self.client.lock();
        if Arc::ptr_eq(&made.sender, sender) {
            made.deaths = 0;
        }
        drop(made);
        let mut writing = self.writing.lock();
        writing.acknowledged += events;
        if writing.failing.take().is_some() {
            tracing::info!("events are written to Kafka again");
        }
    }

    fn failed(
        &self,
        sent: usize,
        unacknowledged: usize,
        next: BTreeMap<u32, u64>,
        fault: &LogError,
    ) -> ProduceError {
        let (why, events) = (fault.to_string(), unacknowledged as u64);
        let mut writing = self.writing.lock();
        match &mut writing.failing {
            Some(failing) => {
                failing.events += events;
                if failing.why != why {
                    tracing::warn!("events are not written: {why}");
                    failing.why.clone_from(&why);
                }
            }
            None => {
                tracing::warn!("events are not written: {why}");
                writing.failing = Some(Failing { why: why.clone(), since: Instant::now(), events });
            }
        }
        ProduceError {
            sent,
            unacknowledged,
            next,
            cause: match fault {
                LogError::Transient(cause, _) => *cause,
                LogError::Fatal(_) => Cause::Misconfigured,
            },
            brokers: self.config.brokers.clone(),
            topic: self.config.topic.clone(),
            reason: why,
        }
    }
}

impl From<ProduceError> for AppendError {
    fn from(fault: ProduceError) -> AppendError {
        AppendError::InDoubt(fault.to_string())
    }
}

/// Sends records without waiting for each; their acknowledgements are counted as they arrive.
pub struct BulkProducer {
    config: KafkaConfig,
    sender: Arc<Sender>,
    deliveries: Arc<Deliveries>,
    sent: usize,
}

impl BulkProducer {
    /// Connects, and asks whether the topic is there. Blocks for 10 s at most.
    ///
    /// # Errors
    /// [`LogError`]: a setting cannot be used, no broker answers, or the topic does not exist.
    pub fn open(config: &KafkaConfig) -> Result<BulkProducer, LogError> {
        let sender = Sender::open(config)?;
        MetadataClient::open(config)?.ask(|client| client.partitions(ANSWER))?;
        Ok(BulkProducer { config: config.clone(), sender, deliveries: Deliveries::new(), sent: 0 })
    }

    fn in_doubt(&self, fault: &Fault) -> AppendError {
        AppendError::InDoubt(self.sender.describe(&self.config, fault).to_string())
    }
}

impl LogProducer for BulkProducer {
    /// Fails where the queue stays full for 20 s, or the record cannot be sent at all.
    fn send(&mut self, key: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        self.sender
            .enqueue(key, payload, &self.deliveries, self.sent)
            .map_err(|fault| self.in_doubt(&fault))?;
        self.sent += 1;
        Ok(())
    }

    fn counts(&self) -> DeliveryCounts {
        let state = self.deliveries.state.lock();
        DeliveryCounts {
            acknowledged: (state.answered - state.failed) as u64,
            errors: state.failed as u64,
        }
    }

    fn take_failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.deliveries.state.lock().failures)
    }

    fn finish(&mut self) {
        drop(self.deliveries.all(self.sent));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use crate::kafka::sender::LISTED;
    use rdkafka::mocking::MockCluster;

    fn counts(producer: &BulkProducer) -> (u64, u64) {
        let DeliveryCounts { acknowledged, errors } = producer.counts();
        (acknowledged, errors)
    }

    fn cluster() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, KafkaConfig) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 2, 1).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        (cluster, config)
    }

    #[test]
    fn what_a_broker_accepted_is_acknowledged_also_past_a_full_queue() {
        let (_cluster, mut config) = cluster();
        config.settings.insert("queue.buffering.max.messages".into(), "100".into());
        let mut producer = BulkProducer::open(&config).unwrap();
        for n in 0..5_000 {
            producer.send((n % 7).to_string().as_bytes(), b"{}").unwrap();
        }
        producer.finish();
        assert_eq!((counts(&producer), producer.take_failures()), ((5_000, 0), Vec::new()));
    }

    #[test]
    fn a_bulk_producer_puts_a_key_where_send_puts_it() {
        let (_cluster, config) = cluster();
        let producer = Producer::open(&config).unwrap();
        let mut bulk = BulkProducer::open(&config).unwrap();
        for key in ["1", "2", "3", "abc", "é"] {
            let before = bulk.deliveries.state.lock().next.clone();
            bulk.send(key.as_bytes(), b"{}").unwrap();
            bulk.finish();
            let after = bulk.deliveries.state.lock().next.clone();
            let moved: Vec<u32> = after
                .iter()
                .filter(|(at, next)| before.get(at) != Some(next))
                .map(|(at, _)| *at)
                .collect();
            let sent: Vec<u32> =
                producer.send(&[(key.as_bytes(), b"{}")]).unwrap().into_keys().collect();
            assert_eq!(moved, sent, "{key}");
        }
    }

    #[test]
    fn what_no_broker_accepts_is_counted_and_listed() {
        let (cluster, mut config) = cluster();
        config.settings.insert("message.timeout.ms".into(), "300".into());
        let mut producer = BulkProducer::open(&config).unwrap();
        drop(cluster);
        for _ in 0..LISTED + 5 {
            producer.send(b"7", b"{}").unwrap();
        }
        producer.finish();
        assert_eq!(counts(&producer), (0, LISTED as u64 + 5));
        let failures = producer.take_failures();
        assert!(
            failures.len() == LISTED
                && failures[0].starts_with("an event of user 7 was not acknowledged: "),
            "{failures:?}"
        );
        assert_eq!(producer.take_failures(), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let settings = [("no.such.setting".to_owned(), "1".into())].into();
        let error = BulkProducer::open(&KafkaConfig { settings, ..KafkaConfig::default() })
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no.such.setting") && error.contains("[kafka"), "{error}");
    }
}
