//! What stored frames hold, for people who look: without a view, bucket by bucket, changing nothing.
//!
//! It shows what is stored, not what a question would be answered: rows stand in the panes in which frames have them.

use super::buckets::Buckets;
use super::cells::Layout;
use super::floors::{Floors, PaneId, start};
use super::frame::{FrameError, FrameReader, KeyValue};
use super::texts::Texts;
use std::collections::BTreeMap;
use tally_plugin::description::{Key, Pane, Table};
use tally_plugin::read::Id;

/// A frame from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFacts {
    /// Frames folded into one.
    pub snapshot: bool,
    /// How often its bucket had been split when it was written.
    pub layout: u32,
    /// Updates that are accounted for in it.
    pub updates: u64,
    /// Rows: a key in a pane.
    pub rows: u64,
}

/// A row as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The whole key.
    pub key: Vec<Id>,
    /// Resolution and beginning (Unix milliseconds) of its pane; `None`: everything before what is held in panes.
    pub pane: Option<(Pane, i64)>,
    /// The cells, in the table's order; `None`: a minimum or maximum of nothing.
    pub cells: Vec<Option<i128>>,
}

/// What a frame is.
///
/// # Errors
/// [`FrameError`] where it is not one of this table.
pub fn facts(table: &Table, frame: &[u8]) -> Result<FrameFacts, FrameError> {
    let layout = Layout::new(&table.cells);
    let mut reader = FrameReader::open(frame, table.key.len())?;
    let (mut key, mut words, mut rows) = (Vec::new(), layout.neutral(), 0);
    while reader.next(&layout, &mut key, &mut words)?.is_some() {
        rows += 1;
    }
    let header = &reader.header;
    Ok(FrameFacts { snapshot: header.floors.is_some(), layout: header.layout, updates: header.rows, rows })
}

/// Texts as the columns of a key: an event type as it is, an id as an integer where it is written like one.
#[must_use]
pub fn key_of(table: &Table, texts: &[String]) -> Vec<Id> {
    let id = |(column, text): (&Key, &String)| match text.parse::<u64>() {
        Ok(number) if *column != Key::EventType && number < 1 << 53 && number.to_string() == *text => {
            Id::Integer(number)
        }
        _ => Id::Text(text.clone()),
    };
    table.key.iter().zip(texts).map(id).collect()
}

/// Which of the buckets that hold something a key is in. It must name the columns of the group at least.
///
/// # Errors
/// [`FrameError`] where these are not buckets of one layout.
pub fn bucket_of(table: &Table, held: &[u32], key: &[Id]) -> Result<u32, FrameError> {
    let buckets = Buckets::new(table, held.iter().copied())?;
    let mut texts = Texts::default();
    let group = if table.group == 0 { table.key.len() } else { table.group };
    let number = |id: &Id| match id {
        Id::Integer(number) => *number,
        Id::Text(text) => texts.intern(text.as_bytes()),
    };
    let numbers: Vec<u64> = key.iter().take(group).map(number).collect();
    let hash = if numbers.is_empty() { 0 } else { texts.stable_hash(&numbers) };
    Ok(buckets.leaves()[buckets.place((hash >> 48) as u16)])
}

/// The rows of a bucket whose keys begin with `key`, folded, by key and pane.
///
/// # Errors
/// [`FrameError`] where a frame is not one of this table.
pub fn rows_of(table: &Table, frames: &[Vec<u8>], key: &[Id]) -> Result<Vec<StoredRow>, FrameError> {
    let layout = Layout::new(&table.cells);
    let mut floors = Floors::new(&table.tiers);
    let mut rows: BTreeMap<(Vec<Id>, PaneId), Vec<i64>> = BTreeMap::new();
    let (mut found, mut words) = (Vec::new(), layout.neutral());
    for frame in frames {
        let mut reader = FrameReader::open(frame, table.key.len())?;
        floors = reader.header.floors.map_or(floors, |stored| floors.max(&stored));
        while let Some(pane) = reader.next(&layout, &mut found, &mut words)? {
            let is = |(found, wanted): (&KeyValue, &Id)| match (found, wanted) {
                (KeyValue::Integer(found), Id::Integer(wanted)) => found == wanted,
                (KeyValue::Text(found), Id::Text(wanted)) => reader.texts[*found] == wanted.as_bytes(),
                _ => false,
            };
            if found.iter().zip(key).all(is) {
                let id = |value: &KeyValue| match value {
                    KeyValue::Integer(number) => Id::Integer(*number),
                    KeyValue::Text(number) => Id::Text(String::from_utf8_lossy(reader.texts[*number]).into_owned()),
                };
                let row = rows.entry((found.iter().map(id).collect(), floors.settle(pane)));
                layout.merge(row.or_insert_with(|| layout.neutral()), &words);
            }
        }
    }
    let row = |((key, pane), words): ((Vec<Id>, PaneId), Vec<i64>)| StoredRow {
        key,
        pane: pane.0.map(|tier| (tier, start(pane))),
        cells: (0..layout.len()).map(|cell| layout.held(&words, cell)).collect(),
    };
    Ok(rows.into_iter().map(row).collect())
}
