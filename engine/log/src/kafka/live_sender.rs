//! The client that writes now, and when another takes its place.
//!
//! One that librdkafka declared dead, or that the brokers disown, is replaced after longer and
//! longer pauses while each new one dies too; one whose epochs are nearly used up, or whose batches
//! are larger than the topic takes, at once. What a client that is replaced was given goes on:
//! whoever gave it holds it. It sends nothing itself.

use super::batch_limit::BatchLimit;
use super::sender::Sender;
use super::settings::batch_size;
use crate::LogError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_system::outage::Pauses;

/// A client that died is replaced the first pause after it was made, the next ones where its
/// successor dies.
const REPLACE: Pauses =
    Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(5) };

/// The client of `[kafka]` that writes; shared by any number of threads.
pub(super) struct LiveSender {
    config: KafkaConfig,
    limit: Arc<BatchLimit>,
    made: Mutex<Made>,
}

/// The client that is used now.
struct Made {
    sender: Arc<Sender>,
    /// The largest batch that it sends, bytes.
    batch: u32,
    when: Instant,
    /// How many died since something was acknowledged.
    deaths: u32,
}

impl LiveSender {
    /// A client; connecting happens in the background.
    pub(super) fn open(
        config: &KafkaConfig,
        limit: Arc<BatchLimit>,
    ) -> Result<LiveSender, LogError> {
        let batch = batch_size(config, limit.get());
        let sender = Sender::open(config, batch)?;
        let made = Mutex::new(Made { sender, batch, when: Instant::now(), deaths: 0 });
        Ok(LiveSender { config: config.clone(), limit, made })
    }

    /// A client that works: the present one, or a new one, which takes the place of a dead one once
    /// the pause is over.
    pub(super) fn get(&self) -> Result<Arc<Sender>, LogError> {
        loop {
            let left = {
                let mut made = self.made.lock();
                let Made { sender, batch: before, when, deaths } = &*made;
                let batch = batch_size(&self.config, self.limit.get());
                let death = sender.death();
                let left = match &death {
                    None if !sender.is_spent() && *before == batch => {
                        return Ok(Arc::clone(sender));
                    }
                    None => Duration::ZERO,
                    Some(_) => REPLACE.doubled(*deaths).saturating_sub(when.elapsed()),
                };
                if left.is_zero() {
                    let deaths = deaths + u32::from(death.is_some());
                    if let Some(fault) = death {
                        let why = sender.describe(&self.config, &fault);
                        tracing::warn!(
                            "the Kafka client that writes failed and is replaced: {why}"
                        );
                    }
                    let sender = Sender::open(&self.config, batch)?;
                    let when = Instant::now();
                    *made = Made { sender: Arc::clone(&sender), batch, when, deaths };
                    return Ok(sender);
                }
                left
            };
            std::thread::sleep(left);
        }
    }

    /// A batch of this client was refused for its size, and a record of it taken alone: the next
    /// client's batches are half as large.
    pub(super) fn halve_batches(&self, sender: &Arc<Sender>) {
        let made = self.made.lock();
        let less = (made.batch / 2).max(1);
        // Several may find it out of one client.
        if Arc::ptr_eq(&made.sender, sender) && self.limit.get() != Some(less) {
            self.limit.set(less);
            tracing::info!(
                "topic \"{}\" does not take batches of up to {} bytes: from now on they have at \
                 most {}",
                self.config.topic,
                made.batch,
                batch_size(&self.config, Some(less))
            );
        }
    }

    /// Something that was sent over this client was acknowledged.
    pub(super) fn acknowledged(&self, sender: &Arc<Sender>) {
        let mut made = self.made.lock();
        if Arc::ptr_eq(&made.sender, sender) {
            made.deaths = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use crate::kafka::mock_cluster::cluster;
    use crate::kafka::sender::{Deliveries, OutgoingRecord};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    const OLD_EPOCH: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    const POLICY: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;

    /// Sends records, and waits for what becomes of them; how many are acknowledged.
    fn acknowledged(sender: &Sender, records: usize) -> usize {
        let deliveries = Deliveries::new();
        for n in 0..records {
            assert!(sender.enqueue(OutgoingRecord::new(b"1", b"a"), n, &deliveries, n).is_ok());
        }
        deliveries.all(records).acknowledged
    }

    #[test]
    fn batches_are_as_small_as_the_topic_is_known_to_take() {
        let (_cluster, config) = cluster();
        let limit = Arc::new(BatchLimit::default());
        let live = LiveSender::open(&config, Arc::clone(&limit)).unwrap();
        let first = live.get().unwrap();
        limit.set(1_048_588);
        assert!(Arc::ptr_eq(&first, &live.get().unwrap()), "it takes more than they have");
        limit.set(100_000);
        let second = live.get().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        live.halve_batches(&first);
        assert!(Arc::ptr_eq(&second, &live.get().unwrap()), "they were another client's");
        for _ in 0..2 {
            live.halve_batches(&second);
            assert_eq!(limit.get(), Some(99_488 / 2));
        }
        assert!(!Arc::ptr_eq(&second, &live.get().unwrap()));
    }

    #[test]
    fn a_client_that_the_brokers_disown_is_replaced() {
        let (cluster, config) = cluster();
        let live = LiveSender::open(&config, Arc::default()).unwrap();
        let first = live.get().unwrap();
        assert_eq!(acknowledged(&first, 1), 1);
        cluster.request_errors(RDKafkaApiKey::Produce, &[OLD_EPOCH]);
        assert_eq!(acknowledged(&first, 1), 0);
        let second = live.get().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(acknowledged(&second, 1), 1);
        assert!(Arc::ptr_eq(&second, &live.get().unwrap()));
    }

    #[test]
    fn a_client_is_replaced_long_before_its_epochs_are_used_up() {
        const RECORDS: usize = 20_000;
        let (cluster, config) = cluster();
        let live = LiveSender::open(&config, Arc::default()).unwrap();
        let first = live.get().unwrap();
        // There are no more batches than records: all are refused.
        cluster.request_errors(RDKafkaApiKey::Produce, &[POLICY; RECORDS]);
        assert_eq!(acknowledged(&first, RECORDS), 0);
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        let second = live.get().unwrap();
        assert!(first.death().is_none() && !Arc::ptr_eq(&first, &second));
        assert_eq!(acknowledged(&second, 1), 1);
    }
}
