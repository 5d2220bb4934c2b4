//! The dedupe window: which event ids stood on the last W offsets of a partition.
//!
//! A record is a duplicate iff an accepted or duplicate record with its id lies in `[offset − W, offset)`. That is a function of the
//! log: it is rebuilt by reading W offsets again, and is stored nowhere. Exact up to a collision of 128-bit keys.
//!
//! Memory: two tables, of the current W offsets and the W before them, each at most W ids of 24 bytes in at most ⅝ of its slots, so
//! 77–154 bytes per offset of W when every record has an id, grown only as ids come (W = 65,536: 6 MB a partition at most).

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;

/// An event id as 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    high: u64,
    low: u64,
}

/// Makes keys of event ids. A window takes the keys of one `Keys` only.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Random per process: nobody outside can make two ids meet.
    secret: (u64, u64),
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys { secret: (RandomState::new().hash_one(0), RandomState::new().hash_one(1)) }
    }

    /// A UUID in its lower-case canonical form is its own key, any other text its SipHash-1-3.
    #[inline(always)]
    pub(super) fn key(&self, event_id: &[u8]) -> Key {
        event_id
            .first_chunk::<36>()
            .filter(|_| event_id.len() == 36)
            .and_then(uuid)
            .unwrap_or_else(|| self.hash(event_id))
    }

    fn hash(&self, event_id: &[u8]) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(event_id);
        let hash = hasher.finish128();
        Key { high: hash.h1, low: hash.h2 }
    }
}

#[inline(always)]
fn uuid(text: &[u8; 36]) -> Option<Key> {
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let eight = |a: usize, b: usize| {
        let four = |at: usize| u64::from(u32::from_be_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]));
        hex_digits(four(a) << 32 | four(b))
    };
    let (one, two, three, four) = (eight(0, 4), eight(9, 14), eight(19, 24), eight(28, 32));
    let wrong = one.1 | two.1 | three.1 | four.1;
    (wrong == 0).then_some(Key { high: one.0 << 32 | two.0, low: three.0 << 32 | four.0 })
}

/// The value of eight lower-case hexadecimal digits (the first in the highest byte), and 0 if they are such.
#[inline(always)]
fn hex_digits(word: u64) -> (u64, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let letters = (word >> 6) & ONES;
    let digits = (word & (ONES * 0x0F)) + letters * 9;
    // Written out again they must be the same bytes; a digit above 15 (from "g" on) shows in its upper half.
    let above_nine = ((digits + ONES * 6) >> 4) & ONES;
    let wrong = ((digits + ONES * 0x30 + above_nine * 0x27) ^ word) | (digits & (ONES * 0xF0));
    let pairs = (digits | digits >> 4) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs | pairs >> 8) & 0x0000_FFFF_0000_FFFF;
    ((fours | fours >> 16) & 0xFFFF_FFFF, wrong)
}

/// The event ids of the last W offsets of one partition.
#[derive(Clone, Debug)]
pub struct DedupeWindow {
    window: u64,
    /// First offset of the current table; the other holds the window before it.
    base: u64,
    current: Table,
    previous: Table,
}

impl DedupeWindow {
    /// A window of so many offsets; 0 takes nothing for a duplicate.
    #[must_use]
    pub fn new(window: u64) -> DedupeWindow {
        let table = Table::new();
        DedupeWindow { window, base: 0, current: table.clone(), previous: table }
    }

    /// Its length in offsets.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.window
    }

    /// Calls `duplicate` for each id, in order, that stood within the window before its offset; from then on it stands there too.
    ///
    /// Offsets must not fall, within a call and from call to call. Ids are looked up in groups, whose slots are all loaded before any is
    /// used, so that the cache misses of a group overlap.
    pub fn seen<T: Copy>(&mut self, ids: &[(T, u64, Key)], mut duplicate: impl FnMut(T)) {
        if self.window == 0 {
            return;
        }
        let mut hashes = [0; GROUP];
        for group in ids.chunks(GROUP) {
            let mut loaded = 0;
            for (hash, (_, _, key)) in hashes.iter_mut().zip(group) {
                *hash = self.current.hash(*key);
                loaded |= self.current.load(*hash) | self.previous.load(*hash);
            }
            black_box(loaded);
            for (hash, &(id, offset, key)) in hashes.iter().zip(group) {
                if self.seen_one(key, *hash, offset) {
                    duplicate(id);
                }
            }
        }
    }

    #[inline(always)]
    fn seen_one(&mut self, key: Key, hash: usize, offset: u64) -> bool {
        if offset.saturating_sub(self.base) >= self.window {
            self.turn(offset);
        }
        let last = self.current.put(key, hash, offset);
        // The current table is shorter than the window, so what it holds is in it.
        last.is_some() || self.previous.get(key, hash).is_some_and(|last| offset - last <= self.window)
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.base = 0;
        self.current.clear();
        self.previous.clear();
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.current.slots.len() + self.previous.slots.len()) * size_of::<Slot>()
    }

    /// Begins a table at `offset`. What the dropped one holds is older than W offsets from here on.
    #[cold]
    fn turn(&mut self, offset: u64) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        self.base = offset;
    }
}

/// Open addressing with linear probing over a power of two, at most ⅝ full.
#[derive(Clone, Debug)]
struct Table {
    slots: Vec<Slot>,
    used: usize,
    /// Both tables of a window have the same, so that one hash serves both.
    secret: (u64, u64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: (u64, u64),
    /// The offset after the last occurrence; 0: empty.
    after: u64,
}

const FIRST_SLOTS: usize = 1_024;
/// Ids looked up together: two cache lines each stay well within the first-level cache.
const GROUP: usize = 32;

impl Table {
    fn new() -> Table {
        let random = RandomState::new();
        Table { slots: vec![Slot::default(); FIRST_SLOTS], used: 0, secret: (random.hash_one(0), random.hash_one(1)) }
    }

    /// Ids of one producer may share most of their bits, and may be chosen: fold both halves with a secret.
    #[inline(always)]
    fn hash(&self, key: Key) -> usize {
        let product = u128::from(key.high ^ self.secret.0).wrapping_mul(u128::from(key.low ^ self.secret.1));
        (product as u64 ^ (product >> 64) as u64) as usize
    }

    /// Something of the slot where the search begins.
    #[inline(always)]
    fn load(&self, hash: usize) -> u64 {
        self.slots[hash & (self.slots.len() - 1)].after
    }

    #[inline(always)]
    fn get(&self, key: Key, hash: usize) -> Option<u64> {
        let mask = self.slots.len() - 1;
        let mut at = hash & mask;
        loop {
            let slot = &self.slots[at];
            if slot.after == 0 {
                return None;
            }
            if slot.key == (key.high, key.low) {
                return Some(slot.after - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// Sets the key's offset, returns the one before.
    #[inline(always)]
    fn put(&mut self, key: Key, hash: usize, offset: u64) -> Option<u64> {
        if self.used * 8 >= self.slots.len() * 5 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.after == 0 {
                *slot = Slot { key: (key.high, key.low), after: offset.saturating_add(1) };
                self.used += 1;
                return None;
            }
            if slot.key == (key.high, key.low) {
                return Some(std::mem::replace(&mut slot.after, offset.saturating_add(1)) - 1);
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let slots = vec![Slot::default(); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, slots);
        self.used = 0;
        for slot in old.into_iter().filter(|slot| slot.after != 0) {
            let key = Key { high: slot.key.0, low: slot.key.1 };
            self.put(key, self.hash(key), slot.after - 1);
        }
    }

    fn clear(&mut self) {
        // A table that one busy window made large is not kept large for ever.
        if self.used * 8 < self.slots.len() && self.slots.len() > FIRST_SLOTS {
            self.slots = vec![Slot::default(); self.slots.len() / 2];
        } else {
            self.slots.fill(Slot::default());
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn seen(window: &mut DedupeWindow, key: Key, offset: u64) -> bool {
        let mut seen = false;
        window.seen(&[((), offset, key)], |()| seen = true);
        seen
    }

    #[test]
    fn a_canonical_uuid_is_its_bits_and_nothing_else_is() {
        let keys = Keys::new();
        let key = keys.key(b"0194f3a0-1b2c-7d3e-8f4a-0123456789ab");
        assert_eq!(key, Key { high: 0x0194_f3a0_1b2c_7d3e, low: 0x8f4a_0123_4567_89ab });
        assert_ne!(keys.key(b"0194F3A0-1B2C-7D3E-8F4A-0123456789AB"), key);
        assert_ne!(keys.key(b"0194f3a0-1b2c-7d3e-8f4a-0123456789a"), key);
        assert_ne!(keys.key(b"0194f3a0_1b2c-7d3e-8f4a-0123456789ab"), key);
    }

    #[test]
    fn every_byte_of_a_uuid_is_checked() {
        let text = *b"0194f3a0-1b2c-7d3e-8f4a-0123456789ab";
        for place in 0..36 {
            for byte in 0..=255_u8 {
                let mut changed = text;
                changed[place] = byte;
                let expected = std::str::from_utf8(&changed)
                    .ok()
                    .filter(|text| text.chars().all(|c| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c)))
                    .filter(|text| text.match_indices('-').map(|(at, _)| at).eq([8, 13, 18, 23]))
                    .and_then(|text| u128::from_str_radix(&text.replace('-', ""), 16).ok())
                    .map(|bits| Key { high: (bits >> 64) as u64, low: bits as u64 });
                assert_eq!(uuid(&changed), expected, "{place} {byte}");
            }
        }
    }

    #[test]
    fn the_edge_is_exactly_w() {
        let key = Key { high: 0, low: 0 };
        for (distance, expected) in [(1, true), (99, true), (100, true), (101, false), (1_000, false)] {
            for start in [0, 1, 50, 99, 100, 1 << 40] {
                let mut window = DedupeWindow::new(100);
                assert!(!seen(&mut window, key, start));
                assert_eq!(seen(&mut window, key, start + distance), expected, "{start} + {distance}");
            }
        }
    }

    #[test]
    fn a_window_of_nothing_is_off() {
        let mut window = DedupeWindow::new(0);
        assert!((0..10).all(|offset| !seen(&mut window, Key { high: 1, low: 1 }, offset)));
    }

    #[test]
    fn memory_stays_bounded() {
        let mut window = DedupeWindow::new(10_000);
        for offset in 0..200_000 {
            assert!(!seen(&mut window, Key { high: offset, low: 0 }, offset));
        }
        assert!(window.bytes() <= 2 * 16_384 * 24, "{}", window.bytes());
        for step in 0..20 {
            seen(&mut window, Key { high: 0, low: 0 }, 1_000_000 * (step + 1));
        }
        assert!(window.bytes() <= 2 * 2 * FIRST_SLOTS * 24, "{}", window.bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn agrees_with_the_definition(
            window in prop_oneof![Just(0_u64), 1_u64..40, Just(u64::MAX)],
            start in prop_oneof![Just(0_u64), 0_u64..100, Just(1_u64 << 62)],
            batch in 1_usize..100,
            steps in prop::collection::vec((0_u64..30, prop_oneof![9 => 1_u64..3, 2 => 1_u64..80]), 1..300),
        ) {
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            let (mut ids, mut expected, mut offset) = (Vec::new(), Vec::new(), start);
            for (n, (id, step)) in steps.into_iter().enumerate() {
                if model.get(&id).is_some_and(|last| offset - last <= window) {
                    expected.push(n);
                }
                model.insert(id, offset);
                ids.push((n, offset, Key { high: id, low: id }));
                offset += step;
            }
            let (mut tested, mut found) = (DedupeWindow::new(window), Vec::new());
            for batch in ids.chunks(batch) {
                tested.seen(batch, |n| found.push(n));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
