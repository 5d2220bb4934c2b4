//! Raw records to columns: the verdict on each record, the mapped fields as an [`EventBatch`], the dedupe window.
//!
//! The verdict depends on the record and `[events]` alone, never on which plugins are loaded, on other records or on the clock.
//! This is the hot path: no allocation per record in the common case. It reads no log, stores no dead letter and keeps no position.

mod dedupe;
mod feed;
mod hint;
mod id;
mod kinds;
mod number;
mod plan;
mod property;
mod reason;
mod scan;
mod text;
mod verdict;

pub use dedupe::{DedupeWindow, Key};
pub use hint::{Hint, in_seconds};
pub use plan::MAX_DEDUPE_WINDOW;
pub use reason::{Field, Reason};
/// Deepest nesting of a record; the record itself is 1.
pub use tally_config::pointer::MAX_DEPTH;
pub use verdict::Checked;

use dedupe::Keys;
use id::Id;
use kinds::Kinds;
use plan::Plan;
use property::{Found, Properties};
use scan::Shape;
use tally_config::EventsConfig;
use tally_event::{ABSENT, EventBatch, PropertySource, Record};
use verdict::{Event, Types};

/// Largest record, bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// What a record may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
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

/// Turns records into columns. Keeps buffers and caches between calls, nothing else; one per thread.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
    keys: Keys,
    shape: Shape,
    properties: Properties,
    found: Found,
    kinds: Kinds,
    /// Rows that have an event id, their offset, its key and their content.
    identified: Vec<(u32, u64, Key, u32)>,
    /// Rows that are duplicates, ascending.
    duplicates: Vec<u32>,
    /// Of these, how many say something else than the first record of their id.
    conflicts: u64,
}

impl Decoder {
    /// A decoder of events as `[events]` describes them.
    ///
    /// # Errors
    /// One sentence: which setting is wrong, and what it may be.
    pub fn new(events: &EventsConfig) -> Result<Decoder, String> {
        let plan = Plan::new(events)?;
        let keys = Keys::new();
        Ok(Decoder {
            plan,
            keys,
            shape: Shape::default(),
            properties: Properties::default(),
            found: Found::default(),
            kinds: Kinds::default(),
            identified: Vec::new(),
            duplicates: Vec::new(),
            conflicts: 0,
        })
    }

    /// One that reads the same, its ids fit the same windows, and that has seen nothing yet: without properties.
    #[must_use]
    pub fn fresh(&self) -> Decoder {
        Decoder {
            plan: self.plan.clone(),
            keys: self.keys.clone(),
            shape: Shape::default(),
            properties: Properties::default(),
            found: Found::default(),
            kinds: Kinds::default(),
            identified: Vec::new(),
            duplicates: Vec::new(),
            conflicts: 0,
        }
    }

    /// From the next call of [`Decoder::decode`] on, batches carry these properties and no others, each once. No verdict depends
    /// on them.
    ///
    /// # Errors
    /// One sentence: a pointer is none. What was read before goes on being read.
    pub fn read_properties(&mut self, properties: &[PropertySource]) -> Result<(), String> {
        (self.properties, self.found) = Properties::new(properties, &mut self.plan)?;
        // What was learnt of keys is of the plan before.
        self.shape = Shape::default();
        Ok(())
    }

    /// Judges records of one partition in offset order: `out` becomes the accepted ones without duplicates, the refused are added to
    /// `refused`. Records below `count_from` only fill the window, as if they had been counted before.
    ///
    /// `out.from` is the offset of the first record at or above `count_from`, or `count_from` if there is none: a caller that keeps
    /// a fence sets it to that, since offsets have holes. A window takes the ids of one decoder only. Equal texts of a batch may
    /// have different numbers. Where `[events] required` lets `event_type` be absent, such events count under [`OTHER`](tally_event::OTHER).
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
            self.judge(&records[..warm_up], 0, out, refused);
            self.find_duplicates(window);
            refused.truncate(refused_before);
        }
        let counted = &records[warm_up..];
        self.judge(counted, warm_up, out, refused);
        self.find_duplicates(window);
        if !self.duplicates.is_empty() {
            remove_rows(out, &self.duplicates);
        }
        out.partition = partition;
        out.from = counted.first().map_or(count_from, |record| record.offset);
        out.to = counted.last().map_or(count_from, |record| record.offset.saturating_add(1));
        out.max_time = out.times.iter().copied().max().unwrap_or(i64::MIN);
        if let Some(last) = records.last() {
            out.last_timestamp_ms = last.timestamp_ms;
        }
        out.records = counted.len() as u64;
        out.duplicates = self.duplicates.len() as u64;
        out.conflicts = self.conflicts;
    }

    /// Fills the columns with what is accepted, duplicates included.
    fn judge(&mut self, records: &[Record<'_>], first_index: usize, out: &mut EventBatch, refused: &mut Vec<Refused>) {
        out.clear();
        self.properties.begin(out);
        self.identified.clear();
        self.kinds.begin();
        for (index, record) in records.iter().enumerate() {
            let payload = record.payload.unwrap_or_default();
            match verdict::judge(
                &self.plan,
                &mut self.shape,
                &mut self.found,
                &mut Types::Cached(&mut self.kinds, &mut out.kind_names),
                payload,
                record.timestamp_ms,
            ) {
                Ok(event) => {
                    if let Some(event_id) = &event.event_id {
                        let kind = out.kind_names.get(usize::from(event.kind)).map_or("", |name| &**name);
                        let (key, content) = (self.keys.key(event_id), self.keys.content(&event, kind));
                        self.identified.push((out.offsets.len() as u32, record.offset, key, content));
                    }
                    push(out, record.offset, &event);
                    if !out.properties.is_empty() {
                        let json = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
                        self.properties.push(json, &self.found, out);
                    }
                }
                Err(reason) => refused.push(Refused { index: first_index + index, offset: record.offset, reason }),
            }
        }
    }

    fn find_duplicates(&mut self, window: &mut DedupeWindow) {
        self.duplicates.clear();
        self.conflicts = 0;
        window.seen(&self.identified, |row, differs| {
            self.duplicates.push(row);
            self.conflicts += u64::from(differs);
        });
    }

    /// The verdict on an event that is to be appended to the log now: that of [`Decoder::decode`], were `now_ms` its record's timestamp.
    /// Knows no duplicates.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn check(&self, payload: &[u8], now_ms: i64) -> Result<Checked, Reason> {
        let (shape, found) = (&mut Shape::default(), &mut Found::default());
        let event = verdict::judge(&self.plan, shape, found, &mut Types::Plain, payload, now_ms)?;
        Ok(Checked::of(&event))
    }
}

#[inline(always)]
fn push(out: &mut EventBatch, offset: u64, event: &Event<'_>) {
    let user = column(out, &event.user);
    let product = column(out, &event.product);
    out.offsets.push(offset);
    out.users.push(user);
    out.products.push(product);
    out.kinds.push(event.kind);
    out.times.push(event.time);
}

#[inline(always)]
fn column(out: &mut EventBatch, id: &Id<'_>) -> u64 {
    match id {
        Id::Integer(integer) => *integer,
        Id::Text(text) => out.push_text(text),
        Id::Absent => ABSENT,
    }
}

/// Removes rows, given in ascending order. Their texts and event types stay in the batch's dictionaries, unused.
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
