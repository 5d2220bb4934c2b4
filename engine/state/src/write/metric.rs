//! The tables of one metric: applies batches to them, seals them, loads them from frames.

mod load_frames;
mod overflow;
mod write_frames;

pub use load_frames::Loading;
pub(crate) use write_frames::Writing;

use super::buckets::Buckets;
use super::feeds::{Feed, Sources};
use super::frame::{FrameError, FrameReader};
use super::keyspace::{Keyspace, NONE};
use super::table::{SealedTail, TableSeal, TableState};
use crate::rows::floors::Floors;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use tally_event::EventBatch;
use tally_plugin::description::Table;

/// One value that a plugin's `update` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellUpdate {
    /// Row of the batch.
    pub row: u32,
    /// Index of the table in the metric's description.
    pub table: u16,
    /// Index of the cell in the table.
    pub cell: u16,
    /// The value to merge into the cell.
    pub value: i128,
}

/// What one partition added to a metric between two seals, folded: kept until it is stored, since
/// it may be sent again.
pub struct Sealed {
    tables: Vec<Arc<SealedTail>>,
}

/// A frame ready to be committed.
#[derive(Clone, Debug)]
pub struct SealedFrame {
    /// Index of the table.
    pub table: u16,
    /// The bucket.
    pub bucket: u32,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// The time from which on each resolution is held in every table of a metric, in Unix milliseconds;
/// `i64::MIN`: from the beginning, `i64::MAX`: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRange {
    /// Floor of minutes.
    pub minute_floor: i64,
    /// Floor of hours.
    pub hour_floor: i64,
    /// Floor of days.
    pub day_floor: i64,
    /// Smallest event time counted.
    pub first: Option<i64>,
    /// Largest event time counted.
    pub last: Option<i64>,
}

/// A table, shared with the readers of its moments.
pub(crate) type SharedTable = Arc<RwLock<TableState>>;

/// The tables of one metric.
pub(crate) struct MetricState {
    pub(crate) tables: Vec<SharedTable>,
    first: i64,
    last: i64,
    /// By table, as far as known here.
    buckets: Vec<Arc<Buckets>>,
    /// By event type code of the current batch: whether its events count in the current table.
    takes: Vec<bool>,
    tails_only: bool,
    /// It was emptied and nothing came since: none of its keys is needed.
    pub(crate) is_empty: bool,
}

impl MetricState {
    pub(crate) fn new(
        tables: Vec<(Arc<Table>, usize, Arc<[Feed]>)>,
        tails_only: bool,
    ) -> MetricState {
        let buckets = tables.iter().map(|(table, _, _)| Arc::new(Buckets::begun(table))).collect();
        let table = |(table, keyspace, feeds): (Arc<Table>, usize, Arc<[Feed]>)| {
            Arc::new(RwLock::new(TableState::new(&table, keyspace, &feeds, tails_only)))
        };
        let tables = tables.into_iter().map(table).collect();
        let (first, last) = (i64::MAX, i64::MIN);
        MetricState { tables, buckets, first, last, takes: Vec::new(), tails_only, is_empty: true }
    }

    pub(crate) fn clear(&mut self) {
        let table = |table: &SharedTable| {
            let table = table.read();
            (Arc::clone(&table.description), table.keyspace, Arc::clone(&table.feeds))
        };
        // New tables: readers of a moment keep the ones from before.
        *self = MetricState::new(self.tables.iter().map(table).collect(), self.tails_only);
    }

    /// Takes note if nothing is held, and so none of its keys is needed.
    pub(crate) fn note_empty(&mut self) {
        self.is_empty |= self.tables.iter().all(|table| table.read().is_empty());
    }

    pub(crate) fn apply(
        &mut self,
        of: Sources<'_>,
        rows: Range<usize>,
        resolved: &[Vec<u32>],
        updates: &[CellUpdate],
    ) -> u64 {
        let batch = of.batch;
        let times = &batch.times[rows.clone()];
        for time in times {
            self.first = self.first.min(*time);
            self.last = self.last.max(*time);
        }
        let mut counted = 0;
        for table in &self.tables {
            let table = &mut *table.write();
            table.begin();
            let keys = &resolved[table.keyspace][rows.clone()];
            let description = Arc::clone(&table.description);
            let only = &description.only;
            // A table that only the plugin feeds has no row for an event for which the plugin
            // returns nothing.
            let fed =
                description.cells.iter().any(|c| c.from != tally_plugin::description::From::Update);
            if !fed {
                continue;
            }
            counted += if only.is_empty() {
                let counted = table.count(batch.partition, keys, times, |_| true);
                if !table.feeds.is_empty() {
                    table.feed_cells(of, rows.start, keys, |_| true);
                }
                counted
            } else {
                self.takes.clear();
                self.takes.extend(
                    batch.kind_names.iter().map(|name| only.iter().any(|only| **only == **name)),
                );
                let (takes, kinds) = (&self.takes, &batch.kinds[rows.clone()]);
                let takes =
                    |row: usize| takes.get(usize::from(kinds[row])).copied().unwrap_or(false);
                let counted = table.count(batch.partition, keys, times, takes);
                if !table.feeds.is_empty() {
                    table.feed_cells(of, rows.start, keys, takes);
                }
                counted
            };
        }
        counted + self.apply_updates(batch, rows, resolved, updates)
    }

    fn apply_updates(
        &mut self,
        batch: &EventBatch,
        rows: Range<usize>,
        resolved: &[Vec<u32>],
        updates: &[CellUpdate],
    ) -> u64 {
        if updates.is_empty() {
            return 0;
        }
        let mut counted = 0;
        let mut tables: Vec<_> = self.tables.iter().map(|table| table.write()).collect();
        for update in updates.iter().filter(|update| rows.contains(&(update.row as usize))) {
            let Some(table) = tables.get_mut(usize::from(update.table)) else { continue };
            let key = resolved[table.keyspace].get(update.row as usize).copied().unwrap_or(NONE);
            if key != NONE && table.layout.takes(usize::from(update.cell), update.value) {
                table.update(
                    batch.partition,
                    key,
                    batch.times[update.row as usize],
                    update.cell,
                    update.value,
                );
                counted += 1;
            }
        }
        counted
    }

    /// Whether each value of a plugin names a row of the batch and a cell that takes it.
    pub(crate) fn accepts(&self, rows: usize, updates: &[CellUpdate]) -> bool {
        updates.iter().all(|update| {
            let table = self.tables.get(usize::from(update.table));
            (update.row as usize) < rows
                && table.is_some_and(|table| {
                    table.read().layout.takes(usize::from(update.cell), update.value)
                })
        })
    }

    /// The partitions that counted something since the last seal.
    pub(crate) fn partitions(&self) -> BTreeSet<u32> {
        self.tables.iter().flat_map(|table| table.read().partitions().collect::<Vec<_>>()).collect()
    }

    /// `others`: metrics that may just have sealed the same.
    pub(crate) fn sealing(
        &self,
        partition: u32,
        keyspaces: &[Keyspace],
        others: &[MetricState],
    ) -> Vec<TableSeal> {
        // One of them is the table itself.
        let others =
            || others.iter().flat_map(|other| &other.tables).map(|table| table.read_recursive());
        let of = |table: &SharedTable| {
            let table = table.read();
            table.sealing(partition, &keyspaces[table.keyspace], others())
        };
        self.tables.iter().map(of).collect()
    }

    pub(crate) fn sealed(&mut self, partition: u32, sealing: Vec<TableSeal>) -> Sealed {
        let tables = self.tables.iter().zip(sealing);
        Sealed {
            tables: tables
                .map(|(table, sealing)| table.write().sealed(partition, sealing))
                .collect(),
        }
    }

    /// From now on frames are written for these buckets of a table.
    pub(crate) fn lay_out(&mut self, table: usize, held: &[u32]) -> Result<(), FrameError> {
        let of = self.tables.get(table).ok_or(FrameError::Damaged("its table does not exist"))?;
        let laid_out = Buckets::new(&of.read().description, held.iter().copied())?;
        if *self.buckets[table] != laid_out {
            self.buckets[table] = Arc::new(laid_out);
        }
        Ok(())
    }

    pub(crate) fn raise(&mut self, table: usize, snapshot: &[u8]) -> Result<(), FrameError> {
        let table =
            self.tables.get(table).ok_or(FrameError::Damaged("its table does not exist"))?;
        let table = &mut *table.write();
        let header = FrameReader::open(snapshot, table.description.key.len())?.header;
        let floors = header.floors.ok_or(FrameError::Damaged("it is not a snapshot"))?;
        table.raise(&floors);
        Ok(())
    }

    /// Replaces what the panes of loaded frames say.
    pub(crate) fn set_times(&mut self, first: Option<i64>, last: Option<i64>) {
        self.first = first.unwrap_or(self.first);
        self.last = last.unwrap_or(self.last);
    }

    pub(crate) fn times(&self) -> Option<(i64, i64)> {
        (self.first <= self.last).then_some((self.first, self.last))
    }

    pub(crate) fn held(&self) -> HeldRange {
        let none = Floors { minute: i64::MIN, hour: i64::MIN, day: i64::MIN };
        let tables = self.tables.iter().map(|table| table.read());
        let tables = tables.filter(|table| !table.description.tiers.is_empty());
        let floors = tables.fold(none, |all, table| all.max(table.floors()));
        HeldRange {
            minute_floor: floors.minute,
            hour_floor: floors.hour,
            day_floor: floors.day,
            first: self.times().map(|(first, _)| first),
            last: self.times().map(|(_, last)| last),
        }
    }

    /// As `size`, in bytes, of a metric into which nothing but frames came.
    pub(crate) fn loaded_size(&self) -> u64 {
        self.tables.iter().map(|table| table.read().loaded_memory() as u64).sum()
    }

    pub(crate) fn size(&self) -> (u64, u64) {
        let tables = self.tables.iter().map(|table| table.read());
        let sizes =
            tables.map(|table| ((table.len() * table.layout.len()) as u64, table.memory() as u64));
        sizes.fold((0, 0), |(cells, bytes), (more, and)| (cells + more, bytes + and))
    }
}
