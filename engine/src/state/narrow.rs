//! Makes tables smaller that have grown too large: a higher threshold, under which many keys count together.
//!
//! Rows and panes move to the keyspace of that threshold; totals stay what they were, and what is sealed keeps the keys that it
//! was sealed with. It takes a while (each row is moved), and comes once each time that a table's keys have about doubled.

use super::keyspace::{Keyspace, NONE};
use super::metric::{MetricState, Sealed, Shared};
use super::texts::Texts;
use super::threshold::{Folding, Threshold};
use super::types::TypeLimit;
use super::{MetricId, Names, State};
use parking_lot::RwLock;
use std::collections::HashSet;
use std::sync::Arc;

impl State {
    /// A table of a metric with more cells than `max`: its name, and how many.
    pub fn over(&self, metric: MetricId, max: u64) -> Option<(String, u64)> {
        let mut tables = self.metrics.get(metric.0)?.tables.iter().map(|table| table.read());
        tables.find_map(|table| {
            let cells = (table.len() * table.layout.len()) as u64;
            (cells > max).then(|| (table.description.name.clone(), cells))
        })
    }

    /// Which keys each table of a metric keeps.
    pub fn thresholds(&self, metric: MetricId) -> Vec<Threshold> {
        let names = self.names.read();
        let tables = self.metrics.get(metric.0).into_iter().flat_map(|metric| &metric.tables);
        tables.map(|table| names.keyspaces[table.read().keyspace].threshold()).collect()
    }

    /// The lowest thresholds at which no table of a metric has more than `max` cells; where there is none, the highest.
    pub fn thresholds_for(&mut self, metric: MetricId, max: u64) -> Vec<Threshold> {
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        let tables = self.metrics[metric.0].tables.iter().map(|table| table.read());
        let lowest = tables.map(|table| {
            let keys = &keyspaces[table.keyspace];
            let rows = max / table.layout.len().max(1) as u64;
            if table.len() as u64 <= rows {
                return keys.threshold();
            }
            let folding = Folding::of_groups(&table.description, texts);
            lowest(keys, &table.keys().collect::<Vec<_>>(), rows as usize, folding, texts)
        });
        lowest.collect()
    }

    /// The lowest thresholds at which no table of a metric has more event types than may stand for themselves; `None`: they are
    /// in force.
    pub fn thresholds_for_types(&mut self, metric: MetricId) -> Option<Vec<Threshold>> {
        let names = self.names.read();
        self.metrics[metric.0].thresholds_for_types(&names.keyspaces, &names.texts, &self.types)
    }

    /// Raises the thresholds of a metric's tables to these, where they are lower. By partition what it had counted since its
    /// last seal: that has been sealed.
    pub fn narrow(&mut self, metric: MetricId, to: &[Threshold]) -> Vec<(u32, Sealed)> {
        let partitions = self.metrics[metric.0].partitions();
        let sealed = partitions.into_iter().map(|partition| (partition, self.seal(metric, partition))).collect();
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        for (table, threshold) in to.iter().enumerate() {
            self.metrics[metric.0].narrow(table, *threshold, keyspaces, texts, &self.types);
        }
        drop(names);
        self.kept.forget();
        self.release();
        sealed
    }

    /// Empties the keyspaces by which nothing counts any more.
    pub(super) fn release(&mut self) {
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        let tables = self.metrics.iter().filter(|metric| !metric.is_empty).flat_map(|metric| &metric.tables);
        let used: HashSet<usize> = tables.map(|table| table.read().keyspace).collect();
        for (number, keyspace) in keyspaces.iter_mut().enumerate() {
            if !used.contains(&number) && !keyspace.is_held() && keyspace.len() > 0 {
                *keyspace = keyspace.emptied(texts);
            }
        }
    }
}

/// The lowest threshold under which these keys are at most so many; the highest if there is none.
fn lowest(keys: &Keyspace, of: &[u32], rows: usize, folding: Folding, texts: &Texts) -> Threshold {
    let types = keys.threshold().types();
    let kept: Vec<Option<u8>> = of.iter().map(|key| folding.keeps(keys.key(*key), types, texts)).collect();
    let mut last = keys.threshold();
    for threshold in keys.threshold().above() {
        last = threshold;
        let (mut whole, mut together) = (0, HashSet::new());
        for (key, most) in of.iter().zip(&kept) {
            let key = keys.key(*key);
            if most.is_none_or(|most| most >= threshold.bits()) && !folding.is_folded(key) {
                whole += 1;
                if whole > rows {
                    break;
                }
            } else {
                let mut under = [0; 3];
                under[..key.len()].copy_from_slice(key);
                // Types that are not kept are not among the keys any more.
                folding.settle_groups(threshold, &mut under[..key.len()], texts);
                together.insert(under);
            }
        }
        if whole + together.len() <= rows {
            break;
        }
    }
    last
}

impl MetricState {
    /// As [`State::thresholds_for_types`].
    pub(super) fn thresholds_for_types(
        &mut self,
        keyspaces: &[Keyspace],
        texts: &Texts,
        limit: &TypeLimit,
    ) -> Option<Vec<Threshold>> {
        let mut over = false;
        let threshold = |table: &Shared| {
            let table = &mut *table.write();
            let keys = &keyspaces[table.keyspace];
            let types = table.types.as_mut().and_then(|types| types.look(keys, texts, limit));
            over |= types.is_some();
            types.map_or(keys.threshold(), |types| keys.threshold().with_types(types))
        };
        let thresholds = self.tables.iter().map(threshold).collect();
        over.then_some(thresholds)
    }

    /// Moves a table to the keyspace of a threshold, unless it keeps no more than that already. It must have been sealed.
    pub(super) fn narrow(
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
        // A new one: who reads a moment of the one before reads on.
        *shared = Arc::new(RwLock::new(fresh));
    }
}
