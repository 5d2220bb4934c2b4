//! `GET /api/fields`: the JSON pointers that the newest records really have, and what stands there.
//!
//! The log is read on a blocking thread, in one of the places of those who read it again. Nothing is
//! judged and nothing counted here.

use super::audit::unavailable;
use super::blocking::in_slot_within;
use super::codes::Code;
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};
use super::{App, answer};
use axum::extract::State;
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
    records_left_out: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fields_left_out: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deeper_left_out: bool,
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
    query: RawPairs,
) -> Result<Response, Problem> {
    let mut query = QueryPairs::new(query, &[KEY], Code::InvalidParams)?;
    let records = query.integer(KEY, 1..=MOST).unwrap_or(RECORDS);
    let records = query.finish(records)?;
    let engine = Arc::clone(&app.engine);
    let found = in_slot_within(&app, move || engine.fields(records)).await?;
    let found = found.map_err(|fault| unavailable(&fault, fault.retry_helps()))?;
    Ok(answer::json(&FieldsReply::of(found)))
}

impl FieldsReply {
    fn of(found: FieldReport) -> FieldsReply {
        let FieldReport {
            records,
            others,
            fields,
            records_left_out,
            fields_left_out,
            deeper_left_out,
        } = found;
        let fields = fields.into_iter().map(|field| FieldReply::of(field, records)).collect();
        FieldsReply { records, others, fields, records_left_out, fields_left_out, deeper_left_out }
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
