//! What a fault of librdkafka means to whoever runs the engine.

use super::raw::{Fault, Kind, Right};
use crate::config::KafkaConfig;
use crate::outage::Cause;
use crate::source::SourceError;

/// The one of two faults that counts.
pub(super) fn worse(left: SourceError, right: SourceError) -> SourceError {
    match (&left, &right) {
        (SourceError::Transient(..), SourceError::Fatal(_)) => right,
        (SourceError::Transient(before, _), SourceError::Transient(cause, _)) if cause.tells_more_than(*before) => {
            right
        }
        _ => left,
    }
}

/// What stands between us and the brokers.
pub(super) fn cause(fault: &Fault) -> Cause {
    match fault.kind {
        Kind::Outage(cause, _) => cause,
        Kind::OutOfRange | Kind::Fatal => Cause::Unclear,
    }
}

/// What happened, where, what to do.
pub(super) fn told(config: &KafkaConfig, fault: &Fault) -> SourceError {
    told_of(config, fault, false)
}

/// The same of a client that writes.
pub(super) fn told_of_writing(config: &KafkaConfig, fault: &Fault) -> SourceError {
    told_of(config, fault, true)
}

fn told_of(config: &KafkaConfig, fault: &Fault, writes: bool) -> SourceError {
    let (brokers, topic, text) = (&config.brokers, &config.topic, &fault.text);
    let place = fault.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
    let (cause, right) = match fault.kind {
        Kind::Fatal => {
            let what = format!(
                "the Kafka client cannot go on: {text}: it is made anew; with [kafka] instance_id set, each engine needs its own"
            );
            return SourceError::Transient(Cause::Unclear, what);
        }
        Kind::OutOfRange => (Cause::Unclear, None),
        Kind::Outage(cause, right) => (cause, right),
    };
    let what = match cause {
        Cause::Network => {
            format!("no Kafka broker answers at {brokers} ({text}): check [kafka] brokers and that Kafka runs")
        }
        Cause::Tls => format!(
            "no encrypted connection to Kafka at {brokers} comes about ({text}): check \"security.protocol\" and the ssl settings of [kafka.settings] against the listener"
        ),
        Cause::Authentication => format!(
            "Kafka at {brokers} refuses our authentication ({text}): correct \"sasl.username\", \"sasl.password\" and \"sasl.mechanism\" in [kafka.settings]"
        ),
        Cause::Authorization => {
            let (on, grant) = match right {
                Some(Right::Cluster) if writes => (
                    "the cluster".to_owned(),
                    "WRITE on the topic; before Kafka 2.8 also IDEMPOTENT_WRITE on the cluster",
                ),
                Some(Right::Topic) | None if writes => {
                    (format!("topic \"{topic}\""), "WRITE and DESCRIBE on the topic")
                }
                Some(Right::Topic) | None => (format!("topic \"{topic}\""), "READ and DESCRIBE on the topic"),
                Some(Right::Group) => (format!("group \"{}\"", config.group), "READ on the group"),
                Some(Right::Cluster) => ("the cluster".to_owned(), "DESCRIBE on the cluster"),
            };
            format!("Kafka at {brokers} knows our user, and it lacks a right on {on} ({text}): grant it {grant}")
        }
        Cause::Missing => {
            format!("topic \"{topic}\"{place} is not there on {brokers} ({text}): create it, or set [kafka] topic")
        }
        Cause::Misconfigured => {
            format!(
                "Kafka at {brokers}, topic \"{topic}\"{place}, does not take what we ask ({text}): check [kafka.settings]"
            )
        }
        Cause::Passing | Cause::Unclear => format!("Kafka at {brokers}, topic \"{topic}\"{place}: {text}"),
    };
    SourceError::Transient(cause, format!("{what}; {}", cause.prospect()))
}
