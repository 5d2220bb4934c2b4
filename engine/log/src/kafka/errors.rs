//! What a fault of librdkafka means to the people who run the engine: what happened, where, what to
//! do.

use super::raw::{Fault, Kind, Right, fault_of};
use crate::LogError;
use rdkafka::error::RDKafkaErrorCode;
use tally_config::KafkaConfig;
use tally_system::outage::Cause;

/// Of two errors the one that matters more.
pub(super) fn worse(left: LogError, right: LogError) -> LogError {
    match (&left, &right) {
        (LogError::Transient(..), LogError::Fatal(_)) => right,
        (LogError::Transient(before, _), LogError::Transient(cause, _))
            if cause.tells_more_than(*before) =>
        {
            right
        }
        _ => left,
    }
}

/// What stands between us and the brokers.
pub(super) fn cause(fault: &Fault) -> Cause {
    match fault.kind {
        Kind::Outage(cause, _) => cause,
        Kind::TooLarge => Cause::Misconfigured,
        Kind::OutOfRange | Kind::Fatal => Cause::Unclear,
    }
}

/// A setting that the client library refuses.
pub(super) fn refused(reason: &dyn std::fmt::Display) -> LogError {
    LogError::Fatal(format!("[kafka] {reason}"))
}

/// The error of a client that reads.
pub(super) fn describe(config: &KafkaConfig, fault: &Fault) -> LogError {
    describe_use(config, fault, false)
}

/// The error of a client that writes.
pub(super) fn describe_writing(config: &KafkaConfig, fault: &Fault) -> LogError {
    describe_use(config, fault, true)
}

/// The error of an event that is too large by itself, whoever found that out.
pub(super) fn describe_too_large_event(config: &KafkaConfig) -> LogError {
    describe_writing(config, &fault_of(RDKafkaErrorCode::MessageSizeTooLarge as i32))
}

/// The error of a client that librdkafka declared dead; `when` says when another takes its place.
pub(super) fn describe_death(why: &str, when: &str) -> LogError {
    let what = format!(
        "the Kafka client failed: {why}; {when}; if [kafka] instance_id is set, each engine needs \
         its own"
    );
    LogError::Transient(Cause::Unclear, what)
}

fn describe_use(config: &KafkaConfig, fault: &Fault, writes: bool) -> LogError {
    let (brokers, topic, text) = (&config.brokers, &config.topic, &fault.text);
    let place =
        fault.partition.map_or_else(String::new, |partition| format!(", partition {partition}"));
    let (cause, right) = match fault.kind {
        Kind::Fatal => return describe_death(text, "it is replaced by a new one"),
        Kind::TooLarge if writes => return describe_too_large(config, text),
        Kind::OutOfRange | Kind::TooLarge => (Cause::Unclear, None),
        Kind::Outage(cause, right) => (cause, right),
    };
    let what = match cause {
        Cause::Network => {
            format!(
                "no Kafka broker answers at {brokers} ({text}): check [kafka] brokers and that \
                 Kafka runs"
            )
        }
        Cause::Tls => format!(
            "no encrypted connection to Kafka at {brokers} ({text}): check \"security.protocol\" \
             and the ssl settings of [kafka.settings] against the listener"
        ),
        Cause::Authentication => format!(
            "Kafka at {brokers} refuses our authentication ({text}): correct \"sasl.username\", \
             \"sasl.password\" and \"sasl.mechanism\" in [kafka.settings]"
        ),
        Cause::Authorization => {
            let (on, grant) = missing_right(config, right, writes);
            format!("our user at Kafka {brokers} lacks a right on {on} ({text}): grant it {grant}")
        }
        Cause::Missing => {
            format!(
                "topic \"{topic}\"{place} does not exist on {brokers} ({text}): create it, or set \
                 [kafka] topic"
            )
        }
        Cause::Misconfigured => {
            format!(
                "Kafka at {brokers}, topic \"{topic}\"{place}, rejects our request ({text}): check \
                 [kafka.settings]"
            )
        }
        Cause::Passing | Cause::Unclear => {
            format!("Kafka at {brokers}, topic \"{topic}\"{place}: {text}")
        }
    };
    // Whether events are sent again is up to whoever sent them.
    let prospect =
        if writes && !cause.passes() { "waiting does not fix this" } else { cause.prospect() };
    LogError::Transient(cause, format!("{what}; {prospect}"))
}

/// The error of events that are larger than the topic takes.
fn describe_too_large(config: &KafkaConfig, text: &str) -> LogError {
    let what = format!(
        "Kafka at {} does not take events this large in topic \"{}\" ({text}): raise \
         max.message.bytes of the topic, and \"message.max.bytes\" in [kafka.settings] if it is \
         set there, or send smaller events",
        config.brokers, config.topic
    );
    LogError::Transient(Cause::Misconfigured, what)
}

/// On what a right is missing, and which one to grant.
fn missing_right(
    config: &KafkaConfig,
    right: Option<Right>,
    writes: bool,
) -> (String, &'static str) {
    let topic = || format!("topic \"{}\"", config.topic);
    match right {
        Some(Right::Cluster) if writes => (
            "the cluster".to_owned(),
            "WRITE on the topic; before Kafka 2.8 also IDEMPOTENT_WRITE on the cluster",
        ),
        Some(Right::Topic) | None if writes => (topic(), "WRITE and DESCRIBE on the topic"),
        Some(Right::Topic) | None => (topic(), "READ and DESCRIBE on the topic"),
        Some(Right::Group) => (format!("group \"{}\"", config.group), "READ on the group"),
        Some(Right::Cluster) => ("the cluster".to_owned(), "DESCRIBE on the cluster"),
    }
}
