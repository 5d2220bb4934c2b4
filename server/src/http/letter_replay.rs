//! `POST /api/dead-letters/replay`: dead letters whose record the log no longer holds are judged
//! again, and appended if they are events now.
//!
//! The body is `{}`, or names the one reason that is meant. The engine works on a blocking thread,
//! one call at a time; a caller that does not wait leaves it to finish. Nothing is judged here.

use super::codes::Code;
use super::problem::Problem;
use super::request_object::{RequestObject, key_fault};
use super::{App, answer, blocking, request_body};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use tally_engine::decode::Reason;
use tally_engine::engine::{LetterReplayCounts, LetterReplayFault};

/// The only key of the body.
const REASON: &str = "reason";

#[derive(Serialize)]
struct LetterReplayReply {
    appended: u64,
    still_refused: u64,
    in_log: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

pub(crate) async fn replay(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = request_body::json(&parts.headers, body, app.limits.body).await?;
    let reason = parse(&body)?;
    let engine = Arc::clone(&app.engine);
    let replay = move || engine.replay_letters(reason.as_deref());
    match blocking::run_within(app.limits.replay, replay).await? {
        Some(Ok(counts)) => {
            let LetterReplayCounts { appended, still_refused, in_log, undecided, more } = counts;
            let undecided = (undecided > 0).then_some(undecided);
            Ok(answer::json(&LetterReplayReply {
                appended,
                still_refused,
                in_log,
                undecided,
                more,
            }))
        }
        Some(Err(fault)) => Err(refused(&fault)),
        None => {
            let detail = "the log did not answer in time; what was appended by then is not \
                          appended again, so the same request goes on";
            Err(Problem::unavailable(Code::LogUnavailable, detail, true))
        }
    }
}

/// The reason that is meant, if one is.
fn parse(body: &[u8]) -> Result<Option<String>, Problem> {
    let object = RequestObject::parse(body)?;
    let mut faults = object.key_faults(&[REASON]);
    let reason = object.get(REASON).map(|value| serde_json::from_str::<String>(value.get()));
    match reason.transpose() {
        Ok(Some(reason)) if !Reason::is_word(&reason) => {
            let fault = format!(
                "reason is no verdict on a record (the events of `plugin_failed` and `internal_error` are \
                 in the log, and a corrected plugin counts them); there are {}",
                Reason::words()
            );
            faults.push(key_fault(REASON, fault));
        }
        Ok(reason) if faults.is_empty() => return Ok(reason),
        Ok(_) => {}
        Err(_) => faults.push(key_fault(REASON, "reason is not a text".into())),
    }
    Err(Problem::invalid(Code::InvalidRequest, faults))
}

fn refused(fault: &LetterReplayFault) -> Problem {
    let detail = fault.to_string();
    let code = match fault {
        LetterReplayFault::Busy => return Problem::new(Code::ReplayRunning, detail).retry_after(1),
        LetterReplayFault::Letters(_) | LetterReplayFault::State(_) => Code::StoreUnavailable,
        LetterReplayFault::Log(_) | LetterReplayFault::Append(_) => Code::LogUnavailable,
    };
    Problem::unavailable(code, detail, fault.retry_helps())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_body_names_one_reason_or_none() {
        assert_eq!(parse(b"{}").unwrap(), None);
        assert_eq!(parse(br#"{"reason":"too_deep"}"#).unwrap().as_deref(), Some("too_deep"));
        for (body, code) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("[]", "invalid_request"),
            (r#"{"reason":1}"#, "invalid_request"),
            (r#"{"reason":null}"#, "invalid_request"),
            (r#"{"reasons":"too_deep"}"#, "invalid_request"),
            (r#"{"reason":"plugin_failed:x"}"#, "invalid_request"),
            (r#"{"reason":"internal_error"}"#, "invalid_request"),
            (r#"{"reason":"timestamp_to_early"}"#, "invalid_request"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().code(), code, "{body}");
        }
    }
}
