//! What columns give to the cells of a table, event by event: into the totals, and noted for the next seal.

use super::TableState;
use crate::state::keyspace::NONE;
use crate::state::source::Sources;
use std::sync::Arc;

impl TableState {
    /// Merges what columns give for the events that `count` was told of just now: rows from `start` on of the batch.
    pub(crate) fn give(&mut self, of: Sources<'_>, start: usize, keys: &[u32], takes: impl Fn(usize) -> bool) {
        let layout = Arc::clone(&self.layout);
        let feeds = Arc::clone(&self.feeds);
        let mut tail = self.tails.remove(&of.batch.partition).unwrap_or_default();
        for feed in feeds.iter() {
            let counted = (0..keys.len()).filter(|row| keys[*row] != NONE && takes(*row)).map(|row| start + row);
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
