//! Writing to the topic in bulk, without waiting for each record: for `tally produce`. Blocks.
//!
//! It waits for room in librdkafka's queue (100,000 messages or 64 MiB) and counts acknowledgements
//! as they arrive; the first few failures are told one by one. Batches are no larger than the topic
//! takes, where the brokers say it. What a broker refuses with its batch is sent again, each record
//! in a batch of its own, and may so follow later records of its user; what is refused then is too
//! large itself, and counts as an error.

use super::errors::describe_too_large_event;
use super::sender::{Deliveries, FailedRecord, LISTED, OutgoingRecord, RefusedRecord, Sender};
use super::settings::batch_size;
use super::topic::{self, MetadataClient};
use super::write_failure::{Loss, WriteFailure};
use crate::{AppendError, DeliveryCounts, LogError, LogProducer};
use std::sync::Arc;
use std::time::Duration;
use tally_config::KafkaConfig;

/// How long the brokers may take to describe the topic.
const ANSWER: Duration = Duration::from_secs(10);

/// Sends records without waiting for each; their acknowledgements are counted as they arrive.
pub struct BulkProducer {
    config: KafkaConfig,
    /// The largest batch, bytes.
    batch: u32,
    main: Way,
    /// Sends each record in a batch of its own; `None` until it is needed.
    lone: Option<Way>,
    /// How many records are too large, or could not be sent again; and the first few, one text
    /// each.
    lost: u64,
    failures: Vec<String>,
}

/// A client, and what became of what it was given.
struct Way {
    sender: Arc<Sender>,
    deliveries: Arc<Deliveries>,
    sent: usize,
}

impl Way {
    fn new(sender: Arc<Sender>) -> Way {
        Way { sender, deliveries: Deliveries::new(), sent: 0 }
    }

    fn enqueue(&mut self, key: &[u8], payload: &[u8]) -> Result<(), FailedRecord> {
        let record = OutgoingRecord::new(key, payload);
        self.sender.enqueue(record, self.sent, &self.deliveries, self.sent)?;
        self.sent += 1;
        Ok(())
    }

    /// Waits until something became of all of it.
    fn finish(&self) {
        drop(self.deliveries.all(self.sent));
    }
}

impl BulkProducer {
    /// Connects, and asks whether the topic is there and how large a batch it takes. Blocks for
    /// some 20 s at most.
    ///
    /// # Errors
    /// [`LogError`]: a setting cannot be used, no broker answers, or the topic does not exist.
    pub fn open(config: &KafkaConfig) -> Result<BulkProducer, LogError> {
        let usual = batch_size(config, None);
        let mut sender = Sender::open(config, usual)?;
        MetadataClient::open(config)?.ask(|client| client.partitions(ANSWER))?;
        let batch = batch_size(config, topic::max_message_bytes(config)?);
        if batch < usual {
            sender = Sender::open(config, batch)?;
        }
        Ok(BulkProducer {
            config: config.clone(),
            batch,
            main: Way::new(sender),
            lone: None,
            lost: 0,
            failures: Vec::new(),
        })
    }

    /// Puts another client in the place of one that is spent, once all that it was given is
    /// answered for.
    fn renew(&mut self) -> Result<(), AppendError> {
        if !self.main.sender.is_spent() {
            return Ok(());
        }
        self.finish();
        self.main.sender = Sender::open(&self.config, self.batch)
            .map_err(|fault| Loss::Unavailable.explained_by(&fault).error(fault.to_string()))?;
        Ok(())
    }

    /// Sends again, alone, what was refused with its batch, and counts what was refused alone.
    fn send_refused_again(&mut self) {
        for record in self.main.deliveries.take_refused() {
            if let Err(why) = self.send_alone(&record) {
                self.lose(&record.key, &why);
            }
        }
        let refused = self.lone.as_ref().map(|lone| lone.deliveries.take_refused());
        for record in refused.unwrap_or_default() {
            self.lose(&record.key, &describe_too_large_event(&self.config));
        }
    }

    fn send_alone(
        &mut self,
        RefusedRecord { key, payload, .. }: &RefusedRecord,
    ) -> Result<(), LogError> {
        let lone = match &mut self.lone {
            Some(lone) => lone,
            None => self.lone.insert(Way::new(Sender::open_lone(&self.config)?)),
        };
        match lone.enqueue(key, payload) {
            Ok(()) => Ok(()),
            Err(FailedRecord { fault, .. }) => Err(lone.sender.describe(&self.config, &fault)),
        }
    }

    fn lose(&mut self, key: &[u8], why: &LogError) {
        self.lost += 1;
        if self.failures.len() < LISTED {
            let key = String::from_utf8_lossy(key);
            self.failures.push(format!("an event of user {key} was not acknowledged: {why}"));
        }
    }

    /// The clients that there are.
    fn ways(&self) -> impl Iterator<Item = &Way> {
        std::iter::once(&self.main).chain(&self.lone)
    }
}

impl LogProducer for BulkProducer {
    /// Fails where the queue stays full for 20 s, or the client cannot send at all. A record that
    /// is too large is counted and listed, like one that a broker refuses.
    fn send(&mut self, key: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        self.renew()?;
        self.send_refused_again();
        match self.main.enqueue(key, payload) {
            Ok(()) => Ok(()),
            Err(FailedRecord { failure: WriteFailure::Lost(loss), fault }) => {
                let why = self.main.sender.describe(&self.config, &fault);
                Err(loss.explained_by(&why).error(why.to_string()))
            }
            // What was not sent is in no batch: it is too large by itself.
            Err(_) => {
                self.lose(key, &describe_too_large_event(&self.config));
                Ok(())
            }
        }
    }

    fn counts(&self) -> DeliveryCounts {
        let mut counts = DeliveryCounts { acknowledged: 0, errors: self.lost };
        for way in self.ways() {
            let state = way.deliveries.state.lock();
            counts.acknowledged += state.acknowledged as u64;
            counts.errors += state.failed as u64;
        }
        counts
    }

    fn take_failures(&mut self) -> Vec<String> {
        let mut failures = std::mem::take(&mut self.failures);
        for way in self.ways() {
            failures.append(&mut way.deliveries.state.lock().failures);
        }
        failures
    }

    fn finish(&mut self) {
        self.main.finish();
        self.send_refused_again();
        if let Some(lone) = &self.lone {
            lone.finish();
        }
        self.send_refused_again();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use crate::kafka::mock_cluster::cluster;
    use crate::kafka::producer::Producer;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    const OLD_EPOCH: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;

    fn counts(producer: &BulkProducer) -> (u64, u64) {
        let DeliveryCounts { acknowledged, errors } = producer.counts();
        (acknowledged, errors)
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
            let before = bulk.main.deliveries.state.lock().next.clone();
            bulk.send(key.as_bytes(), b"{}").unwrap();
            bulk.finish();
            let after = bulk.main.deliveries.state.lock().next.clone();
            let moved: Vec<u32> = after
                .iter()
                .filter(|(at, next)| before.get(at) != Some(next))
                .map(|(at, _)| *at)
                .collect();
            let sent = producer.send(&[(key.as_bytes(), b"{}")]).unwrap().position;
            let sent: Vec<u32> = sent.0.into_keys().collect();
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
    fn what_is_refused_with_its_batch_is_sent_again_alone() {
        let (cluster, config) = cluster();
        let mut producer = BulkProducer::open(&config).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE]);
        for _ in 0..3 {
            producer.send(b"7", b"{}").unwrap();
        }
        producer.finish();
        assert_eq!((counts(&producer), producer.take_failures()), ((3, 0), Vec::new()));
    }

    #[test]
    fn what_is_too_large_by_itself_is_counted_and_listed_and_ends_nothing() {
        let (cluster, mut config) = cluster();
        config.settings.insert("message.max.bytes".into(), "2000".into());
        let mut producer = BulkProducer::open(&config).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[TOO_LARGE, TOO_LARGE]);
        producer.send(b"7", b"{}").unwrap();
        producer.finish();
        producer.send(b"7", &[b' '; 10_000]).unwrap();
        producer.send(b"7", b"{}").unwrap();
        producer.finish();
        assert_eq!(counts(&producer), (1, 2));
        let failures = producer.take_failures();
        assert_eq!(failures.len(), 2, "{failures:?}");
        for failure in failures {
            assert!(
                failure.contains("user 7") && failure.contains("max.message.bytes"),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_client_that_the_brokers_disown_is_replaced() {
        let (cluster, config) = cluster();
        let mut producer = BulkProducer::open(&config).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[OLD_EPOCH]);
        for acknowledged in 0..3 {
            producer.send(b"7", b"{}").unwrap();
            producer.finish();
            assert_eq!(counts(&producer), (acknowledged, 1));
        }
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
