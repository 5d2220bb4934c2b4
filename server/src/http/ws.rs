//! `/ws`: every new event, from now on.
//!
//! One task for a socket; it reads, writes and keeps time. While a write is blocked nothing is read and the feed's own
//! ring drops the oldest events, so a slow client costs nobody else anything. Events that wait are written together
//! with one flush. Subscriptions to metrics are not part of this version: a message of another type gets an `error`.

use super::connection::Connection;
use super::problem::Problem;
use super::raw::{self, push_text};
use super::{App, Phase};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::engine::{FeedItem, MetricState};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite;

/// Most bytes of a message from a client.
const LONGEST: usize = 4 * 1024;

/// Most bytes that wait to be written to one socket.
const WRITE_BUFFER: usize = 1024 * 1024;

/// Events written before a flush.
const TOGETHER: usize = 256;

/// How long the other side may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);

const GOING_AWAY: (u16, &str) = (1001, "the server stops");
const BINARY: (u16, &str) = (1003, "messages are text");
const TOO_LARGE: (u16, &str) = (1009, "a message has at most 4096 bytes");
const TOO_SLOW: (u16, &str) = (1013, "the socket stayed blocked; connect again");

pub(crate) async fn upgrade(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    if !origin_allowed(&parts.headers) {
        let detail = "the Origin is neither this server nor loopback";
        return Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail));
    }
    let silent = silent(&parts.uri)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(|_| {
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "/ws speaks WebSocket (RFC 6455, version 13) only",
        )
    })?;
    let place = Arc::clone(&app.sockets)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("as many WebSockets are open as this server takes on"))?;
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.upgrade();
    }
    let phase = app.phase.subscribe();
    let upgrade = upgrade.max_message_size(LONGEST).max_frame_size(LONGEST).max_write_buffer_size(WRITE_BUFFER);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let held: (OwnedSemaphorePermit, Option<Arc<Connection>>) = (place, connection);
        Session { socket, app, phase }.run(silent).await;
        drop(held);
    }))
}

/// Absent (no browser), the server itself, or a page on this machine.
fn origin_allowed(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let authority = |origin: &HeaderValue| Some(origin.to_str().ok()?.parse::<Uri>().ok()?.authority()?.clone());
    let Some(authority) = authority(origin) else {
        return false;
    };
    let same = headers
        .get(header::HOST)
        .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    same || host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn silent(uri: &Uri) -> Result<bool, Problem> {
    let asked = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("events="));
    match asked {
        None | Some("") => Ok(false),
        Some("none") => Ok(true),
        Some(_) => Err(Problem::fault("invalid_params", "/events", "is not \"none\", the one value there is")),
    }
}

struct Session {
    socket: WebSocket,
    app: Arc<App>,
    phase: watch::Receiver<Phase>,
}

/// Why a session ends.
enum End {
    /// With a close frame.
    Close((u16, &'static str)),
    /// Nobody is there any more, or all is said.
    Gone,
}

impl Session {
    async fn run(mut self, silent: bool) {
        let end = match self.talk(silent).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        if let End::Close((code, reason)) = end {
            let frame = CloseFrame { code, reason: reason.into() };
            let farewell = async {
                if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                    while let Some(Ok(_)) = self.socket.recv().await {}
                }
            };
            // A peer that does not answer a close is left.
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    async fn talk(&mut self, silent: bool) -> Result<std::convert::Infallible, End> {
        // Subscribed before the position is read: nothing falls between the two.
        let mut feed: BoxStream<'static, FeedItem> =
            if silent { futures_util::stream::pending().boxed() } else { self.app.core.subscribe() };
        let hello = hello(&self.app);
        self.write([hello]).await?;
        let mut ping = interval_at(Instant::now() + self.app.limits.socket_ping, self.app.limits.socket_ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = self.socket.recv() => {
                    heard = Instant::now();
                    if let Some(reply) = reply(message)? {
                        self.write([Message::text(reply)]).await?;
                    }
                }
                item = feed.next() => {
                    let first = item.ok_or(End::Close(GOING_AWAY))?;
                    // What is there already goes out with it; the end of the feed is seen again by `next`.
                    let waiting = std::iter::from_fn(|| feed.next().now_or_never().flatten()).take(TOGETHER - 1);
                    let messages: Vec<Message> = std::iter::once(first).chain(waiting).map(message).collect();
                    self.write(messages).await?;
                }
                _ = ping.tick() => {
                    if heard.elapsed() >= self.app.limits.socket_dead {
                        return Err(End::Gone);
                    }
                    self.write([Message::Ping(bytes::Bytes::new())]).await?;
                }
                _ = tokio::time::sleep_until(heard + self.app.limits.socket_dead) => return Err(End::Gone),
                () = stopping(&mut self.phase) => return Err(End::Close(GOING_AWAY)),
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

async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // A sender that is gone has stopped too.
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
}

fn hello(app: &App) -> Message {
    let served = app.core.metrics().into_iter().filter(|metric| metric.state != MetricState::Retired);
    let names: Vec<String> = served.map(|metric| metric.name).collect();
    let mut text = String::from("{\"type\":\"hello\",\"protocol\":1,\"position\":");
    push_text(&mut text, &app.core.position().to_string());
    text.push_str(",\"metrics\":");
    // Names always serialise.
    text.push_str(&serde_json::to_string(&names).unwrap_or_else(|_| "[]".into()));
    text.push('}');
    Message::text(text)
}

fn message(item: FeedItem) -> Message {
    match item {
        FeedItem::Event(text) => Message::text(&*text),
        FeedItem::Skipped(count) => Message::text(format!("{{\"type\":\"skipped\",\"count\":{count}}}")),
    }
}

/// What is answered to what came, if anything is.
fn reply(received: Option<Result<Message, axum::Error>>) -> Result<Option<String>, End> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(answer(&text))),
        Some(Ok(Message::Binary(_))) => Err(End::Close(BINARY)),
        // Pings are answered by the protocol's own layer.
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Err(error)) if too_large(&error) => Err(End::Close(TOO_LARGE)),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
    }
}

fn too_large(error: &axum::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(tungstenite::Error::Capacity(_)))
}

fn answer(text: &str) -> String {
    let Ok(whole) = serde_json::from_str::<&RawValue>(text) else {
        return error(None, "invalid_json", "the message is not JSON");
    };
    let Some(raw::Members(members)) = raw::members(whole) else {
        return error(None, "invalid_request", "the message is not an object");
    };
    let text_of = |name: &str| -> Option<String> {
        let (_, value) = members.iter().find(|(key, _)| key == name)?;
        serde_json::from_str(value.get()).ok()
    };
    let id = text_of("id");
    match text_of("type").as_deref() {
        Some("ping") => "{\"type\":\"pong\"}".into(),
        Some(other) => error(id.as_deref(), "unknown_type", &format!("\"{other}\" is not known here; there is ping")),
        None => error(id.as_deref(), "invalid_request", "there is no `type` that is text"),
    }
}

fn error(id: Option<&str>, code: &str, detail: &str) -> String {
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
    fn an_origin_is_this_server_or_this_machine_or_absent() {
        let allowed = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "tally.example:8080".parse().unwrap());
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            origin_allowed(&headers)
        };
        for good in [
            "http://tally.example:8080",
            "https://TALLY.example:8080",
            "http://localhost:3000",
            "http://127.0.0.1",
            "http://[::1]:9",
        ] {
            assert!(allowed(Some(good)), "{good}");
        }
        assert!(allowed(None));
        let bad = [
            "http://tally.example",
            "http://evil.example",
            "null",
            "",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "file://",
        ];
        for bad in bad {
            assert!(!allowed(Some(bad)), "{bad}");
        }
    }
}
