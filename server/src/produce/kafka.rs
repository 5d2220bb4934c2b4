//! The outlet to a Kafka topic: an idempotent producer that waits for all replicas.
//!
//! librdkafka's queue is the bound of what is in flight; `send` waits while it is full. Every record is heard of: delivered
//! or not, within `message.timeout.ms`.

use super::{Counts, Outgoing, Outlet, OutletError};
use parking_lot::{Condvar, Mutex};
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::time::Duration;
use tally_engine::config::KafkaConfig;

/// How long the brokers may take to tell about the topic.
const METADATA_LIMIT: Duration = Duration::from_secs(10);

/// After this a record that no broker took is an error.
const MESSAGE_TIMEOUT_MS: u32 = 60_000;

/// Complaints kept until they are asked for; more are only counted.
const COMPLAINTS: usize = 20;

/// Sends to a topic.
pub(crate) struct KafkaOutlet {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    counts: Mutex<(Counts, Vec<String>)>,
    freed: Condvar,
}

struct Deliveries(Arc<Seen>);

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        // Transient by contract; what it costs shows in the deliveries.
        tracing::debug!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut seen = self.0.counts.lock();
        match result {
            Ok(_) => seen.0.acknowledged += 1,
            Err((error, message)) => {
                seen.0.errors += 1;
                if seen.1.len() < COMPLAINTS {
                    let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
                    seen.1.push(format!("an event of user {key} was not delivered: {error}"));
                }
            }
        }
        drop(seen);
        self.0.freed.notify_all();
    }
}

impl KafkaOutlet {
    /// Connects and asks for the topic.
    ///
    /// # Errors
    /// A sentence: a setting is refused, no broker answers, the topic does not exist.
    pub(crate) fn open(config: &KafkaConfig) -> Result<KafkaOutlet, OutletError> {
        let mut settings = ClientConfig::new();
        for (key, value) in &config.settings {
            settings.set(key, value);
        }
        settings.set("bootstrap.servers", &config.brokers).set("enable.idempotence", "true").set("acks", "all");
        settings.set("message.timeout.ms", MESSAGE_TIMEOUT_MS.to_string());
        for (key, value) in [
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "65536"),
        ] {
            if settings.get(key).is_none() {
                settings.set(key, value);
            }
        }
        // Java clients put a key where murmur2 says; so a user's events meet in one partition whoever wrote them.
        settings.set("partitioner", "murmur2_random");
        let seen = Arc::new(Seen::default());
        let producer: ThreadedProducer<Deliveries> =
            ThreadedProducer::from_config_and_context(&settings, Deliveries(seen.clone())).map_err(|error| {
                OutletError(format!("the Kafka producer cannot be made: {error}; look at [kafka.settings]"))
            })?;
        topic_exists(producer.client(), config)?;
        Ok(KafkaOutlet { producer, topic: config.topic.clone(), seen })
    }
}

fn topic_exists(client: &Client<Deliveries>, config: &KafkaConfig) -> Result<(), OutletError> {
    let KafkaConfig { brokers, topic, .. } = config;
    let metadata = client.fetch_metadata(Some(topic), METADATA_LIMIT).map_err(|error| {
        OutletError(format!(
            "no Kafka broker answers at {brokers}: {error}; is KAFKA_BROKER (kafka.brokers) right and the broker up?"
        ))
    })?;
    match metadata.topics().iter().find(|found| found.name() == topic).and_then(|found| found.error()) {
        Some(error) => Err(OutletError(format!(
            "topic {topic:?} at {brokers} cannot be written: {}",
            KafkaError::MetadataFetch(RDKafkaErrorCode::from(error))
        ))),
        None => Ok(()),
    }
}

impl Outlet for KafkaOutlet {
    fn send(&mut self, event: Outgoing) -> Result<(), OutletError> {
        let mut record = BaseRecord::to(&self.topic).key(&event.key).payload(&event.json);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    let mut seen = self.seen.counts.lock();
                    // A delivery between the refusal and this wait goes unheard; hence the limit.
                    self.seen.freed.wait_for(&mut seen, Duration::from_millis(50));
                }
                Err((error, _)) => {
                    return Err(OutletError(format!("topic {:?} takes no events: {error}", self.topic)));
                }
            }
        }
    }

    fn flush(&mut self) -> Result<(), OutletError> {
        // The producer's thread sends within linger.ms by itself.
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.seen.counts.lock().0.clone()
    }

    fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.seen.counts.lock().1)
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        let limit = Duration::from_millis(u64::from(MESSAGE_TIMEOUT_MS) + 5_000);
        self.producer.flush(limit).map_err(|error| OutletError(format!("not everything was acknowledged: {error}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;

    #[test]
    fn everything_sent_is_acknowledged_by_a_broker() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 2, 1).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        let mut outlet = KafkaOutlet::open(&config).unwrap();
        for line in 0..5_000 {
            outlet.send(Outgoing { key: (line % 7).to_string(), json: b"{}".to_vec(), line }).unwrap();
        }
        outlet.finish().unwrap();
        assert_eq!(outlet.counts(), Counts { acknowledged: 5_000, errors: 0 });
    }

    #[test]
    fn a_setting_that_does_not_exist_is_a_sentence() {
        let settings = [("no.such.setting".to_owned(), "1".to_owned())].into();
        let error = KafkaOutlet::open(&KafkaConfig { settings, ..KafkaConfig::default() }).err().unwrap().to_string();
        assert!(error.contains("no.such.setting") && error.contains("[kafka.settings]"), "{error}");
    }
}
