//! Rows that frames brought recently: what a read that continues from an earlier one adds.
//!
//! There are two lots of bounded size. When one is full, the older one is dropped, and a read from
//! before it starts over.

use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::PaneId;
use crate::rows::row::Row;

/// Rows of a lot.
const LOT: usize = 1 << 16;

/// The newest rows from frames.
#[derive(Default)]
pub(crate) struct LoadedRows {
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

impl LoadedRows {
    /// Notes rows of one pane.
    pub(crate) fn push(&mut self, layout: &Layout, pane: PaneId, keys: &[u32], rows: &Block) {
        if self.now.rows.len() + keys.len() > LOT {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.rows.clear();
            self.now.content.clear();
            self.filled += 1;
        }
        // More than a lot at once is a whole bucket: no read continues from before that.
        if keys.len() > LOT {
            self.filled += 2;
            return;
        }
        self.now.rows.extend(keys.iter().map(|key| (pane, *key)));
        self.now.content.append(layout, rows);
    }

    /// Drops all rows: a read from before starts over.
    pub(crate) fn forget(&mut self) {
        *self = LoadedRows { filled: self.filled + 2, ..LoadedRows::default() };
    }

    /// The place up to which rows have come.
    pub(crate) fn mark(&self) -> (u64, usize) {
        (self.filled, self.now.rows.len())
    }

    /// Calls `take` (pane, key, row) with what came from one mark up to a later one, at most `most`
    /// rows. Returns how far that is; `None` if the rows are no longer here.
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

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        [&self.now, &self.before]
            .map(|lot| lot.rows.capacity() * 24 + lot.content.memory())
            .iter()
            .sum()
    }
}
