//! A row of cells in memory: its words, and the sketches that some of the words point to.

use tally_sketch::Sketch;

/// A row: its words, and the sketches of the block that it lies in.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) words: &'a [i64],
    pub(super) sketches: &'a [Sketch],
}

/// A row that can be changed.
pub(crate) struct RowMut<'a> {
    pub(crate) words: &'a mut [i64],
    pub(super) sketches: &'a mut Vec<Sketch>,
}

impl<'a> Row<'a> {
    /// The sketch that a word points to.
    pub(super) fn sketch(self, word: usize) -> Option<&'a Sketch> {
        self.sketches.get(usize::try_from(self.words[word]).ok()?.checked_sub(1)?)
    }
}

impl RowMut<'_> {
    /// The sketch that a word points to.
    pub(super) fn sketch(&mut self, word: usize) -> Option<&mut Sketch> {
        self.sketches.get_mut(usize::try_from(self.words[word]).ok()?.checked_sub(1)?)
    }

    /// Adds a sketch and points a word to it.
    pub(super) fn put(&mut self, word: usize, sketch: Sketch) {
        self.sketches.push(sketch);
        self.words[word] = self.sketches.len() as i64;
    }
}
