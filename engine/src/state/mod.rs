//! State: what all metrics have counted, as views in memory, and as frames on the way to a store.
//!
//! Promises: a batch is applied to a metric wholly or not at all; totals equal the fold of all frames; whatever the
//! split of the log into batches, seals and frames, the state is the same; a moment of a metric reads the same whatever is done to
//! the state afterwards. It performs no I/O, reads no clock, decides nothing about progress: which rows a metric takes is told
//! by offsets.
//!
//! Over 400 lines: everything that the rest of the engine can ask of state, in one place.
//!
//! From the bottom: `varint`, `cells` and `block` (a row's words and sketches), `source` (columns), `texts` (ids as numbers),
//! `index`, `threshold` (which keys stand for themselves), `keyspace` (keys as numbers), `tail` → `run` (rows since the last seal → closed panes), `floors` (retention),
//! `loaded`, `former` (rows as they were), `table`, `buckets` (which key where), `frame`/`compact` (the stored form), `moment`
//! (what is read), `allowance`, `scan`, `plan`, `fold`, `folds`, `aggregate` (reads), `dump` (a copy), `look` (at stored frames); `narrow`, `types` and
//! `sweep` keep keys, event types and texts bounded; `size` says what all of it takes.
//!
//! Names and tables have locks of their own, beside that which guards the whole: whoever changes the state holds them for a batch,
//! a reader of a moment for a few thousand rows. Names are locked before a table, and never again while they are.

mod aggregate;
mod allowance;
mod block;
mod buckets;
mod cells;
mod columns;
mod compact;
mod dump;
mod floors;
mod fold;
mod folds;
mod former;
mod frame;
mod index;
mod keyspace;
mod loaded;
mod look;
mod metric;
mod moment;
mod narrow;
mod plan;
mod radix;
mod run;
mod scan;
mod sets;
mod size;
mod source;
mod sweep;
mod table;
mod tail;
mod texts;
mod threshold;
mod types;
mod varint;
mod visit;

#[cfg(test)]
mod tests;

pub use allowance::{Allowance, ReadError};
pub use buckets::{Buckets, buckets, halves, splits};
pub use columns::ComputedKeys;
pub use compact::{compact, due, expires, split};
pub use dump::{Dump, DumpCell, DumpPane, DumpRow};
pub use folds::Folds;
pub use frame::FrameError;
pub use look::{FrameFacts, StoredRow, buckets_of, facts, key_of, rows_of};
pub use metric::{Held, Loading, Sealed, SealedFrame};
pub use moment::Moment;
pub use threshold::Threshold;
pub use types::TypeLimit;

use crate::event::EventBatch;
use columns::Columns;
use keyspace::{Keyspace, Shape};
use metric::MetricState;
use parking_lot::{Mutex, RwLock};
use source::{Column, Sources, feeds};
use std::sync::Arc;
use tally_plugin::description::{Description, Table};
use tally_plugin::read::{ReadAnswer, ReadRequest};
use texts::Texts;

/// Index of a metric in the state, as given by [`State::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub usize);

/// One value that a plugin's `update` handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellUpdate {
    /// Row of the batch.
    pub row: u32,
    /// Table of the metric's description.
    pub table: u16,
    /// Cell of the table.
    pub cell: u16,
    /// Merged into the cell.
    pub value: i128,
}

/// The views of all metrics of an engine. One writer at a time; readers see whole batches only.
#[derive(Default)]
pub struct State {
    names: Arc<RwLock<Names>>,
    /// Number of texts at which those are looked for that nobody needs.
    sweep_at: usize,
    metrics: Vec<MetricState>,
    columns: Columns,
    /// Keys of the current batch, per keyspace.
    resolved: Vec<Vec<u32>>,
    /// Whether the current batch is resolved for each of them.
    wanted: Vec<bool>,
    /// Per keyspace, which event types of the current batch are resolved; `None`: all.
    takes: Vec<Option<Vec<bool>>>,
    kept: Arc<Folds>,
    writing: Mutex<metric::Writing>,
    tails_only: bool,
    types: TypeLimit,
}

/// Ids and keys as numbers.
#[derive(Default)]
struct Names {
    texts: Texts,
    keyspaces: Vec<Keyspace>,
}

/// A seal that was worked out and is not in force yet.
pub struct Sealing {
    metric: MetricId,
    partition: u32,
    tables: Vec<table::Sealing>,
}

/// A roll-up that was worked out and is not in force yet.
pub struct Rolling {
    metric: MetricId,
    table: usize,
    change: table::Rolling,
}

impl State {
    /// A state that only turns batches into frames: it holds what is not sealed yet, and reads find nothing in it.
    #[must_use]
    pub fn tails_only() -> State {
        State { tails_only: true, ..State::default() }
    }

    /// The same, with another rule of which event types stand for themselves; before metrics are added.
    #[must_use]
    pub fn with_types(self, types: TypeLimit) -> State {
        State { types, ..self }
    }

    /// The same, with folds that are kept beside those of others.
    #[must_use]
    pub fn keeping(self, folds: Arc<Folds>) -> State {
        State { kept: folds, ..self }
    }

    /// Adds a metric with empty tables.
    pub fn add(&mut self, description: &Description) -> MetricId {
        let number = self.metrics.len();
        let table = |table: &Table| {
            let keyspace = self.keyspace_for(table, description, number);
            (Arc::new(table.clone()), keyspace, feeds(&table.cells, description, number).into())
        };
        let tables = description.tables.iter().map(table).collect();
        self.metrics.push(MetricState::new(tables, self.tails_only));
        MetricId(number)
    }

    fn keyspace_for(&mut self, table: &Table, description: &Description, metric: usize) -> usize {
        let group = if table.group == 0 { table.key.len() } else { table.group };
        let columns: Vec<Column> = table.key.iter().map(|key| Column::of(key, description, metric)).collect();
        for column in &columns {
            if let Column::Property(property) = column {
                self.columns.want(property);
            }
        }
        let shape = Shape { columns, group };
        let alike = |keys: &Keyspace| *keys.shape() == shape && keys.threshold() == Threshold::NONE;
        let keyspaces = &mut self.names.write().keyspaces;
        let known = keyspaces.iter().position(alike);
        known.unwrap_or_else(|| {
            keyspaces.push(Keyspace::new(shape));
            keyspaces.len() - 1
        })
    }

    /// Empties a metric, to be loaded again, and lets go of ids and keys that nobody else needs. What was taken from it and is not
    /// stored means nothing any more.
    pub fn clear(&mut self, metric: MetricId) {
        let names = self.names.read();
        let of = &mut self.metrics[metric.0];
        of.clear();
        for table in &of.tables {
            let table = &mut *table.write();
            // Which keys are kept is told anew by what is loaded.
            let shape = names.keyspaces[table.keyspace].shape();
            let whole = |keys: &Keyspace| keys.shape() == shape && keys.threshold() == Threshold::NONE;
            table.keyspace = names.keyspaces.iter().position(whole).unwrap_or(table.keyspace);
        }
        drop(names);
        self.release();
        self.sweep_at = 0;
        self.kept.forget();
    }

    /// Ends the loading of all that is stored of a metric: what a read that began before would go on from is dropped.
    pub fn end_load(&mut self, metric: MetricId) {
        self.metrics[metric.0].tables.iter().for_each(|table| table.write().forget_loaded());
    }

    /// Drops the tables of a metric that is counted no more, and the ids and keys that nobody else needs. Its number is not
    /// given again.
    pub fn forget(&mut self, metric: MetricId) {
        self.kept.forget();
        self.metrics[metric.0].tables.clear();
        self.release();
        self.sweep_at = 0;
    }

    /// Prepares a batch for [`State::apply`] to any metric.
    pub fn begin(&mut self, batch: &EventBatch) {
        self.begin_for(batch, (0..self.metrics.len()).map(MetricId));
    }

    /// Prepares a batch for [`State::apply`] to these metrics: resolves its ids and keys once for all of them.
    pub fn begin_for(&mut self, batch: &EventBatch, metrics: impl Iterator<Item = MetricId>) {
        self.sweep();
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        self.wanted.clear();
        self.wanted.resize(keyspaces.len(), false);
        self.resolved.resize(keyspaces.len(), Vec::new());
        self.takes.clear();
        self.takes.resize(keyspaces.len(), None);
        for metric in metrics {
            self.metrics[metric.0].is_empty = false;
            for table in &self.metrics[metric.0].tables {
                let table = table.read();
                let first = !std::mem::replace(&mut self.wanted[table.keyspace], true);
                let takes = &mut self.takes[table.keyspace];
                let has_kinds = keyspaces[table.keyspace].kind_column().is_some();
                let taken = has_kinds.then(|| table.takes(&batch.kind_names)).flatten();
                *takes = match (first, takes.take(), taken) {
                    (true, _, taken) => taken,
                    (false, Some(all), Some(taken)) => Some(all.iter().zip(taken).map(|(a, b)| *a || b).collect()),
                    (false, _, _) => None,
                };
            }
        }
        let wanted = keyspaces.iter().zip(&self.wanted).filter(|(_, wanted)| **wanted);
        let wanted: Vec<&Column> = wanted.flat_map(|(keyspace, _)| &keyspace.shape().columns).collect();
        self.columns.fill(batch, &wanted, texts);
        let keyspaces = keyspaces.iter_mut().zip(&mut self.resolved).zip(self.wanted.iter().zip(&self.takes));
        for ((keyspace, resolved), (_, takes)) in keyspaces.filter(|(_, (wanted, _))| **wanted) {
            keyspace.resolve((&self.columns, takes.as_deref()), batch.len(), texts, resolved);
        }
    }

    /// Takes over the key columns that a metric's plugin computed for the batch given to `begin`, before `apply`. Without it the
    /// metric's tables with such keys count nothing of the batch.
    pub fn compute(&mut self, metric: MetricId, batch: &EventBatch, computed: &[ComputedKeys]) {
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        self.columns.compute(computed, batch.len(), texts);
        let computes = |column: &Column| matches!(column, Column::Computed(of, _) if *of == metric.0);
        for ((keyspace, resolved), takes) in keyspaces.iter_mut().zip(&mut self.resolved).zip(&self.takes) {
            if keyspace.shape().columns.iter().any(computes) {
                keyspace.resolve((&self.columns, takes.as_deref()), batch.len(), texts, resolved);
            }
        }
    }

    /// Counts the rows of a batch (the one given to `begin`) with offset `from` or later for one metric, and merges what
    /// its plugin handed over for them; then the metric stands at `batch.to`. How many table updates that were.
    pub fn apply(&mut self, metric: MetricId, batch: &EventBatch, from: u64, updates: &[CellUpdate]) -> u64 {
        self.apply_without(metric, batch, from, updates, &[])
    }

    /// The same, without some rows, ascending: the metric passes over them as if they were not there.
    pub fn apply_without(
        &mut self,
        metric: MetricId,
        batch: &EventBatch,
        from: u64,
        updates: &[CellUpdate],
        skip: &[u32],
    ) -> u64 {
        let mut start = batch.offsets.partition_point(|offset| *offset < from);
        let names = self.names.read();
        let (of, sources) =
            (&mut self.metrics[metric.0], Sources { batch, columns: &self.columns, texts: &names.texts });
        let mut counted = 0;
        for row in skip.iter().map(|row| *row as usize).filter(|row| *row < batch.len()) {
            if start < row {
                counted += of.apply(sources, start..row, &self.resolved, updates);
            }
            start = start.max(row + 1);
        }
        counted + of.apply(sources, start..batch.len(), &self.resolved, updates)
    }

    /// The same for these rows alone.
    pub fn apply_rows(
        &mut self,
        metric: MetricId,
        batch: &EventBatch,
        rows: std::ops::Range<usize>,
        updates: &[CellUpdate],
    ) -> u64 {
        let names = self.names.read();
        let sources = Sources { batch, columns: &self.columns, texts: &names.texts };
        self.metrics[metric.0].apply(sources, rows, &self.resolved, updates)
    }

    /// Whether each of a plugin's values names a row of the batch and a cell that takes it.
    pub fn accepts(&self, metric: MetricId, batch: &EventBatch, updates: &[CellUpdate]) -> bool {
        self.metrics[metric.0].accepts(batch.len(), updates)
    }

    /// Whether a batch of `rows` rows of a partition needs the metric to be sealed first.
    pub fn must_seal(&self, metric: MetricId, partition: u32, rows: usize) -> bool {
        self.metrics[metric.0].tables.iter().any(|table| table.read().must_seal(partition, rows))
    }

    /// Forgets what a metric counted of a partition since its last seal; only of use where nothing else holds it.
    pub fn drop_tail(&mut self, metric: MetricId, partition: u32) {
        self.metrics[metric.0].tables.iter().for_each(|table| table.write().drop_tail(partition));
    }

    /// Folds what a metric counted of a partition since its last seal into its panes and returns it.
    pub fn seal(&mut self, metric: MetricId, partition: u32) -> Sealed {
        let sealing = self.sealing(metric, partition);
        self.sealed(sealing)
    }

    /// Works out a seal beside readers: it may take a while, and changes nothing.
    pub fn sealing(&self, metric: MetricId, partition: u32) -> Sealing {
        let names = self.names.read();
        Sealing {
            metric,
            partition,
            tables: self.metrics[metric.0].sealing(partition, &names.keyspaces, &self.metrics),
        }
    }

    /// Puts a seal into force, which is over at once. The state must be the one that it was worked out from.
    pub fn sealed(&mut self, sealing: Sealing) -> Sealed {
        self.metrics[sealing.metric.0].sealed(sealing.partition, sealing.tables)
    }

    /// What was sealed, as frames: at most one per bucket.
    pub fn frames(&self, metric: MetricId, sealed: &[&Sealed]) -> Vec<SealedFrame> {
        let names = self.names.read();
        self.metrics[metric.0].frames(sealed, (&names.keyspaces, &self.metrics), &names.texts, &self.writing)
    }

    /// From now on frames of a metric are written for the layout in which these buckets (table, bucket) hold something.
    ///
    /// # Errors
    /// [`FrameError`] where they are not buckets of one layout.
    pub fn lay_out(&mut self, metric: MetricId, held: &[(u16, u32)]) -> Result<(), FrameError> {
        let metric = &mut self.metrics[metric.0];
        for table in 0..metric.tables.len() {
            let of = held.iter().filter(|(number, _)| usize::from(*number) == table);
            metric.lay_out(table, &of.map(|(_, bucket)| *bucket).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Takes over the floors of a new snapshot of one of the metric's buckets.
    ///
    /// # Errors
    /// [`FrameError`] where it is no snapshot of this table.
    pub fn raise(&mut self, metric: MetricId, table: usize, snapshot: &[u8]) -> Result<(), FrameError> {
        self.metrics[metric.0].raise(table, snapshot)
    }

    /// Rolls up about `rows` rows that have fallen below the floors. Whether there were any; reads are exact either way.
    pub fn roll(&mut self, rows: usize) -> bool {
        let rolling = self.rolling(rows, |_| true);
        rolling.map(|rolling| self.rolled(rolling)).is_some()
    }

    /// Works out such a roll-up of some metrics beside readers: it may take a while, and changes nothing.
    pub fn rolling(&self, rows: usize, of: impl Fn(MetricId) -> bool) -> Option<Rolling> {
        let metrics = self.metrics.iter().enumerate().filter(|(metric, _)| of(MetricId(*metric)));
        metrics.into_iter().find_map(|(metric, of)| {
            let table = |(table, of): (usize, &metric::Shared)| {
                of.read().rolling(rows).map(|change| Rolling { metric: MetricId(metric), table, change })
            };
            of.tables.iter().enumerate().find_map(table)
        })
    }

    /// Puts a roll-up into force, which is over at once. The state must be the one that it was worked out from.
    pub fn rolled(&mut self, rolling: Rolling) {
        self.metrics[rolling.metric.0].tables[rolling.table].write().rolled(rolling.change);
    }

    /// A metric as it is at this moment, to be read while others change the state.
    pub fn moment(&self, metric: MetricId) -> Moment {
        let of = &self.metrics[metric.0];
        Moment::new(&self.names, &of.tables, &self.kept, of.held())
    }

    /// Executes a read on a metric's table at this moment. `allow` says what it may cost.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        metric: MetricId,
        request: &ReadRequest,
        allow: &dyn Allowance,
    ) -> Result<ReadAnswer, ReadError> {
        self.moment(metric).read(request, allow)
    }

    /// A copy of what a metric has counted, made at once and taken apart later.
    pub fn dump(&self, metric: MetricId) -> Dump {
        let names = self.names.read();
        Dump::new(&self.metrics[metric.0].tables, &names.keyspaces, &names.texts)
    }

    /// Smallest and largest event time counted (after a start, the panes they lie in).
    pub fn times(&self, metric: MetricId) -> Option<(i64, i64)> {
        self.metrics[metric.0].times()
    }

    /// Whether panes are held that have expired when events up to `watermark` were counted.
    pub fn has_expired(&self, metric: MetricId, watermark: i64) -> bool {
        self.metrics[metric.0].tables.iter().any(|table| table.read().has_expired(watermark))
    }

    /// What a metric's window may rest on.
    pub fn held(&self, metric: MetricId) -> Held {
        self.metrics[metric.0].held()
    }

    /// Distinct texts (ids and event types) held.
    pub fn texts(&self) -> usize {
        self.names.read().texts.len()
    }
}
