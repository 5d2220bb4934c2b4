//! What a read folds: its groups, their measures and the parts over all; kept, so that the same question asked again
//! only adds what came since.
//!
//! Rows merge in any order, so a fold of yesterday plus the rows since is the fold of today. Tails remember what came
//! since the last seal and since the one before it, tables what frames brought lately; a fold that is older is made anew.
//! Kept folds are bounded in bytes; losing one costs time, never a number.

use super::aggregate::{Parts, Values, select};
use super::allowance::{Allowance, ReadError};
use super::block::{Block, Row};
use super::keyspace::Keyspace;
use super::plan::{How, PartBy, Plan, weight};
use super::scan::{Found, Scan};
use super::sets::Sets;
use super::table::{Marks, TableState};
use crate::event::ABSENT;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Bytes of all kept folds at most; the oldest go first, and one that takes more than half of it is not kept.
const BYTES: usize = 64 << 20;

/// Not there (yet).
const NOWHERE: u32 = u32::MAX;

/// A table and what its reads need.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) table: &'a TableState,
    pub(crate) keys: &'a Keyspace,
    /// Says when to give up, and how much memory may be taken.
    pub(crate) allow: &'a dyn Allowance,
}

/// Time bounds of a read.
pub(crate) type Bounds = (Option<i64>, Option<i64>);

/// Every group that has a row, in flat lists, since there may be as many groups as keys; and the parts over all.
pub(crate) struct Fold {
    pub(crate) plan: Plan,
    bounds: Bounds,
    /// Up to where of what came to the table.
    marks: Marks,
    found: Found,
    index: Index,
    /// Column values of the groups.
    pub(crate) values: Vec<Values>,
    /// The measures of all groups, end to end.
    measures: Vec<i128>,
    neutral: Vec<i128>,
    sets: Sets,
    members: Members,
    total: Total,
}

/// The place of a group.
enum Index {
    /// By its number, where all of the keyspace's groups are asked for.
    Own(Vec<u32>),
    /// The same, of a few.
    Named(HashMap<u32, u32, RandomState>),
    /// By one column: the common case, and a third of the memory to hash and to touch.
    Column(usize, HashMap<u64, u32, RandomState>),
    Columns(HashMap<Values, u32, RandomState>),
}

/// Which rows that matched belong to a group.
enum Members {
    /// The groups are the keyspace's own: its number of each.
    Own(Vec<u32>),
    /// Group and key of every row, and a bit for each key that is listed.
    Listed(Vec<(u32, u32)>, Vec<u64>),
}

/// The parts over all groups: every row of a read goes through here, so event types are told apart by their code.
enum Total {
    /// A row for each code, and whether it has one.
    ByKind(Block, Vec<bool>),
    Parts(Parts),
}

impl Fold {
    /// Folds every row. Errors: [`ReadError::Deadline`], [`ReadError::Memory`].
    pub(crate) fn new(of: Of<'_>, plan: Plan, bounds: Bounds) -> Result<Fold, ReadError> {
        let scan = Scan { table: of.table, keys: of.keys, groups: plan.groups.as_deref(), bounds, allow: of.allow };
        let own = plan.group_by.iter().copied().eq(0..of.keys.shape().group);
        let layout = &of.table.layout;
        let neutral = Block::neutral(layout);
        let measure = |cell: usize| if layout.adds(cell) { 0 } else { layout.value(neutral.row(layout, 0), cell) };
        let mut fold = Fold {
            bounds,
            marks: of.table.marks(),
            found: scan.fold()?,
            index: Index::new(of.keys, &plan, own),
            values: Vec::new(),
            measures: Vec::new(),
            neutral: plan.measures.iter().map(|m| measure(m.cell)).collect(),
            sets: Sets::new(plan.measures.iter().filter(|measure| measure.how == How::Distinct).count()),
            members: if own { Members::Own(Vec::new()) } else { Members::Listed(Vec::new(), Vec::new()) },
            total: Total::new(of, &plan),
            plan,
        };
        match &fold.plan.groups {
            // Keys in the order of their numbers, which is that of memory.
            None => fold.add_all(of, 0..of.keys.len() as u32)?,
            Some(named) => {
                // Listed first: a chain is walked link by link, what hangs on it then many at a time.
                let mut keys: Vec<u32> = named.iter().flat_map(|group| of.keys.keys_of(*group)).collect();
                keys.reverse();
                fold.add_all(of, keys.into_iter())?;
            }
        }
        fold.estimate();
        Ok(fold)
    }

    fn add_all(&mut self, of: Of<'_>, keys: impl Iterator<Item = u32>) -> Result<(), ReadError> {
        // Taken out while rows are added, which only reads it.
        let found = std::mem::replace(&mut self.found, Found::Totals);
        let mut look = 0;
        for (n, key) in keys.enumerate() {
            if n % 4_096 == 0 && of.allow.late() {
                return Err(ReadError::Deadline);
            }
            // Looking costs as much as there is, so it is done the less often the more there is.
            if n >= look {
                look = n + n / 4 + 4_096;
                of.allow.hold(self.memory() + found.memory())?;
            }
            if let Some(row) = found.row(of.table, key)
                && self.plan.matches(of.keys, key)
            {
                self.add(of, key, row);
            }
        }
        self.found = found;
        Ok(())
    }

    /// Adds the rows that came since. `false`: too many did, or other things happened; it is of no more use.
    fn refresh(&mut self, of: Of<'_>) -> bool {
        if let Total::ByKind(_, there) = &self.total
            && there.len() != of.keys.kinds().len()
        {
            return false;
        }
        let marks = std::mem::replace(&mut self.marks, of.table.marks());
        let known = of.table.since(&marks, self.bounds, |key, row| {
            let wanted = |named: &Vec<u32>| named.binary_search(&of.keys.group(key)).is_ok();
            if self.plan.groups.as_ref().is_none_or(wanted) {
                self.found.add(&of.table.layout, key, row);
                if self.plan.matches(of.keys, key) {
                    self.add(of, key, row);
                }
            }
        });
        self.estimate();
        known
    }

    /// Works out the measures of sets that have grown.
    fn estimate(&mut self) {
        let measures = self.plan.measures.iter().enumerate();
        let sets: Vec<usize> = measures.filter(|(_, m)| m.how == How::Distinct).map(|(n, _)| n).collect();
        let width = self.neutral.len();
        let measures = &mut self.measures;
        self.sets.estimate(|group, n, value| measures[group as usize * width + sets[n]] = value);
    }

    /// Adds a row that matches, or what came to one.
    #[inline]
    fn add(&mut self, of: Of<'_>, key: u32, row: Row<'_>) {
        self.total.add(of, &self.plan, key, row);
        let next = self.values.len() as u32;
        let place = self.index.place(of.keys, &self.plan, key, next);
        if place == next {
            self.values.push(select(of.keys.key(key), &self.plan.group_by));
            self.measures.extend_from_slice(&self.neutral);
        }
        match &mut self.members {
            Members::Own(own) if place == next => own.push(of.keys.group(key)),
            Members::Own(_) => {}
            Members::Listed(listed, there) => {
                if mark(there, key) {
                    listed.push((place, key));
                }
            }
        }
        let width = self.neutral.len();
        let sums = &mut self.measures[place as usize * width..][..width];
        let mut sets = 0;
        for (measure, sum) in self.plan.measures.iter().zip(sums) {
            if measure.how == How::Distinct {
                self.sets.add(place, sets, of.table.layout.sketch(row, measure.cell));
                sets += 1;
                continue;
            }
            let value = of.table.layout.value(row, measure.cell);
            let weight = match &measure.how {
                How::Distinct => continue,
                How::Merge => {
                    *sum = of.table.layout.combine(measure.cell, *sum, value);
                    continue;
                }
                How::Add => {
                    *sum = sum.wrapping_add(value);
                    continue;
                }
                How::AddByKind(weights) => weights[of.keys.kind(key)],
                How::AddByColumn(column, of_values, other) => weight(of_values, *other, of.keys.key(key)[*column]),
            };
            *sum = sum.wrapping_add(value.wrapping_mul(i128::from(weight)));
        }
    }

    /// The measures of a group.
    pub(crate) fn measures(&self, group: u32) -> &[i128] {
        &self.measures[group as usize * self.neutral.len()..][..self.neutral.len()]
    }

    /// The row of a key in the range.
    pub(crate) fn row<'a>(&'a self, of: Of<'a>, key: u32) -> Option<Row<'a>> {
        self.found.row(of.table, key)
    }

    /// Place in `chosen` and key of every row of a chosen group.
    pub(crate) fn members(&self, of: Of<'_>, chosen: &[u32]) -> Vec<(u32, u32)> {
        let places = (0..).zip(chosen);
        match &self.members {
            Members::Own(own) => {
                let keys = places
                    .flat_map(|(place, group)| of.keys.keys_of(own[*group as usize]).map(move |key| (place, key)));
                let there = |(_, key): &(u32, u32)| self.row(of, *key).is_some() && self.plan.matches(of.keys, *key);
                keys.filter(there).collect()
            }
            Members::Listed(listed, _) => {
                let mut place_of = vec![NOWHERE; self.values.len()];
                places.for_each(|(place, group)| place_of[*group as usize] = place);
                let placed = listed.iter().map(|(group, key)| (place_of[*group as usize], *key));
                placed.filter(|(place, _)| *place != NOWHERE).collect()
            }
        }
    }

    /// The parts over all groups.
    pub(crate) fn total(&self, of: Of<'_>) -> Parts {
        match &self.total {
            Total::ByKind(all, there) => {
                let mut parts = Parts::default();
                let layout = &of.table.layout;
                for ((n, kind), _) in of.keys.kinds().iter().enumerate().zip(there).filter(|(_, there)| **there) {
                    parts.add(layout, [*kind, ABSENT, ABSENT], all.row(layout, n));
                }
                parts
            }
            Total::Parts(parts) => parts.clone(),
        }
    }

    /// Bytes in memory, about.
    fn memory(&self) -> usize {
        let index = match &self.index {
            Index::Own(places) => places.capacity() * 4,
            Index::Named(index) => index.capacity() * 9,
            Index::Column(_, index) => index.capacity() * 17,
            Index::Columns(index) => index.capacity() * 33,
        };
        let members = match &self.members {
            Members::Own(own) => own.capacity() * 4,
            Members::Listed(listed, there) => (listed.capacity() + there.capacity()) * 8,
        };
        let groups = self.values.capacity() * size_of::<Values>() + self.measures.capacity() * 16;
        index + members + groups + self.sets.memory() + self.found.memory()
    }
}

/// Sets a key's bit. Whether it was not set.
fn mark(bits: &mut Vec<u64>, key: u32) -> bool {
    let (at, bit) = (key as usize / 64, 1 << (key % 64));
    if bits.len() <= at {
        bits.resize(at + 1, 0);
    }
    let new = bits[at] & bit == 0;
    bits[at] |= bit;
    new
}

impl Index {
    fn new(keys: &Keyspace, plan: &Plan, own: bool) -> Index {
        match (own, &plan.groups) {
            (true, None) => Index::Own(vec![NOWHERE; keys.groups()]),
            (true, Some(_)) => Index::Named(HashMap::default()),
            (false, _) => match *plan.group_by {
                [column] => Index::Column(column, HashMap::default()),
                _ => Index::Columns(HashMap::default()),
            },
        }
    }

    /// The place of a key's group, `next` for one that was not seen.
    #[inline]
    fn place(&mut self, keys: &Keyspace, plan: &Plan, key: u32, next: u32) -> u32 {
        match self {
            Index::Own(places) => {
                let group = keys.group(key) as usize;
                if places.len() <= group {
                    places.resize(keys.groups(), NOWHERE);
                }
                let place = &mut places[group];
                if *place == NOWHERE {
                    *place = next;
                }
                *place
            }
            Index::Named(index) => *index.entry(keys.group(key)).or_insert(next),
            Index::Column(column, index) => *index.entry(keys.key(key)[*column]).or_insert(next),
            Index::Columns(index) => *index.entry(select(keys.key(key), &plan.group_by)).or_insert(next),
        }
    }
}

impl Total {
    fn new(of: Of<'_>, plan: &Plan) -> Total {
        match plan.part_by {
            PartBy::Kind(_) => {
                let kinds = of.keys.kinds().len();
                let mut rows = Block::with_capacity(&of.table.layout, kinds);
                (0..kinds).for_each(|_| rows.push_neutral(&of.table.layout));
                Total::ByKind(rows, vec![false; kinds])
            }
            PartBy::Columns(_) => Total::Parts(Parts::default()),
        }
    }

    #[inline]
    fn add(&mut self, of: Of<'_>, plan: &Plan, key: u32, row: Row<'_>) {
        match self {
            Total::ByKind(all, there) => {
                let kind = of.keys.kind(key);
                there[kind] = true;
                of.table.layout.merge(&mut all.row_mut(&of.table.layout, kind), row);
            }
            Total::Parts(parts) => {
                parts.merge(&of.table.layout, select(of.keys.key(key), plan.part_columns()), row);
            }
        }
    }
}

/// Folds of the tables of all metrics, by metric and table; newest last.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<(usize, usize, Fold)>>);

impl Kept {
    /// The fold of a plan at this moment: a kept one with what came since, or a new one. Errors: as [`Fold::new`].
    pub(crate) fn fold(
        &self,
        (metric, table): (usize, usize),
        of: Of<'_>,
        plan: Plan,
        bounds: Bounds,
    ) -> Result<Fold, ReadError> {
        let same = |(m, t, fold): &(usize, usize, Fold)| {
            (*m, *t) == (metric, table) && fold.bounds == bounds && fold.plan == plan
        };
        // Taken out: who asks the same at the same time folds anew.
        let kept = {
            let mut all = self.0.lock();
            all.iter().position(same).map(|at| all.remove(at).2)
        };
        if let Some(mut fold) = kept
            && fold.refresh(of)
        {
            return Ok(fold);
        }
        Fold::new(of, plan, bounds)
    }

    /// Keeps a fold for the next question.
    pub(crate) fn keep(&self, (metric, table): (usize, usize), fold: Fold) {
        if fold.memory() > BYTES / 2 {
            return;
        }
        let mut all = self.0.lock();
        all.push((metric, table, fold));
        let mut bytes = 0;
        let newest_that_fit = all.iter().rev().take_while(|(_, _, fold)| {
            bytes += fold.memory();
            bytes <= BYTES
        });
        let beyond = all.len() - newest_that_fit.count();
        all.drain(..beyond);
    }

    /// Forgets the folds of a metric.
    pub(crate) fn forget(&mut self, metric: usize) {
        self.0.get_mut().retain(|(of, _, _)| *of != metric);
    }
}
