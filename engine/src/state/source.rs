//! What a column of events is in this process, and what it gives to cells.
//!
//! Metrics name properties as they like; here a property is where it stands and what it is read as, so that metrics that read
//! the same share it. Nothing is interned for cells: a set of a million sessions is a sketch, not a million texts.

use super::columns::Columns;
use super::texts::Texts;
use crate::event::{ABSENT, EventBatch, OTHER, PropertyColumn, PropertySource, TEXT_BIT};
use std::sync::Arc;
use tally_plugin::description::{Cell, Description, From, Key, Merge, PropertyType};
use tally_sketch::{Given, IdBytes};

/// A column of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    UserId,
    ProductId,
    EventType,
    Property(Arc<PropertySource>),
    /// Handed over by a metric's plugin: number of the metric, and of the column.
    Computed(usize, usize),
}

impl Column {
    /// The column that a metric means. One that it does not declare (`plugin::check` refuses it) is nothing that events have.
    pub(crate) fn of(key: &Key, description: &Description, metric: usize) -> Column {
        match key {
            Key::UserId => Column::UserId,
            Key::ProductId => Column::ProductId,
            Key::EventType => Column::EventType,
            Key::Property(name) => {
                let declared = description.properties.iter().find(|property| property.name == *name);
                let source = declared.map(|property| (property.pointer.clone(), property.kind));
                let (pointer, kind) = source.unwrap_or_else(|| (String::new(), PropertyType::Text));
                Column::Property(Arc::new(PropertySource { pointer, kind }))
            }
            Key::Computed(name) => {
                let declared = description.computed.iter().position(|computed| computed == name);
                Column::Computed(metric, declared.unwrap_or(usize::MAX))
            }
        }
    }
}

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
        From::Column(key) => {
            Some(Feed { cell: n as u16, merge: cell.merge, column: Column::of(key, description, metric) })
        }
        From::One | From::EventTime | From::Update => None,
    };
    cells.iter().enumerate().filter_map(feed).collect()
}

/// A batch as feeds see it.
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

    /// Shows what each of some rows gives to the cell; rows with a null give nothing.
    pub(crate) fn each(
        &self,
        of: Sources<'_>,
        rows: impl Iterator<Item = usize>,
        mut take: impl FnMut(usize, &Given<'_>),
    ) {
        let batch = of.batch;
        let (mut number, mut text) = ([0; 17], Vec::new());
        match &self.column {
            Column::UserId | Column::ProductId => {
                let ids = if self.column == Column::UserId { &batch.users } else { &batch.products };
                for row in rows {
                    let id = match ids.get(row) {
                        None | Some(&ABSENT) => continue,
                        Some(id) if id & TEXT_BIT != 0 => IdBytes::Text(batch.text((id & !TEXT_BIT) as usize)),
                        Some(id) => IdBytes::Integer(*id),
                    };
                    if let Some(given) = Given::of_id(self.merge, id, batch.times[row], &mut text) {
                        take(row, &given);
                    }
                }
            }
            Column::EventType => {
                for row in rows {
                    let name = batch.kinds.get(row).and_then(|kind| batch.kind_names.get(usize::from(*kind)));
                    let Some(name) = name else { continue };
                    if let Some(given) =
                        Given::of_id(self.merge, IdBytes::Text(name.as_bytes()), batch.times[row], &mut text)
                    {
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
            Column::Property(source) => {
                let Some(column) = property(batch, source) else { return };
                for row in rows {
                    let Some(bits) = column.value(row) else { continue };
                    let given = match source.kind {
                        PropertyType::Text => Given::of_id(
                            self.merge,
                            IdBytes::Text(batch.text(bits as usize)),
                            batch.times[row],
                            &mut text,
                        ),
                        PropertyType::Float => {
                            Given::of_float(self.merge, f64::from_bits(bits as u64), batch.times[row], &mut number)
                        }
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
    }
}

/// The column of a batch that holds a property.
pub(crate) fn property<'a>(batch: &'a EventBatch, source: &PropertySource) -> Option<&'a PropertyColumn> {
    batch.properties.iter().find(|column| *column.source == *source)
}

/// The id that a row of a property is as part of a key: a text, or an integer; `None` where it is null.
pub(crate) fn key_of(batch: &EventBatch, column: &PropertyColumn, row: usize, texts: &mut Texts) -> Option<u64> {
    match column.source.kind {
        PropertyType::Text => {
            let text = batch.text(column.value(row)? as usize);
            (text != OTHER.as_bytes()).then(|| texts.intern(text))
        }
        PropertyType::Integer => {
            let number = column.number(row)?;
            match u64::try_from(number) {
                Ok(id) if id < 1 << 53 => Some(id),
                _ => Some(texts.intern(number.to_string().as_bytes())),
            }
        }
        PropertyType::Bool => Some(texts.intern(if column.number(row)? == 0 { b"false" } else { b"true" })),
        PropertyType::Float | PropertyType::Decimal(_) | PropertyType::Time => None,
    }
}
