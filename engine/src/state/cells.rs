//! The cells of a table as words: how a row's values lie in memory, how two rows become one, how they are written.
//!
//! A row is a fixed number of `i64` words. A count takes one (2⁶³ events do not happen); any other sum takes two, an
//! exact `i128`; minima and maxima take one. Merges are associative and commutative without exception: no floats, no
//! saturation. Nothing here knows keys or time.

use super::varint;
use tally_plugin::description::{Cell, From, Merge};

/// How one cell is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    Sum,
    Min,
    Max,
}

/// The cells of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    cells: Vec<(Kind, From)>,
    /// First word of each cell.
    starts: Vec<usize>,
    words: usize,
}

impl Layout {
    pub(crate) fn new(cells: &[Cell]) -> Layout {
        let cells: Vec<(Kind, From)> = cells
            .iter()
            .map(|cell| match (cell.merge, cell.from) {
                (Merge::Sum, From::One) => (Kind::Count, cell.from),
                (Merge::Sum, _) => (Kind::Sum, cell.from),
                (Merge::Min, _) => (Kind::Min, cell.from),
                (Merge::Max, _) => (Kind::Max, cell.from),
            })
            .collect();
        let mut words = 0;
        let starts = cells
            .iter()
            .map(|(kind, _)| {
                let start = words;
                words += if *kind == Kind::Sum { 2 } else { 1 };
                start
            })
            .collect();
        Layout { cells, starts, words }
    }

    /// Words of a row.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Number of cells.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether any cell is fed by the event's time.
    pub(crate) fn reads_time(&self) -> bool {
        self.cells.iter().any(|(_, from)| *from == From::EventTime)
    }

    /// Adds one event that happened at `time`. Counts alone, and counts with first and last time, are worth a path of their own.
    #[inline(always)]
    pub(crate) fn feed_one(&self, row: &mut [i64], time: i64) {
        match (self.cells.as_slice(), row) {
            ([(Kind::Count, _)], [count]) => *count += 1,
            ([(Kind::Count, _), (Kind::Min, From::EventTime), (Kind::Max, From::EventTime)], [count, first, last]) => {
                *count += 1;
                *first = time.min(*first);
                *last = time.max(*last);
            }
            (_, row) => self.feed(row, 1, time, time, i128::from(time)),
        }
    }

    /// Writes the neutral row.
    pub(crate) fn clear(&self, row: &mut [i64]) {
        row.fill(0);
        for (n, (kind, _)) in self.cells.iter().enumerate() {
            match kind {
                Kind::Min => row[self.starts[n]] = i64::MAX,
                Kind::Max => row[self.starts[n]] = i64::MIN,
                Kind::Count | Kind::Sum => {}
            }
        }
    }

    /// A neutral row.
    pub(crate) fn neutral(&self) -> Vec<i64> {
        let mut row = vec![0; self.words];
        self.clear(&mut row);
        row
    }

    /// Adds what the host feeds: `events` events whose times lie in `[first, last]` and sum up to `time_sum`.
    #[inline]
    pub(crate) fn feed(&self, row: &mut [i64], events: i64, first: i64, last: i64, time_sum: i128) {
        for (n, (kind, from)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match (from, kind) {
                (From::Update, _) => {}
                (From::One, Kind::Count) => row[word] += events,
                (From::One, Kind::Sum) => add(row, word, i128::from(events)),
                (From::One, Kind::Min) => row[word] = row[word].min(1),
                (From::One, Kind::Max) => row[word] = row[word].max(1),
                (From::EventTime, Kind::Min) => row[word] = row[word].min(first),
                (From::EventTime, Kind::Max) => row[word] = row[word].max(last),
                (From::EventTime, Kind::Sum | Kind::Count) => add(row, word, time_sum),
            }
        }
    }

    /// Merges one value that a plugin handed over. Whether the cell takes such values and the value fits.
    pub(crate) fn update(&self, row: &mut [i64], cell: usize, value: i128) -> bool {
        let Some((kind, From::Update)) = self.cells.get(cell) else { return false };
        let word = self.starts[cell];
        match (kind, i64::try_from(value)) {
            (Kind::Sum, _) => add(row, word, value),
            (Kind::Min, Ok(value)) => row[word] = row[word].min(value),
            (Kind::Max, Ok(value)) => row[word] = row[word].max(value),
            _ => return false,
        }
        true
    }

    /// Whether `update` would take the value.
    pub(crate) fn takes(&self, cell: usize, value: i128) -> bool {
        match self.cells.get(cell) {
            Some((Kind::Sum, From::Update)) => true,
            Some((Kind::Min | Kind::Max, From::Update)) => i64::try_from(value).is_ok(),
            _ => false,
        }
    }

    /// Merges `other` into `row`.
    #[inline]
    pub(crate) fn merge(&self, row: &mut [i64], other: &[i64]) {
        for (n, (kind, _)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Count => row[word] += other[word],
                Kind::Sum => add(row, word, wide(other, word)),
                Kind::Min => row[word] = row[word].min(other[word]),
                Kind::Max => row[word] = row[word].max(other[word]),
            }
        }
    }

    /// The value of a cell.
    pub(crate) fn value(&self, row: &[i64], cell: usize) -> i128 {
        let word = self.starts[cell];
        if self.cells[cell].0 == Kind::Sum { wide(row, word) } else { i128::from(row[word]) }
    }

    /// The value of a cell; `None` for a minimum or maximum of nothing.
    pub(crate) fn held(&self, row: &[i64], cell: usize) -> Option<i128> {
        let neutral = match self.cells[cell].0 {
            Kind::Count | Kind::Sum => return Some(self.value(row, cell)),
            Kind::Min => i64::MAX,
            Kind::Max => i64::MIN,
        };
        Some(row[self.starts[cell]]).filter(|word| *word != neutral).map(i128::from)
    }

    /// Two values of a cell that does not add up, merged.
    pub(crate) fn combine(&self, cell: usize, a: i128, b: i128) -> i128 {
        if self.cells[cell].0 == Kind::Min { a.min(b) } else { a.max(b) }
    }

    /// Whether the cell adds up (so that weights make sense).
    pub(crate) fn adds(&self, cell: usize) -> bool {
        matches!(self.cells[cell].0, Kind::Count | Kind::Sum)
    }

    /// Appends the row; times are written relative to `base`, the start of the row's pane, to be short.
    #[inline]
    pub(crate) fn write(&self, row: &[i64], base: i64, out: &mut Vec<u8>) {
        for (n, (kind, from)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Count => varint::put(out, row[word] as u64),
                Kind::Sum => varint::put_wide(out, wide(row, word)),
                Kind::Min | Kind::Max => {
                    let base = if *from == From::EventTime { base } else { 0 };
                    varint::put(out, varint::zigzag(row[word].wrapping_sub(base)));
                }
            }
        }
    }

    /// Reads a row that `write` wrote with the same base. `None`: the bytes are no such row.
    #[inline]
    pub(crate) fn read(&self, bytes: &mut &[u8], base: i64, row: &mut [i64]) -> Option<()> {
        for (n, (kind, from)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Count => row[word] = i64::try_from(varint::take(bytes)?).ok()?,
                Kind::Sum => {
                    let value = varint::take_wide(bytes)?;
                    row[word] = value as i64;
                    row[word + 1] = (value >> 64) as i64;
                }
                Kind::Min | Kind::Max => {
                    let base = if *from == From::EventTime { base } else { 0 };
                    row[word] = varint::unzigzag(varint::take(bytes)?).wrapping_add(base);
                }
            }
        }
        Some(())
    }
}

fn wide(row: &[i64], word: usize) -> i128 {
    i128::from(row[word + 1]) << 64 | i128::from(row[word] as u64)
}

/// Exact in 128 bits: 2⁶³ updates of the largest 64-bit value fit. Wrapping keeps the merge associative beyond that.
fn add(row: &mut [i64], word: usize, value: i128) {
    let sum = wide(row, word).wrapping_add(value);
    row[word] = sum as i64;
    row[word + 1] = (sum >> 64) as i64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout() -> Layout {
        let cell = |merge, from| Cell { name: "c".into(), merge, from };
        Layout::new(&[
            cell(Merge::Sum, From::One),
            cell(Merge::Min, From::EventTime),
            cell(Merge::Max, From::EventTime),
            cell(Merge::Sum, From::Update),
            cell(Merge::Min, From::Update),
        ])
    }

    fn row(events: i64, time: i64, value: i64) -> Vec<i64> {
        let layout = layout();
        let mut row = layout.neutral();
        layout.feed(&mut row, events, time, time, 0);
        assert!(layout.update(&mut row, 3, i128::from(value)));
        assert!(layout.update(&mut row, 4, i128::from(value)));
        row
    }

    proptest! {
        #[test]
        fn merges_in_any_order_and_grouping(rows in prop::collection::vec((1..9i64, any::<i32>(), any::<i64>()), 1..8)) {
            let layout = layout();
            let rows: Vec<Vec<i64>> = rows.into_iter().map(|(n, t, v)| row(n, i64::from(t), v)).collect();
            let fold = |rows: &mut dyn Iterator<Item = &Vec<i64>>| {
                let mut all = layout.neutral();
                rows.for_each(|row| layout.merge(&mut all, row));
                all
            };
            let forward = fold(&mut rows.iter());
            prop_assert_eq!(&forward, &fold(&mut rows.iter().rev()));
            let (left, right) = rows.split_at(rows.len() / 2);
            let halves = [fold(&mut left.iter()), fold(&mut right.iter())];
            prop_assert_eq!(&forward, &fold(&mut halves.iter()));
        }

        #[test]
        fn a_row_is_read_as_it_was_written(n in 1..i64::MAX, t in any::<i32>(), v in any::<i64>(), base in any::<i32>()) {
            let layout = layout();
            let row = row(n, i64::from(t), v);
            let mut bytes = Vec::new();
            layout.write(&row, i64::from(base), &mut bytes);
            let mut back = layout.neutral();
            let mut rest = bytes.as_slice();
            prop_assert_eq!(layout.read(&mut rest, i64::from(base), &mut back), Some(()));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(row, back);
        }
    }

    #[test]
    fn sums_pass_sixty_four_bits() {
        let layout = layout();
        let mut all = layout.neutral();
        for _ in 0..4 {
            layout.update(&mut all, 3, i128::from(i64::MAX));
        }
        assert_eq!(layout.value(&all, 3), 4 * i128::from(i64::MAX));
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_taken() {
        let layout = layout();
        let mut row = layout.neutral();
        assert!(!layout.update(&mut row, 4, i128::MAX));
        assert!(!layout.update(&mut row, 0, 1));
        assert!(!layout.takes(9, 1));
    }
}
