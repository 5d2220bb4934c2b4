//! The façade: what a host program (the server) may ask of the engine. Knows no HTTP and no SQL.
//!
//! * Start: `start`, `check_start`, `first_offsets`, `crash_suspects`.
//! * What is served: `catalog`, `lane_factory`, `lifecycle`, `orders`, `sections`, `notices`.
//! * Questions: `asking`, `evaluate`, `answer_slots`, `answer_validity`, `watchdog`; those that are
//!   watched: `live`.
//! * Beside them: `append`, `audit`, `events_back`, `fields`, `letter_replay`, `listen`, `preview`,
//!   `stored`; the newest records: `newest`. What it does now: `status`, with `event_rate`,
//!   `system_report` and `remedies`. Data is in `types`,
//!   failures are in `errors`.

mod answer_slots;
mod answer_validity;
mod append;
mod asking;
mod audit;
mod catalog;
mod check_start;
mod counted_records;
mod crash_suspects;
mod errors;
mod evaluate;
mod event_rate;
mod events_back;
mod fields;
mod first_offsets;
mod lane_factory;
mod letter_replay;
mod lifecycle;
mod listen;
mod live;
mod newest;
mod notices;
mod orders;
mod preview;
mod recounting;
mod remedies;
mod sections;
mod start;
mod status;
mod stored;
mod system_report;
#[cfg(test)]
mod testing;
mod tried_plugin;
mod types;
mod watchdog;

pub use crate::dead_letter::DeadLetter;
pub use crate::feed::{FeedEvent, FeedFilter, FeedItem, FeedListener};
pub use crate::host::{LoneMetric, LonePlugin, MakeFault, PluginFile, PluginInfo, fits_schema};
pub use crate::log::{
    AppendError, Bounds, DeliveryCounts, LogError, LogProducer, LogReader, LogRecord, OwnedOrigin,
    open_producer,
};
pub use crate::pipeline::Coverage;
pub use crate::progress::Span;
pub use crate::query::canonical as canonical_params;
pub use crate::state::{DumpCell, DumpPane, DumpRow, StoredRow};
pub use answer_validity::AnswerValidity;
pub use audit::{ReadLogError, StateDump};
pub use check_start::{judge, judge_sections};
pub use errors::{StartError, StateUnavailable};
pub use evaluate::TOGETHER_LIMIT;
pub use event_rate::EventRate;
pub use events_back::{
    EventPage, FoundRecord, JudgedRecord, PageRequest, PastEvent, RecordVerdict,
};
pub use fields::{ColumnKind, FieldReport, RecordField, ValueKind};
pub use letter_replay::{LetterReplayCounts, LetterReplayFault};
pub use listen::{ListenRefused, ReplayTurns};
pub use live::{LiveAnswer, LivePublisher, LiveQuestion, WatchRequest, live_question};
pub use orders::{MetricChange, MetricOrder, ORDER_LIMIT, Order, OrderError};
pub use preview::{Preview, PreviewError, PreviewRequest};
pub use sections::{
    ForeseenSection, MetricEffect, PutSection, SectionChange, SectionError, SectionInfo,
    SectionPlace,
};
pub use status::{
    CommitStatus, EngineStatus, MemoryStatus, MemoryUse, MetricStatus, PartitionOwner,
    PartitionStatus,
};
pub use stored::{
    StoredBucket, StoredMetric, StoredPartition, StoredRows, StoredState, StoredTable,
};
pub use types::*;

use crate::clock::Doubt;
use crate::config::EventsConfig;
use crate::database::DatabaseError;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::Feed;
use crate::log::Log;
use crate::memory::Budget;
use crate::pipeline::{self, LaneStatus, MemoryShare, View};
use crate::progress::Halt;
use crate::store::Store;
use crate::telemetry;
use answer_slots::AnswerSlots;
use asking::Asking;
use catalog::{MetricCatalog, ServedRevision};
use letter_replay::LetterReplayMemory;
use lifecycle::ManagerThread;
use listen::ReplayPlaces;
use live::LiveThreads;
use parking_lot::{Mutex, RwLock};
use preview::Previews;
use recounting::recounting;
use status::StatusBasis;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The source's line of readiness while it is unknown what the log holds.
const UNBOUNDED: &str =
    "the log has not said yet what it holds, so it is unknown whether metrics have all of it";

/// A running engine. Dropping it without [`Engine::stop`] is a crash as far as state is concerned:
/// safe, but the last moments are counted again from the log.
pub struct Engine {
    /// Stopped before everything else: they ask what the others know.
    live: LiveThreads,
    asking: Asking,
    catalog: Arc<RwLock<MetricCatalog>>,
    /// Stopped before the lane.
    manager: Mutex<ManagerThread>,
    view: Arc<View>,
    status: Arc<LaneStatus>,
    feed: Arc<Feed>,
    replay_places: ReplayPlaces,
    previews: Previews,
    dead_letters: Arc<DeadLetters>,
    /// Held by the call that judges them again; where the last one ended, if that was bounded.
    replaying: Mutex<LetterReplayMemory>,
    lane: Arc<pipeline::Handle>,
    /// Whether other engines use the store too.
    shared: bool,
    /// Keeps followers warm where engines share a store; it stops when this is dropped.
    _watch: Option<pipeline::Watch>,
    /// Shows the events that other engines count; it stops when this is dropped.
    _relay: Option<pipeline::Relay>,
    log: Arc<dyn Log>,
    events: EventsConfig,
    checker: Decoder,
    deadline: Duration,
    budget: Arc<Budget>,
    answering: Arc<AnswerSlots>,
    memory_share: Arc<MemoryShare>,
    /// Read by [`Engine::stored`] and its kin, past all views.
    state_store: Arc<dyn Store>,
    /// Readiness reports this while nothing is wrong with the store.
    store: String,
    /// The latest answers of the system about disk and memory.
    system_report: Arc<Mutex<system_report::SystemReport>>,
    status_basis: StatusBasis,
}

impl Engine {
    /// Opens the store, loads the plugins, recovers state and starts counting.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: Options) -> Result<Engine, StartError> {
        start::start(options)
    }

    /// The metrics, by name, including those that were retired since the start.
    pub fn metrics(&self) -> Vec<MetricInfo> {
        let catalog = self.catalog.read();
        let served =
            catalog.answering.values().map(|served| catalog.info(served, &self.view, &self.status));
        let mut all: Vec<MetricInfo> =
            served.chain(catalog.retired.values().map(|retired| retired.info.clone())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The name of each metric, with the word for its state: `active`, `backfilling`, `quarantined`
    /// or `retired`. Unlike [`Engine::metrics`] it measures nothing.
    pub fn metric_states(&self) -> Vec<(String, &'static str)> {
        let catalog = self.catalog.read();
        let served = catalog
            .answering
            .iter()
            .map(|(name, served)| (name.clone(), served.state_word(&self.view, &self.status)));
        served.chain(catalog.retired.keys().map(|name| (name.clone(), "retired"))).collect()
    }

    /// One metric.
    pub fn metric(&self, name: &str) -> Option<MetricInfo> {
        let catalog = self.catalog.read();
        let served = catalog
            .answering
            .get(name)
            .map(|served| catalog.info(served, &self.view, &self.status));
        served.or_else(|| catalog.retired.get(name).map(|retired| retired.info.clone()))
    }

    /// The files that were refused.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.catalog.read().rejected.clone()
    }

    /// The plugins that lie in the folders, by name, as they were last seen.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.previews.plugins.read().infos()
    }

    /// The newest dead letters, newest first, at most `limit`, of one reason if `reason` is given;
    /// and how many there were in all. Blocks.
    ///
    /// # Errors
    /// [`DatabaseError`]: they cannot be read.
    pub fn dead_letters(
        &self,
        limit: usize,
        reason: Option<&str>,
    ) -> Result<Refusals, DatabaseError> {
        let newest = self.dead_letters.newest(limit, reason)?;
        Ok(Refusals {
            letters: newest.letters,
            partial: newest.partial,
            counts: self.dead_letters.counts(),
        })
    }

    /// How far the engine has counted: per partition the offset after the last record, by the
    /// metric that is furthest ahead.
    pub fn position(&self) -> Position {
        let served: Vec<Arc<ServedRevision>> =
            self.catalog.read().answering.values().cloned().collect();
        let counted = self.view.read();
        let position = |served: &Arc<ServedRevision>| match &served.follower {
            None => counted.metrics[served.id.0].position.clone(),
            Some(follower) => follower.read().position.clone(),
        };
        Position::furthest(served.iter().map(position))
    }

    /// How far a metric has counted; `None` for an unknown one. Blocks: where engines share a
    /// store, the store is read.
    pub fn metric_position(&self, metric: &str) -> Option<Position> {
        let served = self.catalog.read().answering.get(metric).cloned()?;
        Some(match &served.follower {
            None => self.view.read().metrics[served.id.0].position.clone(),
            Some(follower) => {
                // If the store does not answer, the position of the last read is good enough.
                let _ = follower.refresh(Instant::now());
                follower.read().position.clone()
            }
        })
    }

    /// Whether the engine can answer questions, part by part.
    pub fn readiness(&self) -> Vec<Check> {
        let (status, position) = (self.status.snapshot(), self.position());
        let (served, refused, first, metrics, newer, unbounded) = {
            let catalog = self.catalog.read();
            let is_stopped = |served: &ServedRevision| {
                matches!(served.halt(&self.status), Some(Halt::Quarantined(_)))
                    || served.is_halted_beside()
            };
            let metrics = catalog.answering.values().filter(|served| is_stopped(served)).count();
            let newer = catalog.newer.values();
            let newer = newer
                .filter(|next| is_stopped(&next.served) || next.held.is_some() && !next.wish.waits)
                .count();
            let first = catalog.rejected.first().map(|first| first.reason.clone());
            let mut answering = catalog.answering.values();
            let unbounded = answering.any(|served| served.is_unbounded(&self.view, &self.status));
            (catalog.answering.len(), catalog.rejected.len(), first, metrics, newer, unbounded)
        };
        let plugins = match served {
            0 => Err(describe_lack(first, refused)),
            count => Ok(format!("{count} metrics, {refused} files or sections refused")),
        };
        let trouble = status.store_trouble.as_ref().or(status.follow_trouble.as_ref());
        let store = trouble.cloned().map_or(Ok(self.store.clone()), Err);
        // A full or failed disk is reported even while nothing has to be written.
        let unwritable =
            if self.shared { None } else { self.system_report.lock().unwritable.clone() };
        let store = store.and_then(|line| unwritable.map_or(Ok(line), Err));
        let source = match (&status.source_trouble, self.missing(&status)) {
            (Some(trouble), _) => Err(trouble.clone()),
            (None, Some(missing)) => Err(missing),
            (None, None) if unbounded => Err(UNBOUNDED.to_owned()),
            (None, None) => match recounting(&status, &position, Instant::now()) {
                Some(behind) => Err(behind),
                None => Ok(delivering(&status)),
            },
        };
        let counting = self.counting(&status, metrics, newer);
        let check = |name, needed, state: Result<String, String>| Check {
            name,
            ok: state.is_ok(),
            needed,
            remedy: state.as_ref().err().and_then(|_| remedies::remedy(name)),
            detail: state.unwrap_or_else(|fault| fault),
        };
        let mut checks = vec![
            check("plugins", true, plugins),
            check("store", true, store),
            check(self.log.kind(), true, source),
            check("counting", true, counting),
            check("writing", false, self.log.writing()),
        ];
        let stuck = self.previews.tried.stuck();
        checks.extend(stuck.map(|(name, stuck)| check(name, false, Err(stuck))));
        checks.extend(
            self.view.clock().doubt().map(|doubt| check("clock", false, Ok(doubted(&doubt)))),
        );
        checks
    }

    /// The line of readiness on counting; `metrics` answer although they are stopped, and so are
    /// `newer` revisions.
    fn counting(
        &self,
        status: &pipeline::StatusSnapshot,
        metrics: usize,
        newer: usize,
    ) -> Result<String, String> {
        let halts = status.halts.values().filter(|halt| !matches!(halt, Halt::Quarantined(_)));
        let halts: Vec<String> = halts
            .map(ToString::to_string)
            .chain(watchdog::stuck(&self.catalog.read(), &self.status))
            .collect();
        if let Some(fatal) = &status.failed {
            Err(fatal.to_string())
        } else if status.stopping {
            Err("the engine is stopping".to_owned())
        } else if halts.is_empty() {
            // A metric that is stopped because its plugin fails does not affect the others.
            Ok(describe_stopped(metrics, newer))
        } else {
            Err(halts.join("; "))
        }
    }

    /// Why questions cannot be answered: a sentence on the partitions that this engine does not
    /// hold.
    fn missing(&self, status: &pipeline::StatusSnapshot) -> Option<String> {
        missing(status, self.shared)
    }

    /// The memory budget and its shares.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Updates the figures that are not updated with every event.
    pub fn report(&self) {
        let stuck = self.answering.stuck();
        for info in self.metrics().iter().filter(|info| info.state != MetricState::Retired) {
            telemetry::answers_stuck(&info.name, stuck.get(&info.name).copied().unwrap_or(0));
            telemetry::cost(&info.name, info.cost.ns_per_event, info.cost.cells, info.cost.bytes);
            let is_stopped = |newer: &Beside| {
                newer.held.is_some() || matches!(newer.state, MetricState::Quarantined(_))
            };
            telemetry::left_out(
                &info.name,
                info.failed,
                info.newer.as_ref().is_some_and(is_stopped),
            );
        }
        let (held, share) = self.memory_share.used();
        let answers = &self.budget.answers;
        let sockets = self.budget.for_sockets();
        telemetry::memory([
            ("state", held, share),
            ("answers", answers.used(), answers.limit()),
            ("sockets", sockets.0, sockets.1),
        ]);
        let now = jiff::Timestamp::now().as_millisecond();
        let age = self
            .status
            .read(|status| status.last_commit)
            .map_or(0.0, |last| (now - last).max(0) as f64 / 1_000.0);
        let (questions, delay) = self.live.figures();
        telemetry::live(questions, delay.as_secs_f64());
        let (mappings, bytes) = self.system_report.lock().mapped;
        telemetry::mapped(mappings, bytes);
        let catalog = self.catalog.read();
        telemetry::plugins_and_checkpoint(age, catalog.rejected.len(), catalog.loaded);
    }

    /// Stops reading records, commits and closes, within about `limit`. Returns how much was
    /// processed and committed.
    pub fn stop(&self, limit: Duration) -> Totals {
        self.live.end();
        // Before the lane, so that no metric joins one that is stopping.
        self.manager.lock().end();
        let done = self.lane.stop(limit);
        self.previews.tried.mark_stuck();
        Totals { processed: done.processed, committed: done.committed, unfinished: done.unfinished }
    }
}

/// The plugins' line of readiness while no metric is loaded; `first`: why the first of the refused
/// files or sections was.
fn describe_lack(first: Option<String>, refused: usize) -> String {
    match first {
        None => "no metric is loaded: put plugin files into the plugin folder".to_owned(),
        Some(first) => format!(
            "no metric is loaded: {refused} files or sections were refused, the first: {first}"
        ),
    }
}

/// Counting's line of readiness while it works: how many metrics and how many newer revisions are
/// stopped by themselves.
fn describe_stopped(metrics: usize, newer: usize) -> String {
    let metrics = match metrics {
        0 => "nothing is stopped".to_owned(),
        count => {
            format!("{count} metrics are quarantined, see GET /api/metrics; all others count")
        }
    };
    match newer {
        0 => metrics,
        count => format!(
            "{metrics}; {count} newer revisions are quarantined or held back, see GET /api/metrics"
        ),
    }
}

/// The source's line of readiness while nothing is wrong, or while it recovers by itself.
fn delivering(status: &pipeline::StatusSnapshot) -> String {
    let mut partitions = format!("{} partitions", status.held.len());
    if status.open > 0 {
        partitions += &format!("; {} records wait for the end of an open transaction", status.open);
    }
    let stalled: Vec<String> = status.stalled.iter().map(u32::to_string).collect();
    match stalled.as_slice() {
        [] => partitions,
        stalled => format!(
            "{partitions}; restarted after a stall (no records came although the log holds more): \
             {}",
            stalled.join(", ")
        ),
    }
}

fn doubted(doubt: &Doubt) -> String {
    let time = |ms| jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!(
        "the clock says {}, which is ahead of the expected {}: minutes, hours and records do not \
         expire before it has been ahead for {} more minutes (correct it, or confirm it with tally \
         clock accept)",
        time(doubt.wall),
        time(doubt.believed),
        doubt.left / 60_000 + 1
    )
}

fn missing(status: &pipeline::StatusSnapshot, shared: bool) -> Option<String> {
    if !status.assigned {
        return Some("no partitions are assigned yet".into());
    }
    if shared {
        return None;
    }
    let (held, all) = (status.held.len(), status.partitions);
    (held < all || held == 0).then(|| {
        format!(
            "this engine holds {held} of {all} partitions, and its store is not shared: other \
             members of the group hold the rest (stop them, or use another group), or partitions \
             were just added"
        )
    })
}
