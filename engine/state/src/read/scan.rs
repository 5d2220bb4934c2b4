//! Walks the rows of a table in a time range, of all groups or of some: panes first, then unsealed
//! events.
//!
//! A few groups are searched for in each run; otherwise runs are read from end to end. Writers do
//! not wait meanwhile. Nothing is aggregated here beyond folding the rows of a key together. The
//! walk asks its `Allowance` for time and memory.

use super::access::{OpenTable, ReadContext};
use super::allowance::{Allowance, ReadError};
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{TimeBounds, start};
use crate::rows::row::Row;
use crate::rows::run::{Run, first_place};
use std::collections::HashMap;

/// Most groups that are searched for one by one; more are found by reading the run.
const SEEK: usize = 64;

/// Rows between two checks of the clock.
const CHECK: u32 = 8_192;

/// A range of a table.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a, 'l> {
    pub(crate) context: ReadContext<'a, 'l>,
    /// Only these groups, sorted; `None`: all.
    pub(crate) groups: Option<&'a [u32]>,
    pub(crate) bounds: TimeBounds,
}

/// Called with a key, the start of its pane (`None` for the open pane) and its row there.
type VisitRow<'v> = dyn FnMut(u32, Option<i64>, Row<'_>) -> Result<(), ReadError> + 'v;

impl Scan<'_, '_> {
    /// The cells of each key in the range.
    pub(crate) fn fold(&self) -> Result<FoldedRows, ReadError> {
        if self.bounds == (None, None) {
            return Ok(FoldedRows::Totals);
        }
        let layout = &self.context.table.layout;
        let keys = self.context.reader.with(1, |open| open.keys().len());
        if self.groups.is_none() {
            self.context.allow.hold(keys * size_of::<u32>())?;
        }
        let slots = match self.groups {
            Some(_) => Slots::Some(HashMap::new()),
            None => Slots::All(vec![u32::MAX; keys]),
        };
        let mut found = FoldedRows::Folded { slots, rows: Block::default() };
        let (mut seen, mut check_at) = (0_u64, u64::from(CHECK));
        self.rows(&mut |key, _, row| {
            found.add(layout, key, row);
            seen += 1;
            if seen < check_at {
                return Ok(());
            }
            // The cost of a check grows with what is held, so checks become rarer the more there
            // is.
            check_at += check_at / 4;
            self.context.allow.hold(found.memory())
        })?;
        self.context.allow.hold(found.memory())?;
        Ok(found)
    }

    /// Calls `visit` with every row of the range.
    pub(crate) fn rows(&self, visit: &mut VisitRow<'_>) -> Result<(), ReadError> {
        let mut clock = Clock { allow: self.context.allow, rows: 0 };
        self.context.reader.close();
        for (pane, runs) in self.context.table.panes_in(self.bounds) {
            let begin = pane.0.map(|_| start(pane));
            for run in runs.iter() {
                self.run(run, begin, visit, &mut clock)?;
            }
        }
        clock.check()?;
        let mut refused = Ok(());
        let whole = self.context.table.unsealed_in(
            self.context.reader,
            self.bounds,
            |keys, key, begin, row| {
                if refused.is_ok() && self.wanted(keys.group(key)) {
                    refused = clock.tick().and_then(|()| visit(key, Some(begin), row));
                }
            },
        );
        if whole { refused } else { Err(ReadError::Gone) }
    }

    fn wanted(&self, group: u32) -> bool {
        self.groups.is_none_or(|groups| groups.binary_search(&group).is_ok())
    }

    fn run(
        &self,
        run: &Run,
        begin: Option<i64>,
        visit: &mut VisitRow<'_>,
        clock: &mut Clock<'_>,
    ) -> Result<(), ReadError> {
        let layout = &self.context.table.layout;
        let Some(groups) = self.groups.filter(|groups| groups.len() <= SEEK) else {
            let mut rows = run.rows(layout);
            while let Some((place, row)) = rows.next() {
                clock.tick()?;
                if self.wanted((place >> 32) as u32) {
                    visit(place as u32, begin, row)?;
                }
            }
            return Ok(());
        };
        for group in groups {
            let mut rows = run.rows_from(layout, first_place(*group));
            while let Some((place, row)) = rows.next() {
                clock.tick()?;
                let at = (place >> 32) as u32;
                if at > *group {
                    break;
                }
                if at == *group {
                    visit(place as u32, begin, row)?;
                }
            }
        }
        Ok(())
    }
}

struct Clock<'a> {
    allow: &'a dyn Allowance,
    rows: u32,
}

impl Clock<'_> {
    #[inline]
    fn tick(&mut self) -> Result<(), ReadError> {
        self.rows += 1;
        if self.rows.is_multiple_of(CHECK) { self.check() } else { Ok(()) }
    }

    fn check(&self) -> Result<(), ReadError> {
        if self.allow.late() { Err(ReadError::Deadline) } else { Ok(()) }
    }
}

/// Where the folded row of a key is.
pub(crate) enum Slots {
    All(Vec<u32>),
    Some(HashMap<u32, u32>),
}

impl Slots {
    fn slot(&mut self, key: u32) -> &mut u32 {
        match self {
            Slots::All(slots) => {
                let key = key as usize;
                if slots.len() <= key {
                    slots.resize(key + 1, u32::MAX);
                }
                &mut slots[key]
            }
            Slots::Some(slots) => slots.entry(key).or_insert(u32::MAX),
        }
    }

    fn get(&self, key: u32) -> Option<u32> {
        let slot = match self {
            Slots::All(slots) => slots.get(key as usize),
            Slots::Some(slots) => slots.get(&key),
        };
        slot.copied().filter(|slot| *slot != u32::MAX)
    }
}

/// The cells of each key in a range.
pub(crate) enum FoldedRows {
    /// No range: the table's totals.
    Totals,
    /// Folded from panes.
    Folded {
        /// By key.
        slots: Slots,
        /// Of the keys.
        rows: Block,
    },
}

impl FoldedRows {
    /// The row of a key; `None` if it has none in the range.
    #[inline]
    pub(crate) fn row<'a>(
        &'a self,
        layout: &Layout,
        open: &'a OpenTable<'_>,
        key: u32,
    ) -> Option<Row<'a>> {
        match self {
            FoldedRows::Totals => open.total(key),
            FoldedRows::Folded { slots, rows } => {
                slots.get(key).map(|slot| rows.row(layout, slot as usize))
            }
        }
    }

    /// Adds a row that lies in the range (totals have it already).
    #[inline]
    pub(crate) fn add(&mut self, layout: &Layout, key: u32, row: Row<'_>) {
        let FoldedRows::Folded { slots, rows } = self else { return };
        let next = rows.len(layout) as u32;
        let slot = slots.slot(key);
        if *slot == u32::MAX {
            *slot = next;
            rows.push(layout, row);
        } else {
            layout.merge(&mut rows.row_mut(layout, *slot as usize), row);
        }
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        let FoldedRows::Folded { slots, rows } = self else { return 0 };
        let slots = match slots {
            Slots::All(slots) => slots.capacity() * 4,
            Slots::Some(slots) => slots.capacity() * 9,
        };
        slots + rows.memory()
    }
}
