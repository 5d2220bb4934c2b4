//! Turns what a table counted since its last seal into runs of its panes: worked out while readers
//! go on, then put into force.

use super::TableState;
use crate::rows::floors::{Floors, PaneId, start};
use crate::rows::run::{Run, Runs, fold_places, place};
use crate::write::keyspace::{Keyspace, KeyspaceLease};
use crate::write::tail::{Folded, Tail};
use parking_lot::RwLockReadGuard;
use std::collections::BTreeMap;
use std::sync::Arc;
use tally_plugin::description::Pane;

/// A folded tail and the runs that it adds to panes: tables that count alike need it only once.
#[derive(Default)]
pub(crate) struct SealedTail {
    pub(crate) folded: Folded,
    /// Number of the keyspace that numbered the keys; the lease keeps these numbers.
    pub(crate) keyspace: usize,
    _keys: KeyspaceLease,
    runs: Vec<(PaneId, Arc<Run>)>,
    /// The floors by which panes were chosen.
    pub(crate) floors: Option<Floors>,
}

/// A seal of a table that is worked out but not in force yet.
#[derive(Default)]
pub(crate) struct TableSeal {
    built: Arc<SealedTail>,
    panes: BTreeMap<PaneId, Runs>,
}

impl TableState {
    /// Folds what a partition counted since its last seal, and works out the panes with it.
    /// `others`: tables that may just have folded the same.
    pub(crate) fn sealing<'a>(
        &self,
        partition: u32,
        keys: &Keyspace,
        mut others: impl Iterator<Item = RwLockReadGuard<'a, TableState>>,
    ) -> TableSeal {
        let Some(tail) = self.tails.get(&partition) else { return TableSeal::default() };
        let built = others.find_map(|other| other.built_alike(self, partition, tail));
        let built = built.unwrap_or_else(|| Arc::new(self.build(tail, keys)));
        TableSeal { panes: self.panes_with(&built), built }
    }

    /// What this table last sealed of a partition, if that is what `table` has in `tail`.
    fn built_alike(
        &self,
        table: &TableState,
        partition: u32,
        tail: &Tail,
    ) -> Option<Arc<SealedTail>> {
        let built = self.built.get(&partition).filter(|_| self.counts_like(table))?.upgrade()?;
        let same = built.floors == Some(table.floors)
            && self.tails.get(&partition)?.sealed_what_is_in(tail);
        same.then_some(built)
    }

    /// Whether both tables fold the same events to the same rows.
    pub(crate) fn counts_like(&self, table: &TableState) -> bool {
        self.keyspace == table.keyspace
            && self.layout == table.layout
            && self.has_panes() == table.has_panes()
    }

    fn has_panes(&self) -> bool {
        !self.description.tiers.is_empty() && !self.tails_only
    }

    /// Puts into force what `sealing` worked out; nothing may have changed in between.
    pub(crate) fn sealed(&mut self, partition: u32, sealing: TableSeal) -> Arc<SealedTail> {
        let ended = self.previous.next();
        if let Some(tail) = self.tails.get_mut(&partition) {
            tail.clear(ended, |moments| self.previous.is_read(moments));
        }
        if !sealing.panes.is_empty() {
            let panes = Arc::make_mut(&mut self.panes);
            sealing.panes.into_iter().for_each(|(pane, runs)| panes.replace(pane, runs));
        }
        self.built.insert(partition, Arc::downgrade(&sealing.built));
        sealing.built
    }

    /// Folds a tail and divides its rows into panes.
    fn build(&self, tail: &Tail, keys: &Keyspace) -> SealedTail {
        let folded = tail.folded(&self.layout, |key| keys.group(key));
        let (mut runs, mut from) = (Vec::new(), 0);
        let pane_of = |minute: i32| self.floors.pane(i64::from(minute));
        let minutes = if self.has_panes() { &folded.minutes[..] } else { &[] };
        // Minutes come in order, so those of one pane are adjacent.
        for same in minutes.chunk_by(|(a, _), (b, _)| pane_of(*a) == pane_of(*b)) {
            let Some((minute, to)) = same.last().copied() else { continue };
            let pane = pane_of(minute);
            let place_of = |n: usize| place(folded.groups[n], folded.keys[n]);
            let run = if pane.0 == Some(Pane::Minute) {
                let rows = (from..to).map(|n| (place_of(n), folded.rows.row(&self.layout, n)));
                Run::build(&self.layout, start(pane), rows)
            } else {
                let places = (from..to).map(|n| (place_of(n), (n - from) as u32)).collect();
                fold_places(
                    &self.layout,
                    start(pane),
                    places,
                    &mut folded.rows.part(&self.layout, from, to),
                )
            };
            runs.push((pane, Arc::new(run)));
            from = to;
        }
        SealedTail {
            folded,
            keyspace: self.keyspace,
            _keys: keys.lease(),
            runs,
            floors: Some(self.floors),
        }
    }

    /// The panes that change when the folded tail is added.
    fn panes_with(&self, built: &SealedTail) -> BTreeMap<PaneId, Runs> {
        let mut panes = BTreeMap::new();
        for (pane, run) in &built.runs {
            let runs = panes
                .entry(*pane)
                .or_insert_with(|| self.panes.get(*pane).cloned().unwrap_or_default());
            runs.push(&self.layout, Arc::clone(run));
        }
        panes
    }
}
