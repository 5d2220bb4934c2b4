//! Rows as they were at moments that somebody still reads.
//!
//! Totals change in place. While a moment is read, a row is copied before the first change after it, so that its readers find
//! the row as it was. A table of which nobody reads a moment copies nothing, and asks once a batch whether it must. What is
//! copied is bounded: for each moment that is read, each row once.

use super::block::{Block, Row};
use super::cells::Layout;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

/// There was no row yet.
const ABSENT: u32 = u32::MAX;

/// The former rows of a table.
#[derive(Default)]
pub(crate) struct Former {
    /// Each moment that is read, and by how many.
    read: Arc<Mutex<BTreeMap<u64, usize>>>,
    /// Number of the present moment: it grows with every change.
    now: u64,
    /// By the moment that they begin with, oldest first.
    spans: Vec<Span>,
}

/// The rows that changed from one moment that is read to the next, as they were at the first of the two.
struct Span {
    from: u64,
    places: HashMap<u32, u32, RandomState>,
    rows: Block,
}

/// A moment is read while this exists.
pub(crate) struct Hold {
    read: Arc<Mutex<BTreeMap<u64, usize>>>,
    pub(crate) moment: u64,
}

/// What is known of a row at a moment.
pub(crate) enum Was<'a> {
    /// It has not changed since.
    Same,
    /// It was this.
    Row(Row<'a>),
    /// It was not there.
    Absent,
}

impl Former {
    /// Somebody reads the present moment.
    pub(crate) fn hold(&self) -> Hold {
        *self.read.lock().entry(self.now).or_default() += 1;
        Hold { read: Arc::clone(&self.read), moment: self.now }
    }

    /// Another moment begins, with the same rows. Number of the one that ends.
    pub(crate) fn next(&mut self) -> u64 {
        let ended = self.now;
        self.now += 1;
        ended
    }

    /// Whether anybody reads one of these moments.
    pub(crate) fn is_read(&self, moments: RangeInclusive<u64>) -> bool {
        self.read.lock().range(moments).next().is_some()
    }

    /// Rows are about to change. Whether they must be kept first.
    pub(crate) fn begin(&mut self, layout: &Layout) -> bool {
        let read = self.read.lock();
        self.now += 1;
        let Some((newest, _)) = read.last_key_value() else {
            self.spans.clear();
            return false;
        };
        for n in (0..self.spans.len()).rev() {
            let after = n.checked_sub(1).map_or(Bound::Unbounded, |before| Bound::Excluded(self.spans[before].from));
            if read.range((after, Bound::Included(self.spans[n].from))).next().is_none() {
                let gone = self.spans.remove(n);
                // What the one before does not know was the same there.
                if let Some(before) = n.checked_sub(1).and_then(|before| self.spans.get_mut(before)) {
                    before.take_over(&gone, layout);
                }
            }
        }
        if self.spans.last().is_none_or(|span| span.from < *newest) {
            self.spans.push(Span { from: *newest, places: HashMap::default(), rows: Block::default() });
        }
        true
    }

    /// Keeps a row that is about to change, as it is now.
    #[inline]
    pub(crate) fn keep(&mut self, layout: &Layout, key: u32, row: Option<Row<'_>>) {
        if let Some(span) = self.spans.last_mut() {
            span.keep(layout, key, row);
        }
    }

    /// What the row of a key was at a moment that is read.
    #[inline]
    pub(crate) fn was(&self, layout: &Layout, moment: u64, key: u32) -> Was<'_> {
        for span in self.spans.iter().filter(|span| span.from >= moment) {
            match span.places.get(&key) {
                Some(&ABSENT) => return Was::Absent,
                Some(place) => return Was::Row(span.rows.row(layout, *place as usize)),
                None => {}
            }
        }
        Was::Same
    }

    /// Bytes in memory, about.
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

impl Drop for Hold {
    fn drop(&mut self) {
        let mut read = self.read.lock();
        if let Some(readers) = read.get_mut(&self.moment) {
            *readers -= 1;
            if *readers == 0 {
                read.remove(&self.moment);
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
        /// Whatever changes while moments are taken and let go of, each finds its rows.
        #[test]
        fn each_moment_finds_its_rows(steps in prop::collection::vec((0..4u8, 0..8usize, prop::collection::vec(0..12u32, 0..6)), 0..60)) {
            let layout = layout();
            let (mut former, mut rows) = (Former::default(), Rows::default());
            let mut held: Vec<(Hold, Rows)> = Vec::new();
            for (what, which, keys) in steps {
                match what {
                    0 => held.push((former.hold(), rows.clone())),
                    1 if which < held.len() => drop(held.swap_remove(which)),
                    2 => _ = former.next(),
                    _ => {
                        let keeps = former.begin(&layout);
                        prop_assert_eq!(keeps, !held.is_empty());
                        for key in keys {
                            if keeps {
                                let block = rows.0.get(&key).map(|n| Block::of(vec![*n]));
                                former.keep(&layout, key, block.as_ref().map(|block| block.row(&layout, 0)));
                            }
                            *rows.0.entry(key).or_default() += 1;
                        }
                        prop_assert!(former.spans.len() <= held.len());
                    }
                }
                for (hold, then) in &held {
                    for key in 0..12 {
                        let found = match former.was(&layout, hold.moment, key) {
                            Was::Same => rows.0.get(&key).copied(),
                            Was::Row(row) => Some(row.words[0]),
                            Was::Absent => None,
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
        let mut former = Former::default();
        let hold = former.hold();
        assert!(former.begin(&layout));
        former.keep(&layout, 1, None);
        assert!(former.memory() > 0);
        drop(hold);
        assert!(!former.begin(&layout) && former.memory() == 0);
    }
}
