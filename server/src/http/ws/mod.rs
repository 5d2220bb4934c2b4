//! `/ws`: every new event from now on, subscriptions, and what changes with plugins.
//!
//! Here is the way from a request to a socket; `session` serves it. What clients say is read in
//! `messages`, what they listen to and watch waits in `subscriptions`, `frames` writes what they are
//! sent, `notices` tells them of plugins, and `close` has the ends. A slow client costs others
//! nothing: listeners lose the oldest events and are told, of the answers to a question the newest
//! wins, and nothing else waits for a socket but what is being written.

mod close;
mod frames;
mod messages;
mod notices;
mod session;
mod subscriptions;

pub(crate) use notices::PluginNotices;

use super::App;
use super::codes::Code;
use super::connection::Connection;
use super::problem::Problem;
use super::query_pairs::QueryPairs;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use session::Session;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Most bytes of a message from a client.
pub(crate) const LONGEST: usize = 4 * 1024;

/// Most bytes of pongs, pings and what comes with a close that wait to be written to one socket.
const WRITE_BUFFER: usize = 64 * 1024;

/// Bytes that are read at a time.
const READ_BUFFER: usize = 8 * 1024;

/// Messages, pings included, that a client may send at once, and each second from then on.
const AT_ONCE: u32 = 256;
const PER_SECOND: u32 = 64;

/// The only key of the query.
const EVENTS: &str = "events";

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
        .map_err(|_| Problem::overloaded("too many WebSockets and streams are open"))?;
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let phase = app.phase.subscribe();
    let upgraded = hyper::upgrade::on(&mut request);
    let held: (OwnedSemaphorePermit, Option<Arc<Connection>>) = (place, connection);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) => {
                // Not before: a client that never takes the answer would never be closed.
                if let Some(connection) = &held.1 {
                    connection.upgrade();
                }
                let config = WebSocketConfig::default()
                    .max_message_size(Some(LONGEST))
                    .max_frame_size(Some(LONGEST))
                    .read_buffer_size(READ_BUFFER)
                    .write_buffer_size(0)
                    .max_write_buffer_size(WRITE_BUFFER);
                let socket = WebSocketStream::from_raw_socket(
                    TokioIo::new(upgraded),
                    Role::Server,
                    Some(config),
                )
                .await;
                Session::new(socket, app, phase).run(silent).await;
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
    let mut query = QueryPairs::new(Query::try_from_uri(uri), &[EVENTS], Code::InvalidParams)?;
    let none = |text: &str| (text == "none").then_some(());
    let asked = query.read(EVENTS, none, "events is not \"none\", the only value");
    query.finish(asked.is_some())
}
