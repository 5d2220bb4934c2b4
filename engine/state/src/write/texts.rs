//! Ids as numbers: an integer id is itself; a text is `TEXT_BIT` and its place in a list that only
//! grows.
//!
//! The numbers never leave the process: frames carry the ids themselves. A text is stored once;
//! finding it touches one slot, because its first bytes are in the slot.

use crate::rows::memory::list_bytes;
use foldhash::fast::RandomState;
use siphasher::sip::SipHasher13;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use tally_event::TEXT_BIT;
use tally_plugin::read::Id;

/// Bytes of a text that are in its slot.
const HEAD: usize = 16;

/// 24 bytes; most texts are compared without reading anything else.
#[derive(Clone, Copy)]
struct Slot {
    head: [u64; 2],
    /// [`NONE`]: an empty slot.
    number: u32,
    len: u8,
}

const NONE: u32 = u32::MAX;
const EMPTY: Slot = Slot { head: [0; 2], number: NONE, len: 0 };
const FIRST_SLOTS: usize = 64;

/// The texts seen so far. Slots: open addressing with linear probing over a power of two, at most ⅝
/// full.
pub(crate) struct Texts {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hasher: RandomState,
}

impl Default for Texts {
    fn default() -> Texts {
        let hasher = RandomState::default();
        Texts { slots: vec![EMPTY; FIRST_SLOTS], bytes: Vec::new(), ends: Vec::new(), hasher }
    }
}

impl Texts {
    /// The number of a text of at most 255 bytes; adds it if it is new.
    #[inline]
    pub(crate) fn intern(&mut self, text: &[u8]) -> u64 {
        self.intern_hashed(text, self.hash(text))
    }

    /// The hash that [`Texts::intern_hashed`] takes.
    #[inline(always)]
    pub(crate) fn hash(&self, text: &[u8]) -> u64 {
        let mut state = self.hasher.build_hasher();
        match text.len() {
            // No id contains a zero byte, so the head alone determines the length.
            ..=HEAD => head(text).into_iter().for_each(|half| state.write_u64(half)),
            _ => state.write(text),
        }
        state.finish()
    }

    /// Reads the slot where a search begins: loading those of several texts first makes their cache
    /// misses overlap.
    #[inline(always)]
    pub(crate) fn load(&self, hash: u64) -> u32 {
        self.slots[hash as usize & (self.slots.len() - 1)].number
    }

    /// As `intern`, for a text whose hash is known.
    #[inline]
    pub(crate) fn intern_hashed(&mut self, text: &[u8], hash: u64) -> u64 {
        let head = head(text);
        let at = self.slot(text, head, hash);
        match self.slots[at].number {
            NONE => self.add(text, head, hash, at),
            number => TEXT_BIT | u64::from(number),
        }
    }

    /// The slot of a text, or the empty slot where it belongs.
    #[inline(always)]
    fn slot(&self, text: &[u8], head: [u64; 2], hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].number != NONE
            && !matches(&self.slots[at], head, text, &self.bytes, &self.ends)
        {
            at = (at + 1) & mask;
        }
        at
    }

    #[cold]
    fn add(&mut self, text: &[u8], head: [u64; 2], hash: u64, mut at: usize) -> u64 {
        let number = u32::try_from(self.ends.len()).ok().filter(|number| *number != NONE);
        let number = number.expect("four billion texts do not fit in memory");
        if (self.ends.len() + 1) * 8 > self.slots.len() * 5 {
            self.grow();
            at = self.slot(text, head, hash);
        }
        self.slots[at] = Slot { head, number, len: text.len() as u8 };
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        TEXT_BIT | u64::from(number)
    }

    fn grow(&mut self) {
        let mut slots = vec![EMPTY; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for slot in self.slots.iter().filter(|slot| slot.number != NONE) {
            let mut at =
                self.hash(text_of(&self.bytes, &self.ends, slot.number as usize)) as usize & mask;
            while slots[at].number != NONE {
                at = (at + 1) & mask;
            }
            slots[at] = *slot;
        }
        self.slots = slots;
    }

    /// The number of a text if it was seen.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u64> {
        let number = self.slots[self.slot(text, head(text), self.hash(text))].number;
        (number != NONE).then(|| TEXT_BIT | u64::from(number))
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

    /// The order of the API, "lower id" first: integers before texts, integers by value, texts by
    /// bytes.
    pub(crate) fn order(&self, a: u64, b: u64) -> Ordering {
        match (a & TEXT_BIT != 0, b & TEXT_BIT != 0) {
            (false, false) => a.cmp(&b),
            (true, true) if a == b => Ordering::Equal,
            (true, true) => self.text(a).cmp(self.text(b)),
            (a_is_text, b_is_text) => a_is_text.cmp(&b_is_text),
        }
    }

    /// A hash of ids that is the same in every process and version (SipHash-1-3, zero key): it
    /// decides buckets.
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

    /// A copy with some of the texts, and the number that each of them has there.
    pub(crate) fn only(&self, some: &[bool]) -> (Texts, Vec<u32>) {
        let mut texts = Texts::default();
        let number = |(n, some): (usize, &bool)| match some {
            true => (texts.intern(text_of(&self.bytes, &self.ends, n)) & !TEXT_BIT) as u32,
            false => NONE,
        };
        let numbers = some.iter().enumerate().map(number).collect();
        (texts, numbers)
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        list_bytes(&self.bytes) + list_bytes(&self.ends) + self.slots.len() * size_of::<Slot>()
    }
}

/// The first bytes of a text, followed by zeros.
#[inline(always)]
fn head(text: &[u8]) -> [u64; 2] {
    let len = text.len();
    let word = |at: usize| {
        text.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u64::from_le_bytes(*word))
    };
    let half = |at: usize| {
        text.get(at..).and_then(|rest| rest.first_chunk()).map(|half| u32::from_le_bytes(*half))
    };
    match (word(0), half(0)) {
        (Some(low), _) if len >= HEAD => [low, word(8).unwrap_or(0)],
        // The last eight bytes, some of which are in `low` already.
        (Some(low), _) => [
            low,
            word(len - 8).and_then(|last| last.checked_shr(8 * (HEAD - len) as u32)).unwrap_or(0),
        ],
        // Where the first and last four bytes overlap they are equal.
        (None, Some(first)) => {
            [u64::from(first) | u64::from(half(len - 4).unwrap_or(0)) << (8 * (len - 4)), 0]
        }
        (None, None) => [text.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)), 0],
    }
}

#[inline]
fn matches(slot: &Slot, head: [u64; 2], text: &[u8], bytes: &[u8], ends: &[usize]) -> bool {
    slot.head == head
        && usize::from(slot.len) == text.len()
        && (text.len() <= HEAD || text_of(bytes, ends, slot.number as usize) == text)
}

pub(crate) fn text_of<'a>(bytes: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
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
    fn a_head_is_the_first_sixteen_bytes() {
        let text: Vec<u8> = (1..=40).collect();
        for len in 0..=text.len() {
            let mut padded = text[..len.min(HEAD)].to_vec();
            padded.resize(HEAD, 0);
            let expected = [0, 8]
                .map(|at| padded[at..].first_chunk().map_or(0, |half| u64::from_le_bytes(*half)));
            assert_eq!(head(&text[..len]), expected, "{len}");
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
