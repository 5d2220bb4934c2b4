//! Raw records to columns: the verdict on each record, the mapped fields as an [`EventBatch`], the
//! dedupe window.
//!
//! The verdict depends on the record and `[events]` alone, never on which plugins are loaded, on
//! other records or on the clock. This is the hot path: no allocation per record in the common
//! case. It reads no log, stores no dead letter and keeps no position.
//!
//! A format says what a record holds (`format.rs`, with a folder for each; JSON is the only one);
//! what it means is decided here, once for all formats.

mod batch;
#[cfg(test)]
mod contract;
mod dedupe;
mod error;
mod feed;
mod format;
mod hint;
mod id;
mod json;
mod kinds;
mod property;
mod reader;
mod reason;
mod rules;
mod verdict;

pub use dedupe::{DedupeWindow, Key};
pub use error::{EventsError, PropertyError};
pub use feed::FeedFields;
pub use hint::{Hint, in_seconds};
pub use reason::{Field, Reason};
/// Deepest nesting of a record; the record itself is 1.
pub use tally_config::pointer::MAX_DEPTH;
pub use verdict::Checked;

use batch::BatchJudge;
use dedupe::Keys;
use reader::BatchReader;
use rules::Rules;
use std::sync::Arc;
use tally_config::EventsConfig;
use tally_event::{EventBatch, PropertySource, Record};

/// Largest record, bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Most records of one call of [`Decoder::decode`].
pub const MAX_RECORDS: usize = u16::MAX as usize;

/// A record that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place among the records of the call.
    pub index: usize,
    /// Its offset.
    pub offset: u64,
    /// Why.
    pub reason: Reason,
}

/// Turns records into columns. Keeps buffers and caches between calls, nothing else; one per
/// thread.
#[derive(Debug)]
pub struct Decoder {
    reader: Box<dyn BatchReader>,
    judge: BatchJudge,
    /// What the reader reads beside the mapped fields.
    properties: Vec<Arc<PropertySource>>,
    /// Rows that are duplicates, ascending.
    duplicates: Vec<u32>,
    /// Of these, how many say something else than the first record of their id.
    conflicts: u64,
}

impl Decoder {
    /// A decoder of events as `[events]` describes them.
    ///
    /// # Errors
    /// [`EventsError`]: a setting cannot be used.
    pub fn new(events: &EventsConfig) -> Result<Decoder, EventsError> {
        let rules = Rules::new(events)?;
        Ok(Decoder::of(format::open(events)?, rules, Keys::new()))
    }

    /// A decoder of the same configuration whose ids fit the same windows, and that has seen
    /// nothing yet. It reads no properties.
    #[must_use]
    pub fn fresh(&self) -> Decoder {
        Decoder::of(self.reader.fresh(), self.judge.rules.clone(), self.judge.keys.clone())
    }

    fn of(reader: Box<dyn BatchReader>, rules: Rules, keys: Keys) -> Decoder {
        let judge = BatchJudge::new(rules, keys);
        Decoder { reader, judge, properties: Vec::new(), duplicates: Vec::new(), conflicts: 0 }
    }

    /// From the next call of [`Decoder::decode`] on, batches carry these properties and no others,
    /// each once. No verdict depends on them.
    ///
    /// # Errors
    /// [`PropertyError`]. Then the properties of before are still read.
    pub fn read_properties(&mut self, properties: &[PropertySource]) -> Result<(), PropertyError> {
        let properties = property::distinct(properties);
        self.reader.read_properties(&properties)?;
        self.properties = properties;
        Ok(())
    }

    /// Judges records of one partition in offset order: `out` becomes the accepted ones without
    /// duplicates, the refused are added to `refused`. Records below `count_from` only fill the
    /// window, as if they had been counted before.
    ///
    /// `out.from` is the offset of the first record at or above `count_from`, or `count_from` if
    /// there is none: a caller that keeps a fence sets it to that, since offsets have holes. A
    /// window takes the ids of one decoder only. Equal texts of a batch may have different numbers.
    /// Where `[events] required` lets `event_type` be absent, such events count under
    /// [`OTHER`](tally_event::OTHER).
    ///
    /// # Panics
    /// If the caller hands over more than [`MAX_RECORDS`].
    pub fn decode(
        &mut self,
        partition: u32,
        records: &[Record<'_>],
        window: &mut DedupeWindow,
        count_from: u64,
        out: &mut EventBatch,
        refused: &mut Vec<Refused>,
    ) {
        assert!(records.len() <= MAX_RECORDS, "the caller hands over at most MAX_RECORDS records");
        let warm_up = records.partition_point(|record| record.offset < count_from);
        if warm_up > 0 {
            let refused_before = refused.len();
            self.read(&records[..warm_up], 0, out, refused);
            self.find_duplicates(window);
            refused.truncate(refused_before);
        }
        let counted = &records[warm_up..];
        self.read(counted, warm_up, out, refused);
        self.find_duplicates(window);
        if !self.duplicates.is_empty() {
            remove_rows(out, &self.duplicates);
        }
        out.partition = partition;
        out.from = counted.first().map_or(count_from, |record| record.offset);
        out.to = counted.last().map_or(count_from, |record| record.offset.saturating_add(1));
        out.measure_times();
        if let Some(last) = records.last() {
            out.last_timestamp_ms = last.timestamp_ms;
        }
        out.records = counted.len() as u64;
        out.duplicates = self.duplicates.len() as u64;
        out.conflicts = self.conflicts;
    }

    /// Fills the columns with what is accepted, duplicates included.
    fn read(
        &mut self,
        records: &[Record<'_>],
        first_index: usize,
        out: &mut EventBatch,
        refused: &mut Vec<Refused>,
    ) {
        self.judge.begin(&self.properties, out);
        self.reader.read_batch(records, first_index, &mut self.judge, out, refused);
    }

    fn find_duplicates(&mut self, window: &mut DedupeWindow) {
        self.duplicates.clear();
        self.conflicts = 0;
        let mut conflicting = None;
        window.seen(&self.judge.identified, |row, differs| {
            // A copy with an event id is looked for twice.
            if self.duplicates.last() != Some(&row) {
                self.duplicates.push(row);
            }
            if differs && conflicting != Some(row) {
                conflicting = Some(row);
                self.conflicts += 1;
            }
        });
    }

    /// The verdict on an event that is to be appended to the log now: that of [`Decoder::decode`],
    /// were `now_ms` its record's timestamp. Knows no duplicates.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn check(&self, payload: &[u8], now_ms: i64) -> Result<Checked, Reason> {
        self.reader.check(&self.judge.rules, payload, now_ms)
    }
}

/// Removes rows, given in ascending order. Their texts and event types stay in the batch's
/// dictionaries, unused.
fn remove_rows(out: &mut EventBatch, rows: &[u32]) {
    tally_event::remove_rows(&mut out.offsets, rows);
    tally_event::remove_rows(&mut out.users, rows);
    tally_event::remove_rows(&mut out.products, rows);
    tally_event::remove_rows(&mut out.kinds, rows);
    tally_event::remove_rows(&mut out.times, rows);
    out.properties.iter_mut().for_each(|column| column.remove(rows));
}

#[cfg(test)]
mod tests;
