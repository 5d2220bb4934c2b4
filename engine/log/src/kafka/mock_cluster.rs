//! A broker in the test's own process, for tests of what writes to it.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tally_config::KafkaConfig;

/// A broker with the topic `events` of two partitions, and how to reach it.
pub(super) fn cluster() -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 2, 1).unwrap();
    let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
    (cluster, config)
}
