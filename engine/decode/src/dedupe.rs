//! The dedupe window: which event ids stood on the last W offsets of a partition.
//!
//! A record is a duplicate iff an accepted or duplicate record with its id lies in `[offset − W,
//! offset)`. A copy of an earlier record has a second id, which says of which one. That is a
//! function of the log: it is rebuilt by reading W offsets again, and is stored nowhere. Exact up to
//! a collision of 128-bit keys.
//!
//! A duplicate whose content is not that of the first record with its id is told apart as a
//! conflict. Content is a hash of 32 bits over what was mapped: one conflict in four thousand
//! million goes unseen, and none is invented. It takes the place of the upper half of the offset,
//! which is kept relative to its table, so it costs no memory.
//!
//! Memory: two tables, of the current W offsets and the W before them, each at most W ids of 24
//! bytes and their index, so 68–88 bytes per offset of W when every record has an id, grown only as
//! ids come (W = 65,536: 5.3 MB a partition).

use super::id::Id;
use super::verdict::Event;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;
use tally_event::index::{GROUP, Index};

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
    contents: foldhash::fast::RandomState,
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys {
            secret: (RandomState::new().hash_one(0), RandomState::new().hash_one(1)),
            contents: foldhash::fast::RandomState::default(),
        }
    }

    /// What an event says, as 32 bits: user, product, type (by name), and time where the event
    /// itself states it. One that takes its time from its record is the same when it is sent again
    /// later.
    #[inline(always)]
    pub(super) fn content(&self, event: &Event<'_>, kind: &str) -> u32 {
        let mut hasher = self.contents.build_hasher();
        for id in [&event.user, &event.product] {
            match id {
                Id::Integer(integer) => hasher.write_u64(*integer),
                Id::Text(text) => hasher.write(text),
                Id::Absent => hasher.write_u64(tally_event::ABSENT),
            }
        }
        hasher.write(kind.as_bytes());
        if event.timed {
            hasher.write_i64(event.time);
        }
        hasher.finish() as u32
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

    /// Of a copy whose origin is at `place`. No event id is equal: none has control characters.
    #[cold]
    pub(super) fn origin(&self, place: &str) -> Key {
        self.hash(&[b"\0origin\0", place.as_bytes()].concat())
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
        let four = |at: usize| {
            u64::from(u32::from_be_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]))
        };
        hex_digits(four(a) << 32 | four(b))
    };
    let (one, two, three, four) = (eight(0, 4), eight(9, 14), eight(19, 24), eight(28, 32));
    let wrong = one.1 | two.1 | three.1 | four.1;
    (wrong == 0).then_some(Key { high: one.0 << 32 | two.0, low: three.0 << 32 | four.0 })
}

/// The value of eight lower-case hexadecimal digits (the first in the highest byte), and 0 if they
/// are such.
#[inline(always)]
fn hex_digits(word: u64) -> (u64, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let letters = (word >> 6) & ONES;
    let digits = (word & (ONES * 0x0F)) + letters * 9;
    // Written out again they must be the same bytes; a digit above 15 (from "g" on) shows in its
    // upper half.
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
    /// The other holds the window before it.
    current: Table,
    previous: Table,
}

impl DedupeWindow {
    /// A window of so many offsets, at most 2³² − 2 (which memory does not hold); 0 takes nothing
    /// for a duplicate.
    #[must_use]
    pub fn new(window: u64) -> DedupeWindow {
        let table = Table::new();
        DedupeWindow {
            window: window.min(u64::from(u32::MAX) - 1),
            current: table.clone(),
            previous: table,
        }
    }

    /// Its length in offsets.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.window
    }

    /// Calls `duplicate` for each id, in order, that stood within the window before its offset,
    /// with whether its content is another than that of the first record of the id; from then on
    /// the id stands there too. Ids are (which, offset, key, content).
    ///
    /// Offsets must not fall, within a call and from call to call. Ids are looked up in groups,
    /// whose slots are all loaded before any is used, so that the cache misses of a group overlap.
    pub fn seen<T: Copy>(
        &mut self,
        ids: &[(T, u64, Key, u32)],
        mut duplicate: impl FnMut(T, bool),
    ) {
        if self.window == 0 {
            return;
        }
        let mut hashes = [0; GROUP];
        for group in ids.chunks(GROUP) {
            let mut loaded = 0;
            for (hash, (_, _, key, _)) in hashes.iter_mut().zip(group) {
                *hash = self.current.hash(*key);
                loaded |= self.current.load(*hash) | self.previous.load(*hash);
            }
            black_box(loaded);
            for (hash, &(id, offset, key, content)) in hashes.iter().zip(group) {
                if let Some(first) = self.seen_one(key, *hash, offset, content) {
                    duplicate(id, first != content);
                }
            }
        }
    }

    /// The content of the first record of a duplicate.
    #[inline(always)]
    fn seen_one(&mut self, key: Key, hash: u32, offset: u64, content: u32) -> Option<u32> {
        if offset.saturating_sub(self.current.base) >= self.window {
            self.turn(offset);
        }
        // Less than the window, which is less than 2³² − 1.
        let after = (offset.saturating_sub(self.current.base) as u32).saturating_add(1);
        if let Some(known) = self.current.find(key, hash) {
            let seen = &mut self.current.ids[known as usize];
            seen.after = after;
            // The current table is shorter than the window, so what it holds is in it.
            return Some(seen.content);
        }
        let known = self.previous.find(key, hash).map(|known| &self.previous.ids[known as usize]);
        let known = known.filter(|seen| {
            offset - (self.previous.base + u64::from(seen.after) - 1) <= self.window
        });
        let first = known.map(|seen| seen.content);
        self.current.add(Seen { key, after, content: first.unwrap_or(content) }, hash, self.window);
        first
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.current.clear();
        self.previous.clear();
        self.current.base = 0;
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.current, &self.previous]
            .map(|table| table.ids.capacity() * size_of::<Seen>() + table.index.memory())
            .iter()
            .sum()
    }

    /// Begins a table at `offset`. What the dropped one holds is older than W offsets from here on.
    #[cold]
    fn turn(&mut self, offset: u64) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        // What comes is mostly as much as what went: it need not grow to that step by step.
        self.current.make_room(self.previous.ids.len());
        self.current.base = offset;
    }
}

/// Ids in the order in which they came.
#[derive(Clone, Debug)]
struct Table {
    ids: Vec<Seen>,
    index: Index,
    /// First offset that it may hold.
    base: u64,
    /// Both tables of a window have the same, so that one hash serves both.
    secret: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    /// The offset after the last occurrence, from the table's base on.
    after: u32,
    /// Of the first occurrence.
    content: u32,
}

/// Ids that a table has room for at least.
const FEW: usize = 1_024;

impl Table {
    fn new() -> Table {
        let random = RandomState::new();
        let secret = (random.hash_one(0), random.hash_one(1));
        Table { ids: Vec::new(), index: Index::new(), base: 0, secret }
    }

    /// Ids of one producer may share most of their bits, and may be chosen: fold both halves with a
    /// secret.
    #[inline(always)]
    fn hash(&self, key: Key) -> u32 {
        let product =
            u128::from(key.high ^ self.secret.0).wrapping_mul(u128::from(key.low ^ self.secret.1));
        (product as u64 ^ (product >> 64) as u64) as u32
    }

    /// Something of the slot where the search begins.
    #[inline(always)]
    fn load(&self, hash: u32) -> u32 {
        self.index.load(hash).unwrap_or(0)
    }

    /// Number of the key.
    #[inline(always)]
    fn find(&self, key: Key, hash: u32) -> Option<u32> {
        self.index
            .find(hash, |number| self.ids.get(number as usize).is_some_and(|seen| seen.key == key))
    }

    /// Adds a key that is not there. `most`: ids that the table will hold, unless there are copies,
    /// which have two each: beyond it grows by an eighth.
    #[inline(always)]
    fn add(&mut self, seen: Seen, hash: u32, most: u64) {
        let held = self.ids.len();
        if held == self.ids.capacity() {
            let left = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(held);
            let more = if left == 0 { (held / 8).max(FEW) } else { held.max(FEW).min(left) };
            self.ids.reserve_exact(more);
        }
        self.index.insert(hash, held as u32);
        self.ids.push(seen);
    }

    /// Makes room for so many ids in a table that holds none.
    fn make_room(&mut self, ids: usize) {
        self.ids.reserve_exact(ids);
        self.index.make_room(ids);
    }

    fn clear(&mut self) {
        // A table that one busy window made large is not kept large for ever.
        if self.ids.len() * 8 < self.ids.capacity() {
            self.ids = Vec::with_capacity((self.ids.capacity() / 2).max(FEW));
        }
        self.ids.clear();
        self.index.clear();
    }
}

#[cfg(test)]
#[path = "dedupe_tests.rs"]
mod tests;
