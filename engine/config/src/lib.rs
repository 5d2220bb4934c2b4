//! What `metrics.toml` says, as values with defaults. Reading files and the environment: [`load`].

mod address;
mod check;
mod document;
pub mod duration;
mod events;
mod expected;
mod export;
pub mod fault;
pub mod load;
mod metric;
mod names;
pub mod pointer;
pub mod secret;
mod section_size;
mod sections;
mod url;

pub use address::{HostName, Origin};
pub use check::own_kafka_setting;
pub use document::join as document_key;
pub use events::{EventTimeFault, EventsConfig, FieldsConfig, MAX_DEDUPE_WINDOW};
pub use export::{ExportConfig, ExportFault, KEY_LABEL, PrometheusExport, path as export_path};
pub use metric::{MetricConfig, Overflow, Promote};
pub use names::{is_event_type, is_identifier, is_metric_name};
pub use secret::Secret;
pub use section_size::{LONGEST_KEY, judge_size};
pub use sections::{SECTIONS_FILE, SectionFault, Sections, pointer_in, section_toml};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where records come from.
    pub source: SourceConfig,
    /// The Kafka source.
    pub kafka: KafkaConfig,
    /// The embedded log.
    pub log: LogConfig,
    /// How a record becomes an event.
    pub events: EventsConfig,
    /// Where plugin files are.
    pub plugins: PluginsConfig,
    /// State.
    pub store: StoreConfig,
    /// The Redis store.
    pub redis: RedisConfig,
    /// Users and products.
    pub catalogue: CatalogueConfig,
    /// HTTP.
    pub server: ServerConfig,
    /// Events and answers as they come.
    pub live: LiveConfig,
    /// Bounds of memory.
    pub limits: LimitsConfig,
    /// What is shown elsewhere of metrics.
    pub export: ExportConfig,
    /// `[metrics.NAME]`.
    pub metrics: BTreeMap<String, MetricConfig>,
}

/// `[source]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Which log is consumed.
    pub kind: SourceKind,
    /// What records that are gone from the log before they were counted lead to.
    pub on_gap: OnGap,
    /// What it leads to that the store has lost the state of a metric while it is being counted.
    pub on_state_loss: OnStateLoss,
}

/// What records that are gone from the log before they were counted lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// The partition stands still and says so.
    #[default]
    Halt,
    /// The gap is recorded with the progress, and counting goes on behind it.
    Continue,
}

/// What it leads to that the store has lost the state of a metric while it is being counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStateLoss {
    /// The log is counted again from its first record held.
    #[default]
    Rebuild,
    /// The metric stands still and says so.
    Halt,
}

/// Which log is consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The log in the data directory, fed by `POST /api/events`.
    #[default]
    Embedded,
    /// A topic of a Kafka cluster.
    Kafka,
}

/// `[kafka]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// This engine's name in the group, kept over restarts (static membership); empty: none.
    pub instance_id: String,
    /// Where a partition starts that was never read.
    pub start: StartAt,
    /// How long the group waits for a silent member, milliseconds.
    pub session_timeout_ms: u32,
    /// Whether a topic with `cleanup.policy=compact` is accepted.
    pub allow_compacted: bool,
    /// Further librdkafka settings, passed on as they are.
    pub settings: BTreeMap<String, Secret>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        KafkaConfig {
            brokers: "127.0.0.1:9092".into(),
            topic: "events".into(),
            group: "tally".into(),
            instance_id: String::new(),
            start: StartAt::Earliest,
            session_timeout_ms: 6_000,
            allow_compacted: false,
            settings: BTreeMap::new(),
        }
    }
}

/// Where a partition starts that was never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// At the first record held.
    #[default]
    Earliest,
    /// After the last one.
    Latest,
}

/// `[log]`: the embedded log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Number of partitions of a new log; events are spread by `user_id`.
    pub partitions: u32,
    /// Oldest records are dropped beyond this many bytes (all partitions together).
    pub retention_bytes: u64,
    /// Records older than this are dropped: `"30d"`, `"12h"`, `"all"`.
    pub retention: String,
    /// What an acknowledged event survives: `process` (kill -9) or `power` (a power cut; slower).
    pub durability: Durability,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            partitions: 4,
            retention_bytes: 10 << 30,
            retention: "30d".into(),
            durability: Durability::Process,
        }
    }
}

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The end of the process, however sudden.
    #[default]
    Process,
    /// The end of the machine's power too.
    Power,
}

/// `[plugins]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Folder of plugin files, relative to the configuration file. The binary's own folder is
    /// searched after it.
    pub dir: PathBuf,
    /// Of the plugins in the binary's own folder: which are served without a section, by name.
    pub shipped: Vec<String>,
    /// What becomes of a file that `SHA256SUMS` in its folder does not list.
    pub checksums: Checksums,
}

/// What becomes of a plugin file that `SHA256SUMS` in its folder does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksums {
    /// It is loaded; the list is not looked at.
    #[default]
    Off,
    /// It is loaded, and the log says so.
    Warn,
    /// It is refused.
    Enforce,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        PluginsConfig {
            dir: "plugins".into(),
            shipped: ["event_frequencies", "products_popularity", "user_activities"]
                .map(String::from)
                .into(),
            checksums: Checksums::Off,
        }
    }
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Where state is kept.
    pub kind: StoreKind,
    /// Where log, state, catalogue, dead letters and private plugin copies live.
    pub data_dir: PathBuf,
    /// How often state is made durable, milliseconds: what a crash makes us read again, never what
    /// it loses.
    pub checkpoint_interval_ms: u64,
    /// Dead letters kept; older ones are dropped, their counters stay.
    pub dead_letters: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            kind: StoreKind::Embedded,
            data_dir: ".tally".into(),
            checkpoint_interval_ms: 1_000,
            dead_letters: 100_000,
        }
    }
}

/// Where state is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In the data directory: one engine.
    #[default]
    Embedded,
    /// In Redis, shared by the engines of a group.
    Redis,
}

/// `[redis]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://` or `rediss://` URL, `host` or `host:port`; nodes of a Cluster with commas
    /// between. May hold a password.
    pub url: Secret,
    /// In place of the URL's port; 0: the URL's.
    pub port: u16,
    /// First part of every key.
    pub namespace: String,
    /// How often counts are committed, milliseconds: how old an answer of another engine may be.
    pub commit_interval_ms: u64,
    /// A bucket above so many bytes takes nothing more before it is compacted.
    pub max_bucket_bytes: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        RedisConfig {
            url: "redis://127.0.0.1:6379".into(),
            port: 0,
            namespace: "tally".into(),
            commit_interval_ms: 50,
            max_bucket_bytes: 64 << 20,
        }
    }
}

/// `[catalogue]`: users and products.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogueConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; empty: a file in the data directory.
    pub postgres_url: Secret,
    /// PostgreSQL: whether a start applies migrations; if not, it only looks whether they are.
    pub migrate: bool,
}

impl Default for CatalogueConfig {
    fn default() -> Self {
        CatalogueConfig { postgres_url: Secret::default(), migrate: true }
    }
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address to listen on; only loopback in this version.
    pub listen: String,
    /// Names by which callers may ask beside loopback ones: `tally.example`, with a port only that.
    pub allowed_hosts: Vec<String>,
    /// Origins of pages that may ask beside the server's own: `https://shop.example`.
    pub allowed_origins: Vec<String>,
    /// Folder of boards, relative to the configuration file; empty: none are served.
    pub boards: PathBuf,
    /// Open connections, more are refused.
    pub max_connections: usize,
    /// How long an evaluation may take, milliseconds.
    pub evaluation_deadline_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: "127.0.0.1:8080".into(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            boards: PathBuf::new(),
            max_connections: 4_096,
            evaluation_deadline_ms: 250,
        }
    }
}

/// `[live]`: events and answers as they come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveConfig {
    /// WebSockets and streams of events at once.
    pub streams: usize,
    /// Subscriptions of one WebSocket.
    pub subscriptions: usize,
    /// Listeners at once to which older events are read from the log again.
    pub replays: usize,
    /// Different questions that are watched at once; more are refused.
    pub questions: usize,
    /// The least time between two updates that anybody may ask for, milliseconds.
    pub min_interval_ms: u64,
    /// Threads that evaluate them.
    pub threads: usize,
}

impl Default for LiveConfig {
    fn default() -> Self {
        LiveConfig {
            streams: 4_096,
            subscriptions: 64,
            replays: 8,
            questions: 10_000,
            min_interval_ms: 50,
            threads: 2,
        }
    }
}

/// `[limits]`: bounds of memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Bytes of which answers and caches have their shares; 0: three quarters of what the machine
    /// or its control group has.
    pub memory: u64,
    /// Longest answer, bytes.
    pub answer_bytes: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig { memory: 0, answer_bytes: 16 << 20 }
    }
}
