//! What clients say on `/ws`, read strictly, and what they are answered.
//!
//! A key that is unknown or given twice is a fault, as in requests: a client that misspells a
//! filter must not get everything. Judges the shape of a message only; what it asks for is done
//! elsewhere.

use crate::http::codes::Code;
use crate::http::error_message::error_message;
use crate::http::event_filter;
use crate::http::json_members;
use crate::http::live::{LONGEST_PACE_MS, USUAL_PACE};
use crate::http::metric_request;
use crate::http::problem::Problem;
use crate::http::request_object::{key_fault, key_faults};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
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
    Metric(MetricTopic),
    /// Events.
    Events { filter: FeedFilter, since: Option<Position> },
}

/// A question that is to be watched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MetricTopic {
    /// Name of the metric.
    pub(super) name: String,
    /// The params as they were written.
    pub(super) params: String,
    /// Whether names are wanted beside ids.
    pub(super) names: bool,
    /// The least time between two updates.
    pub(super) min_interval: Duration,
}

/// Why a message is not followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MessageFault {
    id: Option<Box<str>>,
    code: Cow<'static, str>,
    detail: String,
    errors: Vec<Fault>,
}

type MessageMembers<'a> = [(Cow<'a, str>, &'a RawValue)];

impl MessageFault {
    pub(super) fn new(id: Option<&str>, code: Code, detail: impl Into<String>) -> Self {
        let (id, code) = (id.map(Box::from), code.word().into());
        MessageFault { id, code, detail: detail.into(), errors: Vec::new() }
    }

    pub(super) fn because(id: Option<&str>, code: Code, errors: Vec<Fault>) -> MessageFault {
        let detail = match errors.as_slice() {
            [one] => one.detail.clone(),
            many => format!("{} faults", many.len()),
        };
        MessageFault { errors, ..MessageFault::new(id, code, detail) }
    }

    /// `since` is no position of this log.
    pub(super) fn since(id: &str, detail: String) -> MessageFault {
        let fault = Fault { pointer: "/since".into(), detail };
        MessageFault::because(Some(id), Code::PositionInvalid, vec![fault])
    }

    /// What the engine refused, without paths.
    pub(super) fn refused(id: &str, problem: &Problem) -> MessageFault {
        MessageFault {
            id: Some(id.into()),
            code: problem.code().to_owned().into(),
            detail: problem.detail().to_owned(),
            errors: problem.errors().to_vec(),
        }
    }

    /// The stable word for it.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// As it is sent.
    pub(super) fn message(&self) -> String {
        error_message(self.id.as_deref(), &self.code, &self.detail, &self.errors)
    }
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
    let known = |keys: &[&str]| match key_faults(members.iter().map(|(key, _)| &**key), keys) {
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
    let faults = |keys: &[&str], topic: &str| -> Vec<Fault> {
        let given = keys.iter().filter(|key| member(members, key).is_some());
        let detail = |key: &str| format!("{key} belongs to a subscription to {topic}");
        given.map(|key| key_fault(key, detail(key))).collect()
    };
    let (of_metric, of_events) =
        (faults(&OF_METRICS[1..], "a metric"), faults(&OF_EVENTS[1..], "events"));
    match (member(members, "metric"), member(members, "events")) {
        (Some(_), Some(_)) => refused("give either `metric` or `events`"),
        (None, None) => refused("give `metric` or `events`"),
        (Some(_), None) if !of_events.is_empty() => {
            Err(MessageFault::because(Some(id), Code::InvalidRequest, of_events))
        }
        (Some(metric), None) => match text_of(metric) {
            Some(name) => metric_topic(members, id, name).map(Topic::Metric),
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

/// The engine judges whether the params suit the metric.
fn metric_topic(
    members: &MessageMembers<'_>,
    id: &str,
    name: String,
) -> Result<MetricTopic, MessageFault> {
    let names = member(members, "expand").map_or(Some(false), |value| {
        let wanted: Option<Vec<String>> = serde_json::from_str(value.get()).ok();
        let wanted = wanted.filter(|wanted| wanted.iter().all(|wanted| wanted == "names"));
        wanted.map(|wanted| !wanted.is_empty())
    });
    let min_interval = member(members, "min_interval_ms").map_or(Some(USUAL_PACE), |value| {
        let ms = metric_request::parse_natural(value).filter(|ms| *ms <= LONGEST_PACE_MS);
        ms.map(Duration::from_millis)
    });
    if let (Some(names), Some(min_interval)) = (names, min_interval) {
        let params = member(members, "params").map_or("{}", RawValue::get).to_owned();
        return Ok(MetricTopic { name, params, names, min_interval });
    }
    let mut faults = Vec::new();
    let mut add = |key: &str, detail: String| faults.push(key_fault(key, detail));
    if names.is_none() {
        add("expand", "expand is not an array of \"names\", the only value".into());
    }
    if min_interval.is_none() {
        add(
            "min_interval_ms",
            format!("min_interval_ms is not an integer from 0 to {LONGEST_PACE_MS}"),
        );
    }
    Err(MessageFault::because(Some(id), Code::InvalidRequest, faults))
}

fn position(value: &RawValue, id: &str) -> Result<Position, MessageFault> {
    let detail = match text_of(value) {
        None => "since is not a text".to_owned(),
        Some(text) => match text.parse() {
            Ok(position) => return Ok(position),
            Err(detail) => detail,
        },
    };
    Err(MessageFault::since(id, detail))
}

fn subscription_id(members: &MessageMembers<'_>) -> Result<Box<str>, MessageFault> {
    let id = member(members, "id").and_then(text_of);
    let id = id.filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    id.map(String::into_boxed_str).ok_or_else(|| {
        let detail = format!("`id` must be a text of 1 to {LONGEST_ID} bytes");
        MessageFault::new(None, Code::InvalidRequest, detail)
    })
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

    fn code(text: &str) -> (Cow<'static, str>, Option<Box<str>>, Vec<String>) {
        let fault = parse(text).unwrap_err();
        let pointers = fault.errors.into_iter().map(|error| error.pointer);
        (fault.code, fault.id, pointers.collect())
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
        let topic = |params: &str, names, ms| {
            let (name, params) = ("m".into(), params.into());
            let min_interval = Duration::from_millis(ms);
            Topic::Metric(MetricTopic { name, params, names, min_interval })
        };
        let topic_a = topic("{\"limit\":5}", true, 250);
        assert_eq!(parse(metric), Ok(Said::Subscribe { id: "a".into(), topic: topic_a }));
        let least = r#"{"type":"subscribe","id":"b","metric":"m","min_interval_ms":1e2}"#;
        let topic_b = topic("{}", false, 100);
        assert_eq!(parse(least), Ok(Said::Subscribe { id: "b".into(), topic: topic_b }));
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
                r#"{"type":"subscribe","id":"a","metric":"m","expand":["x"],"min_interval_ms":-1}"#,
                "invalid_request",
                Some("a"),
                &["/expand", "/min_interval_ms"],
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
            assert_eq!(code(text), (code_of.into(), id.map(Box::from), pointers), "{text}");
        }
        let fault = parse(r#"{"type":"ping","x":1}"#).unwrap_err();
        assert_eq!(
            fault.message(),
            r#"{"type":"error","code":"invalid_request","detail":"unknown key \"x\"; known keys: type","errors":[{"pointer":"/x","detail":"unknown key \"x\"; known keys: type"}]}"#
        );
    }
}
