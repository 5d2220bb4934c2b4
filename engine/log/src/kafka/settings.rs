//! The librdkafka settings of each client, and which ones a user may not change. Pure.

use crate::LogError;
use std::collections::BTreeMap;
use tally_config::secret::quoted;
use tally_config::{KafkaConfig, own_kafka_setting};

/// Settings as librdkafka takes them.
pub(super) type Settings = BTreeMap<String, String>;

/// The shortest and the longest pause before a broker is contacted again: bounds of one range, set
/// together.
const PAUSES: &str = "reconnect.backoff.";

fn merged(
    config: &KafkaConfig,
    defaults: &[(&str, &str)],
    fixed: &[(&str, &str)],
    mine: fn(&str) -> bool,
) -> Result<Settings, LogError> {
    // A user's bound together with our default for the other could be a range that the client
    // refuses.
    let paused = config.settings.keys().any(|name| name.starts_with(PAUSES));
    let defaults = defaults.iter().filter(|(name, _)| !(paused && name.starts_with(PAUSES)));
    let mut settings: Settings =
        defaults.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (name, value) in &config.settings {
        if let Some(reason) = own_kafka_setting(name) {
            return Err(LogError::Fatal(format!(
                "[kafka.settings] {} cannot be set: {reason}",
                quoted(name)
            )));
        }
        if mine(name) {
            settings.insert(name.clone(), value.reveal().to_owned());
        }
    }
    settings.insert("bootstrap.servers".into(), config.brokers.clone());
    settings.entry("client.id".into()).or_insert_with(|| "tally".into());
    settings.extend(fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(settings)
}

/// Consumers and producers share the settings of connections; librdkafka warns about those of the
/// other kind.
fn consumes(name: &str) -> bool {
    const PRODUCER: &[&str] = &[
        "queue.buffering.",
        "linger.ms",
        "batch.",
        "compression.",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "partitioner",
        "transaction",
        "sticky.partitioning",
        "retries",
        "message.send.max.retries",
    ];
    !PRODUCER.iter().any(|prefix| name.starts_with(prefix))
}

fn produces(name: &str) -> bool {
    const CONSUMER: &[&str] = &[
        "fetch.",
        "queued.",
        "group.",
        "heartbeat.",
        "max.poll.",
        "check.crcs",
        "max.partition.fetch",
        "client.rack",
    ];
    !CONSUMER.iter().any(|prefix| name.starts_with(prefix))
}

/// Fetching: low latency, a short queue (payloads are still in the processor's cache when they are
/// decoded), no second-long pause after the queue was full (librdkafka's `fetch.queue.backoff.ms`
/// is 1,000 by default).
const FETCH: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "20"),
    ("fetch.queue.backoff.ms", "5"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "4194304"),
    // Each attempt to reach a broker that is away costs a connection, so there are fewer than by
    // default.
    ("reconnect.backoff.ms", "500"),
    ("reconnect.backoff.max.ms", "2000"),
    // how late added partitions are noticed; 300,000 by default
    ("topic.metadata.refresh.interval.ms", "5000"),
];

const CONSUME: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    // The batch call takes such an event for a record of that offset, and skips the record there
    // after a pause.
    ("enable.partition.eof", "false"),
];

/// Of the consumer in the group.
pub(super) fn consumer(config: &KafkaConfig) -> Result<Settings, LogError> {
    let mut settings = merged(config, FETCH, CONSUME, consumes)?;
    settings.insert("group.id".into(), config.group.clone());
    if !config.instance_id.is_empty() {
        settings.insert("group.instance.id".into(), config.instance_id.clone());
    }
    match settings.get("group.protocol").map(String::as_str) {
        Some("consumer") => {} // assignor and timeouts are the broker's
        None | Some("classic") => {
            settings.insert("partition.assignment.strategy".into(), "cooperative-sticky".into());
            settings.insert("session.timeout.ms".into(), config.session_timeout_ms.to_string());
            let beat = (config.session_timeout_ms / 10).clamp(100, 3_000);
            settings.entry("heartbeat.interval.ms".into()).or_insert_with(|| beat.to_string());
        }
        Some(other) => {
            return Err(LogError::Fatal(format!(
                "[kafka.settings] \"group.protocol\" = {}: classic or consumer",
                quoted(other)
            )));
        }
    }
    Ok(settings)
}

/// Of a reader outside the group that shows what is appended: it skips what the log no longer
/// holds.
pub(super) fn tail(config: &KafkaConfig) -> Result<Settings, LogError> {
    let mut settings =
        merged(config, FETCH, CONSUME, |name| consumes(name) && !name.starts_with("group."))?;
    settings.insert("auto.offset.reset".into(), "earliest".into());
    // required by the API, never joined
    settings.insert("group.id".into(), format!("{}-tail", config.group));
    Ok(settings)
}

/// Of a reader outside the group that counts: an offset that is gone is reported.
pub(super) fn replay(config: &KafkaConfig) -> Result<Settings, LogError> {
    let mut settings = tail(config)?;
    settings.insert("auto.offset.reset".into(), "error".into());
    // required by the API, never joined
    settings.insert("group.id".into(), format!("{}-replay", config.group));
    Ok(settings)
}

/// Of the producer: no duplicates by retries, every acknowledgement from all replicas in sync, a
/// bounded queue.
pub(super) fn producer(config: &KafkaConfig) -> Result<Settings, LogError> {
    let defaults = [
        ("linger.ms", "2"),
        ("batch.size", "1000000"),
        ("compression.type", "lz4"),
        ("queue.buffering.max.messages", "100000"),
        ("queue.buffering.max.kbytes", "65536"),
        ("message.timeout.ms", "20000"),
        ("partitioner", "murmur2_random"),
        ("reconnect.backoff.ms", "500"),
        ("reconnect.backoff.max.ms", "2000"),
    ];
    merged(config, &defaults, &[("enable.idempotence", "true"), ("acks", "all")], produces)
}

/// The usual size of batches, bytes; librdkafka's own default.
const BATCH: u32 = 1_000_000;

/// So much of what a topic takes is left for what a batch has beside its records, bytes.
const BESIDE: u32 = 512;

/// The largest batch of a producer, bytes: what is configured, or less where the topic takes less.
pub(super) fn batch_size(config: &KafkaConfig, taken: Option<u32>) -> u32 {
    let configured = config.settings.get("batch.size").and_then(|size| size.reveal().parse().ok());
    let most = taken.map_or(u32::MAX, |taken| (taken - BESIDE.min(taken / 2)).max(1));
    most.min(configured.unwrap_or(BATCH))
}

/// Of the producer, with batches of at most this size. A larger record is in a batch of its own.
pub(super) fn batching_producer(config: &KafkaConfig, size: u32) -> Result<Settings, LogError> {
    let mut settings = producer(config)?;
    // What is configured and is no size stays, for the library to refuse it.
    let set = settings.get("batch.size").and_then(|set| set.parse::<u32>().ok());
    if set.is_some_and(|set| size < set) {
        settings.insert("batch.size".into(), size.to_string());
    }
    Ok(settings)
}

/// Of the producer that sends each record in a batch of its own, and each once: without numbers of
/// sequence, so that a record that is refused holds up no other, and without a second try, so that
/// there are no duplicates all the same.
pub(super) fn lone_producer(config: &KafkaConfig) -> Result<Settings, LogError> {
    let mut settings = producer(config)?;
    // another name of what is set below, and what only numbers of sequence can promise
    for name in ["retries", "enable.gapless.guarantee"] {
        settings.remove(name);
    }
    for (name, value) in [
        ("enable.idempotence", "false"),
        ("message.send.max.retries", "0"),
        ("batch.num.messages", "1"),
    ] {
        settings.insert(name.to_owned(), value.to_owned());
    }
    Ok(settings)
}

/// Of the administrative client.
pub(super) fn admin(config: &KafkaConfig) -> Result<Settings, LogError> {
    merged(config, &[], &[], |name| produces(name) && consumes(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> KafkaConfig {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        KafkaConfig { settings, ..KafkaConfig::default() }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_with_the_reason() {
        for name in [
            "group.id",
            "isolation.level",
            "auto.offset.reset",
            "acks",
            "transactional.id",
            "enable.idempotence",
        ] {
            let refused = consumer(&with(&[(name, "true")])).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains(": "), "{refused}");
        }
        assert!(consumer(&with(&[("group.protocol", "eager")])).is_err());
    }

    #[test]
    fn other_settings_are_passed_on_to_the_client_they_belong_to() {
        let config = with(&[
            ("fetch.wait.max.ms", "7"),
            ("linger.ms", "9"),
            ("security.protocol", "plaintext"),
        ]);
        let (consumer, producer) = (consumer(&config).unwrap(), producer(&config).unwrap());
        assert_eq!(
            (consumer["fetch.wait.max.ms"].as_str(), consumer.get("linger.ms")),
            ("7", None)
        );
        assert_eq!(
            (producer["linger.ms"].as_str(), producer.get("fetch.wait.max.ms")),
            ("9", None)
        );
        assert!(
            consumer["security.protocol"] == "plaintext"
                && producer["security.protocol"] == "plaintext"
        );
        assert_eq!(consumer["auto.offset.reset"], "error");
    }

    #[test]
    fn one_bound_of_a_users_pauses_is_not_set_against_a_default() {
        for (name, value) in [("reconnect.backoff.max.ms", "300"), ("reconnect.backoff.ms", "5000")]
        {
            let config = with(&[(name, value)]);
            for settings in [consumer(&config).unwrap(), producer(&config).unwrap()] {
                assert_eq!(settings[name], value);
                let mut client = rdkafka::ClientConfig::new();
                client.extend(settings);
                client.create_native_config().unwrap();
                let made = client.create::<rdkafka::producer::BaseProducer>();
                assert!(
                    !made.is_err_and(|fault| fault.to_string().contains("backoff")),
                    "{name} = {value}"
                );
            }
        }
    }

    #[test]
    fn a_batch_is_no_larger_than_the_topic_takes() {
        let set = |config: &KafkaConfig, taken| {
            let size = batch_size(config, taken);
            assert_eq!(batching_producer(config, size).unwrap()["batch.size"], size.to_string());
            size
        };
        let usual = KafkaConfig::default();
        assert_eq!((set(&usual, None), set(&usual, Some(1_048_588))), (1_000_000, 1_000_000));
        assert_eq!((set(&usual, Some(100_000)), set(&usual, Some(600))), (99_488, 300));
        assert_eq!((set(&usual, Some(1)), set(&usual, Some(0))), (1, 1));
        let small = with(&[("batch.size", "5000")]);
        assert_eq!((set(&small, None), set(&small, Some(100_000))), (5_000, 5_000));
        assert_eq!(set(&small, Some(2_000)), 1_488);
        let wrong = with(&[("batch.size", "large")]);
        assert_eq!(batching_producer(&wrong, 7).unwrap()["batch.size"], "large");
    }

    #[test]
    fn a_lone_producer_is_made_whatever_the_other_one_is_set_to() {
        let config = with(&[
            ("retries", "5"),
            ("batch.num.messages", "100"),
            ("enable.gapless.guarantee", "true"),
        ]);
        let settings = lone_producer(&config).unwrap();
        let of = |name: &str| settings.get(name).map_or("", String::as_str);
        assert_eq!((of("batch.num.messages"), of("message.send.max.retries")), ("1", "0"));
        assert_eq!((of("retries"), of("acks")), ("", "all"));
        let mut client = rdkafka::ClientConfig::new();
        client.extend(settings);
        client.create::<rdkafka::producer::BaseProducer>().unwrap();
    }

    #[test]
    fn a_name_in_the_group_is_optional_and_only_the_member_has_it() {
        let named = KafkaConfig {
            instance_id: "engine-1".into(),
            session_timeout_ms: 7_000,
            ..KafkaConfig::default()
        };
        assert_eq!(consumer(&named).unwrap()["group.instance.id"], "engine-1");
        assert_eq!(consumer(&named).unwrap()["session.timeout.ms"], "7000");
        assert!(!tail(&named).unwrap().contains_key("group.instance.id"));
        assert!(!consumer(&KafkaConfig::default()).unwrap().contains_key("group.instance.id"));
    }

    #[test]
    fn the_broker_assigns_under_kip_848() {
        let settings = consumer(&with(&[("group.protocol", "consumer")])).unwrap();
        assert!(
            !settings.contains_key("partition.assignment.strategy")
                && !settings.contains_key("session.timeout.ms")
        );
    }
}
