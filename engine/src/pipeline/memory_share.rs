//! How much of its share of memory state takes, and which metrics must not take more.
//!
//! Below 85 % of the share every metric counts. From there on metrics stop that hold more than an
//! even part of it, above 100 % those that hold more than an eighth of an even part, above 112 %
//! all: so small metrics count on when a large one is added. A metric that stops keeps exactly what
//! it has counted; `engine/lifecycle` restarts it when there is room. Nothing of this is stored: it
//! concerns this process alone.
//!
//! A metric that is loaded must fit beside the others without stopping them. Two kinds are loaded
//! although there is less room: what was counted before a start, and what replaces something of the
//! same size.
//!
//! A measurement takes time where there are many sketches, so measurements are as frequent as costs
//! at most some hundredths of the processor's time. Processor time is what counts: on a busy
//! machine a measurement may last long and cost little, and metrics grow meanwhile.

use crate::clock::thread_cpu_time;
use crate::progress::Quarantine;
use crate::state::MetricId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Hundredths of the share above which metrics stop that hold more than an even part, and up to
/// which metrics are loaded.
const NEAR: u64 = 85;

/// Hundredths above which all stop.
const OVER: u64 = 112;

/// Hundredths that metrics counted before a start may take: they fitted, apart from events since
/// the last measurement.
const BEFORE: u64 = 125;

/// Hundredths below which a metric is loaded whose size is unknown, because it is not in memory.
const ROOM: u64 = 75;

/// Shortest time between two measurements.
const PAUSE: Duration = Duration::from_millis(2);

/// Most bytes of frames that are loaded between two measurements of a metric that is being loaded.
const STEP: u64 = 4 << 20;

/// And at most this part of the share.
const STEPS: u64 = 100;

/// Most bytes of frames that are read at once.
const PIECE: u64 = 32 << 20;

/// And at most this part of the share.
const PIECES: u64 = 16;

/// The part of the share by which frames that are read may exceed the room there is: what they are
/// folded into often takes less.
const LEEWAY: u64 = 8;

/// Pause between two measurements, as a multiple of the time that the last one took.
pub(super) const SELDOM: u32 = 50;

/// The part of memory that state may take.
#[derive(Debug)]
pub struct MemoryShare {
    limit: u64,
    measured: Mutex<Measured>,
}

/// What was last measured.
#[derive(Debug, Default)]
struct Measured {
    /// Per caller when it last measured, and how much processor time that took.
    taken: BTreeMap<MetricId, (Instant, Duration)>,
    /// Bytes of each metric in the state of lanes.
    held: BTreeMap<MetricId, u64>,
    /// Bytes of each metric in followers of a shared store.
    followed: BTreeMap<MetricId, u64>,
    /// Bytes that metrics will take that are not loaded yet.
    promised: BTreeMap<MetricId, u64>,
    /// Metrics that were counted before the start and are not loaded yet.
    before: BTreeSet<MetricId>,
    /// Metrics whose load has begun and has not ended, or failed and will be repeated: up to how
    /// many hundredths of the share each may be loaded.
    loading: BTreeMap<MetricId, u64>,
    /// Metrics that are gone, although their state may be there for another moment. Numbers are not
    /// used again.
    gone: BTreeSet<MetricId>,
    /// Sums, because every batch asks for them: bytes of all metrics, and how many metrics hold
    /// any.
    all: u64,
    metrics: usize,
}

impl Measured {
    /// Bytes that a metric holds now.
    fn own(&self, metric: MetricId) -> u64 {
        let of = |map: &BTreeMap<MetricId, u64>| map.get(&metric).copied().unwrap_or(0);
        of(&self.held) + of(&self.followed)
    }

    /// Bytes that a metric holds now or will hold, whichever is more.
    fn of(&self, metric: MetricId) -> u64 {
        self.own(metric).max(self.promised.get(&metric).copied().unwrap_or(0))
    }

    /// Updates the sums; to be called after each change.
    fn add_up(&mut self) {
        let metrics = self.held.keys().chain(self.followed.keys()).chain(self.promised.keys());
        let metrics: BTreeSet<MetricId> = metrics.copied().collect();
        self.all = metrics.iter().map(|metric| self.of(*metric)).sum();
        self.metrics = metrics.iter().filter(|metric| self.own(**metric) > 0).count();
    }

    fn forget(&mut self, metric: MetricId) {
        self.gone.insert(metric);
        self.held.remove(&metric);
        self.followed.remove(&metric);
        self.taken.remove(&metric);
        self.end_load(metric);
    }

    /// Records what metrics hold in the state of lanes.
    fn set_held(&mut self, held: impl IntoIterator<Item = (MetricId, u64)>) {
        let gone = &self.gone;
        self.held.extend(held.into_iter().filter(|(metric, _)| !gone.contains(metric)));
        self.add_up();
    }

    /// The load of a metric has ended.
    fn end_load(&mut self, metric: MetricId) {
        self.promised.remove(&metric);
        self.before.remove(&metric);
        self.loading.remove(&metric);
        self.add_up();
    }

    /// Up to how many hundredths of the share a metric may be loaded.
    fn hundredths(&self, metric: MetricId) -> u64 {
        match self.loading.get(&metric) {
            Some(begun) => *begun,
            None if self.before.contains(&metric) => BEFORE,
            // It counted and is loaded again: no other metric may have to stop for it, and it for
            // none.
            None if self.own(metric) > 0 => OVER,
            None => NEAR,
        }
    }
}

impl MemoryShare {
    /// A share of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> MemoryShare {
        MemoryShare { limit, measured: Mutex::default() }
    }

    /// Bytes of frames that are loaded between two measurements of what they take in memory.
    #[must_use]
    pub fn step_bytes(&self) -> usize {
        (self.limit / STEPS).min(STEP) as usize
    }

    /// Bytes of frames that are read at once while a metric is loaded, unless one bucket holds
    /// more.
    #[must_use]
    pub fn piece_bytes(&self) -> u64 {
        (self.limit / PIECES).min(PIECE)
    }

    /// Announces the load of a metric that was counted before this start.
    pub fn expect_load(&self, metric: MetricId) {
        self.measured.lock().before.insert(metric);
    }

    /// `after` replaces `before`, which is gone, and may become as large: it will hold `held`
    /// bytes.
    pub fn hand_over(&self, before: MetricId, after: MetricId, held: u64) {
        let mut measured = self.measured.lock();
        measured.forget(before);
        measured.promised.insert(after, held);
        measured.add_up();
    }

    /// Measures with `take` what the metrics of a caller hold, if that is due; the caller is known
    /// by `who`, one of its metrics. Metrics that `take` does not list keep their last measurement.
    pub fn measure<M: IntoIterator<Item = (MetricId, u64)>>(
        &self,
        who: MetricId,
        take: impl FnOnce() -> M,
    ) {
        let last = self.measured.lock().taken.get(&who).copied();
        if last.is_some_and(|(at, took)| at.elapsed() < PAUSE.max(took * SELDOM)) {
            return;
        }
        let begun = thread_cpu_time();
        let held: Vec<(MetricId, u64)> = take().into_iter().collect();
        let mut measured = self.measured.lock();
        measured.set_held(held);
        measured.taken.insert(who, (Instant::now(), thread_cpu_time().saturating_sub(begun)));
    }

    /// The load of a metric begins, perhaps not for the first time. Until it succeeds or is
    /// refused, what the metric holds now stays reserved for it, and decides how much it may take.
    pub fn begin_load(&self, metric: MetricId) {
        let mut measured = self.measured.lock();
        if measured.gone.contains(&metric) {
            return;
        }
        let (hundredths, held) = (measured.hundredths(metric), measured.of(metric));
        measured.loading.insert(metric, hundredths);
        if held > 0 {
            measured.promised.insert(metric, held);
        }
        measured.add_up();
    }

    /// Records the bytes that a metric holds, once it is loaded.
    pub fn record_held(&self, metric: MetricId, held: u64) {
        let mut measured = self.measured.lock();
        if !measured.gone.contains(&metric) {
            measured.held.insert(metric, held);
            measured.end_load(metric);
        }
    }

    /// Records that a metric holds nothing for the moment, because it will be loaded again.
    pub fn record_emptied(&self, metric: MetricId) {
        self.measured.lock().set_held([(metric, 0)]);
    }

    /// Records the bytes that the follower of a metric holds. A load that is under way goes on: its
    /// result is not among them yet.
    pub fn record_followed(&self, metric: MetricId, held: u64) {
        let mut measured = self.measured.lock();
        if !measured.gone.contains(&metric) {
            measured.followed.insert(metric, held);
            measured.add_up();
        }
    }

    /// The load of a metric has ended, and what it came to is recorded: nothing is reserved for it
    /// any more.
    pub fn end_load(&self, metric: MetricId) {
        self.measured.lock().end_load(metric);
    }

    /// Records what all metrics but `loading` hold: what they share with it is divided differently
    /// while it is loaded.
    pub fn record_others(&self, loading: MetricId, sizes: Vec<(MetricId, u64)>) {
        let others = sizes.into_iter().filter(|(of, _)| *of != loading);
        self.measured.lock().set_held(others);
    }

    /// Forgets a metric that is gone.
    pub fn forget(&self, metric: MetricId) {
        self.measured.lock().forget(metric);
    }

    /// Bytes that a metric holds or will hold, as of the last measurement.
    #[must_use]
    pub fn held(&self, metric: MetricId) -> u64 {
        self.measured.lock().of(metric)
    }

    /// Why a metric must stop, as of the last measurement; `None`: it may count on.
    #[must_use]
    pub fn limit_exceeded(&self, metric: MetricId) -> Option<Quarantine> {
        let measured = self.measured.lock();
        let (held, own) = (measured.all, measured.own(metric));
        over(self.limit, held, own, measured.metrics)
            .then_some(Quarantine::OverMemory { held, share: self.limit })
    }

    /// Why a metric that holds `own` bytes while it is loaded must not be loaded any further;
    /// `None`: it may be. If it must not, the caller drops what was loaded and reports that
    /// ([`MemoryShare::record_held`]).
    #[must_use]
    pub fn refuse_load(&self, metric: MetricId, own: u64) -> Option<Quarantine> {
        let mut measured = self.measured.lock();
        let others = measured.all - measured.of(metric);
        let promised = measured.promised.get(&metric).copied().unwrap_or(0);
        // Before the load begins, what the metric holds will be replaced.
        let held =
            if measured.loading.contains_key(&metric) { promised } else { measured.of(metric) };
        let most = (self.limit / 100 * measured.hundredths(metric)).max(others + held);
        let held = others + own;
        (held > most).then(|| {
            measured.end_load(metric);
            Quarantine::OverMemory { held, share: self.limit }
        })
    }

    /// The same before `bytes` of frames are read for a metric that holds `own` bytes.
    #[must_use]
    pub fn refuse_piece(&self, metric: MetricId, own: u64, bytes: u64) -> Option<Quarantine> {
        self.refuse_load(metric, own.saturating_add(bytes.saturating_sub(self.limit / LEEWAY)))
    }

    /// Whether a metric that was stopped may count on, as of the last measurement. One that is not
    /// in memory needs more room, because its size is unknown.
    #[must_use]
    pub fn has_room(&self, in_memory: bool) -> bool {
        self.measured.lock().all < self.limit / 100 * if in_memory { NEAR } else { ROOM }
    }

    /// Bytes that state holds, as of the last measurement, and may hold.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        (self.measured.lock().all, self.limit)
    }
}

fn over(limit: u64, held: u64, own: u64, metrics: usize) -> bool {
    let even = limit / metrics.max(1) as u64;
    held > limit / 100 * OVER
        || held > limit && own > even / 8
        || held > limit / 100 * NEAR && own > even
}

#[cfg(test)]
#[path = "memory_share_tests.rs"]
mod tests;
