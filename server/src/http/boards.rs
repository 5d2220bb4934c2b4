//! `GET /api/boards` and `GET /api/boards/{name}`: the boards of `[server] boards`, which are only
//! read.
//!
//! What a board is, and which files are none, is decided in `boards`. Folders are read on a blocking
//! thread, in one of the places of those who read the log or state again.

use super::blocking::in_slot_within;
use super::codes::Code;
use super::problem::Problem;
use super::{App, answer};
use crate::boards::BoardFault;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::Response;
use std::sync::Arc;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let boards = Arc::clone(&app.boards);
    let mut list = in_slot_within(&app, move || boards.list()).await?;
    for refused in &mut list.rejected {
        refused.reason = app.redactor.redact(&refused.reason).into_owned();
    }
    Ok(answer::json(&list))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let not_found = |detail: String| Problem::new(Code::BoardNotFound, detail);
    let Path(name) = name.map_err(|_| not_found("the name is not UTF-8".into()))?;
    let (boards, wanted) = (Arc::clone(&app.boards), name.clone());
    let read = in_slot_within(&app, move || boards.read(&wanted)).await?;
    match read {
        Ok(text) => Ok(answer::full(HeaderValue::from_static("application/json"), text)),
        Err(BoardFault::Missing) if !app.boards.is_configured() => {
            Err(not_found("no boards are served: [server] boards names no folder".into()))
        }
        Err(BoardFault::Missing) => {
            let name = name.escape_debug();
            Err(not_found(format!("there is no board \"{name}\"; GET /api/boards lists them")))
        }
        Err(fault) => Err(not_found(format!("{name}.json {fault}"))),
    }
}
