//! Finds partitions of which nothing comes although the log has more: a client can lose a partition silently, when a leader
//! moves or a connection breaks half.
//!
//! Arithmetic only. What has been fetched may end before the log does and yet be all: where the client cannot tell how far it has
//! come (`holes`), a restart that changes nothing is not repeated for the same end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A partition as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) partition: u32,
    /// Offset before which all was handed over, or holds no record.
    pub(super) next: u64,
    /// Offset after the log's last record.
    pub(super) end: u64,
    /// Whether records are wanted: neither paused nor standing at a gap.
    pub(super) flowing: bool,
}

/// Remembers since when each partition has stood.
#[derive(Debug)]
pub(super) struct Watchdog {
    patience: Duration,
    watched: BTreeMap<u32, Watched>,
}

#[derive(Debug)]
struct Watched {
    next: u64,
    since: Instant,
    /// The log's end for which it was restarted last.
    restarted: Option<u64>,
}

impl Watchdog {
    pub(super) fn new(patience: Duration) -> Watchdog {
        Watchdog { patience, watched: BTreeMap::new() }
    }

    /// The partitions to be restarted now.
    pub(super) fn look(&mut self, now: Instant, partitions: &[Seen]) -> Vec<u32> {
        self.watched.retain(|partition, _| partitions.iter().any(|seen| seen.partition == *partition));
        let mut restart = Vec::new();
        for seen in partitions {
            let fresh = Watched { next: seen.next, since: now, restarted: None };
            let watched = self.watched.entry(seen.partition).or_insert(fresh);
            let behind = seen.flowing && seen.end > seen.next;
            if !behind || watched.next != seen.next {
                *watched = Watched { next: seen.next, since: now, restarted: None };
            } else if now.duration_since(watched.since) >= self.patience && watched.restarted != Some(seen.end) {
                watched.since = now;
                watched.restarted = Some(seen.end);
                restart.push(seen.partition);
            }
        }
        restart
    }

    /// The partitions that were restarted and of which still nothing came.
    pub(super) fn stalled(&self) -> Vec<u32> {
        let stalled = self.watched.iter().filter(|(_, watched)| watched.restarted.is_some());
        stalled.map(|(partition, _)| *partition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDS: Seen = Seen { partition: 3, next: 10, end: 20, flowing: true };

    /// What is restarted at each of these seconds, with a patience of 30.
    fn restarts(looks: &[(u64, Seen)]) -> Vec<u64> {
        let (mut watchdog, start) = (Watchdog::new(Duration::from_secs(30)), Instant::now());
        let mut restarted = Vec::new();
        for (second, seen) in looks {
            if watchdog.look(start + Duration::from_secs(*second), &[*seen]) == [3] {
                assert_eq!(watchdog.stalled(), [3]);
                restarted.push(*second);
            }
        }
        restarted
    }

    #[test]
    fn what_stands_though_there_is_more_is_restarted_once_for_each_end() {
        let grown = Seen { end: 25, ..STANDS };
        assert_eq!(restarts(&[(0, STANDS), (29, STANDS), (30, STANDS), (31, STANDS), (90, STANDS)]), [30]);
        assert_eq!(restarts(&[(0, STANDS), (30, STANDS), (59, grown), (60, grown), (95, grown)]), [30, 60]);
        assert_eq!(restarts(&[(0, STANDS), (20, grown), (30, grown)]), [30], "more to come is no news of it");
    }

    #[test]
    fn what_moves_or_is_paused_or_has_reached_the_end_is_not() {
        let moved = Seen { next: 11, ..STANDS };
        assert_eq!(restarts(&[(0, STANDS), (20, moved), (40, moved), (49, moved)]), [0; 0]);
        let paused = Seen { flowing: false, ..STANDS };
        assert_eq!(restarts(&[(0, STANDS), (20, paused), (40, STANDS), (49, STANDS), (50, STANDS)]), [50]);
        let markers = Seen { next: 20, ..STANDS };
        assert_eq!(restarts(&[(0, STANDS), (20, markers), (60, markers), (900, markers)]), [0; 0]);
        assert_eq!(restarts(&[(0, Seen { end: 10, ..STANDS }), (100, Seen { end: 10, ..STANDS })]), [0; 0]);
    }

    #[test]
    fn what_comes_again_or_is_given_up_is_no_longer_named() {
        let (mut watchdog, start) = (Watchdog::new(Duration::ZERO), Instant::now());
        assert_eq!(watchdog.look(start, &[STANDS]), [3]);
        assert_eq!(watchdog.look(start, &[STANDS, Seen { partition: 4, ..STANDS }]), [4]);
        assert_eq!(watchdog.stalled(), [3, 4]);
        watchdog.look(start, &[Seen { next: 20, ..STANDS }]);
        assert!(watchdog.stalled().is_empty());
        watchdog.look(start, &[Seen { next: 20, end: 30, ..STANDS }]);
        assert_eq!(watchdog.stalled(), [3]);
        watchdog.look(start, &[]);
        assert!(watchdog.stalled().is_empty());
    }
}
