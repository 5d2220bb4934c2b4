//! Starting an engine: everything is opened and checked before the first record is read.

use super::asking::Asking;
use super::catalog::{MetricCatalog, NewerRevision, PreviousRevision, ServedRevision, Stage};
use super::crash_suspects::CrashSuspects;
use super::lane_factory::LaneFactory;
use super::lifecycle::{self, ManagerParts, MetricSections, Notebook, Reading, Recall, Roles};
use super::listen::ReplayPlaces;
use super::live;
use super::notices::events_failed;
use super::preview::Previews;
use super::status::StatusBasis;
use super::system_report::SystemReport;
use super::tried_plugin::TriedPlugins;
use super::{Engine, Options, Rejected, StartError, stored};
use crate::clock::wall_ms;
use crate::config::{self, Config};
use crate::database::Database;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::Feed;
use crate::host::{self, Found, Registry, last_words};
use crate::log::{self, Log, Source};
use crate::memory::Budget;
use crate::pipeline::{
    self, CallMarks, Followers, LaneStatus, MemoryShare, MetricProgress, Relay, RelayParts, Target,
    View, Watch, counted_partitions,
};
use crate::progress::{Memory, OnGap, OnStateLoss, Settings};
use crate::query::{Answers, Limits};
use crate::state::{Folds, TypeLimit};
use crate::store::{self, StoreError, StoredRevision};
use parking_lot::{Mutex, RwLock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// Updates of all metrics of a lane that may wait for their commits before intake pauses: some 400
/// MB.
const PENDING_ROWS: u64 = 12_000_000;

/// Approximate bytes of such an update; together they take at most an eighth of the share of state.
const PENDING_BYTES: u64 = 32;

pub(super) fn start(options: Options) -> Result<Engine, StartError> {
    let config = &options.config;
    let database = Database::open(&config.store.data_dir)?;
    let sections = MetricSections::open(config)?;
    let private = config.store.data_dir.join("plugin-copies");
    let marked = marks(&config.store.data_dir, &private);
    let tried = Arc::new(TriedPlugins::marked(marked.0.as_ref()));
    let mut registry = Registry::new(&options.plugin_dirs, &private, &config.plugins)
        .without(options.disabled.clone())
        .observed(tried.loading.clone());
    for metric in &options.disabled {
        tracing::warn!(metric, "not loaded: disabled by the command line");
    }
    let found = registry.scan(sections.all());
    let opened = Opened::open(config, database, private)?;
    let first = found.metrics.iter().map(|plugin| plugin.name().to_owned()).collect();
    let factory = lane_factory(config, &opened, first, marked)?;
    let notebook = Notebook::open(&opened.private);
    let catalog = recall_metrics(found, &mut registry, &factory, &notebook)?;
    let previews = Previews::new(registry.plugins(), &factory.limits, tried);
    let plugins = Plugins { registry, sections, catalog, notebook, previews };
    assemble(options, opened, factory, plugins)
}

/// What every metric shares, open.
struct Opened {
    database: Database,
    private: PathBuf,
    budget: Arc<Budget>,
    store: store::Opened,
    log: Arc<dyn Log>,
    /// What the main lane reads; it starts to connect at once.
    source: Box<dyn Source>,
}

impl Opened {
    fn open(config: &Config, database: Database, private: PathBuf) -> Result<Opened, StartError> {
        let budget = Arc::new(Budget::new(config.limits.memory));
        let store = store::open(config, &database)?;
        store.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let log = log::open(config, &database)?;
        let source = log.source()?;
        Ok(Opened { database, private, budget, store, log, source })
    }
}

/// What makes lanes. `first`: the metrics that were found by this start.
fn lane_factory(
    config: &Config,
    opened: &Opened,
    first: Vec<String>,
    (call_marks, crash_suspects): (Option<CallMarks>, CrashSuspects),
) -> Result<LaneFactory, StartError> {
    let Opened { database, budget, store, log, .. } = opened;
    let shared = store.shared;
    let types = TypeLimit::new(config.events.max_types, config.events.kept_types());
    let view = if shared { View::of_lane(types) } else { View::new(types) };
    let folds = Arc::new(Folds::new(budget.kept_folds()));
    let dead_letters = DeadLetters::open(database, config.store.dead_letters)?;
    Ok(LaneFactory {
        log: log.clone(),
        store: store.store.clone(),
        shared,
        settings: settings(config, shared, budget),
        events: config.events.clone(),
        dead_letters: Arc::new(dead_letters),
        checkpoint: store.commit_interval,
        view: Arc::new(view.with_clock(database.clock().clone()).with_folds(folds.clone())),
        status: Arc::new(LaneStatus::default()),
        first,
        next: AtomicU32::new(0),
        answers: Arc::new(Answers::new(budget.kept_answers())),
        limits: Limits {
            deadline: Duration::from_millis(config.server.evaluation_deadline_ms),
            answer_bytes: usize::try_from(config.limits.answer_bytes).unwrap_or(usize::MAX),
            memory: budget.answers.clone(),
        },
        unnoted: Mutex::default(),
        call_marks,
        crash_suspects,
        memory_share: Arc::new(MemoryShare::new(budget.state())),
        folds,
    })
}

/// What a start knows of plugins.
struct Plugins {
    registry: Registry,
    sections: MetricSections,
    catalog: MetricCatalog,
    notebook: Notebook,
    previews: Previews,
}

/// The metrics that were found, each with the revisions that were served when the engine ended.
fn recall_metrics(
    found: Found,
    registry: &mut Registry,
    factory: &LaneFactory,
    notebook: &Notebook,
) -> Result<MetricCatalog, StartError> {
    let mut catalog = MetricCatalog { loaded: registry.loaded(), ..MetricCatalog::default() };
    let now = wall_ms();
    catalog.rejected.extend(found.rejected.into_iter().map(|file| rejected(file, now)));
    for plugin in &found.metrics {
        let roles = Recall { notebook, registry, factory, now }.roles(plugin);
        take_up(roles?, &mut catalog, factory, &factory.view, now);
    }
    catalog.all().for_each(|served| factory.memory_share.expect_load(served.id));
    Ok(catalog)
}

/// Starts the threads: the main lane, the follower and relay of other engines' events, and the
/// plugin manager.
fn assemble(
    options: Options,
    opened: Opened,
    factory: LaneFactory,
    plugins: Plugins,
) -> Result<Engine, StartError> {
    let config = &options.config;
    let Opened { database, private, budget, store, log, source } = opened;
    let Plugins { registry, sections, catalog, notebook, previews } = plugins;
    let (view, status) = (factory.view.clone(), factory.status.clone());
    let (memory_share, dead_letters) = (factory.memory_share.clone(), factory.dead_letters.clone());
    let feed = Arc::new(Feed::new(&budget.feed, &budget.sockets));
    let joined = choose_joined(&catalog, &factory, &view)?;
    let (followers, watch) = follow(&catalog, &status)?;
    // Where other engines count too, a relay shows all events, those of this engine included.
    let is_relayed = store.shared && log.is_shared();
    let relay = is_relayed.then(|| relay(config, &log, &followers, &feed, &status)).transpose()?;
    let lane = Arc::new(factory.main(source, &joined, relay.is_none().then(|| feed.clone()))?);
    let asking = asking(&factory, catalog);
    let system_report = Arc::new(Mutex::new(SystemReport::ask(&database, &private)));
    let status_basis = StatusBasis::starting(config.store.kind);
    let manager = lifecycle::start(ManagerParts {
        registry,
        plugins: previews.plugins.clone(),
        tried: previews.tried.clone(),
        sections,
        file: options.config_file,
        catalog: asking.catalog.clone(),
        view: view.clone(),
        status: status.clone(),
        followers,
        answering: asking.answering.clone(),
        main: lane.clone(),
        factory,
        notebook,
        private,
        database,
        system_report: system_report.clone(),
        rate: status_basis.rate(),
    });
    let watching = live::start(&asking, &config.live, budget.sockets.clone());
    Ok(Engine {
        live: watching.map_err(StartError::Thread)?,
        catalog: asking.catalog.clone(),
        manager: Mutex::new(manager.map_err(StartError::Thread)?),
        view,
        status,
        feed,
        replay_places: ReplayPlaces::new(config.live.replays),
        previews,
        dead_letters,
        replaying: Mutex::default(),
        lane,
        shared: store.shared,
        _watch: watch,
        _relay: relay,
        state_store: store.store,
        store: store.says,
        system_report,
        status_basis,
        log,
        events: config.events.clone(),
        checker: decoder(config)?,
        deadline: asking.deadline,
        budget,
        answering: asking.answering.clone(),
        memory_share,
        asking,
    })
}

/// What it takes to ask the metrics that this factory makes.
fn asking(factory: &LaneFactory, catalog: MetricCatalog) -> Asking {
    Asking {
        catalog: Arc::new(RwLock::new(catalog)),
        view: factory.view.clone(),
        status: factory.status.clone(),
        shared: factory.shared,
        answering: Arc::default(),
        deadline: factory.limits.deadline,
    }
}

/// Gives the revisions of a metric their places.
fn take_up(
    roles: Roles,
    catalog: &mut MetricCatalog,
    factory: &LaneFactory,
    view: &View,
    now: i64,
) {
    let Roles { answering, newer, before } = roles;
    let name = answering.plugin.name().to_owned();
    // What is stored of it is loaded by its lane; the log says how far it has to count.
    let progress = MetricProgress {
        since: now,
        in_doubt: true,
        target: Target::Unknown(Position::default()),
        ..MetricProgress::default()
    };
    let serve = |reading: &Reading| {
        factory.serve(reading, view, progress.clone()).map(Arc::new).map_err(|fault| {
            tracing::warn!(metric = name, "it cannot be served: {fault}");
            Rejected {
                file: reading.plugin.file().display().to_string(),
                reason: fault.to_string(),
                since: now,
            }
        })
    };
    match serve(&answering) {
        Ok(served) => drop(catalog.answering.insert(name.clone(), served)),
        Err(rejected) => return catalog.rejected.push(rejected),
    }
    match newer.map(|(reading, will)| (serve(&reading), will)) {
        Some((Ok(served), will)) => {
            drop(catalog.newer.insert(name.clone(), NewerRevision::new(served, will)))
        }
        Some((Err(rejected), _)) => catalog.rejected.push(rejected),
        None => {}
    }
    if let Some((reading, until_ms)) = before
        && let Ok(served) = serve(&reading)
    {
        // The clock may have been set meanwhile; it is never fed for longer than was promised.
        let left = Duration::from_millis(u64::try_from(until_ms - now).unwrap_or(0))
            .min(answering.plugin.keep_old());
        catalog.previous.insert(
            name.clone(),
            PreviousRevision { served, until: Instant::now() + left, until_ms },
        );
    }
}

/// A metric that is this many records behind the others catches up in a lane of its own: reading
/// fewer of them again delays the others by less than a second.
const BEHIND: u64 = 200_000;

/// Metrics for the main lane.
type Joined = Vec<Arc<ServedRevision>>;

/// The metrics for the main lane. Those that read otherwise wait for a lane of their own, as do
/// those that are behind.
fn choose_joined(
    catalog: &MetricCatalog,
    factory: &LaneFactory,
    view: &View,
) -> Result<Joined, StartError> {
    let (beside, all): (Vec<_>, Vec<_>) =
        catalog.all().cloned().partition(|served: &Arc<ServedRevision>| served.reads.is_some());
    let (joined, ahead) = behind(all, factory, view)?;
    beside.iter().for_each(|served| await_lane(served, view, Target::Unknown(ahead.clone())));
    Ok(joined)
}

fn await_lane(served: &ServedRevision, view: &View, target: Target) {
    *served.stage.write() = Stage::Waiting("it waits for a lane".into());
    view.await_lane(served.id, target);
}

/// The metrics that are about as far as the others, and how far these are; the rest waits for a
/// lane, to catch up first. If the state of one cannot be read, the lane reports it.
fn behind(
    all: Vec<Arc<ServedRevision>>,
    factory: &LaneFactory,
    view: &View,
) -> Result<(Joined, Position), StartError> {
    let mut positions = Vec::with_capacity(all.len());
    for served in &all {
        positions.push(match factory.store.stored(&served.revision) {
            Ok(stored) => {
                say_left_out(served.askable.plugin.name(), stored.as_ref());
                Position(stored.iter().flat_map(counted_partitions).collect())
            }
            Err(StoreError::Corrupt(_)) => Position::default(),
            Err(fault) => return Err(fault.into()),
        });
    }
    let ahead = Position::furthest(positions.iter().cloned());
    let missing = |position: &Position| -> u64 {
        let missing = |(partition, end): (&u32, &u64)| {
            end - position.0.get(partition).copied().unwrap_or(0).min(*end)
        };
        ahead.0.iter().map(missing).sum()
    };
    let mut joined = Vec::new();
    for (served, position) in all.into_iter().zip(positions) {
        if missing(&position) > BEHIND {
            await_lane(&served, view, Target::Others(ahead.clone()));
        } else {
            view.set_least(served.id, &ahead);
            joined.push(served);
        }
    }
    Ok((joined, ahead))
}

/// Other code of the same revision does not bring back what a state lacks: this is logged wherever
/// code and state meet.
fn say_left_out(name: &str, stored: Option<&StoredRevision>) {
    let failed = stored.map_or(0, stored::events_failed);
    if failed > 0 {
        tracing::warn!(metric = name, "{}", events_failed(name, failed));
    }
}

/// Reads what is stored, so that the first question finds it; a metric that is behind the others
/// has history to count.
fn follow(
    catalog: &MetricCatalog,
    status: &Arc<LaneStatus>,
) -> Result<(Arc<Followers>, Option<Watch>), StartError> {
    let followers = Arc::new(Followers::default());
    catalog
        .all()
        .filter_map(|served| served.follower.clone())
        .for_each(|follower| followers.add(follower));
    if catalog.answering.values().all(|served| served.follower.is_none())
        && !catalog.answering.is_empty()
    {
        return Ok((followers, None));
    }
    for follower in followers.all() {
        match follower.refresh(Instant::now()) {
            // If one metric cannot be read, the others answer all the same.
            Ok(_) | Err(StoreError::Corrupt(_)) => {}
            Err(_) if follower.refused().is_some() => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    let furthest = followers.furthest();
    followers.all().iter().for_each(|follower| follower.set_least(&furthest));
    let watch = pipeline::watch(followers.clone(), status.clone()).map_err(StartError::Thread)?;
    Ok((followers, Some(watch)))
}

/// Shows the events of all partitions where this engine counts only some.
fn relay(
    config: &Config,
    log: &Arc<dyn Log>,
    followers: &Arc<Followers>,
    feed: &Arc<Feed>,
    status: &Arc<LaneStatus>,
) -> Result<Relay, StartError> {
    let followers = followers.clone();
    let parts = RelayParts {
        log: log.clone(),
        decoder: decoder(config)?,
        window: config.events.dedupe_window,
        feed: feed.clone(),
        status: status.clone(),
        position: Box::new(move || followers.furthest()),
    };
    pipeline::relay(parts).map_err(StartError::Thread)
}

fn settings(config: &Config, shared: bool, budget: &Budget) -> Settings {
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
        max_pending_rows: PENDING_ROWS.min(budget.state() / 8 / PENDING_BYTES),
        // Set by the lane, which knows its log.
        topic: String::new(),
    }
}

fn rejected(file: host::RejectedFile, since: i64) -> Rejected {
    Rejected { file: file.file.display().to_string(), reason: file.reason, since }
}

fn decoder(config: &Config) -> Result<Decoder, StartError> {
    Ok(Decoder::new(&config.events)?)
}

/// Opens the call marks, and decides which plugins those of the last process incriminate. Without
/// marks, counting continues.
fn marks(data_dir: &Path, private: &Path) -> (Option<CallMarks>, CrashSuspects) {
    let (marks, found) = match CallMarks::open(&data_dir.join("plugin-calls")) {
        Ok((marks, found)) => (Some(marks), found),
        Err(fault) => {
            tracing::warn!(
                "calls of plugins cannot be marked, so the next start will not know which plugin \
                 ended the process: {fault}"
            );
            (None, Vec::new())
        }
    };
    if let Some(Err(fault)) = marks.as_ref().map(|marks| last_words::note_in(marks.file())) {
        tracing::warn!("the reason why the process ends cannot be noted: {fault}");
    }
    (marks, CrashSuspects::recall(&private.join("suspected.json"), found, wall_ms()))
}
