//! A table counted again: plain maps of rows, each with what it should hold and what was found.

use super::record::Event;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// The cells of a row; `None`: a minimum or maximum of nothing.
pub(super) type Cells = Vec<Option<i128>>;

/// A table as the engine describes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) key: Vec<Column>,
    /// Event types that count; empty: all.
    #[serde(default)]
    pub(super) only: Vec<String>,
    pub(super) cells: Vec<Cell>,
}

/// A key column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Column {
    UserId,
    ProductId,
    EventType,
    /// A declared property: it is not read here.
    Property(String),
    /// Only the plugin can compute it.
    Computed(String),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cell {
    pub(super) name: String,
    pub(super) merge: Merge,
    pub(super) from: From,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Merge {
    Sum,
    Min,
    Max,
    Distinct,
    Quantiles,
    Latest,
}

/// What feeds a cell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    One,
    EventTime,
    Update,
    /// A column of the event: it is not read here.
    Column(Column),
}

impl Cell {
    /// Whether it is counted again: fed by the event itself or its time, and a number.
    pub(super) fn is_recounted(&self) -> bool {
        matches!(self.from, From::One | From::EventTime) && matches!(self.merge, Merge::Sum | Merge::Min | Merge::Max)
    }
}

/// A row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// What it should hold; `None`: there should be no row.
    pub(super) expected: Option<Box<[Option<i128>]>>,
    /// What was found.
    pub(super) found: Option<Box<[Option<i128>]>>,
    /// Events of it of which nobody can say whether they are duplicates.
    pub(super) uncertain: u64,
}

/// A table under audit.
pub(super) struct Table {
    pub(super) description: Description,
    /// By key, as JSON.
    pub(super) rows: HashMap<String, Row>,
    /// Updates counted again.
    pub(super) counted_again: u64,
    /// Of these, such of which nobody can say whether they are duplicates.
    pub(super) uncertain: u64,
    /// What the first cell that counts held before the first update that is counted again.
    pub(super) begun_with: i128,
}

impl Description {
    /// The cell that counts events, if there is one.
    pub(super) fn counter(&self) -> Option<usize> {
        self.cells.iter().position(|cell| (cell.merge, &cell.from) == (Merge::Sum, &From::One))
    }

    /// Whether its rows cannot be told here: nothing but the plugin feeds it, or its key is made of more than the five fields.
    pub(super) fn is_foreign(&self) -> bool {
        self.cells.iter().all(|cell| cell.from == From::Update)
            || self.key.iter().any(|column| matches!(column, Column::Property(_) | Column::Computed(_)))
    }

    /// The key of an event; `None`: it does not count here.
    fn key_of(&self, event: &Event) -> Option<String> {
        if self.is_foreign() || (!self.only.is_empty() && !self.only.contains(&event.kind)) {
            return None;
        }
        let column = |column: &Column| match column {
            Column::UserId => event.user.clone(),
            Column::ProductId => event.product.clone(),
            Column::EventType => Some(Value::String(event.kind.clone())),
            Column::Property(_) | Column::Computed(_) => None,
        };
        let key: Option<Vec<Value>> = self.key.iter().map(column).collect();
        key.map(|key| Value::Array(key).to_string())
    }
}

impl Table {
    pub(super) fn new(description: Description) -> Table {
        Table { description, rows: HashMap::new(), counted_again: 0, uncertain: 0, begun_with: 0 }
    }

    /// A row that is counted on.
    ///
    /// # Errors
    /// A sentence: it is no row of this table, or came before.
    pub(super) fn begin(&mut self, key: Vec<Value>, cells: Cells) -> Result<(), String> {
        let counter = self.description.counter();
        let counted = counter.and_then(|cell| cells.get(cell).copied().flatten()).unwrap_or(0);
        self.put(key, cells, |row| &mut row.expected)?;
        self.begun_with += counted;
        Ok(())
    }

    /// A row that is found.
    ///
    /// # Errors
    /// As `begin`.
    pub(super) fn find(&mut self, key: Vec<Value>, cells: Cells) -> Result<(), String> {
        self.put(key, cells, |row| &mut row.found)
    }

    fn put(
        &mut self,
        key: Vec<Value>,
        cells: Cells,
        place: impl Fn(&mut Row) -> &mut Option<Box<[Option<i128>]>>,
    ) -> Result<(), String> {
        let Description { name, key: columns, cells: described, .. } = &self.description;
        if key.len() != columns.len() || cells.len() != described.len() {
            return Err(format!("a row of {name} does not fit its description"));
        }
        let key = Value::Array(key).to_string();
        let row = self.rows.entry(key).or_default();
        match place(row).replace(cells.into()) {
            None => Ok(()),
            Some(_) => Err(format!("a row of {name} came twice")),
        }
    }

    /// Counts an event. `certain`: whether it is known to be no duplicate.
    pub(super) fn count(&mut self, event: &Event, certain: bool) {
        let Some(key) = self.description.key_of(event) else { return };
        let cells = &self.description.cells;
        let row = self.rows.entry(key).or_default();
        let held = row.expected.get_or_insert_with(|| vec![None; cells.len()].into());
        for (held, cell) in held.iter_mut().zip(cells) {
            let value = match &cell.from {
                From::One => 1,
                From::EventTime => i128::from(event.time),
                From::Update | From::Column(_) => continue,
            };
            *held = Some(match (cell.merge, *held) {
                (_, None) => value,
                (Merge::Sum, Some(held)) => held + value,
                (Merge::Min, Some(held)) => held.min(value),
                (Merge::Max, Some(held)) => held.max(value),
                // Not of what an event or its time feeds.
                (Merge::Distinct | Merge::Quantiles | Merge::Latest, Some(held)) => held,
            });
        }
        self.counted_again += 1;
        row.uncertain += u64::from(!certain);
        self.uncertain += u64::from(!certain);
    }
}
