//! Lets go of texts that stand in no key any more: ids of events that nobody counts, or counts under `__other__`.
//!
//! Whoever sends ids without end fills no more memory than the keys that are held. Looked at each time that texts have doubled, so
//! that it costs little; numbers of texts change, those of keys do not.

use super::{Names, State};
use crate::event::TEXT_BIT;
use parking_lot::RwLock;
use std::sync::Arc;

/// Below this many texts nothing is looked at.
pub(super) const FIRST: usize = 1 << 16;

impl State {
    /// Sweeps if it is due. No number of a text may be held from before.
    pub(super) fn sweep(&mut self) {
        if self.names.read().texts.len() < self.sweep_at.max(FIRST) {
            return;
        }
        self.sweep_now();
    }

    /// Sweeps if it is worth it.
    pub(super) fn sweep_now(&mut self) {
        self.release();
        let names = self.names.read();
        let mut held = vec![false; names.texts.len()];
        for value in names.keyspaces.iter().flat_map(|keys| &keys.values).filter(|value| *value & TEXT_BIT != 0) {
            held[(value & !TEXT_BIT) as usize] = true;
        }
        // Less than half is not worth it: it would be due again soon.
        if held.iter().filter(|held| **held).count() <= held.len() / 2 {
            let (mut texts, numbers) = names.texts.only(&held);
            let keyspaces = names.keyspaces.iter().map(|keyspace| keyspace.renumbered(&numbers, &mut texts)).collect();
            drop(names);
            // Who reads a moment keeps those before.
            self.names = Arc::new(RwLock::new(Names { texts, keyspaces }));
            self.kept.forget();
        } else {
            drop(names);
        }
        self.sweep_at = self.texts() * 2;
    }
}
