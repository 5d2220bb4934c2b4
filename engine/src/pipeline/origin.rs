//! Where a metric began to count a partition and what it passed over: what a recount has to know beside the position.

use crate::progress::{MAX_GAPS, Progress, Span};

/// What is known of a partition's beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The first offset that was to be counted.
    pub start: u64,
    /// The latest gaps, ascending: records that were gone before they were counted. As many as a progress record lists.
    pub gaps: Vec<Span>,
    /// Offsets in gaps that are no longer listed.
    pub lost_before: u64,
}

impl Origin {
    /// Counting begins here.
    pub(super) fn at(start: u64) -> Origin {
        Origin { start, ..Origin::default() }
    }

    pub(super) fn of(progress: &Progress) -> Origin {
        Origin { start: progress.start, gaps: progress.gaps.clone(), lost_before: progress.lost_before }
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
    use crate::pipeline::Place;

    #[test]
    fn a_jump_is_a_gap_and_nothing_else_is() {
        let mut place = Place::default();
        place.advance(3, 100, 110);
        place.advance(3, 110, 111);
        assert_eq!(place.origins[&3], Origin::at(100));
        place.advance(3, 120, 130);
        let gap = Span { from: 111, to: 120 };
        assert_eq!(place.origins[&3], Origin { start: 100, gaps: vec![gap], lost_before: 0 });
        for n in 0..MAX_GAPS as u64 {
            place.advance(3, 200 + n * 10, 205 + n * 10);
        }
        let origin = &place.origins[&3];
        assert_eq!((origin.gaps.len(), origin.lost_before, origin.start), (MAX_GAPS, 9, 100));
    }

    #[test]
    fn what_is_gone_before_the_first_record_is_a_gap_where_counting_had_begun() {
        let mut place = Place::default();
        place.origins.insert(0, Origin::at(0));
        place.advance(0, 5, 9);
        assert_eq!(place.origins[&0].gaps, [Span { from: 0, to: 5 }]);
    }
}
