//! Writing to the topic: idempotent, keyed, acknowledged by all replicas in sync. For plain threads: it blocks.
//!
//! Queue: librdkafka's, 100,000 messages or 64 MiB; when it is full `send` waits for room. What is not acknowledged in
//! `message.timeout.ms` (20 s) fails. It decides nothing about events: keys and payloads are the caller's.

use super::settings;
use crate::config::KafkaConfig;
use crate::source::SourceError;
use parking_lot::{Condvar, Mutex};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

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

/// The acknowledgements of one `send`.
struct Awaited {
    state: Mutex<Acknowledged>,
    changed: Condvar,
}

#[derive(Default)]
struct Acknowledged {
    answered: usize,
    failed: usize,
    reason: Option<String>,
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
            Err((reason, _)) => {
                state.failed += 1;
                state.reason.get_or_insert_with(|| reason.to_string());
            }
        }
        awaited.changed.notify_all();
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
        let awaited = Arc::new(Awaited { state: Mutex::default(), changed: Condvar::new() });
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
        let mut state = awaited.state.lock();
        while state.answered < sent {
            // librdkafka answers for every message within message.timeout.ms
            awaited.changed.wait(&mut state);
        }
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
                awaited.changed.wait_for(&mut state, Duration::from_millis(50));
            } else {
                drop(state);
                let _ = self.inner.flush(Duration::from_millis(50)); // full is what it was; the next try tells
            }
        }
    }
}
