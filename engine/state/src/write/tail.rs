//! What a table counted since its last seal: one word per event, folded by sorting.
//!
//! Counting only appends; everything that costs (folding, encoding, merging into panes) is done
//! once per seal. A word holds the code of the minute (16 bits), the key (32) and the millisecond
//! in the minute (16). A sort by the first two brings equal keys of a minute together.

mod fold;

pub(crate) use fold::Folded;

use crate::rows::floors::MINUTE;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use tally_event::time::EVENT_TIMES;
use tally_sketch::Given;

/// Size in bytes from which on a list gives unneeded capacity back.
const MUCH: usize = 1 << 20;

// The minutes of all events fit the number.
const _: () = assert!(
    EVENT_TIMES.start / MINUTE > i32::MIN as i64 && EVENT_TIMES.end / MINUTE < i32::MAX as i64
);

/// The events since the last seal, and those between it and the seal before, for reads that
/// continue from an earlier one.
#[derive(Default)]
pub(crate) struct Tail {
    now: TailRows,
    before: TailRows,
    /// Those between earlier seals, oldest first, while a moment that needs them is read.
    older: Vec<Older>,
    /// First moments of `now` and of `before`.
    since: u64,
    before_since: u64,
    /// Number of seals.
    seals: u64,
    codes: HashMap<i32, u16>,
    last: Option<(i32, u16)>,
}

/// What was noted between two seals some time ago.
struct Older {
    /// Number of seals before it.
    seals: u64,
    /// The moments whose readers need it: those in which it was noted, and those up to the next
    /// seal, for reads that continue.
    moments: RangeInclusive<u64>,
    rows: TailRows,
}

#[derive(Clone, Default)]
struct TailRows {
    rows: Vec<u64>,
    updates: Vec<Update>,
    /// What columns gave to cells, and the bytes of values that are not numbers, end to end.
    values: Vec<Value>,
    bytes: Vec<u8>,
    /// The minutes that occur, by code; at most 2¹⁶.
    minutes: Vec<i32>,
}

/// A place in a tail: how far its rows were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TailEnd {
    seals: u64,
    rows: usize,
    updates: usize,
    values: usize,
}

impl TailEnd {
    /// The last seal before this place.
    pub(crate) fn sealed(self) -> TailEnd {
        TailEnd { seals: self.seals, ..TailEnd::default() }
    }
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

/// A value that a column gave: key, minute, cell, value.
pub(crate) type Valued<'a> = (u32, i32, usize, Given<'a>);

/// An update: key, minute, millisecond in the minute, cell, value.
pub(crate) type Updated = (u32, i32, i64, usize, i128);

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.now.rows.len() + self.now.updates.len()
    }

    /// Whether the next batch might bring more minutes than there are codes, so that a seal must
    /// come first.
    pub(crate) fn is_full(&self, rows: usize) -> bool {
        self.now.minutes.len() + rows > usize::from(u16::MAX)
    }

    /// Makes room for a batch.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.now.rows.reserve(rows);
    }

    /// Notes one event that the engine feeds.
    #[inline]
    pub(crate) fn push(&mut self, key: u32, time: i64) {
        let (code, millis) = self.place(time);
        self.now.rows.push(u64::from(code) << 48 | u64::from(key) << 16 | millis);
    }

    /// Notes one value that a plugin returned.
    pub(crate) fn push_update(&mut self, key: u32, time: i64, cell: u16, value: i128) {
        let (code, millis) = self.place(time);
        self.now.updates.push(Update {
            place: u64::from(code) << 48 | u64::from(key) << 16 | millis,
            cell,
            value,
        });
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
        self.now.values.push(Value {
            place: u64::from(code) << 48 | u64::from(key) << 16 | millis,
            cell,
            noted,
        });
    }

    /// The code of the minute of an event time, and the millisecond in the minute, which always
    /// fits its bits.
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

    /// The end of what was noted.
    pub(crate) fn end(&self) -> TailEnd {
        self.now.end(self.seals)
    }

    /// Whether everything that was noted between two ends is still here.
    pub(crate) fn knows(&self, from: TailEnd, to: TailEnd) -> bool {
        (from.seals..=to.seals).all(|seals| self.of_seal(seals).is_some())
    }

    /// What was noted after so many seals and before the next one.
    fn of_seal(&self, seals: u64) -> Option<&TailRows> {
        match usize::try_from(self.seals.checked_sub(seals)?).ok()? {
            0 => Some(&self.now),
            1 => Some(&self.before),
            _ => self.older.iter().rfind(|older| older.seals == seals).map(|older| &older.rows),
        }
    }

    /// What was noted from one end up to a later one, at most about `most` of it, and how far that
    /// is. `None`: there is no more, or it is no longer here.
    pub(crate) fn piece(
        &self,
        from: TailEnd,
        to: TailEnd,
        most: usize,
    ) -> Option<(Piece<'_>, TailEnd)> {
        let mut at = from;
        while at != to && at.seals <= to.seals {
            let rows = self.of_seal(at.seals)?;
            let end = if at.seals == to.seals { to } else { rows.end(at.seals) };
            let mut next = at;
            if at.rows < end.rows {
                next.rows = end.rows.min(at.rows + most);
            } else if at.updates < end.updates {
                next.updates = end.updates.min(at.updates + most);
            } else if at.values < end.values {
                next.values = end.values.min(at.values + most);
            } else if at.seals < to.seals {
                at = TailEnd { seals: at.seals + 1, ..TailEnd::default() };
                if at == to {
                    // Nothing came since the seal, which is known.
                    return Some((Piece { rows: self.of_seal(at.seals)?, from: at, to: at }, at));
                }
                continue;
            } else {
                return None;
            }
            return Some((Piece { rows, from: at, to: next }, next));
        }
        None
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

    /// Starts over after a seal, which ends moment `at` of the table. `is_read`: whether one of
    /// these moments is read.
    pub(crate) fn clear(&mut self, at: u64, is_read: impl Fn(RangeInclusive<u64>) -> bool) {
        std::mem::swap(&mut self.now, &mut self.before);
        let moments = std::mem::replace(&mut self.before_since, self.since)..=at;
        self.since = at + 1;
        self.older.retain(|older| is_read(older.moments.clone()));
        if self.seals > 0 && is_read(moments.clone()) {
            self.older.push(Older {
                seals: self.seals - 1,
                moments,
                rows: std::mem::take(&mut self.now),
            });
        }
        self.now.clear(&self.before);
        self.codes.clear();
        self.last = None;
        self.seals += 1;
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        let older = self.older.iter().map(|older| older.rows.memory()).sum::<usize>();
        self.now.memory() + self.before.memory() + older + self.codes.capacity() * 9
    }
}

/// A part of what was noted between two seals.
pub(crate) struct Piece<'a> {
    rows: &'a TailRows,
    from: TailEnd,
    to: TailEnd,
}

impl<'a> Piece<'a> {
    /// Each noted event: key, minute, millisecond in the minute.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u32, i32, i64)> + 'a {
        self.rows.rows(self.from.rows..self.to.rows)
    }

    /// Each noted update.
    pub(crate) fn updates(&self) -> impl Iterator<Item = Updated> + 'a {
        self.rows.updates(self.from.updates..self.to.updates)
    }

    /// Each noted value.
    pub(crate) fn values(&self) -> impl Iterator<Item = Valued<'a>> + 'a {
        self.rows.values(self.from.values..self.to.values)
    }
}

impl TailRows {
    /// The end of these rows, which were noted after so many seals.
    fn end(&self, seals: u64) -> TailEnd {
        TailEnd {
            seals,
            rows: self.rows.len(),
            updates: self.updates.len(),
            values: self.values.len(),
        }
    }

    fn rows(&self, of: Range<usize>) -> impl Iterator<Item = (u32, i32, i64)> + '_ {
        let rows = self.rows.get(of).unwrap_or_default();
        rows.iter().map(|row| {
            ((row >> 16) as u32, self.minutes[(row >> 48) as usize], (row & 0xffff) as i64)
        })
    }

    fn updates(&self, of: Range<usize>) -> impl Iterator<Item = Updated> + '_ {
        let updates = self.updates.get(of).unwrap_or_default();
        updates.iter().map(|u| {
            let (key, minute) = ((u.place >> 16) as u32, self.minutes[(u.place >> 48) as usize]);
            (key, minute, (u.place & 0xffff) as i64, usize::from(u.cell), u.value)
        })
    }

    fn values(&self, of: Range<usize>) -> impl Iterator<Item = Valued<'_>> + '_ {
        let values = self.values.get(of).unwrap_or_default();
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

    /// Empties it. Capacity that the last round did not need is given back, so that none remains
    /// after a store was away for long.
    fn clear(&mut self, last: &TailRows) {
        empty(&mut self.rows, last.rows.len());
        empty(&mut self.updates, last.updates.len());
        empty(&mut self.values, last.values.len());
        empty(&mut self.bytes, last.bytes.len());
        self.minutes.clear();
    }

    fn memory(&self) -> usize {
        let values = self.values.capacity() * size_of::<Value>() + self.bytes.capacity();
        self.rows.capacity() * 8
            + self.updates.capacity() * size_of::<Update>()
            + self.minutes.capacity() * 4
            + values
    }
}

fn empty<T>(list: &mut Vec<T>, last: usize) {
    list.clear();
    if list.capacity() * size_of::<T>() > MUCH && list.capacity() / 4 > last {
        list.shrink_to(last * 2);
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
