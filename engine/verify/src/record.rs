//! The verdict on a record, written a second time: an event, or none. Why not is the engine's to
//! say.
//!
//! The rules are those of the HTTP contract. JSON is judged by `serde_json`, one level at a time
//! along the pointers of `[events.fields]`; what lies beside them stays unread, so that a number
//! nobody asks for may be as large as it likes.

use super::members::Members;
use super::property::{self, Property, PropertyReader, Scalar};
use super::time;
use super::types::{OTHER, TypeRule};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// Largest record, bytes.
const LARGEST: usize = 64 << 10;

/// Deepest nesting; the record itself is 1.
const DEEPEST: usize = 32;

/// Integers below it are ids.
const INTEGERS: u64 = 1 << 53;

/// `[events]`, as the engine says it.
#[derive(Deserialize)]
pub(super) struct Settings {
    fields: Fields,
    aliases: BTreeMap<String, String>,
    types: BTreeSet<String>,
    max_types: usize,
    keep: BTreeSet<String>,
    required: BTreeSet<String>,
    earliest: String,
    max_ahead: String,
    dedupe_window: u64,
}

/// JSON pointers.
#[derive(Deserialize)]
struct Fields {
    event_id: String,
    user_id: String,
    product_id: String,
    event_type: String,
    timestamp: String,
}

/// An event that counts, unless it is a duplicate.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) event_id: Option<String>,
    /// An integer or a text; absent only where it may be.
    pub(super) user: Option<Value>,
    pub(super) product: Option<Value>,
    pub(super) kind: String,
    /// Unix milliseconds.
    pub(super) time: i64,
    /// What is read beside, in the order of [`Judge::read`].
    pub(super) properties: Vec<Option<Scalar>>,
}

/// Judges records.
pub(super) struct Judge {
    settings: Settings,
    /// The times that events may have, Unix milliseconds.
    times: std::ops::Range<i64>,
    /// How far an event may be ahead of its record, milliseconds; `None`: as far as it likes.
    ahead: Option<i64>,
    /// The keys of each pointer: event id, user, product, type, time.
    pointers: [Vec<String>; 5],
    /// The properties that metrics read.
    reads: Vec<PropertyReader>,
    /// The dedupe window, offsets.
    pub(super) window: u64,
}

impl Judge {
    /// # Errors
    /// A sentence: a pointer or a time that is none.
    pub(super) fn new(settings: Settings) -> Result<Judge, String> {
        let Fields { event_id, user_id, product_id, event_type, timestamp } = &settings.fields;
        let mut pointers: [Vec<String>; 5] = Default::default();
        for (keys, pointer) in
            pointers.iter_mut().zip([event_id, user_id, product_id, event_type, timestamp])
        {
            *keys = property::keys(pointer)?;
        }
        let earliest = &settings.earliest;
        let from = time::date_or_millis(earliest)
            .ok_or_else(|| format!("earliest = {earliest:?} is not a time"))?;
        let ahead = match settings.max_ahead.as_str() {
            "off" => None,
            ahead => Some(
                time::length(ahead)
                    .ok_or_else(|| format!("max_ahead = {ahead:?} is not a duration"))?,
            ),
        };
        Ok(Judge {
            times: from..time::END,
            ahead,
            pointers,
            reads: Vec::new(),
            window: settings.dedupe_window,
            settings,
        })
    }

    /// Which types stand for themselves in a table that is keyed by them.
    pub(super) fn types(&self) -> TypeRule {
        let Settings { types, aliases, keep, max_types, .. } = &self.settings;
        TypeRule {
            most: *max_types,
            always: types.iter().chain(aliases.values()).chain(keep).cloned().collect(),
        }
    }

    /// From now on events have this property: where, in their list.
    ///
    /// # Errors
    /// A sentence: its pointer is none.
    pub(super) fn read(&mut self, property: &Property) -> Result<usize, String> {
        let read = PropertyReader { keys: property::keys(&property.pointer)?, kind: property.kind };
        Ok(self.reads.iter().position(|known| *known == read).unwrap_or_else(|| {
            self.reads.push(read);
            self.reads.len() - 1
        }))
    }

    /// The event that a record is. `record_ms`: its own timestamp, -1 if the log knows none.
    pub(super) fn event(&self, payload: Option<&[u8]>, record_ms: i64) -> Option<Event> {
        let payload = payload.filter(|payload| (1..=LARGEST).contains(&payload.len()))?;
        let text = std::str::from_utf8(payload).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if depth(text) > DEEPEST {
            return None;
        }
        let whole: &RawValue = serde_json::from_str(text).ok()?;
        let Members(record): Members<'_, String> = serde_json::from_str(text).ok()?;
        let [event_id, user, product, kind, time] = &self.pointers;
        Some(Event {
            event_id: event_id_of(look(&record, event_id)?)?,
            user: id(look(&record, user)?, self.settings.required.contains("user_id"))?,
            product: id(look(&record, product)?, self.settings.required.contains("product_id"))?,
            kind: self.kind(look(&record, kind)?)?,
            time: self.time(look(&record, time)?, record_ms)?,
            properties: self.reads.iter().map(|read| read.of(whole)).collect(),
        })
    }

    fn time(&self, found: Option<&RawValue>, record_ms: i64) -> Option<i64> {
        // A clock that shows a time at which nothing can have happened is not asked.
        let record = Some(record_ms).filter(|time| self.times.contains(time));
        let Some(found) = found else { return record };
        let stated = match found.get() {
            quoted if quoted.starts_with('"') => time::millis(&text(found)?)?,
            number => property::integer(number)?,
        };
        let ahead = record
            .zip(self.ahead)
            .is_some_and(|(record, most)| stated.saturating_sub(record) > most);
        Some(stated).filter(|time| self.times.contains(time) && !ahead)
    }

    fn kind(&self, found: Option<&RawValue>) -> Option<String> {
        let Some(found) = found else {
            return (!self.settings.required.contains("event_type")).then(|| OTHER.to_owned());
        };
        let text = text(found)?;
        let name = self.settings.aliases.get(&text).unwrap_or(&text);
        let mut letters = name.chars();
        let plain = letters.next().is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
            })
            && name.len() <= 32;
        let listed = self.settings.types.is_empty() || self.settings.types.contains(name);
        plain.then(|| if listed { name.clone() } else { OTHER.to_owned() })
    }
}

/// What the keys lead to; a `null` is nothing. The outer `None`: a key on the way stands twice, or
/// is no JSON.
fn look<'a>(members: &[(String, &'a RawValue)], keys: &[String]) -> Option<Option<&'a RawValue>> {
    let Some((key, rest)) = keys.split_first() else { return Some(None) };
    let mut found = members.iter().filter(|(name, _)| name == key).map(|(_, value)| *value);
    match (found.next(), found.next()) {
        (None, _) => Some(None),
        (Some(value), None) => into(value, rest),
        (Some(_), Some(_)) => None,
    }
}

fn into<'a>(value: &'a RawValue, keys: &[String]) -> Option<Option<&'a RawValue>> {
    let Some((key, rest)) = keys.split_first() else {
        return Some(Some(value).filter(|value| value.get() != "null"));
    };
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let Members(members): Members<'_, String> = serde_json::from_str(value.get()).ok()?;
            look(&members, keys)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            let canonical = key == "0" || !key.starts_with(['0', '+']);
            match key
                .parse::<usize>()
                .ok()
                .filter(|_| canonical)
                .and_then(|index| items.get(index).copied())
            {
                Some(item) => into(item, rest),
                None => Some(None),
            }
        }
        _ => Some(None),
    }
}

/// Nesting of brackets that stand in no text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// 1–64 bytes without control characters.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn event_id_of(found: Option<&RawValue>) -> Option<Option<String>> {
    match found {
        None => Some(None),
        Some(found) => text(found).filter(|text| is_plain(text)).map(Some),
    }
}

/// The outer `None`: it is none.
fn id(found: Option<&RawValue>, required: bool) -> Option<Option<Value>> {
    let Some(found) = found else { return (!required).then_some(None) };
    if found.get().starts_with('"') {
        let text = text(found)?;
        return match integer(&text) {
            Some(integer) => Some(Some(integer.into())),
            None => (is_plain(&text) && text != OTHER).then(|| Some(text.into())),
        };
    }
    let id = property::integer(found.get())
        .and_then(|id| u64::try_from(id).ok())
        .filter(|id| *id < INTEGERS);
    id.map(|id| Some(id.into()))
}

/// The integer that is written so and in no other way.
fn integer(text: &str) -> Option<u64> {
    text.parse().ok().filter(|integer: &u64| *integer < INTEGERS && integer.to_string() == text)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
