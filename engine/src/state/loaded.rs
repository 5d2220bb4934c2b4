//! Rows that frames brought lately: what a read that goes on from an earlier one adds.
//!
//! Two lots of bounded size; when one is full the older is forgotten, and a read from before it starts anew.

use super::block::{Block, Row};
use super::cells::Layout;
use super::floors::PaneId;

/// Rows of a lot.
const LOT: usize = 1 << 16;

/// The newest rows taken from frames.
#[derive(Default)]
pub(crate) struct Loaded {
    now: Lot,
    before: Lot,
    /// Number of lots that were filled.
    filled: u64,
}

#[derive(Default)]
struct Lot {
    rows: Vec<(PaneId, u32)>,
    content: Block,
}

impl Loaded {
    /// Notes rows of one pane.
    pub(crate) fn push(&mut self, layout: &Layout, pane: PaneId, keys: &[u32], rows: &Block) {
        if self.now.rows.len() + keys.len() > LOT {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.rows.clear();
            self.now.content.clear();
            self.filled += 1;
        }
        // More than a lot holds at once is a whole bucket: nobody goes on from before that.
        if keys.len() > LOT {
            self.filled += 2;
            return;
        }
        self.now.rows.extend(keys.iter().map(|key| (pane, *key)));
        self.now.content.append(layout, rows);
    }

    /// Up to here.
    pub(crate) fn mark(&self) -> (u64, usize) {
        (self.filled, self.now.rows.len())
    }

    /// Whether what came since is still here.
    pub(crate) fn knows(&self, (filled, _): (u64, usize)) -> bool {
        self.filled - filled <= 1
    }

    /// Shows what came since a mark that is known: pane, key, row.
    pub(crate) fn since(
        &self,
        (filled, at): (u64, usize),
        layout: &Layout,
        mut take: impl FnMut(PaneId, u32, Row<'_>),
    ) {
        let mut show = |lot: &Lot, from: usize| {
            let rows = lot.rows.iter().enumerate().skip(from);
            rows.for_each(|(n, (pane, key))| take(*pane, *key, lot.content.row(layout, n)));
        };
        if filled == self.filled {
            show(&self.now, at);
        } else {
            show(&self.before, at);
            show(&self.now, 0);
        }
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        [&self.now, &self.before].map(|lot| lot.rows.capacity() * 24 + lot.content.memory()).iter().sum()
    }
}
