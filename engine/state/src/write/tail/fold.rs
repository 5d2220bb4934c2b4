//! Turns what was noted since a seal into rows: sorted by minute, group and key, and folded, each
//! row once.
//!
//! With fewer keys than events, events are folded first, each into the place of its key and minute,
//! and the result is sorted: a table of some thousand products has a fifth as many rows as events.
//! Where most events have a key of their own, sorting first is faster.

use super::{Tail, Update, Value};
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::MINUTE;
use crate::rows::radix;
use tally_sketch::Given;

/// A folded tail: rows in order of (minute, group, key), each once. Runs have the same order, and
/// rows that frames write together lie together in it.
#[derive(Default)]
pub(crate) struct Folded {
    /// Each minute, ascending, and the row after its last.
    pub(crate) minutes: Vec<(i32, usize)>,
    pub(crate) keys: Vec<u32>,
    /// The group of each key.
    pub(crate) groups: Vec<u32>,
    pub(crate) rows: Block,
    /// Updates counted before folding.
    pub(crate) updates: u64,
}

/// Mask of a place without the millisecond.
const ROW: u64 = !0xffff;

/// A noted event beside its group: 12 bytes, since the sort moves all of them.
#[derive(Clone, Copy, Default)]
struct Placed {
    group: u32,
    /// Its word, in two halves.
    high: u32,
    low: u32,
}

impl Placed {
    fn new(group: u32, row: u64) -> Placed {
        Placed { group, high: (row >> 32) as u32, low: row as u32 }
    }

    #[inline]
    fn row(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    /// Minute and group, by which folded rows are ordered first.
    #[inline]
    fn order(&self) -> u64 {
        order(self.high >> 16, self.group)
    }
}

#[inline]
fn order(minute: u32, group: u32) -> u64 {
    u64::from(minute) << 32 | u64::from(group)
}

/// Events of one key and minute.
#[derive(Clone, Copy, Default)]
struct Together {
    place: u64,
    group: u32,
    events: u32,
    /// Milliseconds in the minute: their sum, the least and the greatest.
    millis: u64,
    first: u16,
    last: u16,
}

impl Together {
    fn order(&self) -> u64 {
        order((self.place >> 48) as u32, self.group)
    }
}

/// Sorts by minute, group and key. `of`: the first two, and all three, each as one number.
fn sort<T: Copy + Default>(items: &mut Vec<T>, of: impl Fn(&T) -> (u64, u64)) {
    // The bits that groups and minutes really use, one above the other.
    let all = items.iter().fold(0, |all, item| all | of(item).0);
    let groups = radix::bits(all & 0xffff_ffff);
    let bits = groups + radix::bits(all >> 32);
    radix::sort(items, bits, |item| of(item).0 >> 32 << groups | of(item).0 & 0xffff_ffff);
    // Few events, or few keys, share a group and minute.
    items
        .chunk_by_mut(|a, b| of(a).0 == of(b).0)
        .for_each(|same| same.sort_unstable_by_key(|item| of(item).1));
}

impl Folded {
    /// Notes the key of the row that was added last.
    fn place(&mut self, minute: i32, group: u32, key: u32) {
        self.keys.push(key);
        self.groups.push(group);
        match self.minutes.last_mut() {
            Some((last, end)) if *last == minute => *end = self.keys.len(),
            _ => self.minutes.push((minute, self.keys.len())),
        }
    }
}

impl Tail {
    /// Everything, folded; `group` returns the group of a key.
    pub(crate) fn folded(&self, layout: &Layout, group: impl Fn(u32) -> u32) -> Folded {
        let (minutes, codes) = self.in_order_of_time();
        self.folded_first(layout, &minutes, &codes, &group)
            .unwrap_or_else(|| self.sorted_first(layout, &minutes, &codes, &group))
    }

    /// `None` if that would take more memory than sorting.
    fn folded_first(
        &self,
        layout: &Layout,
        minutes: &[i32],
        codes: &[u16],
        group: &impl Fn(u32) -> u32,
    ) -> Option<Folded> {
        let rows = &self.now.rows;
        let keys = 1 + rows.iter().map(|row| (row >> 16) as u32).max()? as usize;
        if !self.now.updates.is_empty()
            || !self.now.values.is_empty()
            || keys * minutes.len() > 2 * rows.len()
        {
            return None;
        }
        let (mut at, mut all) = (vec![0_u32; keys * minutes.len()], Vec::<Together>::new());
        for row in rows {
            let (minute, key, millis) =
                (codes[(row >> 48) as usize], (row >> 16) as u32, *row as u16);
            let at = &mut at[usize::from(minute) * keys + key as usize];
            if *at == 0 {
                let place = u64::from(minute) << 48 | u64::from(key) << 16;
                all.push(Together {
                    place,
                    group: group(key),
                    first: millis,
                    last: millis,
                    ..Together::default()
                });
                *at = all.len() as u32;
            }
            let together = &mut all[*at as usize - 1];
            together.events += 1;
            together.millis += u64::from(millis);
            together.first = together.first.min(millis);
            together.last = together.last.max(millis);
        }
        sort(&mut all, |together| (together.order(), together.place));
        let mut out = Folded { updates: self.len() as u64, ..Folded::default() };
        out.rows = Block::with_capacity(layout, all.len());
        for of in &all {
            let minute = minutes[(of.place >> 48) as usize];
            let base = i64::from(minute) * MINUTE;
            let time = |millis: u16| base + i64::from(millis);
            let sum = i128::from(base) * i128::from(of.events) + i128::from(of.millis);
            out.rows.push_fed(layout, i64::from(of.events), time(of.first), time(of.last), sum);
            out.place(minute, of.group, (of.place >> 16) as u32);
        }
        Some(out)
    }

    fn sorted_first(
        &self,
        layout: &Layout,
        minutes: &[i32],
        codes: &[u16],
        group: &impl Fn(u32) -> u32,
    ) -> Folded {
        let settled = |place: u64| {
            place & 0x0000_ffff_ffff_ffff | u64::from(codes[(place >> 48) as usize]) << 48
        };
        let order = |place: u64| order((place >> 48) as u32, group((place >> 16) as u32));
        let placed = |row: &u64| Placed::new(group((row >> 16) as u32), settled(*row));
        let mut rows: Vec<Placed> = self.now.rows.iter().map(placed).collect();
        let updated = |update: &Update| {
            (order(settled(update.place)), Update { place: settled(update.place), ..*update })
        };
        let mut updates: Vec<(u64, Update)> = self.now.updates.iter().map(updated).collect();
        let mut values: Vec<Value> =
            self.now.values.iter().map(|v| Value { place: settled(v.place), ..*v }).collect();
        sort(&mut rows, |placed| (placed.order(), placed.row() & ROW));
        updates.sort_by_key(|(order, update)| (*order, update.place));
        values.sort_by_key(|value| (order(value.place), value.place));
        let mut folded = Folded { updates: self.len() as u64, ..Folded::default() };
        let given = |value: &Value| {
            self.now.given(value, i64::from(minutes[(value.place >> 48) as usize]) * MINUTE)
        };
        fold_rows(layout, minutes, &rows, &updates, &values, &given, &mut folded);
        folded
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
}

/// Folds `rows`, `updates` and `values` (each of an event in `rows`), which are in order of minute,
/// group and key; their codes are places in `minutes`.
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
    let distinct = rows.chunk_by(|a, b| a.row() >> 16 == b.row() >> 16).count();
    out.rows = Block::with_capacity(layout, distinct);
    out.keys.reserve(distinct);
    out.groups.reserve(distinct);
    let (mut at, mut update, mut value) = (0, 0, 0);
    while at < rows.len() || update < updates.len() {
        let here = rows.get(at).map(|placed| (placed.order(), placed.row() & ROW));
        let there = updates.get(update).map(|(order, update)| (*order, update.place & ROW));
        let Some((order, place)) = here.into_iter().chain(there).min() else { break };
        let start = at;
        while at < rows.len() && rows[at].row() & ROW == place {
            at += 1;
        }
        let minute = minutes[(place >> 48) as usize];
        let base = i64::from(minute) * MINUTE;
        let millis = |placed: &Placed| base + i64::from(placed.low & 0xffff);
        match &rows[start..at] {
            [] => out.rows.push_neutral(layout),
            // Most rows of a table with many keys.
            [one] => {
                out.rows.push_fed(layout, 1, millis(one), millis(one), i128::from(millis(one)))
            }
            same => {
                let times = same.iter().map(millis);
                let (first, last) =
                    times.clone().fold((i64::MAX, i64::MIN), |(first, last), time| {
                        (first.min(time), last.max(time))
                    });
                let sum = if sums_time { times.map(i128::from).sum() } else { 0 };
                out.rows.push_fed(layout, same.len() as i64, first, last, sum);
            }
        }
        let row = &mut out.rows.row_mut(layout, out.keys.len());
        let time = |place: u64| base + (place & 0xffff) as i64;
        while let Some((_, next)) =
            updates.get(update).filter(|(_, update)| update.place & ROW == place)
        {
            layout.update(row, usize::from(next.cell), time(next.place), next.value);
            update += 1;
        }
        while let Some(next) = values.get(value).filter(|value| value.place & ROW == place) {
            layout.give(row, usize::from(next.cell), &given(next));
            value += 1;
        }
        out.place(minute, order as u32, (place >> 16) as u32);
    }
}
