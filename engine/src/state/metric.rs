//! One metric's tables: applying batches, sealing them, loading from frames.

mod load;
mod write;

pub use load::Loading;
pub(super) use write::Writing;

use super::CellUpdate;
use super::buckets::Buckets;
use super::floors::Floors;
use super::frame::{FrameError, FrameReader};
use super::keyspace::{Keyspace, NONE};
use super::source::{Feed, Sources};
use super::table::{self, Built, TableState};
use crate::event::EventBatch;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use tally_plugin::description::Table;

/// What one partition added to a metric between two seals, folded: kept until it is stored, as it may be sent again.
pub struct Sealed {
    tables: Vec<Arc<Built>>,
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

/// From when on what is held, in every table of a metric. Unix milliseconds; `i64::MIN`: from the beginning,
/// `i64::MAX`: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Minutes.
    pub minute_floor: i64,
    /// Hours.
    pub hour_floor: i64,
    /// Days.
    pub day_floor: i64,
    /// Smallest event time counted.
    pub first: Option<i64>,
    /// Largest event time counted.
    pub last: Option<i64>,
}

/// The tables of one metric.
pub(super) struct MetricState {
    pub(super) tables: Vec<TableState>,
    first: i64,
    last: i64,
    /// Of each table, as far as it is known here.
    buckets: Vec<Arc<Buckets>>,
    /// Per table and event type code of the current batch, whether it counts.
    takes: Vec<bool>,
    tails_only: bool,
}

impl MetricState {
    pub(super) fn new(tables: Vec<(Table, usize, Vec<Feed>)>, tails_only: bool) -> MetricState {
        let buckets = tables.iter().map(|(table, _, _)| Arc::new(Buckets::begun(table))).collect();
        let table =
            |(table, keyspace, feeds): (Table, usize, Vec<Feed>)| TableState::new(&table, keyspace, feeds, tails_only);
        let tables = tables.into_iter().map(table).collect();
        MetricState { tables, buckets, first: i64::MAX, last: i64::MIN, takes: Vec::new(), tails_only }
    }

    pub(super) fn clear(&mut self) {
        let tables = self.tables.iter().map(|t| (t.description.clone(), t.keyspace, t.feeds.clone())).collect();
        *self = MetricState::new(tables, self.tails_only);
    }

    pub(super) fn apply(
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
        for table in &mut self.tables {
            let keys = &resolved[table.keyspace][rows.clone()];
            let only = &table.description.only;
            // A table that only the plugin feeds has no row for an event that it hands nothing over for.
            let fed = table.description.cells.iter().any(|c| c.from != tally_plugin::description::From::Update);
            if !fed {
                continue;
            }
            counted += if only.is_empty() {
                let counted = table.count(batch.partition, keys, times, |_| true);
                if !table.feeds.is_empty() {
                    table.give(of, rows.start, keys, |_| true);
                }
                counted
            } else {
                self.takes.clear();
                self.takes.extend(batch.kind_names.iter().map(|name| only.iter().any(|only| **only == **name)));
                let (takes, kinds) = (&self.takes, &batch.kinds[rows.clone()]);
                let takes = |row: usize| takes.get(usize::from(kinds[row])).copied().unwrap_or(false);
                let counted = table.count(batch.partition, keys, times, takes);
                if !table.feeds.is_empty() {
                    table.give(of, rows.start, keys, takes);
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
        let mut counted = 0;
        for update in updates.iter().filter(|update| rows.contains(&(update.row as usize))) {
            let Some(table) = self.tables.get_mut(usize::from(update.table)) else { continue };
            let key = resolved[table.keyspace].get(update.row as usize).copied().unwrap_or(NONE);
            if key != NONE && table.layout.takes(usize::from(update.cell), update.value) {
                table.update(batch.partition, key, batch.times[update.row as usize], update.cell, update.value);
                counted += 1;
            }
        }
        counted
    }

    /// Whether each of a plugin's values names a cell that takes it.
    pub(super) fn accepts(&self, rows: usize, updates: &[CellUpdate]) -> bool {
        updates.iter().all(|update| {
            let table = self.tables.get(usize::from(update.table));
            (update.row as usize) < rows
                && table.is_some_and(|table| table.layout.takes(usize::from(update.cell), update.value))
        })
    }

    /// The partitions of which something was counted since the last seal.
    pub(super) fn partitions(&self) -> BTreeSet<u32> {
        self.tables.iter().flat_map(TableState::partitions).collect()
    }

    /// `others`: metrics that may have sealed the same a moment ago.
    pub(super) fn sealing(
        &self,
        partition: u32,
        keyspaces: &[Keyspace],
        others: &[MetricState],
    ) -> Vec<table::Sealing> {
        let others = || others.iter().flat_map(|other| &other.tables);
        let of = |table: &TableState| table.sealing(partition, &keyspaces[table.keyspace], others());
        self.tables.iter().map(of).collect()
    }

    pub(super) fn sealed(&mut self, partition: u32, sealing: Vec<table::Sealing>) -> Sealed {
        let tables = self.tables.iter_mut().zip(sealing);
        Sealed { tables: tables.map(|(table, sealing)| table.sealed(partition, sealing)).collect() }
    }

    /// From now on frames are written for these buckets of a table.
    pub(super) fn lay_out(&mut self, table: usize, held: &[u32]) -> Result<(), FrameError> {
        let of = self.tables.get(table).ok_or(FrameError::Damaged("its table does not exist"))?;
        let laid_out = Buckets::new(&of.description, held.iter().copied())?;
        if *self.buckets[table] != laid_out {
            self.buckets[table] = Arc::new(laid_out);
        }
        Ok(())
    }

    pub(super) fn raise(&mut self, table: usize, snapshot: &[u8]) -> Result<(), FrameError> {
        let table = self.tables.get_mut(table).ok_or(FrameError::Damaged("its table does not exist"))?;
        let header = FrameReader::open(snapshot, table.description.key.len())?.header;
        let floors = header.floors.ok_or(FrameError::Damaged("it is not a snapshot"))?;
        table.raise(&floors);
        Ok(())
    }

    pub(super) fn times(&self) -> Option<(i64, i64)> {
        (self.first <= self.last).then_some((self.first, self.last))
    }

    pub(super) fn held(&self) -> Held {
        let none = Floors { minute: i64::MIN, hour: i64::MIN, day: i64::MIN };
        let tables = self.tables.iter().filter(|table| !table.description.tiers.is_empty());
        let floors = tables.fold(none, |all, table| all.max(table.floors()));
        Held {
            minute_floor: floors.minute,
            hour_floor: floors.hour,
            day_floor: floors.day,
            first: self.times().map(|(first, _)| first),
            last: self.times().map(|(_, last)| last),
        }
    }

    pub(super) fn size(&self) -> (u64, u64) {
        let cells = self.tables.iter().map(|table| (table.len() * table.layout.len()) as u64).sum();
        (cells, self.tables.iter().map(|table| table.memory() as u64).sum())
    }
}
