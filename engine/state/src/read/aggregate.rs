//! Executes a read: the rows of a table that match, by group, within a group by part, ranked, with
//! series.
//!
//! `fold` folds the rows, starting from the fold of the last equal read; this file chooses groups
//! and writes the answer. A read without a range reads totals; one with a range folds the panes
//! that it covers. A filter that names the group columns touches only those groups. Everything is
//! exact; ties go to the lower id. A read asks its `Allowance` before it spends time, memory or
//! text, and stops when refused; names and table are open for a few thousand rows at a time
//! (`access`).

use super::access::{PIECE, ReadContext};
use super::allowance::{ReadError, TEXT_OF_GROUP, text_of, text_of_part};
use super::fold::Fold;
use super::fold_cache::Folds;
use super::plan::Plan;
use super::scan::Scan;
use super::types::{PartRows, Values, select};
use crate::rows::floors::TimeBounds;
use crate::rows::row::Row;
use foldhash::fast::RandomState;
use hashbrown::HashMap as Map;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use tally_plugin::description::Merge;
use tally_plugin::read::{GroupAnswer, Id, Order, Part, ReadAnswer, ReadRequest, Step};
use tally_sketch::Sketch;

/// Fast and seeded per process.
type HashMap<K, V> = Map<K, V, RandomState>;

/// Executes `request` on a table.
pub(crate) fn read(
    context: ReadContext<'_, '_>,
    request: &ReadRequest,
    folds: &Folds,
) -> Result<ReadAnswer, ReadError> {
    if request.quantiles.iter().any(|q| !(0.0..=1.0).contains(q)) {
        return Err(ReadError::Bad("a quantile must be a number from 0 to 1".into()));
    }
    let plan = context
        .reader
        .with(PIECE, |open| Plan::new(context.table, open.keys(), open.texts(), request))?;
    let bounds = (request.from, request.to);
    let fold = folds.fold(context, plan, bounds)?;
    let aggregate = Aggregate { context, fold: &fold, quantiles: &request.quantiles };
    let chosen = aggregate.choose(request)?;
    let series = match request.step_ms {
        Some(step) => aggregate.series(bounds, &chosen, step)?,
        None => Vec::new(),
    };
    let groups = aggregate.write(&chosen, series)?;
    let total = aggregate.parts(fold.total(context), Taken::No)?;
    let answer = ReadAnswer { total, groups_total: fold.values.len() as u64, groups };
    folds.keep(fold);
    Ok(answer)
}

struct Aggregate<'a, 'l> {
    context: ReadContext<'a, 'l>,
    fold: &'a Fold,
    quantiles: &'a [f64],
}

impl Aggregate<'_, '_> {
    /// The groups asked for, in the order asked for.
    fn choose(&self, request: &ReadRequest) -> Result<Vec<u32>, ReadError> {
        let value = |group: u32| &self.fold.values[group as usize];
        let by_id =
            |a: &u32, b: &u32| self.order(value(*a), value(*b), self.fold.plan.group_by.len());
        let all = 0..self.fold.values.len() as u32;
        let chosen = request.rank.as_ref().map_or(all.len(), |rank| rank.limit.min(all.len()));
        if request.step_ms.is_some() && request.rank.is_none() {
            self.context.allow.series(chosen as u64)?;
        }
        self.context.allow.take(chosen * TEXT_OF_GROUP)?;
        let Some(rank) = &request.rank else {
            let mut list: Vec<u32> = all.collect();
            list.sort_by(by_id);
            return Ok(list);
        };
        let better = |a: &u32, b: &u32| {
            let order = self.fold.measures(*a).cmp(self.fold.measures(*b));
            let order = if rank.order == Order::Desc { order.reverse() } else { order };
            order.then_with(|| by_id(a, b))
        };
        best(all, rank.limit, better, &|| self.late())
    }

    fn late(&self) -> Result<(), ReadError> {
        if self.context.allow.late() { Err(ReadError::Deadline) } else { Ok(()) }
    }

    fn order(&self, a: &Values, b: &Values, columns: usize) -> Ordering {
        let ids = a.iter().zip(b).take(columns);
        self.context.reader.with(1, |open| {
            let mut orders = ids.map(|(a, b)| open.texts().order(*a, *b));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        })
    }

    /// For each chosen group, the steps that have data.
    fn series(
        &self,
        bounds: TimeBounds,
        chosen: &[u32],
        step_ms: i64,
    ) -> Result<Vec<BTreeMap<i64, PartRows>>, ReadError> {
        if step_ms <= 0 {
            return Err(ReadError::Bad("a series step must be longer than 0 ms".into()));
        }
        let ReadContext { table, reader, allow } = self.context;
        let (mut place_of, mut wanted) = (HashMap::default(), Vec::new());
        for (place, key) in self.fold.members(self.context, chosen) {
            reader.with(1, |open| {
                let part = select(open.keys().key(key), self.fold.plan.part_columns());
                place_of.insert(key, (place, part));
                wanted.push(open.keys().group(key));
            });
        }
        wanted.sort_unstable();
        wanted.dedup();
        let bounds = within(bounds, allow.steps());
        let scan = Scan { context: self.context, groups: Some(&wanted), bounds };
        let part_text = text_of_part(table.layout.len(), self.quantiles.len());
        let mut series: Vec<BTreeMap<i64, PartRows>> =
            chosen.iter().map(|_| BTreeMap::new()).collect();
        scan.rows(&mut |key, begin, row| {
            if let (Some((place, part)), Some(begin)) = (place_of.get(&key), begin) {
                let start = begin.div_euclid(step_ms) * step_ms;
                let step = match series[*place as usize].entry(start) {
                    Entry::Occupied(step) => step.into_mut(),
                    Entry::Vacant(step) => {
                        allow.take(TEXT_OF_GROUP)?;
                        step.insert(PartRows::default())
                    }
                };
                let parts = step.values.len();
                step.merge(&table.layout, *part, row);
                if step.values.len() > parts {
                    allow.take(part_text + self.text_of(part))?;
                }
            }
            Ok(())
        })?;
        Ok(series)
    }

    /// Bytes of the key of a part as text, approximately.
    fn text_of(&self, part: &Values) -> usize {
        text_of(&self.ids(part, self.fold.plan.part_columns().len()))
    }

    fn write(
        &self,
        chosen: &[u32],
        series: Vec<BTreeMap<i64, PartRows>>,
    ) -> Result<Vec<GroupAnswer>, ReadError> {
        let mut parts: Vec<PartRows> = chosen.iter().map(|_| PartRows::default()).collect();
        for (n, (place, key)) in self.fold.members(self.context, chosen).into_iter().enumerate() {
            if n % 8_192 == 0 {
                self.late()?;
            }
            let layout = &self.context.table.layout;
            self.context.reader.with(1, |open| {
                if let Some(row) = self.fold.row(layout, open, key) {
                    let part = select(open.keys().key(key), self.fold.plan.part_columns());
                    parts[place as usize].merge(layout, part, row);
                }
            });
        }
        let mut series = series.into_iter();
        let write = |(n, (group, parts)): (usize, (&u32, PartRows))| {
            if n % 1_024 == 0 {
                self.late()?;
            }
            let step = |(start, parts)| Ok(Step { start, parts: self.parts(parts, Taken::Yes)? });
            Ok(GroupAnswer {
                key: self.ids(&self.fold.values[*group as usize], self.fold.plan.group_by.len()),
                measures: self.fold.measures(*group).to_vec(),
                parts: self.parts(parts, Taken::No)?,
                series: series.next().unwrap_or_default().into_iter().map(step).collect::<Result<
                    _,
                    ReadError,
                >>(
                )?,
            })
        };
        chosen.iter().zip(parts).enumerate().map(write).collect()
    }

    fn ids(&self, values: &Values, columns: usize) -> Vec<Id> {
        self.context
            .reader
            .with(1, |open| values[..columns].iter().map(|value| open.texts().id(*value)).collect())
    }

    fn parts(&self, parts: PartRows, taken: Taken) -> Result<Vec<Part>, ReadError> {
        let (columns, layout) = (self.fold.plan.part_columns().len(), &self.context.table.layout);
        let mut list: Vec<(&Values, Row<'_>)> = parts
            .values
            .iter()
            .enumerate()
            .map(|(n, values)| (values, parts.rows.row(layout, n)))
            .collect();
        if taken == Taken::No {
            let bytes = list.len() * text_of_part(layout.len(), self.quantiles.len());
            self.context
                .allow
                .take(bytes + list.iter().map(|(values, _)| self.text_of(values)).sum::<usize>())?;
        }
        list.sort_by(|(a, _), (b, _)| self.order(a, b, columns));
        Ok(list
            .into_iter()
            .map(|(values, row)| self.part(self.ids(values, columns), row))
            .collect())
    }

    fn part(&self, key: Vec<Id>, row: Row<'_>) -> Part {
        let layout = &self.context.table.layout;
        let cells = (0..layout.len()).map(|cell| layout.value(row, cell)).collect();
        let mut part = Part { key, cells, ..Part::default() };
        if !layout.has_sketches() {
            return part;
        }
        for cell in 0..layout.len() {
            match (layout.merge_of(cell), layout.sketch(row, cell)) {
                (Some(Merge::Quantiles), sketch) => {
                    let whole = !self
                        .context
                        .table
                        .feeds
                        .iter()
                        .any(|feed| usize::from(feed.cell) == cell && feed.is_float());
                    let told = |q: &f64| match sketch {
                        Some(Sketch::Quantiles(quantiles)) => quantiles.quantile(*q, whole),
                        _ => None,
                    };
                    part.quantiles.push(self.quantiles.iter().filter_map(told).collect());
                }
                (Some(Merge::Latest), Some(Sketch::Latest(latest))) => {
                    part.latest.push(Some(latest.value()))
                }
                (Some(Merge::Latest), _) => part.latest.push(None),
                _ => {}
            }
        }
        part
    }
}

/// Whether the text of some parts was already accounted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
}

/// The range of a read, limited to the steps of a series that are wanted.
fn within((from, to): TimeBounds, steps: Option<(i64, i64)>) -> TimeBounds {
    let Some((first, end)) = steps else { return (from, to) };
    (Some(from.map_or(first, |from| from.max(first))), Some(to.map_or(end, |to| to.min(end))))
}

/// The best `limit` of a list, best first; `check` is called from time to time and may end it.
fn best(
    all: impl Iterator<Item = u32>,
    limit: usize,
    better: impl Fn(&u32, &u32) -> Ordering,
    check: &dyn Fn() -> Result<(), ReadError>,
) -> Result<Vec<u32>, ReadError> {
    // A short list stays in order during the walk: nearly all items lose one comparison, with its
    // last.
    if limit > SHORT {
        // So many at a time, of which the best are kept.
        let most = limit.saturating_mul(2).max(1 << 16);
        let mut list: Vec<u32> = Vec::new();
        let mut all = all.peekable();
        while all.peek().is_some() {
            list.extend(all.by_ref().take(most - list.len()));
            if limit < list.len() {
                list.select_nth_unstable_by(limit - 1, &better);
                list.truncate(limit);
            }
            check()?;
        }
        list.sort_by(better);
        return Ok(list);
    }
    let mut list: Vec<u32> = Vec::with_capacity(limit + 1);
    for (n, one) in all.enumerate() {
        if n % (1 << 16) == 0 {
            check()?;
        }
        if list.len() == limit && list.last().is_none_or(|last| better(last, &one).is_lt()) {
            continue;
        }
        let at = list.partition_point(|other| better(other, &one).is_lt());
        list.insert(at, one);
        list.truncate(limit);
    }
    Ok(list)
}

/// Longest list of the best that stays in order during the walk.
const SHORT: usize = 64;
