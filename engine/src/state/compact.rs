//! A bucket's frames folded into one snapshot: panes rolled up, nothing lost, no view needed.
//!
//! Pure and self-contained, so that it runs beside ingestion: it reads the bucket's frames and writes one. Totals stay
//! exact whatever expires, because expired panes are rolled into coarser ones, at the end into the open pane.

use super::block::Block;
use super::cells::Layout;
use super::floors::{Floors, PaneId};
use super::frame::{FrameError, FrameReader, FrameWriter, Header, KeyValue};
use super::texts::Texts;
use crate::event::TEXT_BIT;
use std::collections::HashMap;
use tally_plugin::description::Table;

/// One snapshot in place of `frames` (all of one bucket, oldest first). `watermark`: the revision's largest event time.
pub(crate) fn compact(table: &Table, frames: &[Vec<u8>], watermark: i64) -> Result<Vec<u8>, FrameError> {
    let layout = Layout::new(&table.cells);
    let mut content = Content { columns: table.key.len(), ..Content::default() };
    let mut header = Header { table: 0, bucket: 0, layout: 0, rows: 0, floors: None };
    let mut floors = Floors::new(&table.tiers);
    for frame in frames {
        let read = content.add(frame, &layout)?;
        header = Header { rows: header.rows + read.rows, ..read };
        floors = read.floors.map_or(floors, |stored| floors.max(&stored));
    }
    let floors = floors.raised(&table.tiers, watermark);
    header.floors = Some(floors);
    Ok(content.write(&layout, &floors, header))
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

    fn write(mut self, layout: &Layout, floors: &Floors, header: Header) -> Vec<u8> {
        for pane in &mut self.panes {
            *pane = floors.settle(*pane);
        }
        let mut order: Vec<u32> = (0..self.panes.len() as u32).collect();
        order.sort_unstable_by(|a, b| {
            let pane = self.panes[*a as usize].cmp(&self.panes[*b as usize]);
            pane.then_with(|| self.key(*a).cmp(self.key(*b)))
        });
        let mut writer = FrameWriter::new();
        let mut numbers: HashMap<u64, u64> = HashMap::new();
        let mut row = Block::neutral(layout);
        let mut at = 0;
        while let Some(&first) = order.get(at) {
            row.clear_row(layout);
            let same = |other: u32| {
                self.panes[other as usize] == self.panes[first as usize] && self.key(other) == self.key(first)
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
                    let in_frame = *numbers.entry(number).or_insert_with(|| writer.text(self.texts.text(number)));
                    writer.key(true, in_frame);
                }
            }
            writer.cells(layout, row.row(layout, 0));
        }
        writer.finish(header)
    }
}
