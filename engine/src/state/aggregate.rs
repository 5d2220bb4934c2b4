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
use foldhash::fast::RandomState;
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
type HashMap<K, V> = Map<K, V, RandomState>;

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
    /// Filters on columns other than the event type.
    filters: Vec<(usize, Vec<u64>)>,
    /// Which event types count, by their codes in the keyspace; `None`: all.
    kinds: Option<Vec<bool>>,
    group_by: Vec<usize>,
    part_by: PartBy,
    measures: Vec<PlanMeasure>,
    /// Groups of the keyspace that can match, where filters name all group columns.
    groups: Option<Vec<u32>>,
}

/// What tells parts apart.
enum PartBy {
    /// The event type alone: the keyspace has a code for it.
    Kind(usize),
    Columns(Vec<usize>),
}

struct PlanMeasure {
    cell: usize,
    how: How,
}

/// How the values of a cell become one.
enum How {
    Merge,
    Add,
    /// By the code of the event type.
    AddByKind(Vec<i64>),
    /// By a column: the weights of some values, and of any other.
    AddByColumn(usize, Vec<(u64, i64)>, i64),
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
            measures.map(|measure| Plan::measure(table, keys, texts, measure, &column)).collect::<Result<_, _>>()?;
        let groups = groups_named(keys, &filters);
        let of_kind = |column: &usize| Some(*column) == keys.kind_column();
        let takes = |kind: &u64| {
            filters.iter().filter(|(column, _)| of_kind(column)).all(|(_, ids)| ids.binary_search(kind).is_ok())
        };
        let filtered = filters.iter().any(|(column, _)| of_kind(column));
        let kinds = filtered.then(|| keys.kinds().iter().map(takes).collect());
        // Those that named the groups are kept by walking these groups alone.
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
        table: &TableState,
        keys: &Keyspace,
        texts: &Texts,
        measure: &Measure,
        column: &dyn Fn(&Key) -> Result<usize, ReadError>,
    ) -> Result<PlanMeasure, ReadError> {
        let cells = &table.description.cells;
        let cell = cells.iter().position(|cell| cell.name == measure.cell);
        let cell = cell.ok_or_else(|| ReadError::Bad(format!("there is no cell \"{}\"", measure.cell)))?;
        let adds = table.layout.adds(cell);
        let how = match &measure.weights {
            Some(_) if !adds => {
                return Err(ReadError::Bad(format!("cell \"{}\" is no sum, so it cannot be weighted", measure.cell)));
            }
            Some(weights) => {
                let of = weights.of.iter().filter_map(|(text, weight)| Some((texts.find(text.as_bytes())?, *weight)));
                let (column, of, other) = (column(&weights.column)?, of.collect::<Vec<_>>(), weights.other);
                if Some(column) == keys.kind_column() {
                    How::AddByKind(keys.kinds().iter().map(|kind| weight(&of, other, *kind)).collect())
                } else {
                    How::AddByColumn(column, of, other)
                }
            }
            None if adds => How::Add,
            None => How::Merge,
        };
        Ok(PlanMeasure { cell, how })
    }

    #[inline]
    fn matches(&self, keys: &Keyspace, key: u32) -> bool {
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

    fn part_columns(&self) -> &[usize] {
        match &self.part_by {
            PartBy::Kind(column) => std::slice::from_ref(column),
            PartBy::Columns(columns) => columns,
        }
    }
}

fn weight(of: &[(u64, i64)], other: i64, value: u64) -> i64 {
    of.iter().find(|(number, _)| *number == value).map_or(other, |(_, weight)| *weight)
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
    members: Members,
}

/// Which rows that matched belong to a group.
enum Members {
    /// The groups are the keyspace's own: its number of each.
    Own(Vec<u32>),
    /// Group and key of every row.
    Listed(Vec<(u32, u32)>),
}

impl Default for Members {
    fn default() -> Self {
        Members::Own(Vec::new())
    }
}

/// Not there (yet).
const NOWHERE: u32 = u32::MAX;

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
        let own = self.plan.group_by.iter().copied().eq(0..self.keys.shape().group);
        match (&self.plan.groups, own) {
            // Keys in the order of their numbers, which is that of memory.
            (None, true) => self.own_groups(0..self.keys.len() as u32, self.keys.groups()),
            (None, false) => self.listed_groups(0..self.keys.len() as u32),
            (Some(named), true) => self.named_groups(named),
            (Some(named), false) => {
                // Listed first: a chain is walked link by link, what hangs on it then many at a time.
                let mut keys: Vec<u32> = self.members_of(named).collect();
                keys.reverse();
                self.listed_groups(keys.into_iter())
            }
        }
    }

    fn members_of<'k>(&'k self, named: &'k [u32]) -> impl Iterator<Item = u32> + 'k {
        named.iter().flat_map(|group| self.keys.keys_of(*group))
    }

    /// The groups asked for are those of the keyspace: no hashing.
    fn own_groups(&self, keys: impl Iterator<Item = u32>, groups: usize) -> Result<(Groups, Parts), ReadError> {
        let mut place_of = vec![NOWHERE; groups];
        let mut own = Vec::new();
        let (mut groups, total) = self.collect(keys, |key, next| {
            let group = self.keys.group(key);
            let place = &mut place_of[group as usize];
            if *place == NOWHERE {
                *place = next;
                own.push(group);
            }
            *place
        })?;
        groups.members = Members::Own(own);
        Ok((groups, total))
    }

    /// As `own_groups`, of a few: group comes after group.
    fn named_groups(&self, named: &[u32]) -> Result<(Groups, Parts), ReadError> {
        let mut own: Vec<u32> = Vec::new();
        let (mut groups, total) = self.collect(self.members_of(named), |key, next| {
            let group = self.keys.group(key);
            if own.last() == Some(&group) {
                return next - 1;
            }
            own.push(group);
            next
        })?;
        groups.members = Members::Own(own);
        Ok((groups, total))
    }

    fn listed_groups(&self, keys: impl Iterator<Item = u32>) -> Result<(Groups, Parts), ReadError> {
        let some = keys.size_hint().0.min(1 << 16);
        let mut listed = Vec::with_capacity(some);
        // One column is the common case, and a third of the memory to hash and to touch.
        let collected = if let [column] = *self.plan.group_by {
            let mut index: HashMap<u64, u32> = HashMap::with_capacity_and_hasher(some, RandomState::default());
            self.collect(keys, |key, next| {
                let place = *index.entry(self.keys.key(key)[column]).or_insert(next);
                listed.push((place, key));
                place
            })
        } else {
            let mut index: HashMap<Values, u32> = HashMap::default();
            self.collect(keys, |key, next| {
                let place = *index.entry(select(self.keys.key(key), &self.plan.group_by)).or_insert(next);
                listed.push((place, key));
                place
            })
        };
        let (mut groups, total) = collected?;
        groups.members = Members::Listed(listed);
        Ok((groups, total))
    }

    /// Folds the rows of `keys` that match. `place(key, next)` says to which group a row belongs, and that it is
    /// `next` where it is a new one.
    fn collect(
        &self,
        keys: impl Iterator<Item = u32>,
        mut place: impl FnMut(u32, u32) -> u32,
    ) -> Result<(Groups, Parts), ReadError> {
        let (mut total, mut groups) = (Total::new(self), Groups::default());
        let neutral = self.neutral();
        for (n, key) in keys.enumerate() {
            if n % 4_096 == 0 && (self.late)() {
                return Err(ReadError::Deadline);
            }
            let Some(words) = self.found.words(key) else { continue };
            if !self.plan.matches(self.keys, key) {
                continue;
            }
            total.merge(self, key, words);
            let next = groups.values.len() as u32;
            let at = place(key, next);
            if at == next {
                groups.values.push(select(self.keys.key(key), &self.plan.group_by));
                groups.measures.extend_from_slice(&neutral);
            }
            let start = at as usize * neutral.len();
            self.measure(&mut groups.measures[start..start + neutral.len()], key, words);
        }
        Ok((groups, total.parts(self)))
    }

    fn neutral(&self) -> Vec<i128> {
        let neutral = self.table.layout.neutral();
        let value = |m: &PlanMeasure| {
            if self.table.layout.adds(m.cell) { 0 } else { self.table.layout.value(&neutral, m.cell) }
        };
        self.plan.measures.iter().map(value).collect()
    }

    #[inline]
    fn measure(&self, measures: &mut [i128], key: u32, words: &[i64]) {
        for (measure, sum) in self.plan.measures.iter().zip(measures) {
            let value = self.table.layout.value(words, measure.cell);
            let weight = match &measure.how {
                How::Merge => {
                    *sum = self.table.layout.combine(measure.cell, *sum, value);
                    continue;
                }
                How::Add => {
                    *sum = sum.wrapping_add(value);
                    continue;
                }
                How::AddByKind(weights) => weights[self.keys.kind(key)],
                How::AddByColumn(column, of, other) => weight(of, *other, self.keys.key(key)[*column]),
            };
            *sum = sum.wrapping_add(value.wrapping_mul(i128::from(weight)));
        }
    }

    /// The groups asked for, in the order asked for.
    fn choose(&self, groups: &Groups, request: &ReadRequest) -> Vec<u32> {
        let width = self.plan.measures.len();
        let measures = |group: u32| &groups.measures[group as usize * width..][..width];
        let value = |group: u32| &groups.values[group as usize];
        let by_id = |a: &u32, b: &u32| self.order(value(*a), value(*b), self.plan.group_by.len());
        let all = 0..groups.values.len() as u32;
        let Some(rank) = &request.rank else {
            let mut list: Vec<u32> = all.collect();
            list.sort_by(by_id);
            return list;
        };
        let better = |a: &u32, b: &u32| {
            let order = measures(*a).cmp(measures(*b));
            let order = if rank.order == Order::Desc { order.reverse() } else { order };
            order.then_with(|| by_id(a, b))
        };
        best(all, rank.limit, better)
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
        chosen: &[u32],
        step_ms: i64,
    ) -> Result<Vec<BTreeMap<i64, Parts>>, ReadError> {
        if step_ms <= 0 {
            return Err(ReadError::Bad("a series step must be longer than nothing".into()));
        }
        let of: HashMap<u32, u32> = self.members(groups, chosen).into_iter().map(|(place, key)| (key, place)).collect();
        let mut wanted: Vec<u32> = of.keys().map(|key| self.keys.group(*key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let narrowed = Scan { groups: Some(&wanted), ..*scan };
        let mut series: Vec<BTreeMap<i64, Parts>> = chosen.iter().map(|_| BTreeMap::new()).collect();
        narrowed.rows(&mut |key, begin, words| {
            if let (Some(place), Some(begin)) = (of.get(&key), begin) {
                let start = begin.div_euclid(step_ms) * step_ms;
                let part = select(self.keys.key(key), self.plan.part_columns());
                series[*place as usize].entry(start).or_default().merge(self, part, words);
            }
        })?;
        Ok(series)
    }

    fn write(&self, groups: &Groups, chosen: &[u32], series: Vec<BTreeMap<i64, Parts>>) -> Vec<Group> {
        let mut parts: Vec<Parts> = chosen.iter().map(|_| Parts::default()).collect();
        for (place, key) in self.members(groups, chosen) {
            if let Some(words) = self.found.words(key) {
                parts[place as usize].merge(self, select(self.keys.key(key), self.plan.part_columns()), words);
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
        chosen.iter().zip(parts).map(write).collect()
    }

    /// Place in `chosen` and key of every row of a chosen group.
    fn members(&self, groups: &Groups, chosen: &[u32]) -> Vec<(u32, u32)> {
        let places = (0..).zip(chosen);
        match &groups.members {
            Members::Own(own) => {
                let keys = places
                    .flat_map(|(place, group)| self.keys.keys_of(own[*group as usize]).map(move |key| (place, key)));
                let there =
                    |(_, key): &(u32, u32)| self.found.words(*key).is_some() && self.plan.matches(self.keys, *key);
                keys.filter(there).collect()
            }
            Members::Listed(listed) => {
                let mut place_of = vec![NOWHERE; groups.values.len()];
                places.for_each(|(place, group)| place_of[*group as usize] = place);
                let placed = listed.iter().map(|(group, key)| (place_of[*group as usize], *key));
                placed.filter(|(place, _)| *place != NOWHERE).collect()
            }
        }
    }

    fn ids(&self, values: &Values, columns: usize) -> Vec<Id> {
        values[..columns].iter().map(|value| self.texts.id(*value)).collect()
    }

    fn parts(&self, parts: Parts) -> Vec<Part> {
        let (columns, layout) = (self.plan.part_columns().len(), &self.table.layout);
        let mut list: Vec<(&Values, &[i64])> =
            parts.values.iter().zip(parts.words.chunks_exact(layout.words())).collect();
        list.sort_by(|(a, _), (b, _)| self.order(a, b, columns));
        let cells = |words: &[i64]| (0..layout.len()).map(|cell| layout.value(words, cell)).collect();
        list.into_iter().map(|(values, words)| Part { key: self.ids(values, columns), cells: cells(words) }).collect()
    }
}

/// The best `limit` of a list, best first.
fn best(all: impl Iterator<Item = u32>, limit: usize, better: impl Fn(&u32, &u32) -> Ordering) -> Vec<u32> {
    // A short list is kept in order while looking: nearly all are worse than its last, one comparison each.
    if limit > SHORT {
        let mut list: Vec<u32> = all.collect();
        if limit < list.len() {
            list.select_nth_unstable_by(limit - 1, &better);
            list.truncate(limit);
        }
        list.sort_by(better);
        return list;
    }
    let mut list: Vec<u32> = Vec::with_capacity(limit + 1);
    for one in all {
        if list.len() == limit && list.last().is_none_or(|last| better(last, &one).is_lt()) {
            continue;
        }
        let at = list.partition_point(|other| better(other, &one).is_lt());
        list.insert(at, one);
        list.truncate(limit);
    }
    list
}

/// Longest list of the best that is kept in order while looking.
const SHORT: usize = 64;

#[inline]
fn select(values: &[u64], columns: &[usize]) -> Values {
    let mut selected = [ABSENT; 3];
    for (place, column) in selected.iter_mut().zip(columns) {
        *place = values[*column];
    }
    selected
}

/// The parts over all groups: every row of a read goes through here, so event types are told apart by their code.
enum Total {
    /// Words of each code, end to end, and whether it has a row.
    ByKind(Vec<i64>, Vec<bool>),
    Parts(Parts),
}

impl Total {
    fn new(of: &Aggregate<'_>) -> Total {
        match of.plan.part_by {
            PartBy::Kind(_) => {
                let kinds = of.keys.kinds().len();
                Total::ByKind(of.table.layout.neutral().repeat(kinds), vec![false; kinds])
            }
            PartBy::Columns(_) => Total::Parts(Parts::default()),
        }
    }

    #[inline]
    fn merge(&mut self, of: &Aggregate<'_>, key: u32, words: &[i64]) {
        match self {
            Total::ByKind(all, there) => {
                let kind = of.keys.kind(key);
                there[kind] = true;
                of.table.layout.merge(&mut all[kind * words.len()..][..words.len()], words);
            }
            Total::Parts(parts) => parts.merge(of, select(of.keys.key(key), of.plan.part_columns()), words),
        }
    }

    fn parts(self, of: &Aggregate<'_>) -> Parts {
        match self {
            Total::ByKind(all, there) => {
                let mut parts = Parts::default();
                let kinds = of.keys.kinds().iter().zip(all.chunks_exact(of.table.layout.words()));
                for ((kind, words), _) in kinds.zip(there).filter(|(_, there)| *there) {
                    parts.add([*kind, ABSENT, ABSENT], words);
                }
                parts
            }
            Total::Parts(parts) => parts,
        }
    }
}

/// Folded words by part: a list searched from the front while it is short (event types), then through an index.
#[derive(Default)]
struct Parts {
    values: Vec<Values>,
    /// Words of all parts, end to end.
    words: Vec<i64>,
    index: HashMap<Values, usize>,
}

impl Parts {
    #[inline]
    fn merge(&mut self, of: &Aggregate<'_>, part: Values, words: &[i64]) {
        let at = if self.index.is_empty() {
            self.values.iter().position(|values| *values == part)
        } else {
            self.index.get(&part).copied()
        };
        match at {
            Some(at) => of.table.layout.merge(&mut self.words[at * words.len()..][..words.len()], words),
            None => self.add(part, words),
        }
    }

    #[cold]
    fn add(&mut self, part: Values, words: &[i64]) {
        self.values.push(part);
        self.words.extend_from_slice(words);
        if self.values.len() == 17 {
            self.index.extend(self.values.iter().enumerate().map(|(n, values)| (*values, n)));
        } else if self.values.len() > 17 {
            self.index.insert(part, self.values.len() - 1);
        }
    }
}

/// First place of a group in the order of runs.
pub(crate) fn first_place(group: u32) -> u64 {
    place(group, 0)
}
