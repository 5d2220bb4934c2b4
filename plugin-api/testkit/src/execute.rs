//! A read, executed by looking at every row.

use super::cell::{CellState, identity, merged};
use super::state::TableState;
use std::collections::{BTreeMap, BTreeSet};
use tally_plugin::description::{Description, From, Key, Merge, PropertyType, Table};
use tally_plugin::read::{
    GroupAnswer, Id, Measure, Order, Part, Rank, ReadAnswer, ReadRequest, Step,
};
use tally_sketch::Sketch;

/// A row that matched.
struct Row<'t> {
    key: &'t [Id],
    minute: i64,
    cells: &'t [CellState],
}

/// Executes a read over the rows of a table. Minutes that start in `[from, to)` count.
///
/// # Errors
/// A sentence: the request names a column that is not in the key, a cell that is not declared,
/// weights of a cell that is not a sum, a time range of a table without a time axis, or a step that
/// is not whole minutes.
pub fn execute(
    description: &Description,
    table: &Table,
    rows: &TableState,
    request: &ReadRequest,
) -> Result<ReadAnswer, String> {
    let columns = |columns: &[Key]| {
        columns.iter().map(|column| column_of(table, column)).collect::<Result<Vec<_>, _>>()
    };
    let (group_by, part_by) = (columns(&request.group_by)?, columns(&request.part_by)?);
    let timed = request.from.is_some() || request.to.is_some() || request.step_ms.is_some();
    if timed && table.tiers.is_empty() {
        return Err(format!("table \"{}\" has no time axis", table.name));
    }
    if request.step_ms.is_some_and(|step| step <= 0 || step % 60_000 != 0) {
        return Err("a step must be a whole number of minutes".into());
    }
    let mut only = Vec::new();
    for filter in &request.only {
        only.push((column_of(table, &filter.column)?, &filter.ids));
    }
    let measures = request
        .rank
        .iter()
        .flat_map(|rank| &rank.by)
        .map(|by| resolve(table, by))
        .collect::<Result<Vec<_>, _>>()?;

    if request.quantiles.iter().any(|q| !(0.0..=1.0).contains(q)) {
        return Err("a quantile must be a number from 0 to 1".into());
    }
    let fold = Folding { table, whole: whole(description, table), quantiles: &request.quantiles };
    let matching: Vec<Row<'_>> = rows
        .iter()
        .map(|((key, minute), cells)| Row { key, minute: *minute, cells })
        .filter(|row| {
            request.from.is_none_or(|from| from <= row.minute)
                && request.to.is_none_or(|to| row.minute < to)
        })
        .filter(|row| only.iter().all(|(column, ids)| ids.contains(&row.key[*column])))
        .collect();

    let keys: BTreeSet<Vec<Id>> = matching.iter().map(|row| pick(row.key, &group_by)).collect();
    let mut groups: Vec<GroupAnswer> = keys
        .into_iter()
        .map(|key| {
            let rows: Vec<&Row<'_>> =
                matching.iter().filter(|row| pick(row.key, &group_by) == key).collect();
            GroupAnswer {
                measures: measures.iter().map(|measure| measure.over(table, &rows)).collect(),
                parts: fold.parts(&rows, &part_by),
                series: request
                    .step_ms
                    .map(|step| fold.series(&rows, &part_by, step))
                    .unwrap_or_default(),
                key,
            }
        })
        .collect();
    let groups_total = groups.len() as u64;
    if let Some(rank) = &request.rank {
        rank_groups(&mut groups, rank);
    }
    Ok(ReadAnswer {
        total: fold.parts(&matching.iter().collect::<Vec<_>>(), &part_by),
        groups_total,
        groups,
    })
}

fn rank_groups(groups: &mut Vec<GroupAnswer>, rank: &Rank) {
    // Stable: groups with equal measures stay in the order of their ids.
    groups.sort_by(|a, b| match rank.order {
        Order::Desc => b.measures.cmp(&a.measures),
        Order::Asc => a.measures.cmp(&b.measures),
    });
    groups.truncate(rank.limit);
}

fn column_of(table: &Table, column: &Key) -> Result<usize, String> {
    let at = table.key.iter().position(|key| key == column);
    at.ok_or_else(|| format!("table \"{}\" has no {column:?} in its key", table.name))
}

fn pick(key: &[Id], columns: &[usize]) -> Vec<Id> {
    columns.iter().map(|column| key[*column].clone()).collect()
}

/// Which cells hold whole numbers only.
fn whole(description: &Description, table: &Table) -> Vec<bool> {
    let is_float = |name: &String| {
        description
            .properties
            .iter()
            .any(|property| property.name == *name && property.kind == PropertyType::Float)
    };
    let whole = |from: &From| !matches!(from, From::Column(Key::Property(name)) if is_float(name));
    table.cells.iter().map(|cell| whole(&cell.from)).collect()
}

struct Folding<'r> {
    table: &'r Table,
    whole: Vec<bool>,
    quantiles: &'r [f64],
}

impl Folding<'_> {
    /// Rows folded by part.
    fn parts(&self, rows: &[&Row<'_>], part_by: &[usize]) -> Vec<Part> {
        let mut parts = BTreeMap::<Vec<Id>, Vec<CellState>>::new();
        for row in rows {
            let empty =
                || self.table.cells.iter().map(|cell| CellState::empty(cell.merge)).collect();
            let cells = parts.entry(pick(row.key, part_by)).or_insert_with(empty);
            for (n, cell) in self.table.cells.iter().enumerate() {
                cells[n].merge(cell.merge, &row.cells[n]);
            }
        }
        parts.into_iter().map(|(key, cells)| self.part(key, &cells)).collect()
    }

    fn part(&self, key: Vec<Id>, cells: &[CellState]) -> Part {
        let mut part =
            Part { key, cells: cells.iter().map(CellState::number).collect(), ..Part::default() };
        for ((declared, cell), whole) in self.table.cells.iter().zip(cells).zip(&self.whole) {
            match (declared.merge, cell) {
                (Merge::Quantiles, CellState::Sketch(Some(Sketch::Quantiles(of)))) => {
                    part.quantiles.push(
                        self.quantiles.iter().filter_map(|q| of.quantile(*q, *whole)).collect(),
                    );
                }
                (Merge::Quantiles, _) => part.quantiles.push(vec![]),
                (Merge::Latest, CellState::Sketch(Some(Sketch::Latest(latest)))) => {
                    part.latest.push(Some(latest.value()))
                }
                (Merge::Latest, _) => part.latest.push(None),
                _ => {}
            }
        }
        part
    }

    /// Rows folded by step, then by part.
    fn series(&self, rows: &[&Row<'_>], part_by: &[usize], step: i64) -> Vec<Step> {
        let start = |row: &Row<'_>| row.minute.div_euclid(step) * step;
        let starts: BTreeSet<i64> = rows.iter().map(|row| start(row)).collect();
        let at = |at: i64| rows.iter().copied().filter(|row| start(row) == at).collect::<Vec<_>>();
        starts
            .into_iter()
            .map(|from| Step { start: from, parts: self.parts(&at(from), part_by) })
            .collect()
    }
}

/// A measure with its cell and its weights' column found.
struct Resolved<'r> {
    cell: usize,
    weights: Option<(usize, &'r BTreeMap<String, i64>, i64)>,
}

fn resolve<'r>(table: &Table, by: &'r Measure) -> Result<Resolved<'r>, String> {
    let cell = table.cells.iter().position(|cell| cell.name == by.cell);
    let cell =
        cell.ok_or_else(|| format!("table \"{}\" has no cell \"{}\"", table.name, by.cell))?;
    if matches!(table.cells[cell].merge, Merge::Quantiles | Merge::Latest) {
        return Err(format!("groups cannot be ranked by cell \"{}\"", by.cell));
    }
    let weights = match &by.weights {
        Some(_) if table.cells[cell].merge != Merge::Sum => {
            return Err(format!("cell \"{}\" is not a sum: it has no weights", by.cell));
        }
        Some(weights) => Some((column_of(table, &weights.column)?, &weights.of, weights.other)),
        None => None,
    };
    Ok(Resolved { cell, weights })
}

impl Resolved<'_> {
    fn over(&self, table: &Table, rows: &[&Row<'_>]) -> i128 {
        let merge = table.cells[self.cell].merge;
        if merge.is_sketch() {
            let mut all = CellState::empty(merge);
            rows.iter().for_each(|row| all.merge(merge, &row.cells[self.cell]));
            return all.number();
        }
        rows.iter().fold(identity(merge), |sum, row| {
            let value = row.cells[self.cell].number();
            let weight = match self.weights {
                Some((column, of, other)) => {
                    of.get(&*row.key[column].text()).copied().unwrap_or(other)
                }
                None => 1,
            };
            merged(merge, sum, if weight == 1 { value } else { value.wrapping_mul(weight.into()) })
        })
    }
}
