//! Revisions that stopped for lack of memory: which one is restarted from where it is stored, and
//! when.
//!
//! If the stored state of one did not fit, it is tried at growing intervals, or once others have
//! freed much memory. `pipeline::memory_share` decides which revisions stop, and why.

use super::Action;
use super::lanes::lanes_taken;
use crate::engine::lifecycle::snapshot::{LaneKind, MemorySnapshot, RevisionSnapshot, Snapshot};
use std::time::Duration;

/// The first interval between two attempts.
const AGAIN: Duration = Duration::from_secs(60);

/// The longest interval.
const AGAIN_AT_MOST: Duration = Duration::from_secs(3_600);

/// Restarts one of them, if there is memory for it.
pub(super) fn restarts(now: &Snapshot) -> Vec<Action> {
    // A restart drops what is in memory. While a restarted revision would only wait for a lane, it
    // is better left answering.
    let waits = now.waiting_for(LaneKind::Backfill).next().is_some();
    if waits || lanes_taken(now).is_some() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    for starved in now.revisions().filter(|revision| revision.is_over_memory()) {
        let restart = may_restart(starved, now);
        if starved.tried.is_none() || restart {
            let pause = starved
                .tried
                .map_or(AGAIN, |tried| tried.pause.saturating_mul(2).min(AGAIN_AT_MOST));
            actions.push(Action::NoteTry(starved.revision.clone(), pause));
        }
        if restart {
            actions.push(Action::Restart(starved.no));
            break;
        }
    }
    actions
}

fn may_restart(starved: &RevisionSnapshot, now: &Snapshot) -> bool {
    let MemorySnapshot { held, limit, has_room, has_room_to_load } = now.memory;
    let is_due = match starved.tried {
        Some(tried) => tried.ago >= tried.pause || held.saturating_add(limit / 10) < tried.held,
        // State that was too large to load is not tried again at once.
        None => starved.in_memory,
    };
    let has_room = if starved.in_memory { has_room } else { has_room_to_load };
    // A revision that is not in memory takes an unknown amount: one of them at a time.
    is_due && has_room && (starved.in_memory || !is_any_on_its_way(now))
}

/// Whether a restarted revision has not joined the main lane yet, or one that reads events
/// otherwise waits.
fn is_any_on_its_way(now: &Snapshot) -> bool {
    let mut counted = now.lanes_of(LaneKind::Backfill).flat_map(|lane| &lane.metrics);
    let was_tried = |no| now.find(no).is_some_and(|revision| revision.tried.is_some());
    now.waiting_for(LaneKind::Beside).next().is_some() || counted.any(|(no, _)| was_tried(*no))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{at, id, metric, over_memory, revision, snapshot};
    use super::super::{Action, Step, reconcile};
    use crate::engine::lifecycle::snapshot::{
        LaneId, LaneKind, LaneSnapshot, MemorySnapshot, Placement, RevisionSnapshot, Snapshot,
        Tried,
    };
    use crate::progress::RevisionNo;
    use std::time::Duration;

    fn tried(ago: u64, pause: u64, held: u64) -> Option<Tried> {
        Some(Tried { ago: Duration::from_secs(ago), pause: Duration::from_secs(pause), held })
    }

    fn starved(no: u32) -> RevisionSnapshot {
        over_memory(at(Placement::Stopped(Duration::ZERO), revision(no, u64::from(no), 0)))
    }

    fn loaded(no: u32) -> RevisionSnapshot {
        RevisionSnapshot { in_memory: true, ..starved(no) }
    }

    fn roomy(metrics: impl IntoIterator<Item = (&'static str, RevisionSnapshot)>) -> Snapshot {
        let memory =
            MemorySnapshot { held: 500, limit: 1_000, has_room: true, has_room_to_load: true };
        let metrics = metrics.into_iter().map(|(name, revision)| (name, metric(revision)));
        Snapshot { memory, ..snapshot(metrics) }
    }

    fn decide(now: &Snapshot) -> Vec<Action> {
        reconcile(Step::Memory, now)
    }

    fn restart(no: u32, pause: u64) -> Vec<Action> {
        vec![
            Action::NoteTry(id(u64::from(no)), Duration::from_secs(pause)),
            Action::Restart(RevisionNo(no)),
        ]
    }

    fn only_noted(no: u32) -> Vec<Action> {
        vec![Action::NoteTry(id(u64::from(no)), Duration::from_secs(60))]
    }

    #[test]
    fn one_that_stopped_is_restarted_when_it_is_due_and_there_is_room() {
        let with = |tried, revision| RevisionSnapshot { tried, ..revision };
        let rows: Vec<(&str, RevisionSnapshot, Vec<Action>)> = vec![
            ("it counts", revision(1, 1, 0), vec![]),
            ("in memory, never tried", loaded(1), restart(1, 60)),
            ("did not fit, never tried", starved(1), only_noted(1)),
            ("tried not long ago", with(tried(59, 60, 500), starved(1)), vec![]),
            (
                "tried long ago: the next pause is longer",
                with(tried(60, 60, 500), starved(1)),
                restart(1, 120),
            ),
            ("a pause has a bound", with(tried(3_000, 3_000, 500), starved(1)), restart(1, 3_600)),
            (
                "others have given a tenth back, not more",
                with(tried(1, 60, 600), starved(1)),
                vec![],
            ),
            (
                "others have given more than a tenth back",
                with(tried(1, 60, 601), starved(1)),
                restart(1, 120),
            ),
        ];
        for (what, revision, expected) in rows {
            assert_eq!(decide(&roomy([("a", revision)])), expected, "{what}");
        }
    }

    #[test]
    fn without_room_nothing_is_restarted() {
        let mut now = roomy([("a", loaded(1))]);
        now.memory.has_room = false;
        assert_eq!(decide(&now), only_noted(1));
        let mut now = roomy([("a", RevisionSnapshot { tried: tried(99, 60, 500), ..starved(1) })]);
        now.memory.has_room_to_load = false;
        assert_eq!(decide(&now), []);
    }

    #[test]
    fn one_is_restarted_at_a_time() {
        assert_eq!(decide(&roomy([("a", loaded(1)), ("b", loaded(2))])), restart(1, 60));
        let first: Vec<Action> = only_noted(1).into_iter().chain(restart(2, 60)).collect();
        assert_eq!(
            decide(&roomy([("a", starved(1)), ("b", loaded(2))])),
            first,
            "one that is not due delays no other"
        );
    }

    #[test]
    fn of_those_whose_size_is_not_known_one_is_on_its_way() {
        let due = || RevisionSnapshot { tried: tried(60, 60, 500), ..starved(1) };
        let on_its_way = |tried| {
            let mut now = roomy([
                ("a", due()),
                ("b", at(Placement::Lane, RevisionSnapshot { tried, ..revision(2, 2, 0) })),
            ]);
            now.lanes.push(LaneSnapshot {
                id: LaneId(1),
                kind: LaneKind::Backfill,
                metrics: vec![(RevisionNo(2), 9)],
                held: vec![],
                stuck: false,
                ended: None,
                tried: None,
            });
            now
        };
        assert_eq!(decide(&on_its_way(tried(1, 60, 0))), []);
        assert_eq!(
            decide(&on_its_way(None)),
            restart(1, 120),
            "that one was not restarted for lack of memory"
        );
        let beside =
            RevisionSnapshot { reads_otherwise: true, ..at(Placement::Waiting, revision(2, 2, 0)) };
        assert_eq!(decide(&roomy([("a", due()), ("b", beside)])), []);
    }

    #[test]
    fn it_answers_for_as_long_as_it_would_only_wait_for_a_lane() {
        assert_eq!(
            decide(&roomy([("a", loaded(1)), ("b", at(Placement::Waiting, revision(2, 2, 0)))])),
            []
        );
    }
}
