//! Executes a read: the rows of a table that match, by group, within a group by part, ranked, with series.
//!
//! Rows are folded by `fold`, which starts from the fold of the last equal read; here groups are chosen and written. An
//! unbounded range reads totals; a bounded one folds the panes it covers. A filter that names the group columns
//! touches only those groups. Everything is exact; ties go to the lower id. It takes a look at the clock now and then
//! through `late` and stops when told, so a heavy question cannot hold the state for long.

use super::block::{Block, Row};
use super::cells::Layout;
use super::fold::{Bounds, Fold, Kept, Of};
use super::plan::Plan;
use super::run::place;
use super::scan::Scan;
use super::texts::Texts;
use crate::event::ABSENT;
use foldhash::fast::RandomState;
use hashbrown::HashMap as Map;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use tally_plugin::description::Merge;
use tally_plugin::read::{Group, Id, Order, Part, ReadAnswer, ReadRequest, Step};
use tally_plugin::sketch::Sketch;
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

/// Executes `request` on a table; `place` is its metric and its number there.
pub(crate) fn read(
    of: Of<'_>,
    texts: &Texts,
    request: &ReadRequest,
    kept: &Kept,
    place: (usize, usize),
) -> Result<ReadAnswer, ReadError> {
    if request.quantiles.iter().any(|q| !(0.0..=1.0).contains(q)) {
        return Err(ReadError::Bad("a quantile is a number from 0 to 1".into()));
    }
    let plan = Plan::new(of.table, of.keys, texts, request)?;
    let bounds = (request.from, request.to);
    let fold = kept.fold(place, of, plan, bounds)?;
    let aggregate = Aggregate { of, texts, fold: &fold, quantiles: &request.quantiles };
    let chosen = aggregate.choose(request);
    let series = match request.step_ms {
        Some(step) => aggregate.series(bounds, &chosen, step)?,
        None => Vec::new(),
    };
    let groups = aggregate.write(&chosen, series);
    let answer = ReadAnswer { total: aggregate.parts(fold.total(of)), groups_total: fold.values.len() as u64, groups };
    kept.keep(place, fold);
    Ok(answer)
}

struct Aggregate<'a> {
    of: Of<'a>,
    texts: &'a Texts,
    fold: &'a Fold,
    quantiles: &'a [f64],
}

impl Aggregate<'_> {
    /// The groups asked for, in the order asked for.
    fn choose(&self, request: &ReadRequest) -> Vec<u32> {
        let value = |group: u32| &self.fold.values[group as usize];
        let by_id = |a: &u32, b: &u32| self.order(value(*a), value(*b), self.fold.plan.group_by.len());
        let all = 0..self.fold.values.len() as u32;
        let Some(rank) = &request.rank else {
            let mut list: Vec<u32> = all.collect();
            list.sort_by(by_id);
            return list;
        };
        let better = |a: &u32, b: &u32| {
            let order = self.fold.measures(*a).cmp(self.fold.measures(*b));
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
    fn series(&self, bounds: Bounds, chosen: &[u32], step_ms: i64) -> Result<Vec<BTreeMap<i64, Parts>>, ReadError> {
        if step_ms <= 0 {
            return Err(ReadError::Bad("a series step must be longer than nothing".into()));
        }
        let Of { table, keys, late } = self.of;
        let members = self.fold.members(self.of, chosen);
        let place_of: HashMap<u32, u32> = members.into_iter().map(|(place, key)| (key, place)).collect();
        let mut wanted: Vec<u32> = place_of.keys().map(|key| keys.group(*key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let scan = Scan { table, keys, groups: Some(&wanted), bounds, late };
        let mut series: Vec<BTreeMap<i64, Parts>> = chosen.iter().map(|_| BTreeMap::new()).collect();
        scan.rows(&mut |key, begin, row| {
            if let (Some(place), Some(begin)) = (place_of.get(&key), begin) {
                let start = begin.div_euclid(step_ms) * step_ms;
                let part = select(self.of.keys.key(key), self.fold.plan.part_columns());
                series[*place as usize].entry(start).or_default().merge(&table.layout, part, row);
            }
        })?;
        Ok(series)
    }

    fn write(&self, chosen: &[u32], series: Vec<BTreeMap<i64, Parts>>) -> Vec<Group> {
        let mut parts: Vec<Parts> = chosen.iter().map(|_| Parts::default()).collect();
        for (place, key) in self.fold.members(self.of, chosen) {
            if let Some(row) = self.fold.row(self.of, key) {
                parts[place as usize].merge(
                    &self.of.table.layout,
                    select(self.of.keys.key(key), self.fold.plan.part_columns()),
                    row,
                );
            }
        }
        let mut series = series.into_iter();
        let write = |(group, parts): (&u32, Parts)| Group {
            key: self.ids(&self.fold.values[*group as usize], self.fold.plan.group_by.len()),
            measures: self.fold.measures(*group).to_vec(),
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

    fn ids(&self, values: &Values, columns: usize) -> Vec<Id> {
        values[..columns].iter().map(|value| self.texts.id(*value)).collect()
    }

    fn parts(&self, parts: Parts) -> Vec<Part> {
        let (columns, layout) = (self.fold.plan.part_columns().len(), &self.of.table.layout);
        let mut list: Vec<(&Values, Row<'_>)> =
            parts.values.iter().enumerate().map(|(n, values)| (values, parts.rows.row(layout, n))).collect();
        list.sort_by(|(a, _), (b, _)| self.order(a, b, columns));
        list.into_iter().map(|(values, row)| self.part(self.ids(values, columns), row)).collect()
    }

    fn part(&self, key: Vec<Id>, row: Row<'_>) -> Part {
        let layout = &self.of.table.layout;
        let cells = (0..layout.len()).map(|cell| layout.value(row, cell)).collect();
        let mut part = Part { key, cells, ..Part::default() };
        if !layout.has_sketches() {
            return part;
        }
        for cell in 0..layout.len() {
            match (layout.merge_of(cell), layout.sketch(row, cell)) {
                (Some(Merge::Quantiles), sketch) => {
                    let whole =
                        !self.of.table.feeds.iter().any(|feed| usize::from(feed.cell) == cell && feed.is_float());
                    let told = |q: &f64| match sketch {
                        Some(Sketch::Quantiles(quantiles)) => quantiles.quantile(*q, whole),
                        _ => None,
                    };
                    part.quantiles.push(self.quantiles.iter().filter_map(told).collect());
                }
                (Some(Merge::Latest), Some(Sketch::Latest(latest))) => part.latest.push(Some(latest.value())),
                (Some(Merge::Latest), _) => part.latest.push(None),
                _ => {}
            }
        }
        part
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

/// The values of some columns.
#[inline]
pub(crate) fn select(values: &[u64], columns: &[usize]) -> Values {
    let mut selected = [ABSENT; 3];
    for (place, column) in selected.iter_mut().zip(columns) {
        *place = values[*column];
    }
    selected
}

/// Folded rows by part: a list searched from the front while it is short (event types), then through an index.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    values: Vec<Values>,
    rows: Block,
    index: HashMap<Values, usize>,
}

impl Parts {
    #[inline]
    pub(crate) fn merge(&mut self, layout: &Layout, part: Values, row: Row<'_>) {
        let at = if self.index.is_empty() {
            self.values.iter().position(|values| *values == part)
        } else {
            self.index.get(&part).copied()
        };
        match at {
            Some(at) => layout.merge(&mut self.rows.row_mut(layout, at), row),
            None => self.add(layout, part, row),
        }
    }

    #[cold]
    pub(crate) fn add(&mut self, layout: &Layout, part: Values, row: Row<'_>) {
        self.values.push(part);
        self.rows.push(layout, row);
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
