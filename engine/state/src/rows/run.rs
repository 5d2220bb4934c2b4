//! The rows of a closed pane, sorted and compact: 2–12 bytes a row instead of a hash slot.
//!
//! A run is immutable. Rows are ordered by (group, key); every 32nd row is indexed, so a group is
//! found by a binary search and by decoding at most 31 rows. The content of a pane is the fold of a
//! few runs.

use super::block::Block;
use super::cells::Layout;
use super::memory::{list_bytes, piece_bytes};
use super::radix;
use super::row::Row;
use super::varint;
use std::sync::Arc;

/// Rows between two index entries: half a byte of index a row.
const STRIDE: usize = 32;

/// Sorted rows of one pane.
pub(crate) struct Run {
    /// Start of the pane in Unix milliseconds: times are stored relative to it.
    base: i64,
    rows: u32,
    bytes: Box<[u8]>,
    /// The place of each 32nd row, and the offset of the row in `bytes`.
    index: Box<[(u64, u32)]>,
}

/// Group and key as one number, in the order of runs.
#[inline]
pub(crate) fn place(group: u32, key: u32) -> u64 {
    u64::from(group) << 32 | u64::from(key)
}

/// First place of a group in the order of runs.
#[inline]
pub(crate) fn first_place(group: u32) -> u64 {
    place(group, 0)
}

impl Run {
    /// Builds a run from rows in order of their places, each place once.
    pub(crate) fn build<'a>(
        layout: &Layout,
        base: i64,
        rows: impl Iterator<Item = (u64, Row<'a>)>,
    ) -> Run {
        let mut bytes = Vec::new();
        let mut index = Vec::new();
        let mut count = 0;
        let mut last = 0u64;
        for (place, row) in rows {
            if count % STRIDE == 0 {
                index.push((place, bytes.len() as u32));
                last = 0;
            }
            put_place(&mut bytes, last, place);
            layout.write(row, base, &mut bytes);
            last = place;
            count += 1;
        }
        Run { base, rows: count as u32, bytes: bytes.into(), index: index.into() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows as usize
    }

    /// All rows.
    pub(crate) fn rows<'a>(&'a self, layout: &'a Layout) -> RunRows<'a> {
        self.starting_at(layout, 0)
    }

    /// The rows from the first one at or after `place`.
    pub(crate) fn rows_from<'a>(&'a self, layout: &'a Layout, place: u64) -> RunRows<'a> {
        let stride = self.index.partition_point(|(first, _)| *first <= place).saturating_sub(1);
        self.starting_at(layout, stride)
    }

    fn starting_at<'a>(&'a self, layout: &'a Layout, stride: usize) -> RunRows<'a> {
        let start = self.index.get(stride).map_or(self.bytes.len(), |(_, start)| *start as usize);
        RunRows {
            layout,
            base: self.base,
            bytes: &self.bytes[start..],
            at: stride * STRIDE,
            rows: self.len(),
            last: 0,
            row: Block::neutral(layout),
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> usize {
        // The run is in an `Arc`, which has two counters.
        piece_bytes(16 + size_of::<Run>())
            + piece_bytes(self.bytes.len())
            + piece_bytes(self.index.len() * 16)
    }
}

/// Walks the rows of a run.
pub(crate) struct RunRows<'a> {
    layout: &'a Layout,
    base: i64,
    bytes: &'a [u8],
    at: usize,
    rows: usize,
    last: u64,
    row: Block,
}

impl RunRows<'_> {
    /// The next row and its place.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(u64, Row<'_>)> {
        if self.at == self.rows {
            return None;
        }
        if self.at.is_multiple_of(STRIDE) {
            self.last = 0;
        }
        // Both are `None` only for bytes that `build` did not write.
        let place = take_place(&mut self.bytes, self.last)?;
        if self.layout.has_sketches() {
            self.row.clear_row(self.layout);
        }
        self.layout.read(&mut self.bytes, self.base, &mut self.row.row_mut(self.layout, 0))?;
        self.last = place;
        self.at += 1;
        Some((place, self.row.row(self.layout, 0)))
    }
}

fn put_place(bytes: &mut Vec<u8>, last: u64, place: u64) {
    let (group, key) = (place >> 32, place & 0xffff_ffff);
    let step = group - (last >> 32);
    varint::put(bytes, step);
    // Keys ascend within a group, but the first row of a stride has no predecessor.
    let from = if step == 0 && place > last { last & 0xffff_ffff } else { 0 };
    varint::put(bytes, key - from);
}

fn take_place(bytes: &mut &[u8], last: u64) -> Option<u64> {
    let step = varint::take(bytes)?;
    let key = varint::take(bytes)?;
    let from = if step == 0 { last & 0xffff_ffff } else { 0 };
    Some(((last >> 32) + step) << 32 | (from + key))
}

/// Number of runs of about one length that are kept before they are merged into one: a row is
/// rewritten once each time its pane grows eightfold, and a read walks at most seven runs per such
/// factor.
const FAN: usize = 8;

/// The runs of one pane, longer ones first. Copies share them, so the next content can be made
/// while readers use this one.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<Vec<Arc<Run>>>);

impl Runs {
    /// Adds a run; merges the last [`FAN`] while none of them is much longer than the others
    /// together.
    pub(crate) fn push(&mut self, layout: &Layout, run: Arc<Run>) {
        let runs = Arc::make_mut(&mut self.0);
        runs.push(run);
        while runs.len() >= FAN {
            let tail = &runs[runs.len() - FAN..];
            let rest: usize = tail[1..].iter().map(|run| run.len()).sum();
            if tail[0].len() > rest {
                break;
            }
            let all: Vec<&Run> = tail.iter().map(|run| &**run).collect();
            let merged = merge(layout, tail[0].base, &all);
            runs.truncate(runs.len() - FAN);
            runs.push(Arc::new(merged));
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> usize {
        list_bytes(&self.0) + self.iter().map(Run::memory).sum::<usize>()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter().map(|run| &**run)
    }
}

/// Merges runs into one of a pane that starts at `base`.
pub(crate) fn merge(layout: &Layout, base: i64, runs: &[&Run]) -> Run {
    let total = runs.iter().map(|run| run.len()).sum();
    let mut places: Vec<(u64, u32)> = Vec::with_capacity(total);
    let mut all = Block::with_capacity(layout, total);
    for run in runs {
        let mut rows = run.rows(layout);
        while let Some((place, row)) = rows.next() {
            places.push((place, places.len() as u32));
            all.push(layout, row);
        }
    }
    fold_places(layout, base, places, &mut all)
}

/// Folds rows in any order into one run: `places[i] = (place, number of the row)`.
pub(crate) fn fold_places(
    layout: &Layout,
    base: i64,
    mut places: Vec<(u64, u32)>,
    rows: &mut Block,
) -> Run {
    let group = |(place, _): &(u64, u32)| place >> 32;
    let bits = radix::bits(places.iter().fold(0, |all, place| all | group(place)));
    radix::sort(&mut places, bits, group);
    places.chunk_by_mut(|a, b| group(a) == group(b)).for_each(|same| same.sort_unstable());
    let mut kept: Vec<(u64, u32)> = Vec::with_capacity(places.len());
    for (place, row) in places {
        match kept.last() {
            Some(&(last, into)) if last == place => {
                rows.merge_within(layout, into as usize, row as usize);
            }
            _ => kept.push((place, row)),
        }
    }
    let rows = &*rows;
    Run::build(
        layout,
        base,
        kept.iter().map(|(place, row)| (*place, rows.row(layout, *row as usize))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tally_plugin::description::{Cell, From, Merge};

    fn layout() -> Layout {
        let cell = |merge, from| Cell { name: "c".into(), merge, from };
        Layout::new(&[cell(Merge::Sum, From::One), cell(Merge::Max, From::EventTime)])
    }

    type Rows = BTreeMap<(u32, u32), Vec<i64>>;

    fn build(rows: &Rows) -> Run {
        let layout = layout();
        let block = Block::of(rows.values().flatten().copied().collect());
        let place =
            |(n, (group, key)): (usize, &(u32, u32))| (place(*group, *key), block.row(&layout, n));
        Run::build(&layout, 1_000, rows.keys().enumerate().map(place))
    }

    fn read(run: &Run) -> Vec<(u64, Vec<i64>)> {
        let layout = layout();
        let mut rows = run.rows(&layout);
        std::iter::from_fn(|| rows.next().map(|(place, row)| (place, row.words.to_vec()))).collect()
    }

    fn rows() -> impl Strategy<Value = Rows> {
        prop::collection::btree_map((0..40u32, any::<u32>()), (1..100i64, any::<i32>()), 0..150)
            .prop_map(|rows| {
                rows.into_iter().map(|(place, (n, t))| (place, vec![n, i64::from(t)])).collect()
            })
    }

    proptest! {
        #[test]
        fn rows_come_back_in_order(rows in rows()) {
            let expected: Vec<_> = rows.iter().map(|((g, k), words)| (place(*g, *k), words.clone())).collect();
            prop_assert_eq!(read(&build(&rows)), expected);
        }

        #[test]
        fn a_group_is_found(rows in rows(), group in 0..40u32) {
            let run = build(&rows);
            let layout = layout();
            let mut walk = run.rows_from(&layout, place(group, 0));
            let mut found = Vec::new();
            while let Some((at, row)) = walk.next() {
                if at >> 32 == u64::from(group) {
                    found.push(row.words.to_vec());
                }
                if at >> 32 > u64::from(group) {
                    break;
                }
            }
            let expected: Vec<_> = rows.range((group, 0)..=(group, u32::MAX)).map(|(_, words)| words.clone()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn pushed_runs_fold_to_one_content(parts in prop::collection::vec(rows(), 1..6)) {
            let layout = layout();
            let mut expected: BTreeMap<u64, Block> = BTreeMap::new();
            let mut runs = Runs::default();
            for part in &parts {
                runs.push(&layout, Arc::new(build(part)));
                for ((g, k), words) in part {
                    let row = expected.entry(place(*g, *k)).or_insert_with(|| Block::neutral(&layout));
                    layout.merge(&mut row.row_mut(&layout, 0), Block::of(words.clone()).row(&layout, 0));
                }
            }
            let all: Vec<&Run> = runs.iter().collect();
            prop_assert_eq!(read(&merge(&layout, 1_000, &all)), expected.into_iter().map(|(place, row)| (place, row.words)).collect::<Vec<_>>());
        }
    }
}
