//! Orders of an operator: `POST /api/metrics/{name}/promote`, `/rollback` and `/purge`, and those of
//! `tally skip` and `tally clock accept`, which are not part of the contract.
//!
//! The answer says what was done. With `?dry_run=true` nothing is done, and the answer says what
//! would be; what would be refused is refused. The body is `{}`: it is there for its media type,
//! which a page of another origin cannot send without a preflight. The engine carries orders out, on
//! a blocking thread.

use super::blocking::in_slot_within;
use super::codes::Code;
use super::metrics::{name_in, no_metric};
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};
use super::request_object::RequestObject;
use super::{App, answer, request_body};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use tally_engine::config::is_metric_name;
use tally_engine::engine::{MetricChange, MetricOrder, Order, OrderError};

/// The only key of the query.
const DRY_RUN: &str = "dry_run";

type NameInPath = Result<Path<String>, PathRejection>;

pub(crate) async fn promote(
    State(app): State<Arc<App>>,
    name: NameInPath,
    query: RawPairs,
    request: Request,
) -> Result<Response, Problem> {
    change(&app, MetricChange::Promote, name, query, request).await
}

pub(crate) async fn roll_back(
    State(app): State<Arc<App>>,
    name: NameInPath,
    query: RawPairs,
    request: Request,
) -> Result<Response, Problem> {
    change(&app, MetricChange::Rollback, name, query, request).await
}

pub(crate) async fn purge(
    State(app): State<Arc<App>>,
    name: NameInPath,
    query: RawPairs,
    request: Request,
) -> Result<Response, Problem> {
    change(&app, MetricChange::Purge, name, query, request).await
}

async fn change(
    app: &App,
    change: MetricChange,
    name: NameInPath,
    query: RawPairs,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = request_body::json(&parts.headers, body, app.limits.body).await?;
    holds_nothing(&body)?;
    let (metric, dry_run) = (name_in(name)?, dry_run(query)?);
    // Whether one has it is the engine's to say.
    if !is_metric_name(&metric) {
        return Err(no_metric(app, &metric));
    }
    execute(app, Order::Metric(MetricOrder { metric, change, dry_run }), dry_run).await
}

/// Refuses a body that is no object, or has members.
fn holds_nothing(body: &[u8]) -> Result<(), Problem> {
    let faults = RequestObject::parse(body)?.key_faults(&[]);
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid(Code::InvalidRequest, faults)) }
}

/// Whether nothing is to be done. A key that is misspelt is refused: it would have it done.
pub(super) fn dry_run(query: RawPairs) -> Result<bool, Problem> {
    let mut query = QueryPairs::new(query, &[DRY_RUN], Code::InvalidParams)?;
    let dry_run = query.flag(DRY_RUN);
    query.finish(dry_run)
}

async fn execute(app: &App, order: Order, dry_run: bool) -> Result<Response, Problem> {
    let engine = Arc::clone(&app.engine);
    let said = in_slot_within(app, move || engine.order(order)).await??;
    Ok(answer::json(&if dry_run { json!({ "would": said }) } else { json!({ "done": said }) }))
}

impl From<OrderError> for Problem {
    fn from(fault: OrderError) -> Problem {
        let detail = fault.to_string();
        match fault {
            OrderError::NotPossible(_) => Problem::new(Code::NotPossible, detail),
            OrderError::QueueFull(_) => Problem::overloaded(&detail),
            OrderError::OutcomeUnknown(_) | OrderError::InDoubt(_) => {
                Problem::new(Code::OutcomeUnknown, detail)
            }
            OrderError::Failed(_) | OrderError::Store { .. } | OrderError::Ended => {
                Problem::unavailable(Code::OrderFailed, detail, fault.retry_helps())
            }
        }
    }
}

pub(crate) async fn skip(
    State(app): State<Arc<App>>,
    path: Result<Path<(u32, u64)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    request_body::media_type(request.headers(), &[request_body::JSON])?;
    let not_one =
        |_| Problem::new(Code::NotFound, "the partition and the offset must be whole numbers");
    let Path((partition, offset)) = path.map_err(not_one)?;
    execute(&app, Order::Skip { partition, offset }, false).await
}

pub(crate) async fn accept_clock(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    request_body::media_type(request.headers(), &[request_body::JSON])?;
    execute(&app, Order::AcceptClock, false).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_nothing() {
        assert!(holds_nothing(b"{}").is_ok() && holds_nothing(b" { } ").is_ok());
        for (body, code) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("[]", "invalid_request"),
            ("null", "invalid_request"),
            (r#"{"dry_run":true}"#, "invalid_request"),
        ] {
            let refused =
                holds_nothing(body.as_bytes()).map_err(|problem| problem.code().to_owned());
            assert_eq!(refused, Err(code.to_owned()), "{body}");
        }
    }
}
