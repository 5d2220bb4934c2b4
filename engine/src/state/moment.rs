//! A metric at one moment: what a question reads, however long it takes and whatever is counted meanwhile.
//!
//! Taking one costs a few list heads: panes are shared, of tails it is noted how far they had come, of totals rows are kept before
//! they change (`former`); numbers of ids and keys only grow, and where they are given anew the old ones stay with who reads
//! by them. Nobody waits for a reader: it opens names and table for a few thousand rows at a time, and walks panes without
//! either. Code of plugins may run between two reads; it never runs while something is open.

use super::Names;
use super::aggregate;
use super::allowance::{Allowance, ReadError};
use super::block::Row;
use super::cells::Layout;
use super::floors::PaneId;
use super::fold::{Bounds, Of};
use super::folds::Folds;
use super::former::Hold;
use super::keyspace::{self, Keyspace};
use super::metric::Held;
use super::run::Runs;
use super::source::Feed;
use super::table::{Marks, Panes, TableState, overlaps};
use super::tail::Mark;
use super::texts::Texts;
use super::threshold::Threshold;
use super::visit::Visit;
use parking_lot::{RwLock, RwLockReadGuard};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use tally_plugin::description::Table;
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// Rows for which names and table stay open: some hundred microseconds at most, which is what a batch may have to wait. Few in
/// unit tests, so that they see both closed and opened again.
pub(crate) const PIECE: usize = if cfg!(test) { 5 } else { 4_096 };

/// The tables of a metric at one moment.
pub struct Moment {
    names: Arc<RwLock<Names>>,
    tables: Vec<TableMoment>,
    kept: Arc<Folds>,
    held: Held,
    thresholds: Vec<Threshold>,
}

/// A table at one moment.
pub(crate) struct TableMoment {
    description: Arc<Table>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) feeds: Arc<[Feed]>,
    keyspace: usize,
    table: Arc<RwLock<TableState>>,
    panes: Arc<Panes>,
    pub(crate) marks: Marks,
    hold: Hold,
    _numbers: keyspace::Held,
}

/// The table and the names by which something was read: other ones with the same numbers in them are others.
pub(crate) struct Home {
    table: Weak<RwLock<TableState>>,
    names: Weak<RwLock<Names>>,
}

/// Names and table, open to be looked at: whoever counts waits until they are closed.
pub(crate) struct Open<'a> {
    names: RwLockReadGuard<'a, Names>,
    table: RwLockReadGuard<'a, TableState>,
    of: &'a TableMoment,
}

/// Looks at names and table, and closes them now and then.
pub(crate) struct Look<'a> {
    names: &'a Arc<RwLock<Names>>,
    table: &'a TableMoment,
    open: RefCell<Option<Open<'a>>>,
    left: Cell<usize>,
}

impl Moment {
    pub(super) fn new(
        names: &Arc<RwLock<Names>>,
        tables: &[Arc<RwLock<TableState>>],
        kept: &Arc<Folds>,
        held: Held,
    ) -> Moment {
        let open = names.read();
        let tables: Vec<TableMoment> = tables.iter().map(|table| TableMoment::new(table, &open.keyspaces)).collect();
        let thresholds = tables.iter().map(|table| open.keyspaces[table.keyspace].threshold()).collect();
        drop(open);
        Moment { names: Arc::clone(names), tables, kept: Arc::clone(kept), held, thresholds }
    }

    /// Executes a read on a table. `allow` says what it may cost.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, request: &ReadRequest, allow: &dyn Allowance) -> Result<ReadAnswer, ReadError> {
        let table = self.tables.iter().find(|table| table.description.name == request.table);
        let table = table.ok_or_else(|| ReadError::Bad(format!("there is no table \"{}\"", request.table)))?;
        let look = Look { names: &self.names, table, open: RefCell::new(None), left: Cell::new(0) };
        aggregate::read(Of { table, look: &look, allow }, request, &self.kept)
    }

    /// What the metric's window may rest on.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Which keys each table keeps.
    #[must_use]
    pub fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }
}

impl TableMoment {
    fn new(table: &Arc<RwLock<TableState>>, keyspaces: &[Keyspace]) -> TableMoment {
        let state = table.read();
        let (hold, panes, marks) = state.hold();
        TableMoment {
            description: Arc::clone(&state.description),
            layout: Arc::clone(&state.layout),
            feeds: Arc::clone(&state.feeds),
            keyspace: state.keyspace,
            table: Arc::clone(table),
            panes,
            marks,
            hold,
            _numbers: keyspaces[state.keyspace].hold(),
        }
    }

    pub(crate) fn description(&self) -> &Table {
        &self.description
    }

    /// Grows from moment to moment of the same table.
    pub(crate) fn number(&self) -> u64 {
        self.hold.moment
    }

    /// The panes that overlap the range.
    pub(crate) fn panes_in(&self, bounds: Bounds) -> impl Iterator<Item = (PaneId, &Runs)> {
        self.panes.iter().map(|(pane, runs)| (*pane, runs)).filter(move |(pane, _)| overlaps(*pane, bounds))
    }

    /// What came since the last seals and lies in `[from, to)`, row by row: key, minute's start, row. Whether it was all there, which
    /// it is while this exists.
    pub(crate) fn unsealed_in(
        &self,
        look: &Look<'_>,
        bounds: Bounds,
        mut take: impl FnMut(&Keyspace, u32, i64, Row<'_>),
    ) -> bool {
        self.marks
            .tails
            .iter()
            .all(|(partition, to)| self.noted(look, *partition, (to.sealed(), *to), bounds, &mut take))
    }

    /// What came since `from` and lies in the range, row by row. `false`: that is not known any more.
    pub(crate) fn since(
        &self,
        look: &Look<'_>,
        from: &Marks,
        bounds: Bounds,
        mut take: impl FnMut(&Keyspace, u32, Row<'_>),
    ) -> bool {
        if !look.with(1, |open| open.table.knows(from, &self.marks)) {
            return false;
        }
        for (partition, to) in &self.marks.tails {
            let begin = from.tails.get(partition).copied().unwrap_or_default();
            if !self.noted(look, *partition, (begin, *to), bounds, &mut |keys, key, _, row| take(keys, key, row)) {
                return false;
            }
        }
        let mut at = from.loaded;
        while at != self.marks.loaded {
            let next = look.with(PIECE, |open| {
                open.table.loaded().piece(at, self.marks.loaded, PIECE, &self.layout, |pane, key, row| {
                    if overlaps(pane, bounds) {
                        take(open.keys(), key, row);
                    }
                })
            });
            let Some(next) = next else { return false };
            at = next;
        }
        true
    }

    /// Shows what a partition noted between two marks. Whether all of it was still there.
    fn noted(
        &self,
        look: &Look<'_>,
        partition: u32,
        (mut at, to): (Mark, Mark),
        bounds: Bounds,
        take: &mut dyn FnMut(&Keyspace, u32, i64, Row<'_>),
    ) -> bool {
        let mut visit = Visit::new(&self.layout, bounds);
        while at != to {
            let next = look.with(PIECE, |open| {
                let (piece, next) = open.table.tail(partition)?.piece(at, to, PIECE)?;
                visit.rows(piece.rows(), piece.updates(), piece.values(), |key, begin, row| {
                    take(open.keys(), key, begin, row);
                });
                Some(next)
            });
            let Some(next) = next else { return false };
            at = next;
        }
        true
    }
}

impl Home {
    /// That of a table which is being looked at.
    pub(crate) fn of(look: &Look<'_>) -> Home {
        Home { table: Arc::downgrade(&look.table.table), names: Arc::downgrade(look.names) }
    }

    /// Whether it is that of what is being looked at.
    pub(crate) fn is_of(&self, look: &Look<'_>) -> bool {
        std::ptr::eq(self.table.as_ptr(), Arc::as_ptr(&look.table.table))
            && std::ptr::eq(self.names.as_ptr(), Arc::as_ptr(look.names))
    }

    /// Whether it is that of another.
    pub(crate) fn is(&self, other: &Home) -> bool {
        self.table.ptr_eq(&other.table) && self.names.ptr_eq(&other.names)
    }

    /// Whether anybody may read there again.
    pub(crate) fn lives(&self) -> bool {
        self.table.strong_count() > 0 && self.names.strong_count() > 0
    }
}

impl Open<'_> {
    pub(crate) fn texts(&self) -> &Texts {
        &self.names.texts
    }

    pub(crate) fn keys(&self) -> &Keyspace {
        &self.names.keyspaces[self.of.keyspace]
    }

    /// The row of a key at the moment; `None` where it was not counted.
    #[inline]
    pub(crate) fn total(&self, key: u32) -> Option<Row<'_>> {
        self.table.total_at(self.of.hold.moment, key)
    }
}

impl<'a> Look<'a> {
    /// Looks for about so many rows. What `look` is shown must not be needed afterwards: it may be closed by then.
    #[inline]
    pub(crate) fn with<T>(&self, rows: usize, look: impl FnOnce(&Open<'a>) -> T) -> T {
        let left = self.left.get();
        // One within another goes on with what is open.
        if left < rows
            && let Ok(mut open) = self.open.try_borrow_mut()
        {
            // Both are closed before either is opened: who changes them takes names first, too.
            *open = None;
            let names = self.names.read();
            *open = Some(Open { names, table: self.table.table.read(), of: self.table });
            self.left.set(PIECE);
        }
        self.left.set(self.left.get().saturating_sub(rows));
        look(self.open.borrow().as_ref().expect("it is open, or was opened just now"))
    }

    /// Closes what is open: something follows that takes a while and needs neither.
    pub(crate) fn close(&self) {
        *self.open.borrow_mut() = None;
        self.left.set(0);
    }
}
