//! How much of its share of memory state takes, and which metrics must not take more.
//!
//! While there is plenty, every metric counts on. Near the end those stop that hold more than an even part each, at the end those
//! that hold an eighth of it, a little later all: what is small goes on where something large comes in. Who stops keeps what it has
//! counted, exactly, and is let go on by `engine/lifecycle` when there is room. Nothing of this is stored: it is a matter of this
//! process alone.
//!
//! What is loaded must fit beside the others without stopping them. Two things are loaded although there is less room: what was
//! counted before a start, and what takes the place of something that is as large.
//!
//! Looking costs time where sketches are many, so it is done as often as costs at most some hundredths of the processor's time. What
//! is measured is that time: on a busy machine a look may last long and cost nothing, and metrics grow meanwhile.

use crate::clock::thread_cpu_time;
use crate::progress::Quarantine;
use crate::state::MetricId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Hundredths of the share from which on metrics stop that hold more than an even part, and up to which others are loaded.
const NEAR: u64 = 85;

/// Hundredths from which on all stop.
const OVER: u64 = 112;

/// Hundredths that what was counted before a start may take: it fitted, but for some that came since the last look.
const BEFORE: u64 = 125;

/// Hundredths below which one is tried whose size is not known, for it is not in memory.
const ROOM: u64 = 75;

/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(2);

/// Bytes of frames that are loaded between two looks at what they take in memory, at most.
const STEP: u64 = 4 << 20;

/// And at most so small a part of the share.
const STEPS: u64 = 100;

/// Bytes of frames that are read at once, at most.
const PIECE: u64 = 32 << 20;

/// And at most so small a part of the share.
const PIECES: u64 = 16;

/// The part of the share up to which frames may be read although there is no room for them: what they are folded into often takes
/// less.
const LEEWAY: u64 = 8;

/// How many times the processor's time of the last look is waited for the next.
const SELDOM: u32 = 50;

/// The share of state.
#[derive(Debug)]
pub struct Room {
    limit: u64,
    seen: Mutex<Seen>,
}

/// What was seen at the last look.
#[derive(Debug, Default)]
struct Seen {
    /// When each looked last, and how much of the processor's time that took.
    looked: BTreeMap<MetricId, (Instant, Duration)>,
    /// What is counted into the state of lanes.
    held: BTreeMap<MetricId, u64>,
    /// What is read of a shared store beside that.
    followed: BTreeMap<MetricId, u64>,
    /// What is not loaded yet, and will take so much.
    promised: BTreeMap<MetricId, u64>,
    /// What was counted before the start, and is not loaded yet.
    before: BTreeSet<MetricId>,
    /// Up to how many hundredths of the share each metric may be loaded whose load has begun and did not end, also if it failed and will
    /// be repeated.
    loading: BTreeMap<MetricId, u64>,
    /// What is held no more, though it may lie there for a moment yet. No number is given again.
    gone: BTreeSet<MetricId>,
    /// Bytes of all, and how many metrics hold any: it is asked for with each batch.
    all: u64,
    metrics: usize,
}

impl Seen {
    /// What one holds now.
    fn own(&self, metric: MetricId) -> u64 {
        let of = |map: &BTreeMap<MetricId, u64>| map.get(&metric).copied().unwrap_or(0);
        of(&self.held) + of(&self.followed)
    }

    /// The same, or what it will.
    fn of(&self, metric: MetricId) -> u64 {
        self.own(metric).max(self.promised.get(&metric).copied().unwrap_or(0))
    }

    /// Adds up, after each change.
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
        self.looked.remove(&metric);
        self.arrived(metric);
    }

    /// Takes note of what some hold in the state of lanes.
    fn holds(&mut self, held: impl IntoIterator<Item = (MetricId, u64)>) {
        let gone = &self.gone;
        self.held.extend(held.into_iter().filter(|(metric, _)| !gone.contains(metric)));
        self.add_up();
    }

    fn arrived(&mut self, metric: MetricId) {
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
            // It counted, and is loaded afresh: nobody else may have to stop for it, and it for nobody.
            None if self.own(metric) > 0 => OVER,
            None => NEAR,
        }
    }
}

impl Room {
    /// A share of so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Room {
        Room { limit, seen: Mutex::default() }
    }

    /// Bytes of frames that are loaded between two looks at what they take in memory.
    #[must_use]
    pub fn step(&self) -> usize {
        (self.limit / STEPS).min(STEP) as usize
    }

    /// Bytes of frames that are read at once while a metric is loaded, unless one bucket holds more.
    #[must_use]
    pub fn piece(&self) -> u64 {
        (self.limit / PIECES).min(PIECE)
    }

    /// A metric that was counted before this start will be loaded.
    pub fn expect(&self, metric: MetricId) {
        self.seen.lock().before.insert(metric);
    }

    /// `after` takes the place of `before`, which is held no more: it may become as large.
    pub fn hand_over(&self, before: MetricId, after: MetricId, held: u64) {
        let mut seen = self.seen.lock();
        seen.forget(before);
        seen.promised.insert(after, held);
        seen.add_up();
    }

    /// Takes note of what metrics hold, if it is time for `who`, one of those that the caller looks at, to look again; of others it stays
    /// what they were last said to hold.
    pub fn look<M: IntoIterator<Item = (MetricId, u64)>>(&self, who: MetricId, measure: impl FnOnce() -> M) {
        let looked = self.seen.lock().looked.get(&who).copied();
        if looked.is_some_and(|(at, took)| at.elapsed() < PAUSE.max(took * SELDOM)) {
            return;
        }
        let begun = thread_cpu_time();
        let held: Vec<(MetricId, u64)> = measure().into_iter().collect();
        let mut seen = self.seen.lock();
        seen.holds(held);
        seen.looked.insert(who, (Instant::now(), thread_cpu_time().saturating_sub(begun)));
    }

    /// The load of a metric begins, perhaps not for the first time: until it ends, well or for good, what it held stays its own, and how
    /// much it may take is judged by what it was now.
    pub fn begin_load(&self, metric: MetricId) {
        let mut seen = self.seen.lock();
        if seen.gone.contains(&metric) {
            return;
        }
        let (hundredths, held) = (seen.hundredths(metric), seen.of(metric));
        seen.loading.insert(metric, hundredths);
        if held > 0 {
            seen.promised.insert(metric, held);
        }
        seen.add_up();
    }

    /// Takes note of what one metric holds, once it was loaded.
    pub fn note(&self, metric: MetricId, held: u64) {
        let mut seen = self.seen.lock();
        if !seen.gone.contains(&metric) {
            seen.held.insert(metric, held);
            seen.arrived(metric);
        }
    }

    /// A metric holds nothing for the moment: it is going to be loaded anew.
    pub fn note_emptied(&self, metric: MetricId) {
        self.seen.lock().holds([(metric, 0)]);
    }

    /// Takes note of what is read of one in a shared store.
    pub fn note_followed(&self, metric: MetricId, held: u64) {
        let mut seen = self.seen.lock();
        if !seen.gone.contains(&metric) {
            seen.followed.insert(metric, held);
            seen.arrived(metric);
        }
    }

    /// Takes note of what all but one hold, which is being loaded: what they share with it is divided anew.
    pub fn note_others(&self, loading: MetricId, sizes: Vec<(MetricId, u64)>) {
        let others = sizes.into_iter().filter(|(of, _)| *of != loading);
        self.seen.lock().holds(others);
    }

    /// A metric is held no more.
    pub fn forget(&self, metric: MetricId) {
        self.seen.lock().forget(metric);
    }

    /// What one metric holds, as of the last look.
    #[must_use]
    pub fn held(&self, metric: MetricId) -> u64 {
        self.seen.lock().of(metric)
    }

    /// Why a metric must not count on, as of the last look.
    #[must_use]
    pub fn over(&self, metric: MetricId) -> Option<Quarantine> {
        let seen = self.seen.lock();
        let (held, own) = (seen.all, seen.own(metric));
        over(self.limit, held, own, seen.metrics).then_some(Quarantine::OverMemory { held, share: self.limit })
    }

    /// Why a metric that holds so many bytes while it is loaded must not be loaded any further. What was loaded of it goes, and who holds
    /// nothing of it any more says so ([`Room::note`]).
    #[must_use]
    pub fn refuses(&self, metric: MetricId, own: u64) -> Option<Quarantine> {
        let mut seen = self.seen.lock();
        let others = seen.all - seen.of(metric);
        let promised = seen.promised.get(&metric).copied().unwrap_or(0);
        // Where the load did not begin yet, what there is goes with it.
        let held = if seen.loading.contains_key(&metric) { promised } else { seen.of(metric) };
        let most = (self.limit / 100 * seen.hundredths(metric)).max(others + held);
        let held = others + own;
        (held > most).then(|| {
            seen.arrived(metric);
            Quarantine::OverMemory { held, share: self.limit }
        })
    }

    /// The same before so many bytes of frames are read for it, when it holds `own`.
    #[must_use]
    pub fn refuses_piece(&self, metric: MetricId, own: u64, bytes: u64) -> Option<Quarantine> {
        self.refuses(metric, own.saturating_add(bytes.saturating_sub(self.limit / LEEWAY)))
    }

    /// Whether a metric that stopped may go on, as of the last look; one that is not in memory needs more room, for how large it is is
    /// not known.
    #[must_use]
    pub fn has_room(&self, in_memory: bool) -> bool {
        self.seen.lock().all < self.limit / 100 * if in_memory { NEAR } else { ROOM }
    }

    /// Bytes that state holds, as of the last look, and may hold.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        (self.seen.lock().all, self.limit)
    }
}

fn over(limit: u64, held: u64, own: u64, metrics: usize) -> bool {
    let even = limit / metrics.max(1) as u64;
    held > limit / 100 * OVER || held > limit && own > even / 8 || held > limit / 100 * NEAR && own > even
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
