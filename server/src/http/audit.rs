//! `/api/internal/…`: the raw log and state, for `tally verify`. Not part of the contract: it
//! changes with the program.
//!
//! `GET /api/internal/events` is `[events]`; `GET /api/internal/log` the bounds of each partition,
//! with `partition`, `from` and `to` the records in between; `GET /api/internal/state/{metric}`
//! every row of a metric at one moment. Records and rows are lines of JSON; the last one says how
//! many there were, or what went wrong, so that a truncated answer is noticed. Nothing is
//! collected: a line is made when the reader has taken those before it. An answer that waits for
//! its reader releases its place among those that work, and one whose reader is too slow is cut
//! off. Everything here only reads.

use super::blocking::{in_slot, overloaded};
use super::codes::Code;
use super::connection::Connection;
use super::problem::Problem;
use super::{App, Records, answer};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::engine::{Coverage, DumpCell, DumpPane, LogRecord, StateDump};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of lines that are sent at a time.
const CHUNK: usize = 64 << 10;

/// Chunks that may wait for the reader; the writer blocks when there are more.
const WAITING: usize = 4;

pub(crate) async fn events(State(app): State<Arc<App>>) -> Response {
    answer::json(&app.engine.events())
}

/// The records that are requested.
#[derive(Deserialize)]
pub(crate) struct RecordRange {
    partition: Option<u32>,
    from: Option<u64>,
    to: Option<u64>,
}

pub(crate) async fn log(
    State(app): State<Arc<App>>,
    connection: Option<Extension<Arc<Connection>>>,
    query: Result<Query<RecordRange>, QueryRejection>,
) -> Result<Response, Problem> {
    let fault = || {
        Problem::fault(
            Code::InvalidParams,
            "",
            "give partition, from and to as integers, or omit all three",
        )
    };
    match query.map_err(|_| fault())?.0 {
        RecordRange { partition: None, from: None, to: None } => {
            let engine = Arc::clone(&app.engine);
            let bounds = in_slot(&app, move || engine.log_bounds()).await?;
            let bounds = bounds.map_err(|fault| unavailable(&fault, fault.retry_helps()))?;
            let bounds = bounds
                .iter()
                .map(|b| json!({"partition": b.partition, "start": b.start, "end": b.end}));
            Ok(answer::json(&Value::Array(bounds.collect())))
        }
        RecordRange { partition: Some(partition), from: Some(from), to: Some(to) } => {
            let engine = Arc::clone(&app.engine);
            let records = in_slot(&app, move || engine.log_read(partition, from, to)).await?;
            let records = records.map_err(|fault| unavailable(&fault, fault.retry_helps()))?;
            lines(&app, connection, move |out| write_records(records, out))
        }
        _ => Err(fault()),
    }
}

pub(crate) async fn state(
    State(app): State<Arc<App>>,
    connection: Option<Extension<Arc<Connection>>>,
    Path(metric): Path<String>,
) -> Result<Response, Problem> {
    let held = Arc::clone(&app.dumps).try_acquire_owned();
    let held = held
        .map_err(|_| Problem::overloaded("too many requests read the state of a metric at once"))?;
    let engine = Arc::clone(&app.engine);
    let asked = metric.clone();
    let dump = in_slot(&app, move || engine.state_dump(&asked)).await??;
    lines(&app, connection, move |out| {
        let _held = held;
        write_state(&metric, &dump, out)
    })
}

pub(super) fn unavailable(fault: &dyn Error, retry_helps: bool) -> Problem {
    Problem::unavailable(Code::LogUnavailable, fault.to_string(), retry_helps)
}

/// An answer whose lines a thread writes as fast as they are read.
fn lines(
    app: &App,
    connection: Option<Extension<Arc<Connection>>>,
    write: impl FnOnce(&mut Lines) -> Option<()> + Send + 'static,
) -> Result<Response, Problem> {
    let listing = Arc::clone(&app.listings).try_acquire_owned().map_err(|_| overloaded())?;
    let (sender, receiver) = channel(WAITING);
    let (pace, places, handle) = (app.limits.listing, Arc::clone(&app.audits), Handle::current());
    tokio::task::spawn_blocking(move || {
        let mut out =
            Lines { chunk: Vec::with_capacity(CHUNK), sender, pace, places, place: None, handle };
        // Nobody reads any more, or too slowly: the answer ends without its last line, which shows
        // that it is incomplete.
        let _ = out.acquire_slot().and_then(|()| write(&mut out)).and_then(|()| out.flush());
        drop(listing);
    });
    let writing = connection.map(|Extension(connection)| connection.writing());
    let next = async |(mut receiver, writing): (Receiver<Bytes>, _)| {
        receiver.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), (receiver, writing)))
    };
    let body = Body::from_stream(stream::unfold((receiver, writing), next));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Lines on their way. Its functions return `None` once nobody reads them any more.
struct Lines {
    chunk: Vec<u8>,
    sender: Sender<Bytes>,
    /// How long the reader may take to read a chunk.
    pace: Duration,
    places: Arc<Semaphore>,
    /// Held while it works.
    place: Option<OwnedSemaphorePermit>,
    handle: Handle,
}

impl Lines {
    fn line(&mut self, line: &Value) -> Option<()> {
        // A value always serialises.
        serde_json::to_writer(&mut self.chunk, line).ok()?;
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK { self.flush() } else { Some(()) }
    }

    fn flush(&mut self) -> Option<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        match self.sender.try_send(chunk.into()) {
            Ok(()) => Some(()),
            Err(TrySendError::Closed(_)) => None,
            Err(TrySendError::Full(chunk)) => {
                // Another request may work meanwhile.
                self.place = None;
                let sent = async { timeout(self.pace, self.sender.send(chunk)).await };
                self.handle.block_on(sent).ok()?.ok()?;
                self.acquire_slot()
            }
        }
    }

    /// Waits for a slot, as long as it takes.
    fn acquire_slot(&mut self) -> Option<()> {
        self.place = Some(self.handle.block_on(Arc::clone(&self.places).acquire_owned()).ok()?);
        Some(())
    }
}

fn write_records(records: Records, out: &mut Lines) -> Option<()> {
    let mut count = 0_u64;
    for batch in records {
        match batch {
            Ok(batch) => {
                for record in batch {
                    out.line(&record_json(record))?;
                    count += 1;
                }
            }
            Err(fault) => return out.line(&json!({"fault": fault.to_string()})),
        }
    }
    out.line(&json!({"end": count}))
}

/// A copy states its origin: the place that its record first had, and its timestamp there.
fn record_json(record: LogRecord) -> Value {
    let LogRecord { offset, timestamp_ms, payload, origin } = record;
    let payload = payload.map(|payload| STANDARD.encode(payload));
    match origin {
        None => json!({"offset": offset, "timestamp": timestamp_ms, "payload": payload}),
        Some(origin) => json!({
            "offset": offset,
            "timestamp": timestamp_ms,
            "payload": payload,
            "origin": origin.place,
            "origin_time": origin.timestamp_ms,
        }),
    }
}

fn cell_json(cell: &DumpCell) -> Value {
    match cell {
        DumpCell::Nothing => Value::Null,
        // As a text: JSON readers disagree on integers of more than 53 bits, and sums have 128.
        DumpCell::Number(value) => value.to_string().into(),
        DumpCell::Sketch(bytes) => json!({"sketch": STANDARD.encode(bytes)}),
    }
}

/// The pane's length and where it starts.
fn pane_json(DumpPane { length, start }: DumpPane) -> Value {
    length.map_or_else(|| json!(["older", start]), |length| json!([length, start]))
}

fn write_state(metric: &str, dump: &StateDump, out: &mut Lines) -> Option<()> {
    let coverage = |(partition, coverage): (&u32, &Coverage)| {
        let gaps: Vec<Value> = coverage.gaps.iter().map(|gap| json!([gap.from, gap.to])).collect();
        let next = dump.position.0.get(partition).copied().unwrap_or(coverage.start);
        json!({"partition": partition, "start": coverage.start, "next": next, "gaps": gaps, "lost_before": coverage.lost_before, "failed": coverage.failed})
    };
    let partitions: Vec<Value> = dump.coverages.iter().map(coverage).collect();
    let (tables, properties, held) =
        (&dump.tables, &dump.properties, dump.held().collect::<Vec<_>>());
    let header = json!({"metric": metric, "partitions": partitions, "tables": tables, "properties": properties, "held": held, "reads_otherwise": dump.reads_otherwise});
    out.line(&header)?;
    let mut count = 0_u64;
    for row in dump.rows() {
        let cells: Vec<Value> = row.cells.iter().map(cell_json).collect();
        out.line(&match row.pane {
            None => json!({"table": row.table, "key": row.key, "cells": cells}),
            Some(pane) => {
                json!({"table": row.table, "pane": pane_json(pane), "key": row.key, "cells": cells})
            }
        })?;
        count += 1;
    }
    out.line(&json!({"end": count}))
}
