//! JSON (RFC 8259), one object a record; fields and properties are found by JSON pointer.
//!
//! The bytes are judged whole, members that nobody reads included: UTF-8, grammar, depth, mapped
//! keys that occur twice. Texts are borrowed from the record; only those with escapes are copied,
//! into a buffer that is kept.

mod number;
mod plan;
mod property;
mod scan;
mod text;

use crate::format::{Fields, Format, FormatKind, Value};
use crate::property::PropertyValue;
use crate::reader::{BatchReader, FormatReader};
use crate::{EventsError, Field, Hint, PropertyError, Reason};
use plan::Plan;
use property::{Found, Paths};
use scan::{Scanned, Shape, members, scan};
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use tally_config::EventsConfig;
use tally_event::PropertySource;
use text::{unescape, unescape_into};

/// The factory's entry.
pub(super) const KIND: FormatKind = FormatKind { open };

fn open(events: &EventsConfig) -> Result<Box<dyn BatchReader>, EventsError> {
    let plan = Plan::new(&events.fields)?;
    Ok(Box::new(FormatReader::new(Json { plan, paths: Paths::default() })))
}

/// What a record may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// JSON records, read as `[events.fields]` and declared properties say.
#[derive(Clone, Debug)]
struct Json {
    plan: Plan,
    paths: Paths,
}

impl Json {
    /// Whether a member (its raw key) is shown as one of the five fields.
    fn is_mapped(&self, raw_key: &[u8]) -> bool {
        let key = if raw_key.contains(&b'\\') {
            Cow::Owned(unescape(raw_key))
        } else {
            Cow::Borrowed(raw_key)
        };
        Field::ALL.iter().any(|field| field.name().as_bytes() == &*key)
            || self.plan.top_keys.iter().any(|top| top.as_bytes() == &*key)
    }
}

/// What passes from record to record.
#[derive(Debug)]
struct Memory {
    shape: Shape,
    found: Found,
    /// Texts of the record that had escapes.
    unescaped: Vec<u8>,
}

impl Format for Json {
    type Memory = Memory;

    fn memory(&self) -> Memory {
        Memory { shape: Shape::default(), found: Found::new(&self.plan), unescaped: Vec::new() }
    }

    /// Fails with `invalid_utf8`, or as [`scan()`] does.
    #[inline(always)]
    fn read<'a>(&self, memory: &'a mut Memory, payload: &'a [u8]) -> Result<Fields<'a>, Reason> {
        let (json, plain) = utf8(payload)?;
        let Scanned { mut values, escaped } =
            scan(&self.plan, &mut memory.shape, &mut memory.found, json)?;
        if escaped != 0 {
            resolve_escapes(&mut values, escaped, &mut memory.unescaped);
        }
        for &(field, slot) in &self.plan.shared {
            values[field] = values[slot];
        }
        Ok(Fields { values, clean: plain && escaped == 0 })
    }

    fn read_properties(&mut self, sources: &[Arc<PropertySource>]) -> Result<(), PropertyError> {
        self.paths = Paths::new(sources, &mut self.plan)?;
        Ok(())
    }

    #[inline]
    fn property<'a>(&self, memory: &Memory, payload: &'a [u8], n: usize) -> PropertyValue<'a> {
        self.paths.value(n, without_mark(payload), &memory.found)
    }

    /// Members as they stand in the record, byte by byte: no number loses digits.
    fn write_other_members(&self, payload: &[u8], out: &mut String) -> Result<(), Reason> {
        for (key, value) in members(without_mark(payload))? {
            if !self.is_mapped(key) {
                // Outside of strings a control character is white space, inside there is none.
                let line: String = String::from_utf8_lossy(value)
                    .replace(|letter: char| letter.is_ascii_control() && letter != '\x7F', " ");
                let _ = write!(out, ",\"{}\":{line}", String::from_utf8_lossy(key));
            }
        }
        Ok(())
    }

    fn hint(&self, payload: &[u8]) -> Option<Hint> {
        is_framed(payload).then_some(Hint::Framed)
    }
}

/// The record as UTF-8 without a byte order mark, and whether it holds only bytes 0x00–0x7E.
#[inline(always)]
fn utf8(payload: &[u8]) -> Result<(&[u8], bool), Reason> {
    // One vectorised pass that spares the UTF-8 check and, later, the search for control
    // characters.
    if payload.iter().fold(0, |largest: u8, &byte| largest.max(byte)) < 0x7F {
        return Ok((payload, true));
    }
    if simdutf8::basic::from_utf8(payload).is_err() {
        return Err(Reason::InvalidUtf8);
    }
    Ok((without_mark(payload), false))
}

fn without_mark(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload)
}

/// Replaces the raw texts of these slots (one bit each) by what they say, which is kept in `texts`.
#[cold]
fn resolve_escapes<'a>(values: &mut [Value<'a>; 5], escaped: u8, texts: &'a mut Vec<u8>) {
    texts.clear();
    let mut ends = [0; 5];
    for (slot, (value, end)) in values.iter().zip(&mut ends).enumerate() {
        if let Value::Text(raw) = value
            && escaped & (1 << slot) != 0
        {
            unescape_into(raw, texts);
        }
        *end = texts.len();
    }
    let (texts, mut start): (&'a [u8], usize) = (texts, 0);
    for (slot, (value, end)) in values.iter_mut().zip(ends).enumerate() {
        if matches!(value, Value::Text(_)) && escaped & (1 << slot) != 0 {
            *value = Value::Text(&texts[start..end]);
        }
        start = end;
    }
}

/// Whether a payload probably is Avro or Protobuf as schema registries frame it: a zero byte, then
/// a number of four bytes (the id of the schema), then more. JSON never begins with a zero byte.
fn is_framed(payload: &[u8]) -> bool {
    payload.len() > 5 && payload[0] == 0
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
