//! Adds what columns give to the cells of a table, event by event: to the totals, and to the tail
//! for the next seal.

use super::TableState;
use crate::write::feeds::Sources;
use crate::write::keyspace::NONE;
use std::sync::Arc;

impl TableState {
    /// Merges what columns give for the events that `count` has just counted: rows of the batch
    /// from `start` on.
    pub(crate) fn feed_cells(
        &mut self,
        of: Sources<'_>,
        start: usize,
        keys: &[u32],
        takes: impl Fn(usize) -> bool,
    ) {
        let layout = Arc::clone(&self.layout);
        let feeds = Arc::clone(&self.feeds);
        let mut tail = self.tails.remove(&of.batch.partition).unwrap_or_default();
        for feed in feeds.iter() {
            let counted = (0..keys.len())
                .filter(|row| keys[*row] != NONE && takes(*row))
                .map(|row| start + row);
            feed.each(of, counted, |row, given| {
                let key = keys[row - start];
                if !self.tails_only {
                    layout.give(&mut self.row(key), usize::from(feed.cell), given);
                }
                tail.push_value(key, of.batch.times[row], feed.cell, given);
            });
        }
        self.tails.insert(of.batch.partition, tail);
    }
}
