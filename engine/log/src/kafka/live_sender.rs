//! The client that writes now, and when another takes its place.
//!
//! One that librdkafka declared dead, or that the brokers disown, is replaced after longer and
//! longer pauses while each new one dies too; one whose epochs are nearly used up, at once. What a
//! client that is replaced was given goes on: whoever gave it holds it. It sends nothing itself.

use super::sender::Sender;
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
    made: Mutex<Made>,
}

/// The client that is used now.
struct Made {
    sender: Arc<Sender>,
    when: Instant,
    /// How many died since something was acknowledged.
    deaths: u32,
}

impl LiveSender {
    /// A client; connecting happens in the background.
    pub(super) fn open(config: &KafkaConfig) -> Result<LiveSender, LogError> {
        let made = Made { sender: Sender::open(config)?, when: Instant::now(), deaths: 0 };
        Ok(LiveSender { config: config.clone(), made: Mutex::new(made) })
    }

    /// A client that works: the present one, or a new one, which takes the place of a dead one once
    /// the pause is over.
    pub(super) fn get(&self) -> Result<Arc<Sender>, LogError> {
        loop {
            let left = {
                let mut made = self.made.lock();
                let Made { sender, when, deaths } = &*made;
                let death = sender.death();
                let left = match &death {
                    None if !sender.is_spent() => return Ok(Arc::clone(sender)),
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
                    let sender = Sender::open(&self.config)?;
                    *made = Made { sender: Arc::clone(&sender), when: Instant::now(), deaths };
                    return Ok(sender);
                }
                left
            };
            std::thread::sleep(left);
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
    use crate::kafka::sender::Deliveries;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    const OLD_EPOCH: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
    const POLICY: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;

    /// Sends records, and waits for what becomes of them; how many are acknowledged.
    fn acknowledged(sender: &Sender, records: usize) -> usize {
        let deliveries = Deliveries::new();
        for n in 0..records {
            assert!(sender.enqueue((b"1", b"a"), n, &deliveries, n).is_ok());
        }
        let state = deliveries.all(records);
        state.answered - state.failed
    }

    #[test]
    fn a_client_that_the_brokers_disown_is_replaced() {
        let (cluster, config) = cluster();
        let live = LiveSender::open(&config).unwrap();
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
        let live = LiveSender::open(&config).unwrap();
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
