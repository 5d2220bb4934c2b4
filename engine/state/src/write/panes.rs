//! The runs of each pane of a table, and the bytes that they take: known at any time, however many
//! panes there are.

use crate::rows::cells::Layout;
use crate::rows::floors::PaneId;
use crate::rows::run::{Run, Runs};
use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

/// Panes, each with its runs. A copy shares the runs.
#[derive(Clone, Default)]
pub(crate) struct Panes {
    runs: BTreeMap<PaneId, Runs>,
    /// What all runs take.
    bytes: usize,
}

impl Panes {
    /// Adds a run to a pane.
    pub(crate) fn push(&mut self, layout: &Layout, pane: PaneId, run: Arc<Run>) {
        let runs = self.runs.entry(pane).or_default();
        let before = runs.memory();
        runs.push(layout, run);
        self.bytes = self.bytes + runs.memory() - before;
    }

    /// Puts these runs in the place of those of a pane.
    pub(crate) fn replace(&mut self, pane: PaneId, runs: Runs) {
        self.bytes += runs.memory();
        let before = self.runs.insert(pane, runs);
        self.bytes -= before.as_ref().map_or(0, Runs::memory);
    }

    /// Drops a pane.
    pub(crate) fn remove(&mut self, pane: PaneId) {
        let before = self.runs.remove(&pane);
        self.bytes -= before.as_ref().map_or(0, Runs::memory);
    }

    pub(crate) fn get(&self, pane: PaneId) -> Option<&Runs> {
        self.runs.get(&pane)
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, PaneId, Runs> {
        self.runs.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        // An entry of the map, whose nodes are some two thirds full.
        self.bytes + self.runs.len() * (size_of::<(PaneId, Runs)>() * 3 / 2)
    }
}

impl IntoIterator for Panes {
    type Item = (PaneId, Runs);
    type IntoIter = btree_map::IntoIter<PaneId, Runs>;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::block::Block;
    use proptest::prelude::*;
    use tally_plugin::description::{Cell, From, Merge, Pane};

    fn layout() -> Layout {
        Layout::new(&[Cell { name: "n".into(), merge: Merge::Sum, from: From::One }])
    }

    fn run(layout: &Layout, rows: u64) -> Arc<Run> {
        let one = Block::neutral(layout);
        Arc::new(Run::build(layout, 0, (0..rows).map(|key| (key, one.row(layout, 0)))))
    }

    proptest! {
        /// Whatever is done, it takes what its runs take.
        #[test]
        fn what_it_takes_is_known(steps in prop::collection::vec((0..4u8, 0..6i64, 1..200u64), 0..60)) {
            let layout = layout();
            let (mut panes, mut copies) = (Panes::default(), Vec::new());
            for (step, pane, rows) in steps {
                let pane = (Some(Pane::Hour), pane);
                match step {
                    0 | 1 => panes.push(&layout, pane, run(&layout, rows)),
                    2 => {
                        let mut runs = Runs::default();
                        runs.push(&layout, run(&layout, rows));
                        panes.replace(pane, runs);
                    }
                    _ => panes.remove(pane),
                }
                if rows % 3 == 0 {
                    copies.push(panes.clone());
                }
                let bytes: usize = panes.iter().map(|(_, runs)| runs.memory()).sum();
                prop_assert_eq!(panes.bytes, bytes);
                prop_assert!(panes.is_empty() || panes.memory() > bytes);
            }
        }
    }
}
