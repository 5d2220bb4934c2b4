//! `/api/internal/tables` and `/api/internal/stored`: what the store holds, for `tally state`. Not
//! part of the contract.
//!
//! `GET /api/internal/tables` names metrics and tables; `GET /api/internal/stored` is every bucket
//! of every metric; `GET /api/internal/stored/{metric}/{table}/{key}` the rows of a key, which is a
//! JSON array of texts in base64url.

use super::blocking::in_slot;
use super::codes::Code;
use super::problem::Problem;
use super::{App, answer};
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::Arc;
use tally_engine::engine::{StoredRow, StoredRows};
use tally_engine::time::to_text;
use tally_plugin::read::Scalar;

pub(crate) async fn tables(State(app): State<Arc<App>>) -> Response {
    let metrics = app.engine.metrics();
    let metrics = metrics.iter().map(|metric| {
        let tables = metric.description.tables.iter().map(|table| json!({"name": table.name}));
        json!({"name": metric.name, "tables": tables.collect::<Vec<_>>()})
    });
    answer::json(&json!({"metrics": metrics.collect::<Vec<_>>()}))
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let engine = Arc::clone(&app.engine);
    let stored = in_slot(&app, move || engine.stored()).await??;
    Ok(answer::json(&json!({"metrics": stored})))
}

pub(crate) async fn rows(
    State(app): State<Arc<App>>,
    Path((metric, table, key)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let texts = URL_SAFE_NO_PAD
        .decode(key)
        .ok()
        .and_then(|json| serde_json::from_slice::<Vec<String>>(&json).ok());
    let fault = || {
        Problem::fault(
            Code::InvalidParams,
            "/key",
            "write the key as a JSON array of strings, in base64url",
        )
    };
    let key = texts.ok_or_else(fault)?;
    let engine = Arc::clone(&app.engine);
    let rows = in_slot(&app, move || engine.stored_rows(&metric, &table, &key)).await??;
    Ok(answer::json(&stored_rows(&rows)))
}

/// The rows of a key, as JSON.
#[must_use]
pub fn stored_rows(stored: &StoredRows) -> Value {
    let StoredRows { table, rows, events_failed } = stored;
    let row = |row: &StoredRow| {
        // As texts: sums have 128 bits.
        let cells: Vec<Option<String>> =
            row.cells.iter().map(|cell| cell.as_ref().map(scalar_text)).collect();
        let pane = row.pane.map_or(json!("older"), |(pane, _)| json!(pane));
        json!({"key": row.key, "pane": pane, "from": row.pane.map(|(_, from)| to_text(from)), "cells": cells})
    };
    let cells: Vec<&str> = table.cells.iter().map(|cell| &*cell.name).collect();
    let mut answer = json!({"cells": cells, "rows": rows.iter().map(row).collect::<Vec<_>>()});
    if *events_failed > 0 {
        answer["events_failed"] = json!(events_failed);
    }
    answer
}

fn scalar_text(value: &Scalar) -> String {
    match value {
        Scalar::Integer(number) => number.to_string(),
        Scalar::Float(number) => number.to_string(),
        Scalar::Text(text) => text.clone(),
    }
}
