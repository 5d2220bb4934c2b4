//! Two revisions of a metric: when the newer one answers, why it does not yet, and when the
//! previous one no longer receives events.
//!
//! A newer revision that lacks events which the answering one has is not promoted by itself: it is
//! held back, with the reason, until a person promotes it.

use super::Action;
use crate::engine::lifecycle::snapshot::{
    CountedSnapshot, LoadState, MetricSnapshot, NewerSnapshot, Snapshot,
};
use crate::pipeline::Coverage;

/// Why a newer revision is not promoted by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine::lifecycle) enum HeldBack {
    /// Its section requires it, or it answered before a rollback.
    WaitsForPerson,
    /// Its code failed on this many events.
    Failed(u64),
    /// The answering revision could not be loaded.
    AnsweringNotLoaded,
    /// Its history is shorter; what it lacks.
    Shorter(String),
}

impl HeldBack {
    /// For people: the reason, and what to do.
    pub(in crate::engine::lifecycle) fn describe(&self, metric: &str) -> String {
        let promote = format!("let it answer all the same: tally plugin promote {metric}");
        match self {
            HeldBack::WaitsForPerson => {
                format!("it waits for a person to promote it: tally plugin promote {metric}")
            }
            HeldBack::Failed(failed) => format!(
                "its code failed on {failed} events, which are in none of its numbers: fix the \
                 plugin and raise its `revision`, or {promote}"
            ),
            HeldBack::AnsweringNotLoaded => {
                format!(
                    "the answering revision could not be loaded, so it is unknown what this one \
                     lacks: {promote}"
                )
            }
            HeldBack::Shorter(lacks) => {
                format!(
                    "its history is shorter than that of the revision that answers ({lacks}): \
                     {promote}"
                )
            }
        }
    }
}

/// Promotes newer revisions that have counted their history and lack nothing, and releases previous
/// ones whose time is over.
pub(super) fn turns(now: &Snapshot) -> Vec<Action> {
    now.metrics
        .iter()
        .flat_map(|(name, metric)| {
            let turn = newer_turn(name, metric);
            let is_over = metric.previous.as_ref().is_some_and(|previous| previous.left.is_zero());
            // A promotion releases the previous one by itself, and makes another.
            let release = is_over && !matches!(turn, Some(Action::Promote(_)));
            turn.into_iter().chain(release.then(|| Action::ReleasePrevious(name.clone())))
        })
        .collect()
}

fn newer_turn(name: &str, metric: &MetricSnapshot) -> Option<Action> {
    let newer = metric.newer.as_ref()?;
    let (counted, answering) =
        (newer.version.counted.as_ref()?, metric.answering.counted.as_ref()?);
    if [counted, answering].iter().any(|counted| counted.load == LoadState::Loading) {
        return None;
    }
    let counts = newer.version.is_ready();
    let ready = counts
        && counted.is_whole
        && newer.goal.as_ref().is_some_and(|goal| counted.position.reaches(goal));
    // It may lack partitions of other engines for as long as they do not count it: then it is never
    // ready.
    let done = ready || counts && newer.goal.is_some() && counted.shared;
    let held = held_back(newer, counted, answering, done);
    if ready && held.is_none() {
        return Some(Action::Promote(name.to_owned()));
    }
    Some(Action::NoteNewer {
        metric: name.to_owned(),
        goal: answering.position.clone(),
        ready,
        held,
    })
}

/// Why the newer revision is not promoted by itself. What its history lacks is known once it is
/// `done` counting it.
fn held_back(
    newer: &NewerSnapshot,
    counted: &CountedSnapshot,
    answering: &CountedSnapshot,
    done: bool,
) -> Option<HeldBack> {
    if newer.wish.waits {
        return Some(HeldBack::WaitsForPerson);
    }
    let failed = Coverage::failed(&counted.coverages);
    if failed > newer.wish.accepted.unwrap_or(0) {
        return Some(HeldBack::Failed(failed));
    }
    if newer.wish.accepted.is_some() || !done {
        return None;
    }
    if answering.load == LoadState::Refused {
        return Some(HeldBack::AnsweringNotLoaded);
    }
    Coverage::lacks(&counted.coverages, &answering.coverages, &answering.position)
        .map(HeldBack::Shorter)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{counted, failing, metric, newer, previous, revision, snapshot};
    use super::super::{Action, Step, reconcile};
    use super::HeldBack;
    use crate::engine::catalog::PromotionWish;
    use crate::engine::lifecycle::snapshot::{
        CountedSnapshot, LoadState, MetricSnapshot, NewerSnapshot, Placement, RevisionSnapshot,
    };
    use crate::event::Position;
    use crate::pipeline::Coverage;

    const NAME: &str = "orders";

    fn decide(metric: MetricSnapshot) -> Vec<Action> {
        reconcile(Step::Versions, &snapshot([(NAME, metric)]))
    }

    fn upto(offset: u64) -> Position {
        Position([(0, offset)].into())
    }

    fn with_coverage(coverage: Coverage, mut revision: RevisionSnapshot) -> RevisionSnapshot {
        revision
            .counted
            .iter_mut()
            .for_each(|counted| drop(counted.coverages.insert(0, coverage.clone())));
        revision
    }

    fn note(ready: bool, held: Option<HeldBack>) -> Action {
        Action::NoteNewer { metric: NAME.into(), goal: upto(100), ready, held }
    }

    /// The one that answers has counted up to offset 100, from the start; this one too.
    struct Row {
        wish: PromotionWish,
        goal: Option<u64>,
        start: u64,
        failed: u64,
        change: fn(MetricSnapshot) -> MetricSnapshot,
    }

    impl Default for Row {
        fn default() -> Row {
            Row {
                wish: PromotionWish::default(),
                goal: Some(90),
                start: 0,
                failed: 0,
                change: |metric| metric,
            }
        }
    }

    impl Row {
        fn decide(self) -> Vec<Action> {
            let coverage =
                Coverage { start: self.start, failed: self.failed, ..Coverage::default() };
            let version = with_coverage(coverage, counted(100, revision(2, 0xB, 20)));
            let newer =
                NewerSnapshot { wish: self.wish, goal: self.goal.map(upto), ..newer(version) };
            let answering = with_coverage(Coverage::default(), counted(100, revision(1, 0xA, 10)));
            decide((self.change)(MetricSnapshot { newer: Some(newer), ..metric(answering) }))
        }
    }

    fn change_newer(
        mut metric: MetricSnapshot,
        change: fn(&mut RevisionSnapshot),
    ) -> MetricSnapshot {
        metric.newer.iter_mut().for_each(|newer| change(&mut newer.version));
        metric
    }

    fn change_counted(revision: &mut RevisionSnapshot, change: fn(&mut CountedSnapshot)) {
        revision.counted.iter_mut().for_each(change);
    }

    fn change_answering(
        mut metric: MetricSnapshot,
        change: fn(&mut CountedSnapshot),
    ) -> MetricSnapshot {
        change_counted(&mut metric.answering, change);
        metric
    }

    fn check(rows: Vec<(&str, Row, Vec<Action>)>) {
        for (what, row, expected) in rows {
            assert_eq!(row.decide(), expected, "{what}");
        }
    }

    fn promote() -> Vec<Action> {
        vec![Action::Promote(NAME.into())]
    }

    fn shorter() -> Option<HeldBack> {
        Some(HeldBack::Shorter("partition 0 from offset 7 on, not from 0".into()))
    }

    #[test]
    fn a_newer_revision_answers_once_it_has_counted_as_far() {
        let lane = |metric| change_newer(metric, |version| version.place = Placement::Lane);
        let stopped = |metric| change_newer(metric, |version| *version = failing(version.clone()));
        let partial = |metric| {
            change_newer(metric, |version| change_counted(version, |seen| seen.is_whole = false))
        };
        check(vec![
            ("has counted as far, lacks nothing", Row::default(), promote()),
            (
                "first pass: no goal yet",
                Row { goal: None, ..Row::default() },
                vec![note(false, None)],
            ),
            (
                "has not reached the goal",
                Row { goal: Some(101), ..Row::default() },
                vec![note(false, None)],
            ),
            ("it is stopped", Row { change: stopped, ..Row::default() }, vec![note(false, None)]),
            (
                "the log held more than it has counted",
                Row { change: partial, ..Row::default() },
                vec![note(false, None)],
            ),
            (
                "it still replays history",
                Row { change: lane, ..Row::default() },
                vec![note(false, None)],
            ),
        ]);
    }

    #[test]
    fn a_newer_revision_that_lacks_events_is_held_back_until_a_person_accepts_it() {
        let waits = PromotionWish { waits: true, accepted: None };
        let accepted = |failed| PromotionWish { waits: false, accepted: Some(failed) };
        let held = |ready, why| vec![note(ready, Some(why))];
        let failed = |failed| Row { failed, ..Row::default() };
        let short = || Row { start: 7, ..Row::default() };
        check(vec![
            (
                "a person has to promote it",
                Row { wish: waits, ..Row::default() },
                held(true, HeldBack::WaitsForPerson),
            ),
            ("its code failed on events", failed(3), held(true, HeldBack::Failed(3))),
            (
                "before it has counted all",
                Row { goal: None, ..failed(3) },
                held(false, HeldBack::Failed(3)),
            ),
            (
                "so many failed events are accepted",
                Row { wish: accepted(3), ..failed(3) },
                promote(),
            ),
            (
                "more have failed since",
                Row { wish: accepted(3), ..failed(4) },
                held(true, HeldBack::Failed(4)),
            ),
            ("its history is shorter", short(), vec![note(true, shorter())]),
            (
                "unknown before it has counted all",
                Row { goal: None, ..short() },
                vec![note(false, None)],
            ),
            ("a shorter history is accepted", Row { wish: accepted(0), ..short() }, promote()),
        ]);
    }

    #[test]
    fn what_is_not_known_yet_is_not_judged() {
        let unknown = |metric| {
            change_newer(metric, |version| {
                change_counted(version, |seen| seen.load = LoadState::Loading)
            })
        };
        let answering_unknown =
            |metric| change_answering(metric, |seen| seen.load = LoadState::Loading);
        let answering_refused =
            |metric| change_answering(metric, |seen| seen.load = LoadState::Refused);
        let shared = |metric| {
            change_newer(metric, |version| change_counted(version, |seen| seen.shared = true))
        };
        check(vec![
            ("what it has counted", Row { change: unknown, ..Row::default() }, vec![]),
            (
                "what the one that answers has counted",
                Row { change: answering_unknown, ..Row::default() },
                vec![],
            ),
            (
                "there was no memory to load the one that answers",
                Row { change: answering_refused, ..Row::default() },
                vec![note(true, Some(HeldBack::AnsweringNotLoaded))],
            ),
            (
                "other engines count what it lacks: it is never ready, but done",
                Row { goal: Some(101), start: 7, change: shared, ..Row::default() },
                vec![note(false, shorter())],
            ),
        ]);
    }

    #[test]
    fn the_previous_revision_is_fed_until_its_time_is_over() {
        let fed = |seconds| MetricSnapshot {
            previous: Some(previous(revision(3, 0xC, 30), seconds)),
            ..metric(revision(1, 0xA, 10))
        };
        assert_eq!(decide(fed(1)), []);
        assert_eq!(decide(fed(0)), [Action::ReleasePrevious(NAME.into())]);
        let change =
            |metric| MetricSnapshot { previous: Some(previous(revision(3, 0xC, 30), 0)), ..metric };
        let promoted = Row { change, ..Row::default() }.decide();
        assert_eq!(
            promoted,
            [Action::Promote(NAME.into())],
            "a promotion releases it, and makes another"
        );
        let noted = Row { change, goal: None, ..Row::default() }.decide();
        assert_eq!(noted, [note(false, None), Action::ReleasePrevious(NAME.into())]);
    }

    #[test]
    fn a_reason_says_what_to_do() {
        for held in
            [HeldBack::Failed(3), HeldBack::AnsweringNotLoaded, HeldBack::Shorter("x".into())]
        {
            let said = held.describe(NAME);
            assert!(
                said.ends_with("let it answer all the same: tally plugin promote orders"),
                "{said}"
            );
        }
        assert!(HeldBack::WaitsForPerson.describe(NAME).ends_with("tally plugin promote orders"));
    }
}
