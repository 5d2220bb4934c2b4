//! What a fault of librdkafka means to whoever runs the engine.

use super::raw::{Fault, Kind};
use crate::config::KafkaConfig;
use crate::source::SourceError;

/// The one of two faults that counts.
pub(super) fn worse(left: SourceError, right: SourceError) -> SourceError {
    match (&left, &right) {
        (SourceError::Transient(_), SourceError::Fatal(_)) => right,
        _ => left,
    }
}

/// What happened, where, what to do.
pub(super) fn told(config: &KafkaConfig, fault: &Fault) -> SourceError {
    let (brokers, topic, text) = (&config.brokers, &config.topic, &fault.text);
    let place = fault.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
    match fault.kind {
        Kind::Fatal => SourceError::Fatal(format!(
            "the Kafka client cannot go on: {text}: start again; with [kafka] instance_id set, each engine needs its own"
        )),
        Kind::Down => SourceError::Transient(format!(
            "no Kafka broker answers at {brokers} ({text}): check [kafka] brokers and that Kafka runs; trying on"
        )),
        Kind::UnknownTopic => SourceError::Transient(format!(
            "topic \"{topic}\" is not there on {brokers} ({text}): create it, or set [kafka] topic; trying on"
        )),
        Kind::OutOfRange | Kind::Other => {
            SourceError::Transient(format!("Kafka at {brokers}, topic \"{topic}\"{place}: {text}; trying on"))
        }
    }
}
