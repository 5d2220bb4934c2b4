//! One metric's tables: applying batches, sealing into frames, loading from frames.

use super::CellUpdate;
use super::block::Block;
use super::buckets::{Buckets, splits};
use super::floors::Floors;
use super::frame::{FrameError, FrameReader, FrameWriter, Header, KeyValue};
use super::index::GROUP;
use super::keyspace::{Keyspace, NONE};
use super::source::{Feed, Sources};
use super::table::{self, Built, TableState};
use super::tail::Folded;
use super::texts::Texts;
use super::threshold::Threshold;
use crate::event::{EventBatch, TEXT_BIT};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::hint::black_box;
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

    pub(super) fn frames(
        &self,
        sealed: &[&Sealed],
        keyspaces: &[Keyspace],
        texts: &Texts,
        written: &Mutex<Vec<Written>>,
    ) -> Vec<SealedFrame> {
        let mut frames = Vec::new();
        let mut numbers = FrameTexts::default();
        for (n, (table, buckets)) in self.tables.iter().zip(&self.buckets).enumerate() {
            let (number, threshold) = (n as u16, keyspaces[table.keyspace].threshold());
            let parts: Vec<Arc<Built>> = sealed.iter().filter_map(|sealed| sealed.tables.get(n)).cloned().collect();
            let mut written = written.lock();
            let known = written.iter().position(|known| known.number == number);
            if let Some(known) =
                known.map(|at| &written[at]).filter(|known| known.of(&parts, (table, threshold), buckets))
            {
                frames.extend_from_slice(&known.frames);
                continue;
            }
            let mut fresh = Vec::new();
            let folded: Vec<_> = parts.iter().map(|part| (&part.folded, &keyspaces[part.keyspace])).collect();
            write_frames((number, buckets), (table, threshold), &folded, texts, &mut numbers, &mut fresh);
            frames.extend_from_slice(&fresh);
            known.map(|at| written.swap_remove(at));
            let (floors, buckets) = (*table.floors(), buckets.clone());
            written.push(Written { number, parts, floors, threshold, buckets, frames: fresh });
        }
        frames
    }

    pub(super) fn load(
        &mut self,
        table: usize,
        frame: &[u8],
        keyspaces: &mut Vec<Keyspace>,
        texts: &mut Texts,
    ) -> Result<u64, FrameError> {
        let columns =
            self.tables.get(table).ok_or(FrameError::Damaged("its table does not exist"))?.description.key.len();
        let mut reader = FrameReader::open(frame, columns)?;
        // What it does not keep is folded for good: of such keys nobody knows all.
        self.narrow(table, reader.header.threshold, keyspaces, texts);
        let table = &mut self.tables[table];
        let keys = &mut keyspaces[table.keyspace];
        if let Some(floors) = &reader.header.floors {
            table.raise(floors);
        }
        let numbers: Vec<u64> = reader.texts.iter().map(|text| texts.intern(text)).collect();
        let (mut key, mut values, mut row) = (Vec::new(), Vec::new(), Block::neutral(&table.layout));
        let (mut pane, mut rows, mut content) = (None, Vec::new(), Block::default());
        loop {
            let next = reader.next(&table.layout, &mut key, &mut row)?;
            if next != pane {
                if let Some(pane) = pane {
                    table.restore(pane, &rows, &mut content, keys);
                }
                rows.clear();
                content.clear();
                pane = next;
            }
            let Some((tier, number)) = next else { break };
            values.clear();
            values.extend(key.iter().map(|value| match value {
                KeyValue::Integer(n) => *n,
                KeyValue::Text(n) => numbers[*n],
            }));
            rows.push(keys.intern(&values, texts));
            content.push(&table.layout, row.row(&table.layout, 0));
            if let Some(tier) = tier {
                self.first = self.first.min(number * tier.millis());
                self.last = self.last.max(number * tier.millis());
            }
        }
        Ok(reader.header.rows)
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

/// The frames last written for the table of a number: a table that counts alike has the same.
pub(super) struct Written {
    number: u16,
    parts: Vec<Arc<Built>>,
    floors: Floors,
    threshold: Threshold,
    buckets: Arc<Buckets>,
    frames: Vec<SealedFrame>,
}

impl Written {
    /// Whether they are what `table` would write of these parts. Parts are shared by tables of one keyspace and layout only.
    fn of(&self, parts: &[Arc<Built>], (table, threshold): (&TableState, Threshold), buckets: &Arc<Buckets>) -> bool {
        let same = self.parts.len() == parts.len() && self.parts.iter().zip(parts).all(|(a, b)| Arc::ptr_eq(a, b));
        let laid_out = Arc::ptr_eq(&self.buckets, buckets) || self.buckets == *buckets;
        let alike = self.floors == *table.floors() && self.threshold == threshold;
        same && laid_out && alike && !parts.is_empty()
    }
}

/// Number of each text in the frame under way, by the text's number of this process.
#[derive(Default)]
struct FrameTexts {
    frame: u32,
    numbers: Vec<(u32, u32)>,
}

impl FrameTexts {
    fn next_frame(&mut self, texts: usize) {
        self.frame += 1;
        self.numbers.resize(texts, (0, 0));
    }

    #[inline]
    fn number(&mut self, number: u64, texts: &Texts, writer: &mut FrameWriter) -> u64 {
        let (frame, in_frame) = &mut self.numbers[(number & !TEXT_BIT) as usize];
        if *frame != self.frame {
            *frame = self.frame;
            *in_frame = writer.text(texts.text(number)) as u32;
        }
        u64::from(*in_frame)
    }
}

fn write_frames(
    (number, buckets): (u16, &Buckets),
    (table, threshold): (&TableState, Threshold),
    parts: &[(&Folded, &Keyspace)],
    texts: &Texts,
    numbers: &mut FrameTexts,
    out: &mut Vec<SealedFrame>,
) {
    let has_panes = !table.description.tiers.is_empty();
    let all: usize = parts.iter().map(|(folded, _)| folded.keys.len()).sum();
    let share = all / buckets.leaves().len().max(1);
    let mut rows_of: Vec<Vec<(u32, u32)>> = buckets.leaves().iter().map(|_| Vec::with_capacity(share)).collect();
    for (part, (folded, keys)) in parts.iter().enumerate() {
        for (row, group) in folded.groups.iter().enumerate() {
            rows_of[buckets.place(keys.bucket_hash(*group))].push((part as u32, row as u32));
        }
    }
    let mut updates: u64 = parts.iter().map(|(folded, _)| folded.updates).sum();
    for (&bucket, rows) in buckets.leaves().iter().zip(&rows_of).filter(|(_, rows)| !rows.is_empty()) {
        let mut writer = FrameWriter::new();
        numbers.next_frame(texts.len());
        let key = |&(part, row): &(u32, u32)| {
            let (folded, keys) = parts[part as usize];
            keys.key(folded.keys[row as usize])
        };
        for group in rows.chunks(GROUP) {
            // Keys lie anywhere: loaded first, so that their cache misses overlap.
            black_box(group.iter().filter_map(|at| key(at).first()).fold(0, |all, first| all ^ first));
            for at @ &(part, row) in group {
                let ((folded, _), row) = (parts[part as usize], row as usize);
                let pane = if has_panes { table.floors().pane(i64::from(folded.minutes[row])) } else { (None, 0) };
                writer.row(pane);
                for &value in key(at) {
                    if value & TEXT_BIT == 0 {
                        writer.key(false, value);
                    } else {
                        let in_frame = numbers.number(value, texts, &mut writer);
                        writer.key(true, in_frame);
                    }
                }
                writer.cells(&table.layout, folded.rows.row(&table.layout, row));
            }
        }
        // The first frame of a commit accounts for all of its updates: only the sum over all buckets is ever compared.
        let rows = std::mem::take(&mut updates);
        let header = Header { table: number, bucket, layout: splits(bucket), rows, threshold, floors: None };
        out.push(SealedFrame { table: number, bucket, bytes: writer.finish(header) });
    }
}
