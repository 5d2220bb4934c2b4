//! Which keys a keyspace takes in: all, or what a threshold keeps; and the same keys after texts were numbered anew.

use super::{Keyspace, MAX_COLUMNS, Shape, hash};
use crate::event::TEXT_BIT;
use crate::state::texts::Texts;
use crate::state::threshold::{Folding, Threshold};
use crate::state::types::Always;
use std::sync::Arc;

/// Key numbers of a keyspace are in use somewhere.
#[derive(Clone, Default)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is only counted")] Arc<()>);

impl Keyspace {
    /// One that keeps only some keys.
    pub(crate) fn folding(shape: Shape, threshold: Threshold, always: &Always, texts: &mut Texts) -> Keyspace {
        let keyspace = Keyspace::new(shape);
        let (group, kind) = (keyspace.shape.group, keyspace.kind_column);
        // One without columns has one key.
        let folds = threshold != Threshold::NONE && keyspace.width() > 0;
        let folding = folds.then(|| Folding::new(group, kind, always, texts));
        Keyspace { threshold, folding, ..keyspace }
    }

    /// An empty one that keeps the same keys.
    pub(crate) fn emptied(&self, texts: &mut Texts) -> Keyspace {
        let always = self.folding.as_ref().map(|folding| Always::clone(&folding.always)).unwrap_or_default();
        Keyspace::folding(self.shape.clone(), self.threshold, &always, texts)
    }

    /// While it is kept, the numbers of the keys are.
    pub(crate) fn hold(&self) -> Held {
        Held(Arc::clone(&self.held))
    }

    /// Whether somebody keeps a [`Held`] of it.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.held) > 1
    }

    /// The same keys with the same numbers, their texts as `texts` has them: text `n` of before is `numbers[n]` there.
    pub(crate) fn renumbered(&self, numbers: &[u32], texts: &mut Texts) -> Keyspace {
        let mut fresh = Keyspace { held: Arc::clone(&self.held), ..self.emptied(texts) };
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

    /// The number of a key that is not there: it is added, or what it counts under is looked up.
    #[cold]
    pub(super) fn settle(&mut self, values: &[u64], hash: u32, texts: &Texts) -> u32 {
        let Some(folding) = &self.folding else { return self.add(values, hash, texts) };
        let mut under = [0; MAX_COLUMNS];
        let under = &mut under[..values.len()];
        under.copy_from_slice(values);
        folding.settle(self.threshold, under, texts);
        let hash = self::hash(&self.hasher, under);
        self.index.find(hash, |key| self.key(key) == under).unwrap_or_else(|| self.add(under, hash, texts))
    }
}
