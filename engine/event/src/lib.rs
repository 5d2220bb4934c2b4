//! What every part of the engine says events in: a record, a batch of events as columns, and the
//! times and numbers in them.
//!
//! Data only: no I/O and no policy. [`time`] is the one grammar of times, [`index`] the hash table
//! in which decode and state find ids, `origin` the place that the record of a copy first had.

pub mod index;
mod origin;
pub mod time;

pub use origin::{LONGEST_ORIGIN, RecordOrigin, RecordPlace};

use std::ops::Range;
use std::sync::Arc;
use tally_plugin::description::PropertyType;

/// Bit 63 of an id column: the rest is the number of a text of this batch ([`EventBatch::text`]).
pub const TEXT_BIT: u64 = 1 << 63;

/// What stands for ids and event types that are counted together. No event has it as its id.
pub const OTHER: &str = "__other__";

/// A raw record as a source hands it over; the payload is valid only during the call.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Position in its partition. Offsets grow but may have holes (transaction markers,
    /// compaction).
    pub offset: u64,
    /// The record's own (broker) timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The message; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Where it first was, if it is a copy.
    pub origin: Option<RecordOrigin<'a>>,
}

impl<'a> Record<'a> {
    /// One that is no copy of another.
    #[inline]
    #[must_use]
    pub const fn new(offset: u64, timestamp_ms: i64, payload: Option<&'a [u8]>) -> Record<'a> {
        Record { offset, timestamp_ms, payload, origin: None }
    }

    /// The time that an event has which states none, and that it may not be far ahead of: the
    /// record's own timestamp, of a copy that of its origin. Unix milliseconds.
    #[inline]
    #[must_use]
    pub fn event_ms(&self) -> i64 {
        self.origin.map_or(self.timestamp_ms, |origin| origin.timestamp_ms)
    }
}

/// Accepted events of one partition, in offset order, as columns of equal length.
///
/// At most 65,535 rows. Refused records and duplicates are not in it, but `from..to` covers them.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    /// The partition.
    pub partition: u32,
    /// First offset covered.
    pub from: u64,
    /// The offset after the last record read.
    pub to: u64,
    /// Offset of each row.
    pub offsets: Vec<u64>,
    /// `user_id`: an integer below 2⁵³, or `TEXT_BIT | n`. [`ABSENT`] where `[events] required`
    /// lets it be absent.
    pub users: Vec<u64>,
    /// `product_id`, likewise.
    pub products: Vec<u64>,
    /// Event type: index into `kind_names`.
    pub kinds: Vec<u16>,
    /// Event time, Unix milliseconds.
    pub times: Vec<i64>,
    /// Dictionary of the event types of this batch.
    pub kind_names: Vec<Box<str>>,
    /// Texts of this batch, end to end.
    pub text_bytes: Vec<u8>,
    /// End of each text in `text_bytes`.
    pub text_ends: Vec<u32>,
    /// The declared properties that were read, each once; which ones is up to who decodes.
    pub properties: Vec<PropertyColumn>,
    /// Smallest event time of the rows, `i64::MAX` without rows.
    pub min_time: i64,
    /// Largest event time of the rows, `i64::MIN` without rows.
    pub max_time: i64,
    /// Broker timestamp of the last record read, Unix milliseconds.
    pub last_timestamp_ms: i64,
    /// Records read: accepted, duplicates and refused.
    pub records: u64,
    /// Of these, duplicates.
    pub duplicates: u64,
    /// Duplicates whose content differs from that of the first record with their id.
    pub conflicts: u64,
}

/// A property of events, by where it stands and what it is read as: equal ones of several metrics
/// are one column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropertySource {
    /// JSON pointer into the record.
    pub pointer: String,
    /// What it is read as.
    pub kind: PropertyType,
}

/// A declared property of the events of a batch.
#[derive(Clone, Debug)]
pub struct PropertyColumn {
    /// Which one.
    pub source: Arc<PropertySource>,
    /// Per row 1, or 0 where the value is null.
    pub present: Vec<u8>,
    /// The value: the number of a text of this batch, an integer, the bits of a float, 0 or 1,
    /// milliseconds; of a decimal the lower 64 bits.
    pub low: Vec<u64>,
    /// Of a decimal the upper 64 bits; empty otherwise.
    pub high: Vec<i64>,
    /// Rows, ascending, that are null because what stands there cannot be read as declared; an
    /// absent value or a `null` is not among them.
    pub unreadable: Vec<u32>,
}

impl PropertyColumn {
    /// An empty one.
    #[must_use]
    pub fn new(source: Arc<PropertySource>) -> PropertyColumn {
        PropertyColumn {
            source,
            present: Vec::new(),
            low: Vec::new(),
            high: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// A copy of some rows.
    fn rows(&self, rows: Range<usize>) -> PropertyColumn {
        PropertyColumn {
            source: self.source.clone(),
            present: self.present[rows.clone()].to_vec(),
            low: self.low[rows.clone()].to_vec(),
            high: if self.high.is_empty() { Vec::new() } else { self.high[rows.clone()].to_vec() },
            unreadable: self
                .unreadable_in(rows.clone())
                .map(|row| row - rows.start as u32)
                .collect(),
        }
    }

    /// Those of `unreadable` that lie in a range of rows.
    #[inline]
    pub fn unreadable_in(&self, rows: Range<usize>) -> impl Iterator<Item = u32> + '_ {
        self.unreadable.iter().copied().filter(move |row| rows.contains(&(*row as usize)))
    }

    /// Takes out rows, ascending, with whatever stands in them.
    pub fn remove(&mut self, rows: &[u32]) {
        remove_rows(&mut self.present, rows);
        remove_rows(&mut self.low, rows);
        if !self.high.is_empty() {
            remove_rows(&mut self.high, rows);
        }
        self.unreadable.retain(|row| rows.binary_search(row).is_err());
        for row in &mut self.unreadable {
            *row -= rows.partition_point(|removed| removed < row) as u32;
        }
    }

    /// The bits of a row's value, of a decimal all 128; `None` where it is null.
    #[inline]
    #[must_use]
    pub fn value(&self, row: usize) -> Option<i128> {
        if self.present.get(row).is_none_or(|present| *present == 0) {
            return None;
        }
        let low = i128::from(*self.low.get(row)?);
        Some(self.high.get(row).map_or(low, |high| i128::from(*high) << 64 | low))
    }

    /// The number that a row's value is: an integer, a scaled decimal, a time, 0 or 1; `None` where
    /// it is null, a text or a float.
    #[inline]
    #[must_use]
    pub fn number(&self, row: usize) -> Option<i128> {
        let bits = self.value(row)?;
        match self.source.kind {
            PropertyType::Integer | PropertyType::Time => Some(i128::from(bits as i64)),
            PropertyType::Decimal(_) | PropertyType::Bool => Some(bits),
            PropertyType::Text | PropertyType::Float => None,
        }
    }
}

/// Takes rows, ascending, out of a column.
pub fn remove_rows<T>(column: &mut Vec<T>, rows: &[u32]) {
    let mut row = 0_u32;
    let mut removed = rows.iter().copied().peekable();
    column.retain(|_| {
        let keep = removed.next_if_eq(&row).is_none();
        row += 1;
        keep
    });
}

/// An id column's value for an absent id: the event counts in no table that has the column in its
/// key.
pub const ABSENT: u64 = u64::MAX;

impl EventBatch {
    /// Number of accepted events.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether no event was accepted.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Sets the smallest and the largest event time to those of the rows.
    pub fn measure_times(&mut self) {
        let (first, last) = (self.times.iter().min(), self.times.iter().max());
        self.min_time = first.copied().unwrap_or(i64::MAX);
        self.max_time = last.copied().unwrap_or(i64::MIN);
    }

    /// Smallest and largest event time among the rows with offset `from` or later, without those of
    /// `skip` (ascending).
    #[must_use]
    pub fn times_counted(&self, from: u64, skip: &[u32]) -> Option<(i64, i64)> {
        if from <= self.from && skip.is_empty() {
            return (!self.is_empty()).then_some((self.min_time, self.max_time));
        }
        let start = self.offsets.partition_point(|offset| *offset < from);
        let counted = (start..self.len()).filter(|row| skip.binary_search(&(*row as u32)).is_err());
        let times = counted.map(|row| (self.times[row], self.times[row]));
        times.reduce(|(first, last), (time, _)| (first.min(time), last.max(time)))
    }

    /// Text number `n` of this batch. Empty for a number that is not of this batch.
    #[inline]
    #[must_use]
    pub fn text(&self, n: usize) -> &[u8] {
        let start =
            if n == 0 { 0 } else { self.text_ends.get(n - 1).copied().unwrap_or(0) as usize };
        let end = self.text_ends.get(n).copied().unwrap_or(0) as usize;
        self.text_bytes.get(start..end).unwrap_or_default()
    }

    /// Adds a text, returns its column value.
    #[inline]
    pub fn push_text(&mut self, text: &[u8]) -> u64 {
        self.text_bytes.extend_from_slice(text);
        self.text_ends.push(self.text_bytes.len() as u32);
        TEXT_BIT | (self.text_ends.len() as u64 - 1)
    }

    /// A copy of some rows, with every text of the batch: for whoever must not see the others.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> EventBatch {
        let mut some = EventBatch {
            partition: self.partition,
            from: self.from,
            to: self.to,
            offsets: self.offsets[rows.clone()].to_vec(),
            users: self.users[rows.clone()].to_vec(),
            products: self.products[rows.clone()].to_vec(),
            kinds: self.kinds[rows.clone()].to_vec(),
            properties: self.properties.iter().map(|column| column.rows(rows.clone())).collect(),
            times: self.times[rows].to_vec(),
            min_time: i64::MAX,
            max_time: i64::MIN,
            kind_names: self.kind_names.clone(),
            text_bytes: self.text_bytes.clone(),
            text_ends: self.text_ends.clone(),
            last_timestamp_ms: self.last_timestamp_ms,
            records: self.records,
            duplicates: self.duplicates,
            conflicts: self.conflicts,
        };
        some.measure_times();
        some
    }

    /// Empties all columns, keeping their memory.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.users.clear();
        self.products.clear();
        self.kinds.clear();
        self.times.clear();
        self.kind_names.clear();
        self.text_bytes.clear();
        self.text_ends.clear();
        for column in &mut self.properties {
            column.present.clear();
            column.low.clear();
            column.high.clear();
            column.unreadable.clear();
        }
        self.min_time = i64::MAX;
        self.max_time = i64::MIN;
        self.records = 0;
        self.duplicates = 0;
        self.conflicts = 0;
    }
}
