//! `/ws`: every new event, from now on.
//!
//! One task per socket reads, writes and keeps time. While a write is blocked nothing is read and
//! the feed's own ring drops the oldest events, so a slow client costs others nothing. Events that
//! wait are written together with one flush. A client that sends more than [`Allowance`] allows is
//! closed. Each end has its code, and the socket stays open for a moment, until the client has read
//! it: closing a socket with unread bytes would lose the code. Subscriptions to metrics are not
//! part of this version: a message of another type gets an `error`.

use super::codes::Code;
use super::connection::Connection;
use super::json_members::{self, push_text};
use super::problem::Problem;
use super::{App, Phase};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::engine::{FeedItem, MetricState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// Most bytes of a message from a client.
const LONGEST: usize = 4 * 1024;

/// Most bytes that wait to be written to one socket.
const WRITE_BUFFER: usize = 1024 * 1024;

/// Bytes that are read at a time.
const READ_BUFFER: usize = 8 * 1024;

/// Events written before a flush.
const TOGETHER: usize = 256;

/// Messages, pings included, that a client may send at once, and each second from then on.
const AT_ONCE: u32 = 256;
const PER_SECOND: u32 = 64;

/// Messages that are read after a close was sent, until the other side closes too.
const MORE: u32 = 64;

/// Bytes that are read and discarded after them.
const REST: usize = 4 * 1024 * 1024;

/// How long the other side may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);

const GOING_AWAY: Close = Close { code: 1001, error: None, detail: "the server is stopping" };
const BAD_FRAME: Close = Close {
    code: 1002,
    error: Some("protocol_error"),
    detail: "not a valid client frame (RFC 6455)",
};
const BINARY: Close =
    Close { code: 1003, error: Some("binary_message"), detail: "messages must be text" };
const NOT_UTF8: Close =
    Close { code: 1007, error: Some("invalid_utf8"), detail: "text must be UTF-8" };
const TOO_MANY: Close = Close {
    code: 1008,
    error: Some("too_many_messages"),
    detail: "at most 64 messages a second are accepted, 256 at once",
};
const TOO_LARGE: Close = Close {
    code: 1009,
    error: Some("message_too_large"),
    detail: "a message must have at most 4096 bytes",
};
const TOO_SLOW: Close =
    Close { code: 1013, error: None, detail: "the socket stayed blocked; reconnect" };

/// A connection that began as a request.
type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(crate) async fn upgrade(
    State(app): State<Arc<App>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let silent = wants_no_events(request.uri())?;
    let accept = accept_key(&request).ok_or_else(|| {
        let detail = "/ws accepts only WebSocket (RFC 6455, version 13)";
        let problem = Problem::new(Code::UpgradeRequired, detail);
        OFFER.into_iter().fold(problem, |problem, (name, value)| problem.header(name, value))
    })?;
    let place = Arc::clone(&app.sockets)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("too many WebSockets are open"))?;
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.upgrade();
    }
    let phase = app.phase.subscribe();
    let upgraded = hyper::upgrade::on(&mut request);
    let held: (OwnedSemaphorePermit, Option<Arc<Connection>>) = (place, connection);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(LONGEST))
                    .max_frame_size(Some(LONGEST))
                    .read_buffer_size(READ_BUFFER)
                    .max_write_buffer_size(WRITE_BUFFER);
                let socket = WebSocketStream::from_raw_socket(
                    TokioIo::new(upgraded),
                    Role::Server,
                    Some(config),
                )
                .await;
                Session { socket, app, phase, allowance: Allowance::new() }.run(silent).await;
            }
            Err(error) => tracing::debug!(%error, "a connection ended before it was a WebSocket"),
        }
        drop(held);
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// What a refusal suggests instead.
const OFFER: [(HeaderName, HeaderValue); 3] = [
    (header::CONNECTION, HeaderValue::from_static("upgrade")),
    (header::UPGRADE, HeaderValue::from_static("websocket")),
    (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
];

/// The answer to the key of a request for a WebSocket of the supported version.
fn accept_key(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let only = |name: HeaderName| -> Option<&HeaderValue> {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let asks = *request.method() == Method::GET
        && lists_word(headers, header::CONNECTION, "upgrade")
        && lists_word(headers, header::UPGRADE, "websocket")
        && only(header::SEC_WEBSOCKET_VERSION)? == "13";
    let key = only(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// Whether a header's list contains a word.
fn lists_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

fn wants_no_events(uri: &Uri) -> Result<bool, Problem> {
    let asked =
        uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("events="));
    match asked {
        None | Some("") => Ok(false),
        Some("none") => Ok(true),
        Some(_) => {
            Err(Problem::fault(Code::InvalidParams, "/events", "is not \"none\", the only value"))
        }
    }
}

/// How a socket is closed by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Close {
    code: u16,
    /// Code of the `error` message before the close, if there is one.
    error: Option<&'static str>,
    detail: &'static str,
}

struct Session {
    socket: Socket,
    app: Arc<App>,
    phase: watch::Receiver<Phase>,
    allowance: Allowance,
}

/// Why a session ends.
enum End {
    /// With a close frame.
    Close(Close),
    /// The client closed it; what answers that waits to be written.
    Answer,
    /// The client is gone.
    Gone,
}

impl Session {
    async fn run(mut self, silent: bool) {
        let end = match self.exchange(silent).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        // A peer that does not answer a close is dropped.
        match end {
            End::Gone => {}
            End::Answer => drop(timeout(FAREWELL, self.socket.flush()).await),
            // The client was slow, and has to read everything before the close first.
            End::Close(TOO_SLOW) => {
                let Session { socket, app, phase, .. } = &mut self;
                tokio::select! {
                    _ = timeout(app.limits.socket_write.max(FAREWELL), close_socket(socket, TOO_SLOW)) => {}
                    () = wait_for_stop(phase) => {}
                }
            }
            End::Close(close) => {
                drop(timeout(FAREWELL, close_socket(&mut self.socket, close)).await)
            }
        }
    }

    async fn exchange(&mut self, silent: bool) -> Result<std::convert::Infallible, End> {
        // Subscribes before it reads the position, so that no event is missed in between.
        let mut feed: BoxStream<'static, FeedItem> = if silent {
            futures_util::stream::pending().boxed()
        } else {
            self.app.engine.subscribe()
        };
        let hello = hello_message(&self.app);
        self.write([hello]).await?;
        let mut ping =
            interval_at(Instant::now() + self.app.limits.socket_ping, self.app.limits.socket_ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    if !self.allowance.try_take(heard) {
                        return Err(End::Close(TOO_MANY));
                    }
                    if let Some(reply) = handle_message(message)? {
                        self.write([Message::text(reply)]).await?;
                    }
                }
                item = feed.next() => {
                    let first = item.ok_or(End::Close(GOING_AWAY))?;
                    // What is there already goes out with it; the end of the feed is seen again by
                    // `next`.
                    let waiting = std::iter::from_fn(|| feed.next().now_or_never().flatten()).take(TOGETHER - 1);
                    let messages: Vec<Message> = std::iter::once(first).chain(waiting).map(feed_message).collect();
                    self.write(messages).await?;
                }
                _ = ping.tick() => {
                    if heard.elapsed() >= self.app.limits.socket_dead {
                        return Err(End::Gone);
                    }
                    self.write([Message::Ping(bytes::Bytes::new())]).await?;
                }
                _ = tokio::time::sleep_until(heard + self.app.limits.socket_dead) => return Err(End::Gone),
                () = wait_for_stop(&mut self.phase) => return Err(End::Close(GOING_AWAY)),
            }
        }
    }

    /// Writes all and flushes once; a socket that stays blocked ends the session.
    async fn write(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let socket = &mut self.socket;
        let written = timeout(self.app.limits.socket_write, async {
            for message in messages {
                socket.feed(message).await?;
            }
            socket.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(TOO_SLOW)),
        }
    }
}

/// Says why, closes, and reads on until the client has closed too.
async fn close_socket(socket: &mut Socket, close: Close) {
    let Close { code, error: named, detail } = close;
    let told = match named {
        Some(named) => socket.feed(Message::text(error_text(None, named, detail))).await,
        None => Ok(()),
    };
    let frame = CloseFrame { code: code.into(), reason: detail.into() };
    if told.is_err() || socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // A client that follows the protocol answers with a close.
    for _ in 0..MORE {
        let Some(Ok(_)) = socket.next().await else { break };
    }
    // Of another client the rest is read and discarded, until it has read the code; one that sends
    // without end is cut off.
    let raw = socket.get_mut();
    let (mut rest, mut read) = ([0; 4096], 0);
    if raw.shutdown().await.is_ok() {
        while let Ok(more @ 1..) = raw.read(&mut rest).await
            && read < REST
        {
            read += more;
        }
    }
}

/// How many messages a client may still send.
struct Allowance {
    left: u32,
    /// When the next one is added.
    at: Instant,
}

impl Allowance {
    fn new() -> Allowance {
        Allowance { left: AT_ONCE, at: Instant::now() }
    }

    /// Takes one message off the allowance; whether there was one.
    fn try_take(&mut self, now: Instant) -> bool {
        let more = now.duration_since(self.at).as_millis() * u128::from(PER_SECOND) / 1_000;
        if more > 0 {
            self.left =
                AT_ONCE.min(self.left.saturating_add(u32::try_from(more).unwrap_or(AT_ONCE)));
            self.at = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => (self.left = left, true).1,
            None => false,
        }
    }
}

async fn wait_for_stop(phase: &mut watch::Receiver<Phase>) {
    // A dropped sender is a stop too.
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
}

fn hello_message(app: &App) -> Message {
    let served =
        app.engine.metrics().into_iter().filter(|metric| metric.state != MetricState::Retired);
    let names: Vec<String> = served.map(|metric| metric.name).collect();
    let mut text = String::from("{\"type\":\"hello\",\"protocol\":1,\"position\":");
    push_text(&mut text, &app.engine.position().to_string());
    text.push_str(",\"metrics\":");
    // Names always serialise.
    text.push_str(&serde_json::to_string(&names).unwrap_or_else(|_| "[]".into()));
    text.push('}');
    Message::text(text)
}

fn feed_message(item: FeedItem) -> Message {
    match item {
        FeedItem::Event(text) => Message::text(&*text),
        FeedItem::Skipped(count) => {
            Message::text(format!("{{\"type\":\"skipped\",\"count\":{count}}}"))
        }
    }
}

/// The answer to a message, if it gets one.
fn handle_message(received: Option<Result<Message, Error>>) -> Result<Option<String>, End> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(answer_text(&text))),
        Some(Ok(Message::Binary(_))) => Err(End::Close(BINARY)),
        // The protocol layer answers pings.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Close(_))) => Err(End::Answer),
        Some(Err(Error::Capacity(_))) => Err(End::Close(TOO_LARGE)),
        Some(Err(Error::Utf8(_))) => Err(End::Close(NOT_UTF8)),
        Some(Err(Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ))) => Err(End::Gone),
        Some(Err(Error::Protocol(_))) => Err(End::Close(BAD_FRAME)),
        Some(Err(_)) | None => Err(End::Gone),
    }
}

fn answer_text(text: &str) -> String {
    let Ok(whole) = serde_json::from_str::<&RawValue>(text) else {
        return error_text(None, "invalid_json", "the message is not JSON");
    };
    let Some(json_members::Members(members)) = json_members::members(whole) else {
        return error_text(None, "invalid_request", "the message is not an object");
    };
    let text_of = |name: &str| -> Option<String> {
        let (_, value) = members.iter().find(|(key, _)| key == name)?;
        serde_json::from_str(value.get()).ok()
    };
    let id = text_of("id");
    match text_of("type").as_deref() {
        Some("ping") => "{\"type\":\"pong\"}".into(),
        Some(other) => error_text(
            id.as_deref(),
            "unknown_type",
            &format!("unknown type \"{other}\"; known types: ping"),
        ),
        None => error_text(id.as_deref(), "invalid_request", "`type` must be a string"),
    }
}

fn error_text(id: Option<&str>, code: &str, detail: &str) -> String {
    let mut text = String::from("{\"type\":\"error\"");
    for (key, value) in [("id", id), ("code", Some(code)), ("detail", Some(detail))] {
        if let Some(value) = value {
            text.push(',');
            push_text(&mut text, key);
            text.push(':');
            push_text(&mut text, value);
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn messages_are_allowed_at_once_and_then_by_the_second() {
        let mut allowance = Allowance::new();
        let begun = allowance.at;
        assert!((0..AT_ONCE).all(|_| allowance.try_take(begun)) && !allowance.try_take(begun));
        let later = begun + Duration::from_secs(1);
        assert!((0..PER_SECOND).all(|_| allowance.try_take(later)) && !allowance.try_take(later));
        // However often it is asked, fractions of a message are not lost.
        let taken =
            (1..=1_000).filter(|ms| allowance.try_take(later + Duration::from_millis(*ms))).count();
        assert!((60..=64).contains(&taken), "{taken}");
        assert!((0..AT_ONCE).all(|_| allowance.try_take(begun + Duration::from_secs(3_600))));
    }
}
