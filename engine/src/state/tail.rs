//! What a table counted since its last seal: one word per event, folded by sorting.
//!
//! The hot path appends; everything that costs (folding, encoding, merging into panes) is done once per seal. A word
//! holds the minute's code (16 bits), the key (32) and the millisecond in the minute (16); a sort by the first two brings
//! equal keys of a minute together.

use super::block::Block;
use super::cells::Layout;
use super::radix;
use std::collections::HashMap;
use tally_plugin::sketch::Given;

/// Milliseconds of a minute.
pub(crate) const MINUTE: i64 = 60_000;

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

#[derive(Default)]
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

/// The place without the millisecond.
const ROW: u64 = !0xffff;

/// A noted event: minute and group, which come first in the order of folded rows, and its word.
type Placed = (u64, u64);

/// A folded tail: rows in order of (minute, group, key), each once. It is that of runs, and what lies together in it is also
/// found together while frames are written.
#[derive(Default)]
pub(crate) struct Folded {
    pub(crate) minutes: Vec<i32>,
    pub(crate) keys: Vec<u32>,
    /// The group of each key.
    pub(crate) groups: Vec<u32>,
    pub(crate) rows: Block,
    /// Updates counted before folding.
    pub(crate) updates: u64,
}

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

    #[inline]
    fn place(&mut self, time: i64) -> (u16, u64) {
        let minute = time.div_euclid(MINUTE) as i32;
        let code = match self.last {
            Some((last, code)) if last == minute => code,
            _ => self.code(minute),
        };
        (code, (time - i64::from(minute) * MINUTE) as u64)
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

    /// Everything, folded; `group`: that of a key.
    pub(crate) fn folded(&self, layout: &Layout, group: impl Fn(u32) -> u32) -> Folded {
        let (minutes, codes) = self.in_order_of_time();
        let settled = |place: u64| place & 0x0000_ffff_ffff_ffff | u64::from(codes[(place >> 48) as usize]) << 48;
        let order = |place: u64| place >> 48 << 32 | u64::from(group((place >> 16) as u32));
        let placed = |row: &u64| (order(settled(*row)), settled(*row));
        let mut rows: Vec<Placed> = self.now.rows.iter().map(placed).collect();
        let updated =
            |update: &Update| (order(settled(update.place)), Update { place: settled(update.place), ..*update });
        let mut updates: Vec<(u64, Update)> = self.now.updates.iter().map(updated).collect();
        let mut values: Vec<Value> = self.now.values.iter().map(|v| Value { place: settled(v.place), ..*v }).collect();
        // The bits that groups and minutes really have, one above the other.
        let group_bits = radix::bits(rows.iter().fold(0, |all, (order, _)| all | order & 0xffff_ffff));
        let bits = group_bits + radix::bits(minutes.len() as u64);
        radix::sort(&mut rows, bits, |(order, _)| order >> 32 << group_bits | order & 0xffff_ffff);
        // Few events, or few keys, are of one group and minute.
        rows.chunk_by_mut(|a, b| a.0 == b.0).for_each(|same| same.sort_unstable_by_key(|(_, row)| row & ROW));
        updates.sort_by_key(|(order, update)| (*order, update.place));
        values.sort_by_key(|value| (order(value.place), value.place));
        let mut folded = Folded { updates: self.len() as u64, ..Folded::default() };
        let given = |value: &Value| self.now.given(value, i64::from(minutes[(value.place >> 48) as usize]) * MINUTE);
        fold_rows(layout, &minutes, &rows, &updates, &values, &given, &mut folded);
        folded
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

    /// The minutes in order, and the new code of each old one.
    fn in_order_of_time(&self) -> (Vec<i32>, Vec<u16>) {
        let mut order: Vec<u16> = (0..self.now.minutes.len()).map(|code| code as u16).collect();
        order.sort_by_key(|code| self.now.minutes[usize::from(*code)]);
        let mut codes = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            codes[usize::from(*old)] = new as u16;
        }
        (order.iter().map(|code| self.now.minutes[usize::from(*code)]).collect(), codes)
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

/// `rows`, `updates` and `values` (each of an event that is in `rows`) in order of minute, group and key; codes of minutes as in
/// `minutes`.
fn fold_rows<'a>(
    layout: &Layout,
    minutes: &[i32],
    rows: &[Placed],
    updates: &[(u64, Update)],
    values: &[Value],
    given: &dyn Fn(&Value) -> Given<'a>,
    out: &mut Folded,
) {
    let sums_time = layout.reads_time();
    let distinct = rows.chunk_by(|(_, a), (_, b)| a >> 16 == b >> 16).count();
    out.rows = Block::with_capacity(layout, distinct);
    out.minutes.reserve(distinct);
    out.keys.reserve(distinct);
    out.groups.reserve(distinct);
    let (mut at, mut update, mut value) = (0, 0, 0);
    while at < rows.len() || update < updates.len() {
        let here = rows.get(at).map(|(order, row)| (*order, row & ROW));
        let there = updates.get(update).map(|(order, update)| (*order, update.place & ROW));
        let Some((order, place)) = here.into_iter().chain(there).min() else { break };
        let start = at;
        while at < rows.len() && rows[at].1 & ROW == place {
            at += 1;
        }
        let minute = minutes[(place >> 48) as usize];
        out.rows.push_neutral(layout);
        let row = &mut out.rows.row_mut(layout, out.keys.len());
        if at > start {
            let base = i64::from(minute) * MINUTE;
            let millis = |(_, row): &Placed| base + (row & 0xffff) as i64;
            match &rows[start..at] {
                // Most rows of a table with many keys.
                [one] => layout.feed_one(row, millis(one)),
                same => {
                    let times = same.iter().map(millis);
                    let (first, last) = times
                        .clone()
                        .fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
                    let sum = if sums_time { times.map(i128::from).sum() } else { 0 };
                    layout.feed(row, same.len() as i64, first, last, sum);
                }
            }
        }
        let time = |place: u64| i64::from(minute) * MINUTE + (place & 0xffff) as i64;
        while let Some((_, next)) = updates.get(update).filter(|(_, update)| update.place & ROW == place) {
            layout.update(row, usize::from(next.cell), time(next.place), next.value);
            update += 1;
        }
        while let Some(next) = values.get(value).filter(|value| value.place & ROW == place) {
            layout.give(row, usize::from(next.cell), &given(next));
            value += 1;
        }
        out.minutes.push(minute);
        out.keys.push((place >> 16) as u32);
        out.groups.push(order as u32);
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
