//! Moves a metric's tables to keyspaces that keep fewer keys: the rest count together under
//! `__other__`.
//!
//! Rows and panes move; totals stay what they were, and what is sealed keeps the keys that it was
//! sealed with. Each row is moved, which takes a while.

use super::{MetricState, SharedTable};
use crate::write::keyspace::{Keyspace, NONE};
use crate::write::texts::Texts;
use crate::write::threshold::Threshold;
use crate::write::type_limit::TypeLimit;
use parking_lot::RwLock;
use std::sync::Arc;

impl MetricState {
    /// By table, the threshold at which it has no more event types than the limit; `None`: these
    /// thresholds are in force.
    pub(crate) fn thresholds_for_types(
        &mut self,
        keyspaces: &[Keyspace],
        texts: &Texts,
        limit: &TypeLimit,
    ) -> Option<Vec<Threshold>> {
        let mut over = false;
        let threshold = |table: &SharedTable| {
            let table = &mut *table.write();
            let keys = &keyspaces[table.keyspace];
            let types = table.types.as_mut().and_then(|types| types.over(keys, texts, limit));
            over |= types.is_some();
            types.map_or(keys.threshold(), |types| keys.threshold().with_types(types))
        };
        let thresholds = self.tables.iter().map(threshold).collect();
        over.then_some(thresholds)
    }

    /// Moves a table to the keyspace of a threshold, unless it keeps no more than that already. It
    /// must have been sealed.
    pub(crate) fn narrow(
        &mut self,
        table: usize,
        threshold: Threshold,
        keyspaces: &mut Vec<Keyspace>,
        texts: &mut Texts,
        limit: &TypeLimit,
    ) {
        let Some(shared) = self.tables.get_mut(table) else { return };
        let read = Arc::strong_count(shared) > 1;
        let mut table = shared.write();
        let from = table.keyspace;
        if keyspaces[from].threshold().covers(threshold) {
            return;
        }
        let threshold = keyspaces[from].threshold().and(threshold);
        let shape = keyspaces[from].shape().clone();
        let alike = |keys: &Keyspace| *keys.shape() == shape && keys.threshold() == threshold;
        let into = keyspaces.iter().position(alike).unwrap_or_else(|| {
            keyspaces.push(Keyspace::folding(shape.clone(), threshold, limit.always(), texts));
            keyspaces.len() - 1
        });
        let mut keys = std::mem::replace(&mut keyspaces[into], Keyspace::new(shape));
        let old = &keyspaces[from];
        let mut map = vec![NONE; old.len()];
        table.keys().for_each(|key| map[key as usize] = keys.intern(old.key(key), texts));
        let fresh = table.renumbered(into, &keys, &map, read);
        keyspaces[into] = keys;
        drop(table);
        // A new table: readers of a moment keep the one from before.
        *shared = Arc::new(RwLock::new(fresh));
    }
}
