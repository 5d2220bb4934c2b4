//! Rows that are not folded yet, one by one, as words: what a read adds to what is folded.

use super::cells::Layout;
use super::fold::Bounds;
use super::tail::MINUTE;

/// Shows single rows as words.
pub(crate) struct Visit<'a> {
    layout: &'a Layout,
    bounds: Bounds,
    words: Vec<i64>,
}

impl<'a> Visit<'a> {
    /// Those of a range.
    pub(crate) fn new(layout: &'a Layout, bounds: Bounds) -> Visit<'a> {
        Visit { words: layout.neutral(), layout, bounds }
    }

    /// Shows noted events and updates: key, minute's start, words.
    pub(crate) fn rows(
        &mut self,
        rows: impl Iterator<Item = (u32, i32, i64)>,
        updates: impl Iterator<Item = (u32, i32, usize, i128)>,
        mut take: impl FnMut(u32, i64, &[i64]),
    ) {
        let (from, to) = self.bounds;
        let inside = |begin: i64| from.is_none_or(|from| begin >= from) && to.is_none_or(|to| begin < to);
        for (key, minute, millis) in rows {
            let begin = i64::from(minute) * MINUTE;
            if inside(begin) {
                let time = begin + millis;
                self.layout.clear(&mut self.words);
                self.layout.feed(&mut self.words, 1, time, time, i128::from(time));
                take(key, begin, &self.words);
            }
        }
        for (key, minute, cell, value) in updates {
            let begin = i64::from(minute) * MINUTE;
            if inside(begin) {
                self.layout.clear(&mut self.words);
                self.layout.update(&mut self.words, cell, value);
                take(key, begin, &self.words);
            }
        }
    }
}
