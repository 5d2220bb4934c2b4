//! `POST /api/events`: the body is split into events, whose bytes go to the log as they were sent.
//!
//! What makes an event acceptable is the engine's to say, event by event; here only a body that is no JSON at all is
//! refused as a whole. What a body says does not depend on its media type: one JSON value is an event or an array of them, over any
//! number of lines; else each line is an event of its own, and blank lines are none.

use super::problem::Problem;
use super::question::invalid_json;
use super::{App, body, raw};
use crate::text;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tally_engine::engine::{AppendError, Appended};
use tokio::time::timeout;

const NDJSON: &str = "application/x-ndjson";

#[derive(Serialize)]
struct Answer {
    accepted: u64,
    rejected: Vec<Rejected>,
    position: String,
}

#[derive(Serialize)]
struct Rejected {
    index: usize,
    reason: String,
}

pub(crate) async fn append(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let kind = body::media_type(&parts.headers, &["application/json", NDJSON])?;
    let body = body::read(&parts.headers, body, body::EVENTS, app.limits.body).await?;
    // Split once here, so that a body that is not JSON takes no place; the thread splits its own copy of the handle.
    split(&body, kind)?;
    let Appended { accepted, rejected, position } = write(&app, body, kind).await?;
    let rejected = rejected.into_iter().map(|(index, reason)| Rejected { index, reason }).collect();
    Ok(Json(Answer { accepted, rejected, position: position.to_string() }).into_response())
}

async fn write(app: &App, body: Bytes, kind: &'static str) -> Result<Appended, Problem> {
    let place = Arc::clone(&app.appends)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("as many posts are being written as this server takes on"))?;
    let core = Arc::clone(&app.core);
    let work = tokio::task::spawn_blocking(move || {
        let done = split(&body, kind).map(|events| core.append(&events));
        drop(place);
        done
    });
    let unavailable = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", detail).retry_after(1);
    match timeout(app.limits.append, work).await {
        Ok(Ok(Ok(Ok(done)))) => Ok(done),
        Ok(Ok(Ok(Err(AppendError(detail))))) => Err(unavailable(detail)),
        Ok(Ok(Err(problem))) => Err(problem),
        Ok(Err(failed)) => {
            tracing::error!(%failed, "writing events panicked");
            Err(Problem::internal())
        }
        Err(_) => Err(unavailable(
            "the log did not acknowledge in time, and it is not known which events it holds; events with an event_id can be sent again".into(),
        )),
    }
}

/// The bytes of each event.
fn split<'a>(body: &'a [u8], kind: &str) -> Result<Vec<&'a [u8]>, Problem> {
    let body = text::without_mark(body);
    if kind == NDJSON && !body.trim_ascii_start().starts_with(b"[") {
        return Ok(text::lines(body).collect());
    }
    let error = match serde_json::from_slice::<&RawValue>(body) {
        Ok(whole) => {
            let events = raw::elements(whole).unwrap_or_else(|| vec![whole]);
            return Ok(events.into_iter().map(|event| event.get().as_bytes()).collect());
        }
        Err(error) => error,
    };
    // Of lines the first is whole.
    let mut lines = text::lines(body);
    let is_value = |line| serde_json::from_slice::<&RawValue>(line).is_ok();
    let in_lines = lines.next().is_some_and(is_value) && lines.next().is_some();
    if kind == NDJSON || in_lines { Ok(text::lines(body).collect()) } else { Err(invalid_json(&error)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn events_keep_their_bytes() {
        let split = |body: &'static str, kind| -> Vec<&str> {
            split(body.as_bytes(), kind).unwrap().into_iter().map(|event| std::str::from_utf8(event).unwrap()).collect()
        };
        assert_eq!(split(" {\"a\" : 1.0} ", "application/json"), ["{\"a\" : 1.0}"]);
        assert_eq!(split("[{\"a\":1,\"a\":2}, 7,\"x\"]", "application/json"), ["{\"a\":1,\"a\":2}", "7", "\"x\""]);
        assert_eq!(split("\u{feff}[]", "application/json"), [""; 0]);
        assert_eq!(split("{\"a\":1}\r\n\n{not json\n", NDJSON), ["{\"a\":1}", "{not json"]);
        for kind in ["application/json", NDJSON] {
            assert_eq!(split("\u{feff}{\"a\":1}\r{\"b\":2}\n\u{feff}7\n", kind), ["{\"a\":1}", "{\"b\":2}", "7"]);
            assert_eq!(split("[\n {\"a\":1},\r\n {\"b\":\n2}\n]\n", kind), ["{\"a\":1}", "{\"b\":\n2}"]);
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
    fn a_body_that_is_not_json_is_refused() {
        for body in ["", "{", "[1,]", "{} {}"] {
            assert!(split(body.as_bytes(), "application/json").is_err(), "{body}");
        }
        assert!(split(b"\"\xff\"", "application/json").is_err());
    }
}
