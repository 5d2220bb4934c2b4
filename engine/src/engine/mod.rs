//! The façade: what a host program (the server) may ask of the engine. Knows no HTTP and no SQL.

mod start;
mod types;

pub use crate::feed::{FeedItem, Subscription};
pub use types::*;

use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::Feed;
use crate::pipeline::{self, View};
use crate::query::{Askable, Moment, Refused};
use crate::source::embedded::Log;
use crate::source::kafka::Producer;
use crate::telemetry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running engine. Dropping it without [`Engine::stop`] is a crash as far as state is concerned: safe, but the last
/// moments are counted again from the log.
pub struct Engine {
    metrics: BTreeMap<String, Served>,
    rejected: Vec<Rejected>,
    view: Arc<View>,
    feed: Arc<Feed>,
    lane: pipeline::Handle,
    outlet: Outlet,
    checker: Decoder,
    deadline: Duration,
    source: &'static str,
}

/// A metric that is served.
struct Served {
    askable: Askable,
    /// With the time params in its params schema.
    description: Arc<tally_plugin::description::Description>,
    result_schema: Arc<Value>,
}

/// Where appended events go.
enum Outlet {
    Log(Arc<Log>),
    Kafka(Box<Producer>),
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
        let id = served.askable.id;
        let halt = self.view.standing().halts.get(&id).cloned();
        let counted = self.view.read();
        let place = &counted.metrics[id.0];
        let (cells, bytes) = counted.state.size(id);
        let ns_per_event = if place.events == 0 { 0.0 } else { place.spent_ns as f64 / place.events as f64 };
        let from = counted.state.times(id).map(|(first, _)| first);
        let state = match (halt, &place.target) {
            (Some(reason), _) => MetricState::Quarantined(reason),
            (None, Some(target)) => MetricState::Backfilling { done: done(&place.position, target), eta_s: None },
            (None, None) => MetricState::Active,
        };
        let history = History { complete: place.target.is_none(), from };
        (history, state, place.since, Cost { ns_per_event, cells, bytes })
    }

    /// The files that were refused.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.rejected.clone()
    }

    /// Answers a question. Blocks (waiting for `at_least`, reading): call it off the async threads.
    ///
    /// # Errors
    /// [`EvaluateError`].
    pub fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError> {
        let served = self.metrics.get(&question.name).ok_or_else(|| self.unknown(&question.name))?;
        let params = served.askable.check(&question.params).map_err(refused)?;
        self.require_partitions()?;
        if let Some(position) = &question.at_least
            && !self.view.wait_for(served.askable.id, position, question.wait)
        {
            return Err(EvaluateError::PositionNotReached(self.position_of(served)));
        }
        let as_of = jiff::Timestamp::now().as_millisecond();
        let deadline = Instant::now() + self.deadline;
        let id = served.askable.id;
        let halt = self.view.standing().halts.get(&id).cloned();
        if let Some(reason) = halt {
            return Err(EvaluateError::Quarantined(reason));
        }
        let counted = self.view.read();
        let place = &counted.metrics[id.0];
        if let Some(target) = place.target.as_ref().filter(|_| !question.allow_partial) {
            return Err(EvaluateError::Backfilling { done: done(&place.position, target) });
        }
        let moment = Moment { state: &counted.state, position: &place.position, version: place.version };
        let answer = served.askable.answer(&params, as_of, deadline, &moment).map_err(refused)?;
        let history =
            History { complete: place.target.is_none(), from: counted.state.times(id).map(|(first, _)| first) };
        Ok(Evaluated {
            result: answer.result.clone(),
            result_schema: served.result_schema.clone(),
            window: answer.window,
            position: answer.position.clone(),
            as_of,
            version: served.askable.plugin.version().to_owned(),
            history,
            warnings: answer.warnings.clone(),
        })
    }

    fn unknown(&self, name: &str) -> EvaluateError {
        let mut near: Vec<(f64, &String)> =
            self.metrics.keys().map(|known| (strsim::jaro_winkler(known, name), known)).collect();
        near.retain(|(likeness, _)| *likeness > 0.75);
        near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let suggestions: Vec<String> = near.into_iter().take(3).map(|(_, known)| known.clone()).collect();
        let hint = suggestions.first().map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        EvaluateError::NotFound { suggestions, detail: format!("there is no metric of this name{hint}") }
    }

    /// With a store of its own an engine must hold all partitions: half the numbers are never served.
    fn require_partitions(&self) -> Result<(), EvaluateError> {
        let standing = self.view.standing();
        match missing(&standing) {
            Some(what) => Err(EvaluateError::PartitionsMissing(what)),
            None => Ok(()),
        }
    }

    fn position_of(&self, served: &Served) -> Position {
        self.view.read().metrics[served.askable.id.0].position.clone()
    }

    /// Validates events, then appends those that pass to the log, keyed by user, and waits until they are durable there.
    /// Blocks.
    ///
    /// # Errors
    /// [`AppendError`]: none, or an unknown part of them, was written.
    pub fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut appended = Appended::default();
        let mut passed: Vec<(Box<str>, &[u8])> = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.checker.check(event, now) {
                Ok(checked) => passed.push((checked.user_id.unwrap_or_default(), event)),
                Err(reason) => appended.rejected.push((index, reason.to_string())),
            }
        }
        appended.accepted = passed.len() as u64;
        if passed.is_empty() {
            return Ok(appended);
        }
        appended.position = match &self.outlet {
            Outlet::Log(log) => append_to_log(log, &passed, now)?,
            Outlet::Kafka(producer) => {
                let records: Vec<(&[u8], &[u8])> =
                    passed.iter().map(|(user, event)| (user.as_bytes(), *event)).collect();
                Position(producer.send(&records).map_err(|fault| AppendError(fault.to_string()))?)
            }
        };
        Ok(appended)
    }

    /// Every new event from now on.
    pub fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }

    /// Where the engine stands: per partition the offset after the last record counted by the metric that is furthest.
    pub fn position(&self) -> Position {
        let counted = self.view.read();
        let mut all = Position::default();
        for (partition, offset) in counted.metrics.iter().flat_map(|place| &place.position.0) {
            let furthest = all.0.entry(*partition).or_default();
            *furthest = (*furthest).max(*offset);
        }
        all
    }

    /// Whether it can be asked, part by part.
    pub fn readiness(&self) -> Vec<Check> {
        let standing = self.view.standing();
        let plugins = match self.metrics.len() {
            0 => Err("no metric is loaded: put plugin files into the plugin folder".to_owned()),
            count => Ok(format!("{count} metrics, {} files refused", self.rejected.len())),
        };
        let store = standing.store_trouble.clone().map_or(Ok("open".to_owned()), Err);
        let source = match (&standing.source_trouble, missing(&standing)) {
            (Some(trouble), _) => Err(trouble.clone()),
            (None, Some(missing)) => Err(missing),
            (None, None) => Ok(format!("{} partitions", standing.held.len())),
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

fn append_to_log(log: &Log, events: &[(Box<str>, &[u8])], now: i64) -> Result<Position, AppendError> {
    let mut parts: BTreeMap<u32, Vec<(&[u8], i64)>> = BTreeMap::new();
    for (user, event) in events {
        parts.entry(log.partition_of(user.as_bytes())).or_default().push((event, now));
    }
    let slices: Vec<(u32, &[(&[u8], i64)])> =
        parts.iter().map(|(partition, events)| (*partition, events.as_slice())).collect();
    let ends = log.append_all(&slices).map_err(|fault| AppendError(fault.to_string()))?;
    Ok(Position(slices.iter().map(|(partition, _)| *partition).zip(ends).collect()))
}

fn missing(standing: &pipeline::Standing) -> Option<String> {
    if !standing.assigned {
        return Some("no partitions are assigned yet".into());
    }
    let (held, all) = (standing.held.len(), standing.partitions);
    (held < all || held == 0).then(|| {
        format!("this engine holds {held} of {all} partitions and its store is its own: other members of the group hold the rest; stop them, or use another group")
    })
}

/// 0…1.
fn done(position: &Position, target: &Position) -> f64 {
    let all: u64 = target.0.values().sum();
    let there = |(partition, end): (&u32, &u64)| position.0.get(partition).copied().unwrap_or(0).min(*end);
    let counted: u64 = target.0.iter().map(there).sum();
    if all == 0 { 1.0 } else { counted as f64 / all as f64 }
}

fn refused(refused: Refused) -> EvaluateError {
    match refused {
        Refused::Invalid(code, errors) => EvaluateError::Invalid { code, errors },
        Refused::Plugin(what) => EvaluateError::PluginFailed(what),
        Refused::Deadline => EvaluateError::DeadlineExceeded,
    }
}
