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

    /// Forgets all rows: a read from before starts anew.
    pub(crate) fn forget(&mut self) {
        *self = Loaded { filled: self.filled + 2, ..Loaded::default() };
    }

    /// Up to here.
    pub(crate) fn mark(&self) -> (u64, usize) {
        (self.filled, self.now.rows.len())
    }

    /// Shows what came from one mark up to another that came later, at most `most` rows: pane, key, row. Up to where that is;
    /// `None` where it is not here any more.
    pub(crate) fn piece(
        &self,
        (filled, at): (u64, usize),
        to: (u64, usize),
        most: usize,
        layout: &Layout,
        mut take: impl FnMut(PaneId, u32, Row<'_>),
    ) -> Option<(u64, usize)> {
        let lot = match self.filled.checked_sub(filled)? {
            0 => &self.now,
            1 => &self.before,
            _ => return None,
        };
        let end = if filled == to.0 { to.1 } else { lot.rows.len() };
        let next = end.min(at + most);
        for n in at..next {
            let (pane, key) = lot.rows[n];
            take(pane, key, lot.content.row(layout, n));
        }
        Some(if next == end && filled < to.0 { (filled + 1, 0) } else { (filled, next) })
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        [&self.now, &self.before].map(|lot| lot.rows.capacity() * 24 + lot.content.memory()).iter().sum()
    }
}
