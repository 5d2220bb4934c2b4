//! `GET /api/fields`: the JSON pointers that the newest records really have, and what stands there.
//!
//! The log is read on a blocking thread, in one of the places of those who read it again. Nothing is
//! judged and nothing counted here.

use super::audit::unavailable;
use super::codes::Code;
use super::problem::Problem;
use super::request_object::{given_pairs, key_fault, unknown_key};
use super::versions::blocking;
use super::{App, answer};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tally_engine::engine::{ColumnKind, FieldReport, RecordField, ValueKind};

/// Records that are looked at by default, and at most.
const RECORDS: u64 = 1_000;
const MOST: u64 = 10_000;

/// The only key of the query.
const KEY: &str = "records";

/// What records have, in the contract's order.
#[derive(Serialize)]
struct FieldsReply {
    records: u64,
    /// Records that are no JSON object.
    #[serde(skip_serializing_if = "is_zero")]
    others: u64,
    fields: Vec<FieldReply>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

#[derive(Serialize)]
struct FieldReply {
    pointer: String,
    /// Shares of the kinds of values, by the word of JSON Schema.
    types: Map<String, Value>,
    share: f64,
    examples: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distinct: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapped: Option<&'static str>,
    /// As configurations of `counts` write it.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    column: Option<Value>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    let records = parse(query)?;
    let engine = Arc::clone(&app.engine);
    let found = blocking(&app, move || engine.fields(records)).await?;
    let found = found.map_err(|fault| unavailable(&fault, fault.retry_helps()))?;
    Ok(answer::json(&FieldsReply::of(found)))
}

/// How many records. An empty value counts as none; an unknown key is a fault whatever its value.
fn parse(query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Result<u64, Problem> {
    let Query(pairs) =
        query.map_err(|_| Problem::fault(Code::InvalidParams, "", "the query is not UTF-8"))?;
    let (mut records, mut faults) = (RECORDS, Vec::new());
    for (key, value) in given_pairs(&pairs, KEY) {
        match (key == KEY, value.parse()) {
            (true, Ok(number @ 1..=MOST)) => records = number,
            (true, _) => {
                faults.push(key_fault(key, format!("{KEY} is not an integer from 1 to {MOST}")));
            }
            (false, _) => faults.push(unknown_key(key, KEY)),
        }
    }
    if faults.is_empty() { Ok(records) } else { Err(Problem::invalid(Code::InvalidParams, faults)) }
}

impl FieldsReply {
    fn of(found: FieldReport) -> FieldsReply {
        let FieldReport { records, others, fields, more } = found;
        let fields = fields.into_iter().map(|field| FieldReply::of(field, records)).collect();
        FieldsReply { records, others, fields, more }
    }
}

impl FieldReply {
    /// `all`: the records that shares are of.
    fn of(field: RecordField, all: u64) -> FieldReply {
        let RecordField { pointer, records, kinds, examples, distinct, mapped, column } = field;
        let share_of = |(kind, count): (ValueKind, u64)| {
            (kind.word().to_owned(), json!(share(count, records)))
        };
        FieldReply {
            pointer,
            types: kinds.into_iter().map(share_of).collect(),
            share: share(records, all),
            // They are JSON: the engine wrote them.
            examples: examples
                .into_iter()
                .filter_map(|one| RawValue::from_string(one).ok())
                .collect(),
            distinct,
            mapped,
            column: column.map(column_json),
        }
    }
}

/// A part of a whole, to six decimals.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e6).round() / 1e6 }
}

fn column_json(column: ColumnKind) -> Value {
    match column {
        ColumnKind::Bool => json!("bool"),
        ColumnKind::Integer => json!("integer"),
        ColumnKind::Time => json!("time"),
        ColumnKind::Decimal(scale) => json!({ "decimal": scale }),
        ColumnKind::Text => json!("text"),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
