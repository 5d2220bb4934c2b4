//! Executes a read: the rows of a table that match, by group, within a group by part, ranked, with series.
//!
//! An unbounded range reads totals; a bounded one folds the panes it covers. A filter that names the group columns
//! touches only those groups. Everything is exact; ties go to the lower id. It takes a look at the clock now and then
//! through `late` and stops when told, so a heavy question cannot hold the state for long.

use super::keyspace::Keyspace;
use super::run::place;
use super::scan::{Found, Scan};
use super::table::TableState;
use super::texts::Texts;
use crate::event::ABSENT;
use hashbrown::HashMap as Map;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use tally_plugin::description::Key;
use tally_plugin::read::{Group, Id, Measure, Order, Part, ReadAnswer, ReadRequest, Step};
use thiserror::Error;

/// Why a read has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The request does not fit the table: the plugin's fault.
    #[error("{0}")]
    Bad(String),
    /// It took longer than allowed.
    #[error("the evaluation took longer than its deadline")]
    Deadline,
}

/// Fast and seeded per process.
type HashMap<K, V> = Map<K, V, foldhash::fast::RandomState>;

/// Column values of up to three columns; unused places hold [`ABSENT`].
pub(crate) type Values = [u64; 3];

/// Executes `request` on a table.
pub(crate) fn read(
    table: &TableState,
    keys: &Keyspace,
    texts: &Texts,
    request: &ReadRequest,
    late: &dyn Fn() -> bool,
) -> Result<ReadAnswer, ReadError> {
    let plan = Plan::new(table, keys, texts, request)?;
    let scan = Scan { table, keys, groups: plan.groups.as_deref(), from: request.from, to: request.to, late };
    let found = scan.fold()?;
    let aggregate = Aggregate { table, keys, texts, plan: &plan, found: &found, late };
    let (groups, total) = aggregate.groups()?;
    let groups_total = groups.values.len() as u64;
    let chosen = aggregate.choose(&groups, request);
    let series = match request.step_ms {
        Some(step) => aggregate.series(&scan, &groups, &chosen, step)?,
        None => Vec::new(),
    };
    let groups = aggregate.write(&groups, &chosen, series);
    Ok(ReadAnswer { total: aggregate.parts(total), groups_total, groups })
}

/// A request in terms of this process' numbers.
struct Plan {
    filters: Vec<(usize, Vec<u64>)>,
    group_by: Vec<usize>,
    part_by: Vec<usize>,
    measures: Vec<PlanMeasure>,
    /// Groups of the keyspace that can match, where filters name all group columns.
    groups: Option<Vec<u32>>,
}

struct PlanMeasure {
    cell: usize,
    weights: Option<(usize, Vec<(u64, i64)>, i64)>,
}

impl Plan {
    fn new(table: &TableState, keys: &Keyspace, texts: &Texts, request: &ReadRequest) -> Result<Plan, ReadError> {
        let column = |key: &Key| {
            let place = keys.shape().columns.iter().position(|column| column == key);
            place.ok_or_else(|| ReadError::Bad(format!("table \"{}\" has no key column {key:?}", request.table)))
        };
        let columns = |keys: &[Key]| keys.iter().map(column).collect::<Result<Vec<_>, _>>();
        let mut filters = Vec::new();
        for only in &request.only {
            let mut ids: Vec<u64> = only.ids.iter().filter_map(|id| texts.number(id)).collect();
            ids.sort_unstable();
            ids.dedup();
            filters.push((column(&only.column)?, ids));
        }
        let measures = request.rank.iter().flat_map(|rank| &rank.by);
        let measures =
            measures.map(|measure| Plan::measure(table, texts, measure, &column)).collect::<Result<_, _>>()?;
        let groups = groups_named(keys, &filters);
        let (group_by, part_by) = (columns(&request.group_by)?, columns(&request.part_by)?);
        Ok(Plan { filters, group_by, part_by, measures, groups })
    }

    fn measure(
        table: &TableState,
        texts: &Texts,
        measure: &Measure,
        column: &dyn Fn(&Key) -> Result<usize, ReadError>,
    ) -> Result<PlanMeasure, ReadError> {
        let cells = &table.description.cells;
        let cell = cells.iter().position(|cell| cell.name == measure.cell);
        let cell = cell.ok_or_else(|| ReadError::Bad(format!("there is no cell \"{}\"", measure.cell)))?;
        let weights = match &measure.weights {
            Some(_) if !table.layout.adds(cell) => {
                return Err(ReadError::Bad(format!("cell \"{}\" is no sum, so it cannot be weighted", measure.cell)));
            }
            Some(weights) => {
                let of = weights.of.iter().filter_map(|(text, weight)| Some((texts.find(text.as_bytes())?, *weight)));
                Some((column(&weights.column)?, of.collect(), weights.other))
            }
            None => None,
        };
        Ok(PlanMeasure { cell, weights })
    }

    fn matches(&self, key: &[u64]) -> bool {
        self.filters.iter().all(|(column, ids)| ids.binary_search(&key[*column]).is_ok())
    }
}

/// The groups that filters on all group columns name; `None` where some group column is free.
fn groups_named(keys: &Keyspace, filters: &[(usize, Vec<u64>)]) -> Option<Vec<u32>> {
    let mut named: Vec<Vec<u64>> = vec![Vec::new()];
    for column in 0..keys.shape().group {
        let (_, ids) = filters.iter().find(|(filtered, _)| *filtered == column)?;
        named = named.iter().flat_map(|lead| ids.iter().map(|id| [lead.as_slice(), &[*id]].concat())).collect();
    }
    if keys.shape().group == 0 {
        return None;
    }
    let mut groups: Vec<u32> = named.iter().filter_map(|values| keys.find_group(values)).collect();
    groups.sort_unstable();
    Some(groups)
}

/// Every group that has a row: flat lists, since there may be as many groups as keys.
#[derive(Default)]
struct Groups {
    values: Vec<Values>,
    /// The measures of all groups, end to end.
    measures: Vec<i128>,
    /// Group and key of every row that matched.
    members: Vec<(u32, u32)>,
}

/// Not among the chosen.
const UNCHOSEN: u32 = u32::MAX;

/// The groups to be returned, in order.
struct Chosen {
    groups: Vec<u32>,
    /// Place in `groups` of each group, or [`UNCHOSEN`].
    place_of: Vec<u32>,
}

struct Aggregate<'a> {
    table: &'a TableState,
    keys: &'a Keyspace,
    texts: &'a Texts,
    plan: &'a Plan,
    found: &'a Found<'a>,
    late: &'a dyn Fn() -> bool,
}

impl Aggregate<'_> {
    /// Every group that has a row, and the parts over all of them.
    fn groups(&self) -> Result<(Groups, Parts), ReadError> {
        let mut total = Parts::default();
        // The groups of the keyspace are those asked for: no hashing, group after group.
        let natural = self.plan.group_by.iter().copied().eq(0..self.keys.shape().group);
        let neutral = self.neutral();
        let mut groups = Groups::default();
        let mut index: HashMap<Values, u32> = HashMap::default();
        let all = 0..self.keys.groups() as u32;
        let candidates: Box<dyn Iterator<Item = u32>> = match &self.plan.groups {
            Some(named) => Box::new(named.iter().copied()),
            None => Box::new(all),
        };
        for (n, group) in candidates.enumerate() {
            if n % 4_096 == 0 && (self.late)() {
                return Err(ReadError::Deadline);
            }
            let mut current = None;
            for key in self.keys.keys_of(group) {
                let values = self.keys.key(key);
                let Some(words) = self.found.words(key).filter(|_| self.plan.matches(values)) else { continue };
                total.merge(self, select(values, &self.plan.part_by), words);
                let next = groups.values.len() as u32;
                let at = if natural {
                    *current.get_or_insert(next)
                } else {
                    *index.entry(select(values, &self.plan.group_by)).or_insert(next)
                };
                if at == next {
                    groups.values.push(select(values, &self.plan.group_by));
                    groups.measures.extend_from_slice(&neutral);
                }
                let start = at as usize * neutral.len();
                self.measure(&mut groups.measures[start..start + neutral.len()], values, words);
                groups.members.push((at, key));
            }
        }
        Ok((groups, total))
    }

    fn neutral(&self) -> Vec<i128> {
        let neutral = self.table.layout.neutral();
        let value = |m: &PlanMeasure| {
            if self.table.layout.adds(m.cell) { 0 } else { self.table.layout.value(&neutral, m.cell) }
        };
        self.plan.measures.iter().map(value).collect()
    }

    fn measure(&self, measures: &mut [i128], values: &[u64], words: &[i64]) {
        for (measure, sum) in self.plan.measures.iter().zip(measures) {
            let value = self.table.layout.value(words, measure.cell);
            if !self.table.layout.adds(measure.cell) {
                *sum = self.table.layout.combine(measure.cell, *sum, value);
                continue;
            }
            let weight = measure.weights.as_ref().map_or(1, |(column, of, other)| {
                of.iter().find(|(number, _)| *number == values[*column]).map_or(*other, |(_, weight)| *weight)
            });
            *sum = sum.wrapping_add(value.wrapping_mul(i128::from(weight)));
        }
    }

    /// The groups asked for, in the order asked for.
    fn choose(&self, groups: &Groups, request: &ReadRequest) -> Chosen {
        let width = self.plan.measures.len();
        let measures = |group: u32| &groups.measures[group as usize * width..][..width];
        let value = |group: u32| &groups.values[group as usize];
        let by_id = |a: &u32, b: &u32| self.order(value(*a), value(*b), self.plan.group_by.len());
        let mut list: Vec<u32> = (0..groups.values.len() as u32).collect();
        match &request.rank {
            None => list.sort_by(by_id),
            Some(rank) => {
                let better = |a: &u32, b: &u32| {
                    let order = measures(*a).cmp(measures(*b));
                    let order = if rank.order == Order::Desc { order.reverse() } else { order };
                    order.then_with(|| by_id(a, b))
                };
                if rank.limit > 0 && rank.limit < list.len() {
                    list.select_nth_unstable_by(rank.limit - 1, better);
                }
                list.truncate(rank.limit);
                list.sort_by(better);
            }
        }
        let mut place_of = vec![UNCHOSEN; groups.values.len()];
        for (place, group) in list.iter().enumerate() {
            place_of[*group as usize] = place as u32;
        }
        Chosen { groups: list, place_of }
    }

    fn order(&self, a: &Values, b: &Values, columns: usize) -> Ordering {
        let ids = a.iter().zip(b).take(columns);
        ids.map(|(a, b)| self.texts.order(*a, *b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// For each chosen group the steps that have data.
    fn series(
        &self,
        scan: &Scan<'_>,
        groups: &Groups,
        chosen: &Chosen,
        step_ms: i64,
    ) -> Result<Vec<BTreeMap<i64, Parts>>, ReadError> {
        if step_ms <= 0 {
            return Err(ReadError::Bad("a series step must be longer than nothing".into()));
        }
        let of: HashMap<u32, u32> = members(groups, chosen).map(|(place, key)| (key, place)).collect();
        let mut wanted: Vec<u32> = of.keys().map(|key| self.keys.group(*key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let narrowed = Scan { groups: Some(&wanted), ..*scan };
        let mut series: Vec<BTreeMap<i64, Parts>> = chosen.groups.iter().map(|_| BTreeMap::new()).collect();
        narrowed.rows(&mut |key, begin, words| {
            if let (Some(place), Some(begin)) = (of.get(&key), begin) {
                let start = begin.div_euclid(step_ms) * step_ms;
                let part = select(self.keys.key(key), &self.plan.part_by);
                series[*place as usize].entry(start).or_default().merge(self, part, words);
            }
        })?;
        Ok(series)
    }

    fn write(&self, groups: &Groups, chosen: &Chosen, series: Vec<BTreeMap<i64, Parts>>) -> Vec<Group> {
        let mut parts: Vec<Parts> = chosen.groups.iter().map(|_| Parts::default()).collect();
        for (place, key) in members(groups, chosen) {
            if let Some(words) = self.found.words(key) {
                parts[place as usize].merge(self, select(self.keys.key(key), &self.plan.part_by), words);
            }
        }
        let width = self.plan.measures.len();
        let mut series = series.into_iter();
        let write = |(group, parts): (&u32, Parts)| Group {
            key: self.ids(&groups.values[*group as usize], self.plan.group_by.len()),
            measures: groups.measures[*group as usize * width..][..width].to_vec(),
            parts: self.parts(parts),
            series: series
                .next()
                .unwrap_or_default()
                .into_iter()
                .map(|(start, parts)| Step { start, parts: self.parts(parts) })
                .collect(),
        };
        chosen.groups.iter().zip(parts).map(write).collect()
    }

    fn ids(&self, values: &Values, columns: usize) -> Vec<Id> {
        values[..columns].iter().map(|value| self.texts.id(*value)).collect()
    }

    fn parts(&self, parts: Parts) -> Vec<Part> {
        let columns = self.plan.part_by.len();
        let mut list = parts.list;
        list.sort_by(|(a, _), (b, _)| self.order(a, b, columns));
        let cells =
            |words: &[i64]| (0..self.table.layout.len()).map(|cell| self.table.layout.value(words, cell)).collect();
        list.into_iter().map(|(values, words)| Part { key: self.ids(&values, columns), cells: cells(&words) }).collect()
    }
}

/// Place and key of every row of a chosen group.
fn members<'a>(groups: &'a Groups, chosen: &'a Chosen) -> impl Iterator<Item = (u32, u32)> + 'a {
    let place = |(group, key): &(u32, u32)| (chosen.place_of[*group as usize], *key);
    groups.members.iter().map(place).filter(|(place, _)| *place != UNCHOSEN)
}

#[inline]
fn select(values: &[u64], columns: &[usize]) -> Values {
    let mut selected = [ABSENT; 3];
    for (place, column) in selected.iter_mut().zip(columns) {
        *place = values[*column];
    }
    selected
}

/// Folded words by part: a list searched from the front while it is short (event types), then through an index.
#[derive(Default)]
struct Parts {
    list: Vec<(Values, Vec<i64>)>,
    index: HashMap<Values, usize>,
}

impl Parts {
    fn merge(&mut self, of: &Aggregate<'_>, part: Values, words: &[i64]) {
        let at = if self.index.is_empty() {
            self.list.iter().position(|(values, _)| *values == part)
        } else {
            self.index.get(&part).copied()
        };
        if let Some(at) = at {
            of.table.layout.merge(&mut self.list[at].1, words);
            return;
        }
        self.list.push((part, words.to_vec()));
        if self.list.len() == 17 {
            self.index.extend(self.list.iter().enumerate().map(|(n, (values, _))| (*values, n)));
        } else if self.list.len() > 17 {
            self.index.insert(part, self.list.len() - 1);
        }
    }
}

/// First place of a group in the order of runs.
pub(crate) fn first_place(group: u32) -> u64 {
    place(group, 0)
}
