//! Reads a request's body: media type, size and time are checked before anything parses it.

use super::codes::Code;
use super::problem::Problem;
use axum::BoxError;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use std::time::Duration;
use tokio::time::timeout;

/// The media type of JSON. A page of another origin cannot send it without a preflight.
pub(crate) const JSON: &str = "application/json";

/// Most bytes of a body, except of events.
const ORDINARY: usize = 64 * 1024;

/// Most bytes of a body of events.
pub(crate) const EVENTS: usize = 1024 * 1024;

/// Bytes of a too large body that are read and discarded, so that the sender can read the refusal.
const DRAINED: usize = 8 * 1024 * 1024;

/// How long they are read.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The bytes of a body that has to be JSON, and ordinary in size; it arrives within `limit`.
///
/// # Errors
/// 415, 413, 408 or 400: another media type, too large, too slow, or broken off.
pub(crate) async fn json<B: Body<Data = Bytes> + Unpin>(
    headers: &HeaderMap,
    body: B,
    limit: Duration,
) -> Result<Bytes, Problem>
where
    B::Error: Into<BoxError>,
{
    media_type(headers, &[JSON])?;
    read(headers, body, ORDINARY, limit).await
}

/// The media type of the body, which must be one of `accepted`.
pub(crate) fn media_type(
    headers: &HeaderMap,
    accepted: &'static [&'static str],
) -> Result<&'static str, Problem> {
    let stated = headers.get(header::CONTENT_TYPE);
    let unsupported = |detail: String| Problem::new(Code::UnsupportedMediaType, detail);
    if let Some(encoding) =
        headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity")
    {
        return Err(unsupported(format!(
            "Content-Encoding {encoding:?} is not supported; send the body uncompressed"
        )));
    }
    let essence =
        stated.and_then(|stated| stated.to_str().ok()?.split(';').next()).map_or("", str::trim);
    let found = accepted.iter().find(|accepted| essence.eq_ignore_ascii_case(accepted));
    found.copied().ok_or_else(|| {
        let wanted = accepted.join(" or ");
        unsupported(match stated {
            Some(stated) => format!("Content-Type is {stated:?}; send {wanted}"),
            None => format!("Content-Type is missing; send {wanted}"),
        })
    })
}

/// The whole body, if it is at most `most` bytes and arrives within `limit`.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(
    headers: &HeaderMap,
    mut body: B,
    most: usize,
    limit: Duration,
) -> Result<Bytes, Problem>
where
    B::Error: Into<BoxError>,
{
    let too_large = || {
        let detail = format!("the body has more than {most} bytes");
        Problem::new(Code::PayloadTooLarge, detail).closing()
    };
    let stated = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| stated > most as u64) {
        // A sender that waits for 100-continue has sent nothing yet, and does not have to.
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large());
    }
    match timeout(limit, collect(&mut body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Cut::TooLarge)) => {
            drain(body).await;
            Err(too_large())
        }
        Ok(Err(Cut::Broken)) => {
            let detail = "the body ended early, or is not framed as its head says";
            Err(Problem::new(Code::InvalidBody, detail).closing())
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {limit:?}");
            Err(Problem::new(Code::RequestTimeout, detail).closing())
        }
    }
}

/// Why a body was not read to its end.
enum Cut {
    TooLarge,
    Broken,
}

/// Nearly every body comes in one piece, which is not copied.
async fn collect<B: Body<Data = Bytes> + Unpin>(body: &mut B, most: usize) -> Result<Bytes, Cut> {
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        // Trailers are ignored.
        let Ok(piece) = frame.map_err(|_| Cut::Broken)?.into_data() else { continue };
        if first.len().max(joined.len()) + piece.len() > most {
            return Err(Cut::TooLarge);
        }
        if first.is_empty() {
            first = piece;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

async fn drain<B: Body<Data = Bytes>>(body: B)
where
    B::Error: Into<BoxError>,
{
    // However the reading ends, the answer is the refusal.
    let _ = timeout(DRAIN_TIME, Limited::new(body, DRAINED).collect()).await;
}
