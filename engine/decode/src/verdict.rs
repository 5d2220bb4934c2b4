//! The one verdict on a record: accepted with these values, or refused with this reason.

use super::id::{self, Id};
use super::kinds::Kinds;
use super::number::Number;
use super::plan::{Plan, is_event_type};
use super::property::Found;
use super::reason::{Field, Reason};
use super::scan::{Shape, Value, scan};
use super::text::unescape;
use super::{BYTE_ORDER_MARK, MAX_BYTES};
use std::borrow::Cow;
use tally_event::OTHER;
use tally_event::time::{EVENT_TIMES, Minute, rfc3339};

/// An accepted event.
pub(super) struct Event<'a> {
    pub(super) event_id: Option<Cow<'a, [u8]>>,
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

/// Judges a record. `record_ms`: its own timestamp, -1 if the log knows none.
#[inline]
pub(super) fn judge<'a>(
    plan: &Plan,
    shape: &mut Shape,
    found: &mut Found,
    types: &mut Types<'_>,
    payload: &'a [u8],
    record_ms: i64,
) -> Result<Event<'a>, Reason> {
    let (json, plain) = text(payload)?;
    let values = scan(plan, shape, found, json)?;
    let value = |field: Field| values[plan.slot_of[field as usize]];
    let required = |field: Field| plan.required[field as usize];
    Ok(Event {
        event_id: event_id(value(Field::EventId), plain)?,
        user: id::id(value(Field::UserId), Field::UserId, required(Field::UserId), plain)?,
        product: id::id(value(Field::ProductId), Field::ProductId, required(Field::ProductId), plain)?,
        kind: event_type(value(Field::EventType), plan, types)?,
        time: time(value(Field::Timestamp), plan, record_ms, &mut shape.minute)?,
        timed: !matches!(value(Field::Timestamp), Value::Absent),
    })
}

/// The record as text without a byte order mark, and whether it holds only bytes 0x00–0x7E. Size before content: a
/// large record costs nothing.
#[inline(always)]
pub(super) fn text(payload: &[u8]) -> Result<(&[u8], bool), Reason> {
    if payload.is_empty() {
        return Err(Reason::EmptyPayload);
    }
    if payload.len() > MAX_BYTES {
        return Err(Reason::PayloadTooLarge);
    }
    // One vectorised pass that spares the UTF-8 check and, later, the search for control characters.
    if payload.iter().fold(0, |largest: u8, &byte| largest.max(byte)) < 0x7F {
        return Ok((payload, true));
    }
    if simdutf8::basic::from_utf8(payload).is_err() {
        return Err(Reason::InvalidUtf8);
    }
    Ok((payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload), false))
}

#[inline(always)]
fn event_id(value: Value<'_>, plain: bool) -> Result<Option<Cow<'_, [u8]>>, Reason> {
    let (text, plain) = match value {
        Value::Absent => return Ok(None),
        Value::Text(text) => (Cow::Borrowed(text), plain),
        Value::Escaped(raw) => (Cow::Owned(unescape(raw)), false),
        Value::Number(_) | Value::Other => return Err(Reason::WrongType(Field::EventId)),
    };
    if id::is_text_id(&text, plain) { Ok(Some(text)) } else { Err(Reason::EventIdInvalid) }
}

#[inline(always)]
fn event_type(value: Value<'_>, plan: &Plan, types: &mut Types<'_>) -> Result<u16, Reason> {
    match value {
        Value::Text(text) => match types {
            Types::Cached(kinds, names) => kinds.code(text, plan, names),
            _ => resolve_into(text, plan, types),
        },
        Value::Escaped(raw) => resolve_into(&unescape(raw), plan, types),
        Value::Absent if plan.required[Field::EventType as usize] => Err(Reason::MissingField(Field::EventType)),
        Value::Absent => Ok(types.take(OTHER)),
        Value::Number(_) | Value::Other => Err(Reason::WrongType(Field::EventType)),
    }
}

fn resolve_into(text: &[u8], plan: &Plan, types: &mut Types<'_>) -> Result<u16, Reason> {
    Ok(types.take(resolve(text, plan)?))
}

/// The name under which an event type counts.
pub(super) fn resolve<'a>(text: &'a [u8], plan: &'a Plan) -> Result<&'a str, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| Reason::EventTypeInvalid)?;
    let name = plan.aliases.get(text).map_or(text, String::as_str);
    if !is_event_type(name.as_bytes()) {
        return Err(Reason::EventTypeInvalid);
    }
    Ok(if plan.types.is_empty() || plan.types.contains(name) { name } else { OTHER })
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
fn time(value: Value<'_>, plan: &Plan, record_ms: i64, minute: &mut Minute) -> Result<i64, Reason> {
    let time = match value {
        // Neither the event nor the log says when.
        Value::Absent if !plan.is_plausible(record_ms) => return Err(Reason::TimestampInvalid),
        Value::Absent => return Ok(record_ms),
        value => stated_time(value, minute)?,
    };
    if time < plan.earliest {
        Err(Reason::TimestampTooEarly)
    } else if time >= EVENT_TIMES.end || is_ahead(time, plan, record_ms) {
        Err(Reason::TimestampInFuture)
    } else {
        Ok(time)
    }
}

/// The time that a value which is there writes, whether an event may have it or not.
#[inline(always)]
pub(super) fn stated_time(value: Value<'_>, minute: &mut Minute) -> Result<i64, Reason> {
    match value {
        Value::Number(Number::Natural(ms)) => i64::try_from(ms).map_err(|_| Reason::TimestampInvalid),
        Value::Number(Number::Negative(ms)) => Ok(ms),
        Value::Text(text) => minute.rfc3339(text).ok_or(Reason::TimestampInvalid),
        Value::Escaped(raw) => rfc3339(&unescape(raw)).ok_or(Reason::TimestampInvalid),
        Value::Number(Number::Huge) | Value::Absent => Err(Reason::TimestampInvalid),
        Value::Number(Number::Other) | Value::Other => Err(Reason::WrongType(Field::Timestamp)),
    }
}

/// Whether a time is too far ahead of its record's own timestamp. One that is not plausible refuses nothing.
#[inline(always)]
pub(super) fn is_ahead(time: i64, plan: &Plan, record_ms: i64) -> bool {
    plan.max_ahead.is_some_and(|ahead| plan.is_plausible(record_ms) && time > record_ms.saturating_add(ahead))
}

/// What an event that passed says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The user as text, an integer in decimal: what the log is partitioned by. `None` if absent, where it may be.
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
            user_id: match &event.user {
                Id::Absent => None,
                Id::Integer(integer) => Some(integer.to_string().into_boxed_str()),
                Id::Text(user) => Some(text(user)),
            },
            event_id: event.event_id.as_deref().map(text),
            time_ms: event.time,
        }
    }
}
