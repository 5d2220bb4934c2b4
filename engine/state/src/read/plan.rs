//! A read in terms of this process: columns as places, ids as numbers, event types as codes.
//!
//! A plan is made for each read, since ids and types may have been added. Two reads with equal
//! plans and bounds ask the same. A plan says what a row is worth; it reads no rows.

use super::access::TableMoment;
use super::allowance::ReadError;
use crate::write::keyspace::Keyspace;
use crate::write::texts::Texts;
use tally_plugin::description::{Key, Merge};
use tally_plugin::read::{Measure, Only, ReadRequest};

/// Most groups that filters may name together.
const NAMED: usize = 1 << 20;

/// A request in numbers of this process.
#[derive(PartialEq)]
pub(crate) struct Plan {
    /// Filters on columns other than the event type.
    filters: Vec<(usize, Vec<u64>)>,
    /// By code in the keyspace, which event types count; `None`: all.
    pub(crate) kinds: Option<Vec<bool>>,
    pub(crate) group_by: Vec<usize>,
    pub(crate) part_by: PartBy,
    pub(crate) measures: Vec<PlanMeasure>,
    /// Groups of the keyspace that can match, if filters name all group columns.
    pub(crate) groups: Option<Vec<u32>>,
}

/// What tells parts apart.
#[derive(PartialEq)]
pub(crate) enum PartBy {
    /// The event type alone: the keyspace has a code for it.
    Kind(usize),
    Columns(Vec<usize>),
}

#[derive(PartialEq)]
pub(crate) struct PlanMeasure {
    pub(crate) cell: usize,
    pub(crate) how: How,
}

/// How the values of a cell become one measure.
#[derive(PartialEq)]
pub(crate) enum How {
    Merge,
    /// The estimate of the merged set.
    Distinct,
    Add,
    /// Weighted by the code of the event type.
    AddByKind(Vec<i64>),
    /// Weighted by a column: the weights of some values, and of all others.
    AddByColumn(usize, Vec<(u64, i64)>, i64),
}

impl Plan {
    pub(crate) fn new(
        table: &TableMoment,
        keys: &Keyspace,
        texts: &Texts,
        request: &ReadRequest,
    ) -> Result<Plan, ReadError> {
        let column = |key: &Key| {
            let place = table.description().key.iter().position(|column| column == key);
            place.ok_or_else(|| {
                ReadError::Bad(format!("table \"{}\" has no key column {key:?}", request.table))
            })
        };
        let columns = |keys: &[Key]| keys.iter().map(column).collect::<Result<Vec<_>, _>>();
        let mut filters = Vec::new();
        for only in &request.only {
            filters.push((column(&only.column)?, numbers(only, texts)));
        }
        let measures = request.rank.iter().flat_map(|rank| &rank.by);
        let measures = measures
            .map(|measure| Plan::measure(table, keys, texts, measure, &column))
            .collect::<Result<_, _>>()?;
        let groups = groups_named(keys, &filters)?;
        let of_kind = |column: &usize| Some(*column) == keys.kind_column();
        let takes = |kind: &u64| {
            filters
                .iter()
                .filter(|(column, _)| of_kind(column))
                .all(|(_, ids)| ids.binary_search(kind).is_ok())
        };
        let filtered = filters.iter().any(|(column, _)| of_kind(column));
        let kinds = filtered.then(|| keys.kinds().iter().map(takes).collect());
        // Walking only these groups applies the filters that named them.
        let kept = |column: usize| groups.is_none() || column >= keys.shape().group;
        filters.retain(|(column, _)| !of_kind(column) && kept(*column));
        let (group_by, part_by) = (columns(&request.group_by)?, columns(&request.part_by)?);
        let part_by = match part_by.as_slice() {
            [column] if of_kind(column) => PartBy::Kind(*column),
            _ => PartBy::Columns(part_by),
        };
        Ok(Plan { filters, kinds, group_by, part_by, measures, groups })
    }

    fn measure(
        table: &TableMoment,
        keys: &Keyspace,
        texts: &Texts,
        measure: &Measure,
        column: &dyn Fn(&Key) -> Result<usize, ReadError>,
    ) -> Result<PlanMeasure, ReadError> {
        let cells = &table.description().cells;
        let cell = cells.iter().position(|cell| cell.name == measure.cell);
        let cell =
            cell.ok_or_else(|| ReadError::Bad(format!("unknown cell \"{}\"", measure.cell)))?;
        let adds = table.layout.adds(cell);
        let merge = table.layout.merge_of(cell).filter(|merge| merge.is_sketch());
        if merge.is_some_and(|merge| merge != Merge::Distinct) {
            return Err(ReadError::Bad(format!(
                "groups cannot be ranked by cell \"{}\"",
                measure.cell
            )));
        }
        let how = match &measure.weights {
            Some(_) if !adds => {
                return Err(ReadError::Bad(format!(
                    "cell \"{}\" is not a sum, so it cannot be weighted",
                    measure.cell
                )));
            }
            Some(weights) => {
                let of = weights
                    .of
                    .iter()
                    .filter_map(|(text, weight)| Some((texts.find(text.as_bytes())?, *weight)));
                let (column, of, other) =
                    (column(&weights.column)?, of.collect::<Vec<_>>(), weights.other);
                if Some(column) == keys.kind_column() {
                    How::AddByKind(
                        keys.kinds().iter().map(|kind| weight(&of, other, *kind)).collect(),
                    )
                } else {
                    How::AddByColumn(column, of, other)
                }
            }
            None if adds => How::Add,
            None if merge.is_some() => How::Distinct,
            None => How::Merge,
        };
        Ok(PlanMeasure { cell, how })
    }

    #[inline]
    pub(crate) fn matches(&self, keys: &Keyspace, key: u32) -> bool {
        if let Some(kinds) = &self.kinds
            && !kinds[keys.kind(key)]
        {
            return false;
        }
        self.filters.is_empty() || {
            let values = keys.key(key);
            self.filters.iter().all(|(column, ids)| ids.binary_search(&values[*column]).is_ok())
        }
    }

    pub(crate) fn part_columns(&self) -> &[usize] {
        match &self.part_by {
            PartBy::Kind(column) => std::slice::from_ref(column),
            PartBy::Columns(columns) => columns,
        }
    }
}

/// The weight of a value.
pub(crate) fn weight(of: &[(u64, i64)], other: i64, value: u64) -> i64 {
    of.iter().find(|(number, _)| *number == value).map_or(other, |(_, weight)| *weight)
}

/// The ids of a filter as numbers, ascending; one that was never seen has none.
pub(crate) fn numbers(only: &Only, texts: &Texts) -> Vec<u64> {
    let mut ids: Vec<u64> = only.ids.iter().filter_map(|id| texts.number(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The groups that filters on all group columns name; `None` if a group column has no filter.
fn groups_named(
    keys: &Keyspace,
    filters: &[(usize, Vec<u64>)],
) -> Result<Option<Vec<u32>>, ReadError> {
    let mut named: Vec<Vec<u64>> = vec![Vec::new()];
    for column in 0..keys.shape().group {
        let Some((_, ids)) = filters.iter().find(|(filtered, _)| *filtered == column) else {
            return Ok(None);
        };
        if named.len().saturating_mul(ids.len()) > NAMED {
            return Err(ReadError::Bad(format!("more than {NAMED} groups are named")));
        }
        named = named
            .iter()
            .flat_map(|lead| ids.iter().map(|id| [lead.as_slice(), &[*id]].concat()))
            .collect();
    }
    if keys.shape().group == 0 {
        return Ok(None);
    }
    let mut groups: Vec<u32> = named.iter().filter_map(|values| keys.find_group(values)).collect();
    groups.sort_unstable();
    Ok(Some(groups))
}
