//! Lanes beside the main one: which metrics get one, release it, or leave it for the main lane.
//!
//! Lanes are few: a metric that is stopped releases its lane, and one that waits says for what.

use super::{Action, WaitsFor};
use crate::engine::lifecycle::snapshot::{
    LaneKind, LaneSnapshot, MainLane, Placement, RevisionSnapshot, Snapshot,
};
use crate::progress::{Halt, Quarantine, RevisionNo};
use std::time::Duration;

/// Lanes that replay history at the same time.
const LANES: usize = 2;

/// The same, including lanes in which a plugin does not return: these make no progress but take
/// memory and threads.
const MOST: usize = 4;

/// A metric joins the main lane when at most so many records are missing: the main lane pauses
/// while they are counted.
const NEAR: u64 = 20_000;

/// How long after a failed attempt the metrics of a lane try to join again.
const JOIN_AGAIN: Duration = Duration::from_secs(2);

/// How long a metric that is stopped by a cause that somebody may remove waits before it counts its
/// history again.
const COUNT_AGAIN: Duration = Duration::from_secs(120);

/// Metrics that are stopped, or whose lane has ended, leave it; lanes that are near the main one
/// join it.
pub(super) fn exits(now: &Snapshot) -> Vec<Action> {
    let mut actions = Vec::new();
    for lane in &now.lanes {
        let why = |no: RevisionNo| {
            now.find(no).and_then(|revision| revision.halt.clone()).or(lane.ended.clone())
        };
        let stopped =
            lane.metrics.iter().filter_map(|(no, _)| Some(Action::LeaveLane(*no, why(*no)?)));
        actions.extend(stopped);
    }
    // The main lane pauses for each, and orders wait meanwhile: one in a pass, who has waited
    // longest.
    let joins = now.lanes_of(LaneKind::Backfill).filter(|lane| may_join(lane, now));
    let next = joins.max_by_key(|lane| lane.tried.unwrap_or(Duration::MAX));
    actions.extend(next.map(|lane| Action::JoinMain(lane.id)));
    actions
}

fn may_join(lane: &LaneSnapshot, now: &Snapshot) -> bool {
    let stopped = |no: RevisionNo| now.find(no).is_some_and(|revision| revision.halt.is_some());
    let missing =
        lane.metrics.iter().filter(|(no, _)| !stopped(*no)).map(|(_, missing)| *missing).max();
    let lately = lane.tried.is_some_and(|ago| ago < JOIN_AGAIN);
    // While no partitions are assigned, it is unknown how much is missing.
    let MainLane { assigned, held } = &now.main;
    let comparable = *assigned && held.iter().all(|partition| lane.held.contains(partition));
    lane.ended.is_none() && missing.is_some_and(|missing| missing <= NEAR) && !lately && comparable
}

/// Metrics that wait get a lane, if one is free; otherwise what they wait for is noted.
pub(super) fn starts(now: &Snapshot) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut start = Vec::new();
    for revision in waiting(now) {
        match (now.is_leaving(&revision.revision), revision.kind()) {
            (true, _) => actions.push(Action::Wait(revision.no, WaitsFor::Release)),
            (false, LaneKind::Beside) => actions.push(Action::StartBeside(revision.no)),
            (false, LaneKind::Backfill) => start.push(revision.no),
        }
    }
    match lanes_taken(now) {
        _ if start.is_empty() => {}
        None => actions.push(Action::StartBackfill(start)),
        Some(busy) => actions.extend(start.into_iter().map(|no| Action::Wait(no, busy.clone()))),
    }
    actions
}

/// Revisions that wait for a lane of their own, and those that released one because of something
/// that may have been fixed by now.
fn waiting(now: &Snapshot) -> impl Iterator<Item = &RevisionSnapshot> {
    let free = now.lanes_of(LaneKind::Backfill).count() < LANES
        && now.waiting_for(LaneKind::Backfill).next().is_none();
    now.revisions().filter(move |revision| match revision.place {
        Placement::Waiting => true,
        Placement::Stopped(since) => {
            free && since >= COUNT_AGAIN && revision.halt.as_ref().is_some_and(may_be_fixed)
        }
        Placement::Main | Placement::Lane | Placement::Leaving => false,
    })
}

/// Whether somebody may have fixed the cause. Not of a failing plugin or a limit: another file or
/// section restarts the metric by itself. Memory has a step of its own.
fn may_be_fixed(halt: &Halt) -> bool {
    !matches!(
        halt,
        Halt::Quarantined(
            Quarantine::Failing(_)
                | Quarantine::OverMaxCells { .. }
                | Quarantine::OverMemory { .. }
        )
    )
}

/// Which metrics hold the lanes that replay history, if none is free.
pub(super) fn lanes_taken(now: &Snapshot) -> Option<WaitsFor> {
    let lanes: Vec<&LaneSnapshot> = now.lanes_of(LaneKind::Backfill).collect();
    let moving = lanes.iter().filter(|lane| !lane.stuck).count();
    if moving < LANES && lanes.len() < MOST {
        return None;
    }
    let metrics = lanes.iter().flat_map(|lane| &lane.metrics);
    let names = metrics.filter_map(|(no, _)| Some(now.find(*no)?.revision.metric.clone()));
    Some(WaitsFor::Lanes(lanes.len(), names.collect()))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        at, failing, halted, id, metric, over_max_cells, over_memory, revision, snapshot,
    };
    use super::super::{Action, Step, WaitsFor, reconcile};
    use crate::engine::lifecycle::snapshot::{
        LaneId, LaneKind, LaneSnapshot, MainLane, Placement, RevisionSnapshot, Snapshot,
    };
    use crate::progress::{Halt, Quarantine, RevisionNo};
    use std::time::Duration;

    fn ended() -> Halt {
        Halt::Quarantined(Quarantine::Ended("its lane ended".into()))
    }

    fn lane(id: u32, no: u32, missing: u64) -> LaneSnapshot {
        LaneSnapshot {
            id: LaneId(id),
            kind: LaneKind::Backfill,
            metrics: vec![(RevisionNo(no), missing)],
            held: vec![0, 1],
            stuck: false,
            ended: None,
            tried: None,
        }
    }

    fn served(revisions: impl IntoIterator<Item = RevisionSnapshot>) -> Snapshot {
        let named = revisions.into_iter().map(|revision| (format!("m{}", revision.no.0), revision));
        let named = named.map(|(name, mut revision)| {
            revision.revision.metric.clone_from(&name);
            (name, metric(revision))
        });
        let metrics = named.collect();
        let main = MainLane { assigned: true, held: vec![0] };
        Snapshot { metrics, main, ..Snapshot::default() }
    }

    fn in_lane(no: u32) -> RevisionSnapshot {
        at(Placement::Lane, revision(no, u64::from(no), 0))
    }

    fn waits(no: u32) -> RevisionSnapshot {
        at(Placement::Waiting, revision(no, u64::from(no), 0))
    }

    fn stopped(no: u32, seconds: u64) -> RevisionSnapshot {
        at(Placement::Stopped(Duration::from_secs(seconds)), revision(no, u64::from(no), 0))
    }

    fn exits(change: impl FnOnce(&mut Snapshot)) -> Vec<Action> {
        let mut now = Snapshot { lanes: vec![lane(7, 1, 20_000)], ..served([in_lane(1)]) };
        change(&mut now);
        reconcile(Step::LaneExits, &now)
    }

    #[test]
    fn a_lane_joins_the_main_one_when_it_is_near_and_comparable() {
        let join = || vec![Action::JoinMain(LaneId(7))];
        let rows: [(&str, fn(&mut Snapshot), Vec<Action>); 8] = [
            ("20,000 records are missing", |_| {}, join()),
            ("one more is missing", |now| now.lanes[0].metrics[0].1 = 20_001, vec![]),
            ("the main lane has no partitions yet", |now| now.main.assigned = false, vec![]),
            (
                "the main lane holds a partition that this one does not",
                |now| now.main.held = vec![0, 2],
                vec![],
            ),
            (
                "it tried just now",
                |now| now.lanes[0].tried = Some(Duration::from_millis(1_999)),
                vec![],
            ),
            (
                "it tried two seconds ago",
                |now| now.lanes[0].tried = Some(Duration::from_secs(2)),
                join(),
            ),
            ("it never joins", |now| now.lanes[0].kind = LaneKind::Beside, vec![]),
            ("nothing is left in it", |now| now.lanes[0].metrics.clear(), vec![]),
        ];
        for (what, change, expected) in rows {
            assert_eq!(exits(change), expected, "{what}");
        }
    }

    #[test]
    fn one_lane_joins_at_a_time_who_has_waited_longest() {
        let joins = |seconds: [Option<u64>; 2]| {
            exits(|now| {
                now.lanes[0].tried = seconds[0].map(Duration::from_secs);
                let tried = seconds[1].map(Duration::from_secs);
                now.lanes.push(LaneSnapshot { tried, ..lane(8, 1, 0) });
            })
        };
        assert_eq!(joins([Some(3), Some(2)]), [Action::JoinMain(LaneId(7))]);
        assert_eq!(joins([Some(2), Some(3)]), [Action::JoinMain(LaneId(8))]);
        assert_eq!(joins([Some(3_600), None]), [Action::JoinMain(LaneId(8))]);
        assert_eq!(joins([Some(3), Some(1)]), [Action::JoinMain(LaneId(7))], "8 tried just now");
    }

    #[test]
    fn what_is_stopped_gives_its_lane_up_and_the_others_of_the_lane_join() {
        let failing = || failing(in_lane(2));
        let why = failing().halt.expect("it is stopped");
        let left = vec![Action::LeaveLane(RevisionNo(2), why), Action::JoinMain(LaneId(7))];
        let both = |now: &mut Snapshot| {
            now.metrics.extend(served([failing()]).metrics);
            now.lanes[0].metrics.push((RevisionNo(2), u64::MAX));
        };
        assert_eq!(exits(both), left, "what it misses does not hold up the others");
        let gone = |kind| {
            exits(|now| {
                now.lanes[0].kind = kind;
                now.lanes[0].ended = Some(ended());
            })
        };
        for kind in [LaneKind::Backfill, LaneKind::Beside] {
            assert_eq!(gone(kind), [Action::LeaveLane(RevisionNo(1), ended())], "its lane ended");
        }
    }

    fn starts(
        lanes: Vec<LaneSnapshot>,
        revisions: impl IntoIterator<Item = RevisionSnapshot>,
    ) -> Vec<Action> {
        reconcile(Step::LaneStarts, &Snapshot { lanes, ..served(revisions) })
    }

    fn start(nos: &[u32]) -> Vec<Action> {
        vec![Action::StartBackfill(nos.iter().map(|no| RevisionNo(*no)).collect())]
    }

    #[test]
    fn what_waits_gets_a_lane_if_one_is_free() {
        assert_eq!(starts(vec![], [in_lane(9)]), [], "nothing waits");
        assert_eq!(starts(vec![], [waits(1), waits(2)]), start(&[1, 2]), "together, in one lane");
        assert_eq!(
            starts(vec![lane(1, 8, 0)], [waits(1), in_lane(8)]),
            start(&[1]),
            "one of two lanes is taken"
        );
        let busy = |lanes| {
            vec![Action::Wait(
                RevisionNo(1),
                WaitsFor::Lanes(lanes, vec!["m8".into(), "m9".into()]),
            )]
        };
        let two = vec![lane(1, 8, 0), lane(2, 9, 0)];
        assert_eq!(starts(two.clone(), [waits(1), in_lane(8), in_lane(9)]), busy(2));
        let stuck = |lane| LaneSnapshot { stuck: true, ..lane };
        let one_stuck = vec![stuck(two[0].clone()), two[1].clone()];
        assert_eq!(
            starts(one_stuck, [waits(1), in_lane(8), in_lane(9)]),
            start(&[1]),
            "one makes no progress"
        );
        let four: Vec<LaneSnapshot> =
            (1..5).map(|id| stuck(lane(id, if id < 3 { 8 } else { 9 }, 0))).collect();
        let names = ["m8", "m8", "m9", "m9"].map(str::to_owned).to_vec();
        let taken = vec![Action::Wait(RevisionNo(1), WaitsFor::Lanes(4, names))];
        assert_eq!(
            starts(four, [waits(1), in_lane(8), in_lane(9)]),
            taken,
            "more than four are never started"
        );
        let empty = LaneSnapshot { metrics: vec![], ..lane(2, 9, 0) };
        assert_eq!(
            starts(vec![lane(1, 8, 0), empty], [waits(1), in_lane(8)]),
            start(&[1]),
            "one has nothing left"
        );
    }

    #[test]
    fn a_revision_that_a_lane_still_counts_waits_and_one_that_reads_otherwise_has_a_lane_for_itself()
     {
        let leaving = snapshot([("orders", metric(waits(1)))]);
        let leaving = Snapshot { leaving: vec![id(1)], ..leaving };
        let actions = reconcile(Step::LaneStarts, &leaving);
        assert_eq!(actions, [Action::Wait(RevisionNo(1), WaitsFor::Release)]);
        let beside = RevisionSnapshot { reads_otherwise: true, ..waits(1) };
        let two = vec![lane(1, 8, 0), lane(2, 9, 0)];
        assert_eq!(
            starts(two, [beside, in_lane(8), in_lane(9)]),
            [Action::StartBeside(RevisionNo(1))]
        );
    }

    #[test]
    fn what_may_have_been_fixed_outside_counts_again_after_a_while() {
        let ended = |seconds| RevisionSnapshot { halt: Some(ended()), ..stopped(1, seconds) };
        let gap = |seconds| {
            let halt = Halt::BeyondEnd { partition: 0, next: 2, end: 1 };
            RevisionSnapshot { halt: Some(halt), ..stopped(1, seconds) }
        };
        assert_eq!(starts(vec![], [ended(120)]), start(&[1]));
        assert_eq!(starts(vec![], [gap(120)]), start(&[1]));
        assert_eq!(starts(vec![], [ended(119)]), []);
        assert_eq!(
            starts(vec![lane(1, 8, 0), lane(2, 9, 0)], [ended(120), in_lane(8), in_lane(9)]),
            [],
            "no lane"
        );
        assert_eq!(starts(vec![], [ended(120), waits(2)]), start(&[2]), "what waits goes first");
        let beside = RevisionSnapshot { reads_otherwise: true, ..ended(120) };
        assert_eq!(starts(vec![], [beside]), [Action::StartBeside(RevisionNo(1))]);
        for never in [
            failing(stopped(1, 9_999)),
            over_max_cells(stopped(1, 9_999)),
            over_memory(stopped(1, 9_999)),
        ] {
            assert_eq!(starts(vec![], [never.clone()]), [], "{:?}", never.halt);
        }
        let ended =
            halted(Quarantine::Ended("x".into()), at(Placement::Leaving, revision(1, 1, 0)));
        assert_eq!(starts(vec![], [ended]), [], "its lane has not released it");
    }
}
