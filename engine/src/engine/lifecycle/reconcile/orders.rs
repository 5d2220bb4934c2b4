//! Whether an order of a person on revisions is possible.

use crate::engine::lifecycle::snapshot::{LoadState, MetricSnapshot};
use crate::pipeline::Coverage;
use crate::progress::Halt;

/// The outcome of a promote.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine::lifecycle) enum PromoteOutcome {
    /// The newer revision answers now; its numbers lack so many events.
    Now(u64),
    /// It answers as soon as it has counted its history; its numbers lack so many events.
    Later(u64),
    /// It is stopped.
    Stopped(Halt),
    /// There is none.
    NoNewer,
}

/// The outcome of a rollback.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine::lifecycle) enum RollbackOutcome {
    /// The previous revision answers now.
    Now,
    /// It is stopped.
    Stopped(Halt),
    /// There is none.
    NoPrevious,
}

/// Promotes the newer revision, whatever it lacks, once it has counted as far as the one that
/// answers.
pub(in crate::engine::lifecycle) fn promote(metric: &MetricSnapshot) -> PromoteOutcome {
    let Some(newer) = &metric.newer else { return PromoteOutcome::NoNewer };
    if let Some(halt) = &newer.version.halt {
        return PromoteOutcome::Stopped(halt.clone());
    }
    let counted = newer.version.counted.as_ref();
    let failed = counted.map_or(0, |counted| Coverage::failed(&counted.coverages));
    // While it is being loaded again, its position is unknown: then the last pass decides.
    let as_far = counted
        .zip(metric.answering.counted.as_ref())
        .filter(|(_, answering)| answering.load != LoadState::Loading);
    let as_far = as_far.is_some_and(|(newer, answering)| {
        newer.is_whole && newer.position.reaches(&answering.position)
    });
    if newer.version.is_ready() && (newer.ready || as_far) {
        PromoteOutcome::Now(failed)
    } else {
        PromoteOutcome::Later(failed)
    }
}

/// Has the previous revision answer again.
pub(in crate::engine::lifecycle) fn rollback(metric: &MetricSnapshot) -> RollbackOutcome {
    match &metric.previous {
        None => RollbackOutcome::NoPrevious,
        Some(previous) => {
            previous.version.halt.clone().map_or(RollbackOutcome::Now, RollbackOutcome::Stopped)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{at, counted, failing, metric, newer, previous, revision};
    use super::*;
    use crate::engine::lifecycle::snapshot::{
        CountedSnapshot, NewerSnapshot, Placement, RevisionSnapshot,
    };
    use crate::event::Position;

    fn with(newer: NewerSnapshot) -> MetricSnapshot {
        MetricSnapshot { newer: Some(newer), ..metric(counted(100, revision(1, 0xA, 10))) }
    }

    fn failed(events: u64, mut revision: RevisionSnapshot) -> RevisionSnapshot {
        let coverage = Coverage { failed: events, ..Coverage::default() };
        revision
            .counted
            .iter_mut()
            .for_each(|counted| drop(counted.coverages.insert(0, coverage.clone())));
        revision
    }

    #[test]
    fn a_newer_revision_whose_history_is_not_complete_is_promoted_later() {
        let mut partial = with(newer(counted(100, revision(2, 0xB, 20))));
        let counted = partial.newer.iter_mut().filter_map(|newer| newer.version.counted.as_mut());
        counted.for_each(|counted| counted.is_whole = false);
        assert_eq!(promote(&partial), PromoteOutcome::Later(0));
    }

    #[test]
    fn one_that_answers_and_is_loaded_anew_is_not_as_far_as_nothing() {
        let mut loading = with(newer(counted(99, revision(2, 0xB, 20))));
        let change = |counted: &mut CountedSnapshot| {
            (counted.load, counted.position) = (LoadState::Loading, Position::default())
        };
        loading.answering.counted.iter_mut().for_each(change);
        assert_eq!(promote(&loading), PromoteOutcome::Later(0));
    }

    #[test]
    fn a_newer_revision_is_promoted_once_it_has_counted_as_far() {
        let version = |to| counted(to, revision(2, 0xB, 20));
        let at_last_look = NewerSnapshot { ready: true, ..newer(version(99)) };
        let rows = [
            ("as far", newer(version(100)), PromoteOutcome::Now(0)),
            ("as far at the last pass", at_last_look, PromoteOutcome::Now(0)),
            ("its code failed on events", newer(failed(3, version(100))), PromoteOutcome::Now(3)),
            ("not as far", newer(failed(3, version(99))), PromoteOutcome::Later(3)),
            (
                "still in a lane of its own",
                newer(at(Placement::Lane, version(100))),
                PromoteOutcome::Later(0),
            ),
        ];
        for (what, newer, expected) in rows {
            assert_eq!(promote(&with(newer)), expected, "{what}");
        }
        let stopped = failing(version(100));
        let halt = stopped.halt.clone().expect("it is stopped");
        assert_eq!(promote(&with(newer(stopped))), PromoteOutcome::Stopped(halt));
        assert_eq!(promote(&metric(revision(1, 0xA, 10))), PromoteOutcome::NoNewer);
    }

    #[test]
    fn the_previous_revision_answers_again_if_it_is_fed_and_counts() {
        let with = |version| MetricSnapshot {
            previous: Some(previous(version, 9)),
            ..metric(revision(1, 0xA, 10))
        };
        let stopped = failing(revision(3, 0xC, 30));
        let halt = stopped.halt.clone().expect("it is stopped");
        assert_eq!(rollback(&with(revision(3, 0xC, 30))), RollbackOutcome::Now);
        assert_eq!(rollback(&with(stopped)), RollbackOutcome::Stopped(halt));
        assert_eq!(rollback(&metric(revision(1, 0xA, 10))), RollbackOutcome::NoPrevious);
    }
}
