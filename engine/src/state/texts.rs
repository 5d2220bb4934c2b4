//! Ids as numbers: an integer id is itself, a text is `TEXT_BIT` and its place in a list that only grows.
//!
//! The numbers live as long as the process and never leave it: frames carry the ids themselves. A text is stored once;
//! finding it touches one slot, because its first bytes lie in the slot.

use crate::event::TEXT_BIT;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use tally_plugin::read::Id;

/// Bytes of a text that lie in its slot.
const HEAD: usize = 16;

/// 24 bytes: most texts are compared without leaving it.
#[derive(Clone, Copy)]
struct Slot {
    head: [u64; 2],
    number: u32,
    len: u8,
}

/// The texts seen so far.
#[derive(Default)]
pub(crate) struct Texts {
    slots: HashTable<Slot>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hasher: RandomState,
}

impl Texts {
    /// The number of a text of at most 255 bytes, adding it if it is new.
    #[inline]
    pub(crate) fn intern(&mut self, text: &[u8]) -> u64 {
        let hash = self.hasher.hash_one(text);
        let head = head(text);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        if let Some(slot) = self.slots.find(hash, |slot| matches(slot, head, text, bytes, ends)) {
            return TEXT_BIT | u64::from(slot.number);
        }
        let number = u32::try_from(ends.len()).expect("four billion texts do not fit in memory");
        let slot = Slot { head, number, len: text.len() as u8 };
        self.slots.insert_unique(hash, slot, |slot| hasher.hash_one(text_of(bytes, ends, slot.number as usize)));
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        TEXT_BIT | u64::from(number)
    }

    /// The number of a text if it was seen.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u64> {
        let head = head(text);
        let slot =
            self.slots.find(self.hasher.hash_one(text), |slot| matches(slot, head, text, &self.bytes, &self.ends))?;
        Some(TEXT_BIT | u64::from(slot.number))
    }

    /// The number of an id if it was seen (an integer always was).
    pub(crate) fn number(&self, id: &Id) -> Option<u64> {
        match id {
            Id::Integer(n) => (*n < TEXT_BIT).then_some(*n),
            Id::Text(text) => self.find(text.as_bytes()),
        }
    }

    /// The text with this number; empty for an integer.
    pub(crate) fn text(&self, number: u64) -> &[u8] {
        text_of(&self.bytes, &self.ends, (number & !TEXT_BIT) as usize)
    }

    /// The id with this number.
    pub(crate) fn id(&self, number: u64) -> Id {
        if number & TEXT_BIT == 0 {
            Id::Integer(number)
        } else {
            Id::Text(String::from_utf8_lossy(self.text(number)).into_owned())
        }
    }

    /// "Lower id" of the API: integers before text, integers by value, text by bytes.
    pub(crate) fn order(&self, a: u64, b: u64) -> Ordering {
        match (a & TEXT_BIT != 0, b & TEXT_BIT != 0) {
            (false, false) => a.cmp(&b),
            (true, true) if a == b => Ordering::Equal,
            (true, true) => self.text(a).cmp(self.text(b)),
            (a_is_text, b_is_text) => a_is_text.cmp(&b_is_text),
        }
    }

    /// A hash of ids that is the same in every process and for ever (SipHash-1-3, zero key): it decides buckets.
    pub(crate) fn stable_hash(&self, numbers: &[u64]) -> u64 {
        let mut hasher = SipHasher13::new();
        for &number in numbers {
            if number & TEXT_BIT == 0 {
                hasher.write_u8(0);
                hasher.write(&number.to_le_bytes());
            } else {
                let text = self.text(number);
                hasher.write_u8(1);
                hasher.write_u8(text.len() as u8);
                hasher.write(text);
            }
        }
        hasher.finish()
    }

    /// A copy of the texts alone: their bytes end to end, and the end of each.
    pub(crate) fn copy(&self) -> (Vec<u8>, Vec<usize>) {
        (self.bytes.clone(), self.ends.clone())
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.slots.capacity() * (size_of::<Slot>() + 1)
    }
}

#[inline]
fn head(text: &[u8]) -> [u64; 2] {
    let mut bytes = [0; HEAD];
    let len = text.len().min(HEAD);
    bytes[..len].copy_from_slice(&text[..len]);
    let (low, high) = bytes.split_at(8);
    [low, high].map(|half| half.first_chunk().map_or(0, |half| u64::from_le_bytes(*half)))
}

#[inline]
fn matches(slot: &Slot, head: [u64; 2], text: &[u8], bytes: &[u8], ends: &[usize]) -> bool {
    slot.head == head
        && usize::from(slot.len) == text.len()
        && (text.len() <= HEAD || text_of(bytes, ends, slot.number as usize) == text)
}

pub(super) fn text_of<'a>(bytes: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let start = if number == 0 { 0 } else { ends.get(number - 1).copied().unwrap_or(0) };
    ends.get(number).map_or(&[], |end| &bytes[start..*end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_has_one_number_and_comes_back(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 1..200)) {
            let mut all = Texts::default();
            let numbers: Vec<u64> = texts.iter().map(|text| all.intern(text)).collect();
            for (text, number) in texts.iter().zip(&numbers) {
                prop_assert_eq!(all.text(*number), text.as_slice());
                prop_assert_eq!(all.find(text), Some(*number));
            }
            let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
            prop_assert_eq!(all.len(), distinct.len());
        }
    }

    #[test]
    fn integers_come_before_text() {
        let mut texts = Texts::default();
        let (a, b) = (texts.intern(b"a"), texts.intern(b"B"));
        assert_eq!(texts.order(5, a), Ordering::Less);
        assert_eq!(texts.order(10, 9), Ordering::Greater);
        assert_eq!(texts.order(b, a), Ordering::Less);
    }

    #[test]
    fn the_stable_hash_is_stable() {
        let mut texts = Texts::default();
        let text = texts.intern(b"u0012345");
        assert_eq!(texts.stable_hash(&[7]), 2_385_165_658_784_093_366);
        assert_eq!(texts.stable_hash(&[text]), 11_468_836_644_551_566_875);
    }
}
