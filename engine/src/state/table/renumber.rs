//! A table over another keyspace: its rows under other keys, some of them now one.

use super::{Panes, TableState};
use crate::state::block::Block;
use crate::state::floors::start;
use crate::state::keyspace::Keyspace;
use crate::state::run::{Runs, fold_places, place};
use std::sync::Arc;

/// The places of the ones among bits.
pub(crate) fn ones(bits: &[u64]) -> impl Iterator<Item = u32> + '_ {
    let of = |(word, bits): (usize, &u64)| {
        let bits = *bits;
        (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| (word * 64 + bit) as u32)
    };
    bits.iter().enumerate().flat_map(of)
}

impl TableState {
    /// The numbers of the keys that have a row.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        ones(&self.present)
    }

    /// The table with all rows in the keyspace of a number: what key `n` had is `map[n]`'s there. What came since the last seals
    /// must have been sealed: it is forgotten. `read`: somebody reads a moment of this table, which must stay as it is.
    pub(crate) fn renumbered(&mut self, keyspace: usize, keys: &Keyspace, map: &[u32], read: bool) -> TableState {
        let mut fresh = TableState::new(&self.description, keyspace, &self.feeds, self.tails_only);
        (fresh.floors, fresh.raised) = (self.floors, self.raised + 1);
        let layout = Arc::clone(&self.layout);
        for key in self.keys() {
            layout.merge(&mut fresh.row(map[key as usize]), self.totals.row(&layout, key as usize));
        }
        let panes = if read { Arc::clone(&self.panes) } else { std::mem::take(&mut self.panes) };
        let mut moved = Panes::new();
        for (pane, runs) in Arc::unwrap_or_clone(panes) {
            let (mut places, mut content) = (Vec::new(), Block::default());
            for run in runs.iter() {
                let mut rows = run.rows(&layout);
                while let Some((old, row)) = rows.next() {
                    let key = map[(old & 0xffff_ffff) as usize];
                    places.push((place(keys.group(key), key), places.len() as u32));
                    content.push(&layout, row);
                }
            }
            let run = fold_places(&layout, start(pane), places, &mut content);
            let mut runs = Runs::default();
            runs.push(&layout, Arc::new(run));
            moved.insert(pane, runs);
        }
        fresh.panes = Arc::new(moved);
        fresh
    }
}
