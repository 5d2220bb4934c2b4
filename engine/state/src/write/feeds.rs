//! What columns of events give to cells.
//!
//! Values of cells are not interned: a set of a million sessions is a sketch, not a million texts.

use super::columns::{Column, Columns, property_column};
use super::texts::Texts;
use tally_event::{ABSENT, EventBatch, PropertySource, TEXT_BIT};
use tally_plugin::description::{Cell, Description, From, Merge, PropertyType};
use tally_sketch::{Given, IdBytes};

/// A cell that a column feeds.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) cell: u16,
    merge: Merge,
    column: Column,
}

/// The cells of a table that columns feed.
pub(crate) fn feeds(cells: &[Cell], description: &Description, metric: usize) -> Vec<Feed> {
    let feed = |(n, cell): (usize, &Cell)| match &cell.from {
        From::Column(key) => Some(Feed {
            cell: n as u16,
            merge: cell.merge,
            column: Column::of(key, description, metric),
        }),
        From::One | From::EventTime | From::Update => None,
    };
    cells.iter().enumerate().filter_map(feed).collect()
}

/// A batch, as feeds read it.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) batch: &'a EventBatch,
    pub(crate) columns: &'a Columns,
    pub(crate) texts: &'a Texts,
}

impl Feed {
    /// Whether the values are floats.
    pub(crate) fn is_float(&self) -> bool {
        matches!(&self.column, Column::Property(source) if source.kind == PropertyType::Float)
    }

    /// Calls `take` with what each of these rows gives to the cell; a row whose value is null gives
    /// nothing.
    pub(crate) fn each(
        &self,
        of: Sources<'_>,
        rows: impl Iterator<Item = usize>,
        mut take: impl FnMut(usize, &Given<'_>),
    ) {
        let batch = of.batch;
        let mut text = Vec::new();
        match &self.column {
            Column::UserId | Column::ProductId => {
                let ids =
                    if self.column == Column::UserId { &batch.users } else { &batch.products };
                for row in rows {
                    let id = match ids.get(row) {
                        None | Some(&ABSENT) => continue,
                        Some(id) if id & TEXT_BIT != 0 => {
                            IdBytes::Text(batch.text((id & !TEXT_BIT) as usize))
                        }
                        Some(id) => IdBytes::Integer(*id),
                    };
                    if let Some(given) = Given::of_id(self.merge, id, batch.times[row], &mut text) {
                        take(row, &given);
                    }
                }
            }
            Column::EventType => {
                for row in rows {
                    let name = batch
                        .kinds
                        .get(row)
                        .and_then(|kind| batch.kind_names.get(usize::from(*kind)));
                    let Some(name) = name else { continue };
                    if let Some(given) = Given::of_id(
                        self.merge,
                        IdBytes::Text(name.as_bytes()),
                        batch.times[row],
                        &mut text,
                    ) {
                        take(row, &given);
                    }
                }
            }
            Column::Computed(_, n) => {
                let Some(keys) = of.columns.computed.get(*n) else { return };
                for row in rows {
                    let Some(key) = keys.get(row).filter(|key| **key != ABSENT) else { continue };
                    let id = IdBytes::Text(of.texts.text(*key));
                    if let Some(given) = Given::of_id(self.merge, id, batch.times[row], &mut text) {
                        take(row, &given);
                    }
                }
            }
            Column::Property(source) => self.each_of_property(batch, source, rows, take),
        }
    }

    /// As [`Feed::each`], of a property.
    #[inline]
    fn each_of_property(
        &self,
        batch: &EventBatch,
        source: &PropertySource,
        rows: impl Iterator<Item = usize>,
        mut take: impl FnMut(usize, &Given<'_>),
    ) {
        let Some(column) = property_column(batch, source) else { return };
        let (mut number, mut text) = ([0; 17], Vec::new());
        for row in rows {
            let Some(bits) = column.value(row) else { continue };
            let given = match source.kind {
                PropertyType::Text => Given::of_id(
                    self.merge,
                    IdBytes::Text(batch.text(bits as usize)),
                    batch.times[row],
                    &mut text,
                ),
                PropertyType::Float => Given::of_float(
                    self.merge,
                    f64::from_bits(bits as u64),
                    batch.times[row],
                    &mut number,
                ),
                _ => {
                    let value = column.number(row).unwrap_or(0);
                    Some(Given::of_number(self.merge, value, batch.times[row], &mut number))
                }
            };
            if let Some(given) = given {
                take(row, &given);
            }
        }
    }
}
