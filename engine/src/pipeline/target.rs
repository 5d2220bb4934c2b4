//! Up to where a metric has to count before its history is complete.
//!
//! Before, its numbers are exact for their position and lack history, so that whoever asks is told.
//! A metric of which something is stored has all of its history when it is loaded; one of which
//! nothing is stored has it once it has counted what the log held by then. One that is counted in a
//! lane of its own has it when it joins the others.

use super::origin::Origin;
use crate::event::Position;
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nowhere: its history is complete.
    #[default]
    Reached,
    /// The end of what the log holds, which it has not said yet.
    Unknown,
    /// This position: its history is complete as soon as that is counted.
    End(Position),
    /// Where the metrics of the main lane were at the last look: its history is complete once it
    /// has joined them.
    Others(Position),
}

impl Target {
    /// This position, unless `position` has reached it.
    #[must_use]
    pub fn end(end: Position, position: &Position) -> Target {
        if position.reaches(&end) { Target::Reached } else { Target::End(end) }
    }

    /// The position at which history is complete, if that is known and not reached.
    #[must_use]
    pub fn to_end(&self) -> Option<&Position> {
        match self {
            Target::End(end) => Some(end),
            Target::Reached | Target::Unknown | Target::Others(_) => None,
        }
    }

    /// Whether `position` has just reached it; then there is nothing left to reach.
    pub(super) fn reach(&mut self, position: &Position) -> bool {
        let is_reached = self.to_end().is_some_and(|end| position.reaches(end));
        if is_reached {
            *self = Target::Reached;
        }
        is_reached
    }

    /// The part of the way that `position` has completed, 0…1; `None`: history is complete.
    #[must_use]
    pub fn completed(&self, position: &Position, origins: &BTreeMap<u32, Origin>) -> Option<f64> {
        match self {
            Target::Reached => None,
            Target::Unknown => Some(0.0),
            Target::End(target) | Target::Others(target) => {
                Some(completed(position, target, origins))
            }
        }
    }
}

fn completed(position: &Position, target: &Position, origins: &BTreeMap<u32, Origin>) -> f64 {
    let (mut counted, mut all) = (0, 0);
    for (partition, end) in &target.0 {
        let start = origins.get(partition).map_or(0, |origin| origin.start).min(*end);
        all += end - start;
        counted += position.0.get(partition).copied().unwrap_or(0).clamp(start, *end) - start;
    }
    if all == 0 { 1.0 } else { counted as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().unwrap_or_default()
    }

    #[test]
    fn an_end_is_reached_by_its_position_and_other_targets_are_not() {
        assert_eq!(Target::end(at("0:3"), &at("0:3,1:1")), Target::Reached);
        assert_eq!(Target::end(Position::default(), &at("")), Target::Reached, "an empty log");
        let mut end = Target::end(at("0:3,1:2"), &at("0:3"));
        assert_eq!(end.to_end(), Some(&at("0:3,1:2")));
        assert!(!end.reach(&at("0:9,1:1")) && end.reach(&at("0:3,1:2")) && !end.reach(&at("0:4")));
        assert_eq!(end, Target::Reached);
        for mut target in [Target::Unknown, Target::Others(at("0:3"))] {
            assert!(!target.reach(&at("0:9")), "{target:?}");
        }
    }

    #[test]
    fn the_part_of_the_way_is_measured_from_where_counting_began() {
        let origins = BTreeMap::from([(0, Origin::at(100))]);
        let done = |target: &Target, position: &str| target.completed(&at(position), &origins);
        for target in [Target::End(at("0:300")), Target::Others(at("0:300"))] {
            assert_eq!(done(&target, "0:150"), Some(0.25));
            assert_eq!(done(&target, ""), Some(0.0));
            assert_eq!(done(&target, "0:900"), Some(1.0));
        }
        assert_eq!(done(&Target::Unknown, "0:150"), Some(0.0));
        assert_eq!(done(&Target::Reached, "0:150"), None);
    }
}
