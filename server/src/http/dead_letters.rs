//! `GET /api/dead-letters`: the newest records that could not be events, with reason, place and
//! bytes; and how many there were.
//!
//! Bytes that are UTF-8 are shown as `text`, others as `bytes_base64`; of a payload above 64 KiB
//! the first 1 KiB are kept, and `length` says how long it was. Removes nothing and sends nothing
//! back to the log.

use super::codes::Code;
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};
use super::rows::RowSource;
use super::{App, answer, blocking};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tally_engine::engine::{DeadLetter, Refusals};
use tally_engine::time::to_text;
use tokio::time::timeout;

/// Letters in an answer by default.
const LIMIT: usize = 20;

/// Most letters in an answer: with 64 KiB each, some 8 MB.
const MOST: usize = 100;

/// The known keys of the query.
const KEYS: [&str; 2] = ["limit", "reason"];

#[derive(Serialize)]
struct DeadLetterList {
    items: Vec<Item>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    counts: BTreeMap<Box<str>, u64>,
}

#[derive(Serialize)]
struct Item {
    reason: Box<str>,
    topic: Box<str>,
    partition: u32,
    offset: u64,
    time: String,
    /// Of a copy that was sent again: where the record was.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Box<str>>,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_base64: Option<String>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: RawPairs,
) -> Result<Response, Problem> {
    let (limit, reason) = parse_query(query)?;
    // Waits a moment for a place, so that a caller that asks twice does not keep others out.
    let place = timeout(app.limits.place, Arc::clone(&app.letters).acquire_owned())
        .await
        .ok()
        .and_then(Result::ok);
    let place =
        place.ok_or_else(|| Problem::overloaded("too many requests for dead letters at once"))?;
    let engine = Arc::clone(&app.engine);
    let read = blocking::holding(place, move || engine.dead_letters(limit, reason.as_deref()));
    match blocking::run_within(app.limits.letter, read).await? {
        Some(Ok(Refusals { letters, partial, counts })) => {
            let items = letters.into_iter().map(letter_item).collect();
            let list = DeadLetterList { items, partial, counts };
            answer::list(&headers, RowSource::ITEMS, &list, None).await
        }
        Some(Err(fault)) => Err(unavailable(&fault.to_string(), fault.retry_helps())),
        None => Err(unavailable(
            "the dead letters were not read in time; ask again, or ask for fewer",
            true,
        )),
    }
}

fn unavailable(detail: &str, retry_helps: bool) -> Problem {
    Problem::unavailable(Code::StoreUnavailable, detail, retry_helps)
}

/// Limit and reason.
fn parse_query(query: RawPairs) -> Result<(usize, Option<String>), Problem> {
    let mut query = QueryPairs::new(query, &KEYS, Code::InvalidParams)?;
    let limit = query.integer("limit", 1..=MOST).unwrap_or(LIMIT);
    let reason = query.get("reason").map(str::to_owned);
    query.finish((limit, reason))
}

fn letter_item(letter: DeadLetter) -> Item {
    let DeadLetter {
        reason, topic, partition, offset, timestamp_ms, bytes, length, origin, ..
    } = letter;
    let (text, bytes_base64) = match String::from_utf8(bytes.into_vec()) {
        Ok(text) => (Some(text), None),
        Err(fault) => (None, Some(STANDARD.encode(fault.as_bytes()))),
    };
    Item {
        reason,
        topic,
        partition,
        offset,
        time: to_text(timestamp_ms),
        origin,
        length,
        text,
        bytes_base64,
    }
}
