//! What a table counted since its last seal: one word per event, folded by sorting.
//!
//! The hot path appends; everything that costs (folding, encoding, merging into panes) is done once per seal. A word
//! holds the minute's code (16 bits), the key (32) and the millisecond in the minute (16); a sort by the first two brings
//! equal keys of a minute together.

mod fold;

pub(crate) use fold::Folded;

use crate::time::EVENT_TIMES;
use std::collections::HashMap;
use tally_plugin::sketch::Given;

/// Milliseconds of a minute.
pub(crate) const MINUTE: i64 = 60_000;

// The minutes of all events have a number.
const _: () = assert!(EVENT_TIMES.start / MINUTE > i32::MIN as i64 && EVENT_TIMES.end / MINUTE < i32::MAX as i64);

/// Events since the last seal, and those between that and the one before, for reads that go on from where they were.
#[derive(Default)]
pub(crate) struct Tail {
    now: Rows,
    before: Rows,
    /// Number of seals.
    seals: u64,
    codes: HashMap<i32, u16>,
    last: Option<(i32, u16)>,
}

#[derive(Clone, Default)]
struct Rows {
    rows: Vec<u64>,
    updates: Vec<Update>,
    /// What columns gave to cells, and the bytes of those that are no number, end to end.
    values: Vec<Value>,
    bytes: Vec<u8>,
    /// The minutes that occur, by code; at most 2¹⁶.
    minutes: Vec<i32>,
}

/// A place in a tail: up to here its rows were read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mark {
    seals: u64,
    rows: usize,
    updates: usize,
    values: usize,
}

#[derive(Clone, Copy)]
struct Update {
    place: u64,
    cell: u16,
    value: i128,
}

/// What a column gave to a cell.
#[derive(Clone, Copy)]
struct Value {
    place: u64,
    cell: u16,
    noted: Noted,
}

#[derive(Clone, Copy)]
enum Noted {
    Number(i128),
    Hash(u64),
    Bucket(i32),
    /// Start and length of its bytes.
    Latest(usize, u16),
}

/// A value that a column gave: key, minute, cell, and what.
pub(crate) type Valued<'a> = (u32, i32, usize, Given<'a>);

/// An update: key, minute, millisecond in the minute, cell, value.
pub(crate) type Updated = (u32, i32, i64, usize, i128);

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.now.rows.len() + self.now.updates.len()
    }

    /// Whether the next batch might bring more minutes than there are codes: seal first.
    pub(crate) fn is_full(&self, rows: usize) -> bool {
        self.now.minutes.len() + rows > usize::from(u16::MAX)
    }

    /// Makes room for a batch.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.now.rows.reserve(rows);
    }

    /// Notes one event that the host feeds.
    #[inline]
    pub(crate) fn push(&mut self, key: u32, time: i64) {
        let (code, millis) = self.place(time);
        self.now.rows.push(u64::from(code) << 48 | u64::from(key) << 16 | millis);
    }

    /// Notes one value that a plugin handed over.
    pub(crate) fn push_update(&mut self, key: u32, time: i64, cell: u16, value: i128) {
        let (code, millis) = self.place(time);
        self.now.updates.push(Update { place: u64::from(code) << 48 | u64::from(key) << 16 | millis, cell, value });
    }

    /// Notes one value that a column of an event (noted before) gives to a cell.
    pub(crate) fn push_value(&mut self, key: u32, time: i64, cell: u16, given: &Given<'_>) {
        let (code, millis) = self.place(time);
        let noted = match given {
            Given::Number(number) => Noted::Number(*number),
            Given::Hash(hash) => Noted::Hash(*hash),
            Given::Bucket(bucket) => Noted::Bucket(*bucket),
            Given::Latest(_, bytes) => {
                let start = self.now.bytes.len();
                self.now.bytes.extend_from_slice(bytes);
                Noted::Latest(start, bytes.len() as u16)
            }
        };
        self.now.values.push(Value { place: u64::from(code) << 48 | u64::from(key) << 16 | millis, cell, noted });
    }

    /// The code of the minute of an event time, and the millisecond in it, which always fits its bits.
    #[inline]
    fn place(&mut self, time: i64) -> (u16, u64) {
        debug_assert!(EVENT_TIMES.contains(&time), "decode lets no other time pass");
        let minute = time.div_euclid(MINUTE) as i32;
        let code = match self.last {
            Some((last, code)) if last == minute => code,
            _ => self.code(minute),
        };
        (code, time.rem_euclid(MINUTE) as u64)
    }

    #[inline(never)]
    fn code(&mut self, minute: i32) -> u16 {
        let minutes = &mut self.now.minutes;
        let code = *self.codes.entry(minute).or_insert_with(|| {
            minutes.push(minute);
            (minutes.len() - 1) as u16
        });
        self.last = Some((minute, code));
        code
    }

    /// Each noted event: key, minute, millisecond in the minute. For reads between seals.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u32, i32, i64)> + '_ {
        self.now.rows(0)
    }

    /// Each noted update.
    pub(crate) fn updates(&self) -> impl Iterator<Item = Updated> + '_ {
        self.now.updates(0)
    }

    /// Each noted value.
    pub(crate) fn values(&self) -> impl Iterator<Item = Valued<'_>> + '_ {
        self.now.values(0)
    }

    /// Up to here.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            seals: self.seals,
            rows: self.now.rows.len(),
            updates: self.now.updates.len(),
            values: self.now.values.len(),
        }
    }

    /// Whether what came since is still here.
    pub(crate) fn knows(&self, mark: Mark) -> bool {
        self.seals - mark.seals <= 1
    }

    /// The events since a mark that is known.
    pub(crate) fn rows_since(&self, mark: Mark) -> impl Iterator<Item = (u32, i32, i64)> + '_ {
        let (before, now) = if mark.seals == self.seals { (usize::MAX, mark.rows) } else { (mark.rows, 0) };
        self.before.rows(before).chain(self.now.rows(now))
    }

    /// The updates since a mark that is known.
    pub(crate) fn updates_since(&self, mark: Mark) -> impl Iterator<Item = Updated> + '_ {
        let (before, now) = if mark.seals == self.seals { (usize::MAX, mark.updates) } else { (mark.updates, 0) };
        self.before.updates(before).chain(self.now.updates(now))
    }

    /// The values since a mark that is known.
    pub(crate) fn values_since(&self, mark: Mark) -> impl Iterator<Item = Valued<'_>> + '_ {
        let (before, now) = if mark.seals == self.seals { (usize::MAX, mark.values) } else { (mark.values, 0) };
        self.before.values(before).chain(self.now.values(now))
    }

    /// Whether what is noted in `other` is what was noted here before the last seal.
    pub(crate) fn sealed_what_is_in(&self, other: &Tail) -> bool {
        let (before, now) = (&self.before, &other.now);
        !now.rows.is_empty()
            && now.updates.is_empty()
            && before.updates.is_empty()
            && now.values.is_empty()
            && before.values.is_empty()
            && before.minutes == now.minutes
            && before.rows == now.rows
    }

    /// A copy of what came since the last seal.
    pub(crate) fn copy(&self) -> Tail {
        Tail { now: self.now.clone(), ..Tail::default() }
    }

    /// Begins anew after a seal.
    pub(crate) fn clear(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.rows.clear();
        self.now.updates.clear();
        self.now.values.clear();
        self.now.bytes.clear();
        self.now.minutes.clear();
        self.codes.clear();
        self.last = None;
        self.seals += 1;
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        self.now.memory() + self.before.memory()
    }
}

impl Rows {
    fn rows(&self, from: usize) -> impl Iterator<Item = (u32, i32, i64)> + '_ {
        let rows = self.rows.get(from..).unwrap_or_default();
        rows.iter().map(|row| ((row >> 16) as u32, self.minutes[(row >> 48) as usize], (row & 0xffff) as i64))
    }

    fn updates(&self, from: usize) -> impl Iterator<Item = Updated> + '_ {
        let updates = self.updates.get(from..).unwrap_or_default();
        updates.iter().map(|u| {
            let (key, minute) = ((u.place >> 16) as u32, self.minutes[(u.place >> 48) as usize]);
            (key, minute, (u.place & 0xffff) as i64, usize::from(u.cell), u.value)
        })
    }

    fn values(&self, from: usize) -> impl Iterator<Item = Valued<'_>> + '_ {
        let values = self.values.get(from..).unwrap_or_default();
        values.iter().map(|value| {
            let minute = self.minutes[(value.place >> 48) as usize];
            let given = self.given(value, i64::from(minute) * MINUTE);
            ((value.place >> 16) as u32, minute, usize::from(value.cell), given)
        })
    }

    fn given(&self, value: &Value, minute: i64) -> Given<'_> {
        match value.noted {
            Noted::Number(number) => Given::Number(number),
            Noted::Hash(hash) => Given::Hash(hash),
            Noted::Bucket(bucket) => Given::Bucket(bucket),
            Noted::Latest(start, length) => {
                let bytes = self.bytes.get(start..start + usize::from(length)).unwrap_or_default();
                Given::Latest(minute + (value.place & 0xffff) as i64, bytes)
            }
        }
    }

    fn memory(&self) -> usize {
        let values = self.values.capacity() * size_of::<Value>() + self.bytes.capacity();
        self.rows.capacity() * 8 + self.updates.capacity() * size_of::<Update>() + values
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
