//! The cells of a table as words: how a row's values lie in memory, how two rows are merged, how a
//! row is written.
//!
//! A row is a fixed number of `i64` words. A count takes one (2⁶³ events do not happen); sums, and
//! minima and maxima of properties, take two, an exact `i128`; minima and maxima of times take one.
//! A sketch takes one: its place, from 1 on, in the list of sketches beside the words (`Block`), or
//! 0. Merges are associative and commutative without exception: no floats, no saturation. Nothing
//! here knows keys or panes.

use super::row::{Row, RowMut};
use super::varint;
use tally_plugin::description::{Cell, From, Merge};
use tally_sketch::{Given, Sketch};

/// How one cell is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    Sum,
    Min,
    Max,
    WideMin,
    WideMax,
    Sketch(Merge),
}

/// What feeds one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    One,
    EventTime,
    Update,
    /// Value by value, through `give`.
    Column,
}

/// The cells of most tables have a path of their own: a count; a count with first and last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usual {
    Count,
    Seen,
}

/// The cells of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    usual: Option<Usual>,
    cells: Vec<(Kind, Fed)>,
    /// First word of each cell.
    starts: Vec<usize>,
    words: usize,
    sketches: bool,
}

impl Layout {
    pub(crate) fn new(cells: &[Cell]) -> Layout {
        let cells: Vec<(Kind, Fed)> = cells
            .iter()
            .map(|cell| {
                let fed = match cell.from {
                    From::One => Fed::One,
                    From::EventTime => Fed::EventTime,
                    From::Update => Fed::Update,
                    From::Column(_) => Fed::Column,
                };
                let kind = match (cell.merge, fed) {
                    (Merge::Sum, Fed::One) => Kind::Count,
                    (Merge::Sum, _) => Kind::Sum,
                    (Merge::Min, Fed::Column) => Kind::WideMin,
                    (Merge::Max, Fed::Column) => Kind::WideMax,
                    (Merge::Min, _) => Kind::Min,
                    (Merge::Max, _) => Kind::Max,
                    (merge @ (Merge::Distinct | Merge::Quantiles | Merge::Latest), _) => {
                        Kind::Sketch(merge)
                    }
                };
                (kind, fed)
            })
            .collect();
        let mut words = 0;
        let starts = cells
            .iter()
            .map(|(kind, _)| {
                let start = words;
                words +=
                    if matches!(kind, Kind::Sum | Kind::WideMin | Kind::WideMax) { 2 } else { 1 };
                start
            })
            .collect();
        let sketches = cells.iter().any(|(kind, _)| matches!(kind, Kind::Sketch(_)));
        let usual = match cells.as_slice() {
            [(Kind::Count, _)] => Some(Usual::Count),
            [(Kind::Count, _), (Kind::Min, Fed::EventTime), (Kind::Max, Fed::EventTime)] => {
                Some(Usual::Seen)
            }
            _ => None,
        };
        Layout { usual, cells, starts, words, sketches }
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
        self.cells.iter().any(|(_, fed)| *fed == Fed::EventTime)
    }

    /// Appends the words of a row of such events as `feed` takes.
    #[inline]
    pub(super) fn push_fed(
        &self,
        words: &mut Vec<i64>,
        events: i64,
        first: i64,
        last: i64,
        time_sum: i128,
    ) {
        match self.usual {
            Some(Usual::Count) => words.push(events),
            Some(Usual::Seen) => words.extend([events, first, last]),
            None => {
                let start = words.len();
                words.resize(start + self.words, 0);
                self.clear(&mut words[start..]);
                self.feed(&mut words[start..], events, first, last, time_sum);
            }
        }
    }

    /// Adds one event that happened at `time`.
    #[inline(always)]
    pub(crate) fn feed_one(&self, row: &mut [i64], time: i64) {
        match (self.usual, &mut *row) {
            (Some(Usual::Count), [count]) => *count += 1,
            (Some(Usual::Seen), [count, first, last]) => {
                *count += 1;
                *first = time.min(*first);
                *last = time.max(*last);
            }
            _ => self.feed(row, 1, time, time, i128::from(time)),
        }
    }

    /// Whether any cell is a sketch.
    #[inline]
    pub(crate) fn has_sketches(&self) -> bool {
        self.sketches
    }

    /// Bytes that the sketches of a row hold.
    pub(crate) fn sketches_memory(&self, row: Row<'_>) -> usize {
        self.sketch_words().filter_map(|word| row.sketch(word)).map(Sketch::memory).sum()
    }

    /// The words that are places of sketches.
    pub(super) fn sketch_words(&self) -> impl Iterator<Item = usize> + '_ {
        let cells = self.cells.iter().zip(&self.starts);
        cells.filter(|((kind, _), _)| matches!(kind, Kind::Sketch(_))).map(|(_, start)| *start)
    }

    /// Writes the words of the neutral row.
    pub(crate) fn clear(&self, row: &mut [i64]) {
        row.fill(0);
        for (n, (kind, _)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Min => row[word] = i64::MAX,
                Kind::Max => row[word] = i64::MIN,
                Kind::WideMin => set_wide(row, word, i128::MAX),
                Kind::WideMax => set_wide(row, word, i128::MIN),
                Kind::Count | Kind::Sum | Kind::Sketch(_) => {}
            }
        }
    }

    /// The words of a neutral row, which changes no row that it is merged into.
    pub(crate) fn neutral(&self) -> Vec<i64> {
        let mut row = vec![0; self.words];
        self.clear(&mut row);
        row
    }

    /// Adds what the engine feeds: `events` events whose times lie in `[first, last]` and add up to
    /// `time_sum`. What columns feed comes through `give`.
    #[inline]
    pub(crate) fn feed(&self, row: &mut [i64], events: i64, first: i64, last: i64, time_sum: i128) {
        for (n, (kind, fed)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match (fed, kind) {
                (Fed::Update | Fed::Column, _) => {}
                (Fed::One, Kind::Count) => row[word] += events,
                (Fed::One, Kind::Sum) => add(row, word, i128::from(events)),
                (Fed::One, Kind::Min) => row[word] = row[word].min(1),
                (Fed::One, Kind::Max) => row[word] = row[word].max(1),
                (Fed::EventTime, Kind::Min) => row[word] = row[word].min(first),
                (Fed::EventTime, Kind::Max) => row[word] = row[word].max(last),
                (Fed::EventTime, Kind::Sum | Kind::Count) => add(row, word, time_sum),
                // Neither sketches of the number one nor of times can be declared
                // (`tally-host` checks that); only columns feed wide cells.
                (Fed::One | Fed::EventTime, Kind::WideMin | Kind::WideMax | Kind::Sketch(_)) => {}
            }
        }
    }

    /// Merges a value from a column or a plugin into a cell. A value that does not fit the cell
    /// changes nothing.
    #[inline]
    pub(crate) fn give(&self, row: &mut RowMut<'_>, cell: usize, given: &Given<'_>) {
        let Some((kind, _)) = self.cells.get(cell) else { return };
        let word = self.starts[cell];
        match (kind, given) {
            (Kind::Sum, Given::Number(value)) => add(row.words, word, *value),
            (Kind::WideMin, Given::Number(value)) => {
                set_wide(row.words, word, wide(row.words, word).min(*value))
            }
            (Kind::WideMax, Given::Number(value)) => {
                set_wide(row.words, word, wide(row.words, word).max(*value))
            }
            (Kind::Min, Given::Number(value)) => {
                row.words[word] = row.words[word].min(i64::try_from(*value).unwrap_or(i64::MAX));
            }
            (Kind::Max, Given::Number(value)) => {
                row.words[word] = row.words[word].max(i64::try_from(*value).unwrap_or(i64::MIN));
            }
            (Kind::Sketch(_), given) => match row.sketch(word) {
                Some(sketch) => sketch.add(given),
                None => {
                    if let Some(sketch) = Sketch::of(given) {
                        row.put(word, sketch);
                    }
                }
            },
            _ => {}
        }
    }

    /// Merges one value that a plugin returned for an event at `time`. Returns whether the cell
    /// takes such values and this one fits.
    pub(crate) fn update(&self, row: &mut RowMut<'_>, cell: usize, time: i64, value: i128) -> bool {
        let takes = self.takes(cell, value);
        if takes && let Some(merge) = self.merge_of(cell) {
            self.give(row, cell, &Given::of_number(merge, value, time, &mut [0; 17]));
        }
        takes
    }

    /// Whether `update` would take the value.
    pub(crate) fn takes(&self, cell: usize, value: i128) -> bool {
        match self.cells.get(cell) {
            Some((Kind::Sum | Kind::Sketch(_), Fed::Update)) => true,
            Some((Kind::Min | Kind::Max, Fed::Update)) => i64::try_from(value).is_ok(),
            _ => false,
        }
    }

    /// How a cell merges.
    pub(crate) fn merge_of(&self, cell: usize) -> Option<Merge> {
        Some(match self.cells.get(cell)?.0 {
            Kind::Count | Kind::Sum => Merge::Sum,
            Kind::Min | Kind::WideMin => Merge::Min,
            Kind::Max | Kind::WideMax => Merge::Max,
            Kind::Sketch(merge) => merge,
        })
    }

    /// Merges `other` into `row`.
    #[inline]
    pub(crate) fn merge(&self, row: &mut RowMut<'_>, other: Row<'_>) {
        self.merge_words(row.words, other.words);
        if self.sketches {
            self.merge_sketches(row, other);
        }
    }

    #[inline]
    fn merge_words(&self, row: &mut [i64], other: &[i64]) {
        for (n, (kind, _)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Count => row[word] += other[word],
                Kind::Sum => add(row, word, wide(other, word)),
                Kind::Min => row[word] = row[word].min(other[word]),
                Kind::Max => row[word] = row[word].max(other[word]),
                Kind::WideMin => set_wide(row, word, wide(row, word).min(wide(other, word))),
                Kind::WideMax => set_wide(row, word, wide(row, word).max(wide(other, word))),
                Kind::Sketch(_) => {}
            }
        }
    }

    #[inline(never)]
    fn merge_sketches(&self, row: &mut RowMut<'_>, other: Row<'_>) {
        for word in self.sketch_words() {
            let Some(others) = other.sketch(word) else { continue };
            match row.sketch(word) {
                Some(sketch) => sketch.merge(others),
                None => row.put(word, others.clone()),
            }
        }
    }

    /// The value of a cell; for a sketch, the number that stands for it ([`Sketch::number`]).
    pub(crate) fn value(&self, row: Row<'_>, cell: usize) -> i128 {
        let word = self.starts[cell];
        match self.cells[cell].0 {
            Kind::Sum | Kind::WideMin | Kind::WideMax => wide(row.words, word),
            // The same values as in wide cells.
            Kind::Min if row.words[word] == i64::MAX => i128::MAX,
            Kind::Max if row.words[word] == i64::MIN => i128::MIN,
            Kind::Count | Kind::Min | Kind::Max => i128::from(row.words[word]),
            Kind::Sketch(_) => row.sketch(word).map_or(0, Sketch::number),
        }
    }

    /// The sketch of a cell; `None` if the cell is not a sketch or holds nothing.
    pub(crate) fn sketch<'a>(&self, row: Row<'a>, cell: usize) -> Option<&'a Sketch> {
        matches!(self.cells[cell].0, Kind::Sketch(_)).then(|| row.sketch(self.starts[cell]))?
    }

    /// The value of a cell; `None` for a minimum or maximum of nothing, and for a sketch.
    pub(crate) fn held(&self, row: Row<'_>, cell: usize) -> Option<i128> {
        let neutral = match self.cells[cell].0 {
            Kind::Count | Kind::Sum => None,
            Kind::Min | Kind::WideMin => Some(i128::MAX),
            Kind::Max | Kind::WideMax => Some(i128::MIN),
            Kind::Sketch(_) => return None,
        };
        Some(self.value(row, cell)).filter(|value| neutral != Some(*value))
    }

    /// Merges two values of a cell that is not a sum.
    pub(crate) fn combine(&self, cell: usize, a: i128, b: i128) -> i128 {
        if matches!(self.cells[cell].0, Kind::Min | Kind::WideMin) { a.min(b) } else { a.max(b) }
    }

    /// Whether the cell is a sum, so that its values can be weighted.
    pub(crate) fn adds(&self, cell: usize) -> bool {
        matches!(self.cells[cell].0, Kind::Count | Kind::Sum)
    }

    /// Appends the row; times are written relative to `base`, the start of the row's pane, to keep
    /// them short.
    #[inline(always)]
    pub(crate) fn write(&self, row: Row<'_>, base: i64, out: &mut Vec<u8>) {
        for (n, (kind, fed)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Count => varint::put(out, row.words[word] as u64),
                Kind::Sum | Kind::WideMin | Kind::WideMax => {
                    varint::put_wide(out, wide(row.words, word))
                }
                Kind::Min | Kind::Max => {
                    let base = if *fed == Fed::EventTime { base } else { 0 };
                    varint::put(out, varint::zigzag(row.words[word].wrapping_sub(base)));
                }
                Kind::Sketch(_) => write_sketch(row.sketch(word), out),
            }
        }
    }

    /// Reads a row that `write` wrote with the same base. `None`: the bytes are not such a row.
    #[inline]
    pub(crate) fn read(&self, bytes: &mut &[u8], base: i64, row: &mut RowMut<'_>) -> Option<()> {
        for (n, (kind, fed)) in self.cells.iter().enumerate() {
            let word = self.starts[n];
            match kind {
                Kind::Count => row.words[word] = i64::try_from(varint::take(bytes)?).ok()?,
                Kind::Sum | Kind::WideMin | Kind::WideMax => {
                    set_wide(row.words, word, varint::take_wide(bytes)?)
                }
                Kind::Min | Kind::Max => {
                    let base = if *fed == Fed::EventTime { base } else { 0 };
                    row.words[word] = varint::unzigzag(varint::take(bytes)?).wrapping_add(base);
                }
                Kind::Sketch(merge) => {
                    row.words[word] = 0;
                    if let Some(sketch) = take_sketch(*merge, bytes)? {
                        row.put(word, sketch);
                    }
                }
            }
        }
        Some(())
    }
}

/// Writes length (0: no sketch) and bytes.
#[inline(never)]
fn write_sketch(sketch: Option<&Sketch>, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    if let Some(sketch) = sketch {
        sketch.write(&mut bytes);
        // A histogram or set of nothing has no bytes; no cell holds one.
    }
    varint::put(out, bytes.len() as u64);
    out.append(&mut bytes);
}

#[inline(never)]
fn take_sketch(merge: Merge, bytes: &mut &[u8]) -> Option<Option<Sketch>> {
    let length = usize::try_from(varint::take(bytes)?).ok()?;
    let (sketch, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    if length == 0 { Some(None) } else { Sketch::read(merge, sketch).map(Some) }
}

fn set_wide(row: &mut [i64], word: usize, value: i128) {
    row[word] = value as i64;
    row[word + 1] = (value >> 64) as i64;
}

fn wide(row: &[i64], word: usize) -> i128 {
    i128::from(row[word + 1]) << 64 | i128::from(row[word] as u64)
}

/// Exact in 128 bits: 2⁶³ updates by the largest 64-bit value fit. Beyond that, wrapping keeps the
/// merge associative.
fn add(row: &mut [i64], word: usize, value: i128) {
    set_wide(row, word, wide(row, word).wrapping_add(value));
}

#[cfg(test)]
#[path = "cells_tests.rs"]
mod tests;
