//! `POST /api/events`: splits the body into events, whose bytes go to the log as they were sent.
//!
//! The engine judges each event; here only a body that is not JSON, or has more than [`MOST`]
//! events, is refused as a whole. The meaning of a body does not depend on its media type: one JSON
//! value is an event or an array of events, over any number of lines; otherwise each line is an
//! event of its own, and blank lines are skipped. A body is split, judged and its answer written on
//! a blocking thread; the answer lists a bounded number of rejected events.

use super::codes::Code;
use super::problem::Problem;
use super::request_object::invalid_json;
use super::{App, blocking, json_members, request_body};
use crate::text;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tally_engine::engine::Appended;

/// Most events of a body.
const MOST: usize = 20_000;

/// Most rejected events that an answer lists.
const LISTED: usize = 1_000;

/// A longer body is split on the blocking thread only; a shorter one also before, so that a body
/// that is not JSON takes no place.
const SHORT: usize = 16 * 1024;

const NDJSON: &str = "application/x-ndjson";

#[derive(Serialize)]
struct AppendReply {
    accepted: u64,
    rejected: Vec<RejectedEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_total: Option<usize>,
    position: String,
}

#[derive(Serialize)]
struct RejectedEvent {
    index: usize,
    reason: String,
}

pub(crate) async fn append(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let kind = request_body::media_type(&parts.headers, &[request_body::JSON, NDJSON])?;
    let body =
        request_body::read(&parts.headers, body, request_body::EVENTS, app.limits.body).await?;
    if body.len() <= SHORT {
        split_events(&body, kind)?;
    }
    let answer = append_body(&app, body, kind).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// The body of the reply to an append.
fn reply_body(appended: Appended) -> Vec<u8> {
    let Appended { accepted, rejected, position } = appended;
    let total = rejected.len();
    let listed =
        rejected.into_iter().take(LISTED).map(|(index, reason)| RejectedEvent { index, reason });
    let answer = AppendReply {
        accepted,
        rejected: listed.collect(),
        rejected_total: (total > LISTED).then_some(total),
        position: position.to_string(),
    };
    // Texts and numbers always serialise.
    serde_json::to_vec(&answer).unwrap_or_default()
}

async fn append_body(app: &App, body: Bytes, kind: &'static str) -> Result<Vec<u8>, Problem> {
    let place = Arc::clone(&app.appends)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("too many posts at once"))?;
    let engine = Arc::clone(&app.engine);
    let append =
        move || split_events(&body, kind).map(|events| engine.append(&events).map(reply_body));
    let unavailable =
        |detail: &str, retry_helps| Problem::unavailable(Code::LogUnavailable, detail, retry_helps);
    match blocking::run_within(app.limits.append, blocking::holding(place, append)).await? {
        Some(Ok(Ok(done))) => Ok(done),
        Some(Ok(Err(fault))) => Err(unavailable(&fault.to_string(), fault.retry_helps())),
        Some(Err(problem)) => Err(problem),
        None => Err(unavailable(
            "the log did not acknowledge in time, so some of the events may be in it; events with \
             an event_id can safely be sent again",
            true,
        )),
    }
}

/// The bytes of each event.
fn split_events<'a>(body: &'a [u8], kind: &str) -> Result<Vec<&'a [u8]>, Problem> {
    let events = parse_events(body, kind)?;
    if events.len() <= MOST {
        return Ok(events);
    }
    let detail = format!(
        "the body has {} events, at most {MOST} are accepted at once; none was written",
        events.len()
    );
    Err(Problem::new(Code::PayloadTooLarge, detail))
}

fn parse_events<'a>(body: &'a [u8], kind: &str) -> Result<Vec<&'a [u8]>, Problem> {
    let body = text::without_mark(body);
    if kind == NDJSON && !body.trim_ascii_start().starts_with(b"[") {
        return Ok(text::lines(body).collect());
    }
    let error = match serde_json::from_slice::<&RawValue>(body) {
        Ok(whole) => {
            let events = json_members::elements(whole).unwrap_or_else(|| vec![whole]);
            return Ok(events.into_iter().map(|event| event.get().as_bytes()).collect());
        }
        Err(error) => error,
    };
    // If the body is lines, the first line is a whole value.
    let mut lines = text::lines(body);
    let is_value = |line| serde_json::from_slice::<&RawValue>(line).is_ok();
    let in_lines = lines.next().is_some_and(is_value) && lines.next().is_some();
    if kind == NDJSON || in_lines {
        Ok(text::lines(body).collect())
    } else {
        Err(invalid_json(&error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn events_keep_their_bytes() {
        let split = |body: &'static str, kind| -> Vec<&str> {
            split_events(body.as_bytes(), kind)
                .unwrap()
                .into_iter()
                .map(|event| std::str::from_utf8(event).unwrap())
                .collect()
        };
        assert_eq!(split(" {\"a\" : 1.0} ", "application/json"), ["{\"a\" : 1.0}"]);
        assert_eq!(
            split("[{\"a\":1,\"a\":2}, 7,\"x\"]", "application/json"),
            ["{\"a\":1,\"a\":2}", "7", "\"x\""]
        );
        assert_eq!(split("\u{feff}[]", "application/json"), [""; 0]);
        assert_eq!(split("{\"a\":1}\r\n\n{not json\n", NDJSON), ["{\"a\":1}", "{not json"]);
        for kind in ["application/json", NDJSON] {
            assert_eq!(
                split("\u{feff}{\"a\":1}\r{\"b\":2}\n\u{feff}7\n", kind),
                ["{\"a\":1}", "{\"b\":2}", "7"]
            );
            assert_eq!(
                split("[\n {\"a\":1},\r\n {\"b\":\n2}\n]\n", kind),
                ["{\"a\":1}", "{\"b\":\n2}"]
            );
            assert_eq!(
                split("{\"a\":1}\n[2]\n{3", kind),
                ["{\"a\":1}", "[2]", "{3"],
                "a line that is none is an event that is none"
            );
            assert_eq!(split("{\"a\":1}", kind), ["{\"a\":1}"]);
        }
        assert_eq!(split("{\n\"a\":1\n}", "application/json"), ["{\n\"a\":1\n}"]);
        assert_eq!(split("[1]\n[2]\n", NDJSON), ["[1]", "[2]"]);
        assert_eq!(split("", NDJSON), [""; 0]);
    }

    #[test]
    fn a_body_of_too_many_events_is_refused_whole_and_rejected_ones_are_listed_in_part() {
        let lines = |count: usize| "{}\n".repeat(count).into_bytes();
        assert_eq!(split_events(&lines(MOST), NDJSON).unwrap().len(), MOST);
        assert!(split_events(&lines(MOST + 1), NDJSON).is_err());
        let array = |count: usize| format!("[{}]", vec!["1"; count].join(",")).into_bytes();
        assert_eq!(split_events(&array(MOST), "application/json").unwrap().len(), MOST);
        assert!(split_events(&array(MOST + 1), "application/json").is_err());

        let told = |count: usize| -> serde_json::Value {
            let rejected = (0..count).map(|index| (index, "not_an_object".to_owned())).collect();
            serde_json::from_slice(&reply_body(Appended { rejected, ..Appended::default() }))
                .unwrap()
        };
        let all = told(LISTED);
        assert_eq!(
            (all["rejected"].as_array().unwrap().len(), &all["rejected_total"]),
            (LISTED, &serde_json::Value::Null)
        );
        let some = told(LISTED + 1);
        assert_eq!(
            (some["rejected"].as_array().unwrap().len(), &some["rejected_total"]),
            (LISTED, &(LISTED + 1).into())
        );
    }

    #[test]
    fn a_body_that_is_not_json_is_refused() {
        for body in ["", "{", "[1,]", "{} {}"] {
            assert!(split_events(body.as_bytes(), "application/json").is_err(), "{body}");
        }
        assert!(split_events(b"\"\xff\"", "application/json").is_err());
    }
}
