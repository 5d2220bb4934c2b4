//! Writing to the topic: idempotent, keyed, acknowledged by all replicas in sync. For plain threads: it blocks.
//!
//! [`Producer::send`] waits for what it sends; an [`Outbox`] waits for room only and counts what comes back. A key goes
//! where Java clients put it too, so that a user's events meet in one partition whoever wrote them. A client that librdkafka
//! declares dead is replaced by the next `send`, ever later while each dies again; how writing stands can be asked.
//!
//! Queue: librdkafka's, 100,000 messages or 64 MiB; when it is full `send` waits for room. What is not acknowledged in
//! `message.timeout.ms` (20 s) fails. It decides nothing about events: keys and payloads are the caller's.

use super::sender::{Acknowledged, Awaited, Sender};
use super::topic::Asker;
use crate::config::KafkaConfig;
use crate::outage::Cause;
use crate::source::SourceError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the brokers may take to tell about the topic.
const ANSWER: Duration = Duration::from_secs(10);

/// A client that died is made anew so long after it was made, twice as long each time that it dies again.
const ANEW: Duration = Duration::from_millis(100);

/// Longest pause before a client is made anew.
const ANEW_AT_MOST: Duration = Duration::from_secs(5);

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

/// How writing stands.
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
    "{unacknowledged} of {sent} events were not acknowledged by Kafka at {brokers}, topic \"{topic}\" ({reason}): they may or may not be in the log; send them again with the same event_id"
)]
pub struct ProduceError {
    /// How many were to be sent.
    pub sent: usize,
    /// How many of them are in doubt or refused.
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
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<Producer, SourceError> {
        let made = Made { sender: Sender::open(config)?, when: Instant::now(), deaths: 0 };
        Ok(Producer { config: config.clone(), client: Mutex::new(made), writing: Mutex::default() })
    }

    /// Sends records (key, payload) and waits until each is acknowledged or has failed. Returns per partition written to
    /// the offset after the last record of this call. Records of one key stay in order.
    ///
    /// # Errors
    /// [`ProduceError`].
    pub fn send(&self, records: &[(&[u8], &[u8])]) -> Result<BTreeMap<u32, u64>, ProduceError> {
        let sender = match self.living() {
            Ok(sender) => sender,
            Err(fault) => return Err(self.failed(records.len(), records.len(), BTreeMap::new(), &fault)),
        };
        let awaited = Awaited::new();
        let mut sent = 0;
        let mut refused = None;
        for (key, payload) in records {
            match sender.enqueue(key, payload, &awaited, sent) {
                Ok(()) => sent += 1,
                Err(fault) => {
                    refused = Some(fault);
                    break;
                }
            }
        }
        let mut state = awaited.all(sent);
        let Acknowledged { next, failed, reason, .. } = std::mem::take(&mut *state);
        drop(state);
        let unacknowledged = failed + records.len() - sent;
        if unacknowledged == 0 {
            self.acknowledged(&sender, records.len() as u64);
            return Ok(next);
        }
        let fault = refused.or(reason).map_or_else(
            || SourceError::Transient(Cause::Unclear, "no reason given".to_owned()),
            |fault| sender.told(&self.config, &fault),
        );
        Err(self.failed(records.len(), unacknowledged, next, &fault))
    }

    /// How writing stands, as a line for people; where the last events could not be written, why.
    ///
    /// # Errors
    /// A sentence.
    pub fn writing(&self) -> Result<String, String> {
        let Writing { acknowledged, failing } = self.writing.lock().clone();
        match failing {
            Some(Failing { why, since, events }) => {
                Err(format!("{events} events were not written since {} s ago: {why}", since.elapsed().as_secs()))
            }
            None if acknowledged == 0 => Ok("nothing was written yet".to_owned()),
            None => Ok(format!("{acknowledged} events acknowledged")),
        }
    }

    /// A client that lives: the one of before, or a new one, for which it waits while the pause is not over.
    fn living(&self) -> Result<Arc<Sender>, SourceError> {
        loop {
            let left = {
                let mut made = self.client.lock();
                let Some(fault) = made.sender.dead() else { return Ok(made.sender.clone()) };
                let pause = ANEW.saturating_mul(1 << made.deaths.min(10)).min(ANEW_AT_MOST);
                let left = pause.saturating_sub(made.when.elapsed());
                if left.is_zero() {
                    let why = made.sender.told(&self.config, &fault);
                    tracing::warn!("the Kafka client that writes is made anew, for it cannot go on: {why}");
                    let deaths = made.deaths + 1;
                    *made = Made { sender: Sender::open(&self.config)?, when: Instant::now(), deaths };
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
        fault: &SourceError,
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
                SourceError::Transient(cause, _) => *cause,
                SourceError::Fatal(_) => Cause::Misconfigured,
            },
            brokers: self.config.brokers.clone(),
            topic: self.config.topic.clone(),
            reason: why,
        }
    }
}

/// Records of one sender on their way; what became of them is counted as it is heard of.
pub struct Outbox {
    config: KafkaConfig,
    sender: Arc<Sender>,
    awaited: Arc<Awaited>,
    sent: usize,
}

impl Outbox {
    /// Connects, and asks whether the topic is there. Blocks for 10 s at most.
    ///
    /// # Errors
    /// [`SourceError`]: a setting that cannot be, no broker, no topic.
    pub fn open(config: &KafkaConfig) -> Result<Outbox, SourceError> {
        let sender = Sender::open(config)?;
        Asker::open(config)?.ask(|client| client.partitions(ANSWER))?;
        Ok(Outbox { config: config.clone(), sender, awaited: Awaited::new(), sent: 0 })
    }

    /// Takes a record; waits while the queue is full.
    ///
    /// # Errors
    /// A sentence: the queue stayed full for 20 s, or the record cannot be sent at all.
    pub fn send(&mut self, key: &[u8], payload: &[u8]) -> Result<(), String> {
        self.sender
            .enqueue(key, payload, &self.awaited, self.sent)
            .map_err(|fault| self.sender.told(&self.config, &fault).to_string())?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use crate::source::kafka::sender::TOLD;
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
        let settings = [("no.such.setting".to_owned(), "1".into())].into();
        let error = Outbox::open(&KafkaConfig { settings, ..KafkaConfig::default() }).err().unwrap().to_string();
        assert!(error.contains("no.such.setting") && error.contains("[kafka"), "{error}");
    }
}
