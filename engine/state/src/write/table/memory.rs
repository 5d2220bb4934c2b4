//! How much memory a table takes.

use super::TableState;
use crate::rows::memory::list_bytes;
use crate::write::tail::Tail;
use crate::write::type_limit::TypeCensus;

impl TableState {
    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        self.memory_with(self.totals.sketches_memory())
    }

    /// The same for a table that only frames were loaded into: it does not visit the rows.
    pub(crate) fn loaded_memory(&self) -> usize {
        self.memory_with(self.loaded_sketches)
    }

    /// With so many bytes of sketches in the totals. The number of panes makes no difference to the
    /// time it takes.
    fn memory_with(&self, sketches: usize) -> usize {
        let tails: usize = self.tails.values().map(Tail::memory).sum();
        let totals = self.totals.lists_memory()
            + sketches
            + list_bytes(&self.present)
            + self.previous.memory();
        let types = self.types.as_ref().map_or(0, TypeCensus::memory);
        totals + tails + self.panes.memory() + self.loaded.memory() + types
    }
}
