//! What the pipeline shows the rest of the engine of what is counted: state with its exact position.
//!
//! One lock guards state and positions together, so whoever reads sees whole batches and knows exactly up to where.
//! Writers hold it for one batch at a time (some hundred microseconds); readers to take a moment of a metric, which they read
//! without it. No code of a plugin runs while it is held.

use super::origin::Origin;
use crate::clock::Clock;
use crate::event::{EventBatch, Position};
use crate::plugin;
use crate::progress::Span;
use crate::state::{Folds, MetricId, State, TypeLimit};
use crate::telemetry;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally_plugin::description::Description;

/// How long the lane lets readers pass before it takes its turn: counting never starves, however much is asked.
const PATIENCE: Duration = Duration::from_millis(5);

/// Shared between lanes and readers.
#[derive(Default)]
pub struct View {
    counted: RwLock<Counted>,
    /// Whether the lane has waited long enough: who comes now waits behind it.
    lane_first: AtomicBool,
    /// Raised whenever a position moved; waiters look again.
    moved: Mutex<u64>,
    wake: Condvar,
    /// By which panes expire.
    clock: Arc<Clock>,
}

/// State and where each metric stands in it.
#[derive(Default)]
pub struct Counted {
    /// The views.
    pub state: State,
    /// Per metric.
    pub metrics: Vec<Place>,
}

/// Where one metric stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Per partition the offset after the last record counted.
    pub position: Position,
    /// Grows with every change of the metric's state: equal versions, equal answers.
    pub version: u64,
    /// Time spent counting, nanoseconds, and events it was spent on.
    pub spent_ns: u64,
    /// Events.
    pub events: u64,
    /// Values that could not be read, by the properties that it declares: since the start.
    pub unreadable: Vec<u64>,
    /// Where it must come to before its history is complete, if it joined behind others.
    pub target: Option<Position>,
    /// Since when it has been in its present state, Unix milliseconds.
    pub since: i64,
    /// Per partition where counting began, and what it passed over.
    pub origins: BTreeMap<u32, Origin>,
    /// Nothing is known: what was held is gone, and what is stored is not loaded yet.
    pub in_doubt: bool,
}

impl Counted {
    /// Forgets what is held of a metric whose state is in doubt; it answers for nothing until it is loaded.
    pub(super) fn let_go(&mut self, metric: MetricId) {
        self.state.clear(metric);
        let place = &mut self.metrics[metric.0];
        place.position.0.clear();
        place.origins.clear();
        place.in_doubt = true;
        place.version += 1;
    }
}

impl Place {
    /// Whether what is stored of the metric was seen, and is there; while it is loaded anew it is not.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version > 0 && !self.in_doubt
    }

    /// Takes note that all of a partition before `at` needs no counting: it stands there without a record.
    pub(super) fn stand_at(&mut self, partition: u32, at: u64) {
        if self.position.0.get(&partition) != Some(&at) {
            self.advance(partition, at, at);
            self.version += 1;
        }
    }

    /// Takes note that a partition is counted from `from` up to `to`.
    pub(super) fn advance(&mut self, partition: u32, from: u64, to: u64) {
        let origin = self.origins.entry(partition).or_insert_with(|| Origin::at(from));
        let stood = self.position.0.insert(partition, to).unwrap_or(origin.start);
        if stood < from {
            origin.add_gap(Span { from: stood, to: from });
        }
    }

    /// Takes note of values that could not be read among rows of a batch that were counted, without those of `skip` (ascending).
    pub(super) fn read(&mut self, metric: &plugin::Metric, batch: &EventBatch, from: u64, skip: &[u32]) {
        let properties = &metric.description().properties;
        self.unreadable.resize(properties.len(), 0);
        if batch.properties.iter().all(|column| column.unreadable.is_empty()) {
            return;
        }
        let start = batch.offsets.partition_point(|offset| *offset < from);
        for (n, (property, source)) in properties.iter().zip(metric.properties()).enumerate() {
            let column = batch.properties.iter().find(|column| *column.source == source);
            let rows = column.into_iter().flat_map(|column| column.unreadable_in(start..batch.len()));
            let count = rows.filter(|row| skip.binary_search(row).is_err()).count() as u64;
            self.unreadable[n] += count;
            telemetry::unreadable(metric.name(), &property.name, count);
        }
    }

    /// Takes note how many events of a partition, up to the position, are in no cell because the metric's own code fails on them.
    pub(super) fn leave_out(&mut self, partition: u32, failed: u64) {
        if let Some(origin) = self.origins.get_mut(&partition) {
            origin.failed = failed;
        }
    }

    /// Takes note that nothing of a partition counts from `at` on.
    pub(super) fn end_at(&mut self, partition: u32, at: u64) {
        if at > 0 {
            self.position.0.insert(partition, at);
        } else {
            self.position.0.remove(&partition);
        }
    }
}

/// How much of the way to `target` is behind `position`: 0…1.
#[must_use]
pub fn done(position: &Position, target: &Position, origins: &BTreeMap<u32, Origin>) -> f64 {
    let (mut there, mut all) = (0, 0);
    for (partition, end) in &target.0 {
        let start = origins.get(partition).map_or(0, |origin| origin.start).min(*end);
        all += end - start;
        there += position.0.get(partition).copied().unwrap_or(0).clamp(start, *end) - start;
    }
    if all == 0 { 1.0 } else { there as f64 / all as f64 }
}

impl View {
    /// What lanes count into, and what answers come from.
    #[must_use]
    pub fn new(types: TypeLimit) -> View {
        View::of(State::default().with_types(types))
    }

    /// What the lane of a shared store counts into; answers come from [`Follower`](super::Follower)s.
    #[must_use]
    pub fn of_lane(types: TypeLimit) -> View {
        View::of(State::tails_only().with_types(types))
    }

    fn of(state: State) -> View {
        View { counted: RwLock::new(Counted { state, ..Counted::default() }), ..View::default() }
    }

    /// With folds that are kept beside those of others; before metrics are added.
    #[must_use]
    pub fn keeping(self, folds: Arc<Folds>) -> View {
        let Counted { state, metrics } = self.counted.into_inner();
        View { counted: RwLock::new(Counted { state: state.keeping(folds), metrics }), ..self }
    }

    /// With panes that expire by this clock.
    #[must_use]
    pub fn by(self, clock: Arc<Clock>) -> View {
        View { clock, ..self }
    }

    /// The clock by which panes expire.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// State for reading; no batch is applied while it is held.
    pub fn read(&self) -> RwLockReadGuard<'_, Counted> {
        // Past a writer that waits for other readers: a seal that is worked out does not hold up the rest.
        if self.lane_first.load(Ordering::Relaxed) { self.counted.read() } else { self.counted.read_recursive() }
    }

    /// The same, unless a batch is being applied: never blocks.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, Counted>> {
        if self.lane_first.load(Ordering::Relaxed) {
            self.counted.try_read()
        } else {
            self.counted.try_read_recursive()
        }
    }

    /// State for the lane.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Counted> {
        if let Some(counted) = self.counted.try_write_for(PATIENCE) {
            return counted;
        }
        self.lane_first.store(true, Ordering::Relaxed);
        let counted = self.counted.write();
        self.lane_first.store(false, Ordering::Relaxed);
        counted
    }

    /// Adds a metric with empty tables.
    pub fn add(&self, description: &Description, place: Place) -> MetricId {
        let mut counted = self.write();
        counted.metrics.push(place);
        counted.state.add(description)
    }

    /// Drops what is held of a metric that is in no lane any more. Its number is not given again.
    pub fn empty(&self, metric: MetricId) {
        let mut counted = self.write();
        counted.state.forget(metric);
        let since = counted.metrics[metric.0].since;
        counted.metrics[metric.0] = Place { since, ..Place::default() };
    }

    /// A metric that counts history is to come to `ahead`. How many records of the partitions `held` it misses.
    pub fn aim(&self, metric: MetricId, ahead: &Position, held: &[u32]) -> u64 {
        let mut counted = self.write();
        let place = &mut counted.metrics[metric.0];
        let missing = |partition: &u32| {
            let start = place.origins.get(partition).map_or(0, |origin| origin.start);
            let at = place.position.0.get(partition).copied().unwrap_or(start);
            ahead.0.get(partition).copied().unwrap_or(0).saturating_sub(at)
        };
        let missing = held.iter().map(missing).sum();
        place.target = Some(ahead.clone());
        missing
    }

    /// A metric's history is counted, as of `since`.
    pub fn arrived(&self, metric: MetricId, since: i64) {
        let mut counted = self.write();
        let place = &mut counted.metrics[metric.0];
        place.target = None;
        place.since = since;
        drop(counted);
        self.announce();
    }

    /// Wakes those that wait for a position.
    pub(super) fn announce(&self) {
        *self.moved.lock() += 1;
        self.wake.notify_all();
    }

    /// Waits until something was counted or committed here, at most `limit`.
    pub fn wait_a_move(&self, limit: Duration) {
        let mut moved = self.moved.lock();
        let _ = self.wake.wait_for(&mut moved, limit);
    }

    /// Waits until a metric has counted `position`. Whether it did in time.
    pub fn wait_for(&self, metric: MetricId, position: &Position, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut moved = self.moved.lock();
        loop {
            // Held while looking, so that a move in between is not missed.
            let reached = self.read().metrics.get(metric.0).is_some_and(|place| place.position.reaches(position));
            if reached {
                return true;
            }
            if self.wake.wait_until(&mut moved, deadline).timed_out() {
                return self.read().metrics.get(metric.0).is_some_and(|place| place.position.reaches(position));
            }
        }
    }
}
