//! Writing to the topic: idempotent, keyed, acknowledged by all replicas in sync. For plain
//! threads: it blocks.
//!
//! [`Producer::send`] waits for the acknowledgement of what it sends; `bulk_producer` waits only
//! for room. A key goes to the partition that Java clients choose, so all events of a user are in
//! one partition whoever writes them. A client that is of no more use is replaced by the next
//! `send` (`live_sender`).
//!
//! A broker refuses a batch as a whole, for one record that is too large or because all of them
//! together are. What was refused so is sent again, each record in a batch of its own, over a
//! client that is made when it is first needed: what is refused then is too large itself. Batches
//! are no larger than the topic is known to take (`batch_limit`); one that is too large all the
//! same makes the next ones smaller.
//!
//! Queue: librdkafka's, 100,000 messages or 64 MiB; when it is full `send` waits for room. What is
//! not acknowledged within `message.timeout.ms` (20 s) fails. It does not look at events: keys and
//! payloads are the caller's.

use super::batch_limit::BatchLimit;
use super::errors::describe_too_large_event;
use super::live_sender::LiveSender;
use super::sender::{Delivered, Deliveries, FailedRecord, OutgoingRecord, Sender};
use super::write_failure::{Loss, WriteFailure};
use crate::{AppendError, AppendOutcome, LogError, RecordCopy};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tally_config::KafkaConfig;
use tally_progress::Position;
use tally_system::outage::LogThrottle;
use thiserror::Error;

/// A producer for the topic of `[kafka]`; shared by any number of threads.
pub struct Producer {
    config: KafkaConfig,
    client: LiveSender,
    /// Sends each record in a batch of its own; `None` until it is needed.
    lone: Mutex<Option<Arc<Sender>>>,
    writing: Mutex<Writing>,
    /// Events that are too large are told of no oftener than once a minute.
    told: Mutex<LogThrottle>,
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

/// What became of records that were sent over one client.
#[derive(Default)]
struct Pass {
    /// Of those acknowledged, per partition the offset after the last.
    next: BTreeMap<u32, u64>,
    /// Index of each that the client did not take, being too large.
    too_large: Vec<usize>,
    /// Index of each that was refused with its batch, and whether one was for a size.
    with_batch: Vec<usize>,
    oversized: bool,
    /// How many others were not acknowledged, and the worst loss, where there are any.
    failed: usize,
    worst: Option<(Loss, LogError)>,
}

/// Some of the records were not acknowledged.
#[derive(Clone, Debug, Error)]
#[error(
    "{unacknowledged} of {sent} events were not acknowledged by Kafka at {brokers}, topic \
     \"{topic}\" ({reason}): {consequence}"
)]
pub struct ProduceError {
    /// How many records the call had.
    pub sent: usize,
    /// How many of them were refused, or may or may not be in the log.
    pub unacknowledged: usize,
    loss: Loss,
    brokers: String,
    topic: String,
    reason: String,
    consequence: &'static str,
}

impl Producer {
    /// A producer; connecting happens in the background.
    ///
    /// # Errors
    /// [`LogError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<Producer, LogError> {
        Producer::new(config, Arc::default())
    }

    /// A producer for a topic whose limit somebody finds out.
    pub(super) fn new(config: &KafkaConfig, limit: Arc<BatchLimit>) -> Result<Producer, LogError> {
        Ok(Producer {
            config: config.clone(),
            client: LiveSender::open(config, limit)?,
            lone: Mutex::default(),
            writing: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Sends records (key, payload) and waits until each is acknowledged, refused as too large, or
    /// has failed. Records of one key stay in order, but for those that a broker refuses only
    /// together with others: these follow the rest.
    ///
    /// # Errors
    /// [`ProduceError`]: some have failed.
    pub fn send(&self, records: &[(&[u8], &[u8])]) -> Result<AppendOutcome, ProduceError> {
        let record = |index: usize| OutgoingRecord::new(records[index].0, records[index].1);
        self.send_all(records.len(), &record)
    }

    /// The same of copies, each with headers that state its origin.
    ///
    /// # Errors
    /// [`ProduceError`]: some have failed.
    pub(super) fn send_copies(
        &self,
        records: &[RecordCopy<'_>],
    ) -> Result<AppendOutcome, ProduceError> {
        self.send_all(records.len(), &|index| OutgoingRecord::copy(records[index]))
    }

    fn send_all<'a>(
        &self,
        count: usize,
        record: &dyn Fn(usize) -> OutgoingRecord<'a>,
    ) -> Result<AppendOutcome, ProduceError> {
        let sender = match self.client.get() {
            Ok(sender) => sender,
            Err(fault) => return Err(self.failed(count, count, (Loss::Unavailable, fault))),
        };
        let all: Vec<usize> = (0..count).collect();
        let mut pass = self.pass(&sender, record, &all);
        if pass.worst.is_none() && !pass.with_batch.is_empty() {
            self.send_alone(&sender, record, &mut pass);
        }
        let Pass { next, mut too_large, with_batch, failed, worst, .. } = pass;
        let unacknowledged = too_large.len() + with_batch.len() + failed;
        if let Some(worst) = worst {
            return Err(self.failed(count, unacknowledged, worst));
        }
        if unacknowledged < count {
            self.acknowledged(&sender, (count - unacknowledged) as u64);
        }
        if !too_large.is_empty() {
            self.tell_too_large(too_large.len());
            too_large.sort_unstable();
        }
        Ok(AppendOutcome { position: Position(next), too_large })
    }

    /// Sends the records of these indices over a client and waits for what becomes of each.
    fn pass<'a>(
        &self,
        sender: &Sender,
        record: &dyn Fn(usize) -> OutgoingRecord<'a>,
        wanted: &[usize],
    ) -> Pass {
        let deliveries = Deliveries::new();
        let (mut pass, mut sent, mut stopped) = (Pass::default(), 0, None);
        for (place, index) in wanted.iter().enumerate() {
            match sender.enqueue(record(*index), *index, &deliveries, sent) {
                Ok(()) => sent += 1,
                Err(FailedRecord { failure: WriteFailure::Lost(loss), fault }) => {
                    pass.failed = wanted.len() - place;
                    stopped = Some((loss, fault));
                    break;
                }
                // What was not sent is in no batch: it is too large by itself.
                Err(_) => pass.too_large.push(*index),
            }
        }
        let Delivered { next, failed, refused, oversized, worst, .. } =
            std::mem::take(&mut *deliveries.all(sent));
        (pass.next, pass.oversized) = (next, oversized);
        pass.failed += failed;
        pass.with_batch = refused.into_iter().map(|record| record.index).collect();
        pass.with_batch.sort_unstable();
        let worst = stopped.into_iter().chain(worst).max_by_key(|(loss, _)| *loss);
        pass.worst = worst.map(|(loss, fault)| (loss, sender.describe(&self.config, &fault)));
        pass
    }

    /// Sends again, each in a batch of its own, the records that were refused with their batch by
    /// this client.
    fn send_alone<'a>(
        &self,
        sender: &Arc<Sender>,
        record: &dyn Fn(usize) -> OutgoingRecord<'a>,
        pass: &mut Pass,
    ) {
        let wanted = std::mem::take(&mut pass.with_batch);
        let alone = match self.lone_sender() {
            Ok(lone) => self.pass(&lone, record, &wanted),
            Err(fault) => Pass {
                failed: wanted.len(),
                worst: Some((Loss::Unavailable, fault)),
                ..Pass::default()
            },
        };
        let left = alone.too_large.len() + alone.with_batch.len() + alone.failed;
        if pass.oversized && left < wanted.len() {
            self.client.halve_batches(sender);
        }
        for (partition, next) in alone.next {
            let kept = pass.next.entry(partition).or_insert(0);
            *kept = (*kept).max(next);
        }
        pass.too_large.extend(alone.too_large.into_iter().chain(alone.with_batch));
        pass.failed = alone.failed;
        pass.worst = alone.worst;
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

    /// The client that sends each record in a batch of its own; made where there is none that
    /// works.
    fn lone_sender(&self) -> Result<Arc<Sender>, LogError> {
        let mut lone = self.lone.lock();
        if let Some(sender) = lone.as_ref().filter(|sender| sender.death().is_none()) {
            return Ok(Arc::clone(sender));
        }
        let sender = Sender::open_lone(&self.config)?;
        *lone = Some(Arc::clone(&sender));
        Ok(sender)
    }

    fn tell_too_large(&self, events: usize) {
        if self.told.lock().due("too large") {
            let why = describe_too_large_event(&self.config);
            tracing::warn!("{events} events are rejected as too large: {why}");
        }
    }

    fn acknowledged(&self, sender: &Arc<Sender>, events: u64) {
        self.client.acknowledged(sender);
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
        (loss, fault): (Loss, LogError),
    ) -> ProduceError {
        let loss = match loss.explained_by(&fault) {
            // the others are in the log
            Loss::Unavailable if unacknowledged < sent => Loss::InDoubt,
            loss => loss,
        };
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
            loss,
            brokers: self.config.brokers.clone(),
            topic: self.config.topic.clone(),
            reason: why,
            consequence: loss.consequence(),
        }
    }
}

impl From<ProduceError> for AppendError {
    fn from(fault: ProduceError) -> AppendError {
        fault.loss.error(fault.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use crate::kafka::mock_cluster::cluster;
    use rdkafka::error::RDKafkaErrorCode;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    const NO_RIGHT: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;

    /// Records of one user, and so of one partition.
    fn records<'a>(payloads: &[&'a str]) -> Vec<(&'a [u8], &'a [u8])> {
        payloads.iter().map(|payload| ("1".as_bytes(), payload.as_bytes())).collect()
    }

    fn written(outcome: &AppendOutcome) -> u64 {
        outcome.position.0.values().sum()
    }

    #[test]
    fn what_is_refused_with_its_batch_is_sent_again_alone() {
        let (cluster, config) = cluster();
        let limit = Arc::new(BatchLimit::default());
        let producer = Producer::new(&config, Arc::clone(&limit)).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE]);
        let outcome = producer.send(&records(&["a", "b", "c"])).unwrap();
        assert_eq!((written(&outcome), outcome.too_large), (3, Vec::new()));
        assert_eq!(producer.writing().unwrap(), "3 events acknowledged");
        assert_eq!(limit.get(), Some(500_000), "the next batches are smaller");
        let outcome = producer.send(&records(&["d", "e"])).unwrap();
        assert_eq!((written(&outcome), limit.get()), (5, Some(500_000)));
    }

    #[test]
    fn what_is_too_large_by_itself_is_no_failure() {
        let (cluster, config) = cluster();
        let limit = Arc::new(BatchLimit::default());
        let producer = Producer::new(&config, Arc::clone(&limit)).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
        let outcome = producer.send(&records(&["a"])).unwrap();
        assert_eq!(outcome, AppendOutcome { position: Position::default(), too_large: vec![0] });
        assert_eq!(limit.get(), None, "that says nothing of batches");
        assert_eq!(producer.writing().unwrap(), "nothing has been written yet");
        let outcome = producer.send(&records(&["a"])).unwrap();
        assert_eq!((written(&outcome), outcome.too_large), (1, Vec::new()));
    }

    #[test]
    fn what_the_client_does_not_take_is_left_out() {
        let (_cluster, mut config) = cluster();
        config.settings.insert("message.max.bytes".into(), "2000".into());
        let producer = Producer::open(&config).unwrap();
        let large = "x".repeat(10_000);
        let outcome = producer.send(&records(&["a", &large, "c"])).unwrap();
        assert_eq!((written(&outcome), outcome.too_large), (2, vec![1]));
    }

    #[test]
    fn a_missing_right_is_a_refusal() {
        let (cluster, config) = cluster();
        let producer = Producer::open(&config).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[NO_RIGHT]);
        let error = AppendError::from(producer.send(&records(&["a"])).unwrap_err());
        assert!(matches!(&error, AppendError::Refused(why) if why.contains("WRITE")), "{error}");
        assert!(producer.writing().unwrap_err().contains("WRITE"));
    }

    #[test]
    fn what_only_times_out_because_of_a_wrong_password_is_a_refusal() {
        let (cluster, mut config) = cluster();
        config.settings.insert("message.timeout.ms".into(), "300".into());
        let producer = Producer::open(&config).unwrap();
        drop(cluster);
        producer.client.get().unwrap().report(RDKafkaErrorCode::Authentication);
        let error = AppendError::from(producer.send(&records(&["a"])).unwrap_err());
        let told = |why: &str| {
            why.contains("sasl.password")
                && why.contains("waiting does not fix this")
                && why.contains("refused again until that is changed")
        };
        assert!(matches!(&error, AppendError::Refused(why) if told(why)), "{error}");
    }

    #[test]
    fn what_was_never_sent_is_not_in_doubt() {
        let (cluster, mut config) = cluster();
        config.settings.insert("message.timeout.ms".into(), "300".into());
        let producer = Producer::open(&config).unwrap();
        drop(cluster);
        let error = AppendError::from(producer.send(&records(&["a"])).unwrap_err());
        assert!(matches!(&error, AppendError::Unavailable(_)), "{error}");
    }
}
