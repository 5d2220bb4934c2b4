//! What was counted again against what was found: figures, and every cell that differs.

use super::held::{Cells, Held, Merge};
use super::panes::Pane;
use super::table::{Column, Description, From, Row, Rows, Table};
use serde_json::Value;
use std::rc::Rc;

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
    /// Cells of totals that differ and count no events: minima, maxima, sums of values, sets,
    /// histograms, latest values; and rows that should not be.
    pub(super) wrong: u64,
    /// Cells of panes that differ.
    pub(super) wrong_in_panes: u64,
    /// The first, totals before panes, by key.
    pub(super) differences: Vec<Difference>,
    /// Cells that are not counted again: fed by the plugin, or in a table whose rows it names.
    pub(super) plugins: Vec<String>,
    /// Updates that may be duplicates of what the log no longer holds.
    pub(super) uncertain: u64,
    /// Updates that rows lack and that are taken for those of events on which the metric's code
    /// failed.
    pub(super) left_out: u64,
}

/// A cell that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) table: String,
    /// The key's columns and values.
    pub(super) key: Vec<(String, Value)>,
    /// `None`: in the totals.
    pub(super) pane: Option<Pane>,
    pub(super) cell: String,
    /// `None`: no row, or nothing in it.
    pub(super) expected: Option<Value>,
    pub(super) found: Option<Value>,
}

impl Table {
    /// `failed`: so many events are in no cell, for the metric's code failed on them. Which, nobody
    /// says; each is missing in one row of the totals at most, and in one of the panes. A row that
    /// lacks no more than are left of these is right; what else it holds cannot be compared.
    pub(super) fn compare(mut self, failed: u64) -> Compared {
        self.fold_types();
        self.fold();
        let Table { description, totals, panes, counted_again, uncertain, begun_with, .. } = self;
        let foreign = description.is_foreign();
        let plugins = description.cells.iter().filter(|cell| foreign || !cell.is_recounted());
        let plugins: Vec<String> =
            plugins.map(|cell| format!("{}.{}", description.name, cell.name)).collect();
        let compared =
            Compared { in_log: counted_again, uncertain, plugins, ..Compared::default() };
        let counter = description.counter().filter(|_| !foreign);
        let allowed = [failed; 2];
        let mut comparing =
            Comparing { description: &description, counter, compared, differ: Vec::new(), allowed };
        if !foreign {
            comparing.rows(None, totals);
            panes.into_iter().for_each(|(pane, rows)| comparing.rows(Some(pane), rows));
        }
        let mut compared = comparing.close();
        compared.counted -= begun_with;
        if counter.is_none() {
            compared.counted = i128::from(counted_again);
        }
        compared
    }
}

/// A table, and what differs so far.
struct Comparing<'a> {
    description: &'a Description,
    /// The cell that counts events.
    counter: Option<usize>,
    compared: Compared,
    differ: Vec<Differs>,
    /// Events that rows may still lack: in the totals, in the panes.
    allowed: [u64; 2],
}

/// Totals come before panes; then by key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    in_pane: bool,
    key: Rc<str>,
    pane: Option<Pane>,
    cell: usize,
}

struct Differs {
    place: Place,
    expected: Option<Value>,
    found: Option<Value>,
}

impl Comparing<'_> {
    /// Compares the totals, or the rows of a pane.
    fn rows(&mut self, pane: Option<Pane>, rows: Rows) {
        let by_plugin = self.description.cells.iter().any(|cell| cell.from == From::Update);
        for (key, row) in rows {
            let mut differing = Vec::new();
            for (cell, described) in
                self.description.cells.iter().enumerate().filter(|(_, cell)| cell.is_recounted())
            {
                let sums = described.merge == Merge::Sum;
                let (expected, found) =
                    (value(&row.expected, cell, sums), value(&row.found, cell, sums));
                let counts = self.counter == Some(cell) && pane.is_none();
                if counts {
                    self.compared.counted += number(&found);
                }
                if !agree(&expected, &found, sums, sums && described.from == From::One, &row) {
                    let more = counts.then(|| number(&found) - number(&expected));
                    differing.push((cell, more, (expected, found)));
                }
            }
            let same = differing.is_empty();
            if !same && self.lacks_failed(pane, &row) {
                continue;
            }
            for (cell, more, values) in differing {
                self.differs(pane, &key, cell, more, values);
            }
            // A row of nothing still is a row, and is listed and counted as one.
            if same && row.expected.is_none() && !by_plugin {
                let sums = self.description.cells[0].merge == Merge::Sum;
                self.differs(pane, &key, 0, None, (None, value(&row.found, 0, sums)));
            }
        }
    }

    /// Whether a row that differs lacks events only, and no more than may have failed; they are
    /// noted.
    fn lacks_failed(&mut self, pane: Option<Pane>, row: &Row) -> bool {
        let counted = |cells: &Option<Cells>, cell| number(&value(cells, cell, true));
        let short = match self.counter {
            _ if row.expected.is_none() => 0,
            Some(cell) => counted(&row.expected, cell) - counted(&row.found, cell),
            // Nobody says how many it lacks: one at least.
            None => 1,
        };
        let allowed = &mut self.allowed[usize::from(pane.is_some())];
        let Some(short) = u64::try_from(short).ok().filter(|short| (1..=*allowed).contains(short))
        else {
            return false;
        };
        *allowed -= short;
        if pane.is_none() {
            self.compared.left_out += short;
        }
        true
    }

    /// `more`: events that the cell has too many, where it counts them.
    fn differs(
        &mut self,
        pane: Option<Pane>,
        key: &Rc<str>,
        cell: usize,
        more: Option<i128>,
        (expected, found): (Option<Held>, Option<Held>),
    ) {
        match (pane, more) {
            (Some(_), _) => self.compared.wrong_in_panes += 1,
            (None, None) => self.compared.wrong += 1,
            (None, Some(more)) => {
                self.compared.double += more.max(0);
                self.compared.missing += (-more).max(0);
            }
        }
        if self.differ.len() < KEPT {
            let shown = |held: Option<Held>| held.as_ref().map(Held::shown);
            let place = Place { in_pane: pane.is_some(), key: Rc::clone(key), pane, cell };
            self.differ.push(Differs { place, expected: shown(expected), found: shown(found) });
        }
    }

    /// Names the first that differ.
    fn close(mut self) -> Compared {
        self.differ.sort_by(|a, b| a.place.cmp(&b.place));
        let description = self.description;
        let named =
            self.differ.into_iter().take(NAMED).map(|Differs { place, expected, found }| {
                let values = serde_json::from_str::<Vec<Value>>(&place.key).unwrap_or_default();
                Difference {
                    table: description.name.clone(),
                    key: description.key.iter().map(Column::name).zip(values).collect(),
                    pane: place.pane,
                    cell: description
                        .cells
                        .get(place.cell)
                        .map_or_else(String::new, |cell| cell.name.clone()),
                    expected,
                    found,
                }
            });
        self.compared.differences = named.collect();
        self.compared
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

fn number(held: &Option<Held>) -> i128 {
    held.as_ref().and_then(Held::number).unwrap_or(0)
}

/// Whether a cell is right. Where nobody can say whether some events are duplicates, both are.
fn agree(
    expected: &Option<Held>,
    found: &Option<Held>,
    sums: bool,
    counts: bool,
    row: &Row,
) -> bool {
    if row.uncertain > 0 {
        let (most, found) = (number(expected), number(found));
        return !counts || (most - i128::from(row.uncertain)..=most).contains(&found);
    }
    if sums { number(expected) == number(found) } else { expected == found }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
