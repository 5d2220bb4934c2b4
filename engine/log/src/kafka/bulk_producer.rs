//! Writing to the topic in bulk, without waiting for each record: for `tally produce`. Blocks.
//!
//! It waits for room in librdkafka's queue (100,000 messages or 64 MiB) and counts acknowledgements
//! as they arrive; the first few failures are told one by one. A batch that a broker refuses for
//! one of its records fails as a whole, and nothing is sent again.

use super::sender::{Deliveries, FailedRecord, Sender};
use super::topic::MetadataClient;
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

    /// Puts another client in the place of one that is spent, once all that it was given is answered
    /// for.
    fn renew(&mut self) -> Result<(), AppendError> {
        if !self.sender.is_spent() {
            return Ok(());
        }
        self.finish();
        self.sender = Sender::open(&self.config)
            .map_err(|fault| Loss::Unavailable.explained_by(&fault).error(fault.to_string()))?;
        Ok(())
    }

    fn error_of(&self, FailedRecord { failure, fault }: FailedRecord) -> AppendError {
        let why = self.sender.describe(&self.config, &fault);
        let loss = match failure {
            WriteFailure::Lost(loss) => loss.explained_by(&why),
            WriteFailure::TooLarge | WriteFailure::Beside => Loss::Refused,
        };
        loss.error(why.to_string())
    }
}

impl LogProducer for BulkProducer {
    /// Fails where the queue stays full for 20 s, or the record cannot be sent at all.
    fn send(&mut self, key: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        self.renew()?;
        self.sender
            .enqueue((key, payload), self.sent, &self.deliveries, self.sent)
            .map_err(|failed| self.error_of(failed))?;
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
    use crate::kafka::mock_cluster::cluster;
    use crate::kafka::producer::Producer;
    use crate::kafka::sender::LISTED;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    const OLD_EPOCH: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;

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
            let before = bulk.deliveries.state.lock().next.clone();
            bulk.send(key.as_bytes(), b"{}").unwrap();
            bulk.finish();
            let after = bulk.deliveries.state.lock().next.clone();
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
