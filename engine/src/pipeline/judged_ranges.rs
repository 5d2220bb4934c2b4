//! Which records were judged before by the same `[events]`: what was refused of them has its letter.
//!
//! Every lane writes letters before it commits the offsets at which records were refused, so a place
//! that a metric has counted is one. What was gone from the log before it was counted is none. Reads
//! no log and no letters.

use super::coverage::Coverage;
use crate::event::Position;
use std::collections::BTreeMap;
use std::ops::Range;

/// Offsets by partition. Ranges may overlap: there are some for each metric.
#[derive(Clone, Debug, Default)]
pub struct JudgedRanges(BTreeMap<u32, Vec<Range<u64>>>);

impl JudgedRanges {
    /// Adds what a metric has counted.
    pub fn add(&mut self, coverages: &BTreeMap<u32, Coverage>, position: &Position) {
        for (partition, coverage) in coverages {
            let ranges = self.0.entry(*partition).or_default();
            let mut from = coverage.start;
            for gap in &coverage.gaps {
                ranges.push(from..gap.from);
                from = gap.to;
            }
            ranges.push(from..position.0.get(partition).copied().unwrap_or(0));
        }
    }

    /// Whether the record at a place was judged.
    pub(super) fn contains(&self, partition: u32, offset: u64) -> bool {
        let ranges = self.0.get(&partition);
        ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Span;

    #[test]
    fn what_any_metric_has_counted_was_judged_and_nothing_else() {
        let coverage = |start, gaps| Coverage { start, gaps, ..Coverage::default() };
        let position = Position(BTreeMap::from([(0, 10), (1, 30)]));
        let mut judged = JudgedRanges::default();
        let gaps = vec![Span { from: 6, to: 8 }];
        judged.add(&BTreeMap::from([(0, coverage(5, gaps)), (2, coverage(0, vec![]))]), &position);
        judged
            .add(&BTreeMap::from([(0, coverage(9, vec![])), (1, coverage(7, vec![]))]), &position);
        let of = |partition: u32| -> Vec<u64> {
            (0..40).filter(|offset| judged.contains(partition, *offset)).collect()
        };
        assert_eq!(of(0), [5, 8, 9]);
        assert_eq!(of(1), (7..30).collect::<Vec<_>>());
        assert!(of(2).is_empty() && of(3).is_empty(), "nothing was counted there");
    }
}
