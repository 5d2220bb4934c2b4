//! Events from a file: JSON (lines, or arrays over any number of them) or CSV, with columns mapped
//! to fields, types renamed and times of cells brought into one form.
//!
//! The engine decides what a field may be; a record is sent as it is written, except for what is
//! mapped. A row without an id gets one from the file's content and its line, so that a second run
//! of the same file adds nothing (as far as the engine's dedupe window reaches). Bad rows are
//! reported with their line and skipped. Columns that are no field are kept: of a CSV as text,
//! empty ones left out. Reads as it goes; memory does not grow with the file.

use super::pointer::FieldPointers;
use super::record::Record;
use super::{Outgoing, Supply, ids, times};
use crate::bounded::Bounded;
use crate::text::{self, Found, Values};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use tally_engine::config::EventsConfig;
use tally_engine::files;
use tally_plugin::property::integer;

/// The longest row, in bytes: the API takes no larger body than 1 MiB.
const LONGEST_ROW: u64 = 900 * 1024;

/// The fields of an event.
const FIELDS: [&str; 5] = ["event_id", "user_id", "product_id", "event_type", "timestamp"];

/// The largest integer that is an id.
const LARGEST_ID: u64 = (1 << 53) - 1;

/// How rows become events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    /// Field → column or top-level key.
    pub(crate) columns: BTreeMap<String, String>,
    /// Event type in the file → event type.
    pub(crate) aliases: BTreeMap<String, String>,
}

impl Mapping {
    /// From pairs `field=column` and `from=to`.
    ///
    /// # Errors
    /// A field does not exist; the message names those that do.
    pub(crate) fn new(
        map: &[(String, String)],
        alias: &[(String, String)],
    ) -> Result<Mapping, String> {
        let mut mapping =
            Mapping { columns: BTreeMap::new(), aliases: alias.iter().cloned().collect() };
        for (field, column) in map {
            if !FIELDS.contains(&field.as_str()) {
                return Err(format!(
                    "--map: {field:?} is not a field of an event; write FIELD=COLUMN, where FIELD \
                     is one of {}",
                    FIELDS.join(", ")
                ));
            }
            if mapping.columns.insert(field.clone(), column.clone()).is_some() {
                return Err(format!("--map names {field} twice"));
            }
        }
        Ok(mapping)
    }

    fn column<'a>(&'a self, field: &'a str) -> &'a str {
        self.columns.get(field).map_or(field, String::as_str)
    }
}

/// A file being replayed.
pub(crate) struct Replay {
    rows: Rows,
    places: FieldPointers,
    required: Vec<String>,
    mapping: Mapping,
    name: String,
    content: [u8; 32],
}

/// A row of a file.
struct Row {
    line: u64,
    /// What its id is made of, where it has none: no other row of the file has the same.
    number: u64,
    record: Record,
}

/// A line and what is wrong with it.
type BadRow = (u64, String);

/// From here on elements of arrays are numbered, because several may be on one line.
const ELEMENTS: u64 = 1 << 63;

enum Rows {
    Csv { reader: Box<csv::Reader<Bounded<File>>>, header: Vec<String> },
    Json(Values<BufReader<File>>),
    Ended,
}

impl Replay {
    /// Opens a file; `.csv` is CSV with a header, anything else JSON. Reads it once for its digest.
    ///
    /// # Errors
    /// The file cannot be read, or a mapped column does not exist.
    pub(crate) fn open(
        path: &Path,
        mapping: Mapping,
        events: &EventsConfig,
    ) -> Result<Replay, String> {
        let name = path.display().to_string();
        let told = |error: std::io::Error| format!("{name} cannot be read: {error}");
        let mut file = files::open(path).map_err(|fault| format!("{name} {fault}"))?;
        let content = digest(&mut file).map_err(told)?;
        file.rewind().map_err(told)?;
        let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let rows = if csv {
            Self::csv(file, &name, &mapping, &events.required)?
        } else {
            Rows::Json(Values::new(BufReader::new(file), LONGEST_ROW as usize))
        };
        Ok(Replay {
            rows,
            places: FieldPointers::new(&events.fields),
            required: events.required.clone(),
            mapping,
            name,
            content,
        })
    }

    fn csv(file: File, name: &str, mapping: &Mapping, required: &[String]) -> Result<Rows, String> {
        let reader = Bounded::new(file, LONGEST_ROW as usize);
        let mut reader = Box::new(csv::ReaderBuilder::new().flexible(true).from_reader(reader));
        let header = match reader.byte_headers() {
            Ok(cells)
                if cells
                    .iter()
                    .any(|cell| cell.starts_with(b"\xFF\xFE") || cell.starts_with(b"\xFE\xFF")) =>
            {
                return Err(format!("{name} is UTF-16: save it as UTF-8"));
            }
            Ok(cells) => text::header(cells).map_err(|fault| format!("{name}: {fault}"))?,
            Err(error) => return Err(format!("{name} has no readable header: {error}")),
        };
        for field in FIELDS {
            let column = mapping.column(field);
            let needed = mapping.columns.contains_key(field)
                || required.iter().any(|required| required == field);
            if needed && !header.iter().any(|known| known == column) {
                return Err(format!(
                    "{name} has no column {column:?} for {field}; it has {}. Name it with --map \
                     {field}=COLUMN",
                    header.join(", ")
                ));
            }
        }
        Ok(Rows::Csv { reader, header })
    }

    fn read(&mut self) -> Option<Result<Row, BadRow>> {
        match &mut self.rows {
            Rows::Csv { reader, header } => loop {
                let line = reader.position().line();
                reader.get_mut().allow();
                let mut cells = csv::ByteRecord::new();
                match reader.read_byte_record(&mut cells) {
                    Ok(false) => return None,
                    Ok(true) if text::is_blank(&cells) => {}
                    Ok(true) => {
                        let line = cells.position().map_or(line, csv::Position::line);
                        let row =
                            row_of(&cells, header).map(|record| Row { line, number: line, record });
                        return Some(row.map_err(|reason| (line, reason)));
                    }
                    Err(error) => {
                        let line = error.position().map_or(line, csv::Position::line);
                        let reason = format!("cannot be read: {error}");
                        self.rows = Rows::Ended;
                        return Some(Err((line, reason)));
                    }
                }
            },
            Rows::Json(values) => match values.read() {
                Ok(None) => None,
                Ok(Some(Found { bytes: None, line, .. })) => {
                    Some(Err((line, format!("is longer than {LONGEST_ROW} bytes"))))
                }
                Ok(Some(Found { bytes: Some(bytes), line, element })) => {
                    let number = element.map_or(line, |element| ELEMENTS + element);
                    let row = Record::read(&bytes).map(|record| Row { line, number, record });
                    Some(row.map_err(|reason| (line, reason)))
                }
                Err(error) => {
                    let line = values.line();
                    self.rows = Rows::Ended;
                    Some(Err((line, format!("cannot be read: {error}"))))
                }
            },
            Rows::Ended => None,
        }
    }

    fn event(&self, Row { line, number, mut record }: Row) -> Result<Outgoing, String> {
        let untyped = matches!(self.rows, Rows::Csv { .. });
        // All are taken out first, then put in: a column may bear the name of another field.
        let mut values = Vec::with_capacity(FIELDS.len());
        for field in FIELDS {
            let column = [self.mapping.column(field).to_owned()];
            let mapped = self.mapping.columns.contains_key(field);
            // A field that is not mapped may already be where the engine reads it.
            let place = self.places.named(field).filter(|_| !mapped);
            let at_place = place.map_or(Ok(None), |place| record.get(place.names()))?;
            let value = match at_place {
                Some(value) => Some((value, true)),
                None => record.get(&column)?.map(|value| (value, false)),
            };
            values.push(value);
        }
        for (field, value) in FIELDS.into_iter().zip(&values) {
            if !matches!(value, Some((_, true))) {
                record.remove(self.mapping.column(field));
            }
        }
        let mut key = String::new();
        for (field, value) in FIELDS.into_iter().zip(values) {
            let (value, changed) = match value {
                None if field == "event_id" => {
                    (raw(&ids::of_line(&self.content, number).to_string())?, true)
                }
                None if self.required.iter().any(|required| required == field) => {
                    return Err(format!(
                        "has no {field} (column {:?})",
                        self.mapping.column(field)
                    ));
                }
                None => continue,
                Some((value, in_place)) => match self.as_event(field, &value, untyped)? {
                    None => (value, !in_place),
                    Some(other) => (other, true),
                },
            };
            if field == "user_id" {
                key = key_of(&value);
            }
            if let Some(place) = self.places.named(field).filter(|_| changed) {
                record.set(place.names(), value);
            }
        }
        Ok(Outgoing { key, json: record.to_string().into_bytes(), line })
    }

    /// What a value of a file is in an event; `None`: the same.
    fn as_event(
        &self,
        field: &str,
        value: &RawValue,
        untyped: bool,
    ) -> Result<Option<Box<RawValue>>, String> {
        let Ok(text) = serde_json::from_str::<String>(value.get()) else { return Ok(None) };
        match field {
            "user_id" | "product_id" => id(text).map(|id| raw(&id)).transpose(),
            "event_type" => self.mapping.aliases.get(&text).map(raw).transpose(),
            "timestamp" => match times::parse(&text, untyped) {
                Some(ms) if untyped || text.ends_with(['C', 'T']) => {
                    raw(&times::text(ms)).map(Some)
                }
                Some(_) => Ok(None),
                None => Err(format!(
                    "{text:?} is not a time (\"2026-01-01T00:00:00Z\", \"2026-01-01 00:00:00 UTC\" \
                     or Unix milliseconds)"
                )),
            },
            _ => Ok(None),
        }
    }
}

/// The record of a row of a CSV: columns without a value are left out.
fn row_of(cells: &csv::ByteRecord, header: &[String]) -> Result<Record, String> {
    if cells.len() != header.len() {
        return Err(format!("has {} columns, the header has {}", cells.len(), header.len()));
    }
    if text::repeats_header(cells, header) {
        return Err("repeats the header".into());
    }
    let mut record = Record::default();
    for (n, (column, cell)) in header.iter().zip(cells).enumerate() {
        let cell = std::str::from_utf8(cell)
            .map_err(|_| format!("is not UTF-8 in column {}", n + 1))?
            .trim();
        match (cell, column.as_str()) {
            ("", _) => {}
            (_, "") => return Err(format!("has a value in column {}, which has no name", n + 1)),
            (cell, column) => record.push_text(column, cell),
        }
    }
    Ok(record)
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, String> {
    to_raw_value(value).map_err(|error| format!("cannot be written as JSON: {error}"))
}

/// The user as the engine keys records: an integer in decimal, however it is written.
fn key_of(user: &RawValue) -> String {
    let text = || serde_json::from_str::<String>(user.get()).ok();
    let number = || integer(user.get().as_bytes()).map(|integer| integer.to_string());
    text().or_else(number).unwrap_or_else(|| user.get().to_owned())
}

impl Supply for Replay {
    fn next(&mut self) -> Option<Result<Outgoing, String>> {
        let read = self.read()?;
        let event = read.and_then(|row| {
            let line = row.line;
            self.event(row).map_err(|reason| (line, reason))
        });
        Some(event.map_err(|(line, reason)| format!("{}:{line}: {reason}", self.name)))
    }
}

/// Text that is a canonical integer in range is that integer, as in the API.
fn id(text: String) -> Option<Value> {
    text.parse::<u64>()
        .ok()
        .filter(|number| *number <= LARGEST_ID && number.to_string() == text)
        .map(Value::from)
}

fn digest(file: &mut File) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
