//! What was counted again against what was found: figures, and every cell that differs.

use super::table::{Cells, Column, From, Held, Merge, Row, Table};
use serde_json::Value;
use std::collections::HashMap;

/// Differences that are named, of each metric.
pub(super) const NAMED: usize = 20;

/// Differences of a table that are kept to find the first ones; beyond that they are only counted.
const KEPT: usize = 100_000;

/// What came of a table. Updates: an event that counts in two tables is two.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Updates that the log says there are.
    pub(super) in_log: u64,
    /// Updates that the state says were made.
    pub(super) counted: i128,
    /// Updates that a row lacks.
    pub(super) missing: i128,
    /// Updates that a row has too many.
    pub(super) double: i128,
    /// Cells that differ and count no events: minima, maxima, sums of values, sets, histograms, latest values; and rows that
    /// should not be.
    pub(super) wrong: u64,
    /// The first by key.
    pub(super) differences: Vec<Difference>,
    /// Cells that are not counted again: fed by the plugin, or in a table whose rows it names.
    pub(super) plugins: Vec<String>,
    /// Updates that may be duplicates of what the log no longer holds.
    pub(super) uncertain: u64,
}

/// A cell that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) table: String,
    /// The key's columns and values.
    pub(super) key: Vec<(String, Value)>,
    pub(super) cell: String,
    /// `None`: no row, or nothing in it.
    pub(super) expected: Option<Value>,
    pub(super) found: Option<Value>,
}

impl Table {
    pub(super) fn compare(mut self) -> Compared {
        self.fold();
        let Table { description, rows, counted_again, uncertain, begun_with, .. } = self;
        let foreign = description.is_foreign();
        let plugins = description.cells.iter().filter(|cell| foreign || !cell.is_recounted());
        let plugins: Vec<String> = plugins.map(|cell| format!("{}.{}", description.name, cell.name)).collect();
        let mut compared = Compared { in_log: counted_again, uncertain, plugins, ..Compared::default() };
        let counter = description.counter().filter(|_| !foreign);
        let rows = if foreign { HashMap::new() } else { rows };
        let mut differ: Vec<(String, usize, Option<Value>, Option<Value>)> = Vec::new();
        let shown = |held: Option<Held>| held.as_ref().map(Held::shown);
        for (key, row) in rows {
            let cells = description.cells.iter().enumerate();
            let mut same = true;
            for (cell, described) in cells.filter(|(_, cell)| cell.is_recounted()) {
                let sums = described.merge == Merge::Sum;
                let (expected, found) = (value(&row.expected, cell, sums), value(&row.found, cell, sums));
                let number = |held: &Option<Held>| held.as_ref().and_then(Held::number).unwrap_or(0);
                if counter == Some(cell) {
                    compared.counted += number(&found);
                }
                let counts = sums && described.from == From::One;
                if agree(&expected, &found, sums, counts, &row) {
                    continue;
                }
                same = false;
                if counter == Some(cell) {
                    let more = number(&found) - number(&expected);
                    compared.double += more.max(0);
                    compared.missing += (-more).max(0);
                } else {
                    compared.wrong += 1;
                }
                if differ.len() < KEPT {
                    differ.push((key.clone(), cell, shown(expected), shown(found)));
                }
            }
            // A row of nothing still is a row, and is listed and counted as one.
            let by_plugin = description.cells.iter().any(|cell| cell.from == From::Update);
            let empty = row.expected.is_none() && !by_plugin;
            if same && empty {
                compared.wrong += 1;
                if differ.len() < KEPT {
                    let sums = description.cells[0].merge == Merge::Sum;
                    differ.push((key, 0, None, shown(value(&row.found, 0, sums))));
                }
            }
        }
        compared.counted -= begun_with;
        if counter.is_none() {
            compared.counted = i128::from(counted_again);
        }
        differ.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let columns = || description.key.iter().map(Column::name);
        compared.differences = differ
            .into_iter()
            .take(NAMED)
            .map(|(key, cell, expected, found)| Difference {
                table: description.name.clone(),
                key: columns().zip(serde_json::from_str::<Vec<Value>>(&key).unwrap_or_default()).collect(),
                cell: description.cells.get(cell).map_or_else(String::new, |cell| cell.name.clone()),
                expected,
                found,
            })
            .collect();
        compared
    }
}

impl Column {
    fn name(&self) -> String {
        match self {
            Column::UserId => "user_id".into(),
            Column::ProductId => "product_id".into(),
            Column::EventType => "event_type".into(),
            Column::Property(name) | Column::Computed(name) => name.clone(),
        }
    }
}

/// What a cell holds; a sum of nothing is 0 where there is a row.
fn value(cells: &Option<Cells>, cell: usize, sums: bool) -> Option<Held> {
    let held = cells.as_ref()?.get(cell)?.clone();
    if sums { held.or(Some(Held::Number(0))) } else { held }
}

/// Whether a cell is right. Where nobody can say whether some events are duplicates, both are.
fn agree(expected: &Option<Held>, found: &Option<Held>, sums: bool, counts: bool, row: &Row) -> bool {
    let number = |held: &Option<Held>| held.as_ref().and_then(Held::number).unwrap_or(0);
    if row.uncertain > 0 {
        let (most, found) = (number(expected), number(found));
        return !counts || (most - i128::from(row.uncertain)..=most).contains(&found);
    }
    if sums { number(expected) == number(found) } else { expected == found }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
