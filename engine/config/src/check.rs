//! What types cannot say: names, pointers, addresses, lengths of time. Returns every complaint, in
//! no order.

use super::document::join;
use super::export::{FaultyPart, MOST_EXPORTS};
use super::names::{is_event_type, is_metric_name};
use super::secret::{is_host, quoted};
use super::{Config, ExportConfig, HostName, MetricConfig, Origin, duration, url};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

/// A value that cannot be.
pub(super) struct Complaint {
    /// Key path as `document::join` writes it.
    pub(super) key: String,
    /// Whether the key itself is at fault, not its value.
    pub(super) in_key: bool,
    /// One sentence without the key.
    pub(super) message: String,
    /// The key whose lack is the fault. Where the file has it, it is of a type that is refused, and
    /// that is said already.
    pub(super) lacks: Option<String>,
}

/// librdkafka settings on which exactly-once counting rests; Tally sets them.
const OWN_SETTINGS: [(&str, &str); 15] = [
    ("bootstrap.servers", "write kafka.brokers"),
    ("metadata.broker.list", "write kafka.brokers"),
    ("group.id", "write kafka.group"),
    ("group.instance.id", "write kafka.instance_id"),
    ("enable.partition.eof", "the end of a partition is not an event"),
    ("session.timeout.ms", "write kafka.session_timeout_ms"),
    ("auto.offset.reset", "write kafka.start"),
    ("enable.auto.commit", "positions are kept with the state"),
    ("enable.auto.offset.store", "positions are kept with the state"),
    ("partition.assignment.strategy", "the rebalance protocol is fixed"),
    ("enable.idempotence", "the producer is always idempotent"),
    ("acks", "the producer always waits for all replicas"),
    ("request.required.acks", "the producer always waits for all replicas"),
    ("transactional.id", "the producer is idempotent and begins no transactions"),
    ("isolation.level", "aborted transactions must not be counted"),
];

/// Why this librdkafka setting is not the user's; `None`: it is.
#[must_use]
pub fn own_kafka_setting(name: &str) -> Option<&'static str> {
    OWN_SETTINGS.iter().find(|(own, _)| *own == name).map(|(_, instead)| *instead)
}

/// More librdkafka settings than there are.
const MOST_SETTINGS: usize = 300;

/// Sections `[metrics.NAME]`: each is a metric with state and memory of its own.
pub(super) const MOST_METRICS: usize = 1_000;

pub(super) fn check(config: &Config) -> Vec<Complaint> {
    let mut found = Found(Vec::new());
    kafka(config, &mut found);
    found.add("log.retention", duration::parse_retention(&config.log.retention).map(drop));
    events(config, &mut found);
    found.add("plugins.dir", directory(&config.plugins.dir));
    found.add("store.data_dir", directory(&config.store.data_dir));
    if !config.catalogue.postgres_url.is_empty() {
        found.add("catalogue.postgres_url", url::postgres(config.catalogue.postgres_url.reveal()));
    }
    found.add("server.listen", listen(&config.server.listen));
    found.add("limits.memory", memory(config.limits.memory));
    for (n, host) in config.server.allowed_hosts.iter().enumerate() {
        let verdict = HostName::parse(host).map(drop);
        let fault = || {
            format!(
                "{} is not a host name; write \"tally.example\" or \"tally.example:8080\"",
                quoted(host)
            )
        };
        found.add(format!("server.allowed_hosts[{n}]"), verdict.ok_or_else(fault));
    }
    for (n, origin) in config.server.allowed_origins.iter().enumerate() {
        let verdict = Origin::parse(origin).map(drop);
        let fault = || {
            format!(
                "{} is not an origin; write \"https://shop.example\": the port only if it is not \
                 the scheme's default, and no path",
                quoted(origin)
            )
        };
        found.add(format!("server.allowed_origins[{n}]"), verdict.ok_or_else(fault));
    }
    exports(&config.export, &mut found);
    if config.metrics.len() > MOST_METRICS {
        found.add_key(
            "metrics",
            Err(format!(
                "has {} sections; at most {MOST_METRICS} are served",
                config.metrics.len()
            )),
        );
        return found.0;
    }
    for (name, metric) in &config.metrics {
        one_metric(name, metric, &mut found);
    }
    found.0
}

fn memory(bytes: u64) -> Result<(), String> {
    let least = tally_system::memory::LEAST;
    let enough = bytes == 0 || bytes >= least;
    enough
        .then_some(())
        .ok_or_else(|| format!("must be 0 (chosen from the machine's memory) or at least {least}"))
}

struct Found(Vec<Complaint>);

impl Found {
    fn add(&mut self, key: impl Into<String>, verdict: Result<(), impl Display>) {
        if let Err(fault) = verdict {
            let message = fault.to_string();
            self.0.push(Complaint { key: key.into(), in_key: false, message, lacks: None });
        }
    }

    fn add_key(&mut self, key: impl Into<String>, verdict: Result<(), String>) {
        if let Err(message) = verdict {
            self.0.push(Complaint { key: key.into(), in_key: true, message, lacks: None });
        }
    }

    /// The section lacks a key.
    fn add_lack(&mut self, section: &str, key: &str, fault: &impl Display) {
        self.0.push(Complaint {
            key: section.to_owned(),
            in_key: true,
            message: fault.to_string(),
            lacks: Some(join(section, key)),
        });
    }
}

fn kafka(config: &Config, found: &mut Found) {
    found.add("kafka.brokers", brokers(&config.kafka.brokers));
    found.add("kafka.topic", topic(&config.kafka.topic));
    let group = &config.kafka.group;
    let group_ok = !group.is_empty() && group.len() <= 255 && !group.chars().any(char::is_control);
    found.add(
        "kafka.group",
        group_ok.then_some(()).ok_or("must be 1 to 255 bytes without control characters"),
    );
    let instance = &config.kafka.instance_id;
    let instance_ok = instance.is_empty() || legal(instance);
    found.add(
        "kafka.instance_id",
        instance_ok.then_some(()).ok_or_else(|| {
            format!("{} is not a name: 1 to 249 of a-z A-Z 0-9 . _ -", quoted(instance))
        }),
    );
    let count = config.kafka.settings.len();
    if count > MOST_SETTINGS {
        found.add_key(
            "kafka.settings",
            Err(format!("has {count} entries; librdkafka has fewer than {MOST_SETTINGS} settings")),
        );
        return;
    }
    for setting in config.kafka.settings.keys() {
        if let Some(instead) = own_kafka_setting(setting) {
            found.add_key(
                join("kafka.settings", setting),
                Err(format!("cannot be set here: {instead}")),
            );
        }
    }
}

fn brokers(list: &str) -> Result<(), String> {
    if list.trim().is_empty() {
        return Err("is empty; write \"host:port\", several separated by commas".into());
    }
    for (n, broker) in list.split(',').map(str::trim).enumerate() {
        // What is no host may be a user with a password.
        let fault = || match is_host(broker) {
            true => format!("{} is not host:port (\"127.0.0.1:9092\")", quoted(broker)),
            false => format!("is not host:port in entry {} (\"127.0.0.1:9092\")", n + 1),
        };
        let (host, port) = broker.rsplit_once(':').ok_or_else(fault)?;
        let host_ok = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            }
        };
        if !host_ok || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(fault());
        }
    }
    Ok(())
}

/// Kafka's own rule for topic names.
fn topic(name: &str) -> Result<(), String> {
    if legal(name) {
        Ok(())
    } else {
        Err(format!("{} is not a topic name: 1 to 249 of a-z A-Z 0-9 . _ -", quoted(name)))
    }
}

fn legal(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && (1..=249).contains(&name.len()) && name != "." && name != ".."
}

fn events(config: &Config, found: &mut Found) {
    let fields = &config.events.fields;
    let pointers = [
        ("event_id", &fields.event_id),
        ("user_id", &fields.user_id),
        ("product_id", &fields.product_id),
        ("event_type", &fields.event_type),
        ("timestamp", &fields.timestamp),
    ];
    for (n, (name, pointer)) in pointers.iter().enumerate() {
        // Of two equal pointers the one that was changed is blamed: the other may stand in no file.
        let changed = |name: &str, pointer: &str| pointer.strip_prefix('/') != Some(name);
        let twin = pointers.iter().enumerate().find(|(m, (other_name, other))| {
            *m != n
                && other == pointer
                && changed(name, pointer)
                && (*m < n || !changed(other_name, other))
        });
        let verdict = json_pointer(pointer).and_then(|()| match twin {
            Some((_, (other, _))) => {
                Err(format!("{} is already the pointer of {other}", quoted(pointer)))
            }
            None => Ok(()),
        });
        found.add(join("events.fields", name), verdict);
    }
    for (from, to) in &config.events.aliases {
        let key = join("events.aliases", from);
        if from.is_empty() || from.len() > 64 {
            found.add_key(&key, Err("an event type to rename must have 1 to 64 bytes".into()));
        }
        found.add(&key, event_type(to));
    }
    let mut seen = HashSet::new();
    for (n, kind) in config.events.types.iter().enumerate() {
        let verdict = event_type(kind).and_then(|()| once(&mut seen, kind));
        found.add(format!("events.types[{n}]"), verdict);
    }
    seen.clear();
    for (n, kind) in config.events.keep.iter().enumerate() {
        let verdict = event_type(kind).and_then(|()| once(&mut seen, kind));
        found.add(format!("events.keep[{n}]"), verdict);
    }
    found.add("events.earliest", config.events.earliest_ms().map(drop));
    found.add("events.max_ahead", config.events.max_ahead_ms().map(drop));
    seen.clear();
    for (n, field) in config.events.required.iter().enumerate() {
        let verdict = match field.as_str() {
            "user_id" | "product_id" | "event_type" => once(&mut seen, field),
            _ => Err(format!(
                "{} is not one of \"user_id\", \"product_id\", \"event_type\"",
                quoted(field)
            )),
        };
        found.add(format!("events.required[{n}]"), verdict);
    }
}

fn once<'a>(before: &mut HashSet<&'a str>, word: &'a str) -> Result<(), String> {
    if before.insert(word) { Ok(()) } else { Err(format!("{} is listed twice", quoted(word))) }
}

/// RFC 6901, and not the whole document.
fn json_pointer(pointer: &str) -> Result<(), String> {
    let fault =
        |why: &str| Err(format!("{} is not a JSON pointer: {why} (\"/user/id\")", quoted(pointer)));
    if !pointer.starts_with('/') {
        return fault("it must start with /");
    }
    if pointer.len() == 1 {
        return fault("a name must follow each /");
    }
    if pointer.len() > 256 {
        return Err("is longer than 256 bytes".into());
    }
    let mut bytes = pointer.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'~' && !matches!(bytes.next(), Some(b'0' | b'1')) {
            return fault("write ~ as ~0, and / inside a name as ~1");
        }
    }
    Ok(())
}

fn event_type(name: &str) -> Result<(), String> {
    is_event_type(name).then_some(()).ok_or_else(|| {
        format!("{} is not an event type: a-z first, then a-z 0-9 _, at most 32", quoted(name))
    })
}

fn metric_name(name: &str) -> Result<(), String> {
    is_metric_name(name).then_some(()).ok_or_else(|| {
        format!("{} is not a metric name: a-z first, then a-z 0-9 _, at most 64", quoted(name))
    })
}

fn directory(path: &Path) -> Result<(), String> {
    if path.as_os_str().is_empty() { Err("is empty; write a folder".into()) } else { Ok(()) }
}

fn listen(text: &str) -> Result<(), String> {
    let address: SocketAddr = match text.parse() {
        Ok(address) => address,
        Err(_) => {
            let hint = match text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')) {
                Some(port) if port.parse::<u16>().is_ok() => {
                    format!("; write \"127.0.0.1:{port}\"")
                }
                _ => " (\"127.0.0.1:8080\"; port 0 takes a free one)".into(),
            };
            return Err(format!("{} is not IP:PORT{hint}", quoted(text)));
        }
    };
    if !address.ip().is_loopback() {
        let port = address.port();
        return Err(format!(
            "{address} is reachable from other machines, and this version has no authentication; \
             write \"127.0.0.1:{port}\""
        ));
    }
    Ok(())
}

fn exports(config: &ExportConfig, found: &mut Found) {
    let count = config.prometheus.len();
    if count > MOST_EXPORTS {
        found.add_key(
            "export.prometheus",
            Err(format!("has {count} sections; at most {MOST_EXPORTS} are exported")),
        );
        return;
    }
    for (name, export) in &config.prometheus {
        let path = join("export.prometheus", name);
        for (part, fault) in export.faults(name) {
            match part {
                FaultyPart::Lacks(key) => found.add_lack(&path, key, &fault),
                FaultyPart::Section => found.add_key(&path, Err(fault.to_string())),
                FaultyPart::Key(key) => found.add(join(&path, key), Err(fault)),
                FaultyPart::Label(label) => {
                    found.add_key(join(&join(&path, "labels"), label), Err(fault.to_string()));
                }
                FaultyPart::Source(label) => {
                    found.add(join(&join(&path, "labels"), label), Err(fault));
                }
            }
        }
    }
}

fn one_metric(name: &str, metric: &MetricConfig, found: &mut Found) {
    let path = join("metrics", name);
    found.add_key(&path, metric_name(name));
    if let Some(plugin) = &metric.plugin {
        found.add(join(&path, "plugin"), metric_name(plugin));
    }
    if metric.history != "none" {
        found.add(join(&path, "history"), duration::parse_retention(&metric.history).map(drop));
    }
    found.add(join(&path, "keep_old"), duration::parse(&metric.keep_old).map(drop));
    tiers(&join(&path, "retention"), &metric.retention, found);
}

fn tiers(path: &str, retention: &BTreeMap<String, String>, found: &mut Found) {
    for (tier, keep) in retention {
        let key = join(path, tier);
        if !["1m", "1h", "1d"].contains(&tier.as_str()) {
            found.add_key(
                &key,
                Err(format!("{} is not a tier; write one of \"1m\", \"1h\", \"1d\"", quoted(tier))),
            );
        }
        found.add(&key, duration::parse_retention(keep).map(drop));
    }
}
