//! Server-sent events: an answer that stays open and is written to as things happen.
//!
//! It takes from its source only what the socket takes, so that a slow reader loses what the source
//! drops, and says so, and nothing else waits for it; one that takes nothing for as long as a
//! response may block is closed. A comment keeps the way open while nothing happens. The answer
//! ends with its source, or when the server stops.

use super::connection::Connection;
use super::{App, Phase, wait_for_stop};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

/// How long a client waits before it connects again, milliseconds.
const RETRY: &str = "retry: 1000\n";

/// The last id that a client got, when it connects again.
const LAST: &str = "last-event-id";

const COMMENT: &str = ":\n\n";

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    // nginx would keep events back until its buffer is full.
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// A stream on its way.
struct Sending {
    /// What is sent first.
    first: Option<Bytes>,
    messages: BoxStream<'static, Bytes>,
    heartbeat: Duration,
    phase: watch::Receiver<Phase>,
    /// What is given back at its end.
    _held: Box<dyn Any + Send>,
}

/// The last id that a client says it got.
pub(crate) fn last_id(headers: &HeaderMap) -> Option<&str> {
    let last = headers.get(LAST).map(|last| last.to_str().unwrap_or("?"));
    last.filter(|last| !last.is_empty())
}

/// A message: its data, on one line, and the id with which a client goes on behind it.
pub(crate) fn message(id: Option<&str>, data: &str) -> Bytes {
    match id {
        Some(id) => format!("id: {id}\ndata: {data}\n\n").into(),
        None => format!("data: {data}\n\n").into(),
    }
}

/// Answers with these messages as they come. `id`: with which a client goes on that has got none of
/// them. `place` is given back at the end.
pub(crate) fn respond(
    app: &App,
    connection: Option<&Arc<Connection>>,
    place: OwnedSemaphorePermit,
    id: &str,
    messages: BoxStream<'static, Bytes>,
) -> Response {
    let id = if id.is_empty() { String::new() } else { format!("id: {id}\n") };
    let sending = Sending {
        first: Some(format!("{RETRY}{id}\n").into()),
        messages,
        heartbeat: app.limits.heartbeat,
        phase: app.phase.subscribe(),
        _held: Box::new((
            place,
            Arc::clone(&app.streams),
            connection.map(|connection| connection.writing()),
        )),
    };
    let next = async |mut sending: Sending| {
        sending.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), sending))
    };
    (HEADERS, Body::from_stream(unfold(sending, next))).into_response()
}

impl Sending {
    /// What is to be written next; `None`: it ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            biased;
            () = wait_for_stop(&mut self.phase) => None,
            next = timeout(self.heartbeat, self.messages.next()) => match next {
                Ok(message) => message,
                Err(_) => Some(Bytes::from_static(COMMENT.as_bytes())),
            },
        }
    }
}
