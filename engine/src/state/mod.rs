//! State: what all metrics have counted, as views in memory, and as frames on the way to a store.
//!
//! Promises: a batch is applied to a metric wholly or not at all; totals equal the fold of all frames; whatever the
//! split of the log into batches, seals and frames, the state is the same. It performs no I/O, reads no clock, decides
//! nothing about progress: which rows a metric takes is told by offsets.
//!
//! Over 400 lines: everything that the rest of the engine can ask of state, in one place.
//!
//! From the bottom: `varint`, `cells` and `block` (a row's words and sketches), `source` (columns), `texts` (ids as numbers),
//! `index`, `threshold` (which keys stand for themselves), `keyspace` (keys as numbers), `tail` → `run` (rows since the last seal → closed panes), `floors` (retention),
//! `loaded`, `table`, `buckets` (which key where), `frame`/`compact` (the stored form), `allowance`, `scan`, `plan`, `fold`, `aggregate`
//! (reads), `dump` (a copy), `look` (at stored frames); `narrow`, `types` and `sweep` keep keys, event types and texts bounded.

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
mod frame;
mod index;
mod keyspace;
mod loaded;
mod look;
mod metric;
mod narrow;
mod plan;
mod radix;
mod run;
mod scan;
mod sets;
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
pub use dump::{Dump, DumpCell, DumpPane, DumpRow};
pub use frame::FrameError;
pub use look::{FrameFacts, StoredRow, buckets_of, facts, key_of, rows_of};
pub use metric::{Held, Loading, Sealed, SealedFrame};
pub use threshold::Threshold;
pub use types::TypeLimit;

use crate::event::EventBatch;
use columns::Columns;
use keyspace::{Keyspace, Shape};
use metric::MetricState;
use parking_lot::Mutex;
use source::{Column, Sources, feeds};
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
    texts: Texts,
    /// Number of texts at which those are looked for that nobody needs.
    sweep_at: usize,
    keyspaces: Vec<Keyspace>,
    metrics: Vec<MetricState>,
    columns: Columns,
    /// Keys of the current batch, per keyspace.
    resolved: Vec<Vec<u32>>,
    /// Whether the current batch is resolved for each of them.
    wanted: Vec<bool>,
    /// Per keyspace, which event types of the current batch are resolved; `None`: all.
    takes: Vec<Option<Vec<bool>>>,
    kept: fold::Kept,
    writing: Mutex<metric::Writing>,
    tails_only: bool,
    types: TypeLimit,
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

    /// Adds a metric with empty tables.
    pub fn add(&mut self, description: &Description) -> MetricId {
        let number = self.metrics.len();
        let table = |table: &Table| {
            let keyspace = self.keyspace_for(table, description, number);
            (table.clone(), keyspace, feeds(&table.cells, description, number))
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
        let known = self.keyspaces.iter().position(alike);
        known.unwrap_or_else(|| {
            self.keyspaces.push(Keyspace::new(shape));
            self.keyspaces.len() - 1
        })
    }

    /// Empties a metric, to be loaded again.
    pub fn clear(&mut self, metric: MetricId) {
        self.kept.forget(metric.0);
        let of = &mut self.metrics[metric.0];
        of.clear();
        for table in &mut of.tables {
            // Which keys are kept is told anew by what is loaded.
            let shape = self.keyspaces[table.keyspace].shape();
            let whole = |keys: &Keyspace| keys.shape() == shape && keys.threshold() == Threshold::NONE;
            table.keyspace = self.keyspaces.iter().position(whole).unwrap_or(table.keyspace);
        }
    }

    /// Prepares a batch for [`State::apply`] to any metric.
    pub fn begin(&mut self, batch: &EventBatch) {
        self.begin_for(batch, (0..self.metrics.len()).map(MetricId));
    }

    /// Prepares a batch for [`State::apply`] to these metrics: resolves its ids and keys once for all of them.
    pub fn begin_for(&mut self, batch: &EventBatch, metrics: impl Iterator<Item = MetricId>) {
        self.sweep();
        self.wanted.clear();
        self.wanted.resize(self.keyspaces.len(), false);
        self.resolved.resize(self.keyspaces.len(), Vec::new());
        self.takes.clear();
        self.takes.resize(self.keyspaces.len(), None);
        let of = &self.metrics;
        for table in metrics.flat_map(|metric| &of[metric.0].tables) {
            let first = !std::mem::replace(&mut self.wanted[table.keyspace], true);
            let takes = &mut self.takes[table.keyspace];
            let has_kinds = self.keyspaces[table.keyspace].kind_column().is_some();
            let taken = has_kinds.then(|| table.takes(&batch.kind_names)).flatten();
            *takes = match (first, takes.take(), taken) {
                (true, _, taken) => taken,
                (false, Some(all), Some(taken)) => Some(all.iter().zip(taken).map(|(a, b)| *a || b).collect()),
                (false, _, _) => None,
            };
        }
        let wanted = self.keyspaces.iter().zip(&self.wanted).filter(|(_, wanted)| **wanted);
        let wanted: Vec<&Column> = wanted.flat_map(|(keyspace, _)| &keyspace.shape().columns).collect();
        self.columns.fill(batch, &wanted, &mut self.texts);
        let keyspaces = self.keyspaces.iter_mut().zip(&mut self.resolved).zip(self.wanted.iter().zip(&self.takes));
        for ((keyspace, resolved), (_, takes)) in keyspaces.filter(|(_, (wanted, _))| **wanted) {
            keyspace.resolve((&self.columns, takes.as_deref()), batch.len(), &self.texts, resolved);
        }
    }

    /// Takes over the key columns that a metric's plugin computed for the batch given to `begin`, before `apply`. Without it the
    /// metric's tables with such keys count nothing of the batch.
    pub fn compute(&mut self, metric: MetricId, batch: &EventBatch, computed: &[ComputedKeys]) {
        self.columns.compute(computed, batch.len(), &mut self.texts);
        let computes = |column: &Column| matches!(column, Column::Computed(of, _) if *of == metric.0);
        for ((keyspace, resolved), takes) in self.keyspaces.iter_mut().zip(&mut self.resolved).zip(&self.takes) {
            if keyspace.shape().columns.iter().any(computes) {
                keyspace.resolve((&self.columns, takes.as_deref()), batch.len(), &self.texts, resolved);
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
        let (of, sources) =
            (&mut self.metrics[metric.0], Sources { batch, columns: &self.columns, texts: &self.texts });
        let mut counted = 0;
        for row in skip.iter().map(|row| *row as usize).filter(|row| *row < batch.len()) {
            if start < row {
                counted += of.apply(sources, start..row, &self.resolved, updates);
            }
            start = start.max(row + 1);
        }
        counted + of.apply(sources, start..batch.len(), &self.resolved, updates)
    }

    /// Whether each of a plugin's values names a row of the batch and a cell that takes it.
    pub fn accepts(&self, metric: MetricId, batch: &EventBatch, updates: &[CellUpdate]) -> bool {
        self.metrics[metric.0].accepts(batch.len(), updates)
    }

    /// Whether a batch of `rows` rows of a partition needs the metric to be sealed first.
    pub fn must_seal(&self, metric: MetricId, partition: u32, rows: usize) -> bool {
        self.metrics[metric.0].tables.iter().any(|table| table.must_seal(partition, rows))
    }

    /// Forgets what a metric counted of a partition since its last seal; only of use where nothing else holds it.
    pub fn drop_tail(&mut self, metric: MetricId, partition: u32) {
        self.metrics[metric.0].tables.iter_mut().for_each(|table| table.drop_tail(partition));
    }

    /// Folds what a metric counted of a partition since its last seal into its panes and returns it.
    pub fn seal(&mut self, metric: MetricId, partition: u32) -> Sealed {
        let sealing = self.sealing(metric, partition);
        self.sealed(sealing)
    }

    /// Works out a seal beside readers: it may take a while, and changes nothing.
    pub fn sealing(&self, metric: MetricId, partition: u32) -> Sealing {
        Sealing { metric, partition, tables: self.metrics[metric.0].sealing(partition, &self.keyspaces, &self.metrics) }
    }

    /// Puts a seal into force, which is over at once. The state must be the one that it was worked out from.
    pub fn sealed(&mut self, sealing: Sealing) -> Sealed {
        self.metrics[sealing.metric.0].sealed(sealing.partition, sealing.tables)
    }

    /// What was sealed, as frames: at most one per bucket.
    pub fn frames(&self, metric: MetricId, sealed: &[&Sealed]) -> Vec<SealedFrame> {
        self.metrics[metric.0].frames(sealed, (&self.keyspaces, &self.metrics), &self.texts, &self.writing)
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
            let table = |(table, of): (usize, &table::TableState)| {
                of.rolling(rows).map(|change| Rolling { metric: MetricId(metric), table, change })
            };
            of.tables.iter().enumerate().find_map(table)
        })
    }

    /// Puts a roll-up into force, which is over at once. The state must be the one that it was worked out from.
    pub fn rolled(&mut self, rolling: Rolling) {
        self.metrics[rolling.metric.0].tables[rolling.table].rolled(rolling.change);
    }

    /// Executes a read on a metric's table. `allow` says what it may cost.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        metric: MetricId,
        request: &ReadRequest,
        allow: &dyn Allowance,
    ) -> Result<ReadAnswer, ReadError> {
        let tables = &self.metrics[metric.0].tables;
        let number = tables.iter().position(|table| table.description.name == request.table);
        let number = number.ok_or_else(|| ReadError::Bad(format!("there is no table \"{}\"", request.table)))?;
        let table = &tables[number];
        let of = fold::Of { table, keys: &self.keyspaces[table.keyspace], allow };
        aggregate::read(of, &self.texts, request, &self.kept, (metric.0, number))
    }

    /// A copy of what a metric has counted, made at once and taken apart later.
    pub fn dump(&self, metric: MetricId) -> Dump {
        Dump::new(&self.metrics[metric.0].tables, &self.keyspaces, &self.texts)
    }

    /// Smallest and largest event time counted (after a start, the panes they lie in).
    pub fn times(&self, metric: MetricId) -> Option<(i64, i64)> {
        self.metrics[metric.0].times()
    }

    /// Whether panes are held that have expired when events up to `watermark` were counted.
    pub fn has_expired(&self, metric: MetricId, watermark: i64) -> bool {
        self.metrics[metric.0].tables.iter().any(|table| table.has_expired(watermark))
    }

    /// What a metric's window may rest on.
    pub fn held(&self, metric: MetricId) -> Held {
        self.metrics[metric.0].held()
    }

    /// Rows × cells of a metric, and its bytes in memory, about; ids and keys are shared and counted elsewhere.
    pub fn size(&self, metric: MetricId) -> (u64, u64) {
        self.metrics[metric.0].size()
    }

    /// Bytes of ids and keys, which metrics share, about.
    pub fn shared_memory(&self) -> usize {
        self.texts.memory() + self.keyspaces.iter().map(Keyspace::memory).sum::<usize>()
    }

    /// Distinct texts (ids and event types) held.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }
}

/// One snapshot in place of all frames of a bucket, oldest first. `watermark`: the revision's largest event time.
///
/// # Errors
/// [`FrameError`] where a frame is not one of this table.
pub fn compact(table: &Table, frames: &[Vec<u8>], watermark: i64) -> Result<Vec<u8>, FrameError> {
    compact::compact(table, frames, watermark)
}

/// From when on each table's minutes, hours and days are held when events up to `watermark` were counted: where that has
/// changed, panes may have expired.
#[must_use]
pub fn due(tables: &[Table], watermark: i64) -> Vec<[i64; 3]> {
    let floors = |table: &Table| floors::Floors::new(&table.tiers).raised(&table.tiers, watermark);
    tables.iter().map(floors).map(|floors| [floors.minute, floors.hour, floors.day]).collect()
}

/// Whether compacting a bucket that begins with this frame would raise its floors.
///
/// # Errors
/// As [`compact`].
pub fn expires(table: &Table, first: &[u8], watermark: i64) -> Result<bool, FrameError> {
    let stored = frame::FrameReader::open(first, table.key.len())?.header.floors;
    let floors = stored.unwrap_or_else(|| floors::Floors::new(&table.tiers));
    Ok(floors.raised(&table.tiers, watermark) != floors)
}

/// The two buckets in place of one, with their snapshots, of which one may be empty; `None` where no number of splits tells its
/// keys apart.
///
/// # Errors
/// As [`compact`].
pub fn split(
    table: &Table,
    bucket: u32,
    frames: &[Vec<u8>],
    watermark: i64,
) -> Result<Option<[(u32, Vec<u8>); 2]>, FrameError> {
    compact::split(table, bucket, frames, watermark)
}
