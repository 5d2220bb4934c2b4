//! The counted state of a process, with its exact position, for the rest of the engine to read.
//!
//! One lock guards state and positions together, so readers see whole batches and know exactly how
//! far they go. Writers hold it for one batch at a time (some hundred microseconds); readers hold
//! it to take a moment of a metric, which they then read without it. No code of a plugin runs while
//! it is held.

use super::coverage::Coverage;
use super::target::{LogEnds, Target};
use crate::clock::{Clock, wall_ms};
use crate::event::{EventBatch, Position};
use crate::host;
use crate::progress::{Progress, Span};
use crate::state::{Folds, MetricId, State, TypeLimit};
use crate::telemetry;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally_plugin::description::Description;

/// How long the lane waits for readers before it goes first: counting never starves, however many
/// questions are asked.
const PATIENCE: Duration = Duration::from_millis(5);

/// Shared between lanes and readers.
#[derive(Default)]
pub struct View {
    counted: RwLock<Counted>,
    /// Whether the lane has waited long enough: new readers wait behind it.
    lane_first: AtomicBool,
    /// Incremented whenever a position moved, so that waiters check again.
    moved: Mutex<u64>,
    wake: Condvar,
    /// By which panes expire.
    clock: Arc<Clock>,
}

/// The state of all metrics, and how far each is counted.
#[derive(Default)]
pub struct Counted {
    /// The views.
    pub state: State,
    /// By metric number.
    pub metrics: Vec<MetricProgress>,
}

/// How far one metric is counted, and what counting it took.
#[derive(Clone, Debug, Default)]
pub struct MetricProgress {
    /// Per partition the offset after the last record counted.
    pub position: Position,
    /// Grows with every change of the metric's state: equal versions, equal answers.
    pub version: u64,
    /// Time spent counting, nanoseconds.
    pub spent_ns: u64,
    /// Events on which that time was spent.
    pub events: u64,
    /// Values that could not be read since the start, by declared property.
    pub unreadable: Vec<u64>,
    /// Up to where it has to count before its history is complete.
    pub target: Target,
    /// When it entered its present state, Unix milliseconds.
    pub since: i64,
    /// Per partition where counting began, and what it missed.
    pub coverages: BTreeMap<u32, Coverage>,
    /// What is stored is not loaded, or not loaded again after its state in memory was discarded.
    pub in_doubt: bool,
}

impl Counted {
    /// Discards the state of a metric that is in doubt; it answers no question until it is loaded.
    pub(super) fn discard(&mut self, metric: MetricId) {
        self.state.clear(metric);
        let progress = &mut self.metrics[metric.0];
        progress.position.0.clear();
        progress.coverages.clear();
        progress.in_doubt = true;
        progress.version += 1;
    }
}

impl MetricProgress {
    /// Whether what is stored of the metric was loaded; false while it is loaded again.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version > 0 && !self.in_doubt
    }

    /// Sets the position of a partition to `at` without counting: no record before it counts.
    pub(super) fn set_position(&mut self, partition: u32, at: u64) {
        if self.position.0.get(&partition) != Some(&at) {
            self.advance(partition, at, at);
            self.version += 1;
        }
    }

    /// Records that a partition is counted from `from` up to `to`; a jump is a gap.
    pub(super) fn advance(&mut self, partition: u32, from: u64, to: u64) {
        let coverage = self.coverages.entry(partition).or_insert_with(|| Coverage::at(from));
        let before = self.position.0.insert(partition, to).unwrap_or(coverage.start);
        if before < from {
            coverage.add_gap(Span { from: before, to: from });
        }
        if self.target.reach(&self.position) {
            self.since = wall_ms();
        }
    }

    /// Adds the values that could not be read in the counted rows of a batch: those from offset
    /// `from` on, without those in `skip` (ascending).
    pub(super) fn count_unreadable(
        &mut self,
        metric: &host::Metric,
        batch: &EventBatch,
        from: u64,
        skip: &[u32],
    ) {
        let properties = &metric.description().properties;
        self.unreadable.resize(properties.len(), 0);
        if batch.properties.iter().all(|column| column.unreadable.is_empty()) {
            return;
        }
        let start = batch.offsets.partition_point(|offset| *offset < from);
        for (n, (property, source)) in properties.iter().zip(metric.properties()).enumerate() {
            let column = batch.properties.iter().find(|column| *column.source == source);
            let rows =
                column.into_iter().flat_map(|column| column.unreadable_in(start..batch.len()));
            let count = rows.filter(|row| skip.binary_search(row).is_err()).count() as u64;
            self.unreadable[n] += count;
            telemetry::unreadable(metric.name(), &property.name, count);
        }
    }

    /// Sets how many events of a partition, before the position, are in no cell because the
    /// metric's own code fails on them.
    pub(super) fn set_failed(&mut self, partition: u32, failed: u64) {
        if let Some(coverage) = self.coverages.get_mut(&partition) {
            coverage.failed = failed;
        }
    }

    /// Sets where the history of partitions ends, as it is stored.
    pub(super) fn set_history(&mut self, stored: &[(u32, Progress)]) {
        for (partition, progress) in stored {
            if let Some(coverage) = self.coverages.get_mut(partition) {
                coverage.history_to = progress.history_to;
            }
        }
    }

    /// Moves the position of a partition back to `at`: nothing counts from there on.
    pub(super) fn end_at(&mut self, partition: u32, at: u64) {
        if at > 0 {
            self.position.0.insert(partition, at);
        } else {
            self.position.0.remove(&partition);
        }
    }
}

impl View {
    /// A view that lanes count into and answers come from.
    #[must_use]
    pub fn new(types: TypeLimit) -> View {
        View::of(State::default().with_types(types))
    }

    /// A view for the lanes of a shared store, which holds only tails; answers come from
    /// [`Follower`](super::Follower)s.
    #[must_use]
    pub fn of_lane(types: TypeLimit) -> View {
        View::of(State::tails_only().with_types(types))
    }

    fn of(state: State) -> View {
        View { counted: RwLock::new(Counted { state, ..Counted::default() }), ..View::default() }
    }

    /// The same view with folds from a shared cache; only before metrics are added.
    #[must_use]
    pub fn with_folds(self, folds: Arc<Folds>) -> View {
        let Counted { state, metrics } = self.counted.into_inner();
        View { counted: RwLock::new(Counted { state: state.keeping(folds), metrics }), ..self }
    }

    /// The same view with panes that expire by this clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<Clock>) -> View {
        View { clock, ..self }
    }

    /// The clock by which panes expire.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Locks the state for reading; no batch is applied meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, Counted> {
        // Recursive: passes a writer that waits for other readers, so that a long read does not
        // hold up the rest.
        if self.lane_first.load(Ordering::Relaxed) {
            self.counted.read()
        } else {
            self.counted.read_recursive()
        }
    }

    /// The same without blocking; `None`: a batch is being applied.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, Counted>> {
        if self.lane_first.load(Ordering::Relaxed) {
            self.counted.try_read()
        } else {
            self.counted.try_read_recursive()
        }
    }

    /// Locks the state for the lane to write.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Counted> {
        if let Some(counted) = self.counted.try_write_for(PATIENCE) {
            return counted;
        }
        self.lane_first.store(true, Ordering::Relaxed);
        let counted = self.counted.write();
        self.lane_first.store(false, Ordering::Relaxed);
        counted
    }

    /// Adds a metric with empty tables, and returns its number.
    pub fn add(&self, description: &Description, progress: MetricProgress) -> MetricId {
        let mut counted = self.write();
        counted.metrics.push(progress);
        counted.state.add(description)
    }

    /// Drops the state of a metric that is in no lane any more. Its number is not used again.
    pub fn clear(&self, metric: MetricId) {
        let mut counted = self.write();
        counted.state.forget(metric);
        let since = counted.metrics[metric.0].since;
        counted.metrics[metric.0] = MetricProgress { since, ..MetricProgress::default() };
    }

    /// Sets what a metric that is not loaded yet has to count at least: as much as others have.
    pub fn set_least(&self, metric: MetricId, least: &Position) {
        self.write().metrics[metric.0].target = Target::Unknown(least.clone());
    }

    /// A metric waits for a lane: until it has one nothing of it is loaded, and it is empty.
    pub fn await_lane(&self, metric: MetricId, target: Target) {
        let mut counted = self.write();
        let progress = &mut counted.metrics[metric.0];
        (progress.target, progress.in_doubt) = (target, false);
    }

    /// Sets the position `ahead` of the metrics that a metric has yet to join. Returns how many
    /// records of the partitions `held` it has yet to count.
    pub fn set_target(&self, metric: MetricId, ahead: &Position, held: &[u32]) -> u64 {
        let mut counted = self.write();
        let progress = &mut counted.metrics[metric.0];
        let missing = |partition: &u32| {
            let start = progress.coverages.get(partition).map_or(0, |coverage| coverage.start);
            let at = progress.position.0.get(partition).copied().unwrap_or(start);
            ahead.0.get(partition).copied().unwrap_or(0).saturating_sub(at)
        };
        let missing = held.iter().map(missing).sum();
        progress.target = Target::Others(ahead.clone());
        missing
    }

    /// A metric joins the others: its history is as complete as theirs, as of `since`, Unix
    /// milliseconds.
    pub fn finish_backfill(&self, metric: MetricId, since: i64) {
        let mut counted = self.write();
        // Since not all of their history is stored they may have some of the log ahead of them.
        let ends = counted.metrics.iter().filter_map(|progress| progress.target.to_end().cloned());
        let end = Position::furthest(ends);
        let are_unknown = counted.metrics.iter().any(|progress| progress.target.is_unknown());
        let progress = &mut counted.metrics[metric.0];
        // Otherwise its new lane has found that nothing of it is stored.
        if let Target::Others(ahead) = &progress.target {
            // Where there is no other that has counted anything, the log says how far history goes.
            let is_unknown = are_unknown || ahead.0.is_empty();
            progress.target = if is_unknown {
                Target::Unknown(end)
            } else {
                Target::end(end, &progress.position)
            };
            progress.since = since;
        }
        drop(counted);
        self.notify();
    }

    /// The log says what it holds: how far a metric has to count that waited for that, and that
    /// less is left to count of a log of which something was cut off.
    pub(super) fn set_bounds(&self, metric: MetricId, log: impl FnOnce() -> LogEnds) {
        let target = self.read().metrics[metric.0].target.clone();
        if !target.is_unknown() && target.to_end().is_none() {
            return;
        }
        let log = log();
        let mut counted = self.write();
        let progress = &mut counted.metrics[metric.0];
        let bounded = progress.target.bounded(&log, &progress.position, &progress.coverages);
        let Some(target) = bounded else { return };
        if target == Target::Reached {
            progress.since = wall_ms();
        }
        progress.target = target;
        drop(counted);
        self.notify();
    }

    /// Wakes the threads that wait for a position or a change.
    pub fn notify(&self) {
        *self.moved.lock() += 1;
        self.wake.notify_all();
    }

    /// Waits until something was counted or committed, at most `limit`.
    pub fn wait_for_change(&self, limit: Duration) {
        let mut moved = self.moved.lock();
        let _ = self.wake.wait_for(&mut moved, limit);
    }

    /// The same for one who does something in between: what changed since it last waited (`seen`,
    /// first 0) is not waited for.
    pub fn wait_beyond(&self, seen: &mut u64, limit: Duration) {
        let mut moved = self.moved.lock();
        if *moved == *seen {
            let _ = self.wake.wait_for(&mut moved, limit);
        }
        *seen = *moved;
    }

    /// Waits until a metric has counted `position`, at most `limit`. Returns whether it has.
    pub fn wait_for(&self, metric: MetricId, position: &Position, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut moved = self.moved.lock();
        loop {
            // `moved` is locked meanwhile, so that no notification is missed.
            let reached = self
                .read()
                .metrics
                .get(metric.0)
                .is_some_and(|progress| progress.position.reaches(position));
            if reached {
                return true;
            }
            if self.wake.wait_until(&mut moved, deadline).timed_out() {
                return self
                    .read()
                    .metrics
                    .get(metric.0)
                    .is_some_and(|progress| progress.position.reaches(position));
            }
        }
    }
}
