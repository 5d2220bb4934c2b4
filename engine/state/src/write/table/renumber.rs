//! Moves a table to another keyspace: its rows get other keys, and some of them become one.

use super::{TableState, set_bits};
use crate::rows::block::Block;
use crate::rows::floors::start;
use crate::rows::run::{fold_places, place};
use crate::write::keyspace::Keyspace;
use crate::write::panes::Panes;
use std::sync::Arc;

impl TableState {
    /// The numbers of the keys that have a row.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        set_bits(&self.present)
    }

    /// The table with all rows in keyspace `keyspace`: key `n` becomes `map[n]`. What came since
    /// the last seals is dropped, so it must have been sealed. `read`: a moment of this table is
    /// read, which must stay as it is.
    pub(crate) fn renumbered(
        &mut self,
        keyspace: usize,
        keys: &Keyspace,
        map: &[u32],
        read: bool,
    ) -> TableState {
        let mut fresh = TableState::new(&self.description, keyspace, &self.feeds, self.tails_only);
        (fresh.floors, fresh.raised) = (self.floors, self.raised + 1);
        let layout = Arc::clone(&self.layout);
        for key in self.keys() {
            layout.merge(&mut fresh.row(map[key as usize]), self.totals.row(&layout, key as usize));
        }
        let panes = if read { Arc::clone(&self.panes) } else { std::mem::take(&mut self.panes) };
        fresh.loaded_sketches = fresh.totals.sketches_memory();
        let mut moved = Panes::default();
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
            moved.push(&layout, pane, Arc::new(run));
        }
        fresh.panes = Arc::new(moved);
        fresh
    }
}
