//! Shows events that are not folded yet as rows, one by one: a read adds them to what is folded.

use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{MINUTE, TimeBounds};
use crate::rows::row::Row;
use crate::write::tail::{Updated, Valued};

/// Makes a row of each event in a range.
pub(crate) struct PendingEvents<'a> {
    layout: &'a Layout,
    bounds: TimeBounds,
    row: Block,
}

impl<'a> PendingEvents<'a> {
    /// Of the events in `bounds`.
    pub(crate) fn new(layout: &'a Layout, bounds: TimeBounds) -> PendingEvents<'a> {
        PendingEvents { row: Block::neutral(layout), layout, bounds }
    }

    /// Calls `take` with noted events, updates and values: key, start of the minute, row.
    pub(crate) fn each_row<'v>(
        &mut self,
        rows: impl Iterator<Item = (u32, i32, i64)>,
        updates: impl Iterator<Item = Updated>,
        values: impl Iterator<Item = Valued<'v>>,
        mut take: impl FnMut(u32, i64, Row<'_>),
    ) {
        let layout = self.layout;
        let (from, to) = self.bounds;
        let inside =
            |begin: i64| from.is_none_or(|from| begin >= from) && to.is_none_or(|to| begin < to);
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
