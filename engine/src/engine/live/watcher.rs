//! What the thread does that watches: it sees what came to each metric that is watched, and finds
//! which questions that concerns.
//!
//! It takes no moment of a metric, so that no row is copied for it, holds the lock of the view for
//! a moment at a time, and walks rows without it. Where engines share a store it looks at what they
//! have committed.

use super::hub::LiveHub;
use super::round::{contained, refreshed, whole};
use super::same::word;
use crate::engine::asking::Asking;
use crate::engine::catalog::ServedRevision;
use crate::engine::evaluate::{Facts, Seen, Stopped};
use crate::engine::{EvaluateError, StateUnavailable};
use crate::query::live::{Walked, Walker};
use crate::state::{ChangeCursor, HeldRange, Reading};
use crate::telemetry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tally_plugin::ask::Warning;

/// At least so much time between two looks: events come by the batch.
const BETWEEN: Duration = Duration::from_millis(10);

/// Longest time between two looks: not everything that is told with an answer wakes this thread.
const LONGEST: Duration = Duration::from_millis(500);

/// The same where other engines commit.
const LONGEST_SHARED: Duration = Duration::from_millis(100);

/// What is kept of the metrics that are watched.
#[derive(Default)]
pub(super) struct LiveWatcher {
    metrics: BTreeMap<Arc<str>, WatchedLane>,
    /// The newest number of a revision that was seen to answer.
    generation: u64,
    /// How often the view had changed at the last look.
    seen: u64,
}

/// One metric.
struct WatchedLane {
    generation: u64,
    served: Weak<ServedRevision>,
    walker: Walker,
}

/// A metric as it is now.
struct Sight {
    served: Arc<ServedRevision>,
    version: u64,
    held: HeldRange,
    /// If something came.
    cursor: Option<ChangeCursor>,
    facts: String,
}

/// Watches until the engine stops. `replace` is called for each thread that was given up.
pub(super) fn watch(hub: &LiveHub, mut replace: impl FnMut()) {
    let mut watcher = LiveWatcher::default();
    while hub.wait_for_questions() {
        let begun = Instant::now();
        let looked = contained(|| {
            watcher.look(hub);
            Ok(())
        });
        if looked.is_err() {
            tracing::error!(
                "an internal error ended a look at what is watched; all is looked at anew"
            );
            watcher.metrics.clear();
        }
        (0..hub.give_up_hung()).for_each(|_| replace());
        let pause = watcher.pause(hub);
        hub.asking.view.wait_beyond(&mut watcher.seen, pause);
        std::thread::sleep(BETWEEN.saturating_sub(begun.elapsed()));
    }
}

impl LiveWatcher {
    /// Looks at every metric that is watched, and at the clock.
    pub(super) fn look(&mut self, hub: &LiveHub) {
        let watched: Vec<Arc<str>> =
            hub.with_machine(|machine| machine.metrics().cloned().collect());
        self.metrics.retain(|metric, _| watched.binary_search(metric).is_ok());
        for metric in &watched {
            self.look_at(hub, metric);
        }
        let (now_ms, now) = (hub.now_ms(), Instant::now());
        hub.with_machine(|machine| machine.clock(now_ms, now));
    }

    /// How long nothing has to be looked at, if nothing comes.
    fn pause(&self, hub: &LiveHub) -> Duration {
        let longest = if hub.asking.shared { LONGEST_SHARED } else { LONGEST };
        let edge = hub.with_machine(|machine| machine.next_edge());
        let left = edge.map(|edge| u64::try_from(edge - hub.now_ms()).unwrap_or(0));
        left.map_or(longest, |left| Duration::from_millis(left).min(longest))
    }

    fn look_at(&mut self, hub: &LiveHub, metric: &Arc<str>) {
        let next = self.generation + 1;
        let watched = self.metrics.entry(Arc::clone(metric)).or_insert_with(|| WatchedLane {
            generation: next,
            served: Weak::new(),
            walker: Walker::default(),
        });
        let now_ms = hub.now_ms();
        let sight = sight(&hub.asking, metric, watched);
        if let Ok(sight) = &sight
            && !watched.is_of(&sight.served)
        {
            watched.generation = next;
            watched.served = Arc::downgrade(&sight.served);
        }
        self.generation = self.generation.max(watched.generation);
        let facts = sight.as_ref().map_or_else(word, |sight| sight.facts.as_str());
        let (generation, now) = (watched.generation, Instant::now());
        let look = hub.with_machine(|machine| machine.begin_look(metric, generation, facts, now));
        let Some(look) = look else { return };
        if look.restarted {
            watched.walker = Walker::default();
        }
        watched.walker.change(&look.changes);
        let Ok(Sight { served, version, held, cursor: Some(cursor), .. }) = sight else { return };
        let mut turned = Vec::new();
        if watched.walker.ends_moved(&held, now_ms) {
            let following = hub.with_machine(|machine| machine.following(metric));
            let turns = |(question, params, meant): (u64, Arc<Value>, String)| {
                let params = params.as_object()?;
                let means = served.askable.meaning(params, now_ms, &held);
                (means != Some(meant)).then_some(question)
            };
            turned.extend(following.into_iter().filter_map(turns));
        }
        let is_first = watched.walker.is_new();
        let mut walked = watched.walker.walk((version, cursor), held, now_ms, look.idle);
        note(&walked, is_first);
        if walked.reading == Reading::Exact {
            walked.hits.extend(turned);
        }
        hub.with_machine(|machine| machine.moved(metric, &walked, Instant::now()));
    }
}

fn note(walked: &Walked, is_first: bool) {
    if walked.reading == Reading::Unknown && !is_first {
        telemetry::live_unknown();
    }
}

impl WatchedLane {
    /// Whether this revision was the one that answered at the last look.
    fn is_of(&self, served: &Arc<ServedRevision>) -> bool {
        std::ptr::eq(self.served.as_ptr(), Arc::as_ptr(served))
    }

    /// A revision as it is now, under the lock by which it is seen.
    fn sight(
        &self,
        served: &Arc<ServedRevision>,
        seen: &Seen<'_>,
        stopped: &Stopped,
    ) -> Result<Sight, EvaluateError> {
        if served.is_gone() {
            return Err(StateUnavailable::Loading.into());
        }
        seen.require_whole(&whole(served.askable.plugin.name()), stopped)?;
        let held = seen.state.held(seen.id);
        let came = !self.is_of(served) || self.walker.is_behind(seen.version, &held);
        Ok(Sight {
            served: Arc::clone(served),
            version: seen.version,
            cursor: came.then(|| seen.state.cursor(seen.id)),
            held,
            facts: told(&seen.facts(), stopped),
        })
    }
}

/// A metric as it is now; or why it is not answered.
fn sight(asking: &Asking, metric: &str, watched: &WatchedLane) -> Result<Sight, EvaluateError> {
    let served = asking.served(metric)?;
    asking.require_partitions()?;
    let stopped = asking.require_counting(&served)?;
    match &served.follower {
        None => {
            let counted = asking.view.read();
            watched.sight(&served, &Seen::of_lane(&served, &counted), &stopped)
        }
        Some(follower) => {
            let stopped = stopped.and_behind(&refreshed(follower)?);
            let followed = follower.read();
            watched.sight(&served, &Seen::followed(&followed), &stopped)
        }
    }
}

/// What is told with the answers of a metric beside their results, as a text to compare.
fn told(facts: &Facts, stopped: &Stopped) -> String {
    let warning = |warning: &Warning| format!("{} {:?}", warning.code, warning.more);
    let warnings: Vec<String> =
        stopped.warnings.iter().chain(&facts.limited).map(warning).collect();
    format!("{:?} {} {warnings:?}", facts.history, facts.failed)
}
