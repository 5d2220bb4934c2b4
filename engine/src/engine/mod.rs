//! The façade: what a host program (the server) may ask of the engine. Knows no HTTP and no SQL.

mod answer_slots;
mod answer_validity;
mod append;
mod audit;
mod catalog;
mod check_start;
mod crash_suspects;
mod evaluate;
mod first_offsets;
mod lanes;
mod lifecycle;
mod notices;
mod orders;
mod start;
mod stored;
mod system;
mod types;
mod watchdog;

pub use crate::dead_letter::DeadLetter;
pub use crate::feed::{FeedItem, Subscription};
pub use crate::pipeline::Origin;
pub use crate::plugin::{LoneMetric, LonePlugin, PluginFile, fits_schema};
pub use crate::progress::Span;
pub use crate::source::{
    AppendError, Bounds, DeliveryCounts, LogProducer, LogReader, LogRecord, SourceError, open_producer,
};
pub use crate::state::{DumpCell, DumpPane, DumpRow, StoredRow};
pub use answer_validity::AnswerValidity;
pub use audit::{ReadLogError, StateDump};
pub use check_start::{judge, judge_sections};
pub use orders::{Order, OrderError};
pub use stored::{StoredBucket, StoredMetric, StoredPartition, StoredRows, StoredState, StoredTable};
pub use types::*;

use crate::clock::Doubt;
use crate::config::EventsConfig;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::Feed;
use crate::memory::Budget;
use crate::pipeline::{self, Board, Room, View};
use crate::progress::Halt;
use crate::source::Log;
use crate::store::Store;
use crate::telemetry;
use answer_slots::AnswerSlots;
use catalog::{MetricCatalog, ServedRevision};
use lifecycle::ManagerThread;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Duration;

/// A running engine. Dropping it without [`Engine::stop`] is a crash as far as state is concerned: safe, but the last
/// moments are counted again from the log.
pub struct Engine {
    catalog: Arc<RwLock<MetricCatalog>>,
    /// Ends before the lane.
    manager: Mutex<ManagerThread>,
    view: Arc<View>,
    board: Arc<Board>,
    feed: Arc<Feed>,
    dead_letters: Arc<DeadLetters>,
    lane: Arc<pipeline::Handle>,
    /// Whether other engines use the store too.
    shared: bool,
    /// Where engines share a store; ends with this.
    _watch: Option<pipeline::Watch>,
    /// Where it shows the events of others; ends with this.
    _relay: Option<pipeline::Relay>,
    log: Arc<dyn Log>,
    events: EventsConfig,
    checker: Decoder,
    deadline: Duration,
    budget: Arc<Budget>,
    answering: Arc<AnswerSlots>,
    room: Arc<Room>,
    /// For those who look at what is stored.
    state_store: Arc<dyn Store>,
    /// What readiness says of a store that is in order.
    store: String,
    /// What the system said last.
    of_system: Arc<Mutex<system::OfSystem>>,
}

impl Engine {
    /// Opens the store, loads the plugins, recovers state and starts counting.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: Options) -> Result<Engine, StartError> {
        start::start(options)
    }

    /// The metrics, by name; those that are retired since the start too.
    pub fn metrics(&self) -> Vec<MetricInfo> {
        let catalog = self.catalog.read();
        let served = catalog.answering.values().map(|served| catalog.info(served, &self.view, &self.board));
        let mut all: Vec<MetricInfo> =
            served.chain(catalog.retired.values().map(|retired| retired.info.clone())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One metric.
    pub fn metric(&self, name: &str) -> Option<MetricInfo> {
        let catalog = self.catalog.read();
        let served = catalog.answering.get(name).map(|served| catalog.info(served, &self.view, &self.board));
        served.or_else(|| catalog.retired.get(name).map(|retired| retired.info.clone()))
    }

    /// The files that were refused.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.catalog.read().rejected.clone()
    }

    /// The newest dead letters (of one reason, if told), newest first, at most `limit`; and how many there ever were. Blocks.
    ///
    /// # Errors
    /// A sentence: they cannot be read.
    pub fn dead_letters(&self, limit: usize, reason: Option<&str>) -> Result<Refusals, String> {
        let newest = self.dead_letters.newest(limit, reason).map_err(|fault| fault.to_string())?;
        Ok(Refusals { letters: newest.letters, partial: newest.partial, counts: self.dead_letters.counts() })
    }

    /// Every new event from now on.
    pub fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }

    /// Where the engine stands: per partition the offset after the last record counted by the metric that is furthest.
    pub fn position(&self) -> Position {
        let served: Vec<Arc<ServedRevision>> = self.catalog.read().answering.values().cloned().collect();
        let counted = self.view.read();
        let stands = |served: &Arc<ServedRevision>| match &served.follower {
            None => counted.metrics[served.id.0].position.clone(),
            Some(follower) => follower.read().position.clone(),
        };
        Position::furthest(served.iter().map(stands))
    }

    /// Where a metric stands; none for an unknown one. Blocks: where engines share a store it is read.
    pub fn stands(&self, metric: &str) -> Option<Position> {
        let served = self.catalog.read().answering.get(metric).cloned()?;
        Some(match &served.follower {
            None => self.view.read().metrics[served.id.0].position.clone(),
            Some(follower) => {
                // What is known already is good enough where the store does not answer.
                let _ = follower.refresh(std::time::Instant::now());
                follower.read().position.clone()
            }
        })
    }

    /// Whether it can be asked, part by part.
    pub fn readiness(&self) -> Vec<Check> {
        let standing = self.board.standing();
        let (served, refused, first, metrics, newer) = {
            let catalog = self.catalog.read();
            let stands = |served: &ServedRevision| {
                matches!(served.halt(&self.board), Some(Halt::Quarantined(_))) || served.is_halted_beside()
            };
            let metrics = catalog.answering.values().filter(|served| stands(served)).count();
            let newer = catalog.newer.values();
            let newer = newer.filter(|next| stands(&next.served) || next.held.is_some() && !next.wish.waits).count();
            let first = catalog.rejected.first().map(|first| first.reason.clone());
            (catalog.answering.len(), catalog.rejected.len(), first, metrics, newer)
        };
        let plugins = match served {
            0 => Err(first.map_or_else(
                || "no metric is loaded: put plugin files into the plugin folder".to_owned(),
                |first| format!("no metric is loaded: {refused} files or sections were refused, the first: {first}"),
            )),
            count => Ok(format!("{count} metrics, {refused} files or sections refused")),
        };
        let trouble = standing.store_trouble.as_ref().or(standing.follow_trouble.as_ref());
        let store = trouble.cloned().map_or(Ok(self.store.clone()), Err);
        // A disk that is full, or failed, is told before something comes that is to be written.
        let unwritable = if self.shared { None } else { self.of_system.lock().unwritable.clone() };
        let store = store.and_then(|line| unwritable.map_or(Ok(line), Err));
        let source = match (&standing.source_trouble, self.missing(&standing)) {
            (Some(trouble), _) => Err(trouble.clone()),
            (None, Some(missing)) => Err(missing),
            (None, None) => Ok(delivering(&standing)),
        };
        let halts = standing.halts.values().filter(|halt| !matches!(halt, Halt::Quarantined(_)));
        let halts: Vec<String> =
            halts.map(ToString::to_string).chain(watchdog::stuck(&self.catalog.read(), &self.board)).collect();
        let counting = if let Some(fatal) = &standing.failed {
            Err(fatal.to_string())
        } else if standing.stopping {
            Err("the engine is stopping".to_owned())
        } else if halts.is_empty() {
            // A metric that is stopped because of its plugin's faults harms no other.
            let metrics = match metrics {
                0 => "nothing is stopped".to_owned(),
                count => format!("{count} metrics are quarantined, see GET /api/metrics; all others count"),
            };
            match newer {
                0 => Ok(metrics),
                count => {
                    Ok(format!("{metrics}; {count} newer revisions are quarantined or held back, see GET /api/metrics"))
                }
            }
        } else {
            Err(halts.join("; "))
        };
        let check = |name, needed, state: Result<String, String>| Check {
            name,
            ok: state.is_ok(),
            needed,
            detail: state.unwrap_or_else(|fault| fault),
        };
        let mut checks = vec![
            check("plugins", true, plugins),
            check("store", true, store),
            check(self.log.kind(), true, source),
            check("counting", true, counting),
            check("writing", false, self.log.writing()),
        ];
        checks.extend(self.view.clock().doubt().map(|doubt| check("clock", false, Ok(doubted(&doubt)))));
        checks
    }

    /// Which partitions it would need to hold to be asked, as a sentence.
    fn missing(&self, standing: &pipeline::Standing) -> Option<String> {
        missing(standing, self.shared)
    }

    /// Its memory, in shares.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Brings the figures up to date that are not kept at every event.
    pub fn report(&self) {
        let stuck = self.answering.stuck();
        for info in self.metrics().iter().filter(|info| info.state != MetricState::Retired) {
            telemetry::answers_stuck(&info.name, stuck.get(&info.name).copied().unwrap_or(0));
            telemetry::cost(&info.name, info.cost.ns_per_event, info.cost.cells, info.cost.bytes);
            let stands = |newer: &Beside| newer.held.is_some() || matches!(newer.state, MetricState::Quarantined(_));
            telemetry::left_out(&info.name, info.failed, info.newer.as_ref().is_some_and(stands));
        }
        let (held, share) = self.room.used();
        let answers = &self.budget.answers;
        telemetry::memory([("state", held, share), ("answers", answers.used(), answers.limit())]);
        let now = jiff::Timestamp::now().as_millisecond();
        let age =
            self.board.look(|standing| standing.last_commit).map_or(0.0, |last| (now - last).max(0) as f64 / 1_000.0);
        let (mappings, bytes) = self.of_system.lock().mapped;
        telemetry::mapped(mappings, bytes);
        let catalog = self.catalog.read();
        telemetry::standing(age, catalog.rejected.len(), catalog.loaded);
    }

    /// Stops taking records, commits, closes, within about `limit`. What was processed and committed.
    pub fn stop(&self, limit: Duration) -> Totals {
        // First, so that nothing joins a lane that ends.
        self.manager.lock().end();
        let done = self.lane.stop(limit);
        Totals { processed: done.processed, committed: done.committed, unfinished: done.unfinished }
    }
}

/// The source's line where nothing is wrong, or is being mended.
fn delivering(standing: &pipeline::Standing) -> String {
    let mut partitions = format!("{} partitions", standing.held.len());
    if standing.open > 0 {
        partitions += &format!("; {} records wait for the end of an open transaction", standing.open);
    }
    let stalled: Vec<String> = standing.stalled.iter().map(u32::to_string).collect();
    match stalled.as_slice() {
        [] => partitions,
        stalled => format!(
            "{partitions}; restarted after a stall (nothing came although there is more): {}",
            stalled.join(", ")
        ),
    }
}

fn doubted(doubt: &Doubt) -> String {
    let time = |ms| jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!(
        "it says {}, which is ahead of {}, the time that was expected: until it has said so for {} more minutes no minutes, hours and \
         records expire (correct it, or confirm it with tally clock accept)",
        time(doubt.wall),
        time(doubt.believed),
        doubt.left / 60_000 + 1
    )
}

fn missing(standing: &pipeline::Standing, shared: bool) -> Option<String> {
    if !standing.assigned {
        return Some("no partitions are assigned yet".into());
    }
    if shared {
        return None;
    }
    let (held, all) = (standing.held.len(), standing.partitions);
    (held < all || held == 0).then(|| {
        format!("this engine holds {held} of {all} partitions and its store is its own: other members of the group hold the rest (stop them, or use another group), or partitions were just added")
    })
}
