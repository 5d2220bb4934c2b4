//! What a read folds: its groups, their measures and the parts over all of them; kept, so that the
//! same question asked again only adds what came since.
//!
//! Rows merge in any order, so an earlier fold plus the rows since is the current fold. Tails hold
//! what came since the last seal and since the one before it; tables hold what frames brought
//! recently. An older fold is made anew, and one of a later moment than the read is left to other
//! reads (`fold_cache`).

use super::access::{OpenTable, PIECE, ReadContext, TableId};
use super::allowance::ReadError;
use super::plan::{How, PartBy, Plan, weight};
use super::ranking_sets::RankingSets;
use super::scan::{FoldedRows, Scan};
use super::types::{PartRows, Values, select};
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::TimeBounds;
use crate::rows::row::Row;
use crate::write::keyspace::Keyspace;
use crate::write::table::Marks;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tally_event::ABSENT;

/// Rows that a group of keys, or all event types, are counted as.
const GROUP: usize = 64;

/// No place (yet).
const NOWHERE: u32 = u32::MAX;

/// Every group that has a row, in flat lists, since there may be as many groups as keys; and the
/// parts over all groups.
pub(crate) struct Fold {
    pub(crate) plan: Plan,
    bounds: TimeBounds,
    pub(super) read_from: TableId,
    /// How far the table's rows were read, and at which moment.
    marks: Marks,
    pub(super) moment: u64,
    found: FoldedRows,
    index: GroupIndex,
    /// Column values of the groups.
    pub(crate) values: Vec<Values>,
    /// The measures of all groups, end to end.
    measures: Vec<i128>,
    neutral: Vec<i128>,
    sets: RankingSets,
    members: Members,
    total: Total,
}

/// Finds the place of a group.
enum GroupIndex {
    /// By its number, if all of the keyspace's groups are asked for.
    Own(Vec<u32>),
    /// The same for a few groups.
    Named(HashMap<u32, u32, RandomState>),
    /// By one column: the common case, with a third of the memory to hash and to touch.
    Column(usize, HashMap<u64, u32, RandomState>),
    Columns(HashMap<Values, u32, RandomState>),
}

/// Which of the rows that matched belong to a group.
enum Members {
    /// The groups are those of the keyspace: the number of each.
    Own(Vec<u32>),
    /// Group and key of every row, and a bit for each key that is listed.
    Listed(Vec<(u32, u32)>, Vec<u64>),
}

/// The parts over all groups. Every row of a read is added here, so event types are told apart by
/// their code.
enum Total {
    /// A row for each code, and whether it has one.
    ByKind(Block, Vec<bool>),
    Parts(PartRows),
}

impl Fold {
    /// Folds every row. Errors: [`ReadError::Deadline`], [`ReadError::Memory`].
    pub(crate) fn new(
        context: ReadContext<'_, '_>,
        plan: Plan,
        bounds: TimeBounds,
    ) -> Result<Fold, ReadError> {
        let scan = Scan { context, groups: plan.groups.as_deref(), bounds };
        let own =
            |open: &OpenTable<'_>| plan.group_by.iter().copied().eq(0..open.keys().shape().group);
        let own = context.reader.with(1, own);
        let layout = &context.table.layout;
        let neutral = Block::neutral(layout);
        let measure = |cell: usize| {
            if layout.adds(cell) { 0 } else { layout.value(neutral.row(layout, 0), cell) }
        };
        let mut fold = Fold {
            bounds,
            read_from: TableId::of(context.reader),
            marks: context.table.marks.clone(),
            moment: context.table.number(),
            found: scan.fold()?,
            index: context.reader.with(1, |open| GroupIndex::new(open.keys(), &plan, own)),
            values: Vec::new(),
            measures: Vec::new(),
            neutral: plan.measures.iter().map(|m| measure(m.cell)).collect(),
            sets: RankingSets::new(
                plan.measures.iter().filter(|measure| measure.how == How::Distinct).count(),
            ),
            members: if own {
                Members::Own(Vec::new())
            } else {
                Members::Listed(Vec::new(), Vec::new())
            },
            total: Total::new(context, &plan),
            plan,
        };
        match &fold.plan.groups {
            // Keys in the order of their numbers, which is that of memory.
            None => {
                fold.add_all(context, 0..context.reader.with(1, |open| open.keys().len()) as u32)?
            }
            Some(named) => {
                // Listed first: a chain is walked link by link, the rows of its keys many at a
                // time.
                let list = |open: &OpenTable<'_>| {
                    named.iter().flat_map(|group| open.keys().keys_of(*group)).collect()
                };
                let mut keys: Vec<u32> = context.reader.with(PIECE, list);
                keys.reverse();
                fold.add_all(context, keys.into_iter())?;
            }
        }
        fold.estimate();
        Ok(fold)
    }

    fn add_all(
        &mut self,
        context: ReadContext<'_, '_>,
        keys: impl Iterator<Item = u32>,
    ) -> Result<(), ReadError> {
        // Taken out while rows are added: adding only reads it.
        let found = std::mem::replace(&mut self.found, FoldedRows::Totals);
        let layout = &*context.table.layout;
        let mut keys = keys.peekable();
        let (mut added, mut check_at) = (0, 0);
        while keys.peek().is_some() {
            if context.allow.late() {
                return Err(ReadError::Deadline);
            }
            // The cost of a check grows with what is held, so checks become rarer the more there
            // is.
            if added >= check_at {
                check_at = added + added / 4 + PIECE;
                context.allow.hold(self.memory() + found.memory())?;
            }
            added += PIECE;
            context.reader.with(PIECE, |open| {
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

    /// Whether it answers this question at this moment, once it has what came since.
    pub(super) fn suits(
        &self,
        context: ReadContext<'_, '_>,
        plan: &Plan,
        bounds: TimeBounds,
    ) -> bool {
        self.moment <= context.table.number()
            && self.bounds == bounds
            && self.read_from.is_of(context.reader)
            && self.plan == *plan
    }

    /// Whether it answers the same question as another, maybe at another moment.
    pub(super) fn is_like(&self, other: &Fold) -> bool {
        self.bounds == other.bounds
            && self.read_from.is_same(&other.read_from)
            && self.plan == other.plan
    }

    /// Adds the rows that came since. `false`: that is not possible any more, and the fold must be
    /// dropped.
    pub(super) fn refresh(&mut self, context: ReadContext<'_, '_>) -> bool {
        let same_kinds = match &self.total {
            Total::ByKind(_, there) => {
                there.len() == context.reader.with(1, |open| open.keys().kinds().len())
            }
            Total::Parts(_) => true,
        };
        if !same_kinds {
            return false;
        }
        let marks = std::mem::replace(&mut self.marks, context.table.marks.clone());
        self.moment = context.table.number();
        let layout = &*context.table.layout;
        let known = context.table.since(context.reader, &marks, self.bounds, |keys, key, row| {
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
        let sets: Vec<usize> =
            measures.filter(|(_, m)| m.how == How::Distinct).map(|(n, _)| n).collect();
        let width = self.neutral.len();
        let measures = &mut self.measures;
        self.sets.estimate(|group, n, value| measures[group as usize * width + sets[n]] = value);
    }

    /// Adds a row that matches, or what was added to one.
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
                How::AddByColumn(column, of_values, other) => {
                    weight(of_values, *other, keys.key(key)[*column])
                }
            };
            *sum = sum.wrapping_add(value.wrapping_mul(i128::from(weight)));
        }
    }

    /// The measures of a group.
    pub(crate) fn measures(&self, group: u32) -> &[i128] {
        &self.measures[group as usize * self.neutral.len()..][..self.neutral.len()]
    }

    /// The row of a key in the range.
    pub(crate) fn row<'a>(
        &'a self,
        layout: &Layout,
        open: &'a OpenTable<'_>,
        key: u32,
    ) -> Option<Row<'a>> {
        self.found.row(layout, open, key)
    }

    /// Place in `chosen` and key of every row of a chosen group.
    pub(crate) fn members(&self, context: ReadContext<'_, '_>, chosen: &[u32]) -> Vec<(u32, u32)> {
        let places = (0..).zip(chosen);
        match &self.members {
            Members::Own(own) => {
                let mut members = Vec::new();
                for (place, group) in places {
                    context.reader.with(GROUP, |open| {
                        let there = |key: &u32| {
                            self.row(&context.table.layout, open, *key).is_some()
                                && self.plan.matches(open.keys(), *key)
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
    pub(crate) fn total(&self, context: ReadContext<'_, '_>) -> PartRows {
        match &self.total {
            Total::ByKind(all, there) => {
                let mut parts = PartRows::default();
                let layout = &context.table.layout;
                context.reader.with(GROUP, |open| {
                    let kinds = open
                        .keys()
                        .kinds()
                        .iter()
                        .enumerate()
                        .zip(there)
                        .filter(|(_, there)| **there);
                    kinds.for_each(|((n, kind), _)| {
                        parts.add(layout, [*kind, ABSENT, ABSENT], all.row(layout, n))
                    });
                });
                parts
            }
            Total::Parts(parts) => parts.clone(),
        }
    }

    /// Bytes in memory, approximately.
    pub(super) fn memory(&self) -> usize {
        let index = match &self.index {
            GroupIndex::Own(places) => places.capacity() * 4,
            GroupIndex::Named(index) => index.capacity() * 9,
            GroupIndex::Column(_, index) => index.capacity() * 17,
            GroupIndex::Columns(index) => index.capacity() * 33,
        };
        let members = match &self.members {
            Members::Own(own) => own.capacity() * 4,
            Members::Listed(listed, there) => (listed.capacity() + there.capacity()) * 8,
        };
        let groups = self.values.capacity() * size_of::<Values>() + self.measures.capacity() * 16;
        index + members + groups + self.sets.memory() + self.found.memory()
    }
}

/// Sets a key's bit. Returns whether it was not set.
fn mark(bits: &mut Vec<u64>, key: u32) -> bool {
    let (at, bit) = (key as usize / 64, 1 << (key % 64));
    if bits.len() <= at {
        bits.resize(at + 1, 0);
    }
    let new = bits[at] & bit == 0;
    bits[at] |= bit;
    new
}

impl GroupIndex {
    fn new(keys: &Keyspace, plan: &Plan, own: bool) -> GroupIndex {
        match (own, &plan.groups) {
            (true, None) => GroupIndex::Own(vec![NOWHERE; keys.groups()]),
            (true, Some(_)) => GroupIndex::Named(HashMap::default()),
            (false, _) => match *plan.group_by {
                [column] => GroupIndex::Column(column, HashMap::default()),
                _ => GroupIndex::Columns(HashMap::default()),
            },
        }
    }

    /// The place of a key's group; `next` for a group that was not seen.
    #[inline]
    fn place(&mut self, keys: &Keyspace, plan: &Plan, key: u32, next: u32) -> u32 {
        match self {
            GroupIndex::Own(places) => {
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
            GroupIndex::Named(index) => *index.entry(keys.group(key)).or_insert(next),
            GroupIndex::Column(column, index) => {
                *index.entry(keys.key(key)[*column]).or_insert(next)
            }
            GroupIndex::Columns(index) => {
                *index.entry(select(keys.key(key), &plan.group_by)).or_insert(next)
            }
        }
    }
}

impl Total {
    fn new(context: ReadContext<'_, '_>, plan: &Plan) -> Total {
        match plan.part_by {
            PartBy::Kind(_) => {
                let kinds = context.reader.with(1, |open| open.keys().kinds().len());
                let mut rows = Block::with_capacity(&context.table.layout, kinds);
                (0..kinds).for_each(|_| rows.push_neutral(&context.table.layout));
                Total::ByKind(rows, vec![false; kinds])
            }
            PartBy::Columns(_) => Total::Parts(PartRows::default()),
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
