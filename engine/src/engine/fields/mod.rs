//! The fields that the newest records really have: JSON pointers with what stands there.
//!
//! Reads the newest records of all partitions, whatever their verdict, and looks at each that is a
//! JSON object. Everything is bounded: bytes, time, depth, pointers, their length, values that are
//! told apart, examples. Where a bound is met the report says what is left out. Judges nothing.

mod field_notes;
mod object_walk;

use super::newest::newest;
use super::{Engine, ReadLogError};
use crate::clock::wall_ms;
use crate::config::EventsConfig;
use crate::log::{Log, LogError};
use field_notes::FieldNotes;
use std::time::{Duration, Instant};

/// How long the log may be asked where its newest records begin, and read after that.
const LOOK: Duration = Duration::from_secs(1);
const READ: Duration = Duration::from_secs(2);

/// Bytes of records that are read, and at most a batch of each partition more.
const BYTES: usize = 64 << 20;

/// Fields of a report.
const FIELDS: usize = 200;

/// What the newest records have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldReport {
    /// Records that are JSON objects: what shares are of.
    pub records: u64,
    /// Records that are none.
    pub others: u64,
    /// Those that most records have, first.
    pub fields: Vec<RecordField>,
    /// Whether some of the records that were wanted were not read.
    pub records_left_out: bool,
    /// Whether records have more fields than are told.
    pub fields_left_out: bool,
    /// Whether records have members below those that are told: too deep, or with too long a pointer.
    pub deeper_left_out: bool,
}

/// A field of records.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordField {
    /// Where it stands (RFC 6901).
    pub pointer: String,
    /// Records that have it.
    pub records: u64,
    /// How many of them have what there; kinds that occur.
    pub kinds: Vec<(ValueKind, u64)>,
    /// The first different values, as JSON; long texts are cut.
    pub examples: Vec<String>,
    /// How many different values there are, null and containers apart; `None`: none, or too many.
    pub distinct: Option<u64>,
    /// The field of `[events.fields]` that is read here.
    pub mapped: Option<&'static str>,
    /// As what a metric reads most of its values; `None`: it has none that a metric can read.
    pub column: Option<ColumnKind>,
}

/// What kind of value stands somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A text.
    String,
    /// A number.
    Number,
    /// A truth value.
    Boolean,
    /// Null.
    Null,
    /// An object, whose members are fields of their own.
    Object,
    /// An array, which is not looked into.
    Array,
}

impl ValueKind {
    /// All of them.
    const ALL: [ValueKind; 6] = [
        ValueKind::String,
        ValueKind::Number,
        ValueKind::Boolean,
        ValueKind::Null,
        ValueKind::Object,
        ValueKind::Array,
    ];

    /// The word of JSON Schema.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ValueKind::String => "string",
            ValueKind::Number => "number",
            ValueKind::Boolean => "boolean",
            ValueKind::Null => "null",
            ValueKind::Object => "object",
            ValueKind::Array => "array",
        }
    }
}

/// As what a metric can read a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// RFC 3339.
    Time,
    /// A number, or a text that is written like one, with so many digits after the point.
    Decimal(u8),
    /// A text.
    Text,
}

impl Engine {
    /// The fields of about so many of the newest records. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`ReadLogError::Log`].
    pub fn fields(&self, records: u64) -> Result<FieldReport, ReadLogError> {
        Ok(report(&*self.log, &self.events, records, (BYTES, READ))?)
    }
}

fn report(
    log: &dyn Log,
    events: &EventsConfig,
    records: u64,
    (bytes, read): (usize, Duration),
) -> Result<FieldReport, LogError> {
    let found = newest(log, records, wall_ms(), Instant::now() + LOOK)?;
    let mut notes = FieldNotes::default();
    let (mut records_left_out, mut left) = (false, bytes);
    let until = Instant::now() + read;
    // An empty one takes no part of time and bytes.
    let ranges: Vec<_> = found.ranges.iter().filter(|range| range.from < range.to).collect();
    let parts = ranges.len();
    for (n, range) in ranges.into_iter().enumerate() {
        // To open a reader takes time, too.
        if Instant::now() >= until {
            records_left_out = true;
            break;
        }
        // Each partition has its part of what is left, so that none is left out.
        let rest = parts - n;
        let ends = Instant::now() + until.saturating_duration_since(Instant::now()) / rest as u32;
        let mut own = left / rest;
        let mut reader = log.range(range.partition, range.from, range.to)?;
        loop {
            let batch = reader.batch()?;
            let Some(last) = batch.last() else { break };
            for record in &batch {
                let payload = record.payload.as_deref().unwrap_or_default();
                notes.add(payload);
                own = own.saturating_sub(payload.len());
                left = left.saturating_sub(payload.len());
            }
            let is_over = own == 0 || Instant::now() >= ends;
            if is_over && last.offset + 1 < range.to {
                records_left_out = true;
                break;
            }
        }
    }
    let mut report = notes.report(events);
    report.fields.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.pointer.cmp(&b.pointer)));
    report.records_left_out = records_left_out;
    report.fields_left_out |= report.fields.len() > FIELDS;
    report.fields.truncate(FIELDS);
    Ok(report)
}

#[cfg(test)]
mod tests;
