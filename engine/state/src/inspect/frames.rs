//! Shows what stored frames hold, for people: without a view, bucket by bucket, changing nothing.
//!
//! It shows what is stored, not what a question would be answered: rows are shown in the panes in
//! which frames have them.

use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{Floors, PaneId, start};
use crate::rows::row::Row;
use crate::write::buckets::Buckets;
use crate::write::frame::{FrameError, FrameReader, KeyValue};
use crate::write::texts::Texts;
use std::collections::BTreeMap;
use tally_event::OTHER;
use tally_plugin::description::{Description, Key, Pane, PropertyType, Table};
use tally_plugin::read::{Id, Scalar};
use tally_sketch::Sketch;

/// What a frame is, without its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFacts {
    /// Whether it is a snapshot: several frames folded into one.
    pub snapshot: bool,
    /// How often its bucket had been split when it was written.
    pub layout: u32,
    /// Number of updates that it accounts for.
    pub updates: u64,
    /// Number of rows: a key in a pane.
    pub rows: u64,
}

/// A row as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    /// The whole key.
    pub key: Vec<Id>,
    /// Resolution and start (Unix milliseconds) of its pane; `None`: everything before what is held
    /// in panes.
    pub pane: Option<(Pane, i64)>,
    /// The cells, in the table's order: of a set about how many values it has, of a histogram how
    /// many values, of a latest value the value itself. `None`: nothing; a sum is never `None`.
    pub cells: Vec<Option<Scalar>>,
}

/// What a frame is.
///
/// # Errors
/// [`FrameError`] if it is not one of this table.
pub fn facts(table: &Table, frame: &[u8]) -> Result<FrameFacts, FrameError> {
    let layout = Layout::new(&table.cells);
    let mut reader = FrameReader::open(frame, table.key.len())?;
    let (mut key, mut row, mut rows) = (Vec::new(), Block::neutral(&layout), 0);
    while reader.next(&layout, &mut key, &mut row)?.is_some() {
        rows += 1;
    }
    let header = &reader.header;
    Ok(FrameFacts {
        snapshot: header.floors.is_some(),
        layout: header.layout,
        updates: header.rows,
        rows,
    })
}

/// Texts as the columns of a key: an id is an integer if it is written like one; event types and
/// other texts stay as they are. `of` declares the table's properties.
#[must_use]
pub fn key_of(of: &Description, table: &Table, texts: &[String]) -> Vec<Id> {
    let is_id = |column: &Key| match column {
        Key::UserId | Key::ProductId => true,
        Key::EventType | Key::Computed(_) => false,
        Key::Property(name) => of
            .properties
            .iter()
            .any(|property| property.name == *name && property.kind == PropertyType::Integer),
    };
    let id = |(column, text): (&Key, &String)| match text.parse::<u64>() {
        Ok(number) if is_id(column) && number < 1 << 53 && number.to_string() == *text => {
            Id::Integer(number)
        }
        _ => Id::Text(text.clone()),
    };
    table.key.iter().zip(texts).map(id).collect()
}

/// Which of the buckets that hold something may hold a key: one; or all of them if other keys count
/// under it (`__other__`). The key must name the group columns at least.
///
/// # Errors
/// [`FrameError`] if these are not buckets of one layout.
pub fn buckets_of(table: &Table, held: &[u32], key: &[Id]) -> Result<Vec<u32>, FrameError> {
    let buckets = Buckets::new(table, held.iter().copied())?;
    let is_other = |id: &Id| matches!(id, Id::Text(text) if *text == OTHER);
    if table.key.iter().zip(key).any(|(column, id)| *column != Key::EventType && is_other(id)) {
        return Ok(held.to_vec());
    }
    let mut texts = Texts::default();
    let group = if table.group == 0 { table.key.len() } else { table.group };
    let number = |id: &Id| match id {
        Id::Integer(number) => *number,
        Id::Text(text) => texts.intern(text.as_bytes()),
    };
    let numbers: Vec<u64> = key.iter().take(group).map(number).collect();
    let hash = if numbers.is_empty() { 0 } else { texts.stable_hash(&numbers) };
    Ok(vec![buckets.leaves()[buckets.place((hash >> 48) as u16)]])
}

/// Rows that are shown of a key at most.
pub const MOST_ROWS: usize = 10_000;

/// The rows whose keys begin with `key`, folded, by key and pane: frame by frame, so that no more
/// than these are held.
pub struct KeyRows<'a> {
    table: &'a Table,
    key: &'a [Id],
    layout: Layout,
    floors: Floors,
    rows: BTreeMap<(Vec<Id>, PaneId), Block>,
}

impl<'a> KeyRows<'a> {
    /// None yet.
    #[must_use]
    pub fn new(table: &'a Table, key: &'a [Id]) -> KeyRows<'a> {
        let (layout, floors) = (Layout::new(&table.cells), Floors::new(&table.tiers));
        KeyRows { table, key, layout, floors, rows: BTreeMap::new() }
    }

    /// Adds those of a frame, up to [`MOST_ROWS`]. Whether these were all.
    ///
    /// # Errors
    /// [`FrameError`] where it is not one of this table.
    pub fn add(&mut self, frame: &[u8]) -> Result<bool, FrameError> {
        let KeyRows { table, key, layout, floors, rows } = self;
        let (mut found, mut stored) = (Vec::new(), Block::neutral(layout));
        let mut reader = FrameReader::open(frame, table.key.len())?;
        *floors = reader.header.floors.map_or(*floors, |stored| floors.max(&stored));
        while let Some(pane) = reader.next(layout, &mut found, &mut stored)? {
            let is = |(found, wanted): (&KeyValue, &Id)| match (found, wanted) {
                (KeyValue::Integer(found), Id::Integer(wanted)) => found == wanted,
                (KeyValue::Text(found), Id::Text(wanted)) => {
                    reader.texts[*found] == wanted.as_bytes()
                }
                _ => false,
            };
            if found.iter().zip(*key).all(is) {
                let id = |value: &KeyValue| match value {
                    KeyValue::Integer(number) => Id::Integer(*number),
                    KeyValue::Text(number) => {
                        Id::Text(String::from_utf8_lossy(reader.texts[*number]).into_owned())
                    }
                };
                let place = (found.iter().map(id).collect(), floors.settle(pane));
                if rows.len() >= MOST_ROWS && !rows.contains_key(&place) {
                    return Ok(false);
                }
                let row = rows.entry(place).or_insert_with(|| Block::neutral(layout));
                layout.merge(&mut row.row_mut(layout, 0), stored.row(layout, 0));
            }
        }
        Ok(true)
    }

    /// The rows.
    #[must_use]
    pub fn rows(self) -> Vec<StoredRow> {
        let layout = self.layout;
        let row = |((key, pane), row): ((Vec<Id>, PaneId), Block)| StoredRow {
            key,
            pane: pane.0.map(|tier| (tier, start(pane))),
            cells: (0..layout.len())
                .map(|cell| shown(&layout, row.row(&layout, 0), cell))
                .collect(),
        };
        self.rows.into_iter().map(row).collect()
    }
}

/// A cell for people.
fn shown(layout: &Layout, row: Row<'_>, cell: usize) -> Option<Scalar> {
    match layout.sketch(row, cell) {
        Some(Sketch::Latest(latest)) => Some(latest.value()),
        Some(sketch) => Some(Scalar::Integer(sketch.number())),
        None => layout.held(row, cell).map(Scalar::Integer),
    }
}
