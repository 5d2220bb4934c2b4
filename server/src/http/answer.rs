//! Answers that are data, with the whole body known before it is sent.
//!
//! Such a body is noted beside the response, where the step that tags answers finds it (`etag`).
//! Lists are given as rows to who prefers these. Streams and problems are not made here.

use super::blocking;
use super::problem::Problem;
use super::rows::{self, RowForm, RowSource};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

/// Media type of most answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A longer list is made rows of on a blocking thread.
const LARGE: usize = 64 * 1024;

/// The form depends on what the client accepts.
pub(crate) const BY_ACCEPT: (HeaderName, HeaderValue) =
    (header::VARY, HeaderValue::from_static("accept"));

/// Where the next page of a list that is given as rows begins.
const NEXT: HeaderName = HeaderName::from_static("tally-next");

/// The body of an answer, as an extension of the response: it shares the bytes.
#[derive(Clone)]
pub(crate) struct FullBody(pub(crate) Bytes);

/// Data as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => full(JSON, text),
        Err(fault) => {
            tracing::error!(%fault, "an answer cannot be written as JSON");
            Problem::internal().into_response()
        }
    }
}

/// A list as JSON, or as rows where the client prefers these. What rows do not show of a page is in
/// the headers: `next`, where the next one begins.
pub(crate) async fn list(
    headers: &HeaderMap,
    source: RowSource,
    value: &impl Serialize,
    next: Option<&str>,
) -> Result<Response, Problem> {
    let Some(form) = RowForm::preferred(headers) else {
        return Ok(([BY_ACCEPT], json(value)).into_response());
    };
    let unwritten = |fault: &dyn std::fmt::Display| {
        tracing::error!(%fault, "a list cannot be written as rows");
        Problem::internal()
    };
    let text = serde_json::to_string(value).map_err(|fault| unwritten(&fault))?;
    let long = text.len() > LARGE;
    let make = move || rows::text(form, source, &text, usize::MAX);
    let rows = if long { blocking::run(make).await? } else { make() };
    let rows = rows.map_err(|fault| unwritten(&fault))?;
    let mut response = ([BY_ACCEPT], full(form.kind(), rows)).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(next).ok()) {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

/// Data of this media type.
pub(crate) fn full(kind: HeaderValue, body: impl Into<Bytes>) -> Response {
    let body = body.into();
    let mut response = Response::new(Body::from(body.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.extensions_mut().insert(FullBody(body));
    response
}
