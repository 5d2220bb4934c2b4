//! Events that are not folded yet, one by one, as rows: what a read adds to what is folded.

use super::block::{Block, Row};
use super::cells::Layout;
use super::fold::Bounds;
use super::tail::{MINUTE, Updated, Valued};

/// Shows single events as rows.
pub(crate) struct Visit<'a> {
    layout: &'a Layout,
    bounds: Bounds,
    row: Block,
}

impl<'a> Visit<'a> {
    /// Those of a range.
    pub(crate) fn new(layout: &'a Layout, bounds: Bounds) -> Visit<'a> {
        Visit { row: Block::neutral(layout), layout, bounds }
    }

    /// Shows noted events, updates and values: key, minute's start, row.
    pub(crate) fn rows<'v>(
        &mut self,
        rows: impl Iterator<Item = (u32, i32, i64)>,
        updates: impl Iterator<Item = Updated>,
        values: impl Iterator<Item = Valued<'v>>,
        mut take: impl FnMut(u32, i64, Row<'_>),
    ) {
        let layout = self.layout;
        let (from, to) = self.bounds;
        let inside = |begin: i64| from.is_none_or(|from| begin >= from) && to.is_none_or(|to| begin < to);
        for (key, minute, millis) in rows {
            let begin = i64::from(minute) * MINUTE;
            if inside(begin) {
                let time = begin + millis;
                self.row.clear_row(layout);
                layout.feed(self.row.row_mut(layout, 0).words, 1, time, time, i128::from(time));
                take(key, begin, self.row.row(layout, 0));
            }
        }
        for (key, minute, millis, cell, value) in updates {
            let begin = i64::from(minute) * MINUTE;
            if inside(begin) {
                self.row.clear_row(layout);
                layout.update(&mut self.row.row_mut(layout, 0), cell, begin + millis, value);
                take(key, begin, self.row.row(layout, 0));
            }
        }
        for (key, minute, cell, given) in values {
            let begin = i64::from(minute) * MINUTE;
            if inside(begin) {
                self.row.clear_row(layout);
                layout.give(&mut self.row.row_mut(layout, 0), cell, &given);
                take(key, begin, self.row.row(layout, 0));
            }
        }
    }
}
