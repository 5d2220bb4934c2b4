//! A hash table of numbers whose values lie elsewhere.
//!
//! Made for looking up whole batches: a slot holds 32 bits of the hash beside the number, so that a
//! search leaves the table only for what very probably is found, growth reads nothing else, and
//! [`Index::load`] brings what a group of searches needs into the cache at once, instead of one
//! cache miss after the other.

/// Searches made together: what they load stays well within the first-level cache.
pub const GROUP: usize = 32;

/// Numbers by 32 bits of hash: open addressing with linear probing over a power of two, at most ⅘
/// full.
#[derive(Clone, Debug)]
pub struct Index {
    /// The hash in the upper half, the number in the lower.
    slots: Vec<u64>,
    used: usize,
}

const FIRST_SLOTS: usize = 64;

/// No slot's content, as no number is `u32::MAX`. Other than 0, so that memory for a large table is
/// written from end to end: zeroed memory is none yet, and each page of it would be given twice,
/// for the first look at it and for the first number put there.
const EMPTY: u64 = u64::MAX;

impl Default for Index {
    fn default() -> Index {
        Index::new()
    }
}

impl Index {
    /// An empty one.
    #[must_use]
    pub fn new() -> Index {
        Index { slots: vec![EMPTY; FIRST_SLOTS], used: 0 }
    }

    /// The number in the slot where a search begins, if it is of this hash: probably what is
    /// searched for.
    #[inline(always)]
    pub fn load(&self, hash: u32) -> Option<u32> {
        let slot = self.slots[hash as usize & (self.slots.len() - 1)];
        (slot != EMPTY && (slot >> 32) as u32 == hash).then_some(slot as u32)
    }

    /// The number with this hash that is `same`.
    #[inline(always)]
    pub fn find(&self, hash: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            let number = slot as u32;
            if (slot >> 32) as u32 == hash && same(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a number below `u32::MAX` that is not there.
    #[inline]
    pub fn insert(&mut self, hash: u32, number: u32) {
        if self.used * 5 >= self.slots.len() * 4 {
            self.grow();
        }
        self.used += 1;
        put(&mut self.slots, u64::from(hash) << 32 | u64::from(number));
    }

    #[cold]
    fn grow(&mut self) {
        let mut slots = vec![EMPTY; self.slots.len() * 2];
        self.slots.iter().filter(|slot| **slot != EMPTY).for_each(|slot| put(&mut slots, *slot));
        self.slots = slots;
    }

    /// Makes room for so many numbers in one that holds none.
    pub fn make_room(&mut self, numbers: usize) {
        let slots = (numbers * 5 / 4 + 1).next_power_of_two();
        if slots > self.slots.len() {
            self.slots = vec![EMPTY; slots];
        }
    }

    /// Forgets all numbers. One that was mostly empty becomes half as large.
    pub fn clear(&mut self) {
        if self.used * 8 < self.slots.len() && self.slots.len() > FIRST_SLOTS {
            self.slots = vec![EMPTY; self.slots.len() / 2];
        } else {
            self.slots.fill(EMPTY);
        }
        self.used = 0;
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }
}

#[inline(always)]
fn put(slots: &mut [u64], slot: u64) {
    let mask = slots.len() - 1;
    let mut at = (slot >> 32) as usize & mask;
    while slots[at] != EMPTY {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few hashes, many of them equal: whatever collides is told apart, and growth loses
        /// nothing.
        #[test]
        fn finds_what_was_inserted(hashes in prop::collection::vec(0..40_u32, 0..300), bits in 0..32_u32) {
            let mut index = Index::new();
            let place = |hash: u32| hash.rotate_left(bits);
            for (number, hash) in hashes.iter().enumerate() {
                index.insert(place(*hash), number as u32);
            }
            for (number, hash) in hashes.iter().enumerate() {
                prop_assert_eq!(index.find(place(*hash), |found| found == number as u32), Some(number as u32));
                prop_assert!(index.load(place(*hash)).is_none_or(|found| hashes[found as usize] == *hash));
            }
            prop_assert_eq!(index.find(place(40), |_| true), None);
            // All ones, as an empty slot is.
            prop_assert_eq!((index.load(u32::MAX), index.find(u32::MAX, |_| true)), (None, None));
            prop_assert_eq!(index.find(place(1), |_| false), None);
        }
    }
}
