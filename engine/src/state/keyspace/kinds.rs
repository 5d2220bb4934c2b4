//! The event types among the keys, by a code of their own: most reads tell rows apart by them.

use super::Keyspace;

impl Keyspace {
    /// Where the event type stands among the key columns.
    pub(crate) fn kind_column(&self) -> Option<usize> {
        self.kind_column
    }

    /// The event types that occur, by code; none without such a column.
    pub(crate) fn kinds(&self) -> &[u64] {
        if self.width() == 1 && self.kind_column.is_some() { &self.values } else { &self.kinds }
    }

    /// Code of a key's event type; only where there is such a column.
    #[inline]
    pub(crate) fn kind(&self, key: u32) -> usize {
        if self.width() == 1 { key as usize } else { self.kind_of[key as usize] as usize }
    }

    pub(super) fn intern_kind(&mut self, kind: u64) -> u32 {
        if let Some(code) = self.kind_index.get(kind, |code| self.kinds[code as usize] == kind) {
            return code;
        }
        let code = self.kinds.len() as u32;
        self.kinds.push(kind);
        self.kind_index.insert(kind, code);
        code
    }
}
