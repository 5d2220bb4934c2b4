//! The one verdict on a record, whatever its format: accepted with these values, or refused with
//! this reason.

use super::MAX_BYTES;
use super::format::{Fields, Number, Value};
use super::id::{self, Id};
use super::kinds::Kinds;
use super::reason::{Field, Reason};
use super::rules::Rules;
use tally_config::is_event_type;
use tally_event::OTHER;
use tally_event::time::{EVENT_TIMES, Minute};

/// An accepted event.
pub(super) struct Event<'a> {
    pub(super) event_id: Option<&'a [u8]>,
    pub(super) user: Id<'a>,
    pub(super) product: Id<'a>,
    /// As [`Types`] numbers them.
    pub(super) kind: u16,
    /// Unix milliseconds.
    pub(super) time: i64,
    /// Whether the event states its time; else it is the record's.
    pub(super) timed: bool,
}

/// What is done with event types that pass.
pub(super) enum Types<'k> {
    /// Numbered in the batch's dictionary.
    Cached(&'k mut Kinds, &'k mut Vec<Box<str>>),
    /// Only checked; all are number 0.
    Plain,
    /// Checked and kept.
    Named(&'k mut String),
}

/// A payload that a format may read. Size comes before content: a large record costs nothing.
///
/// # Errors
/// `empty_payload`, `payload_too_large`.
#[inline(always)]
pub(super) fn bounded(payload: &[u8]) -> Result<&[u8], Reason> {
    if payload.is_empty() {
        return Err(Reason::EmptyPayload);
    }
    if payload.len() > MAX_BYTES {
        return Err(Reason::PayloadTooLarge);
    }
    Ok(payload)
}

/// Judges the fields of a record. `record_ms`: its own timestamp, -1 if the log knows none.
#[inline(always)]
pub(super) fn judge<'a>(
    rules: &Rules,
    fields: &Fields<'a>,
    minute: &mut Minute,
    types: &mut Types<'_>,
    record_ms: i64,
) -> Result<Event<'a>, Reason> {
    let value = |field: Field| fields.values[field as usize];
    let id = |field: Field| id::id(value(field), field, rules.requires(field), fields.clean);
    Ok(Event {
        event_id: event_id(value(Field::EventId), fields.clean)?,
        user: id(Field::UserId)?,
        product: id(Field::ProductId)?,
        kind: event_type(value(Field::EventType), rules, types)?,
        time: time(value(Field::Timestamp), rules, record_ms, minute)?,
        timed: !matches!(value(Field::Timestamp), Value::Absent),
    })
}

#[inline(always)]
fn event_id(value: Value<'_>, clean: bool) -> Result<Option<&[u8]>, Reason> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) if id::is_text_id(text, clean) => Ok(Some(text)),
        Value::Text(_) => Err(Reason::EventIdInvalid),
        Value::Number(_) | Value::Other => Err(Reason::WrongType(Field::EventId)),
    }
}

#[inline(always)]
fn event_type(value: Value<'_>, rules: &Rules, types: &mut Types<'_>) -> Result<u16, Reason> {
    match value {
        Value::Text(text) => match types {
            Types::Cached(kinds, names) => kinds.code(text, rules, names),
            _ => Ok(types.take(resolve(text, rules)?)),
        },
        Value::Absent if rules.requires(Field::EventType) => {
            Err(Reason::MissingField(Field::EventType))
        }
        Value::Absent => Ok(types.take(OTHER)),
        Value::Number(_) | Value::Other => Err(Reason::WrongType(Field::EventType)),
    }
}

/// The name under which an event type counts.
pub(super) fn resolve<'a>(text: &'a [u8], rules: &'a Rules) -> Result<&'a str, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| Reason::EventTypeInvalid)?;
    let name = rules.aliases.get(text).map_or(text, String::as_str);
    if !is_event_type(name) {
        return Err(Reason::EventTypeInvalid);
    }
    Ok(if rules.types.is_empty() || rules.types.contains(name) { name } else { OTHER })
}

impl Types<'_> {
    fn take(&mut self, name: &str) -> u16 {
        match self {
            Types::Cached(kinds, names) => kinds.number(name, names),
            Types::Plain => 0,
            Types::Named(kept) => {
                name.clone_into(kept);
                0
            }
        }
    }
}

#[inline(always)]
fn time(
    value: Value<'_>,
    rules: &Rules,
    record_ms: i64,
    minute: &mut Minute,
) -> Result<i64, Reason> {
    let time = match value {
        // Neither the event nor the log says when.
        Value::Absent if !rules.is_plausible(record_ms) => return Err(Reason::TimestampInvalid),
        Value::Absent => return Ok(record_ms),
        value => stated_time(value, minute)?,
    };
    if time < rules.earliest {
        Err(Reason::TimestampTooEarly)
    } else if time >= EVENT_TIMES.end || is_ahead(time, rules, record_ms) {
        Err(Reason::TimestampInFuture)
    } else {
        Ok(time)
    }
}

/// The time that a value which is there writes, whether an event may have it or not.
#[inline(always)]
pub(super) fn stated_time(value: Value<'_>, minute: &mut Minute) -> Result<i64, Reason> {
    match value {
        Value::Number(Number::Natural(ms)) => {
            i64::try_from(ms).map_err(|_| Reason::TimestampInvalid)
        }
        Value::Number(Number::Negative(ms)) => Ok(ms),
        Value::Text(text) => minute.rfc3339(text).ok_or(Reason::TimestampInvalid),
        Value::Number(Number::Huge) | Value::Absent => Err(Reason::TimestampInvalid),
        Value::Number(Number::Other) | Value::Other => Err(Reason::WrongType(Field::Timestamp)),
    }
}

/// Whether a time is too far ahead of its record's own timestamp. One that is not plausible refuses
/// nothing.
#[inline(always)]
fn is_ahead(time: i64, rules: &Rules, record_ms: i64) -> bool {
    rules.max_ahead.is_some_and(|ahead| {
        rules.is_plausible(record_ms) && time > record_ms.saturating_add(ahead)
    })
}

/// What an event that passed says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The user as text, an integer in decimal: what the log is partitioned by. `None` if absent,
    /// where it may be.
    pub user_id: Option<Box<str>>,
    /// Its identity, if it has one.
    pub event_id: Option<Box<str>>,
    /// When it happened, Unix milliseconds.
    pub time_ms: i64,
}

impl Checked {
    pub(super) fn of(event: &Event<'_>) -> Checked {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
        Checked {
            user_id: match event.user {
                Id::Absent => None,
                Id::Integer(integer) => Some(integer.to_string().into_boxed_str()),
                Id::Text(user) => Some(text(user)),
            },
            event_id: event.event_id.map(text),
            time_ms: event.time,
        }
    }
}
