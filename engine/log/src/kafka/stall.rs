//! Finds partitions that deliver nothing although the log has more: a client can lose a partition
//! silently, when a leader moves or one half of a connection breaks.
//!
//! Arithmetic only. All records may have been fetched although the log ends later: where the
//! client's position is not known (`skipped_offsets`), a restart that changes nothing is not
//! repeated for the same end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How far a partition is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionProgress {
    pub(super) partition: u32,
    /// Offsets below it were handed over, or hold no record.
    pub(super) next: u64,
    /// Offset after the log's last record.
    pub(super) end: u64,
    /// Whether records are wanted: it is neither paused nor at a gap.
    pub(super) flowing: bool,
}

/// Remembers since when each partition has not moved.
#[derive(Debug)]
pub(super) struct Watchdog {
    patience: Duration,
    watched: BTreeMap<u32, Watched>,
}

#[derive(Debug)]
struct Watched {
    next: u64,
    since: Instant,
    /// The log's end at its last restart.
    restarted: Option<u64>,
}

impl Watchdog {
    pub(super) fn new(patience: Duration) -> Watchdog {
        Watchdog { patience, watched: BTreeMap::new() }
    }

    /// The partitions to be restarted now.
    pub(super) fn stalled_now(
        &mut self,
        now: Instant,
        partitions: &[PartitionProgress],
    ) -> Vec<u32> {
        self.watched
            .retain(|partition, _| partitions.iter().any(|seen| seen.partition == *partition));
        let mut restart = Vec::new();
        for seen in partitions {
            let fresh = Watched { next: seen.next, since: now, restarted: None };
            let watched = self.watched.entry(seen.partition).or_insert(fresh);
            let behind = seen.flowing && seen.end > seen.next;
            if !behind || watched.next != seen.next {
                *watched = Watched { next: seen.next, since: now, restarted: None };
            } else if now.duration_since(watched.since) >= self.patience
                && watched.restarted != Some(seen.end)
            {
                watched.since = now;
                watched.restarted = Some(seen.end);
                restart.push(seen.partition);
            }
        }
        restart
    }

    /// The partitions that were restarted and still deliver nothing.
    pub(super) fn stalled(&self) -> Vec<u32> {
        let stalled = self.watched.iter().filter(|(_, watched)| watched.restarted.is_some());
        stalled.map(|(partition, _)| *partition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: PartitionProgress =
        PartitionProgress { partition: 3, next: 10, end: 20, flowing: true };

    /// What is restarted at each of these seconds, with a patience of 30.
    fn restarts(looks: &[(u64, PartitionProgress)]) -> Vec<u64> {
        let (mut watchdog, start) = (Watchdog::new(Duration::from_secs(30)), Instant::now());
        let mut restarted = Vec::new();
        for (second, seen) in looks {
            if watchdog.stalled_now(start + Duration::from_secs(*second), &[*seen]) == [3] {
                assert_eq!(watchdog.stalled(), [3]);
                restarted.push(*second);
            }
        }
        restarted
    }

    #[test]
    fn what_does_not_move_though_there_is_more_is_restarted_once_for_each_end() {
        let grown = PartitionProgress { end: 25, ..STALLED };
        assert_eq!(
            restarts(&[(0, STALLED), (29, STALLED), (30, STALLED), (31, STALLED), (90, STALLED)]),
            [30]
        );
        assert_eq!(
            restarts(&[(0, STALLED), (30, STALLED), (59, grown), (60, grown), (95, grown)]),
            [30, 60]
        );
        assert_eq!(
            restarts(&[(0, STALLED), (20, grown), (30, grown)]),
            [30],
            "a later end is not progress"
        );
    }

    #[test]
    fn what_moves_or_is_paused_or_has_reached_the_end_is_not() {
        let moved = PartitionProgress { next: 11, ..STALLED };
        assert_eq!(restarts(&[(0, STALLED), (20, moved), (40, moved), (49, moved)]), [0; 0]);
        let paused = PartitionProgress { flowing: false, ..STALLED };
        assert_eq!(
            restarts(&[(0, STALLED), (20, paused), (40, STALLED), (49, STALLED), (50, STALLED)]),
            [50]
        );
        let markers = PartitionProgress { next: 20, ..STALLED };
        assert_eq!(restarts(&[(0, STALLED), (20, markers), (60, markers), (900, markers)]), [0; 0]);
        assert_eq!(
            restarts(&[
                (0, PartitionProgress { end: 10, ..STALLED }),
                (100, PartitionProgress { end: 10, ..STALLED })
            ]),
            [0; 0]
        );
    }

    #[test]
    fn what_moves_again_or_is_given_up_is_no_longer_stalled() {
        let (mut watchdog, start) = (Watchdog::new(Duration::ZERO), Instant::now());
        assert_eq!(watchdog.stalled_now(start, &[STALLED]), [3]);
        assert_eq!(
            watchdog.stalled_now(start, &[STALLED, PartitionProgress { partition: 4, ..STALLED }]),
            [4]
        );
        assert_eq!(watchdog.stalled(), [3, 4]);
        watchdog.stalled_now(start, &[PartitionProgress { next: 20, ..STALLED }]);
        assert!(watchdog.stalled().is_empty());
        watchdog.stalled_now(start, &[PartitionProgress { next: 20, end: 30, ..STALLED }]);
        assert_eq!(watchdog.stalled(), [3]);
        watchdog.stalled_now(start, &[]);
        assert!(watchdog.stalled().is_empty());
    }
}
