//! Folds a bucket's frames into one snapshot, or into one for each of its halves: panes are rolled
//! up, nothing is lost, and no view is needed.
//!
//! It is pure and self-contained, so it runs beside ingestion: it reads the bucket's frames and
//! writes one. Totals stay exact whatever expires, because expired panes are rolled up into coarser
//! ones, at last into the open pane. What a threshold does not keep becomes a row of `__other__` in
//! the same bucket: readers add up the rows of all buckets. Which event types are always kept is
//! not known here: types are folded when the snapshot is loaded, by the threshold that it states.

use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{Floors, PaneId};
use crate::write::buckets::{half, halves, splits, top};
use crate::write::frame::{FrameError, FrameReader, FrameWriter, Header, KeyValue};
use crate::write::texts::Texts;
use crate::write::threshold::{Folding, Threshold};
use std::collections::HashMap;
use tally_event::TEXT_BIT;
use tally_plugin::description::Table;

/// One snapshot in place of `frames` (all of one bucket, oldest first). `watermark`: the revision's
/// largest event time, in Unix milliseconds.
///
/// # Errors
/// [`FrameError`] if a frame is not one of this table.
pub fn compact(table: &Table, frames: &[Vec<u8>], watermark: i64) -> Result<Vec<u8>, FrameError> {
    let (content, floors, header) = Content::folded(table, frames, watermark)?;
    let order = content.order();
    Ok(content.write(&Layout::new(&table.cells), &order, Header { floors: Some(floors), ..header }))
}

/// From when on each table's minutes, hours and days are held once events up to `watermark` were
/// counted (Unix milliseconds). Where that has changed, panes may have expired.
#[must_use]
pub fn due(tables: &[Table], watermark: i64) -> Vec<[i64; 3]> {
    let floors = |table: &Table| Floors::new(&table.tiers).raised(&table.tiers, watermark);
    tables.iter().map(floors).map(|floors| [floors.minute, floors.hour, floors.day]).collect()
}

/// Whether compacting a bucket that begins with this frame would raise its floors.
///
/// # Errors
/// As [`compact`].
pub fn expires(table: &Table, first: &[u8], watermark: i64) -> Result<bool, FrameError> {
    let stored = FrameReader::open(first, table.key.len())?.header.floors;
    let floors = stored.unwrap_or_else(|| Floors::new(&table.tiers));
    Ok(floors.raised(&table.tiers, watermark) != floors)
}

/// The two buckets in place of one, with their snapshots; `None` if its groups cannot be told
/// apart, however often it is split: it holds one or few. One of the two may be empty: then a later
/// split tells the groups apart.
///
/// # Errors
/// As [`compact`].
pub fn split(
    table: &Table,
    bucket: u32,
    frames: &[Vec<u8>],
    watermark: i64,
) -> Result<Option<[(u32, Vec<u8>); 2]>, FrameError> {
    let Some(into) = halves(table, bucket).filter(|_| !table.key.is_empty()) else {
        return Ok(None);
    };
    let (content, floors, header) = Content::folded(table, frames, watermark)?;
    let group = if table.group == 0 { table.key.len() } else { table.group };
    let hash = |row: &u32| content.texts.stable_hash(&content.key(*row)[..group]);
    let order = content.order();
    let mut tops = order.iter().map(|row| top(hash(row)));
    let one = tops.next();
    if tops.all(|top| Some(top) == one) {
        return Ok(None);
    }
    let (first, second): (Vec<u32>, Vec<u32>) =
        order.iter().partition(|row| half(table, bucket, hash(row)) == 0);
    let layout = Layout::new(&table.cells);
    let write = |bucket: u32, order: &[u32], rows: u64| {
        let header =
            Header { bucket, layout: splits(bucket), rows, floors: Some(floors), ..header };
        (bucket, content.write(&layout, order, header))
    };
    // The first accounts for the updates of both: only the sum over all buckets is ever compared.
    Ok(Some([write(into[0], &first, header.rows), write(into[1], &second, 0)]))
}

/// Rows of several frames under one set of texts.
#[derive(Default)]
struct Content {
    columns: usize,
    texts: Texts,
    panes: Vec<PaneId>,
    keys: Vec<u64>,
    rows: Block,
}

impl Content {
    /// The rows of all frames in the panes that they belong to now, the floors, and what the
    /// headers say together.
    fn folded(
        table: &Table,
        frames: &[Vec<u8>],
        watermark: i64,
    ) -> Result<(Content, Floors, Header), FrameError> {
        let layout = Layout::new(&table.cells);
        let mut content = Content { columns: table.key.len(), ..Content::default() };
        let mut header = Header {
            table: 0,
            bucket: 0,
            layout: 0,
            rows: 0,
            threshold: Threshold::NONE,
            floors: None,
        };
        let mut floors = Floors::new(&table.tiers);
        for frame in frames {
            let read = content.add(frame, &layout)?;
            let threshold = header.threshold.and(read.threshold);
            header = Header { rows: header.rows + read.rows, threshold, ..read };
            floors = read.floors.map_or(floors, |stored| floors.max(&stored));
        }
        let floors = floors.raised(&table.tiers, watermark);
        for pane in &mut content.panes {
            *pane = floors.settle(*pane);
        }
        content.fold(table, header.threshold);
        Ok((content, floors, header))
    }

    fn fold(&mut self, table: &Table, threshold: Threshold) {
        if threshold != Threshold::NONE && self.columns > 0 {
            let folding = Folding::of_groups(table, &mut self.texts);
            self.keys
                .chunks_mut(self.columns)
                .for_each(|key| folding.settle_groups(threshold, key, &self.texts));
        }
    }

    fn add(&mut self, frame: &[u8], layout: &Layout) -> Result<Header, FrameError> {
        let mut reader = FrameReader::open(frame, self.columns)?;
        let numbers: Vec<u64> = reader.texts.iter().map(|text| self.texts.intern(text)).collect();
        let (mut key, mut row) = (Vec::new(), Block::neutral(layout));
        while let Some(pane) = reader.next(layout, &mut key, &mut row)? {
            self.panes.push(pane);
            self.keys.extend(key.iter().map(|value| match value {
                KeyValue::Integer(n) => *n,
                KeyValue::Text(n) => numbers[*n],
            }));
            self.rows.push(layout, row.row(layout, 0));
        }
        Ok(reader.header)
    }

    fn key(&self, row: u32) -> &[u64] {
        &self.keys[row as usize * self.columns..][..self.columns]
    }

    /// The rows, ordered by pane and key.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.panes.len() as u32).collect();
        order.sort_unstable_by(|a, b| {
            let pane = self.panes[*a as usize].cmp(&self.panes[*b as usize]);
            pane.then_with(|| self.key(*a).cmp(self.key(*b)))
        });
        order
    }

    /// A snapshot of rows in this order.
    fn write(&self, layout: &Layout, order: &[u32], header: Header) -> Vec<u8> {
        let mut writer = FrameWriter::default();
        let mut numbers: HashMap<u64, u64> = HashMap::new();
        let mut row = Block::neutral(layout);
        let mut at = 0;
        while let Some(&first) = order.get(at) {
            row.clear_row(layout);
            let same = |other: u32| {
                self.panes[other as usize] == self.panes[first as usize]
                    && self.key(other) == self.key(first)
            };
            while let Some(&other) = order.get(at).filter(|other| same(**other)) {
                layout.merge(&mut row.row_mut(layout, 0), self.rows.row(layout, other as usize));
                at += 1;
            }
            writer.row(self.panes[first as usize]);
            for &number in self.key(first) {
                if number & TEXT_BIT == 0 {
                    writer.key(false, number);
                } else {
                    let in_frame = *numbers
                        .entry(number)
                        .or_insert_with(|| writer.text(self.texts.text(number)));
                    writer.key(true, in_frame);
                }
            }
            writer.cells(layout, row.row(layout, 0));
        }
        writer.finish(header)
    }
}
