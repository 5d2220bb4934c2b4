//! `GET /api/metrics/{name}/stream`: the answer to a question, and another one whenever it changes,
//! as server-sent events: the updates of a subscription on `/ws`.
//!
//! The id of each is the tag of its answer, so that a browser that connects again gets the answer
//! only if it is another one by then. Why there is no answer is told without an id.

use super::connection::Connection;
use super::error_message::problem_message;
use super::live::{
    LONGEST_PACE_MS, LiveAnswers, PacedUpdate, PacedUpdates, USUAL_PACE, longest_way, pieces,
    update_head,
};
use super::metric_request::MetricRequest;
use super::metrics::name_in;
use super::problem::Problem;
use super::query_pairs::RawPairs;
use super::question_query::QuestionQuery;
use super::{App, etag, sse};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, unfold};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

/// The known keys of the query.
const KEYS: [&str; 3] = ["params", "expand", "min_interval_ms"];

/// What ends a message.
const END: &str = "\n\n";

pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    connection: Option<Extension<Arc<Connection>>>,
    name: Result<Path<String>, PathRejection>,
    query: RawPairs,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (asked, min_interval) = parse(name_in(name)?, query)?;
    let place = Arc::clone(&app.sockets)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("too many WebSockets and streams are open"))?;
    let handle = LiveAnswers::watch(&app, &asked, min_interval)?;
    // An id that is none of these is no reason to refuse: there is an answer for everybody.
    let last = sse::last_id(&headers).unwrap_or_default();
    let known = etag::of_id(last);
    let id = if known.is_some() { last } else { "" };
    let updates = PacedUpdates::new(handle, min_interval).knowing(known);
    let messages = messages(updates, Arc::clone(&app));
    Ok(sse::respond(&app, connection.as_deref(), place, id, messages))
}

fn parse(name: String, query: RawPairs) -> Result<(MetricRequest, Duration), Problem> {
    let mut query = QuestionQuery::new(query, &KEYS)?;
    let names = query.names();
    let ms = query.pairs.integer("min_interval_ms", 0..=LONGEST_PACE_MS);
    Ok((query.finish(name, names)?, ms.map_or(USUAL_PACE, Duration::from_millis)))
}

/// The messages; they end within one whose reader is too slow, which is thereby none: who connects
/// again gets the newest.
fn messages(updates: PacedUpdates, app: Arc<App>) -> BoxStream<'static, Bytes> {
    let next = async |(mut updates, app): (PacedUpdates, Arc<App>)| {
        let parts = match updates.next().await? {
            PacedUpdate::Answer { seq, body } => {
                let id = etag::id_of(body.tag());
                let head = Bytes::from(format!("id: {id}\ndata: {}", update_head(None, seq)));
                let end = Bytes::from([&**body.rest(), END.as_bytes()].concat());
                let limit = longest_way(app.limits.write, body.len());
                let (head, end) = (stream::iter([Ok(head)]), stream::iter([Ok(end)]));
                head.chain(pieces(body.result().clone(), limit)).chain(end).boxed()
            }
            PacedUpdate::Refused(problem) => {
                app.limits_hit.count(problem.code());
                stream::iter([Ok(sse::message(None, &problem_message(None, &problem)))]).boxed()
            }
        };
        Some((parts, (updates, app)))
    };
    unfold((updates, app), next).flatten().scan((), |_, part| ready(part.ok())).boxed()
}
