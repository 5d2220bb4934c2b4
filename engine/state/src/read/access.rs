//! A table at one moment, and how its rows are reached beside a writer.
//!
//! A reader opens names and table for a few thousand rows at a time, and walks panes without
//! either. A plugin's code may run between two reads; it never runs while something is open.

use super::allowance::Allowance;
use super::pending_events::PendingEvents;
use crate::rows::cells::Layout;
use crate::rows::floors::{PaneId, TimeBounds, overlaps};
use crate::rows::row::Row;
use crate::rows::run::Runs;
use crate::write::feeds::Feed;
use crate::write::keyspace::{Keyspace, KeyspaceLease};
use crate::write::names::Names;
use crate::write::panes::Panes;
use crate::write::previous_rows::MomentLease;
use crate::write::table::{Marks, TableState};
use crate::write::tail::TailEnd;
use crate::write::texts::Texts;
use crate::write::threshold::Threshold;
use parking_lot::{RwLock, RwLockReadGuard};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use tally_plugin::description::Table;

/// Rows for which names and table stay open: a batch waits some hundred microseconds for them at
/// most. Few in unit tests, so that these see both closed and opened again.
pub(crate) const PIECE: usize = if cfg!(test) { 5 } else { 4_096 };

/// A table at one moment.
pub(crate) struct TableMoment {
    description: Arc<Table>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) feeds: Arc<[Feed]>,
    keyspace: usize,
    table: Arc<RwLock<TableState>>,
    panes: Arc<Panes>,
    pub(crate) marks: Marks,
    moment: MomentLease,
    _keys: KeyspaceLease,
}

/// Identifies the table and the names that something was read by: the same numbers mean something
/// else in others.
pub(crate) struct TableId {
    table: Weak<RwLock<TableState>>,
    names: Weak<RwLock<Names>>,
}

/// Names and table, open: writers wait until they are closed.
pub(crate) struct OpenTable<'a> {
    names: RwLockReadGuard<'a, Names>,
    table: RwLockReadGuard<'a, TableState>,
    of: &'a TableMoment,
}

/// Reads names and table, and closes them from time to time.
pub(crate) struct TableReader<'a> {
    names: &'a Arc<RwLock<Names>>,
    table: &'a TableMoment,
    open: RefCell<Option<OpenTable<'a>>>,
    left: Cell<usize>,
}

/// What one read works on, and what it may cost.
#[derive(Clone, Copy)]
pub(crate) struct ReadContext<'a, 'l> {
    pub(crate) table: &'a TableMoment,
    pub(crate) reader: &'a TableReader<'l>,
    /// Says when to give up, and how much memory may be taken.
    pub(crate) allow: &'a dyn Allowance,
}

impl TableMoment {
    /// The table as it is now.
    pub(crate) fn new(table: &Arc<RwLock<TableState>>, keyspaces: &[Keyspace]) -> TableMoment {
        let state = table.read();
        let (moment, panes, marks) = state.lease_moment();
        TableMoment {
            description: Arc::clone(&state.description),
            layout: Arc::clone(&state.layout),
            feeds: Arc::clone(&state.feeds),
            keyspace: state.keyspace,
            table: Arc::clone(table),
            panes,
            marks,
            moment,
            _keys: keyspaces[state.keyspace].lease(),
        }
    }

    pub(crate) fn description(&self) -> &Table {
        &self.description
    }

    /// Which keys the table keeps, by the names of its moment.
    pub(crate) fn threshold(&self, names: &Names) -> Threshold {
        names.keyspaces[self.keyspace].threshold()
    }

    /// Number of the moment; grows from moment to moment of the same table.
    pub(crate) fn number(&self) -> u64 {
        self.moment.number
    }

    /// The panes that overlap the range.
    pub(crate) fn panes_in(&self, bounds: TimeBounds) -> impl Iterator<Item = (PaneId, &Runs)> {
        self.panes
            .iter()
            .map(|(pane, runs)| (*pane, runs))
            .filter(move |(pane, _)| overlaps(*pane, bounds))
    }

    /// Calls `take` with what came since the last seals and lies in the range, row by row: key,
    /// start of the minute, row. Returns whether all of it was still there, which is so while this
    /// exists.
    pub(crate) fn unsealed_in(
        &self,
        reader: &TableReader<'_>,
        bounds: TimeBounds,
        mut take: impl FnMut(&Keyspace, u32, i64, Row<'_>),
    ) -> bool {
        let mut tails = self.marks.tails.iter();
        tails.all(|(partition, to)| {
            self.noted(reader, *partition, (to.sealed(), *to), bounds, &mut take)
        })
    }

    /// Calls `take` with what came since `from` and lies in the range, row by row. `false`: some of
    /// it is no longer known.
    pub(crate) fn since(
        &self,
        reader: &TableReader<'_>,
        from: &Marks,
        bounds: TimeBounds,
        mut take: impl FnMut(&Keyspace, u32, Row<'_>),
    ) -> bool {
        if !reader.with(1, |open| open.table.knows(from, &self.marks)) {
            return false;
        }
        for (partition, to) in &self.marks.tails {
            let begin = from.tails.get(partition).copied().unwrap_or_default();
            if !self.noted(reader, *partition, (begin, *to), bounds, &mut |keys, key, _, row| {
                take(keys, key, row)
            }) {
                return false;
            }
        }
        let mut at = from.loaded;
        while at != self.marks.loaded {
            let next = reader.with(PIECE, |open| {
                open.table.loaded().piece(
                    at,
                    self.marks.loaded,
                    PIECE,
                    &self.layout,
                    |pane, key, row| {
                        if overlaps(pane, bounds) {
                            take(open.keys(), key, row);
                        }
                    },
                )
            });
            let Some(next) = next else { return false };
            at = next;
        }
        true
    }

    /// Calls `take` with what a partition noted between two marks. Returns whether all of it was
    /// still there.
    fn noted(
        &self,
        reader: &TableReader<'_>,
        partition: u32,
        (mut at, to): (TailEnd, TailEnd),
        bounds: TimeBounds,
        take: &mut dyn FnMut(&Keyspace, u32, i64, Row<'_>),
    ) -> bool {
        let mut events = PendingEvents::new(&self.layout, bounds);
        while at != to {
            let next = reader.with(PIECE, |open| {
                let (piece, next) = open.table.tail(partition)?.piece(at, to, PIECE)?;
                events.each_row(
                    piece.rows(),
                    piece.updates(),
                    piece.values(),
                    |key, begin, row| {
                        take(open.keys(), key, begin, row);
                    },
                );
                Some(next)
            });
            let Some(next) = next else { return false };
            at = next;
        }
        true
    }
}

impl TableId {
    /// That of a reader's table.
    pub(crate) fn of(reader: &TableReader<'_>) -> TableId {
        TableId { table: Arc::downgrade(&reader.table.table), names: Arc::downgrade(reader.names) }
    }

    /// Whether it is that of a reader's table.
    pub(crate) fn is_of(&self, reader: &TableReader<'_>) -> bool {
        std::ptr::eq(self.table.as_ptr(), Arc::as_ptr(&reader.table.table))
            && std::ptr::eq(self.names.as_ptr(), Arc::as_ptr(reader.names))
    }

    /// Whether both are of the same table and names.
    pub(crate) fn is_same(&self, other: &TableId) -> bool {
        self.table.ptr_eq(&other.table) && self.names.ptr_eq(&other.names)
    }

    /// Whether a later read can still be of this table.
    pub(crate) fn is_alive(&self) -> bool {
        self.table.strong_count() > 0 && self.names.strong_count() > 0
    }
}

impl OpenTable<'_> {
    pub(crate) fn layout(&self) -> &Layout {
        &self.of.layout
    }

    pub(crate) fn texts(&self) -> &Texts {
        &self.names.texts
    }

    pub(crate) fn keys(&self) -> &Keyspace {
        &self.names.keyspaces[self.of.keyspace]
    }

    /// The row of a key at the moment; `None` if it was not counted.
    #[inline]
    pub(crate) fn total(&self, key: u32) -> Option<Row<'_>> {
        self.table.total_at(self.of.moment.number, key)
    }
}

impl<'a> TableReader<'a> {
    /// Nothing is open yet.
    pub(crate) fn new(names: &'a Arc<RwLock<Names>>, table: &'a TableMoment) -> TableReader<'a> {
        TableReader { names, table, open: RefCell::new(None), left: Cell::new(0) }
    }

    /// Calls `read` with names and table open; it reads about so many rows. It must not keep what
    /// it is shown, which may be closed afterwards.
    #[inline]
    pub(crate) fn with<T>(&self, rows: usize, read: impl FnOnce(&OpenTable<'a>) -> T) -> T {
        let left = self.left.get();
        // A call within another goes on with what is open.
        if left < rows
            && let Ok(mut open) = self.open.try_borrow_mut()
        {
            // Both are closed before either is opened: writers lock names first, too.
            *open = None;
            let names = self.names.read();
            *open = Some(OpenTable { names, table: self.table.table.read(), of: self.table });
            self.left.set(PIECE);
        }
        self.left.set(self.left.get().saturating_sub(rows));
        read(self.open.borrow().as_ref().expect("it is open, or was opened just now"))
    }

    /// Closes what is open, before something that takes a while and needs neither.
    pub(crate) fn close(&self) {
        *self.open.borrow_mut() = None;
        self.left.set(0);
    }
}
