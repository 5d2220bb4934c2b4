//! State: what all metrics have counted, as views in memory and as frames on the way to a store.
//!
//! Promises: a batch is applied to a metric completely or not at all; totals equal the fold of all
//! frames; the state does not depend on how the log is split into batches, seals and frames; a
//! moment of a metric answers the same whatever is done to the state afterwards. State performs no
//! I/O, reads no clock and decides nothing about progress: offsets say which rows a metric counts.
//!
//! A file may use its own layer and the layers below; layers on one line do not know each other:
//!
//! ```text
//! maintain | inspect
//! read
//! write
//! rows
//! ```
//! `rows` is how cells lie in memory and in panes; `write` turns batches into rows, and rows into
//! frames and back; `read` answers questions about one moment; `maintain` keeps stored frames, keys
//! and texts small; `inspect` shows what is there. [`State`], in this file, is what the rest of the
//! engine uses.
//!
//! Names and tables have locks of their own, beside the lock of the whole state: a writer holds
//! them for a batch, a reader of a moment for a few thousand rows. Lock names before a table, and
//! never while holding one.
//!
//! Over 480 lines: everything that the rest of the engine can ask of state is in one place.

mod inspect;
mod maintain;
mod read;
mod rows;
mod write;

#[cfg(test)]
mod tests;

pub use inspect::dump::{Dump, DumpCell, DumpPane, DumpRow};
pub use inspect::frames::{FrameFacts, KeyRows, MOST_ROWS, StoredRow, buckets_of, facts, key_of};
pub use maintain::compact::{compact, due, expires, split};
pub use read::allowance::{Allowance, ReadError};
pub use read::changes::{ChangeCursor, Interest, Interests, Reading};
pub use read::fold_cache::Folds;
pub use read::moment::Moment;
pub use write::buckets::{Buckets, buckets, halves, splits};
pub use write::columns::ComputedKeys;
pub use write::frame::FrameError;
pub use write::metric::{CellUpdate, HeldRange, Loading, Sealed, SealedFrame};
pub use write::threshold::Threshold;
pub use write::type_limit::TypeLimit;

use maintain::{collect_texts, memory_shares, overflow_keys};
use parking_lot::{Mutex, RwLock};
use std::ops::Range;
use std::sync::Arc;
use tally_event::EventBatch;
use tally_plugin::description::{Description, Table};
use tally_plugin::read::{ReadAnswer, ReadRequest};
use write::columns::Column;
use write::feeds::{Sources, feeds};
use write::keyspace::{Keyspace, Shape};
use write::metric::{MetricState, SharedTable, Writing};
use write::names::Names;
use write::resolved_batch::ResolvedBatch;
use write::table::{TableRollUp, TableSeal};

/// Index of a metric in the state, as [`State::add`] returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub usize);

/// The views of all metrics of an engine. One writer at a time; readers see whole batches only.
#[derive(Default)]
pub struct State {
    names: Arc<RwLock<Names>>,
    /// Number of texts at which unused ones are looked for.
    sweep_at: usize,
    metrics: Vec<MetricState>,
    batch: ResolvedBatch,
    folds: Arc<Folds>,
    writing: Mutex<Writing>,
    tails_only: bool,
    types: TypeLimit,
}

/// A seal that is worked out but not in force yet.
pub struct Sealing {
    metric: MetricId,
    partition: u32,
    tables: Vec<TableSeal>,
}

/// A roll-up that is worked out but not in force yet.
pub struct Rolling {
    metric: MetricId,
    table: usize,
    change: TableRollUp,
}

impl State {
    /// A state that only turns batches into frames: it holds what is not sealed yet, and reads find
    /// nothing in it.
    #[must_use]
    pub fn tails_only() -> State {
        State { tails_only: true, ..State::default() }
    }

    /// The same state with another rule of which event types keep rows of their own. Call it before
    /// metrics are added.
    #[must_use]
    pub fn with_types(self, types: TypeLimit) -> State {
        State { types, ..self }
    }

    /// The same state with a cache of folds that it shares with other states.
    #[must_use]
    pub fn keeping(self, folds: Arc<Folds>) -> State {
        State { folds, ..self }
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
        let columns: Vec<Column> =
            table.key.iter().map(|key| Column::of(key, description, metric)).collect();
        for column in &columns {
            if let Column::Property(property) = column {
                self.batch.columns.want(property);
            }
        }
        let shape = Shape { columns, group };
        let keyspaces = &mut self.names.write().keyspaces;
        let known = keyspaces.iter().position(|keys| keys.keeps_all_of(&shape));
        known.unwrap_or_else(|| {
            keyspaces.push(Keyspace::new(shape));
            keyspaces.len() - 1
        })
    }

    /// Empties a metric, which is to be loaded again, and drops ids and keys that nothing else
    /// needs. What was sealed from it and is not stored is void.
    pub fn clear(&mut self, metric: MetricId) {
        let names = self.names.read();
        let of = &mut self.metrics[metric.0];
        of.clear();
        for table in &of.tables {
            let table = &mut *table.write();
            // The frames that are loaded next say which keys are kept.
            let shape = names.keyspaces[table.keyspace].shape();
            let whole = names.keyspaces.iter().position(|keys| keys.keeps_all_of(shape));
            table.keyspace = whole.unwrap_or(table.keyspace);
        }
        drop(names);
        self.release();
        self.sweep_at = 0;
        self.folds.forget();
    }

    /// Ends the loading of everything stored of a metric: a fold from before it is no longer
    /// brought up to date.
    pub fn end_load(&mut self, metric: MetricId) {
        self.metrics[metric.0].tables.iter().for_each(|table| table.write().forget_loaded());
    }

    /// Drops the tables of a metric that is no longer counted, and the ids and keys that nothing
    /// else needs. Its id is not reused.
    pub fn forget(&mut self, metric: MetricId) {
        self.folds.forget();
        self.metrics[metric.0].tables.clear();
        self.release();
        self.sweep_at = 0;
    }

    /// Frees what was kept of a metric for readers of earlier moments, if none reads any more.
    /// Counting does so by itself; call it for a metric that counts nothing.
    pub fn release_moments(&self, metric: MetricId) {
        // A writer that waits holds up new readers: only where there is something to free.
        let kept = self.metrics[metric.0].tables.iter().filter(|table| table.read().has_previous());
        kept.for_each(|table| table.write().release_previous());
    }

    /// Prepares a batch for [`State::apply`] to any metric.
    pub fn begin(&mut self, batch: &EventBatch) {
        self.begin_for(batch, (0..self.metrics.len()).map(MetricId));
    }

    /// Prepares a batch for [`State::apply`] to these metrics: resolves its ids and keys once for
    /// all of them.
    pub fn begin_for(&mut self, batch: &EventBatch, metrics: impl Iterator<Item = MetricId>) {
        self.sweep();
        let metrics: Vec<MetricId> = metrics.collect();
        metrics.iter().for_each(|metric| self.metrics[metric.0].is_empty = false);
        let metrics = metrics.iter().map(|metric| &self.metrics[metric.0]);
        self.batch.resolve(&mut self.names.write(), batch, metrics);
    }

    /// A batch that was prepared will not be counted: metrics that hold nothing need none of its
    /// keys.
    pub fn abandon_batch(&mut self) {
        self.metrics.iter_mut().for_each(MetricState::note_empty);
        self.release();
    }

    /// Takes over the key columns that a metric's plugin computed for the batch of `begin`; call it
    /// before `apply`. Without it, tables of the metric with such key columns count nothing of the
    /// batch.
    pub fn compute(&mut self, metric: MetricId, batch: &EventBatch, computed: &[ComputedKeys]) {
        self.batch.compute(&mut self.names.write(), metric.0, batch, computed);
    }

    /// Counts the rows of the batch of `begin` with offset `from` or later for one metric, and
    /// merges what its plugin returned for them. Returns the number of table updates.
    pub fn apply(
        &mut self,
        metric: MetricId,
        batch: &EventBatch,
        from: u64,
        updates: &[CellUpdate],
    ) -> u64 {
        self.apply_without(metric, batch, from, updates, &[])
    }

    /// As [`State::apply`], without the rows in `skip` (ascending): the metric counts as if they
    /// were not there.
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
        let (of, sources) = (
            &mut self.metrics[metric.0],
            Sources { batch, columns: &self.batch.columns, texts: &names.texts },
        );
        let mut counted = 0;
        for row in skip.iter().map(|row| *row as usize).filter(|row| *row < batch.len()) {
            if start < row {
                counted += of.apply(sources, start..row, &self.batch.keys, updates);
            }
            start = start.max(row + 1);
        }
        counted + of.apply(sources, start..batch.len(), &self.batch.keys, updates)
    }

    /// As [`State::apply`], for these rows alone.
    pub fn apply_rows(
        &mut self,
        metric: MetricId,
        batch: &EventBatch,
        rows: Range<usize>,
        updates: &[CellUpdate],
    ) -> u64 {
        let names = self.names.read();
        let sources = Sources { batch, columns: &self.batch.columns, texts: &names.texts };
        self.metrics[metric.0].apply(sources, rows, &self.batch.keys, updates)
    }

    /// Whether each value of a plugin names a row of the batch and a cell that takes it.
    pub fn accepts(&self, metric: MetricId, batch: &EventBatch, updates: &[CellUpdate]) -> bool {
        self.metrics[metric.0].accepts(batch.len(), updates)
    }

    /// Whether the metric must be sealed before it counts a batch of `rows` rows of a partition.
    pub fn must_seal(&self, metric: MetricId, partition: u32, rows: usize) -> bool {
        self.metrics[metric.0].tables.iter().any(|table| table.read().must_seal(partition, rows))
    }

    /// Drops what a metric counted of a partition since its last seal. Totals keep it: this is for
    /// a state of [`State::tails_only`].
    pub fn drop_tail(&mut self, metric: MetricId, partition: u32) {
        self.metrics[metric.0].tables.iter().for_each(|table| table.write().drop_tail(partition));
    }

    /// Folds what a metric counted of a partition since its last seal into its panes, and returns
    /// it.
    pub fn seal(&mut self, metric: MetricId, partition: u32) -> Sealed {
        let sealing = self.sealing(metric, partition);
        self.sealed(sealing)
    }

    /// Works out a seal while readers go on: it may take a while, and changes nothing.
    pub fn sealing(&self, metric: MetricId, partition: u32) -> Sealing {
        let names = self.names.read();
        Sealing {
            metric,
            partition,
            tables: self.metrics[metric.0].sealing(partition, &names.keyspaces, &self.metrics),
        }
    }

    /// Puts a seal into force, which takes no time. The state must not have changed since
    /// [`State::sealing`].
    pub fn sealed(&mut self, sealing: Sealing) -> Sealed {
        self.metrics[sealing.metric.0].sealed(sealing.partition, sealing.tables)
    }

    /// What was sealed, as frames: at most one per bucket.
    pub fn frames(&self, metric: MetricId, sealed: &[&Sealed]) -> Vec<SealedFrame> {
        let names = self.names.read();
        self.metrics[metric.0].frames(
            sealed,
            (&names.keyspaces, &self.metrics),
            &names.texts,
            &self.writing,
        )
    }

    /// From now on frames of a metric are written for the layout in which these buckets (table,
    /// bucket) hold something.
    ///
    /// # Errors
    /// [`FrameError`] if they are not buckets of one layout.
    pub fn lay_out(&mut self, metric: MetricId, held: &[(u16, u32)]) -> Result<(), FrameError> {
        let metric = &mut self.metrics[metric.0];
        for table in 0..metric.tables.len() {
            let of = held.iter().filter(|(number, _)| usize::from(*number) == table);
            metric.lay_out(table, &of.map(|(_, bucket)| *bucket).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Begins to load frames into a metric; until the result is dropped, nothing else reads or
    /// changes the state.
    pub fn loading(&mut self, metric: MetricId) -> Loading<'_> {
        self.sweep();
        self.release();
        Loading::new(&mut self.metrics[metric.0], &self.names, &self.types)
    }

    /// Loads one frame. Returns the number of updates that it says it holds.
    ///
    /// # Errors
    /// As [`Loading::frame`].
    pub fn load(
        &mut self,
        metric: MetricId,
        table: usize,
        frame: &[u8],
    ) -> Result<u64, FrameError> {
        self.loading(metric).frame(table, frame)
    }

    /// Takes over the floors of a new snapshot of one of the metric's buckets.
    ///
    /// # Errors
    /// [`FrameError`] if it is not a snapshot of this table.
    pub fn raise(
        &mut self,
        metric: MetricId,
        table: usize,
        snapshot: &[u8],
    ) -> Result<(), FrameError> {
        self.metrics[metric.0].raise(table, snapshot)
    }

    /// Rolls up about `rows` rows that have fallen below the floors. Returns whether there were
    /// any; reads are exact either way.
    pub fn roll(&mut self, rows: usize) -> bool {
        let rolling = self.rolling(rows, |_| true);
        rolling.map(|rolling| self.rolled(rolling)).is_some()
    }

    /// Works out such a roll-up of some metrics while readers go on: it may take a while, and
    /// changes nothing.
    pub fn rolling(&self, rows: usize, of: impl Fn(MetricId) -> bool) -> Option<Rolling> {
        let metrics = self.metrics.iter().enumerate().filter(|(metric, _)| of(MetricId(*metric)));
        metrics.into_iter().find_map(|(metric, of)| {
            let table = |(table, of): (usize, &SharedTable)| {
                of.read().rolling(rows).map(|change| Rolling {
                    metric: MetricId(metric),
                    table,
                    change,
                })
            };
            of.tables.iter().enumerate().find_map(table)
        })
    }

    /// Puts a roll-up into force, which takes no time. The state must not have changed since
    /// [`State::rolling`].
    pub fn rolled(&mut self, rolling: Rolling) {
        self.metrics[rolling.metric.0].tables[rolling.table].write().rolled(rolling.change);
    }

    /// A metric as it is at this moment, to be read while others change the state.
    pub fn moment(&self, metric: MetricId) -> Moment {
        let of = &self.metrics[metric.0];
        Moment::new(&self.names, &of.tables, &self.folds, of.held())
    }

    /// How far a metric has come, to be compared with a later cursor. It is no moment: no row is
    /// copied for it.
    pub fn cursor(&self, metric: MetricId) -> ChangeCursor {
        ChangeCursor::new(&self.names, &self.metrics[metric.0].tables)
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

    /// What a metric has counted at this moment, to be taken apart while others change the state.
    pub fn dump(&self, metric: MetricId) -> Dump {
        Dump::new(self.moment(metric), &self.metrics[metric.0].tables)
    }

    /// Takes over the smallest and the largest event time that the loaded frames of a metric hold,
    /// as they are recorded beside them. Of one that is `None` only the start of the pane in which
    /// it lies is known.
    pub fn set_times(&mut self, metric: MetricId, first: Option<i64>, last: Option<i64>) {
        self.metrics[metric.0].set_times(first, last);
    }

    /// Smallest and largest event time counted, in Unix milliseconds. Of frames alone
    /// ([`State::set_times`]) the starts of the panes in which they lie.
    pub fn times(&self, metric: MetricId) -> Option<(i64, i64)> {
        self.metrics[metric.0].times()
    }

    /// Whether panes are held that have expired once events up to `watermark` (Unix milliseconds)
    /// were counted.
    pub fn has_expired(&self, metric: MetricId, watermark: i64) -> bool {
        self.metrics[metric.0].tables.iter().any(|table| table.read().has_expired(watermark))
    }

    /// The times that a window of the metric may cover.
    pub fn held(&self, metric: MetricId) -> HeldRange {
        self.metrics[metric.0].held()
    }

    /// A table of a metric that has more cells than `max`: its name and how many it has.
    pub fn over(&self, metric: MetricId, max: u64) -> Option<(String, u64)> {
        overflow_keys::table_over(self.metrics.get(metric.0)?, max)
    }

    /// Which keys each table of a metric keeps.
    pub fn thresholds(&self, metric: MetricId) -> Vec<Threshold> {
        let names = self.names.read();
        let tables = self.metrics.get(metric.0).into_iter().flat_map(|metric| &metric.tables);
        tables.map(|table| names.keyspaces[table.read().keyspace].threshold()).collect()
    }

    /// The lowest thresholds at which no table of a metric has more than `max` cells; the highest
    /// if none is enough.
    pub fn thresholds_for(&mut self, metric: MetricId, max: u64) -> Vec<Threshold> {
        overflow_keys::thresholds_for(&self.metrics[metric.0], &mut self.names.write(), max)
    }

    /// The lowest thresholds at which no table of a metric has more event types than may have rows
    /// of their own; `None`: they are in force.
    pub fn thresholds_for_types(&mut self, metric: MetricId) -> Option<Vec<Threshold>> {
        let names = self.names.read();
        self.metrics[metric.0].thresholds_for_types(&names.keyspaces, &names.texts, &self.types)
    }

    /// Raises the thresholds of a metric's tables to these, where they are lower. The metric is
    /// sealed first; returns what that sealed, by partition.
    pub fn narrow(&mut self, metric: MetricId, to: &[Threshold]) -> Vec<(u32, Sealed)> {
        let partitions = self.metrics[metric.0].partitions();
        let sealed = partitions
            .into_iter()
            .map(|partition| (partition, self.seal(metric, partition)))
            .collect();
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        for (table, threshold) in to.iter().enumerate() {
            self.metrics[metric.0].narrow(table, *threshold, keyspaces, texts, &self.types);
        }
        drop(names);
        self.folds.forget();
        self.release();
        sealed
    }

    /// Rows × cells of a metric, and the bytes that it takes: its tables, and its share of the ids
    /// and keys that it uses together with others.
    pub fn size(&self, metric: MetricId) -> (u64, u64) {
        let (cells, bytes) = self.metrics[metric.0].size();
        (cells, bytes + memory_shares::of_names(&self.metrics, &self.names.read())[metric.0])
    }

    /// The bytes that each metric takes, counted as in [`State::size`].
    pub fn sizes(&self) -> Vec<(MetricId, u64)> {
        let shares = memory_shares::of_names(&self.metrics, &self.names.read());
        let sizes = self.metrics.iter().zip(shares).enumerate();
        sizes.map(|(number, (metric, share))| (MetricId(number), metric.size().1 + share)).collect()
    }

    /// What each metric takes by itself, in bytes, without its share of ids and keys.
    pub fn own_sizes(&self) -> Vec<u64> {
        self.metrics.iter().map(|metric| metric.size().1).collect()
    }

    /// As [`State::sizes`] while one metric is loaded. `own`: what the others took by themselves
    /// when that was last measured ([`State::own_sizes`]).
    pub fn sizes_while_loading(&self, loading: MetricId, own: &[u64]) -> Vec<(MetricId, u64)> {
        let own = |number: usize, metric: &MetricState| match own.get(number) {
            Some(own) if number != loading.0 => *own,
            // It was emptied before its loading began.
            Some(_) => metric.loaded_size(),
            // It was added since.
            None => 0,
        };
        let shares = memory_shares::of_names(&self.metrics, &self.names.read());
        let sizes = self.metrics.iter().zip(shares).enumerate();
        sizes
            .map(|(number, (metric, share))| (MetricId(number), own(number, metric) + share))
            .collect()
    }

    /// The bytes of a metric that only frames were loaded into, counted as in [`State::size`],
    /// without visiting its rows.
    pub fn loaded_size(&self, metric: MetricId) -> u64 {
        let shares = memory_shares::of_names(&self.metrics, &self.names.read());
        self.metrics[metric.0].loaded_size() + shares[metric.0]
    }

    /// Number of distinct texts (ids and event types) held.
    pub fn texts(&self) -> usize {
        self.names.read().texts.len()
    }

    /// Empties the keyspaces that no table uses any more.
    fn release(&mut self) {
        self.writing.get_mut().release();
        overflow_keys::release(&mut self.names.write(), &self.metrics);
    }

    /// Drops unused texts if that is due. Nothing may hold the number of a text from before.
    fn sweep(&mut self) {
        if self.texts() >= self.sweep_at.max(collect_texts::LEAST) {
            self.sweep_now();
        }
    }

    /// Drops unused texts if that is worth it.
    fn sweep_now(&mut self) {
        self.release();
        let names = collect_texts::without_unused(&self.names.read());
        if let Some(names) = names {
            // Readers of a moment keep the names from before.
            self.names = Arc::new(RwLock::new(names));
            self.folds.forget();
        }
        self.sweep_at = self.texts() * 2;
    }
}
