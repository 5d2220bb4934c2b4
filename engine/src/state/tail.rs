//! What a table counted since its last seal: one word per event, folded by sorting.
//!
//! The hot path appends; everything that costs (folding, encoding, merging into panes) is done once per seal. A word
//! holds the minute's code (16 bits), the key (32) and the millisecond in the minute (16); a sort by the first two brings
//! equal keys of a minute together.

use super::cells::Layout;
use super::radix;
use std::collections::HashMap;

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
    /// The minutes that occur, by code; at most 2¹⁶.
    minutes: Vec<i32>,
}

/// A place in a tail: up to here its rows were read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mark {
    seals: u64,
    rows: usize,
    updates: usize,
}

#[derive(Clone, Copy)]
struct Update {
    place: u64,
    cell: u16,
    value: i128,
}

/// A folded tail: rows in order of (minute, key), each once.
#[derive(Default)]
pub(crate) struct Folded {
    pub(crate) minutes: Vec<i32>,
    pub(crate) keys: Vec<u32>,
    /// Words of all rows, end to end.
    pub(crate) words: Vec<i64>,
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
        let (code, _) = self.place(time);
        self.now.updates.push(Update { place: u64::from(code) << 48 | u64::from(key) << 16, cell, value });
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

    /// Each noted update: key, minute, cell, value.
    pub(crate) fn updates(&self) -> impl Iterator<Item = (u32, i32, usize, i128)> + '_ {
        self.now.updates(0)
    }

    /// Up to here.
    pub(crate) fn mark(&self) -> Mark {
        Mark { seals: self.seals, rows: self.now.rows.len(), updates: self.now.updates.len() }
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
    pub(crate) fn updates_since(&self, mark: Mark) -> impl Iterator<Item = (u32, i32, usize, i128)> + '_ {
        let (before, now) = if mark.seals == self.seals { (usize::MAX, mark.updates) } else { (mark.updates, 0) };
        self.before.updates(before).chain(self.now.updates(now))
    }

    /// Whether what is noted in `other` is what was noted here before the last seal.
    pub(crate) fn sealed_what_is_in(&self, other: &Tail) -> bool {
        let (before, now) = (&self.before, &other.now);
        !now.rows.is_empty()
            && now.updates.is_empty()
            && before.updates.is_empty()
            && before.minutes == now.minutes
            && before.rows == now.rows
    }

    /// Everything, folded.
    pub(crate) fn folded(&self, layout: &Layout) -> Folded {
        let (minutes, codes) = self.in_order_of_time();
        let code = |place: u64| u64::from(codes[(place >> 48) as usize]) << 48;
        let mut rows: Vec<u64> = self.now.rows.iter().map(|row| *row & 0x0000_ffff_ffff_ffff | code(*row)).collect();
        let place = |update: &Update| update.place & 0x0000_ffff_ffff_0000 | code(update.place);
        let mut updates: Vec<Update> = self.now.updates.iter().map(|u| Update { place: place(u), ..*u }).collect();
        // The bits that keys and minutes really have, one above the other.
        let key_bits = radix::bits(rows.iter().fold(0, |all, row| all | row >> 16 & 0xffff_ffff));
        let bits = key_bits + radix::bits(minutes.len() as u64);
        radix::sort(&mut rows, bits, |row| row >> 48 << key_bits | row >> 16 & 0xffff_ffff);
        updates.sort_by_key(|update| update.place);
        let mut folded = Folded { updates: self.len() as u64, ..Folded::default() };
        fold_rows(layout, &minutes, &rows, &updates, &mut folded);
        folded
    }

    /// Begins anew after a seal.
    pub(crate) fn clear(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.rows.clear();
        self.now.updates.clear();
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

impl Folded {
    /// Brings the rows of each minute into the order of `groups` (of its row); those of a group keep theirs.
    pub(crate) fn order_by(&mut self, groups: &[u32], width: usize) {
        // Keys that are their own groups.
        if groups == self.keys {
            return;
        }
        let group_bits = radix::bits(groups.iter().fold(0, |all, group| all | u64::from(*group)));
        let mut minute = 0_u64;
        let mut last = self.minutes.first().copied();
        let rows = self.minutes.iter().zip(groups).enumerate().map(|(row, (&at, &group))| {
            minute += u64::from(last.replace(at) != Some(at));
            (minute << group_bits | u64::from(group), row as u32)
        });
        let mut rows: Vec<(u64, u32)> = rows.collect();
        radix::sort(&mut rows, group_bits + radix::bits(minute), |(place, _)| *place);
        let (old, old_keys) = (std::mem::take(&mut self.words), std::mem::take(&mut self.keys));
        self.words.reserve_exact(old.len());
        self.keys.reserve_exact(old_keys.len());
        for &(_, row) in &rows {
            self.keys.push(old_keys[row as usize]);
            self.words.extend_from_slice(&old[row as usize * width..][..width]);
        }
    }
}

impl Rows {
    fn rows(&self, from: usize) -> impl Iterator<Item = (u32, i32, i64)> + '_ {
        let rows = self.rows.get(from..).unwrap_or_default();
        rows.iter().map(|row| ((row >> 16) as u32, self.minutes[(row >> 48) as usize], (row & 0xffff) as i64))
    }

    fn updates(&self, from: usize) -> impl Iterator<Item = (u32, i32, usize, i128)> + '_ {
        let updates = self.updates.get(from..).unwrap_or_default();
        updates
            .iter()
            .map(|u| ((u.place >> 16) as u32, self.minutes[(u.place >> 48) as usize], usize::from(u.cell), u.value))
    }

    fn memory(&self) -> usize {
        self.rows.capacity() * 8 + self.updates.capacity() * size_of::<Update>()
    }
}

/// `rows` and `updates` in order of their places, the milliseconds apart; codes of minutes as in `minutes`.
fn fold_rows(layout: &Layout, minutes: &[i32], rows: &[u64], updates: &[Update], out: &mut Folded) {
    let sums_time = layout.reads_time();
    let distinct = rows.chunk_by(|a, b| a >> 16 == b >> 16).count();
    out.words.reserve(distinct * layout.words());
    out.minutes.reserve(distinct);
    out.keys.reserve(distinct);
    let (mut at, mut update) = (0, 0);
    while at < rows.len() || update < updates.len() {
        let here = rows.get(at).map(|row| row & !0xffff);
        let there = updates.get(update).map(|update| update.place);
        let Some(place) = here.into_iter().chain(there).min() else { break };
        let start = at;
        while at < rows.len() && rows[at] & !0xffff == place {
            at += 1;
        }
        let minute = minutes[(place >> 48) as usize];
        let word = out.words.len();
        out.words.resize(word + layout.words(), 0);
        let row = &mut out.words[word..];
        layout.clear(row);
        if at > start {
            let base = i64::from(minute) * MINUTE;
            let same = &rows[start..at];
            let (first, last) = same
                .iter()
                .map(|row| (row & 0xffff) as i64)
                .fold((i64::MAX, 0), |(first, last), ms| (first.min(ms), last.max(ms)));
            let millis = |row: &u64| i128::from(base + (row & 0xffff) as i64);
            let sum = if sums_time { same.iter().map(millis).sum() } else { 0 };
            layout.feed(row, same.len() as i64, base + first, base + last, sum);
        }
        while let Some(next) = updates.get(update).filter(|update| update.place == place) {
            layout.update(row, usize::from(next.cell), next.value);
            update += 1;
        }
        out.minutes.push(minute);
        out.keys.push((place >> 16) as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tally_plugin::description::{Cell, From, Merge};

    fn layout() -> Layout {
        let cell = |merge, from| Cell { name: "c".into(), merge, from };
        Layout::new(&[
            cell(Merge::Sum, From::One),
            cell(Merge::Min, From::EventTime),
            cell(Merge::Max, From::EventTime),
            cell(Merge::Sum, From::Update),
        ])
    }

    proptest! {
        /// The fold equals merging event by event.
        #[test]
        fn folds_like_one_by_one(events in prop::collection::vec((0..5u32, -400_000..400_000i64, any::<i64>(), any::<bool>()), 0..200)) {
            let layout = layout();
            let mut tail = Tail::default();
            let mut expected: BTreeMap<(i32, u32), Vec<i64>> = BTreeMap::new();
            for (key, time, value, updates) in events {
                let row = expected.entry((time.div_euclid(MINUTE) as i32, key)).or_insert_with(|| layout.neutral());
                tail.push(key, time);
                layout.feed(row, 1, time, time, i128::from(time));
                if updates {
                    tail.push_update(key, time, 3, i128::from(value));
                    layout.update(row, 3, i128::from(value));
                }
            }
            let folded = tail.folded(&layout);
            let places: Vec<(i32, u32)> = folded.minutes.iter().copied().zip(folded.keys.iter().copied()).collect();
            prop_assert_eq!(places, expected.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(folded.words, expected.into_values().flatten().collect::<Vec<_>>());
            tail.clear();
            prop_assert_eq!(tail.len(), 0);
        }
    }
}
