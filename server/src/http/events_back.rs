//! `GET /api/events`: events backwards from a position. `GET /api/records/{partition}/{offset}`:
//! one record as it came, with its verdict.
//!
//! Both read the log on a blocking thread, in one of the places of those who read it again; a page,
//! which may have megabytes, gets its tag there. What cannot be text is shown as `bytes_base64`.

use super::audit::unavailable;
use super::blocking::in_slot_within;
use super::codes::Code;
use super::json_members::push_text;
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};
use super::{App, answer, etag, event_filter};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt::Write;
use std::sync::Arc;
use tally_engine::engine::{
    EventPage, FoundRecord, JudgedRecord, PageRequest, ReadLogError, RecordVerdict,
};
use tally_engine::event::Position;
use tally_engine::time::to_text;

/// Events of a page by default, and at most.
const LIMIT: usize = 50;
const MOST: usize = 1_000;

/// The known keys of the query.
const KEYS: [&str; 5] = ["before", "limit", "event_types", "user_id", "product_id"];

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    query: RawPairs,
) -> Result<Response, Problem> {
    let request = parse(query)?;
    let engine = Arc::clone(&app.engine);
    let work = move || engine.events_before(&request).map(|page| tagged(page_text(&page)));
    in_slot_within(&app, work).await?.map_err(|fault| unreadable(&fault))
}

fn tagged(text: String) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let tag = (header::ETAG, etag::of_bytes(text.as_bytes()));
    ([kind, tag], text).into_response()
}

fn parse(query: RawPairs) -> Result<PageRequest, Problem> {
    let mut query = QueryPairs::new(query, &KEYS, Code::InvalidParams)?;
    let limit = query.integer("limit", 1..=MOST).unwrap_or(LIMIT);
    let filter = event_filter::of_query(&mut query);
    let before = query.get("before").map(str::parse::<Position>).transpose();
    let before = query.finish(before)?;
    let before =
        before.map_err(|detail| Problem::fault(Code::PositionInvalid, "/before", detail))?;
    Ok(PageRequest { before, limit, filter })
}

fn page_text(page: &EventPage) -> String {
    let mut text = String::from("{\"items\":[");
    for (n, past) in page.events.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let (partition, next, time) = (past.partition, past.next, to_text(past.timestamp_ms));
        // Writing to a text does not fail.
        let _ = write!(
            text,
            "{comma}{{\"position\":\"{partition}:{next}\",\"timestamp\":\"{time}\",\"event\":{}}}",
            past.event
        );
    }
    text.push_str("],\"next\":");
    match &page.next {
        Some(next) => push_text(&mut text, &next.to_string()),
        None => text.push_str("null"),
    }
    text.push('}');
    text
}

pub(crate) async fn record(
    State(app): State<Arc<App>>,
    place: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let fault = |pointer, detail| Problem::fault(Code::InvalidParams, pointer, detail);
    let Path((partition, offset)) =
        place.map_err(|_| fault("", "partition and offset are not UTF-8"))?;
    let partition: u32 =
        partition.parse().map_err(|_| fault("/partition", "partition is not a whole number"))?;
    let offset: u64 =
        offset.parse().map_err(|_| fault("/offset", "offset is not a whole number"))?;
    let engine = Arc::clone(&app.engine);
    let found = in_slot_within(&app, move || engine.record(partition, offset)).await?;
    match found.map_err(|fault| unreadable(&fault))? {
        FoundRecord::Judged(found) => Ok(answer::json(&RecordReply::of(partition, found))),
        FoundRecord::NotHeld { start, end } => Err(not_found(format!(
            "partition {partition} has no record at offset {offset}; it holds those of \
             {start}..{end}, but for offsets that never had one"
        ))),
    }
}

/// A record, in the contract's order.
#[derive(Serialize)]
struct RecordReply {
    partition: u32,
    offset: u64,
    position: String,
    topic: String,
    timestamp: String,
    /// Of a copy that was sent again: where the record was, and its timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_timestamp: Option<String>,
    length: usize,
    /// Neither where the record was deleted from a log that is compacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_base64: Option<String>,
    verdict: VerdictReply,
}

#[derive(Serialize)]
struct VerdictReply {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl RecordReply {
    fn of(partition: u32, found: JudgedRecord) -> RecordReply {
        let JudgedRecord { record, topic, verdict } = found;
        let length = record.payload.as_ref().map_or(0, Vec::len);
        let origin = record.origin;
        let origin_timestamp = origin.as_ref().map(|origin| to_text(origin.timestamp_ms));
        let (text, bytes_base64) = match record.payload.map(String::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(fault)) => (None, Some(STANDARD.encode(fault.as_bytes()))),
        };
        RecordReply {
            partition,
            offset: record.offset,
            position: format!("{partition}:{}", record.offset + 1),
            topic,
            timestamp: to_text(record.timestamp_ms),
            origin: origin.map(|origin| origin.place),
            origin_timestamp,
            length,
            text,
            bytes_base64,
            verdict: VerdictReply::of(verdict),
        }
    }
}

impl VerdictReply {
    fn of(verdict: RecordVerdict) -> VerdictReply {
        match verdict {
            // It is JSON: the engine wrote it.
            RecordVerdict::Event(event) => VerdictReply {
                state: "event",
                event: RawValue::from_string(event).ok(),
                reason: None,
            },
            RecordVerdict::Duplicate => {
                VerdictReply { state: "duplicate", event: None, reason: None }
            }
            RecordVerdict::Refused(reason) => {
                VerdictReply { state: "refused", event: None, reason: Some(reason) }
            }
        }
    }
}

fn unreadable(fault: &ReadLogError) -> Problem {
    match fault {
        ReadLogError::NoPartition(_) => not_found(fault.to_string()),
        _ => unavailable(fault, fault.retry_helps()),
    }
}

fn not_found(detail: String) -> Problem {
    Problem::new(Code::RecordNotFound, detail)
}
