//! The façade: what a host program (the server) may ask of the engine. Knows no HTTP and no SQL.

mod append;
mod audit;
mod evaluate;
mod outlet;
mod start;
mod types;

pub use crate::dead_letter::DeadLetter;
pub use crate::feed::{FeedItem, Subscription};
pub use crate::pipeline::Origin;
pub use crate::progress::Span;
pub use crate::source::Bounds;
pub use crate::state::DumpRow;
pub use audit::{LogReader, LogRecord, StateDump};
pub use outlet::{Outlet, Sent, open_outlet};
pub use types::*;

use crate::config::EventsConfig;
use crate::database::Database;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::Feed;
use crate::pipeline::{self, FOLLOWED, Follower, View};
use crate::query::Askable;
use crate::state::{MetricId, State};
use crate::telemetry;
use append::Appender;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A running engine. Dropping it without [`Engine::stop`] is a crash as far as state is concerned: safe, but the last
/// moments are counted again from the log.
pub struct Engine {
    metrics: BTreeMap<String, Served>,
    rejected: Vec<Rejected>,
    view: Arc<View>,
    feed: Arc<Feed>,
    dead_letters: Arc<DeadLetters>,
    lane: pipeline::Handle,
    /// Where engines share a store; ends with this.
    watch: Option<pipeline::Watch>,
    /// Where it shows the events of others; ends with this.
    _relay: Option<pipeline::Relay>,
    appender: Appender,
    /// Where the log is read again for those who check.
    log: audit::LogAccess,
    events: EventsConfig,
    checker: Decoder,
    deadline: Duration,
    source: &'static str,
    /// What readiness says of a store that is in order.
    store: String,
    /// The database that state is kept in; `None`: elsewhere.
    database: Option<Database>,
}

/// A metric that is served.
struct Served {
    askable: Askable,
    /// Its number in the lane.
    id: MetricId,
    /// Where it is answered from if engines share the store; else from the lane's view.
    follower: Option<Arc<Follower>>,
    /// With the time params in its params schema.
    description: Arc<tally_plugin::description::Description>,
    result_schema: Arc<Value>,
}

impl Engine {
    /// Opens the store, loads the plugins, recovers state and starts counting.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: Options) -> Result<Engine, StartError> {
        start::start(options)
    }

    /// The metrics, by name.
    pub fn metrics(&self) -> Vec<MetricInfo> {
        self.metrics.values().map(|served| self.info(served)).collect()
    }

    /// One metric.
    pub fn metric(&self, name: &str) -> Option<MetricInfo> {
        self.metrics.get(name).map(|served| self.info(served))
    }

    fn info(&self, served: &Served) -> MetricInfo {
        let plugin = &served.askable.plugin;
        let (history, state, since, cost) = self.stands(served);
        let tables = &served.description.tables;
        MetricInfo {
            name: plugin.name().to_owned(),
            version: plugin.version().to_owned(),
            plugin: plugin.plugin().to_owned(),
            file: plugin.file().clone(),
            description: served.description.clone(),
            config: plugin.config().clone(),
            state,
            since,
            history,
            cost,
            tiers: tables.iter().map(|table| table.tiers.clone()).max_by_key(Vec::len).unwrap_or_default(),
        }
    }

    fn stands(&self, served: &Served) -> (History, MetricState, i64, Cost) {
        let halt = self.view.standing().halts.get(&served.id).cloned();
        let counted = self.view.read();
        let place = &counted.metrics[served.id.0];
        let ns_per_event = if place.events == 0 { 0.0 } else { place.spent_ns as f64 / place.events as f64 };
        let stands = |state: &State, id, position: &Position, target: &Option<Position>| {
            let (cells, bytes) = state.size(id);
            let from = state.times(id).map(|(first, _)| first);
            let behind = target.as_ref().map(|target| done(position, target));
            (behind, from, Cost { ns_per_event, cells, bytes })
        };
        let (behind, from, cost) = match &served.follower {
            None => stands(&counted.state, served.id, &place.position, &place.target),
            Some(follower) => {
                let followed = follower.read();
                stands(&followed.state, FOLLOWED, &followed.position, &followed.target)
            }
        };
        let state = match (halt, behind) {
            (Some(reason), _) => MetricState::Quarantined(reason),
            (None, Some(done)) => MetricState::Backfilling { done, eta_s: None },
            (None, None) => MetricState::Active,
        };
        (History { complete: behind.is_none(), from }, state, place.since, cost)
    }

    /// The files that were refused.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.rejected.clone()
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
        let counted = self.view.read();
        let stands = |served: &Served| match &served.follower {
            None => counted.metrics[served.id.0].position.clone(),
            Some(follower) => follower.read().position.clone(),
        };
        furthest(self.metrics.values().map(stands))
    }

    /// Whether it can be asked, part by part.
    pub fn readiness(&self) -> Vec<Check> {
        let standing = self.view.standing();
        let plugins = match self.metrics.len() {
            0 => Err("no metric is loaded: put plugin files into the plugin folder".to_owned()),
            count => Ok(format!("{count} metrics, {} files refused", self.rejected.len())),
        };
        let trouble = standing.store_trouble.as_ref().or(standing.follow_trouble.as_ref());
        let store = trouble.cloned().map_or(Ok(self.store.clone()), Err);
        // A disk that is full, or failed, is told before something comes that is to be written.
        let writable = self.database.as_ref().map_or(Ok(()), Database::writable).map_err(|fault| fault.to_string());
        let store = store.and_then(|line| writable.map(|()| line));
        let source = match (&standing.source_trouble, self.missing(&standing)) {
            (Some(trouble), _) => Err(trouble.clone()),
            (None, Some(missing)) => Err(missing),
            (None, None) => Ok(delivering(&standing)),
        };
        let halts: Vec<&str> = standing.halts.values().map(String::as_str).collect();
        let counting = if standing.failed {
            Err("counting ended by an internal error; restart the engine, nothing is lost".to_owned())
        } else if standing.stopping {
            Err("the engine is stopping".to_owned())
        } else if halts.is_empty() {
            Ok("nothing stands still".to_owned())
        } else {
            Err(halts.join("; "))
        };
        [("plugins", plugins), ("store", store), (self.source, source), ("counting", counting)]
            .map(|(name, state)| Check { name, ok: state.is_ok(), detail: state.unwrap_or_else(|fault| fault) })
            .into()
    }

    /// Which partitions it would need to hold to be asked, as a sentence.
    fn missing(&self, standing: &pipeline::Standing) -> Option<String> {
        missing(standing, self.watch.is_some())
    }

    /// Brings the figures up to date that are not kept at every event.
    pub fn report(&self) {
        for info in self.metrics() {
            telemetry::cost(&info.name, info.cost.ns_per_event, info.cost.cells, info.cost.bytes);
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let age = self.view.standing().last_commit.map_or(0.0, |last| (now - last).max(0) as f64 / 1_000.0);
        telemetry::standing(age, self.rejected.len());
    }

    /// Stops taking records, commits, closes, within about `limit`. What was processed and committed.
    pub fn stop(&self, limit: Duration) -> Totals {
        let done = self.lane.stop(limit);
        Totals { processed: done.processed, committed: done.committed }
    }
}

/// Per partition the furthest of several positions.
fn furthest(positions: impl Iterator<Item = Position>) -> Position {
    let mut all = Position::default();
    for (partition, offset) in positions.flat_map(|position| position.0) {
        let furthest = all.0.entry(partition).or_default();
        *furthest = (*furthest).max(offset);
    }
    all
}

/// The source's line where nothing is wrong, or is being mended.
fn delivering(standing: &pipeline::Standing) -> String {
    let partitions = format!("{} partitions", standing.held.len());
    let stalled: Vec<String> = standing.stalled.iter().map(u32::to_string).collect();
    match stalled.as_slice() {
        [] => partitions,
        stalled => format!("{partitions}; restarted, for nothing came though there is more: {}", stalled.join(", ")),
    }
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

/// 0…1.
fn done(position: &Position, target: &Position) -> f64 {
    let all: u64 = target.0.values().sum();
    let there = |(partition, end): (&u32, &u64)| position.0.get(partition).copied().unwrap_or(0).min(*end);
    let counted: u64 = target.0.iter().map(there).sum();
    if all == 0 { 1.0 } else { counted as f64 / all as f64 }
}
