//! The sets by which a read ranks its groups: one for each group and each such measure, estimated
//! when they have grown.

use tally_sketch::Sketch;

/// The sets behind measures that are set sizes; empty if there are no such measures.
#[derive(Default)]
pub(crate) struct RankingSets {
    /// Number of such measures.
    width: usize,
    /// For each group, one for each such measure.
    sketches: Vec<Option<Sketch>>,
    /// Groups whose sets have grown since they were estimated.
    stale: Vec<u32>,
}

impl RankingSets {
    /// For so many measures.
    pub(crate) fn new(width: usize) -> RankingSets {
        RankingSets { width, ..RankingSets::default() }
    }

    /// Calls `tell` for each set that has grown since the last call: group, number of the measure,
    /// estimate.
    pub(crate) fn estimate(&mut self, mut tell: impl FnMut(u32, usize, i128)) {
        let mut stale = std::mem::take(&mut self.stale);
        stale.sort_unstable();
        stale.dedup();
        for group in stale {
            for n in 0..self.width {
                let set =
                    self.sketches.get(group as usize * self.width + n).and_then(Option::as_ref);
                tell(group, n, set.map_or(0, Sketch::number));
            }
        }
    }

    /// Adds the n-th set of a row to that of a group.
    pub(crate) fn add(&mut self, group: u32, n: usize, sketch: Option<&Sketch>) {
        let Some(sketch) = sketch else { return };
        let at = group as usize * self.width + n;
        if self.sketches.len() <= at {
            self.sketches.resize_with(at + 1, || None);
        }
        match &mut self.sketches[at] {
            Some(own) => own.merge(sketch),
            empty => *empty = Some(sketch.clone()),
        }
        if self.stale.last() != Some(&group) {
            self.stale.push(group);
        }
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        let sketches: usize = self.sketches.iter().flatten().map(Sketch::memory).sum();
        self.sketches.capacity() * size_of::<Option<Sketch>>()
            + self.stale.capacity() * 4
            + sketches
    }
}
