//! The ids and keys of one batch as numbers, resolved once for all metrics that count it.

use super::columns::{Column, Columns, ComputedKeys};
use super::metric::MetricState;
use super::names::Names;
use tally_event::EventBatch;

/// The batch that is being counted.
#[derive(Default)]
pub(crate) struct ResolvedBatch {
    pub(crate) columns: Columns,
    /// By keyspace: the key of each row.
    pub(crate) keys: Vec<Vec<u32>>,
    /// By keyspace: whether the batch is resolved for it.
    wanted: Vec<bool>,
    /// By keyspace: which event types of the batch are resolved; `None`: all.
    takes: Vec<Option<Vec<bool>>>,
}

impl ResolvedBatch {
    /// Resolves a batch for the tables of these metrics.
    pub(crate) fn resolve<'a>(
        &mut self,
        names: &mut Names,
        batch: &EventBatch,
        metrics: impl Iterator<Item = &'a MetricState>,
    ) {
        let Names { texts, keyspaces } = names;
        self.wanted.clear();
        self.wanted.resize(keyspaces.len(), false);
        self.keys.resize(keyspaces.len(), Vec::new());
        self.takes.clear();
        self.takes.resize(keyspaces.len(), None);
        for table in metrics.flat_map(|metric| &metric.tables) {
            let table = table.read();
            let first = !std::mem::replace(&mut self.wanted[table.keyspace], true);
            let takes = &mut self.takes[table.keyspace];
            let has_kinds = keyspaces[table.keyspace].kind_column().is_some();
            let taken = has_kinds.then(|| table.takes(&batch.kind_names)).flatten();
            *takes = match (first, takes.take(), taken) {
                (true, _, taken) => taken,
                (false, Some(all), Some(taken)) => {
                    Some(all.iter().zip(taken).map(|(a, b)| *a || b).collect())
                }
                (false, _, _) => None,
            };
        }
        let wanted = keyspaces.iter().zip(&self.wanted).filter(|(_, wanted)| **wanted);
        let wanted: Vec<&Column> =
            wanted.flat_map(|(keyspace, _)| &keyspace.shape().columns).collect();
        self.columns.fill(batch, &wanted, texts);
        let keyspaces =
            keyspaces.iter_mut().zip(&mut self.keys).zip(self.wanted.iter().zip(&self.takes));
        for ((keyspace, keys), (_, takes)) in keyspaces.filter(|(_, (wanted, _))| **wanted) {
            keyspace.resolve((&self.columns, takes.as_deref()), batch.len(), texts, keys);
        }
    }

    /// Takes over the key columns that the plugin of the metric with this number computed for the
    /// batch.
    pub(crate) fn compute(
        &mut self,
        names: &mut Names,
        metric: usize,
        batch: &EventBatch,
        computed: &[ComputedKeys],
    ) {
        let Names { texts, keyspaces } = names;
        self.columns.compute(computed, batch.len(), texts);
        let computes = |column: &Column| matches!(column, Column::Computed(of, _) if *of == metric);
        for ((keyspace, keys), takes) in keyspaces.iter_mut().zip(&mut self.keys).zip(&self.takes) {
            if keyspace.shape().columns.iter().any(computes) {
                keyspace.resolve((&self.columns, takes.as_deref()), batch.len(), texts, keys);
            }
        }
    }
}
