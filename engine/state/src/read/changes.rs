//! What came to a metric between two moments, and which questions that concerns.
//!
//! Promises: a question that was not named, where all rows were there to look at, reads what it
//! read before; a row that lies outside of its tables, ranges and filters never names it. A cursor
//! is no moment: no row of the totals is copied for it, so rows that came long ago may be gone,
//! and then any question may read something else. Nothing here evaluates anything.
//!
//! A question is found by the values of one of its filters, so that a row costs a look-up or two,
//! however many questions there are. Filters are kept by value as well: an id that nobody has seen
//! has no number yet.

use super::access::PIECE;
use super::plan::numbers;
use crate::rows::floors::{Floors, MINUTE, TimeBounds, overlaps};
use crate::write::keyspace::{Keyspace, KeyspaceLease};
use crate::write::metric::SharedTable;
use crate::write::names::Names;
use crate::write::table::{Marks, TableState};
use crate::write::texts::Texts;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use tally_plugin::description::Table;
use tally_plugin::read::{Id, Only};

/// How far a metric had come.
#[derive(Clone)]
pub struct ChangeCursor {
    names: Weak<RwLock<Names>>,
    tables: Vec<TableCursor>,
}

#[derive(Clone)]
struct TableCursor {
    table: Weak<RwLock<TableState>>,
    keyspace: usize,
    marks: Marks,
    /// Rows name their keys by number.
    _keys: KeyspaceLease,
}

/// What a read of a question looked at: the rows of a table that lie in a range and match filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    /// Index of the table in the metric's description.
    pub table: u16,
    /// Start of the range, Unix milliseconds; `None`: open.
    pub from: Option<i64>,
    /// End of the range.
    pub to: Option<i64>,
    /// Rows match each of these.
    pub only: Vec<Only>,
}

/// What is known of the rows between two cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of them were looked at.
    Exact,
    /// Some are gone, or there are too many: any question may read something else.
    Unknown,
}

/// What the questions to a metric look at.
#[derive(Default)]
pub struct Interests {
    /// By question; `None`: whatever comes to the metric.
    of: BTreeMap<u64, Option<Vec<Interest>>>,
    /// The questions that look at everything.
    everything: BTreeSet<u64>,
    /// The questions that are in no table yet.
    unplanned: BTreeSet<u64>,
    tables: Vec<TableInterests>,
    /// The names by which those of the tables are numbered, and how many texts there were.
    names: Weak<RwLock<Names>>,
    texts: usize,
}

/// A question, and the place of the interest among its own.
type InterestId = (u64, u16);

/// An interest in numbers of this process.
struct PlannedInterest {
    bounds: TimeBounds,
    /// Column and numbers.
    filters: Vec<(usize, Vec<u64>)>,
    /// The filter by which it is found.
    found_by: Option<usize>,
    /// Texts that filters name and nobody has seen.
    unseen: Vec<Id>,
}

/// The interests in one table.
#[derive(Default)]
struct TableInterests {
    all: HashMap<InterestId, PlannedInterest, RandomState>,
    /// By column and value, those that are found by a filter.
    by_value: Vec<HashMap<u64, BTreeSet<InterestId>, RandomState>>,
    /// Those without a filter.
    rest: BTreeSet<InterestId>,
    /// Those that name texts which nobody has seen.
    open: BTreeSet<InterestId>,
}

impl ChangeCursor {
    /// How far these tables have come.
    pub(crate) fn new(names: &Arc<RwLock<Names>>, tables: &[SharedTable]) -> ChangeCursor {
        let open = names.read();
        let cursor = |shared: &SharedTable| {
            let table = shared.read();
            TableCursor {
                table: Arc::downgrade(shared),
                keyspace: table.keyspace,
                marks: table.marks(),
                _keys: open.keyspaces[table.keyspace].lease(),
            }
        };
        let tables = tables.iter().map(cursor).collect();
        ChangeCursor { names: Arc::downgrade(names), tables }
    }

    /// Whether rows after `from` are of the same tables, numbered by the same names, and panes are
    /// held as they were.
    fn continues(&self, from: &ChangeCursor) -> bool {
        let same = |(to, from): (&TableCursor, &TableCursor)| {
            to.table.ptr_eq(&from.table)
                && to.keyspace == from.keyspace
                && to.marks.raised == from.marks.raised
                // A partition that was given up took along what it had noted.
                && from.marks.tails.keys().all(|of| to.marks.tails.contains_key(of))
        };
        self.names.ptr_eq(&from.names)
            && self.tables.len() == from.tables.len()
            && self.tables.iter().zip(&from.tables).all(same)
    }
}

impl Interests {
    /// Sets what a question looks at; `None`: whatever comes to the metric.
    pub fn set(&mut self, question: u64, interests: Option<Vec<Interest>>) {
        if let (Some(Some(before)), Some(after)) = (self.of.get(&question), &interests)
            && are_alike(before, after)
        {
            // The usual change: its window has moved.
            for (n, interest) in (0_u16..).zip(after) {
                let table = self.tables.get_mut(usize::from(interest.table));
                if let Some(planned) = table.and_then(|table| table.all.get_mut(&(question, n))) {
                    planned.bounds = (interest.from, interest.to);
                }
            }
        } else {
            self.remove(question);
            let group =
                if interests.is_some() { &mut self.unplanned } else { &mut self.everything };
            group.insert(question);
        }
        self.of.insert(question, interests);
    }

    /// Forgets a question.
    pub fn remove(&mut self, question: u64) {
        let Some(before) = self.of.remove(&question) else { return };
        self.everything.remove(&question);
        self.unplanned.remove(&question);
        for (n, interest) in (0..).zip(before.iter().flatten()) {
            if let Some(table) = self.tables.get_mut(usize::from(interest.table)) {
                table.remove((question, n));
            }
        }
    }

    /// Calls `hit` with each question that rows between the cursors concern, once. Looks at no more
    /// than `most` rows, a few thousand at a time. [`Reading::Unknown`]: it was not called, and any
    /// question may read something else.
    pub fn touched(
        &mut self,
        from: &ChangeCursor,
        to: &ChangeCursor,
        most: usize,
        hit: &mut dyn FnMut(u64),
    ) -> Reading {
        let names = to.names.upgrade().filter(|_| to.continues(from));
        let tables: Option<Vec<SharedTable>> =
            to.tables.iter().map(|table| table.table.upgrade()).collect();
        let Some((names, tables)) = names.zip(tables) else { return Reading::Unknown };
        self.plan(&names, &tables);
        let mut walk = ChangeWalk {
            names: &names,
            left: most,
            touched: HashSet::default(),
            questions: self.of.len() - self.everything.len(),
        };
        for (n, (of, table)) in self.tables.iter().zip(&tables).enumerate() {
            if !walk.table(of, table, (&from.tables[n], &to.tables[n])) {
                return Reading::Unknown;
            }
        }
        self.everything.iter().chain(&walk.touched).for_each(|question| hit(*question));
        Reading::Exact
    }

    /// Puts questions into their tables that are in none yet, and again those of which a text was
    /// seen since.
    fn plan(&mut self, names: &Arc<RwLock<Names>>, tables: &[SharedTable]) {
        let named = Arc::downgrade(names);
        let open = names.read();
        if !self.names.ptr_eq(&named) {
            self.names = named;
            self.tables.clear();
            let planned = self.of.iter().filter(|(_, interests)| interests.is_some());
            self.unplanned.extend(planned.map(|(question, _)| *question));
        } else if self.texts != open.texts.len() {
            let seen = self.tables.iter().flat_map(|table| table.seen(&open.texts));
            self.unplanned.extend(seen);
        }
        self.texts = open.texts.len();
        self.tables.resize_with(tables.len(), TableInterests::default);
        if self.unplanned.is_empty() {
            return;
        }
        let described: Vec<Arc<Table>> =
            tables.iter().map(|table| Arc::clone(&table.read().description)).collect();
        for question in std::mem::take(&mut self.unplanned) {
            let interests = self.of.get(&question).into_iter().flatten().flatten();
            for (n, interest) in (0..).zip(interests) {
                let number = usize::from(interest.table);
                if let Some((table, of)) = self.tables.get_mut(number).zip(described.get(number)) {
                    table.remove((question, n));
                    table.add((question, n), interest, of, &open.texts);
                }
            }
        }
    }
}

/// Whether two lists of interests differ in their ranges at most.
fn are_alike(before: &[Interest], after: &[Interest]) -> bool {
    let same = |(a, b): (&Interest, &Interest)| a.table == b.table && a.only == b.only;
    before.len() == after.len() && before.iter().zip(after).all(same)
}

impl TableInterests {
    fn add(&mut self, id: InterestId, interest: &Interest, table: &Table, texts: &Texts) {
        let (mut filters, mut unseen) = (Vec::new(), Vec::new());
        for only in &interest.only {
            // A read by another column is refused.
            let Some(column) = table.key.iter().position(|key| *key == only.column) else {
                continue;
            };
            filters.push((column, numbers(only, texts)));
            let is_new = |id: &&Id| matches!(id, Id::Text(_)) && texts.number(id).is_none();
            unseen.extend(only.ids.iter().filter(is_new).cloned());
        }
        let fewest = (0..filters.len()).min_by_key(|n| filters[*n].1.len());
        match fewest.map(|n| &filters[n]) {
            Some((column, ids)) => {
                if self.by_value.len() <= *column {
                    self.by_value.resize_with(column + 1, HashMap::default);
                }
                for value in ids {
                    self.by_value[*column].entry(*value).or_default().insert(id);
                }
            }
            None => {
                self.rest.insert(id);
            }
        }
        if !unseen.is_empty() {
            self.open.insert(id);
        }
        let bounds = (interest.from, interest.to);
        self.all.insert(id, PlannedInterest { bounds, filters, found_by: fewest, unseen });
    }

    fn remove(&mut self, id: InterestId) {
        let Some(planned) = self.all.remove(&id) else { return };
        self.rest.remove(&id);
        self.open.remove(&id);
        let Some((column, ids)) = planned.found_by.map(|n| &planned.filters[n]) else { return };
        for value in ids {
            if let Some(of_value) = self.by_value[*column].get_mut(value) {
                of_value.remove(&id);
                if of_value.is_empty() {
                    self.by_value[*column].remove(value);
                }
            }
        }
    }

    /// The questions of which a text was seen that was not known before.
    fn seen(&self, texts: &Texts) -> impl Iterator<Item = u64> {
        let is_seen = move |id: &&InterestId| {
            let planned = self.all.get(*id);
            planned.is_some_and(|of| of.unseen.iter().any(|text| texts.number(text).is_some()))
        };
        self.open.iter().filter(is_seen).map(|(question, _)| *question)
    }
}

/// One look at what came.
struct ChangeWalk<'a> {
    names: &'a RwLock<Names>,
    /// Rows that may still be looked at.
    left: usize,
    touched: HashSet<u64, RandomState>,
    /// Questions that there are.
    questions: usize,
}

impl ChangeWalk<'_> {
    /// Looks at the rows of a table. Returns whether all of them were there, or need not be looked
    /// at because every question is named.
    fn table(
        &mut self,
        of: &TableInterests,
        shared: &SharedTable,
        (from, to): (&TableCursor, &TableCursor),
    ) -> bool {
        if of.all.is_empty() {
            return true;
        }
        let floors = {
            let table = shared.read();
            if !table.knows(&from.marks, &to.marks) {
                return false;
            }
            *table.floors()
        };
        let touched = std::mem::take(&mut self.touched);
        let mut search =
            InterestSearch { of, rest: of.rest.iter().copied().collect(), touched, rows: 0 };
        let whole = self.tails(&mut search, shared, (from, to), &floors)
            && self.loaded(&mut search, shared, (from, to));
        self.touched = search.touched;
        whole
    }

    /// Whether no more rows are to be looked at: `Some(false)`, too many were.
    fn ends(&mut self, search: &mut InterestSearch<'_>) -> Option<bool> {
        let rows = std::mem::take(&mut search.rows);
        if search.touched.len() >= self.questions {
            return Some(true);
        }
        let touched = &search.touched;
        search.rest.retain(|(question, _)| !touched.contains(question));
        match self.left.checked_sub(rows) {
            Some(left) => self.left = left,
            None => return Some(false),
        }
        None
    }

    /// Looks at what partitions noted.
    fn tails(
        &mut self,
        search: &mut InterestSearch<'_>,
        shared: &SharedTable,
        (from, to): (&TableCursor, &TableCursor),
        floors: &Floors,
    ) -> bool {
        for (partition, end) in &to.marks.tails {
            let mut at = from.marks.tails.get(partition).copied().unwrap_or_default();
            while at != *end {
                // In this order, as everybody takes them.
                let (names, table) = (self.names.read(), shared.read());
                let keys = &names.keyspaces[to.keyspace];
                let piece = table.tail(*partition).and_then(|tail| tail.piece(at, *end, PIECE));
                let Some((piece, next)) = piece else { return false };
                // What columns gave to cells belongs to rows, which are noted too.
                for (key, minute, _) in piece.rows() {
                    search.row(keys, key, |bounds| is_within(minute, floors, bounds));
                }
                for (key, minute, ..) in piece.updates() {
                    search.row(keys, key, |bounds| is_within(minute, floors, bounds));
                }
                at = next;
                drop((names, table));
                if let Some(whole) = self.ends(search) {
                    return whole;
                }
            }
        }
        true
    }

    /// Looks at what frames brought.
    fn loaded(
        &mut self,
        search: &mut InterestSearch<'_>,
        shared: &SharedTable,
        (from, to): (&TableCursor, &TableCursor),
    ) -> bool {
        let (mut at, end) = (from.marks.loaded, to.marks.loaded);
        while at != end {
            let (names, table) = (self.names.read(), shared.read());
            let keys = &names.keyspaces[to.keyspace];
            let next = table.loaded().piece(at, end, PIECE, &table.layout, |pane, key, _| {
                search.row(keys, key, |bounds| overlaps(pane, bounds));
            });
            let Some(next) = next else { return false };
            at = next;
            drop((names, table));
            if let Some(whole) = self.ends(search) {
                return whole;
            }
        }
        true
    }
}

/// Whether a row of this minute may lie in a range, as it was noted or in the pane that it will be
/// sealed into.
fn is_within(minute: i32, floors: &Floors, bounds: TimeBounds) -> bool {
    let (begin, (from, to)) = (i64::from(minute) * MINUTE, bounds);
    let noted = from.is_none_or(|from| begin >= from) && to.is_none_or(|to| begin < to);
    noted || overlaps(floors.pane(i64::from(minute)), bounds)
}

/// Finds the interests in a row of one table.
struct InterestSearch<'a> {
    of: &'a TableInterests,
    /// Those without a filter whose questions are not named yet.
    rest: Vec<InterestId>,
    touched: HashSet<u64, RandomState>,
    /// Rows since that was last asked for.
    rows: usize,
}

impl InterestSearch<'_> {
    #[inline]
    fn row(&mut self, keys: &Keyspace, key: u32, is_within: impl Fn(TimeBounds) -> bool) {
        let InterestSearch { of, rest, touched, rows } = self;
        *rows += 1;
        let values = keys.key(key);
        let found = of.by_value.iter().zip(values).filter_map(|(ids, value)| ids.get(value));
        for id in found.flatten().chain(rest.iter()) {
            if touched.contains(&id.0) {
                continue;
            }
            let Some(planned) = of.all.get(id) else { continue };
            let mut filters = planned.filters.iter();
            if filters.all(|(column, ids)| ids.binary_search(&values[*column]).is_ok())
                && is_within(planned.bounds)
            {
                touched.insert(id.0);
            }
        }
    }
}
