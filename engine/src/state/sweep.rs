//! Lets go of texts that stand in no key any more: ids of events that nobody counts, or counts under `__other__`.
//!
//! Whoever sends ids without end fills no more memory than the keys that are held. Looked at each time that texts have doubled, so
//! that it costs little; numbers of texts change, those of keys do not.

use super::State;
use super::fold::Kept;
use crate::event::TEXT_BIT;

/// Below this many texts nothing is looked at.
pub(super) const FIRST: usize = 1 << 16;

impl State {
    /// Sweeps if it is due. No number of a text may be held from before.
    pub(super) fn sweep(&mut self) {
        if self.texts.len() < self.sweep_at.max(FIRST) {
            return;
        }
        self.release();
        let mut held = vec![false; self.texts.len()];
        for value in self.keyspaces.iter().flat_map(|keys| &keys.values).filter(|value| *value & TEXT_BIT != 0) {
            held[(value & !TEXT_BIT) as usize] = true;
        }
        // Less than half is not worth it: it would be due again soon.
        if held.iter().filter(|held| **held).count() <= held.len() / 2 {
            let (mut texts, numbers) = self.texts.only(&held);
            for keyspace in &mut self.keyspaces {
                *keyspace = keyspace.renumbered(&numbers, &mut texts);
            }
            self.texts = texts;
            self.kept = Kept::default();
        }
        self.sweep_at = self.texts.len() * 2;
    }
}
