//! `GET /api/events/stream`: new events, and with a position those behind it, as server-sent
//! events.
//!
//! The id of each is the cursor of the feed behind it, so that a browser that connects again goes
//! on there by itself; a position that is none of this log is refused. What was missed, and what
//! the log no longer holds, is told without an id. The text of a longer event is one for all who
//! get it; of a shorter one a copy is cheaper.

use super::codes::Code;
use super::connection::Connection;
use super::feed_messages::{EVENT_END, event_head, failed_message, feed_message};
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};
use super::{App, event_filter, sse};
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, unfold};
use std::collections::VecDeque;
use std::sync::Arc;
use tally_engine::engine::{FeedEvent, FeedFilter, FeedItem, FeedListener};
use tally_engine::event::Position;

/// Items that are taken at a time.
const TOGETHER: usize = 64;

/// Bytes of an event from which on its text is not copied for each stream.
const SHARED: usize = 4 * 1024;

/// How long a client waits before it connects again after an internal error, milliseconds.
const RETRY_FAILED: &str = "retry: 60000\n";

/// The known keys of the query.
const KEYS: [&str; 4] = ["since", "event_types", "user_id", "product_id"];

pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    connection: Option<Extension<Arc<Connection>>>,
    headers: HeaderMap,
    query: RawPairs,
) -> Result<Response, Problem> {
    let (filter, since) = parse(query, &headers)?;
    let place = Arc::clone(&app.sockets)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("too many WebSockets and streams are open"))?;
    if let Some(since) = &since {
        let judged = app.log_ends.judge(&app.engine, since).await;
        judged.map_err(|fault| no_position(fault.to_string()))?;
    }
    let connection = connection.as_deref();
    let turns = connection.map(|connection| connection.replays().clone()).unwrap_or_default();
    let listener = app.engine.listen(filter, since, &turns);
    let listener = listener.map_err(|full| Problem::overloaded(&full.to_string()))?;
    let cursor = Arc::clone(listener.cursor());
    Ok(sse::respond(&app, connection, place, &cursor, messages(listener)))
}

/// Filter and position.
fn parse(query: RawPairs, headers: &HeaderMap) -> Result<(FeedFilter, Option<Position>), Problem> {
    let mut query = QueryPairs::new(query, &KEYS, Code::InvalidParams)?;
    let filter = event_filter::of_query(&mut query);
    let since = query.get("since").map(str::to_owned);
    let filter = query.finish(filter)?;
    Ok((filter, position(since.as_deref(), headers)?))
}

/// Where to go on: a browser says with each request again where it began, and beside it how far it
/// has come.
fn position(since: Option<&str>, headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(text) = sse::last_id(headers).or(since) else { return Ok(None) };
    match text.parse() {
        Ok(position) => Ok(Some(position)),
        Err(detail) => Err(no_position(detail)),
    }
}

fn no_position(detail: String) -> Problem {
    Problem::fault(Code::PositionInvalid, "/since", detail)
}

fn messages(listener: FeedListener) -> BoxStream<'static, Bytes> {
    let next = async |(listener, mut items): (Option<FeedListener>, VecDeque<FeedItem>)| {
        let mut listener = listener?;
        if items.is_empty() {
            let mut taken = Vec::new();
            if !listener.next(TOGETHER, &mut taken).await {
                return listener.has_failed().then(|| (vec![failed()], (None, items)));
            }
            items.extend(taken);
        }
        let message = parts(items.pop_front()?);
        Some((message, (Some(listener), items)))
    };
    unfold((Some(listener), VecDeque::new()), next).flat_map(stream::iter).boxed()
}

/// The message of an item, in one part or several.
fn parts(item: FeedItem) -> Vec<Bytes> {
    let event = match item {
        FeedItem::Event(event) => event,
        told => return vec![sse::message(None, &feed_message(None, &told))],
    };
    let head = format!("id: {}\ndata: {}", event.cursor, event_head(None));
    let end = [EVENT_END, "\n\n"].concat();
    if event.body.len() < SHARED {
        return vec![[&*head, &*event.body, &*end].concat().into()];
    }
    vec![head.into(), Bytes::from_owner(SharedEvent(event)), end.into()]
}

/// The text of an event that all share.
struct SharedEvent(Arc<FeedEvent>);

impl AsRef<[u8]> for SharedEvent {
    fn as_ref(&self) -> &[u8] {
        self.0.body.as_bytes()
    }
}

/// The last message of a listener that an internal error has ended. A browser that goes on there
/// likely meets the same one: it does so more seldom from now on.
fn failed() -> Bytes {
    let message = sse::message(None, &failed_message(None));
    [RETRY_FAILED.as_bytes(), &*message].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tally_engine::feed::{CursorText, NewEvent};

    #[test]
    fn a_long_event_has_one_text_for_all_and_each_message_is_whole() {
        for (bytes, is_shared) in [(10, false), (SHARED, true), (200_000, true)] {
            let new = NewEvent {
                next: 7,
                event_type: "view".into(),
                user: None,
                product: None,
                event: format!("{{\"x\":\"{}\"}}", "y".repeat(bytes)),
            };
            let around = CursorText::around(&BTreeMap::new(), 0);
            let event = Arc::new(FeedEvent::new(0, new, &around));
            let item = FeedItem::Event(Arc::clone(&event));
            let whole = sse::message(Some("0:7"), &feed_message(None, &item));
            for parts in [parts(item.clone()), parts(item)] {
                assert_eq!(parts.concat(), whole);
                let shares = |part: &Bytes| part.as_ptr() == event.body.as_ptr();
                assert_eq!(parts.iter().any(shares), is_shared, "{bytes}");
            }
        }
    }
}
