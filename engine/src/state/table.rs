//! One table in memory: totals by key, what came since the last seal, and the panes of its tiers.
//!
//! Totals answer "all" and the tail makes them exact at once; panes answer windows. The table neither resolves keys
//! (that is `keyspace`) nor writes frames (that is `frame`); it promises that totals equal the fold of panes and tail.

mod give;
mod renumber;
mod seal;

pub(crate) use renumber::ones;
pub(crate) use seal::{Built, Sealing};

use super::block::{Block, Row, RowMut};
use super::cells::Layout;
use super::floors::{Floors, PaneId, start};
use super::fold::Bounds;
use super::keyspace::{Keyspace, NONE};
use super::loaded::Loaded;
use super::run::{Run, Runs, fold_places, merge, place};
use super::source::Feed;
use super::tail::{Mark, Tail};
use super::types::Seen;
use super::visit::Visit;
use crate::slots::GROUP;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Weak};
use tally_plugin::description::{From, Key, Table};

/// A table's view.
pub(crate) struct TableState {
    pub(crate) description: Table,
    /// Shared, so that whoever changes rows can hold it beside them.
    pub(crate) layout: Arc<Layout>,
    /// Index into the state's keyspaces.
    pub(crate) keyspace: usize,
    /// The cells that columns feed.
    pub(crate) feeds: Vec<Feed>,
    /// A row for each key of the keyspace that this table has counted (a suffix may be missing).
    totals: Block,
    /// Which keys have a row: a table with a filter or a later start has fewer than the keyspace.
    present: Vec<u64>,
    rows: usize,
    /// By partition: what one of them counted stays apart until it is stored.
    tails: BTreeMap<u32, Tail>,
    /// By partition: the last tail that was folded, while somebody needs it.
    built: BTreeMap<u32, Weak<Built>>,
    panes: BTreeMap<PaneId, Runs>,
    floors: Floors,
    /// Rows taken from frames lately, for reads that go on from where they were.
    loaded: Loaded,
    /// Grows when floors rise: what was read before is of another state.
    raised: u64,
    /// Only what is not sealed is held: nobody reads here.
    tails_only: bool,
    /// The event types of its rows; nothing where no key column is one.
    pub(crate) types: Option<Seen>,
}

/// Whether a pane lies in a range: ranges are whole panes of what is held, so it does wholly or not at all.
fn overlaps(pane: PaneId, (from, to): Bounds) -> bool {
    match pane.0 {
        None => from.is_none(),
        Some(tier) => {
            let begin = start(pane);
            to.is_none_or(|to| begin < to) && from.is_none_or(|from| begin + tier.millis() > from)
        }
    }
}

/// A place in what came to a table: up to here it was read.
#[derive(Default)]
pub(crate) struct Marks {
    tails: BTreeMap<u32, Mark>,
    loaded: (u64, usize),
    raised: u64,
}

/// A roll-up that was worked out and is not in force yet.
pub(crate) struct Rolling {
    from: Vec<PaneId>,
    into: (PaneId, Runs),
}

impl TableState {
    pub(crate) fn new(description: &Table, keyspace: usize, feeds: Vec<Feed>, tails_only: bool) -> TableState {
        TableState {
            layout: Arc::new(Layout::new(&description.cells)),
            floors: Floors::new(&description.tiers),
            description: description.clone(),
            keyspace,
            feeds,
            totals: Block::default(),
            present: Vec::new(),
            rows: 0,
            tails: BTreeMap::new(),
            built: BTreeMap::new(),
            panes: BTreeMap::new(),
            loaded: Loaded::default(),
            raised: 0,
            tails_only,
            types: (!tails_only && description.key.contains(&Key::EventType)).then(Seen::default),
        }
    }

    /// Rows (keys that were counted).
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Whether a batch of so many rows of a partition needs a seal first.
    pub(crate) fn must_seal(&self, partition: u32, rows: usize) -> bool {
        self.tails.get(&partition).is_some_and(|tail| tail.is_full(rows))
    }

    pub(crate) fn floors(&self) -> &Floors {
        &self.floors
    }

    /// The row of a key; `None` where it was not counted.
    #[inline]
    pub(crate) fn total(&self, key: u32) -> Option<Row<'_>> {
        let key = key as usize;
        let there = self.present.get(key / 64).is_some_and(|bits| bits >> (key % 64) & 1 == 1);
        there.then(|| self.totals.row(&self.layout, key))
    }

    /// A copy of the totals: a row for each key, and a bit for each key that was counted.
    pub(crate) fn copy(&self) -> (Block, Vec<u64>) {
        (self.totals.clone(), self.present.clone())
    }

    /// The panes, and a copy of what came since the last seal.
    pub(crate) fn copy_panes(&self) -> (Vec<(PaneId, Runs)>, Vec<Tail>) {
        let panes = self.panes.iter().map(|(pane, runs)| (*pane, runs.clone()));
        (panes.collect(), self.tails.values().map(Tail::copy).collect())
    }

    /// Of event types, those whose events can count here; `None`: all can.
    pub(crate) fn takes(&self, names: &[Box<str>]) -> Option<Vec<bool>> {
        let Table { only, cells, .. } = &self.description;
        // What a plugin hands over counts whatever the type.
        let all = only.is_empty() || cells.iter().any(|cell| cell.from == From::Update);
        (!all).then(|| names.iter().map(|name| only.iter().any(|only| **only == **name)).collect())
    }

    /// Makes the row of a key exist; returns it.
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

    /// Counts events that the host feeds: `keys[i]` at `times[i]`, where `takes(i)`. How many counted.
    #[inline]
    pub(crate) fn count(&mut self, partition: u32, keys: &[u32], times: &[i64], takes: impl Fn(usize) -> bool) -> u64 {
        let mut tail = std::mem::take(self.tails.entry(partition).or_default());
        let counted = self.count_into(&mut tail, keys, times, takes);
        self.tails.insert(partition, tail);
        counted
    }

    #[inline]
    fn count_into(&mut self, tail: &mut Tail, keys: &[u32], times: &[i64], takes: impl Fn(usize) -> bool) -> u64 {
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
            for (n, (&key, &time)) in (start..).zip(keys[start..end].iter().zip(&times[start..end])) {
                if key != NONE && takes(n) {
                    layout.feed_one(self.row(key).words, time);
                    tail.push(key, time);
                    counted += 1;
                }
            }
        }
        counted
    }

    /// Loads something of the rows of a group of keys, so that their cache misses overlap.
    fn load(&self, keys: &[u32]) {
        let row = |key: &u32| self.totals.words.get(*key as usize * self.layout.words()).copied().unwrap_or(0);
        black_box(keys.iter().fold(0, |all, key| all ^ row(key)));
    }

    /// Merges one value that a plugin handed over (checked before by `Layout::takes`).
    pub(crate) fn update(&mut self, partition: u32, key: u32, time: i64, cell: u16, value: i128) {
        if !self.tails_only {
            let layout = Arc::clone(&self.layout);
            layout.update(&mut self.row(key), usize::from(cell), time, value);
        }
        self.tails.entry(partition).or_default().push_update(key, time, cell, value);
    }

    /// The partitions of which something was counted since the last seal.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.tails.iter().filter(|(_, tail)| tail.len() > 0).map(|(partition, _)| *partition)
    }

    /// Forgets what a partition counted since its last seal.
    pub(crate) fn drop_tail(&mut self, partition: u32) {
        self.tails.remove(&partition);
        self.built.remove(&partition);
    }

    /// Adds rows of one stored pane (totals and pane), as read from frames.
    pub(crate) fn restore(&mut self, pane: PaneId, rows: &[u32], content: &mut Block, keys: &Keyspace) {
        let layout = Arc::clone(&self.layout);
        for (start, group) in (0..).step_by(GROUP).zip(rows.chunks(GROUP)) {
            self.load(group);
            for (n, key) in (start..).zip(group) {
                layout.merge(&mut self.row(*key), content.row(&layout, n));
            }
        }
        let pane = self.floors.settle(pane);
        self.loaded.push(&layout, pane, rows, content);
        if self.description.tiers.is_empty() {
            return;
        }
        let places = rows.iter().enumerate().map(|(n, key)| (place(keys.group(*key), *key), n as u32)).collect();
        let run = fold_places(&self.layout, start(pane), places, content);
        self.panes.entry(pane).or_default().push(&self.layout, Arc::new(run));
    }

    /// Raises the floors. Rows that fell below are rolled up by and by ([`TableState::roll`]): a window that the new
    /// floors allow covers a fine pane wholly or not at all, so answers are the same before and after.
    pub(crate) fn raise(&mut self, floors: &Floors) {
        self.floors = self.floors.max(floors);
        self.raised += 1;
    }

    /// Works out how about `rows` rows of panes that have fallen below the floors roll up; `None`: there are none.
    pub(crate) fn rolling(&self, rows: usize) -> Option<Rolling> {
        let mut due = self.panes.iter().map(|(pane, runs)| (*pane, self.floors.settle(*pane), runs));
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
        let mut into = self.panes.get(&settled).cloned().unwrap_or_default();
        into.push(&self.layout, Arc::new(merge(&self.layout, start(settled), &all)));
        Some(Rolling { from, into: (settled, into) })
    }

    /// Puts into force what `rolling` worked out; nothing may have changed in between.
    pub(crate) fn rolled(&mut self, rolling: Rolling) {
        for pane in &rolling.from {
            self.panes.remove(pane);
        }
        let (pane, runs) = rolling.into;
        self.panes.insert(pane, runs);
    }

    /// Whether a pane is held that has expired when events up to `watermark` were counted.
    pub(crate) fn has_expired(&self, watermark: i64) -> bool {
        let due = self.floors.raised(&self.description.tiers, watermark);
        due != self.floors && self.panes.keys().any(|pane| due.settle(*pane) != *pane)
    }

    /// The panes that overlap the range.
    pub(crate) fn panes_in(&self, bounds: Bounds) -> impl Iterator<Item = (PaneId, &Runs)> {
        self.panes.iter().map(|(pane, runs)| (*pane, runs)).filter(move |(pane, _)| overlaps(*pane, bounds))
    }

    /// What came since the last seal and lies in `[from, to)`, row by row: key, minute's start, words.
    pub(crate) fn unsealed_in(&self, bounds: Bounds, mut take: impl FnMut(u32, i64, Row<'_>)) {
        let mut visit = Visit::new(&self.layout, bounds);
        for tail in self.tails.values() {
            visit.rows(tail.rows(), tail.updates(), tail.values(), &mut take);
        }
    }

    /// Up to where tails and frames have come.
    pub(crate) fn marks(&self) -> Marks {
        let tails = self.tails.iter().map(|(partition, tail)| (*partition, tail.mark())).collect();
        Marks { tails, loaded: self.loaded.mark(), raised: self.raised }
    }

    /// What came since `marks` and lies in the range, row by row. `false`: that is not known any more.
    pub(crate) fn since(&self, marks: &Marks, bounds: Bounds, mut take: impl FnMut(u32, Row<'_>)) -> bool {
        let of = |partition| marks.tails.get(partition).copied().unwrap_or_default();
        let known = self.tails.iter().all(|(partition, tail)| tail.knows(of(partition)));
        if !known || marks.raised != self.raised || !self.loaded.knows(marks.loaded) {
            return false;
        }
        let mut visit = Visit::new(&self.layout, bounds);
        for (partition, tail) in &self.tails {
            let mark = of(partition);
            let (rows, updates, values) = (tail.rows_since(mark), tail.updates_since(mark), tail.values_since(mark));
            visit.rows(rows, updates, values, |key, _, row| take(key, row));
        }
        self.loaded.since(marks.loaded, &self.layout, |pane, key, row| {
            if overlaps(pane, bounds) {
                take(key, row);
            }
        });
        true
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        let tails: usize = self.tails.values().map(Tail::memory).sum();
        let panes: usize = self.panes.values().flat_map(Runs::iter).map(Run::memory).sum();
        self.totals.memory()
            + self.present.capacity() * 8
            + tails
            + panes
            + self.loaded.memory()
            + self.types.as_ref().map_or(0, Seen::memory)
    }
}
