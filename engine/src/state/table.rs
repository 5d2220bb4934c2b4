//! One table in memory: totals by key, what came since the last seal, and the panes of its tiers.
//!
//! Totals answer "all" and the tail makes them exact at once; panes answer windows. The table neither resolves keys
//! (that is `keyspace`) nor writes frames (that is `frame`); it promises that totals equal the fold of panes and tail.

use super::cells::Layout;
use super::floors::{Floors, PaneId, start};
use super::fold::Bounds;
use super::index::GROUP;
use super::keyspace::{Keyspace, NONE, grow};
use super::loaded::Loaded;
use super::run::{Run, Runs, fold_places, merge, place};
use super::tail::{Folded, Mark, Tail};
use super::visit::Visit;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Weak};
use tally_plugin::description::{Pane, Table};

/// A table's view.
pub(crate) struct TableState {
    pub(crate) description: Table,
    pub(crate) layout: Layout,
    /// Index into the state's keyspaces.
    pub(crate) keyspace: usize,
    /// Words of each key of the keyspace that this table has counted (a suffix may be missing).
    totals: Vec<i64>,
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

/// A tail folded, and as runs of the panes that it adds to: what tables that count alike need only once.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) folded: Folded,
    runs: Vec<(PaneId, Arc<Run>)>,
    /// The floors that decided about panes.
    pub(crate) floors: Option<Floors>,
}

/// A seal that was worked out and is not in force yet.
#[derive(Default)]
pub(crate) struct Sealing {
    built: Arc<Built>,
    panes: BTreeMap<PaneId, Runs>,
}

/// A roll-up that was worked out and is not in force yet.
pub(crate) struct Rolling {
    from: Vec<PaneId>,
    into: (PaneId, Runs),
}

impl TableState {
    pub(crate) fn new(description: &Table, keyspace: usize, tails_only: bool) -> TableState {
        TableState {
            layout: Layout::new(&description.cells),
            floors: Floors::new(&description.tiers),
            description: description.clone(),
            keyspace,
            totals: Vec::new(),
            present: Vec::new(),
            rows: 0,
            tails: BTreeMap::new(),
            built: BTreeMap::new(),
            panes: BTreeMap::new(),
            loaded: Loaded::default(),
            raised: 0,
            tails_only,
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

    /// Words of a key; `None` where it was not counted.
    #[inline]
    pub(crate) fn total(&self, key: u32) -> Option<&[i64]> {
        let key = key as usize;
        let there = self.present.get(key / 64).is_some_and(|bits| bits >> (key % 64) & 1 == 1);
        there.then(|| &self.totals[key * self.layout.words()..][..self.layout.words()])
    }

    /// A copy of the totals: words of each key, end to end, and a bit for each key that was counted.
    pub(crate) fn copy(&self) -> (Vec<i64>, Vec<u64>) {
        (self.totals.clone(), self.present.clone())
    }

    /// Makes the row of a key exist; returns its words.
    #[inline]
    fn row(&mut self, key: u32) -> &mut [i64] {
        let (key, words) = (key as usize, self.layout.words());
        let bit = 1 << (key % 64);
        if self.present.get(key / 64).is_none_or(|bits| bits & bit == 0) {
            self.add_row(key);
        }
        &mut self.totals[key * words..][..words]
    }

    #[cold]
    fn add_row(&mut self, key: usize) {
        let words = self.layout.words();
        let end = (key + 1) * words;
        if self.totals.len() < end {
            let more = end - self.totals.len();
            grow(&mut self.totals, more);
            self.totals.resize(end, 0);
        }
        if self.present.len() <= key / 64 {
            self.present.resize(key / 64 + 1, 0);
        }
        self.present[key / 64] |= 1 << (key % 64);
        self.layout.clear(&mut self.totals[key * words..end]);
        self.rows += 1;
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
        let layout = self.layout.clone();
        for start in (0..keys.len()).step_by(GROUP) {
            let end = keys.len().min(start + GROUP);
            self.load(&keys[start..end]);
            for (n, (&key, &time)) in (start..).zip(keys[start..end].iter().zip(&times[start..end])) {
                if key != NONE && takes(n) {
                    layout.feed_one(self.row(key), time);
                    tail.push(key, time);
                    counted += 1;
                }
            }
        }
        counted
    }

    /// Loads something of the rows of a group of keys, so that their cache misses overlap.
    fn load(&self, keys: &[u32]) {
        let row = |key: &u32| self.totals.get(*key as usize * self.layout.words()).copied().unwrap_or(0);
        black_box(keys.iter().fold(0, |all, key| all ^ row(key)));
    }

    /// Merges one value that a plugin handed over (checked before by `Layout::takes`).
    pub(crate) fn update(&mut self, partition: u32, key: u32, time: i64, cell: u16, value: i128) {
        if !self.tails_only {
            let layout = self.layout.clone();
            layout.update(self.row(key), usize::from(cell), value);
        }
        self.tails.entry(partition).or_default().push_update(key, time, cell, value);
    }

    /// Folds what a partition counted since its last seal, and works out the panes with it. `others`: tables that may have
    /// folded the same a moment ago.
    pub(crate) fn sealing<'a>(
        &self,
        partition: u32,
        keys: &Keyspace,
        mut others: impl Iterator<Item = &'a TableState>,
    ) -> Sealing {
        let Some(tail) = self.tails.get(&partition) else { return Sealing::default() };
        let built = others.find_map(|other| other.built_alike(self, partition, tail));
        let built = built.unwrap_or_else(|| Arc::new(self.build(tail, keys)));
        Sealing { panes: self.panes_with(&built), built }
    }

    /// What this table last sealed of a partition, if that is what `table` has in `tail`.
    fn built_alike(&self, table: &TableState, partition: u32, tail: &Tail) -> Option<Arc<Built>> {
        let alike =
            self.keyspace == table.keyspace && self.layout == table.layout && self.has_panes() == table.has_panes();
        let built = self.built.get(&partition).filter(|_| alike)?.upgrade()?;
        let same = built.floors == Some(table.floors) && self.tails.get(&partition)?.sealed_what_is_in(tail);
        same.then_some(built)
    }

    fn has_panes(&self) -> bool {
        !self.description.tiers.is_empty() && !self.tails_only
    }

    /// Puts into force what `sealing` worked out; nothing may have changed in between.
    pub(crate) fn sealed(&mut self, partition: u32, sealing: Sealing) -> Arc<Built> {
        if let Some(tail) = self.tails.get_mut(&partition) {
            tail.clear();
        }
        self.panes.extend(sealing.panes);
        self.built.insert(partition, Arc::downgrade(&sealing.built));
        sealing.built
    }

    /// Forgets what a partition counted since its last seal.
    pub(crate) fn drop_tail(&mut self, partition: u32) {
        self.tails.remove(&partition);
        self.built.remove(&partition);
    }

    /// Folds a tail; its rows by pane.
    fn build(&self, tail: &Tail, keys: &Keyspace) -> Built {
        let mut folded = tail.folded(&self.layout);
        let mut runs = Vec::new();
        let width = self.layout.words();
        let groups: Vec<u32> = folded.keys.iter().map(|key| keys.group(*key)).collect();
        // The order of runs; and what lies together is also found together while frames are written.
        folded.order_by(&groups, width);
        let mut from = if self.has_panes() { 0 } else { folded.keys.len() };
        while from < folded.keys.len() {
            let minute = folded.minutes[from];
            let pane = self.floors.pane(i64::from(minute));
            // Minutes come in order, so those of one pane stand together.
            let same = |other: i32| other == minute || self.floors.pane(i64::from(other)) == pane;
            let to = from + folded.minutes[from..].iter().take_while(|minute| same(**minute)).count();
            let place_of = |n: usize| place(keys.group(folded.keys[n]), folded.keys[n]);
            let words = &folded.words[from * width..to * width];
            let run = if pane.0 == Some(Pane::Minute) {
                let rows = (from..to).map(place_of).zip(words.chunks_exact(width.max(1)));
                Run::build(&self.layout, start(pane), rows)
            } else {
                let places = (from..to).map(|n| (place_of(n), (n - from) as u32)).collect();
                fold_places(&self.layout, start(pane), places, &mut words.to_vec())
            };
            runs.push((pane, Arc::new(run)));
            from = to;
        }
        Built { folded, runs, floors: Some(self.floors) }
    }

    /// The panes that change with a folded tail.
    fn panes_with(&self, built: &Built) -> BTreeMap<PaneId, Runs> {
        let mut panes = BTreeMap::new();
        for (pane, run) in &built.runs {
            let runs = panes.entry(*pane).or_insert_with(|| self.panes.get(pane).cloned().unwrap_or_default());
            runs.push(&self.layout, Arc::clone(run));
        }
        panes
    }

    /// Adds rows of one stored pane (totals and pane), as read from frames.
    pub(crate) fn restore(&mut self, pane: PaneId, rows: &[u32], words: &mut [i64], keys: &Keyspace) {
        let width = self.layout.words();
        let layout = self.layout.clone();
        for (n, key) in rows.iter().enumerate() {
            layout.merge(self.row(*key), &words[n * width..][..width]);
        }
        let pane = self.floors.settle(pane);
        self.loaded.push(pane, rows, words);
        if self.description.tiers.is_empty() {
            return;
        }
        let places = rows.iter().enumerate().map(|(n, key)| (place(keys.group(*key), *key), n as u32)).collect();
        let run = fold_places(&self.layout, start(pane), places, words);
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
    pub(crate) fn unsealed_in(&self, bounds: Bounds, mut take: impl FnMut(u32, i64, &[i64])) {
        let mut visit = Visit::new(&self.layout, bounds);
        for tail in self.tails.values() {
            visit.rows(tail.rows(), tail.updates(), &mut take);
        }
    }

    /// Up to where tails and frames have come.
    pub(crate) fn marks(&self) -> Marks {
        let tails = self.tails.iter().map(|(partition, tail)| (*partition, tail.mark())).collect();
        Marks { tails, loaded: self.loaded.mark(), raised: self.raised }
    }

    /// What came since `marks` and lies in the range, row by row: key, words. `false`: that is not known any more.
    pub(crate) fn since(&self, marks: &Marks, bounds: Bounds, mut take: impl FnMut(u32, &[i64])) -> bool {
        let of = |partition| marks.tails.get(partition).copied().unwrap_or_default();
        let known = self.tails.iter().all(|(partition, tail)| tail.knows(of(partition)));
        if !known || marks.raised != self.raised || !self.loaded.knows(marks.loaded) {
            return false;
        }
        let mut visit = Visit::new(&self.layout, bounds);
        for (partition, tail) in &self.tails {
            let (rows, updates) = (tail.rows_since(of(partition)), tail.updates_since(of(partition)));
            visit.rows(rows, updates, |key, _, words| take(key, words));
        }
        let width = self.layout.words();
        self.loaded.since(marks.loaded, width, |pane, key, words| {
            if overlaps(pane, bounds) {
                take(key, words);
            }
        });
        true
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        let tails: usize = self.tails.values().map(Tail::memory).sum();
        let panes: usize = self.panes.values().flat_map(Runs::iter).map(Run::memory).sum();
        self.totals.capacity() * 8 + self.present.capacity() * 8 + tails + panes + self.loaded.memory()
    }
}
