//! Rows as memory: words of a fixed number, and beside them the sketches that some words are places of.
//!
//! A table without sketches has words alone, and costs nothing for what it does not have. A block only grows, and is dropped or
//! emptied as a whole: the sketches of its rows go with it.

use super::cells::Layout;
use super::size::list;
use tally_sketch::Sketch;

/// A row: its words, and the sketches of the block that it lies in.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) words: &'a [i64],
    sketches: &'a [Sketch],
}

/// A row that can be changed.
pub(crate) struct RowMut<'a> {
    pub(crate) words: &'a mut [i64],
    sketches: &'a mut Vec<Sketch>,
}

impl<'a> Row<'a> {
    /// The sketch whose place a word is.
    pub(super) fn sketch(self, word: usize) -> Option<&'a Sketch> {
        self.sketches.get(usize::try_from(self.words[word]).ok()?.checked_sub(1)?)
    }
}

impl RowMut<'_> {
    /// The sketch whose place a word is.
    pub(super) fn sketch(&mut self, word: usize) -> Option<&mut Sketch> {
        self.sketches.get_mut(usize::try_from(self.words[word]).ok()?.checked_sub(1)?)
    }

    /// Makes a word the place of a sketch.
    pub(super) fn put(&mut self, word: usize, sketch: Sketch) {
        self.sketches.push(sketch);
        self.words[word] = self.sketches.len() as i64;
    }
}

/// Rows end to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) words: Vec<i64>,
    sketches: Vec<Sketch>,
}

impl Block {
    /// Of one neutral row.
    pub(crate) fn neutral(layout: &Layout) -> Block {
        Block { words: layout.neutral(), sketches: Vec::new() }
    }

    /// Of these words, without sketches.
    #[cfg(test)]
    pub(crate) fn of(words: Vec<i64>) -> Block {
        Block { words, sketches: Vec::new() }
    }

    /// With room for so many rows.
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
        RowMut { words: &mut self.words[n * layout.words()..][..layout.words()], sketches: &mut self.sketches }
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
    pub(crate) fn push_fed(&mut self, layout: &Layout, events: i64, first: i64, last: i64, time_sum: i128) {
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

    /// Makes the only row a neutral one.
    #[inline]
    pub(crate) fn clear_row(&mut self, layout: &Layout) {
        layout.clear(&mut self.words);
        self.sketches.clear();
    }

    /// Without rows, keeping the memory.
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
        layout.merge(&mut RowMut { words: into, sketches: &mut self.sketches }, Row { words: other, sketches: &[] });
    }

    /// Some of its rows, on their own.
    pub(crate) fn part(&self, layout: &Layout, from: usize, to: usize) -> Block {
        let width = layout.words();
        if !layout.has_sketches() {
            return Block { words: self.words[from * width..to * width].to_vec(), sketches: Vec::new() };
        }
        let mut part = Block::with_capacity(layout, to - from);
        (from..to).for_each(|n| part.push(layout, self.row(layout, n)));
        part
    }

    /// All rows of another after its own.
    pub(crate) fn append(&mut self, layout: &Layout, other: &Block) {
        if !layout.has_sketches() {
            self.words.extend_from_slice(&other.words);
            return;
        }
        (0..other.len(layout)).for_each(|n| self.push(layout, other.row(layout, n)));
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        let sketches: usize = self.sketches.iter().map(Sketch::memory).sum();
        list(&self.words) + list(&self.sketches) + sketches
    }
}
