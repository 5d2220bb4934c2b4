//! Up to where a metric has to count before its history is complete.
//!
//! Before, its numbers are exact for their position and lack history, so that whoever asks is told.
//! The history of a partition is what the log holds of it when counting begins there; until all of
//! it is stored, what is stored says where it ends ([`Coverage::history_to`]). A metric that is
//! loaded has the rest of that ahead of it, all that the log holds of partitions of which nothing
//! is stored, and at a start what others have counted. One that is counted in a lane of its own has
//! its history when it joins the others. Nothing here says why a metric does not get there.

use super::coverage::Coverage;
use crate::event::Position;
use crate::log::Bounds;
use crate::progress::{self, History};
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nowhere: its history is complete.
    #[default]
    Reached,
    /// At least this position; the log has not said yet what it holds.
    Unknown(Position),
    /// This position: its history is complete as soon as that is counted.
    End(Position),
    /// Where the metrics of the main lane were at the last look: its history is complete once it
    /// has joined them.
    Others(Position),
}

/// What the log holds, as it concerns one metric.
#[derive(Debug)]
pub(super) struct LogEnds {
    /// Per partition its end.
    all: Position,
    /// The same of the partitions that hold something for a metric that never counted them.
    uncounted: Position,
}

impl LogEnds {
    /// `history`: where the metric begins in partitions that it never counted.
    pub(super) fn new(bounds: &[Bounds], history: &History) -> LogEnds {
        let holds_some = |bounds: &&Bounds| {
            let Bounds { partition, start, end, .. } = **bounds;
            history.first(progress::Bounds { partition, start, end }) < end
        };
        let end = |bounds: &Bounds| (bounds.partition, bounds.end);
        LogEnds {
            all: Position(bounds.iter().map(end).collect()),
            uncounted: Position(bounds.iter().filter(holds_some).map(end).collect()),
        }
    }

    /// As far of a position as the log goes: what was cut off it, and partitions that are gone,
    /// will never be counted.
    fn within(&self, position: &Position) -> Position {
        let end = |(partition, end): (&u32, &u64)| {
            Some((*partition, (*end).min(*self.all.0.get(partition)?)))
        };
        Position(position.0.iter().filter_map(end).collect())
    }

    /// The ends of partitions of which nothing is stored.
    fn unstored(&self, coverages: &BTreeMap<u32, Coverage>) -> Position {
        let ends = self.uncounted.0.iter();
        let ends = ends.filter(|(partition, _)| !coverages.contains_key(*partition));
        Position(ends.map(|(partition, end)| (*partition, *end)).collect())
    }
}

impl Target {
    /// This position, unless `position` has reached it.
    #[must_use]
    pub fn end(end: Position, position: &Position) -> Target {
        if position.reaches(&end) { Target::Reached } else { Target::End(end) }
    }

    /// How far a metric has to count of which this is stored, and counted up to `position`, where
    /// the log held this.
    pub(super) fn of_stored(
        log: &LogEnds,
        position: &Position,
        coverages: &BTreeMap<u32, Coverage>,
    ) -> Target {
        let ends = [Coverage::history_ends(coverages), log.unstored(coverages)];
        Target::end(Position::furthest(ends.into_iter()), position)
    }

    /// The position at which history is complete, if that is known and not reached.
    #[must_use]
    pub fn to_end(&self) -> Option<&Position> {
        match self {
            Target::End(end) => Some(end),
            Target::Reached | Target::Unknown(_) | Target::Others(_) => None,
        }
    }

    /// Whether the log has yet to say how far it is.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Target::Unknown(_))
    }

    /// Whether `position` has just reached it; then there is nothing left to reach.
    pub(super) fn reach(&mut self, position: &Position) -> bool {
        let is_reached = self.to_end().is_some_and(|end| position.reaches(end));
        if is_reached {
            *self = Target::Reached;
        }
        is_reached
    }

    /// What is stored was loaded, up to `position`: the rest of its history lies ahead. Where that
    /// is all of what was begun, the log need not answer first: it may be away for long. Of a part
    /// of history it is unknown which partitions were never counted.
    pub(super) fn load(&mut self, position: &Position, coverages: &BTreeMap<u32, Coverage>) {
        let ends = Coverage::history_ends(coverages);
        let before = match &*self {
            Target::Others(_) => return,
            Target::Unknown(_) if coverages.is_empty() || !ends.0.is_empty() => return,
            Target::Unknown(least) => Some(least.clone()),
            Target::Reached | Target::End(_) => self.to_end().cloned(),
        };
        *self = Target::end(Position::furthest(before.into_iter().chain([ends])), position);
    }

    /// What becomes of it where the log holds this; `None`: it stays as it is. `coverages`: what is
    /// stored, if that was just loaded. That may be newer than what the log says here, and what the
    /// log says the next time is newer: only then anything is known to be cut off.
    pub(super) fn bounded(
        &self,
        log: &LogEnds,
        position: &Position,
        coverages: &BTreeMap<u32, Coverage>,
    ) -> Option<Target> {
        let end = match self {
            Target::Reached | Target::Others(_) => return None,
            Target::Unknown(least) => {
                let ends =
                    [least.clone(), Coverage::history_ends(coverages), log.unstored(coverages)];
                Position::furthest(ends.into_iter())
            }
            Target::End(end) => log.within(end),
        };
        let bounded = Target::end(end, position);
        (bounded != *self).then_some(bounded)
    }

    /// The part of the way that `position` has completed, 0…1; `None`: history is complete.
    #[must_use]
    pub fn completed(
        &self,
        position: &Position,
        coverages: &BTreeMap<u32, Coverage>,
    ) -> Option<f64> {
        match self {
            Target::Reached => None,
            Target::Unknown(_) => Some(0.0),
            Target::End(target) | Target::Others(target) => {
                Some(completed(position, target, coverages))
            }
        }
    }
}

fn completed(position: &Position, target: &Position, coverages: &BTreeMap<u32, Coverage>) -> f64 {
    let (mut counted, mut all) = (0, 0);
    for (partition, end) in &target.0 {
        let start = coverages.get(partition).map_or(0, |coverage| coverage.start).min(*end);
        all += end - start;
        counted += position.0.get(partition).copied().unwrap_or(0).clamp(start, *end) - start;
    }
    if all == 0 { 1.0 } else { counted as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{at, log_ends};

    fn log(ends: &str) -> LogEnds {
        log_ends(ends, &History::Whole)
    }

    /// What is stored of partitions: where history ends in each, 0 if all of it is stored.
    fn stored(ends: &str) -> BTreeMap<u32, Coverage> {
        let coverage = |end: u64| Coverage {
            history_to: Some(end).filter(|end| *end > 0),
            ..Coverage::default()
        };
        at(ends).0.into_iter().map(|(partition, end)| (partition, coverage(end))).collect()
    }

    fn unknown() -> Target {
        Target::Unknown(Position::default())
    }

    #[test]
    fn an_end_is_reached_by_its_position_and_other_targets_are_not() {
        assert_eq!(Target::end(at("0:3"), &at("0:3,1:1")), Target::Reached);
        assert_eq!(Target::end(Position::default(), &at("")), Target::Reached, "an empty log");
        let mut end = Target::end(at("0:3,1:2"), &at("0:3"));
        assert_eq!(end.to_end(), Some(&at("0:3,1:2")));
        assert!(!end.reach(&at("0:9,1:1")) && end.reach(&at("0:3,1:2")) && !end.reach(&at("0:4")));
        assert_eq!(end, Target::Reached);
        for mut target in [unknown(), Target::Others(at("0:3"))] {
            assert!(!target.reach(&at("0:9")), "{target:?}");
        }
    }

    #[test]
    fn what_is_stored_of_a_part_of_history_is_not_the_whole() {
        let bounded = |ends: &str, position: &str| {
            unknown().bounded(&log("0:90,1:50"), &at(position), &stored(ends))
        };
        assert_eq!(bounded("", ""), Some(Target::End(at("0:90,1:50"))), "nothing is stored");
        assert_eq!(bounded("0:80,1:40", "0:3,1:2"), Some(Target::End(at("0:80,1:40"))));
        assert_eq!(bounded("0:80,1:0", "0:3,1:2"), Some(Target::End(at("0:80"))));
        assert_eq!(bounded("0:0,1:0", "0:3,1:2"), Some(Target::Reached), "it only lags");
        assert_eq!(bounded("0:0", "0:3"), Some(Target::End(at("1:50"))), "one was never counted");
        // Of the records of a metric that leaves history out there is no history.
        let from = History::From([(0, 90), (1, 50)].into());
        let late = unknown().bounded(&log_ends("0:90,1:50", &from), &at(""), &stored(""));
        assert_eq!(late, Some(Target::Reached));
        // Others have counted further.
        let least = Target::Unknown(at("0:20,1:1"));
        let bounded = least.bounded(&log("0:90,1:50"), &at("0:3,1:2"), &stored("0:0,1:0"));
        assert_eq!(bounded, Some(Target::End(at("0:20,1:1"))));
    }

    #[test]
    fn what_is_cut_off_the_log_is_not_waited_for() {
        let end = Target::End(at("0:90,1:50,2:9"));
        let bounded = |ends: &str| end.bounded(&log(ends), &at("0:60,1:50,2:1"), &stored(""));
        assert_eq!(bounded("0:95,1:50,2:9"), None, "it grew");
        assert_eq!(bounded("0:80,1:50,2:9"), Some(Target::End(at("0:80,1:50,2:9"))));
        assert_eq!(bounded("0:80,1:50"), Some(Target::End(at("0:80,1:50"))), "one is gone");
        assert_eq!(bounded("0:60,1:50"), Some(Target::Reached));
        // What is stored may be newer than what the log says; the next time it is not.
        let (log, position) = (log("0:60,1:50"), at("0:60,1:50"));
        let first = unknown().bounded(&log, &position, &stored("0:90,1:0"));
        assert_eq!(first, Some(Target::End(at("0:90"))));
        let second = first.and_then(|end| end.bounded(&log, &position, &stored("0:90,1:0")));
        assert_eq!(second, Some(Target::Reached));
        for target in [Target::Reached, Target::Others(at("0:90"))] {
            assert_eq!(target.bounded(&log, &at("0:10"), &stored("")), None, "{target:?}");
        }
    }

    #[test]
    fn what_is_loaded_again_may_have_lost_a_part_of_its_history() {
        let loaded = |mut target: Target, position: &str| {
            target.load(&at(position), &stored("0:80,1:0"));
            target
        };
        assert_eq!(loaded(Target::Reached, "0:80,1:2"), Target::Reached);
        assert_eq!(loaded(Target::Reached, "0:3,1:2"), Target::End(at("0:80")));
        assert_eq!(loaded(Target::End(at("1:9")), "0:3,1:2"), Target::End(at("0:80,1:9")));
        assert_eq!(loaded(Target::End(at("1:9")), "0:80,1:9"), Target::Reached);
        for target in [unknown(), Target::Others(at("0:90"))] {
            assert_eq!(loaded(target.clone(), "0:3,1:2"), target, "somebody else says how far");
        }
        let whole = |mut target: Target, ends: &str| {
            target.load(&at("0:3,1:2"), &stored(ends));
            target
        };
        assert_eq!(whole(unknown(), "0:0,1:0"), Target::Reached, "the log may be away");
        let least = Target::Unknown(at("0:20"));
        assert_eq!(whole(least, "0:0,1:0"), Target::End(at("0:20")), "others are ahead");
        assert_eq!(whole(unknown(), ""), unknown(), "nothing is stored");
    }

    #[test]
    fn the_part_of_the_way_is_measured_from_where_counting_began() {
        let coverages = BTreeMap::from([(0, Coverage::at(100))]);
        let done = |target: &Target, position: &str| target.completed(&at(position), &coverages);
        for target in [Target::End(at("0:300")), Target::Others(at("0:300"))] {
            assert_eq!(done(&target, "0:150"), Some(0.25));
            assert_eq!(done(&target, ""), Some(0.0));
            assert_eq!(done(&target, "0:900"), Some(1.0));
        }
        assert_eq!(done(&unknown(), "0:150"), Some(0.0));
        assert_eq!(done(&Target::Reached, "0:150"), None);
    }
}
