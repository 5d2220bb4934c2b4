//! Rows in memory: a fixed number of words each, and beside them the sketches that some words point
//! to.
//!
//! A table without sketches has words alone and pays nothing for sketches. A block only grows; it
//! is dropped or emptied as a whole, with the sketches of its rows.

use super::cells::Layout;
use super::memory::list_bytes;
use super::row::{Row, RowMut};
use tally_sketch::Sketch;

/// Rows end to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) words: Vec<i64>,
    sketches: Vec<Sketch>,
}

impl Block {
    /// One neutral row.
    pub(crate) fn neutral(layout: &Layout) -> Block {
        Block { words: layout.neutral(), sketches: Vec::new() }
    }

    /// These words, without sketches.
    #[cfg(test)]
    pub(crate) fn of(words: Vec<i64>) -> Block {
        Block { words, sketches: Vec::new() }
    }

    /// No rows, with room for so many.
    pub(crate) fn with_capacity(layout: &Layout, rows: usize) -> Block {
        Block { words: Vec::with_capacity(rows * layout.words()), sketches: Vec::new() }
    }

    /// Number of rows.
    pub(crate) fn len(&self, layout: &Layout) -> usize {
        self.words.len() / layout.words()
    }

    /// The n-th row.
    #[inline]
    pub(crate) fn row(&self, layout: &Layout, n: usize) -> Row<'_> {
        Row { words: &self.words[n * layout.words()..][..layout.words()], sketches: &self.sketches }
    }

    /// The n-th row, to be changed.
    #[inline]
    pub(crate) fn row_mut(&mut self, layout: &Layout, n: usize) -> RowMut<'_> {
        RowMut {
            words: &mut self.words[n * layout.words()..][..layout.words()],
            sketches: &mut self.sketches,
        }
    }

    /// Appends a row.
    #[inline]
    pub(crate) fn push(&mut self, layout: &Layout, row: Row<'_>) {
        let start = self.words.len();
        self.words.extend_from_slice(row.words);
        if layout.has_sketches() {
            self.adopt(layout, start, row);
        }
    }

    /// Appends a neutral row.
    pub(crate) fn push_neutral(&mut self, layout: &Layout) {
        let start = self.words.len();
        self.words.resize(start + layout.words(), 0);
        layout.clear(&mut self.words[start..]);
    }

    /// Appends a row of events whose times lie in `[first, last]` and sum up to `time_sum`.
    #[inline]
    pub(crate) fn push_fed(
        &mut self,
        layout: &Layout,
        events: i64,
        first: i64,
        last: i64,
        time_sum: i128,
    ) {
        layout.push_fed(&mut self.words, events, first, last, time_sum);
    }

    /// Copies the sketches of a row whose words were copied to `start`.
    #[inline(never)]
    fn adopt(&mut self, layout: &Layout, start: usize, row: Row<'_>) {
        for word in layout.sketch_words() {
            self.words[start + word] = 0;
            if let Some(sketch) = row.sketch(word) {
                self.sketches.push(sketch.clone());
                self.words[start + word] = self.sketches.len() as i64;
            }
        }
    }

    /// Makes the only row neutral.
    #[inline]
    pub(crate) fn clear_row(&mut self, layout: &Layout) {
        layout.clear(&mut self.words);
        self.sketches.clear();
    }

    /// Removes all rows and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.sketches.clear();
    }

    /// Merges row `from` into row `into` of the same block.
    #[inline]
    pub(crate) fn merge_within(&mut self, layout: &Layout, into: usize, from: usize) {
        if layout.has_sketches() {
            let mut other = Block::default();
            other.push(layout, self.row(layout, from));
            layout.merge(&mut self.row_mut(layout, into), other.row(layout, 0));
            return;
        }
        let width = layout.words();
        let (first, second) = (into.min(from), into.max(from));
        let (left, right) = self.words.split_at_mut(second * width);
        let (left, right) = (&mut left[first * width..][..width], &mut right[..width]);
        let (into, other) = if into < from { (left, &*right) } else { (right, &*left) };
        layout.merge(
            &mut RowMut { words: into, sketches: &mut self.sketches },
            Row { words: other, sketches: &[] },
        );
    }

    /// A copy of the rows from `from` up to `to`.
    pub(crate) fn part(&self, layout: &Layout, from: usize, to: usize) -> Block {
        let width = layout.words();
        if !layout.has_sketches() {
            return Block {
                words: self.words[from * width..to * width].to_vec(),
                sketches: Vec::new(),
            };
        }
        let mut part = Block::with_capacity(layout, to - from);
        (from..to).for_each(|n| part.push(layout, self.row(layout, n)));
        part
    }

    /// Appends all rows of another block.
    pub(crate) fn append(&mut self, layout: &Layout, other: &Block) {
        if !layout.has_sketches() {
            self.words.extend_from_slice(&other.words);
            return;
        }
        (0..other.len(layout)).for_each(|n| self.push(layout, other.row(layout, n)));
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        self.lists_memory() + self.sketches_memory()
    }

    /// The same without what sketches hold themselves.
    pub(crate) fn lists_memory(&self) -> usize {
        list_bytes(&self.words) + list_bytes(&self.sketches)
    }

    /// What sketches hold themselves: goes through all of them.
    pub(crate) fn sketches_memory(&self) -> usize {
        self.sketches.iter().map(Sketch::memory).sum()
    }
}
