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
const PAUSE: Duration = Duration::from_millis(20);

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
mod tests {
    use super::*;

    const A: MetricId = MetricId(0);
    const B: MetricId = MetricId(1);
    const C: MetricId = MetricId(2);

    #[test]
    fn near_the_end_the_large_stop_then_the_middling_and_at_last_all() {
        for (held, own, metrics, expected) in [
            (840, 800, 3, false),
            (860, 800, 3, true),
            (860, 60, 3, false),
            (1_000, 60, 3, false),
            (1_001, 42, 3, true),
            (1_001, 41, 3, false),
            (1_120, 1, 3, false),
            (1_121, 1, 3, true),
            (900, 900, 1, false),
            (900, 334, 3, true),
        ] {
            assert_eq!(over(1_000, held, own, metrics), expected, "{held} {own} {metrics}");
        }
    }

    #[test]
    fn who_stopped_goes_on_where_there_is_room() {
        let room = Room::new(1_000);
        let see = |bytes: u64| {
            room.seen.lock().looked.clear();
            room.look(A, || [(A, bytes), (B, 10)]);
        };
        assert!(room.has_room(true) && room.over(A).is_none());
        see(900);
        assert!(room.over(A).is_some() && room.over(B).is_none() && !room.has_room(true));
        // What stopped somebody is gone: one in memory needs no more than it holds, one that is not needs some.
        see(780);
        assert!(room.over(A).is_none() && room.has_room(true) && !room.has_room(false));
        see(700);
        assert!(room.has_room(false));
        assert_eq!(room.used(), (710, 1_000));
        // Another lane's metrics count, too, until they are held no more.
        room.look(C, || [(C, 400)]);
        assert_eq!((room.used().0, room.over(A).is_some()), (1_110, true));
        room.forget(C);
        assert_eq!(room.used().0, 710);
        // Nor where somebody looked before it went.
        room.look(MetricId(3), || [(C, 400)]);
        assert_eq!(room.used().0, 710);
    }

    #[test]
    fn what_is_loaded_stops_nobody_else() {
        let room = Room::new(1_000);
        room.note(A, 700);
        // One that comes later finds what there is below the end.
        assert!(room.refuses(B, 150).is_none() && room.refuses(B, 151).is_some());
        // Loaded afresh it may be as large as it was, and as all may be together.
        room.note(B, 240);
        assert!(room.refuses(B, 420).is_none());
        assert!(room.refuses(B, 421).is_some());
        assert_eq!(room.used().0, 940, "what was there before is held on");
        room.note(B, 0);
        // What was counted before a start may be a little too much; once.
        room.expect(C);
        assert!(room.refuses(C, 550).is_none());
        room.note(C, 0);
        assert!(room.refuses(C, 151).is_some());
        room.expect(C);
        assert!(room.refuses(C, 551).is_some() && room.refuses(C, 151).is_some());
    }

    #[test]
    fn what_takes_the_place_of_something_may_be_as_large_and_takes_nobody_elses() {
        let room = Room::new(1_000);
        room.note(A, 500);
        room.note(B, 400);
        room.hand_over(B, C, room.held(B));
        // It is not loaded yet, and nobody else may take its place.
        assert_eq!((room.used().0, room.has_room(true), room.held(B)), (900, false, 0));
        // A look at the lane, where what it was lies for a moment yet, changes nothing of that.
        room.look(A, || [(A, 500), (B, 400), (C, 0)]);
        room.note_followed(B, 400);
        assert_eq!(room.used().0, 900);
        // Nor does a lane that is slow, and loads what it was only now.
        room.note_others(A, vec![(A, 500), (B, 400)]);
        room.note(B, 400);
        room.note_emptied(B);
        assert_eq!((room.used().0, room.held(B), room.held(C)), (900, 0, 400));
        assert!(room.refuses(C, 400).is_none());
        room.note(C, 380);
        assert_eq!(room.used().0, 880);
    }

    #[test]
    fn a_piece_is_read_only_where_there_is_room_for_it() {
        let room = Room::new(1_600);
        assert_eq!(room.piece(), 100);
        room.note(A, 1_000);
        // Up to an eighth of the share it does not matter what is read: it may take less once it is folded.
        assert!(room.refuses_piece(B, 0, 200).is_none() && room.refuses_piece(B, 300, 200).is_none());
        assert!(room.refuses_piece(B, 0, 560).is_none() && room.refuses_piece(B, 0, 561).is_some());
        assert!(room.refuses_piece(B, 361, 10).is_some(), "it holds too much already");
    }

    #[test]
    fn a_load_is_judged_by_what_the_metric_was_when_it_began() {
        let room = Room::new(1_000);
        room.note(A, 700);
        // A lane that looks meanwhile sees half of it: it is a newcomer all the same.
        room.begin_load(B);
        room.look(A, || [(A, 700), (B, 100)]);
        assert!(room.refuses(B, 150).is_none() && room.refuses(B, 151).is_some());
        room.note(B, 240);
        // The store fails when half of it is loaded: what it held is still its own when the load is repeated.
        room.begin_load(B);
        room.note_emptied(B);
        assert_eq!((room.used().0, room.has_room(true)), (940, false));
        room.begin_load(B);
        assert!(room.refuses(B, 420).is_none() && room.refuses(B, 421).is_some());
        // It stops for good: then it is one that comes later.
        room.note_emptied(B);
        room.begin_load(B);
        assert!(room.refuses(B, 150).is_none() && room.refuses(B, 151).is_some());
        room.forget(B);
        room.begin_load(B);
        assert_eq!(room.used().0, 700, "it is gone");
    }

    #[test]
    fn a_look_that_waited_long_is_repeated_soon() {
        let room = Room::new(1_000);
        room.look(A, || {
            // As on a machine where others use the processors.
            let (_keep, none) = std::sync::mpsc::channel::<()>();
            let _ = none.recv_timeout(Duration::from_millis(200));
            [(A, 1)]
        });
        let (at, took) = room.seen.lock().looked[&A];
        assert!(took * SELDOM < Duration::from_secs(1), "{took:?} of the processor's time");
        room.seen.lock().looked.insert(A, (at.checked_sub(Duration::from_secs(1)).expect("it is up longer"), took));
        room.look(A, || [(A, 2)]);
        assert_eq!(room.used().0, 2);
    }

    #[test]
    fn a_look_that_took_long_is_not_repeated_soon() {
        let room = Room::new(1_000);
        room.seen.lock().looked.insert(A, (Instant::now(), Duration::from_secs(1)));
        room.look(A, || -> [(MetricId, u64); 1] { panic!("too soon") });
        room.look(B, || [(B, 1)]);
        assert_eq!(room.used().0, 1);
    }
}
