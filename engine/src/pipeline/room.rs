//! How much of its share of memory state takes, and which metrics must not take more.
//!
//! While there is plenty, every metric counts on. Near the end those stop that hold more than an even part each; at the end all
//! do. Who stops keeps what it has counted, exactly, and is let go on by `engine/life.rs` when there is room. Nothing of this is
//! stored: it is a matter of this process alone.
//!
//! Looking costs time where panes are many, so it is done as often as costs at most some hundredths of it.

use crate::progress::Quarantine;
use crate::state::MetricId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Hundredths of the share from which on metrics stop that hold more than an even part.
const NEAR: u64 = 85;

/// Hundredths below which metrics that stopped go on.
const ROOM: u64 = 75;

/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of frames that are loaded between two looks at what they take in memory.
pub(super) const LOOKED_AT: usize = 4 << 20;

/// How many times as long as the last look took the next is waited for.
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
    /// When each looked last, and how long that took.
    looked: BTreeMap<MetricId, (Instant, Duration)>,
    held: BTreeMap<MetricId, u64>,
}

impl Room {
    /// A share of so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Room {
        Room { limit, seen: Mutex::default() }
    }

    /// Takes note of what metrics hold, if it is time for `who`, one of those that the caller looks at, to look again; of others it stays
    /// what they were last said to hold.
    pub fn look<M: IntoIterator<Item = (MetricId, u64)>>(&self, who: MetricId, measure: impl FnOnce() -> M) {
        let looked = self.seen.lock().looked.get(&who).copied();
        if looked.is_some_and(|(at, took)| at.elapsed() < PAUSE.max(took * SELDOM)) {
            return;
        }
        let begun = Instant::now();
        let held: Vec<(MetricId, u64)> = measure().into_iter().collect();
        let mut seen = self.seen.lock();
        seen.held.extend(held);
        seen.looked.insert(who, (Instant::now(), begun.elapsed()));
    }

    /// Takes note of what one metric holds, once it was loaded.
    pub fn note(&self, metric: MetricId, held: u64) {
        self.seen.lock().held.insert(metric, held);
    }

    /// A metric is held no more.
    pub fn forget(&self, metric: MetricId) {
        let mut seen = self.seen.lock();
        seen.held.remove(&metric);
        seen.looked.remove(&metric);
    }

    /// Why a metric must not count on, as of the last look.
    #[must_use]
    pub fn over(&self, metric: MetricId) -> Option<Quarantine> {
        let seen = self.seen.lock();
        let (held, own) = (seen.held.values().sum(), seen.held.get(&metric).copied().unwrap_or(0));
        over(self.limit, held, own, seen.held.values().filter(|held| **held > 0).count())
            .then_some(Quarantine::OverMemory { held, share: self.limit })
    }

    /// Why a metric that holds so many bytes while it is loaded must not be loaded any further: what was counted before fits, but
    /// for some that came since the last look.
    #[must_use]
    pub fn refuses(&self, metric: MetricId, own: u64) -> Option<Quarantine> {
        let seen = self.seen.lock();
        let held = own + seen.held.iter().filter(|(of, _)| **of != metric).map(|(_, held)| held).sum::<u64>();
        (held > self.limit.saturating_add(self.limit / 4)).then_some(Quarantine::OverMemory { held, share: self.limit })
    }

    /// Whether metrics that stopped may go on, as of the last look.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.seen.lock().held.values().sum::<u64>() < self.limit / 100 * ROOM
    }

    /// Bytes that state holds, as of the last look, and may hold.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        (self.seen.lock().held.values().sum(), self.limit)
    }
}

fn over(limit: u64, held: u64, own: u64, metrics: usize) -> bool {
    held > limit || held > limit / 100 * NEAR && own > limit / metrics.max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_end_the_large_stop_and_at_the_end_all() {
        for (held, own, metrics, expected) in [
            (840, 800, 3, false),
            (860, 800, 3, true),
            (860, 60, 3, false),
            (1_000, 60, 3, false),
            (1_001, 1, 3, true),
            (900, 900, 1, false),
            (900, 334, 3, true),
        ] {
            assert_eq!(over(1_000, held, own, metrics), expected, "{held} {own} {metrics}");
        }
    }

    #[test]
    fn who_stopped_goes_on_only_where_there_is_room_for_a_while() {
        let room = Room::new(1_000);
        let see = |bytes: u64| {
            room.seen.lock().looked.clear();
            room.look(MetricId(0), || [(MetricId(0), bytes), (MetricId(1), 10)]);
        };
        assert!(room.has_room() && room.over(MetricId(0)).is_none());
        see(900);
        assert!(room.over(MetricId(0)).is_some() && room.over(MetricId(1)).is_none() && !room.has_room());
        see(780);
        assert!(room.over(MetricId(0)).is_none() && !room.has_room());
        see(700);
        assert!(room.has_room());
        assert_eq!(room.used(), (710, 1_000));
        assert!(room.refuses(MetricId(0), 1_240).is_none() && room.refuses(MetricId(0), 1_241).is_some());
        // Another lane's metrics count, too, until they are held no more.
        room.look(MetricId(2), || [(MetricId(2), 400)]);
        assert_eq!((room.used().0, room.over(MetricId(0)).is_some()), (1_110, true));
        room.forget(MetricId(2));
        assert_eq!(room.used().0, 710);
    }

    #[test]
    fn a_look_that_took_long_is_not_repeated_soon() {
        let room = Room::new(1_000);
        room.look(MetricId(0), || [(MetricId(0), 1)]);
        room.look(MetricId(0), || -> [(MetricId, u64); 1] { panic!("too soon") });
        assert_eq!(room.used().0, 1);
    }
}
