//! How what a table counted since its last seal becomes runs of its panes: worked out beside readers, then put into force.

use super::TableState;
use crate::state::floors::{Floors, PaneId, start};
use crate::state::keyspace::{Held, Keyspace};
use crate::state::run::{Run, Runs, fold_places, place};
use crate::state::tail::{Folded, Tail};
use parking_lot::RwLockReadGuard;
use std::collections::BTreeMap;
use std::sync::Arc;
use tally_plugin::description::Pane;

/// A tail folded, and as runs of the panes that it adds to: what tables that count alike need only once.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) folded: Folded,
    /// Number of the keyspace that numbered the keys, which stays as it is so long.
    pub(crate) keyspace: usize,
    _held: Held,
    runs: Vec<(PaneId, Arc<Run>)>,
    /// The floors that decided about panes.
    pub(crate) floors: Option<Floors>,
}

/// A seal that was worked out and is not in force yet.
#[derive(Default)]
pub(crate) struct Sealing {
    built: Arc<Built>,
    panes: BTreeMap<PaneId, Runs>,
}

impl TableState {
    /// Folds what a partition counted since its last seal, and works out the panes with it. `others`: tables that may have
    /// folded the same a moment ago.
    pub(crate) fn sealing<'a>(
        &self,
        partition: u32,
        keys: &Keyspace,
        mut others: impl Iterator<Item = RwLockReadGuard<'a, TableState>>,
    ) -> Sealing {
        let Some(tail) = self.tails.get(&partition) else { return Sealing::default() };
        let built = others.find_map(|other| other.built_alike(self, partition, tail));
        let built = built.unwrap_or_else(|| Arc::new(self.build(tail, keys)));
        Sealing { panes: self.panes_with(&built), built }
    }

    /// What this table last sealed of a partition, if that is what `table` has in `tail`.
    fn built_alike(&self, table: &TableState, partition: u32, tail: &Tail) -> Option<Arc<Built>> {
        let built = self.built.get(&partition).filter(|_| self.counts_like(table))?.upgrade()?;
        let same = built.floors == Some(table.floors) && self.tails.get(&partition)?.sealed_what_is_in(tail);
        same.then_some(built)
    }

    /// Whether what both tables fold of the same events is the same.
    pub(crate) fn counts_like(&self, table: &TableState) -> bool {
        self.keyspace == table.keyspace && self.layout == table.layout && self.has_panes() == table.has_panes()
    }

    fn has_panes(&self) -> bool {
        !self.description.tiers.is_empty() && !self.tails_only
    }

    /// Puts into force what `sealing` worked out; nothing may have changed in between.
    pub(crate) fn sealed(&mut self, partition: u32, sealing: Sealing) -> Arc<Built> {
        let ended = self.former.next();
        if let Some(tail) = self.tails.get_mut(&partition) {
            tail.clear(ended, |moments| self.former.is_read(moments));
        }
        if !sealing.panes.is_empty() {
            Arc::make_mut(&mut self.panes).extend(sealing.panes);
        }
        self.built.insert(partition, Arc::downgrade(&sealing.built));
        sealing.built
    }

    /// Folds a tail; its rows by pane.
    fn build(&self, tail: &Tail, keys: &Keyspace) -> Built {
        let folded = tail.folded(&self.layout, |key| keys.group(key));
        let (mut runs, mut from) = (Vec::new(), 0);
        let pane_of = |minute: i32| self.floors.pane(i64::from(minute));
        let minutes = if self.has_panes() { &folded.minutes[..] } else { &[] };
        // Minutes come in order, so those of one pane stand together.
        for same in minutes.chunk_by(|(a, _), (b, _)| pane_of(*a) == pane_of(*b)) {
            let Some((minute, to)) = same.last().copied() else { continue };
            let pane = pane_of(minute);
            let place_of = |n: usize| place(folded.groups[n], folded.keys[n]);
            let run = if pane.0 == Some(Pane::Minute) {
                let rows = (from..to).map(|n| (place_of(n), folded.rows.row(&self.layout, n)));
                Run::build(&self.layout, start(pane), rows)
            } else {
                let places = (from..to).map(|n| (place_of(n), (n - from) as u32)).collect();
                fold_places(&self.layout, start(pane), places, &mut folded.rows.part(&self.layout, from, to))
            };
            runs.push((pane, Arc::new(run)));
            from = to;
        }
        Built { folded, keyspace: self.keyspace, _held: keys.hold(), runs, floors: Some(self.floors) }
    }

    /// The panes that change with a folded tail.
    fn panes_with(&self, built: &Built) -> BTreeMap<PaneId, Runs> {
        let mut panes = BTreeMap::new();
        for (pane, run) in &built.runs {
            let runs = panes.entry(*pane).or_insert_with(|| self.panes.get(pane).cloned().unwrap_or_default());
            runs.push(&self.layout, Arc::clone(run));
        }
        panes
    }
}
