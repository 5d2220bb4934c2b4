//! A read, executed by looking at every row.

use super::state::TableState;
use crate::description::{Key, Merge, Table};
use crate::read::{Group, Id, Measure, Order, Part, ReadAnswer, ReadRequest, Step};
use std::collections::{BTreeMap, BTreeSet};

/// A row that matched.
struct Row<'t> {
    key: &'t [Id],
    minute: i64,
    cells: &'t [i128],
}

/// Executes a read over the rows of a table. Minutes that start in `[from, to)` count.
///
/// # Errors
/// A sentence: the request names a column that is not in the key, a cell that is not declared, weights of a cell that
/// is not a sum, a time range of a table without a time axis, or a step that is not whole minutes.
pub fn execute(table: &Table, rows: &TableState, request: &ReadRequest) -> Result<ReadAnswer, String> {
    let columns =
        |columns: &[Key]| columns.iter().map(|column| column_of(table, *column)).collect::<Result<Vec<_>, _>>();
    let (group_by, part_by) = (columns(&request.group_by)?, columns(&request.part_by)?);
    let timed = request.from.is_some() || request.to.is_some() || request.step_ms.is_some();
    if timed && table.tiers.is_empty() {
        return Err(format!("table \"{}\" has no time axis", table.name));
    }
    if request.step_ms.is_some_and(|step| step <= 0 || step % 60_000 != 0) {
        return Err("a step is a number of whole minutes".into());
    }
    let mut only = Vec::new();
    for filter in &request.only {
        only.push((column_of(table, filter.column)?, &filter.ids));
    }
    let measures =
        request.rank.iter().flat_map(|rank| &rank.by).map(|by| resolve(table, by)).collect::<Result<Vec<_>, _>>()?;

    let matching: Vec<Row<'_>> = rows
        .iter()
        .map(|((key, minute), cells)| Row { key, minute: *minute, cells })
        .filter(|row| request.from.is_none_or(|from| from <= row.minute) && request.to.is_none_or(|to| row.minute < to))
        .filter(|row| only.iter().all(|(column, ids)| ids.contains(&row.key[*column])))
        .collect();

    let keys: BTreeSet<Vec<Id>> = matching.iter().map(|row| pick(row.key, &group_by)).collect();
    let mut groups: Vec<Group> = keys
        .into_iter()
        .map(|key| {
            let rows: Vec<&Row<'_>> = matching.iter().filter(|row| pick(row.key, &group_by) == key).collect();
            Group {
                measures: measures.iter().map(|measure| measure.over(table, &rows)).collect(),
                parts: parts(table, &rows, &part_by),
                series: request.step_ms.map(|step| series(table, &rows, &part_by, step)).unwrap_or_default(),
                key,
            }
        })
        .collect();
    let groups_total = groups.len() as u64;
    if let Some(rank) = &request.rank {
        // Stable: groups with equal measures stay in the order of their ids.
        groups.sort_by(|a, b| match rank.order {
            Order::Desc => b.measures.cmp(&a.measures),
            Order::Asc => a.measures.cmp(&b.measures),
        });
        groups.truncate(rank.limit);
    }
    Ok(ReadAnswer { total: parts(table, &matching.iter().collect::<Vec<_>>(), &part_by), groups_total, groups })
}

fn column_of(table: &Table, column: Key) -> Result<usize, String> {
    let at = table.key.iter().position(|key| *key == column);
    at.ok_or_else(|| format!("table \"{}\" has no {column:?} in its key", table.name))
}

fn pick(key: &[Id], columns: &[usize]) -> Vec<Id> {
    columns.iter().map(|column| key[*column].clone()).collect()
}

/// Rows folded by part.
fn parts(table: &Table, rows: &[&Row<'_>], part_by: &[usize]) -> Vec<Part> {
    let mut parts = BTreeMap::<Vec<Id>, Vec<i128>>::new();
    for row in rows {
        let empty = || table.cells.iter().map(|cell| cell.merge.identity()).collect();
        let cells = parts.entry(pick(row.key, part_by)).or_insert_with(empty);
        for (n, cell) in table.cells.iter().enumerate() {
            cells[n] = cell.merge.of(cells[n], row.cells[n]);
        }
    }
    parts.into_iter().map(|(key, cells)| Part { key, cells }).collect()
}

/// Rows folded by step, then by part.
fn series(table: &Table, rows: &[&Row<'_>], part_by: &[usize], step: i64) -> Vec<Step> {
    let start = |row: &Row<'_>| row.minute.div_euclid(step) * step;
    let starts: BTreeSet<i64> = rows.iter().map(|row| start(row)).collect();
    let at = |at: i64| rows.iter().copied().filter(|row| start(row) == at).collect::<Vec<_>>();
    starts.into_iter().map(|from| Step { start: from, parts: parts(table, &at(from), part_by) }).collect()
}

/// A measure with its cell and its weights' column found.
struct Resolved<'r> {
    cell: usize,
    weights: Option<(usize, &'r BTreeMap<String, i64>, i64)>,
}

fn resolve<'r>(table: &Table, by: &'r Measure) -> Result<Resolved<'r>, String> {
    let cell = table.cells.iter().position(|cell| cell.name == by.cell);
    let cell = cell.ok_or_else(|| format!("table \"{}\" has no cell \"{}\"", table.name, by.cell))?;
    let weights = match &by.weights {
        Some(_) if table.cells[cell].merge != Merge::Sum => {
            return Err(format!("cell \"{}\" is not a sum: it has no weights", by.cell));
        }
        Some(weights) => Some((column_of(table, weights.column)?, &weights.of, weights.other)),
        None => None,
    };
    Ok(Resolved { cell, weights })
}

impl Resolved<'_> {
    fn over(&self, table: &Table, rows: &[&Row<'_>]) -> i128 {
        let merge = table.cells[self.cell].merge;
        rows.iter().fold(merge.identity(), |value, row| {
            let weight = match self.weights {
                Some((column, of, other)) => of.get(&*row.key[column].text()).copied().unwrap_or(other),
                None => 1,
            };
            merge.of(
                value,
                if weight == 1 { row.cells[self.cell] } else { row.cells[self.cell].wrapping_mul(weight.into()) },
            )
        })
    }
}
