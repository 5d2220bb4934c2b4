//! Events from a file: NDJSON or CSV, with columns mapped to fields, types renamed and times brought into one form.
//!
//! A row without an id gets one from the file's content and its line, so that a second run of the same file adds nothing
//! (as far as the engine's dedupe window reaches). Bad rows are reported with their line and skipped. Columns that are no
//! field are kept: of a CSV as text, empty ones left out. Reads as it goes; memory does not grow with the file.

use super::pointer::Places;
use super::{Outgoing, Supply, ids, times};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use tally_engine::config::EventsConfig;
use tally_server::bounded::Bounded;

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
    /// A sentence naming the fields that exist.
    pub(crate) fn new(map: &[(String, String)], alias: &[(String, String)]) -> Result<Mapping, String> {
        let mut mapping = Mapping { columns: BTreeMap::new(), aliases: alias.iter().cloned().collect() };
        for (field, column) in map {
            if !FIELDS.contains(&field.as_str()) {
                return Err(format!(
                    "--map: {field:?} is no field of an event; write FIELD=COLUMN with one of {}",
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
    places: Places,
    required: Vec<String>,
    mapping: Mapping,
    name: String,
    content: [u8; 32],
}

/// A line and what stands in it.
type Row = (u64, Map<String, Value>);

/// A line and what is wrong with it.
type BadRow = (u64, String);

enum Rows {
    Csv { reader: Box<csv::Reader<Bounded<File>>>, header: Vec<String> },
    Lines { reader: BufReader<File>, line: u64 },
    Ended,
}

impl Replay {
    /// Opens a file; `.csv` is CSV with a header, anything else NDJSON. Reads it once for its digest.
    ///
    /// # Errors
    /// A sentence: cannot be read, or a mapped column does not exist.
    pub(crate) fn open(path: &Path, mapping: Mapping, events: &EventsConfig) -> Result<Replay, String> {
        let name = path.display().to_string();
        let told = |error: std::io::Error| format!("{name} cannot be read: {error}");
        let mut file = File::open(path).map_err(told)?;
        let content = digest(&mut file).map_err(told)?;
        file.rewind().map_err(told)?;
        let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let rows = if csv {
            Self::csv(file, &name, &mapping, &events.required)?
        } else {
            Rows::Lines { reader: BufReader::new(file), line: 0 }
        };
        Ok(Replay {
            rows,
            places: Places::new(&events.fields),
            required: events.required.clone(),
            mapping,
            name,
            content,
        })
    }

    fn csv(file: File, name: &str, mapping: &Mapping, required: &[String]) -> Result<Rows, String> {
        let mut reader = Box::new(csv::Reader::from_reader(Bounded::new(file, LONGEST_ROW as usize)));
        let header: Vec<String> = match reader.headers() {
            Ok(header) => header.iter().map(|column| column.trim().trim_start_matches('\u{feff}').to_owned()).collect(),
            Err(error) => return Err(format!("{name} has no readable header: {error}")),
        };
        for field in FIELDS {
            let column = mapping.column(field);
            let needed = mapping.columns.contains_key(field) || required.iter().any(|required| required == field);
            if needed && !header.iter().any(|known| known == column) {
                return Err(format!(
                    "{name} has no column {column:?} for {field}; it has {}. Name it with --map {field}=COLUMN",
                    header.join(", ")
                ));
            }
        }
        Ok(Rows::Csv { reader, header })
    }

    fn read(&mut self) -> Option<Result<Row, BadRow>> {
        match &mut self.rows {
            Rows::Csv { reader, header } => {
                let line = reader.position().line();
                reader.get_mut().allow();
                let mut record = csv::StringRecord::new();
                match reader.read_record(&mut record) {
                    Ok(false) => None,
                    Ok(true) => {
                        let line = record.position().map_or(line, csv::Position::line);
                        let cells = header.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
                        Some(Ok((line, cells.map(|(column, cell)| (column.clone(), cell.into())).collect())))
                    }
                    Err(error) => {
                        let line = error.position().map_or(line, csv::Position::line);
                        let reason = csv_reason(&error);
                        if error.is_io_error() {
                            self.rows = Rows::Ended;
                        }
                        Some(Err((line, reason)))
                    }
                }
            }
            Rows::Lines { reader, line } => loop {
                *line += 1;
                let line = *line;
                let mut row = Vec::new();
                return match read_line(reader, &mut row) {
                    Ok(Line::End) => None,
                    Ok(Line::TooLong) => Some(Err((line, format!("is longer than {LONGEST_ROW} bytes")))),
                    Ok(Line::Whole) if row.trim_ascii().is_empty() => continue,
                    Ok(Line::Whole) => Some(match serde_json::from_slice(&row) {
                        Ok(Value::Object(record)) => Ok((line, record)),
                        Ok(_) => Err((line, "is not a JSON object".into())),
                        Err(error) => Err((line, format!("is not JSON: {error}"))),
                    }),
                    Err(error) => {
                        self.rows = Rows::Ended;
                        Some(Err((line, format!("cannot be read: {error}"))))
                    }
                };
            },
            Rows::Ended => None,
        }
    }

    fn event(&self, line: u64, mut record: Map<String, Value>) -> Result<Outgoing, String> {
        // All are taken out first, then put in: a column may bear the name of another field.
        let mut values = Vec::with_capacity(FIELDS.len());
        for field in FIELDS {
            let column = self.mapping.column(field);
            // In NDJSON a field that is not mapped may already stand where the engine looks.
            let at_place = || self.places.named(field).and_then(|place| place.get(&record)).cloned();
            let value = match self.mapping.columns.contains_key(field) {
                true => record.get(column).cloned(),
                false => at_place().or_else(|| record.get(column).cloned()),
            };
            values.push(value.filter(|value| !value.is_null()));
        }
        for field in FIELDS {
            record.remove(self.mapping.column(field));
        }
        let mut key = String::new();
        for (field, value) in FIELDS.into_iter().zip(values) {
            let value = match (field, value) {
                ("event_id", None) => ids::of_line(&self.content, line).to_string().into(),
                (field, None) if self.required.iter().any(|required| required == field) => {
                    return Err(format!("has no {field} (column {:?})", self.mapping.column(field)));
                }
                (_, None) => continue,
                ("event_id", Some(Value::Number(number))) => number.to_string().into(),
                ("user_id" | "product_id", Some(Value::String(text))) => id(text),
                ("event_type", Some(Value::String(text))) => {
                    self.mapping.aliases.get(&text).cloned().unwrap_or(text).into()
                }
                ("timestamp", Some(Value::String(text))) => match times::parse(&text) {
                    Some(ms) => times::rfc3339(ms).into(),
                    None => {
                        return Err(format!(
                            "{text:?} is no time (\"2026-01-01T00:00:00Z\", \"2026-01-01 00:00:00 UTC\" or Unix milliseconds)"
                        ));
                    }
                },
                (_, Some(value)) => value,
            };
            if field == "user_id" {
                key = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            }
            if let Some(place) = self.places.named(field) {
                place.set(&mut record, value);
            }
        }
        Ok(Outgoing { key, json: Value::Object(record).to_string().into_bytes(), line })
    }
}

impl Supply for Replay {
    fn next(&mut self) -> Option<Result<Outgoing, String>> {
        let read = self.read()?;
        let event = read.and_then(|(line, record)| self.event(line, record).map_err(|reason| (line, reason)));
        Some(event.map_err(|(line, reason)| format!("{}:{line}: {reason}", self.name)))
    }
}

/// Text that is a canonical integer in range is that integer, as in the API.
fn id(text: String) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number <= LARGEST_ID && number.to_string() == text => number.into(),
        _ => text.into(),
    }
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

enum Line {
    Whole,
    TooLong,
    End,
}

fn read_line(reader: &mut impl BufRead, row: &mut Vec<u8>) -> std::io::Result<Line> {
    let read = reader.take(LONGEST_ROW).read_until(b'\n', row)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if row.last() == Some(&b'\n') || (read as u64) < LONGEST_ROW {
        return Ok(Line::Whole);
    }
    reader.skip_until(b'\n')?;
    Ok(Line::TooLong)
}

fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("is not UTF-8 in column {}", err.field() + 1),
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
