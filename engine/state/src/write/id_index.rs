//! Finds numbers (of groups, of event types) by one id; and the hash of a key's columns.

use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};
use tally_event::TEXT_BIT;
use tally_event::index::Index;

/// Hash of column values; seeded per process, so that producers cannot make keys collide.
#[inline(always)]
pub(crate) fn hash(hasher: &RandomState, values: &[u64]) -> u32 {
    let mut state = hasher.build_hasher();
    for value in values {
        state.write_u64(*value);
    }
    state.finish() as u32
}

/// Numbers by one id. Those of texts are in a list, since texts are numbered without gaps; those of
/// integers are found by hash.
pub(crate) struct IdIndex {
    of_text: Vec<u32>,
    of_integer: Index,
    hasher: RandomState,
}

/// Marks a place without a number.
const NONE: u32 = u32::MAX;

impl IdIndex {
    pub(crate) fn new() -> IdIndex {
        IdIndex { of_text: Vec::new(), of_integer: Index::new(), hasher: RandomState::default() }
    }

    /// The number of an id. `is` says whether a number belongs to the id; only integers need it.
    #[inline]
    pub(crate) fn get(&self, id: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if id & TEXT_BIT != 0 {
            return self
                .of_text
                .get((id & !TEXT_BIT) as usize)
                .copied()
                .filter(|number| *number != NONE);
        }
        self.of_integer.find(hash(&self.hasher, &[id]), is)
    }

    /// Adds an id that is not in the index, with a number below `u32::MAX`.
    pub(crate) fn insert(&mut self, id: u64, number: u32) {
        if id & TEXT_BIT == 0 {
            return self.of_integer.insert(hash(&self.hasher, &[id]), number);
        }
        let text = (id & !TEXT_BIT) as usize;
        if self.of_text.len() <= text {
            self.of_text.resize(text + 1, NONE);
        }
        self.of_text[text] = number;
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> usize {
        self.of_text.capacity() * 4 + self.of_integer.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn texts_and_integers_of_one_value_are_apart(ids in prop::collection::vec((0..50_u64, any::<bool>()), 0..200)) {
            let (mut all, mut expected) = (IdIndex::new(), BTreeMap::new());
            let given: Vec<u64> = ids.iter().map(|(value, text)| if *text { value | TEXT_BIT } else { *value }).collect();
            for (n, &id) in given.iter().enumerate() {
                expected.entry(id).or_insert_with(|| {
                    all.insert(id, n as u32);
                    n as u32
                });
            }
            for value in 0..50 {
                for id in [value, value | TEXT_BIT] {
                    prop_assert_eq!(all.get(id, |n| given[n as usize] == id), expected.get(&id).copied());
                }
            }
        }
    }
}
