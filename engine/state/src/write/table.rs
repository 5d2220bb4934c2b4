//! One table in memory: totals by key, what came since the last seal, and the panes of its tiers.
//!
//! Totals answer questions without a range at once; panes and tail answer windows. The table
//! neither resolves keys (`keyspace` does) nor writes frames (`frame` does). It promises that
//! totals equal the fold of panes and tail, and that a moment that is read stays as it was: panes
//! are replaced, tails only grow, rows of totals are kept before they change.

mod feed_cells;
mod memory;
mod renumber;
mod seal;

pub(crate) use seal::{SealedTail, TableSeal};

use super::feeds::Feed;
use super::keyspace::{Keyspace, NONE};
use super::loaded_rows::LoadedRows;
use super::panes::Panes;
use super::previous_rows::{MomentLease, PreviousRow, PreviousRows};
use super::tail::{Tail, TailEnd};
use super::type_limit::TypeCensus;
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{Floors, PaneId, start};
use crate::rows::row::{Row, RowMut};
use crate::rows::run::{Run, Runs, fold_places, merge, place};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Weak};
use tally_event::index::GROUP;
use tally_plugin::description::{From, Key, Table};

/// A table of a metric.
pub(crate) struct TableState {
    pub(crate) description: Arc<Table>,
    /// Shared, so that it can be used while rows are borrowed for a change.
    pub(crate) layout: Arc<Layout>,
    /// Index into the state's keyspaces.
    pub(crate) keyspace: usize,
    /// The cells that columns feed.
    pub(crate) feeds: Arc<[Feed]>,
    /// A row for each key of the keyspace that this table has counted (rows at the end may be
    /// missing).
    totals: Block,
    /// Which keys have a row: a table with a filter or a later start has fewer than the keyspace.
    present: Vec<u64>,
    rows: usize,
    /// By partition: what each counted stays apart until it is stored.
    tails: BTreeMap<u32, Tail>,
    /// By partition: the tail that was folded last, while it is in use.
    built: BTreeMap<u32, Weak<SealedTail>>,
    panes: Arc<Panes>,
    /// Rows of totals as they were at moments that are read.
    previous: PreviousRows,
    /// Whether rows must be kept before the current batch changes them.
    keeps_previous: bool,
    floors: Floors,
    /// Rows from frames, for reads that continue from an earlier one.
    loaded: LoadedRows,
    /// Bytes of the sketches that frames brought into the totals.
    loaded_sketches: usize,
    /// Grows when the floors rise: reads do not continue across that.
    raised: u64,
    /// Only unsealed events are held, and nothing is read.
    tails_only: bool,
    /// The event types of its rows; `None` if no key column is the event type.
    pub(crate) types: Option<TypeCensus>,
}

/// A place in what came to a table: how far it was read.
#[derive(Clone, Default)]
pub(crate) struct Marks {
    /// By partition.
    pub(crate) tails: BTreeMap<u32, TailEnd>,
    pub(crate) loaded: (u64, usize),
    pub(crate) raised: u64,
}

/// A roll-up that is worked out but not in force yet.
pub(crate) struct TableRollUp {
    from: Vec<PaneId>,
    into: (PaneId, Runs),
}

impl TableState {
    pub(crate) fn new(
        description: &Arc<Table>,
        keyspace: usize,
        feeds: &Arc<[Feed]>,
        tails_only: bool,
    ) -> TableState {
        TableState {
            layout: Arc::new(Layout::new(&description.cells)),
            floors: Floors::new(&description.tiers),
            description: Arc::clone(description),
            keyspace,
            feeds: Arc::clone(feeds),
            totals: Block::default(),
            present: Vec::new(),
            rows: 0,
            tails: BTreeMap::new(),
            built: BTreeMap::new(),
            panes: Arc::default(),
            previous: PreviousRows::default(),
            keeps_previous: false,
            loaded: LoadedRows::default(),
            loaded_sketches: 0,
            raised: 0,
            tails_only,
            types: (!tails_only && description.key.contains(&Key::EventType))
                .then(TypeCensus::default),
        }
    }

    /// Number of rows (keys that were counted).
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Whether a seal must come before a batch of so many rows of a partition.
    pub(crate) fn must_seal(&self, partition: u32, rows: usize) -> bool {
        self.tails.get(&partition).is_some_and(|tail| tail.is_full(rows))
    }

    pub(crate) fn floors(&self) -> &Floors {
        &self.floors
    }

    /// The row of a key; `None` if it was not counted.
    #[inline]
    pub(crate) fn total(&self, key: u32) -> Option<Row<'_>> {
        row_of(&self.totals, &self.present, &self.layout, key)
    }

    /// The row of a key at a moment that is read.
    #[inline]
    pub(crate) fn total_at(&self, moment: u64, key: u32) -> Option<Row<'_>> {
        match self.previous.was(&self.layout, moment, key) {
            PreviousRow::Unchanged => self.total(key),
            PreviousRow::Row(row) => Some(row),
            PreviousRow::Absent => None,
        }
    }

    /// Marks the current moment as read; returns what is read of it beside the totals.
    pub(crate) fn lease_moment(&self) -> (MomentLease, Arc<Panes>, Marks) {
        (self.previous.lease(), Arc::clone(&self.panes), self.marks())
    }

    /// How far it has come. Nothing is kept for whoever asks: see [`TableState::knows`].
    pub(crate) fn marks(&self) -> Marks {
        let tails = self.tails.iter().map(|(partition, tail)| (*partition, tail.end())).collect();
        Marks { tails, loaded: self.loaded.mark(), raised: self.raised }
    }

    /// Call it before rows change: those of a moment that is read are kept first.
    pub(crate) fn begin(&mut self) {
        self.keeps_previous = !self.tails_only && self.previous.begin(&self.layout);
    }

    /// Whether rows of earlier moments are kept.
    pub(crate) fn has_previous(&self) -> bool {
        self.previous.memory() > 0
    }

    /// Drops previous rows if no moment is read.
    pub(crate) fn release_previous(&mut self) {
        self.previous.release();
    }

    /// Keeps the rows of keys that are about to change.
    #[cold]
    fn keep_previous(&mut self, keys: impl Iterator<Item = u32>) {
        let TableState { previous, totals, present, layout, .. } = self;
        keys.for_each(|key| previous.keep(layout, key, row_of(totals, present, layout, key)));
    }

    /// By event type, whether its events can count here; `None`: all can.
    pub(crate) fn takes(&self, names: &[Box<str>]) -> Option<Vec<bool>> {
        let Table { only, cells, .. } = &*self.description;
        // What a plugin returns counts whatever the event type.
        let all = only.is_empty() || cells.iter().any(|cell| cell.from == From::Update);
        (!all).then(|| names.iter().map(|name| only.iter().any(|only| **only == **name)).collect())
    }

    /// The row of a key; adds it if it is missing.
    #[inline]
    fn row(&mut self, key: u32) -> RowMut<'_> {
        let key = key as usize;
        let bit = 1 << (key % 64);
        if self.present.get(key / 64).is_none_or(|bits| bits & bit == 0) {
            self.add_row(key);
        }
        self.totals.row_mut(&self.layout, key)
    }

    #[cold]
    fn add_row(&mut self, key: usize) {
        let words = self.layout.words();
        let end = (key + 1) * words;
        if self.totals.words.len() < end {
            self.totals.words.resize(end, 0);
        }
        if self.present.len() <= key / 64 {
            self.present.resize(key / 64 + 1, 0);
        }
        self.present[key / 64] |= 1 << (key % 64);
        self.layout.clear(&mut self.totals.words[key * words..end]);
        self.rows += 1;
        if let Some(types) = &mut self.types {
            types.fresh.push(key as u32);
        }
    }

    /// Counts events: `keys[i]` at `times[i]`, if `takes(i)`. Returns how many counted.
    #[inline]
    pub(crate) fn count(
        &mut self,
        partition: u32,
        keys: &[u32],
        times: &[i64],
        takes: impl Fn(usize) -> bool,
    ) -> u64 {
        if self.keeps_previous {
            self.keep_previous(
                (0..keys.len()).filter(|n| keys[*n] != NONE && takes(*n)).map(|n| keys[n]),
            );
        }
        let mut tail = std::mem::take(self.tails.entry(partition).or_default());
        let counted = self.count_into(&mut tail, keys, times, takes);
        self.tails.insert(partition, tail);
        counted
    }

    #[inline]
    fn count_into(
        &mut self,
        tail: &mut Tail,
        keys: &[u32],
        times: &[i64],
        takes: impl Fn(usize) -> bool,
    ) -> u64 {
        let mut counted = 0;
        tail.reserve(keys.len());
        if self.tails_only {
            for (n, (&key, &time)) in keys.iter().zip(times).enumerate() {
                if key != NONE && takes(n) {
                    tail.push(key, time);
                    counted += 1;
                }
            }
            return counted;
        }
        let layout = Arc::clone(&self.layout);
        for start in (0..keys.len()).step_by(GROUP) {
            let end = keys.len().min(start + GROUP);
            self.load(&keys[start..end]);
            for (n, (&key, &time)) in (start..).zip(keys[start..end].iter().zip(&times[start..end]))
            {
                if key != NONE && takes(n) {
                    layout.feed_one(self.row(key).words, time);
                    tail.push(key, time);
                    counted += 1;
                }
            }
        }
        counted
    }

    /// Reads a word of each row, so that their cache misses overlap.
    fn load(&self, keys: &[u32]) {
        let row = |key: &u32| {
            self.totals.words.get(*key as usize * self.layout.words()).copied().unwrap_or(0)
        };
        black_box(keys.iter().fold(0, |all, key| all ^ row(key)));
    }

    /// Merges one value that a plugin returned, after `Layout::takes` accepted it.
    pub(crate) fn update(&mut self, partition: u32, key: u32, time: i64, cell: u16, value: i128) {
        if !self.tails_only {
            if self.keeps_previous {
                self.keep_previous(std::iter::once(key));
            }
            let layout = Arc::clone(&self.layout);
            layout.update(&mut self.row(key), usize::from(cell), time, value);
        }
        self.tails.entry(partition).or_default().push_update(key, time, cell, value);
    }

    /// The partitions that counted something since the last seal.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.tails.iter().filter(|(_, tail)| tail.len() > 0).map(|(partition, _)| *partition)
    }

    /// Whether nothing is held, sealed or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0 && self.panes.is_empty() && self.partitions().next().is_none()
    }

    /// Drops what a partition counted since its last seal.
    pub(crate) fn drop_tail(&mut self, partition: u32) {
        self.tails.remove(&partition);
        self.built.remove(&partition);
    }

    /// Adds rows of one pane from frames, to totals and pane.
    pub(crate) fn restore(
        &mut self,
        pane: PaneId,
        rows: &[u32],
        content: &mut Block,
        keys: &Keyspace,
    ) {
        let layout = Arc::clone(&self.layout);
        self.begin();
        if self.keeps_previous {
            self.keep_previous(rows.iter().copied());
        }
        for (start, group) in (0..).step_by(GROUP).zip(rows.chunks(GROUP)) {
            self.load(group);
            for (n, key) in (start..).zip(group) {
                self.merge_loaded(&layout, *key, content.row(&layout, n));
            }
        }
        let pane = self.floors.settle(pane);
        self.loaded.push(&layout, pane, rows, content);
        if self.description.tiers.is_empty() {
            return;
        }
        let places = rows
            .iter()
            .enumerate()
            .map(|(n, key)| (place(keys.group(*key), *key), n as u32))
            .collect();
        let run = fold_places(&self.layout, start(pane), places, content);
        Arc::make_mut(&mut self.panes).push(&self.layout, pane, Arc::new(run));
    }

    /// Merges a row of a frame into the totals.
    #[inline]
    fn merge_loaded(&mut self, layout: &Layout, key: u32, row: Row<'_>) {
        if !layout.has_sketches() {
            return layout.merge(&mut self.row(key), row);
        }
        let before = self.total(key).map_or(0, |row| layout.sketches_memory(row));
        layout.merge(&mut self.row(key), row);
        let after = self.total(key).map_or(0, |row| layout.sketches_memory(row));
        self.loaded_sketches = self.loaded_sketches + after - before;
    }

    /// Raises the floors. Rows below them are rolled up step by step ([`TableState::rolling`]). A
    /// window that the new floors allow covers a fine pane entirely or not at all, so answers are
    /// the same before and after.
    pub(crate) fn raise(&mut self, floors: &Floors) {
        let floors = self.floors.max(floors);
        self.raised += u64::from(floors != self.floors);
        self.floors = floors;
    }

    /// Works out how about `rows` rows of panes below the floors roll up; `None`: there are none.
    pub(crate) fn rolling(&self, rows: usize) -> Option<TableRollUp> {
        let mut due =
            self.panes.iter().map(|(pane, runs)| (*pane, self.floors.settle(*pane), runs));
        let (first, settled, runs) = due.find(|(pane, settled, _)| pane != settled)?;
        let (mut from, mut all): (Vec<PaneId>, Vec<&Run>) = (Vec::new(), Vec::new());
        let mut left = rows;
        for (pane, into, runs) in std::iter::once((first, settled, runs)).chain(due) {
            if into != settled || left == 0 {
                break;
            }
            left = left.saturating_sub(runs.iter().map(Run::len).sum());
            from.push(pane);
            all.extend(runs.iter());
        }
        let mut into = self.panes.get(settled).cloned().unwrap_or_default();
        into.push(&self.layout, Arc::new(merge(&self.layout, start(settled), &all)));
        Some(TableRollUp { from, into: (settled, into) })
    }

    /// Puts into force what `rolling` worked out; nothing may have changed in between.
    pub(crate) fn rolled(&mut self, rolling: TableRollUp) {
        let panes = Arc::make_mut(&mut self.panes);
        for pane in &rolling.from {
            panes.remove(*pane);
        }
        let (pane, runs) = rolling.into;
        panes.replace(pane, runs);
    }

    /// Whether a pane is held that has expired once events up to `watermark` were counted.
    pub(crate) fn has_expired(&self, watermark: i64) -> bool {
        let due = self.floors.raised(&self.description.tiers, watermark);
        due != self.floors && self.panes.iter().any(|(pane, _)| due.settle(*pane) != *pane)
    }

    /// Whether everything that came between two marks is still here. While the moment of the later
    /// one is read, what came since the seal before its last is kept.
    pub(crate) fn knows(&self, from: &Marks, to: &Marks) -> bool {
        let of = |partition| from.tails.get(partition).copied().unwrap_or_default();
        let known = |partition, to| {
            self.tails.get(partition).is_some_and(|tail| tail.knows(of(partition), to))
        };
        let tails = to.tails.iter().all(|(partition, to)| known(partition, *to));
        tails && from.raised == to.raised
    }

    /// What a partition counted since its last seal, and before.
    pub(crate) fn tail(&self, partition: u32) -> Option<&Tail> {
        self.tails.get(&partition)
    }

    /// Everything stored has been loaded: no read continues from before that.
    pub(crate) fn forget_loaded(&mut self) {
        self.loaded.forget();
    }

    /// Rows that frames brought recently.
    pub(crate) fn loaded(&self) -> &LoadedRows {
        &self.loaded
    }
}

/// The places of the bits that are set.
fn set_bits(bits: &[u64]) -> impl Iterator<Item = u32> + '_ {
    let of = |(word, bits): (usize, &u64)| {
        let bits = *bits;
        (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| (word * 64 + bit) as u32)
    };
    bits.iter().enumerate().flat_map(of)
}

#[inline]
fn row_of<'a>(totals: &'a Block, present: &[u64], layout: &Layout, key: u32) -> Option<Row<'a>> {
    let key = key as usize;
    let there = present.get(key / 64).is_some_and(|bits| bits >> (key % 64) & 1 == 1);
    there.then(|| totals.row(layout, key))
}
