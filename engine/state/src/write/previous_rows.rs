//! Rows as they were at moments that are still read.
//!
//! Totals change in place. While a moment is read, a row is copied before its first change after
//! that moment, so that readers find the row as it was. A table of which no moment is read copies
//! nothing, and checks once a batch whether it must. The copies are bounded: for each moment that
//! is read, each row once.

use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::row::Row;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

/// The row did not exist.
const ABSENT: u32 = u32::MAX;

/// The previous rows of a table.
#[derive(Default)]
pub(crate) struct PreviousRows {
    /// The moments that are read, and by how many readers.
    read: Arc<Mutex<BTreeMap<u64, usize>>>,
    /// Number of the current moment: it grows with every change.
    now: u64,
    /// Ascending by the moment that they begin with.
    spans: Vec<Span>,
}

/// The rows that changed between one moment that is read and the next, as they were at the first of
/// the two.
struct Span {
    from: u64,
    places: HashMap<u32, u32, RandomState>,
    rows: Block,
}

/// A moment is read as long as this exists.
pub(crate) struct MomentLease {
    read: Arc<Mutex<BTreeMap<u64, usize>>>,
    pub(crate) number: u64,
}

/// What is known of a row at a moment.
pub(crate) enum PreviousRow<'a> {
    /// It has not changed since.
    Unchanged,
    /// It was this row.
    Row(Row<'a>),
    /// It did not exist.
    Absent,
}

impl PreviousRows {
    /// Marks the current moment as read.
    pub(crate) fn lease(&self) -> MomentLease {
        *self.read.lock().entry(self.now).or_default() += 1;
        MomentLease { read: Arc::clone(&self.read), number: self.now }
    }

    /// Begins another moment with the same rows. Returns the number of the one that ends.
    pub(crate) fn next(&mut self) -> u64 {
        let ended = self.now;
        self.now += 1;
        ended
    }

    /// Whether one of these moments is read.
    pub(crate) fn is_read(&self, moments: RangeInclusive<u64>) -> bool {
        self.read.lock().range(moments).next().is_some()
    }

    /// Call it before rows change. Returns whether they must be kept first.
    pub(crate) fn begin(&mut self, layout: &Layout) -> bool {
        let read = self.read.lock();
        self.now += 1;
        let Some((newest, _)) = read.last_key_value() else {
            self.spans.clear();
            return false;
        };
        for n in (0..self.spans.len()).rev() {
            let after = n
                .checked_sub(1)
                .map_or(Bound::Unbounded, |before| Bound::Excluded(self.spans[before].from));
            if read.range((after, Bound::Included(self.spans[n].from))).next().is_none() {
                let gone = self.spans.remove(n);
                // Rows that the span before does not have were the same at its moment.
                if let Some(before) = n.checked_sub(1).and_then(|before| self.spans.get_mut(before))
                {
                    before.take_over(&gone, layout);
                }
            }
        }
        if self.spans.last().is_none_or(|span| span.from < *newest) {
            self.spans.push(Span {
                from: *newest,
                places: HashMap::default(),
                rows: Block::default(),
            });
        }
        true
    }

    /// Drops all rows if no moment is read. [`PreviousRows::begin`] does so too, but is not called
    /// while nothing is counted.
    pub(crate) fn release(&mut self) {
        if self.read.lock().is_empty() {
            self.spans.clear();
        }
    }

    /// Keeps a row as it is now, before it changes.
    #[inline]
    pub(crate) fn keep(&mut self, layout: &Layout, key: u32, row: Option<Row<'_>>) {
        if let Some(span) = self.spans.last_mut() {
            span.keep(layout, key, row);
        }
    }

    /// What the row of a key was at a moment that is read.
    #[inline]
    pub(crate) fn was(&self, layout: &Layout, moment: u64, key: u32) -> PreviousRow<'_> {
        for span in self.spans.iter().filter(|span| span.from >= moment) {
            match span.places.get(&key) {
                Some(&ABSENT) => return PreviousRow::Absent,
                Some(place) => return PreviousRow::Row(span.rows.row(layout, *place as usize)),
                None => {}
            }
        }
        PreviousRow::Unchanged
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        self.spans.iter().map(|span| span.places.capacity() * 9 + span.rows.memory()).sum()
    }
}

impl Span {
    #[inline]
    fn keep(&mut self, layout: &Layout, key: u32, row: Option<Row<'_>>) {
        if let Entry::Vacant(place) = self.places.entry(key) {
            match row {
                Some(row) => {
                    place.insert(self.rows.len(layout) as u32);
                    self.rows.push(layout, row);
                }
                None => {
                    place.insert(ABSENT);
                }
            }
        }
    }

    fn take_over(&mut self, later: &Span, layout: &Layout) {
        for (key, place) in &later.places {
            let row = (*place != ABSENT).then(|| later.rows.row(layout, *place as usize));
            self.keep(layout, *key, row);
        }
    }
}

impl Drop for MomentLease {
    fn drop(&mut self) {
        let mut read = self.read.lock();
        if let Some(readers) = read.get_mut(&self.number) {
            *readers -= 1;
            if *readers == 0 {
                read.remove(&self.number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tally_plugin::description::{Cell, From, Merge};

    /// Rows of one count, by key.
    #[derive(Clone, Default)]
    struct Rows(BTreeMap<u32, i64>);

    fn layout() -> Layout {
        Layout::new(&[Cell { name: "n".into(), merge: Merge::Sum, from: From::One }])
    }

    proptest! {
        /// Whatever changes while moments are taken and released, each finds its rows.
        #[test]
        fn each_moment_finds_its_rows(steps in prop::collection::vec((0..4u8, 0..8usize, prop::collection::vec(0..12u32, 0..6)), 0..60)) {
            let layout = layout();
            let (mut previous, mut rows) = (PreviousRows::default(), Rows::default());
            let mut held: Vec<(MomentLease, Rows)> = Vec::new();
            for (what, which, keys) in steps {
                match what {
                    0 => held.push((previous.lease(), rows.clone())),
                    1 if which < held.len() => drop(held.swap_remove(which)),
                    2 => _ = previous.next(),
                    _ => {
                        let keeps = previous.begin(&layout);
                        prop_assert_eq!(keeps, !held.is_empty());
                        for key in keys {
                            if keeps {
                                let block = rows.0.get(&key).map(|n| Block::of(vec![*n]));
                                previous.keep(&layout, key, block.as_ref().map(|block| block.row(&layout, 0)));
                            }
                            *rows.0.entry(key).or_default() += 1;
                        }
                        prop_assert!(previous.spans.len() <= held.len());
                    }
                }
                for (hold, then) in &held {
                    for key in 0..12 {
                        let found = match previous.was(&layout, hold.number, key) {
                            PreviousRow::Unchanged => rows.0.get(&key).copied(),
                            PreviousRow::Row(row) => Some(row.words[0]),
                            PreviousRow::Absent => None,
                        };
                        prop_assert_eq!(found, then.0.get(&key).copied());
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_kept_once_nobody_reads() {
        let layout = layout();
        let mut previous = PreviousRows::default();
        let hold = previous.lease();
        assert!(previous.begin(&layout));
        previous.keep(&layout, 1, None);
        assert!(previous.memory() > 0);
        previous.release();
        assert!(previous.memory() > 0, "it is still read");
        drop(hold);
        previous.release();
        assert_eq!(previous.memory(), 0, "also where nothing is counted any more");
        assert!(!previous.begin(&layout) && previous.memory() == 0);
    }
}
