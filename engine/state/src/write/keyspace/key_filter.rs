//! Which keys a keyspace adds: all, or those that a threshold keeps; and copies of a keyspace that
//! keep the same keys.

use super::{Keyspace, MAX_COLUMNS, Shape, hash};
use crate::write::texts::Texts;
use crate::write::threshold::{Always, Folding, Threshold};
use std::sync::Arc;
use tally_event::TEXT_BIT;

impl Keyspace {
    /// A keyspace that adds only some keys.
    pub(crate) fn folding(
        shape: Shape,
        threshold: Threshold,
        always: &Always,
        texts: &mut Texts,
    ) -> Keyspace {
        let keyspace = Keyspace::new(shape);
        let (group, kind) = (keyspace.shape.group, keyspace.kind_column);
        // Without columns there is only one key.
        let folds = threshold != Threshold::NONE && keyspace.width() > 0;
        let folding = folds.then(|| Folding::new(group, kind, always, texts));
        Keyspace { threshold, folding, ..keyspace }
    }

    /// An empty keyspace that keeps the same keys.
    pub(crate) fn emptied(&self, texts: &mut Texts) -> Keyspace {
        let always =
            self.folding.as_ref().map(|folding| Always::clone(&folding.always)).unwrap_or_default();
        Keyspace::folding(self.shape.clone(), self.threshold, &always, texts)
    }

    /// The same keys with the same numbers, after text `n` became text `numbers[n]` of `texts`.
    pub(crate) fn renumbered(&self, numbers: &[u32], texts: &mut Texts) -> Keyspace {
        let mut fresh = Keyspace { leases: Arc::clone(&self.leases), ..self.emptied(texts) };
        for key in 0..self.len() as u32 {
            let mut values = [0; MAX_COLUMNS];
            for (value, old) in values.iter_mut().zip(self.key(key)) {
                let text = |old: u64| TEXT_BIT | u64::from(numbers[(old & !TEXT_BIT) as usize]);
                *value = if *old & TEXT_BIT == 0 { *old } else { text(*old) };
            }
            fresh.intern(&values[..self.width()], texts);
        }
        fresh
    }

    /// Which keys it keeps.
    pub(crate) fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The number of a key that is not in the keyspace: adds it, or finds the key that it counts
    /// under.
    #[cold]
    pub(super) fn settle(&mut self, values: &[u64], hash: u32, texts: &Texts) -> u32 {
        let Some(folding) = &self.folding else { return self.add(values, hash, texts) };
        let mut under = [0; MAX_COLUMNS];
        let under = &mut under[..values.len()];
        under.copy_from_slice(values);
        folding.settle(self.threshold, under, texts);
        let hash = self::hash(&self.hasher, under);
        self.index
            .find(hash, |key| self.key(key) == under)
            .unwrap_or_else(|| self.add(under, hash, texts))
    }
}
