//! Which records of a partition a metric covers: where it began to count, which it missed, and where
//! its history ends.
//!
//! A recount needs this beside the position, and so does the choice between two revisions of a
//! metric.

use crate::event::Position;
use crate::progress::{Found, MAX_GAPS, Progress, Span};
use std::collections::BTreeMap;

/// Where counting of one partition began, and what was missed in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The first offset that counts.
    pub start: u64,
    /// The latest gaps, ascending: records that were gone from the log before they were counted. At
    /// most as many as a progress record lists.
    pub gaps: Vec<Span>,
    /// Number of offsets in older gaps, which are no longer listed.
    pub lost_before: u64,
    /// Number of events before the position that are in no cell, because the metric's own code
    /// fails on them.
    pub failed: u64,
    /// Where history ends: how far the log went when counting began. `None`: when the store was
    /// last read, all of it was stored.
    pub history_to: Option<u64>,
}

impl Coverage {
    /// Counting begins at `start`.
    pub(super) fn at(start: u64) -> Coverage {
        Coverage { start, ..Coverage::default() }
    }

    fn of(progress: &Progress) -> Coverage {
        let Progress { start, lost_before, failed, history_to, .. } = *progress;
        Coverage { start, gaps: progress.gaps.clone(), lost_before, failed, history_to }
    }

    /// Those of all partitions.
    pub(super) fn all(found: &Found) -> BTreeMap<u32, Coverage> {
        found
            .progress
            .iter()
            .map(|(partition, progress)| (*partition, Coverage::of(progress)))
            .collect()
    }

    /// Where history ends, of the partitions of which not all of it was stored.
    pub(super) fn history_ends(coverages: &BTreeMap<u32, Coverage>) -> Position {
        let end =
            |(partition, coverage): (&u32, &Coverage)| Some((*partition, coverage.history_to?));
        Position(coverages.iter().filter_map(end).collect())
    }

    /// Number of events of all partitions that are in no cell.
    #[must_use]
    pub fn failed(coverages: &BTreeMap<u32, Coverage>) -> u64 {
        coverages.values().fold(0, |sum, coverage| sum.saturating_add(coverage.failed))
    }

    /// Number of offsets in all gaps.
    fn lost(&self) -> u64 {
        self.gaps.iter().fold(self.lost_before, |sum, gap| sum.saturating_add(gap.to - gap.from))
    }

    /// Which of the records that `older` counted up to `position` the `newer` one did not count, as
    /// half a sentence; `None`: none are missing. Both are by partition.
    #[must_use]
    pub fn lacks(
        newer: &BTreeMap<u32, Coverage>,
        older: &BTreeMap<u32, Coverage>,
        position: &Position,
    ) -> Option<String> {
        older.iter().find_map(|(partition, old)| {
            position.0.get(partition).filter(|next| **next > old.start)?;
            let Some(new) = newer.get(partition) else {
                return Some(format!("of partition {partition} it holds nothing"));
            };
            if new.start > old.start {
                let (new, old) = (new.start, old.start);
                return Some(format!("partition {partition} from offset {new} on, not from {old}"));
            }
            // A newer one that began earlier may have more gaps and miss nothing; that is rare, and
            // a person can decide.
            let more = new.lost().checked_sub(old.lost()).filter(|more| *more > 0)?;
            Some(format!(
                "{more} more offsets of partition {partition} were gone before they were counted"
            ))
        })
    }

    pub(super) fn add_gap(&mut self, gap: Span) {
        self.gaps.push(gap);
        if self.gaps.len() > MAX_GAPS {
            let oldest = self.gaps.remove(0);
            self.lost_before += oldest.to - oldest.from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::MetricProgress;

    #[test]
    fn a_jump_is_a_gap_and_nothing_else_is() {
        let mut progress = MetricProgress::default();
        progress.advance(3, 100, 110);
        progress.advance(3, 110, 111);
        assert_eq!(progress.coverages[&3], Coverage::at(100));
        progress.advance(3, 120, 130);
        let gap = Span { from: 111, to: 120 };
        assert_eq!(progress.coverages[&3], Coverage { gaps: vec![gap], ..Coverage::at(100) });
        for n in 0..MAX_GAPS as u64 {
            progress.advance(3, 200 + n * 10, 205 + n * 10);
        }
        let coverage = &progress.coverages[&3];
        assert_eq!((coverage.gaps.len(), coverage.lost_before, coverage.start), (MAX_GAPS, 9, 100));
    }

    #[test]
    fn what_a_newer_one_lacks_is_listed_by_partition() {
        let position: Position = "0:100,1:50".parse().unwrap_or_default();
        let of = |starts: [u64; 2]| {
            BTreeMap::from([(0, Coverage::at(starts[0])), (1, Coverage::at(starts[1]))])
        };
        let lost =
            |coverage: &Coverage, gap: Span| Coverage { gaps: vec![gap], ..coverage.clone() };
        let old = of([10, 50]);
        let lacks = |new: &BTreeMap<u32, Coverage>| Coverage::lacks(new, &old, &position);
        assert_eq!(lacks(&old), None);
        assert_eq!(lacks(&of([0, 0])), None, "it began earlier");
        assert_eq!(
            lacks(&of([11, 0])).as_deref(),
            Some("partition 0 from offset 11 on, not from 10")
        );
        assert_eq!(lacks(&of([10, 90])), None, "nothing was counted there");
        assert_eq!(
            lacks(&BTreeMap::from([(1, Coverage::at(0))])).as_deref(),
            Some("of partition 0 it holds nothing")
        );
        let gone = BTreeMap::from([(0, lost(&old[&0], Span { from: 20, to: 25 }))]);
        assert!(lacks(&gone).is_some_and(|what| what.starts_with("5 more offsets of partition 0")));
        assert_eq!(Coverage::lacks(&gone, &gone, &position), None, "both passed over the same");
    }

    #[test]
    fn what_is_gone_before_the_first_record_is_a_gap_where_counting_had_begun() {
        let mut progress = MetricProgress::default();
        progress.coverages.insert(0, Coverage::at(0));
        progress.advance(0, 5, 9);
        assert_eq!(progress.coverages[&0].gaps, [Span { from: 0, to: 5 }]);
    }
}
