//! Writing to the topic: idempotent, keyed, acknowledged by all replicas in sync. For plain threads: it blocks.
//!
//! [`Producer::send`] waits for what it sends; an [`Outbox`] waits for room only and counts what comes back. A key goes
//! where Java clients put it too, so that a user's events meet in one partition whoever wrote them.
//!
//! Queue: librdkafka's, 100,000 messages or 64 MiB; when it is full `send` waits for room. What is not acknowledged in
//! `message.timeout.ms` (20 s) fails. It decides nothing about events: keys and payloads are the caller's.

use super::settings;
use crate::config::KafkaConfig;
use crate::source::SourceError;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the brokers may take to tell about the topic.
const ANSWER: Duration = Duration::from_secs(10);

/// Failed records told one by one between two looks; more are only counted.
const TOLD: usize = 20;

/// A sender that waits for room is woken by so many acknowledgements, not by each.
const ROOM: usize = 500;

/// A producer for the topic of `[kafka]`; shared by any number of threads.
pub struct Producer {
    inner: ThreadedProducer<Deliveries>,
    topic: String,
    brokers: String,
}

/// Some of the records were not acknowledged.
#[derive(Clone, Debug, Error)]
#[error(
    "{unacknowledged} of {sent} events were not acknowledged by Kafka at {brokers}, topic \"{topic}\" ({reason}): they may or may not be in the log; send them again with the same event_id"
)]
pub struct ProduceError {
    /// How many were to be sent.
    pub sent: usize,
    /// How many of them are in doubt or refused.
    pub unacknowledged: usize,
    /// Of those acknowledged, per partition the offset after the last.
    pub next: BTreeMap<u32, u64>,
    brokers: String,
    topic: String,
    reason: String,
}

/// The acknowledgements of one `send`, or of one [`Outbox`]; one thread waits for them.
struct Awaited {
    state: Mutex<Acknowledged>,
    changed: Condvar,
}

#[derive(Default)]
struct Acknowledged {
    answered: usize,
    failed: usize,
    /// The waiting thread is woken when so many are answered.
    wanted: usize,
    /// Why the first one failed.
    reason: Option<String>,
    /// The first few that failed, each a sentence.
    told: Vec<String>,
    next: BTreeMap<u32, u64>,
}

/// Called by librdkafka's polling thread.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Awaited>;

    fn delivery(&self, result: &DeliveryResult<'_>, awaited: Arc<Awaited>) {
        let mut state = awaited.state.lock();
        state.answered += 1;
        match result {
            Ok(message) => {
                let next = state.next.entry(message.partition() as u32).or_insert(0);
                *next = (*next).max(message.offset() as u64 + 1);
            }
            Err((reason, message)) => {
                state.failed += 1;
                state.reason.get_or_insert_with(|| reason.to_string());
                if state.told.len() < TOLD {
                    let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                    state.told.push(format!("an event of user {key} was not acknowledged: {reason}"));
                }
            }
        }
        if state.answered >= state.wanted {
            awaited.changed.notify_all();
        }
    }
}

impl Awaited {
    fn new() -> Arc<Awaited> {
        Arc::new(Awaited { state: Mutex::default(), changed: Condvar::new() })
    }

    /// Waits until all that were sent are answered for.
    fn all(&self, sent: usize) -> MutexGuard<'_, Acknowledged> {
        let mut state = self.state.lock();
        state.wanted = sent;
        while state.answered < sent {
            // librdkafka answers for every message within message.timeout.ms
            self.changed.wait(&mut state);
        }
        state
    }
}

impl Producer {
    /// A producer; connecting happens in the background.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<Producer, SourceError> {
        let mut client = ClientConfig::new();
        client.extend(settings::producer(config)?);
        let inner =
            client.create_with_context(Deliveries).map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
        Ok(Producer { inner, topic: config.topic.clone(), brokers: config.brokers.clone() })
    }

    /// Sends records (key, payload) and waits until each is acknowledged or has failed. Returns per partition written to
    /// the offset after the last record of this call. Records of one key stay in order.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub fn send(&self, records: &[(&[u8], &[u8])]) -> Result<BTreeMap<u32, u64>, ProduceError> {
        let awaited = Awaited::new();
        let mut sent = 0;
        let mut refused = None;
        for (key, payload) in records {
            match self.enqueue(key, payload, &awaited, sent) {
                Ok(()) => sent += 1,
                Err(reason) => {
                    refused = Some(reason);
                    break;
                }
            }
        }
        let mut state = awaited.all(sent);
        let next = std::mem::take(&mut state.next);
        let unacknowledged = state.failed + records.len() - sent;
        if unacknowledged == 0 {
            return Ok(next);
        }
        let reason = refused.or(state.reason.take()).unwrap_or_else(|| "no reason given".into());
        Err(ProduceError {
            sent: records.len(),
            unacknowledged,
            next,
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            reason,
        })
    }

    /// Waits for room in the queue, up to 20 s.
    fn enqueue(&self, key: &[u8], payload: &[u8], awaited: &Arc<Awaited>, sent: usize) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut record = BaseRecord::with_opaque_to(&self.topic, Arc::clone(awaited)).key(key).payload(payload);
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    record = back
                }
                Err((reason, _)) => return Err(reason.to_string()),
            }
            // Room comes with acknowledgements: of our own, or of other callers, which we do not see.
            let mut state = awaited.state.lock();
            if state.answered < sent {
                state.wanted = sent.min(state.answered + ROOM);
                awaited.changed.wait_for(&mut state, Duration::from_millis(50));
            } else {
                drop(state);
                let _ = self.inner.flush(Duration::from_millis(50)); // full is what it was; the next try tells
            }
        }
    }
}

/// Records of one sender on their way; what became of them is counted as it is heard of.
pub struct Outbox {
    producer: Producer,
    awaited: Arc<Awaited>,
    sent: usize,
}

impl Outbox {
    /// Connects, and asks whether the topic is there. Blocks for 10 s at most.
    ///
    /// # Errors
    /// [`SourceError`]: a setting that cannot be, no broker, no topic.
    pub fn open(config: &KafkaConfig) -> Result<Outbox, SourceError> {
        let producer = Producer::open(config)?;
        topic_exists(producer.inner.client(), config)?;
        Ok(Outbox { producer, awaited: Awaited::new(), sent: 0 })
    }

    /// Takes a record; waits while the queue is full.
    ///
    /// # Errors
    /// A sentence: the queue stayed full for 20 s, or the record cannot be sent at all.
    pub fn send(&mut self, key: &[u8], payload: &[u8]) -> Result<(), String> {
        let Producer { topic, brokers, .. } = &self.producer;
        self.producer
            .enqueue(key, payload, &self.awaited, self.sent)
            .map_err(|reason| format!("Kafka at {brokers}, topic \"{topic}\", takes no events: {reason}"))?;
        self.sent += 1;
        Ok(())
    }

    /// How many were acknowledged and how many failed so far.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.awaited.state.lock();
        ((state.answered - state.failed) as u64, state.failed as u64)
    }

    /// The first few failures since the last call, each a sentence.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.awaited.state.lock().told)
    }

    /// Waits until all are acknowledged or have failed.
    pub fn finish(&mut self) {
        drop(self.awaited.all(self.sent));
    }
}

fn topic_exists(client: &Client<Deliveries>, config: &KafkaConfig) -> Result<(), SourceError> {
    let KafkaConfig { brokers, topic, .. } = config;
    let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(|error| {
        SourceError::Transient(format!(
            "no Kafka broker answers at {brokers}: {error}; is KAFKA_BROKER (kafka.brokers) right and the broker up?"
        ))
    })?;
    match metadata.topics().iter().find(|found| found.name() == topic).and_then(|found| found.error()) {
        Some(error) => Err(SourceError::Transient(format!(
            "topic \"{topic}\" at {brokers} cannot be written: {}",
            KafkaError::MetadataFetch(RDKafkaErrorCode::from(error))
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;

    fn cluster() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, KafkaConfig) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 2, 1).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        (cluster, config)
    }

    #[test]
    fn what_a_broker_took_is_acknowledged_also_past_a_full_queue() {
        let (_cluster, mut config) = cluster();
        config.settings.insert("queue.buffering.max.messages".into(), "100".into());
        let mut outbox = Outbox::open(&config).unwrap();
        for n in 0..5_000 {
            outbox.send((n % 7).to_string().as_bytes(), b"{}").unwrap();
        }
        outbox.finish();
        assert_eq!((outbox.counts(), outbox.told()), ((5_000, 0), Vec::new()));
    }

    #[test]
    fn an_outbox_puts_a_key_where_send_puts_it() {
        let (_cluster, config) = cluster();
        let producer = Producer::open(&config).unwrap();
        let mut outbox = Outbox::open(&config).unwrap();
        for key in ["1", "2", "3", "abc", "é"] {
            let before = outbox.awaited.state.lock().next.clone();
            outbox.send(key.as_bytes(), b"{}").unwrap();
            outbox.finish();
            let after = outbox.awaited.state.lock().next.clone();
            let moved: Vec<u32> =
                after.iter().filter(|(at, next)| before.get(at) != Some(next)).map(|(at, _)| *at).collect();
            let sent: Vec<u32> = producer.send(&[(key.as_bytes(), b"{}")]).unwrap().into_keys().collect();
            assert_eq!(moved, sent, "{key}");
        }
    }

    #[test]
    fn what_no_broker_takes_is_counted_and_told() {
        let (cluster, mut config) = cluster();
        config.settings.insert("message.timeout.ms".into(), "300".into());
        let mut outbox = Outbox::open(&config).unwrap();
        drop(cluster);
        for _ in 0..TOLD + 5 {
            outbox.send(b"7", b"{}").unwrap();
        }
        outbox.finish();
        assert_eq!(outbox.counts(), (0, TOLD as u64 + 5));
        let told = outbox.told();
        assert!(told.len() == TOLD && told[0].starts_with("an event of user 7 was not acknowledged: "), "{told:?}");
        assert_eq!(outbox.told(), Vec::<String>::new());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_a_sentence() {
        let settings = [("no.such.setting".to_owned(), "1".to_owned())].into();
        let error = Outbox::open(&KafkaConfig { settings, ..KafkaConfig::default() }).err().unwrap().to_string();
        assert!(error.contains("no.such.setting") && error.contains("[kafka"), "{error}");
    }
}
