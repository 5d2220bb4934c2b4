//! `GET /api/events/stream`: new events, and with a position those behind it, as server-sent
//! events.
//!
//! The id of each is the cursor of the feed behind it, so that a browser that connects again goes
//! on there by itself. What was missed, and what the log no longer holds, is told without an id.

use super::codes::Code;
use super::connection::Connection;
use super::event_filter::FilterReader;
use super::feed_messages::{failed_message, feed_message};
use super::problem::Problem;
use super::{App, sse};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use std::collections::VecDeque;
use std::sync::Arc;
use tally_engine::engine::{FeedFilter, FeedItem, FeedListener};
use tally_engine::event::Position;
use tally_plugin::ask::Fault;

/// Items that are taken at a time.
const TOGETHER: usize = 64;

/// How long a client waits before it connects again after an internal error, milliseconds.
const RETRY_FAILED: &str = "retry: 60000\n";

const KNOWN: &str = "unknown key; known keys: event_types, product_id, since, user_id";

pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    connection: Option<Extension<Arc<Connection>>>,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let (filter, since) = parse(query, &headers)?;
    let place = Arc::clone(&app.sockets)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("too many WebSockets and streams are open"))?;
    let connection = connection.as_deref();
    let turns = connection.map(|connection| connection.replays().clone()).unwrap_or_default();
    let listener = app.engine.listen(filter, since, &turns);
    let listener = listener.map_err(|full| Problem::overloaded(&full.to_string()))?;
    let cursor = Arc::clone(listener.cursor());
    Ok(sse::respond(&app, connection, place, &cursor, messages(listener)))
}

/// Filter and position. An empty value counts as none.
fn parse(
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<(FeedFilter, Option<Position>), Problem> {
    let Query(pairs) =
        query.map_err(|_| Problem::fault(Code::InvalidParams, "", "the query is not UTF-8"))?;
    let (mut filter, mut since, mut unknown) = (FilterReader::new(""), None, Vec::new());
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        if key == "since" {
            since = Some(value.as_str());
        } else if !filter.takes(key, value) {
            unknown.push(Fault { pointer: format!("/{key}"), detail: KNOWN.into() });
        }
    }
    match filter.finish() {
        Ok(filter) if unknown.is_empty() => Ok((filter, position(since, headers)?)),
        other => {
            unknown.extend(other.err().into_iter().flatten());
            Err(Problem::invalid(Code::InvalidParams, unknown))
        }
    }
}

/// Where to go on: a browser says with each request again where it began, and beside it how far it
/// has come.
fn position(since: Option<&str>, headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(text) = sse::last_id(headers).or(since) else { return Ok(None) };
    match text.parse() {
        Ok(position) => Ok(Some(position)),
        Err(detail) => Err(Problem::fault(Code::PositionInvalid, "/since", detail)),
    }
}

fn messages(listener: FeedListener) -> BoxStream<'static, Bytes> {
    let next = async |(listener, mut items): (Option<FeedListener>, VecDeque<FeedItem>)| {
        let mut listener = listener?;
        if items.is_empty() {
            let mut taken = Vec::new();
            if !listener.next(TOGETHER, &mut taken).await {
                return listener.has_failed().then(|| (failed(), (None, items)));
            }
            items.extend(taken);
        }
        let item = items.pop_front()?;
        let id = match &item {
            FeedItem::Event(event) => Some(&*event.cursor),
            FeedItem::Skipped(_) | FeedItem::Gap { .. } => None,
        };
        let message = sse::message(id, &feed_message(None, &item));
        Some((message, (Some(listener), items)))
    };
    unfold((Some(listener), VecDeque::new()), next).boxed()
}

/// The last message of a listener that an internal error has ended. A browser that goes on there
/// likely meets the same one: it does so more seldom from now on.
fn failed() -> Bytes {
    let message = sse::message(None, &failed_message(None));
    [RETRY_FAILED.as_bytes(), &*message].concat().into()
}
