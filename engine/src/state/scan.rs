//! Walks the rows of a table in a time range: panes, and what is not sealed yet; all groups or some.
//!
//! Some groups are sought in each run, all are read from end to end; nobody waits meanwhile. Nothing is aggregated here beyond
//! folding a key's rows together. Time and memory are asked for while it walks.

use super::aggregate::first_place;
use super::allowance::{Allowance, ReadError};
use super::block::{Block, Row};
use super::cells::Layout;
use super::floors::start;
use super::fold::Bounds;
use super::moment::{Look, Open, TableMoment};
use super::run::Run;
use std::collections::HashMap;

/// How many groups are sought one by one; more are found by reading the run.
const SEEK: usize = 64;

/// Rows looked at between two looks at the clock.
const LOOK: u32 = 8_192;

/// A range of a table.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a, 'l> {
    pub(crate) table: &'a TableMoment,
    pub(crate) look: &'a Look<'l>,
    /// Only these groups, sorted; `None`: all.
    pub(crate) groups: Option<&'a [u32]>,
    pub(crate) bounds: Bounds,
    pub(crate) allow: &'a dyn Allowance,
}

/// Called with a key, the start of its pane (`None` for the open one) and its row there.
type Visit<'v> = dyn FnMut(u32, Option<i64>, Row<'_>) -> Result<(), ReadError> + 'v;

impl Scan<'_, '_> {
    /// The cells of each key in the range.
    pub(crate) fn fold(&self) -> Result<Found, ReadError> {
        if self.bounds == (None, None) {
            return Ok(Found::Totals);
        }
        let layout = &self.table.layout;
        let keys = self.look.with(1, |open| open.keys().len());
        if self.groups.is_none() {
            self.allow.hold(keys * size_of::<u32>())?;
        }
        let slots = match self.groups {
            Some(_) => Slots::Some(HashMap::new()),
            None => Slots::All(vec![u32::MAX; keys]),
        };
        let mut found = Found::Folded { slots, rows: Block::default() };
        let (mut seen, mut look) = (0_u64, u64::from(LOOK));
        self.rows(&mut |key, _, row| {
            found.add(layout, key, row);
            seen += 1;
            if seen < look {
                return Ok(());
            }
            // Looking costs as much as there is, so it is done the less often the more there is.
            look += look / 4;
            self.allow.hold(found.memory())
        })?;
        self.allow.hold(found.memory())?;
        Ok(found)
    }

    /// Every row of the range.
    pub(crate) fn rows(&self, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let mut clock = Clock { allow: self.allow, rows: 0 };
        self.look.close();
        for (pane, runs) in self.table.panes_in(self.bounds) {
            let begin = pane.0.map(|_| start(pane));
            for run in runs.iter() {
                self.run(run, begin, visit, &mut clock)?;
            }
        }
        clock.look()?;
        let mut refused = Ok(());
        let whole = self.table.unsealed_in(self.look, self.bounds, |keys, key, begin, row| {
            if refused.is_ok() && self.wanted(keys.group(key)) {
                refused = clock.tick().and_then(|()| visit(key, Some(begin), row));
            }
        });
        if whole { refused } else { Err(ReadError::Gone) }
    }

    fn wanted(&self, group: u32) -> bool {
        self.groups.is_none_or(|groups| groups.binary_search(&group).is_ok())
    }

    fn run(
        &self,
        run: &Run,
        begin: Option<i64>,
        visit: &mut Visit<'_>,
        clock: &mut Clock<'_>,
    ) -> Result<(), ReadError> {
        let layout = &self.table.layout;
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
        if self.rows.is_multiple_of(LOOK) { self.look() } else { Ok(()) }
    }

    fn look(&self) -> Result<(), ReadError> {
        if self.allow.late() { Err(ReadError::Deadline) } else { Ok(()) }
    }
}

/// Where a key's folded words are.
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
pub(crate) enum Found {
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

impl Found {
    /// The row of a key; `None` where it has none in the range.
    #[inline]
    pub(crate) fn row<'a>(&'a self, layout: &Layout, open: &'a Open<'_>, key: u32) -> Option<Row<'a>> {
        match self {
            Found::Totals => open.total(key),
            Found::Folded { slots, rows } => slots.get(key).map(|slot| rows.row(layout, slot as usize)),
        }
    }

    /// Adds what lies in the range (totals have it already).
    #[inline]
    pub(crate) fn add(&mut self, layout: &Layout, key: u32, row: Row<'_>) {
        let Found::Folded { slots, rows } = self else { return };
        let next = rows.len(layout) as u32;
        let slot = slots.slot(key);
        if *slot == u32::MAX {
            *slot = next;
            rows.push(layout, row);
        } else {
            layout.merge(&mut rows.row_mut(layout, *slot as usize), row);
        }
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        let Found::Folded { slots, rows } = self else { return 0 };
        let slots = match slots {
            Slots::All(slots) => slots.capacity() * 4,
            Slots::Some(slots) => slots.capacity() * 9,
        };
        slots + rows.memory()
    }
}
