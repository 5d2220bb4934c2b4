//! What every request passes through: who may ask (`door`), its id, its errors written out, headers that browsers heed, panics caught.

use super::connection::Connection;
use super::door::{self, Guest};
use super::problem::Problem;
use super::routes::Routes;
use axum::BoxError;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Body;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use uuid::{NoContext, Timestamp};

/// Longest target of a request, in bytes.
const LONGEST_TARGET: usize = 4 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Headers of every answer. The policy allows the server's own pages and nothing else.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Around the router rather than a layer in it, which would box every request once more.
pub(crate) async fn wrap<B>(request: Request<B>, routes: &Routes, connection: Option<&Arc<Connection>>) -> Response
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let id = request_id(request.headers());
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let guest = routes.door().judge(&request);
    let mut response = if target > LONGEST_TARGET {
        let detail = format!("the target has {target} bytes, at most {LONGEST_TARGET} are read");
        respond(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail))
    } else if let Err(refused) = &guest {
        respond(refused.clone())
    } else if let Ok(Guest::Preflight(origin)) = &guest {
        door::preflight(origin.clone())
    } else {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match AssertUnwindSafe(routes.answer(request, connection)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                let reason = reason(&*panic);
                tracing::error!(%method, path, reason, request_id = ?id, "a request handler panicked");
                respond(Problem::internal())
            }
        }
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.write(&mut response, id.to_str().unwrap_or_default(), routes.private());
    }
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    headers.insert(REQUEST_ID, id);
    if let Ok(Guest::Page(origin)) = guest {
        door::readable(headers, origin);
    }
    response
}

pub(crate) async fn not_found(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", request.uri().path()))
}

/// The `Allow` header is added by the router.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not take {}; see Allow", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

fn respond(problem: Problem) -> Response {
    axum::response::IntoResponse::into_response(problem)
}

/// The caller's id if it is one that can stand in a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |id: &&HeaderValue| {
        (1..=64).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(fresh_id)
}

/// An id that no other answer has.
pub(crate) fn fresh_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = uuid::Uuid::new_v7(Timestamp::now(NoContext)).hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| unreachable!("a UUID is ASCII"))
}

pub(crate) fn reason(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
