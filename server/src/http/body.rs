//! Reading a request's body: media type, size and time are judged before anything parses it.

use super::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;
use tokio::time::timeout;

/// Most bytes of a body, but for events.
pub(crate) const ORDINARY: usize = 64 * 1024;

/// Most bytes of a body of events.
pub(crate) const EVENTS: usize = 1024 * 1024;

/// Bytes of a too large body that are read and thrown away, so that the sender gets to read the refusal.
const DRAINED: usize = 8 * 1024 * 1024;

/// How long for.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Which of `accepted` the body says it is.
pub(crate) fn media_type(headers: &HeaderMap, accepted: &'static [&'static str]) -> Result<&'static str, Problem> {
    let stated = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = stated.as_deref().map(|stated| stated.split(';').next().unwrap_or_default().trim());
    let unsupported = |detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(unsupported(format!("Content-Encoding {encoding:?} is not read; send the body as it is")));
    }
    let found = accepted.iter().find(|accepted| essence.is_some_and(|essence| essence.eq_ignore_ascii_case(accepted)));
    found.copied().ok_or_else(|| {
        let wanted = accepted.join(" or ");
        unsupported(match essence {
            Some(essence) => format!("Content-Type is {essence:?}; send {wanted}"),
            None => format!("there is no Content-Type; send {wanted}"),
        })
    })
}

/// The whole body, if it is at most `most` bytes and arrives within `limit`.
pub(crate) async fn read(headers: &HeaderMap, body: Body, most: usize, limit: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body has more than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail).closing()
    };
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| stated > most as u64) {
        // A sender that waits for 100-continue has sent nothing yet, and is told to spare itself the trouble.
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large());
    }
    let mut body = body;
    match timeout(limit, Limited::new(&mut body, most).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            drain(body).await;
            Err(too_large())
        }
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "the body is not sent as its head says")
                .closing())
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {limit:?}");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).closing())
        }
    }
}

async fn drain(body: Body) {
    // Whatever comes of it, the answer is the refusal.
    let _ = timeout(DRAIN_TIME, Limited::new(body, DRAINED).collect()).await;
}
