//! What clients say on `/ws`, read strictly, and what they are answered.
//!
//! A key that is unknown or given twice is a fault, as in requests: a client that misspells a
//! filter must not get everything. Judges the shape of a message only; what it asks for is done
//! elsewhere.

use crate::http::codes::Code;
use crate::http::event_filter;
use crate::http::json_members::{self, push_text};
use serde_json::value::RawValue;
use std::borrow::Cow;
use tally_engine::engine::FeedFilter;
use tally_engine::event::Position;
use tally_plugin::ask::Fault;

/// Longest id of a subscription, bytes.
const LONGEST_ID: usize = 64;

/// Keys of a subscription to a metric alone.
const OF_METRICS: [&str; 4] = ["metric", "params", "expand", "min_interval_ms"];

/// Keys of a subscription to events alone.
const OF_EVENTS: [&str; 2] = ["events", "since"];

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Begin to send this under that id.
    Subscribe { id: Box<str>, topic: Topic },
    /// Send nothing more under this id.
    Unsubscribe { id: Box<str> },
    /// A key, which nobody needs here.
    Auth,
    /// Say something.
    Ping,
}

/// What a subscription is to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// A metric.
    Metric,
    /// Events.
    Events { filter: FeedFilter, since: Option<Position> },
}

/// Why a message is not followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MessageFault {
    id: Option<Box<str>>,
    code: Code,
    detail: String,
    errors: Vec<Fault>,
}

type MessageMembers<'a> = [(Cow<'a, str>, &'a RawValue)];

impl MessageFault {
    pub(super) fn new(id: Option<&str>, code: Code, detail: impl Into<String>) -> Self {
        MessageFault { id: id.map(Box::from), code, detail: detail.into(), errors: Vec::new() }
    }

    fn because(id: Option<&str>, code: Code, errors: Vec<Fault>) -> MessageFault {
        let detail = match errors.as_slice() {
            [one] => format!("{} {}", one.pointer, one.detail),
            many => format!("{} faults", many.len()),
        };
        MessageFault { errors, ..MessageFault::new(id, code, detail) }
    }

    /// As it is sent.
    pub(super) fn message(&self) -> String {
        error_message(self.id.as_deref(), self.code, &self.detail, &self.errors)
    }
}

/// An `error` message.
pub(super) fn error_message(
    id: Option<&str>,
    code: Code,
    detail: &str,
    errors: &[Fault],
) -> String {
    let mut text = String::from("{\"type\":\"error\"");
    for (key, value) in [("id", id), ("code", Some(code.word())), ("detail", Some(detail))] {
        if let Some(value) = value {
            text.push(',');
            push_text(&mut text, key);
            text.push(':');
            push_text(&mut text, value);
        }
    }
    if !errors.is_empty() {
        text.push_str(",\"errors\":");
        // Faults always serialise.
        text.push_str(&serde_json::to_string(errors).unwrap_or_else(|_| "[]".into()));
    }
    text.push('}');
    text
}

/// Reads a message.
///
/// # Errors
/// It is none that a client may send.
pub(super) fn parse(text: &str) -> Result<Said, MessageFault> {
    let whole: &RawValue = serde_json::from_str(text)
        .map_err(|_| MessageFault::new(None, Code::InvalidJson, "the message is not JSON"))?;
    let Some(json_members::Members(members)) = json_members::members(whole) else {
        return Err(MessageFault::new(None, Code::InvalidRequest, "the message is not an object"));
    };
    let id: Option<String> = member(&members, "id").and_then(text_of);
    let id = id.as_deref();
    let Some(kind) = member(&members, "type").and_then(text_of) else {
        return Err(MessageFault::new(id, Code::InvalidRequest, "`type` must be a text"));
    };
    let known = |keys: &[&str]| match key_faults(&members, keys) {
        faults if faults.is_empty() => Ok(()),
        faults => Err(MessageFault::because(id, Code::InvalidRequest, faults)),
    };
    match kind.as_str() {
        "ping" => known(&["type"]).map(|()| Said::Ping),
        "auth" => known(&["type", "key"]).map(|()| Said::Auth),
        "unsubscribe" => {
            known(&["type", "id"])?;
            Ok(Said::Unsubscribe { id: subscription_id(&members)? })
        }
        "subscribe" => {
            known(&[&["type", "id"][..], &OF_METRICS[..], &OF_EVENTS[..]].concat())?;
            let id = subscription_id(&members)?;
            let topic = topic(&members, &id)?;
            Ok(Said::Subscribe { id, topic })
        }
        other => {
            let other = other.escape_debug();
            let known = "known types: auth, ping, subscribe, unsubscribe";
            let detail = format!("unknown type \"{other}\"; {known}");
            Err(MessageFault::new(id, Code::UnknownType, detail))
        }
    }
}

fn topic(members: &MessageMembers<'_>, id: &str) -> Result<Topic, MessageFault> {
    let refused = |detail: &str| Err(MessageFault::new(Some(id), Code::InvalidRequest, detail));
    let faults = |keys: &[&str], detail: &str| -> Vec<Fault> {
        let given = keys.iter().filter(|key| member(members, key).is_some());
        given.map(|key| Fault { pointer: format!("/{key}"), detail: detail.into() }).collect()
    };
    let (of_metric, of_events) = (
        faults(&OF_METRICS[1..], "belongs to a subscription to a metric"),
        faults(&OF_EVENTS[1..], "belongs to a subscription to events"),
    );
    match (member(members, "metric"), member(members, "events")) {
        (Some(_), Some(_)) => refused("give either `metric` or `events`"),
        (None, None) => refused("give `metric` or `events`"),
        (Some(_), None) if !of_events.is_empty() => {
            Err(MessageFault::because(Some(id), Code::InvalidRequest, of_events))
        }
        (Some(metric), None) => match text_of(metric) {
            Some(_) => Ok(Topic::Metric),
            None => refused("`metric` must be a text"),
        },
        (None, Some(_)) if !of_metric.is_empty() => {
            Err(MessageFault::because(Some(id), Code::InvalidRequest, of_metric))
        }
        (None, Some(events)) => {
            let filter = event_filter::of_json(events)
                .map_err(|faults| MessageFault::because(Some(id), Code::InvalidParams, faults))?;
            let since = match member(members, "since") {
                None => None,
                Some(since) => Some(position(since, id)?),
            };
            Ok(Topic::Events { filter, since })
        }
    }
}

fn position(value: &RawValue, id: &str) -> Result<Position, MessageFault> {
    let detail = match text_of(value) {
        None => "is not a text".to_owned(),
        Some(text) => match text.parse() {
            Ok(position) => return Ok(position),
            Err(detail) => detail,
        },
    };
    let fault = Fault { pointer: "/since".into(), detail };
    Err(MessageFault::because(Some(id), Code::PositionInvalid, vec![fault]))
}

fn subscription_id(members: &MessageMembers<'_>) -> Result<Box<str>, MessageFault> {
    let id = member(members, "id").and_then(text_of);
    let id = id.filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    id.map(String::into_boxed_str).ok_or_else(|| {
        let detail = format!("`id` must be a text of 1 to {LONGEST_ID} bytes");
        MessageFault::new(None, Code::InvalidRequest, detail)
    })
}

/// The faults of the keys: unknown, or given twice.
fn key_faults(members: &MessageMembers<'_>, known: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (n, (key, _)) in members.iter().enumerate() {
        let detail = if !known.contains(&key.as_ref()) {
            format!("unknown key; known keys: {}", known.join(", "))
        } else if members[..n].iter().any(|(other, _)| other == key) {
            "is given twice".into()
        } else {
            continue;
        };
        let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        faults.push(Fault { pointer, detail });
    }
    faults
}

fn member<'a>(members: &MessageMembers<'a>, name: &str) -> Option<&'a RawValue> {
    members.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use tally_plugin::read::Id;

    fn code(text: &str) -> (&'static str, Option<Box<str>>, Vec<String>) {
        let fault = parse(text).unwrap_err();
        let pointers = fault.errors.into_iter().map(|error| error.pointer);
        (fault.code.word(), fault.id, pointers.collect())
    }

    #[test]
    fn messages_say_what_the_contract_has_them_say() {
        assert_eq!(parse(r#" {"type":"ping"} "#), Ok(Said::Ping));
        assert_eq!(parse(r#"{"type":"auth","key":"k"}"#), Ok(Said::Auth));
        assert_eq!(
            parse(r#"{"type":"unsubscribe","id":"a"}"#),
            Ok(Said::Unsubscribe { id: "a".into() })
        );
        let user = Some(Id::Integer(1));
        let filter = FeedFilter { event_types: vec!["buy".into()], user, product: None };
        let since = Some("0:17,1:9".parse().unwrap());
        assert_eq!(
            parse(
                r#"{"type":"subscribe","id":"e","events":{"event_types":["buy"],"user_id":1},"since":"0:17,1:9"}"#
            ),
            Ok(Said::Subscribe { id: "e".into(), topic: Topic::Events { filter, since } })
        );
        let metric = r#"{"type":"subscribe","id":"a","metric":"m","params":{"limit":5},"expand":["names"],"min_interval_ms":250}"#;
        assert_eq!(parse(metric), Ok(Said::Subscribe { id: "a".into(), topic: Topic::Metric }));
    }

    #[test]
    fn what_is_not_a_message_is_told_with_its_id_and_where() {
        let none: &[&str] = &[];
        let long = format!(r#"{{"type":"unsubscribe","id":"{}"}}"#, "x".repeat(65));
        for (text, code_of, id, pointers) in [
            ("{", "invalid_json", None, none),
            ("7", "invalid_request", None, &[]),
            (r#"{"id":"a"}"#, "invalid_request", Some("a"), &[]),
            (r#"{"type":7}"#, "invalid_request", None, &[]),
            (r#"{"type":"dance","id":"a"}"#, "unknown_type", Some("a"), &[]),
            (r#"{"type":"ping","x":1}"#, "invalid_request", None, &["/x"]),
            (r#"{"type":"ping","type":"ping"}"#, "invalid_request", None, &["/type"]),
            (r#"{"type":"unsubscribe"}"#, "invalid_request", None, &[]),
            (long.as_str(), "invalid_request", None, &[]),
            (r#"{"type":"subscribe","id":"a"}"#, "invalid_request", Some("a"), &[]),
            (
                r#"{"type":"subscribe","id":"a","metric":"m","events":{}}"#,
                "invalid_request",
                Some("a"),
                &[],
            ),
            (
                r#"{"type":"subscribe","id":"a","metric":"m","since":"0:1"}"#,
                "invalid_request",
                Some("a"),
                &["/since"],
            ),
            (
                r#"{"type":"subscribe","id":"a","events":{},"params":{},"expand":[]}"#,
                "invalid_request",
                Some("a"),
                &["/params", "/expand"],
            ),
            (
                r#"{"type":"subscribe","id":"a","events":{"user_ids":1}}"#,
                "invalid_params",
                Some("a"),
                &["/events/user_ids"],
            ),
            (
                r#"{"type":"subscribe","id":"a","events":{},"since":"x"}"#,
                "position_invalid",
                Some("a"),
                &["/since"],
            ),
            (
                r#"{"type":"subscribe","id":"a","events":{},"since":7}"#,
                "position_invalid",
                Some("a"),
                &["/since"],
            ),
        ] {
            let pointers = pointers.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(code(text), (code_of, id.map(Box::from), pointers), "{text}");
        }
        let fault = parse(r#"{"type":"ping","x":1}"#).unwrap_err();
        assert_eq!(
            fault.message(),
            r#"{"type":"error","code":"invalid_request","detail":"/x unknown key; known keys: type","errors":[{"pointer":"/x","detail":"unknown key; known keys: type"}]}"#
        );
    }
}
