//! Starting an engine: everything is opened and checked before the first record is read.

use super::append::Appender;
use super::audit::LogAccess;
use super::{Engine, Options, Rejected, Served, StartError, furthest};
use crate::config::{self, Config, Durability, RedisConfig, SourceKind, StoreKind};
use crate::database::Database;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::feed::Feed;
use crate::pipeline::{self, FOLLOWED, Follower, Metric, Parts, Place, Relay, RelayParts, View, Watch};
use crate::plugin;
use crate::progress::{Memory, OnGap, OnStateLoss, RevisionNo, Settings};
use crate::query::Askable;
use crate::revision::revision;
use crate::source::embedded::{EmbeddedSource, Log};
use crate::source::kafka::{KafkaSource, Producer, TopicIdentity};
use crate::source::{Identity, Source};
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::{RedisSettings, RedisStore};
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tally_plugin::description::Description;

/// Updates of one metric that may wait for their commit before intake pauses: some 100 MB.
const PENDING_ROWS: u64 = 4_000_000;

/// Largest bucket. Embedded, a large one only makes its compaction longer, so this is far above what compaction leaves.
const MAX_BUCKET: u64 = 1 << 30;

pub(super) fn start(options: Options) -> Result<Engine, StartError> {
    let config = &options.config;
    let database = Database::open(&config.store.data_dir).map_err(|fault| fault_of(&fault))?;
    let private = config.store.data_dir.join("plugins");
    let loaded = plugin::load(&options.plugin_dirs, &private, &config.metrics);
    let (store, store_said) = store(config, &database)?;
    let shared = config.store.kind == StoreKind::Redis;
    let view = Arc::new(if shared { View::of_lane() } else { View::default() });
    let now = jiff::Timestamp::now().as_millisecond();
    let mut rejected: Vec<Rejected> = loaded.rejected.into_iter().map(|file| told(file, now)).collect();
    let mut served = BTreeMap::new();
    let mut metrics = Vec::new();
    for plugin in loaded.metrics.into_iter().map(Arc::new) {
        match serve(&plugin, &view, config, metrics.len() as u32, now, shared.then_some(&store)) {
            Ok((askable, metric)) => {
                metrics.push(metric);
                served.insert(plugin.name().to_owned(), askable);
            }
            Err(reason) => rejected.push(Rejected { file: plugin.file().display().to_string(), reason, since: now }),
        }
    }
    for rejected in &rejected {
        tracing::warn!(file = rejected.file, "plugin refused: {}", rejected.reason);
    }
    let (source, identity, appender, topic) = source(config, &database)?;
    let feed = Arc::new(Feed::default());
    let dead_letters = DeadLetters::open(&database, config.store.dead_letters).map_err(|fault| fault_of(&fault))?;
    let watch = follow(&served, &view)?;
    let relay = relay(config, &served, &feed)?;
    let interval = if shared { config.redis.commit_interval_ms } else { config.store.checkpoint_interval_ms };
    let dead_letters = Arc::new(dead_letters);
    let parts = Parts {
        source,
        identity,
        store,
        shared,
        view: view.clone(),
        metrics,
        settings: settings(config, shared),
        decoder: Decoder::new(&config.events).map_err(StartError)?,
        dead_letters: Arc::clone(&dead_letters),
        // Where others count too, their events are shown as well, by a relay.
        feed: relay.is_none().then(|| feed.clone()),
        checkpoint: Duration::from_millis(interval),
        topic,
        stop: Arc::new(AtomicU64::new(0)),
    };
    let lane = pipeline::start(parts).map_err(|fault| StartError(format!("no thread can be started: {fault}")))?;
    Ok(Engine {
        metrics: served,
        rejected,
        view,
        feed,
        dead_letters,
        lane,
        watch,
        _relay: relay,
        store: store_said,
        database: (!shared).then(|| database.clone()),
        log: match &appender {
            Appender::Log(log) => LogAccess::Log(Arc::clone(log)),
            Appender::Kafka(_) => LogAccess::Kafka(config.kafka.clone()),
        },
        events: config.events.clone(),
        appender,
        checker: Decoder::new(&config.events).map_err(StartError)?,
        deadline: Duration::from_millis(config.server.evaluation_deadline_ms),
        source: match config.source.kind {
            SourceKind::Embedded => "log",
            SourceKind::Kafka => "kafka",
        },
    })
}

/// Gives a metric its place in state and makes it askable.
fn serve(
    plugin: &Arc<plugin::Metric>,
    view: &View,
    config: &Config,
    number: u32,
    now: i64,
    shared: Option<&Arc<dyn Store>>,
) -> Result<(Served, Metric), String> {
    let id = view.add(plugin.description(), Place { since: now, ..Place::default() });
    let askable = Askable::new(if shared.is_some() { FOLLOWED } else { id }, plugin.clone())?;
    let (revision, meta) = revision(plugin, &config.events);
    let description =
        Arc::new(Description { params_schema: askable.params.schema().clone(), ..(**plugin.description()).clone() });
    let result_schema = Arc::new(description.result_schema.clone());
    let follower = shared.map(|store| Arc::new(Follower::new(store.clone(), revision.clone(), plugin.description())));
    let metric = Metric { no: RevisionNo(number), id, revision, meta, plugin: plugin.clone() };
    Ok((Served { askable, id, follower, description, result_schema }, metric))
}

/// The store, and what readiness says of it.
fn store(config: &Config, database: &Database) -> Result<(Arc<dyn Store>, String), StartError> {
    match config.store.kind {
        StoreKind::Embedded => {
            let store = EmbeddedStore::open(database.clone(), Durability::Process, MAX_BUCKET);
            Ok((Arc::new(store.map_err(|fault| fault_of(&fault))?), "open".into()))
        }
        StoreKind::Redis => {
            let RedisConfig { url, port, namespace, max_bucket_bytes, .. } = &config.redis;
            let settings = RedisSettings {
                url: url.clone(),
                port: (*port > 0).then_some(*port),
                namespace: namespace.clone(),
                max_bucket_bytes: *max_bucket_bytes,
                ..RedisSettings::default()
            };
            let store = RedisStore::open(&settings).map_err(|fault| fault_of(&fault))?;
            store.server().warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let said = store.server().to_string();
            Ok((Arc::new(store), said))
        }
    }
}

/// Reads what is stored, so that the first question finds it; who is behind the others has history to count.
fn follow(served: &BTreeMap<String, Served>, view: &Arc<View>) -> Result<Option<Watch>, StartError> {
    let followers: Vec<Arc<Follower>> = served.values().filter_map(|served| served.follower.clone()).collect();
    if followers.is_empty() {
        return Ok(None);
    }
    for follower in &followers {
        match follower.refresh(Instant::now()) {
            // One metric that cannot be read does not keep the others from answering.
            Ok(()) | Err(StoreError::Corrupt(_)) => {}
            Err(fault) => return Err(fault_of(&fault)),
        }
    }
    let furthest = furthest(followers.iter().map(|follower| follower.read().position.clone()));
    followers.iter().for_each(|follower| follower.aim(&furthest));
    let watch = pipeline::watch(followers, view.clone());
    watch.map(Some).map_err(|fault| StartError(format!("no thread can be started: {fault}")))
}

/// Shows the events of all partitions where this engine counts only some.
fn relay(config: &Config, served: &BTreeMap<String, Served>, feed: &Arc<Feed>) -> Result<Option<Relay>, StartError> {
    if config.store.kind != StoreKind::Redis || config.source.kind != SourceKind::Kafka {
        return Ok(None);
    }
    let followers: Vec<Arc<Follower>> = served.values().filter_map(|served| served.follower.clone()).collect();
    let parts = RelayParts {
        kafka: config.kafka.clone(),
        decoder: Decoder::new(&config.events).map_err(StartError)?,
        window: config.events.dedupe_window,
        feed: feed.clone(),
        position: Box::new(move || furthest(followers.iter().map(|follower| follower.read().position.clone()))),
    };
    let relay = pipeline::relay(parts);
    relay.map(Some).map_err(|fault| StartError(format!("no thread can be started: {fault}")))
}

/// What is read, how it says which log it is, where events are appended, and the name of the log.
type Opened = (Box<dyn Source>, Option<Arc<dyn Identity>>, Appender, String);

fn source(config: &Config, database: &Database) -> Result<Opened, StartError> {
    match config.source.kind {
        SourceKind::Embedded => {
            let log = Log::open(database, &config.log).map_err(|fault| fault_of(&fault))?;
            Ok((Box::new(EmbeddedSource::new(log.clone())), None, Appender::Log(log), "log".into()))
        }
        SourceKind::Kafka => {
            let source = KafkaSource::open(&config.kafka).map_err(|fault| fault_of(&fault))?;
            let producer = Producer::open(&config.kafka).map_err(|fault| fault_of(&fault))?;
            let identity = TopicIdentity::open(&config.kafka).map_err(|fault| fault_of(&fault))?;
            let appender = Appender::Kafka(Box::new(producer));
            Ok((Box::new(source), Some(Arc::new(identity)), appender, config.kafka.topic.clone()))
        }
    }
}

fn settings(config: &Config, shared: bool) -> Settings {
    Settings {
        dedupe_window: config.events.dedupe_window,
        on_gap: match config.source.on_gap {
            config::OnGap::Halt => OnGap::Halt,
            config::OnGap::Continue => OnGap::Continue,
        },
        on_state_loss: match config.source.on_state_loss {
            config::OnStateLoss::Rebuild => OnStateLoss::Rebuild,
            config::OnStateLoss::Halt => OnStateLoss::Halt,
        },
        memory: if shared { Memory::Apart } else { Memory::Resident },
        max_pending_rows: PENDING_ROWS,
        // Told by whoever knows which log it is.
        topic: String::new(),
    }
}

fn told(file: plugin::RejectedFile, since: i64) -> Rejected {
    Rejected { file: file.file.display().to_string(), reason: file.reason, since }
}

fn fault_of(fault: &impl Display) -> StartError {
    StartError(fault.to_string())
}
