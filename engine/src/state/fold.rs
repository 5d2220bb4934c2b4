//! What a read folds: its groups, their measures and the parts over all; kept, so that the same question asked again
//! only adds what came since.
//!
//! Rows merge in any order, so a fold of yesterday plus the rows since is the fold of today. Tails remember what came
//! since the last seal and since the one before it, tables what frames brought lately; a fold that is older is made anew, and
//! one of a later moment than is read is left to others (`folds`).

use super::aggregate::{Parts, Values, select};
use super::allowance::{Allowance, ReadError};
use super::block::{Block, Row};
use super::cells::Layout;
use super::keyspace::Keyspace;
use super::moment::{Home, Look, Open, PIECE, TableMoment};
use super::plan::{How, PartBy, Plan, weight};
use super::scan::{Found, Scan};
use super::sets::Sets;
use super::table::Marks;
use crate::event::ABSENT;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Rows for which a group of keys, or all event types, are taken.
const GROUP: usize = 64;

/// Not there (yet).
const NOWHERE: u32 = u32::MAX;

/// A table at a moment and what its reads need.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a, 'l> {
    pub(crate) table: &'a TableMoment,
    pub(crate) look: &'a Look<'l>,
    /// Says when to give up, and how much memory may be taken.
    pub(crate) allow: &'a dyn Allowance,
}

/// Time bounds of a read.
pub(crate) type Bounds = (Option<i64>, Option<i64>);

/// Every group that has a row, in flat lists, since there may be as many groups as keys; and the parts over all.
pub(crate) struct Fold {
    pub(crate) plan: Plan,
    bounds: Bounds,
    pub(super) home: Home,
    /// Up to where of what came to the table, and at which moment.
    marks: Marks,
    pub(super) moment: u64,
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
    pub(crate) fn new(of: Of<'_, '_>, plan: Plan, bounds: Bounds) -> Result<Fold, ReadError> {
        let scan = Scan { table: of.table, look: of.look, groups: plan.groups.as_deref(), bounds, allow: of.allow };
        let own = |open: &Open<'_>| plan.group_by.iter().copied().eq(0..open.keys().shape().group);
        let own = of.look.with(1, own);
        let layout = &of.table.layout;
        let neutral = Block::neutral(layout);
        let measure = |cell: usize| if layout.adds(cell) { 0 } else { layout.value(neutral.row(layout, 0), cell) };
        let mut fold = Fold {
            bounds,
            home: Home::of(of.look),
            marks: of.table.marks.clone(),
            moment: of.table.number(),
            found: scan.fold()?,
            index: of.look.with(1, |open| Index::new(open.keys(), &plan, own)),
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
            None => fold.add_all(of, 0..of.look.with(1, |open| open.keys().len()) as u32)?,
            Some(named) => {
                // Listed first: a chain is walked link by link, what hangs on it then many at a time.
                let list = |open: &Open<'_>| named.iter().flat_map(|group| open.keys().keys_of(*group)).collect();
                let mut keys: Vec<u32> = of.look.with(PIECE, list);
                keys.reverse();
                fold.add_all(of, keys.into_iter())?;
            }
        }
        fold.estimate();
        Ok(fold)
    }

    fn add_all(&mut self, of: Of<'_, '_>, keys: impl Iterator<Item = u32>) -> Result<(), ReadError> {
        // Taken out while rows are added, which only reads it.
        let found = std::mem::replace(&mut self.found, Found::Totals);
        let layout = &*of.table.layout;
        let mut keys = keys.peekable();
        let (mut added, mut look) = (0, 0);
        while keys.peek().is_some() {
            if of.allow.late() {
                return Err(ReadError::Deadline);
            }
            // Looking costs as much as there is, so it is done the less often the more there is.
            if added >= look {
                look = added + added / 4 + PIECE;
                of.allow.hold(self.memory() + found.memory())?;
            }
            added += PIECE;
            of.look.with(PIECE, |open| {
                for key in keys.by_ref().take(PIECE) {
                    if let Some(row) = found.row(layout, open, key)
                        && self.plan.matches(open.keys(), key)
                    {
                        self.add(layout, open.keys(), key, row);
                    }
                }
            });
        }
        self.found = found;
        Ok(())
    }

    /// Whether it answers this question of this moment, once it has what came since.
    pub(super) fn suits(&self, of: Of<'_, '_>, plan: &Plan, bounds: Bounds) -> bool {
        self.moment <= of.table.number() && self.bounds == bounds && self.home.is_of(of.look) && self.plan == *plan
    }

    /// Whether it answers what another does, if at another moment.
    pub(super) fn is_like(&self, other: &Fold) -> bool {
        self.bounds == other.bounds && self.home.is(&other.home) && self.plan == other.plan
    }

    /// Adds the rows that came since. `false`: too many did, or other things happened; it is of no more use.
    pub(super) fn refresh(&mut self, of: Of<'_, '_>) -> bool {
        let same_kinds = match &self.total {
            Total::ByKind(_, there) => there.len() == of.look.with(1, |open| open.keys().kinds().len()),
            Total::Parts(_) => true,
        };
        if !same_kinds {
            return false;
        }
        let marks = std::mem::replace(&mut self.marks, of.table.marks.clone());
        self.moment = of.table.number();
        let layout = &*of.table.layout;
        let known = of.table.since(of.look, &marks, self.bounds, |keys, key, row| {
            let wanted = |named: &Vec<u32>| named.binary_search(&keys.group(key)).is_ok();
            if self.plan.groups.as_ref().is_none_or(wanted) {
                self.found.add(layout, key, row);
                if self.plan.matches(keys, key) {
                    self.add(layout, keys, key, row);
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
    fn add(&mut self, layout: &Layout, keys: &Keyspace, key: u32, row: Row<'_>) {
        self.total.add(layout, keys, &self.plan, key, row);
        let next = self.values.len() as u32;
        let place = self.index.place(keys, &self.plan, key, next);
        if place == next {
            self.values.push(select(keys.key(key), &self.plan.group_by));
            self.measures.extend_from_slice(&self.neutral);
        }
        match &mut self.members {
            Members::Own(own) if place == next => own.push(keys.group(key)),
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
                self.sets.add(place, sets, layout.sketch(row, measure.cell));
                sets += 1;
                continue;
            }
            let value = layout.value(row, measure.cell);
            let weight = match &measure.how {
                How::Distinct => continue,
                How::Merge => {
                    *sum = layout.combine(measure.cell, *sum, value);
                    continue;
                }
                How::Add => {
                    *sum = sum.wrapping_add(value);
                    continue;
                }
                How::AddByKind(weights) => weights[keys.kind(key)],
                How::AddByColumn(column, of_values, other) => weight(of_values, *other, keys.key(key)[*column]),
            };
            *sum = sum.wrapping_add(value.wrapping_mul(i128::from(weight)));
        }
    }

    /// The measures of a group.
    pub(crate) fn measures(&self, group: u32) -> &[i128] {
        &self.measures[group as usize * self.neutral.len()..][..self.neutral.len()]
    }

    /// The row of a key in the range.
    pub(crate) fn row<'a>(&'a self, layout: &Layout, open: &'a Open<'_>, key: u32) -> Option<Row<'a>> {
        self.found.row(layout, open, key)
    }

    /// Place in `chosen` and key of every row of a chosen group.
    pub(crate) fn members(&self, of: Of<'_, '_>, chosen: &[u32]) -> Vec<(u32, u32)> {
        let places = (0..).zip(chosen);
        match &self.members {
            Members::Own(own) => {
                let mut members = Vec::new();
                for (place, group) in places {
                    of.look.with(GROUP, |open| {
                        let there = |key: &u32| {
                            self.row(&of.table.layout, open, *key).is_some() && self.plan.matches(open.keys(), *key)
                        };
                        let keys = open.keys().keys_of(own[*group as usize]).filter(there);
                        members.extend(keys.map(|key| (place, key)));
                    });
                }
                members
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
    pub(crate) fn total(&self, of: Of<'_, '_>) -> Parts {
        match &self.total {
            Total::ByKind(all, there) => {
                let mut parts = Parts::default();
                let layout = &of.table.layout;
                of.look.with(GROUP, |open| {
                    let kinds = open.keys().kinds().iter().enumerate().zip(there).filter(|(_, there)| **there);
                    kinds.for_each(|((n, kind), _)| parts.add(layout, [*kind, ABSENT, ABSENT], all.row(layout, n)));
                });
                parts
            }
            Total::Parts(parts) => parts.clone(),
        }
    }

    /// Bytes in memory, about.
    pub(super) fn memory(&self) -> usize {
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
    fn new(of: Of<'_, '_>, plan: &Plan) -> Total {
        match plan.part_by {
            PartBy::Kind(_) => {
                let kinds = of.look.with(1, |open| open.keys().kinds().len());
                let mut rows = Block::with_capacity(&of.table.layout, kinds);
                (0..kinds).for_each(|_| rows.push_neutral(&of.table.layout));
                Total::ByKind(rows, vec![false; kinds])
            }
            PartBy::Columns(_) => Total::Parts(Parts::default()),
        }
    }

    #[inline]
    fn add(&mut self, layout: &Layout, keys: &Keyspace, plan: &Plan, key: u32, row: Row<'_>) {
        match self {
            Total::ByKind(all, there) => {
                let kind = keys.kind(key);
                there[kind] = true;
                layout.merge(&mut all.row_mut(layout, kind), row);
            }
            Total::Parts(parts) => {
                parts.merge(layout, select(keys.key(key), plan.part_columns()), row);
            }
        }
    }
}
