//! The steps that every request passes, the fast path of `POST /api/metrics` too.
//!
//! [`CHECKS`] may answer in place of a route; [`FINISHES`] complete every answer, refusals
//! included. A further step is one line in one of the two lists. The route runs in between, and its
//! panics become an answer. Steps are plain functions that do not wait: a layer of the router would
//! box a future for every request, and the fast path bypasses the router.

use super::codes::Code;
use super::connection::Connection;
use super::etag::KnownTags;
use super::problem::Problem;
use super::routes::Routes;
use super::{App, etag, origin_check};
use axum::BoxError;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Body;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use uuid::{NoContext, Timestamp};

/// A step before the route. Breaks with the answer if the request ends here.
type RequestCheck = fn(&App, &Head<'_>, &mut Exchange) -> ControlFlow<Response>;

/// A step after the route, or after the check that answered.
type Finish = fn(&App, &Exchange, &mut Response);

/// In this order; the first that breaks is the last that runs.
const CHECKS: [RequestCheck; 3] = [origin_check::check, check_target_length, etag::check];

/// In this order, for every answer. The problem is written first: it replaces body and headers of
/// the answer that carries it.
const FINISHES: [Finish; 4] = [write_problem, etag::finish, add_headers, origin_check::allow_page];

/// Longest target of a request, in bytes.
const LONGEST_TARGET: usize = 4 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Headers of every answer that has not its own. The policy allows the server's own pages and nothing
/// else.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// What a check sees of a request: everything except its body.
pub(crate) struct Head<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
}

/// What the steps of one request know of it, from the first check to the last finish.
pub(crate) struct Exchange {
    request_id: HeaderValue,
    /// The origin of the listed page that sent the request; its browser needs permission to show it
    /// the answer.
    pub(crate) page: Option<HeaderValue>,
    /// What the client has, if the request only reads.
    pub(crate) known: Option<KnownTags>,
}

/// Answers a request; `connection` is the one that it came on.
pub(crate) async fn respond<B>(
    request: Request<B>,
    routes: &Routes,
    connection: Option<&Arc<Connection>>,
) -> Response
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let app = routes.app();
    let request_id = request_id(request.headers());
    let mut exchange = Exchange { request_id, page: None, known: None };
    let mut response = match check(app, &request, &mut exchange) {
        ControlFlow::Break(answer) => answer,
        ControlFlow::Continue(()) => {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            match AssertUnwindSafe(routes.answer(request, connection)).catch_unwind().await {
                Ok(response) => response,
                Err(panic) => {
                    let reason = panic_text(&*panic);
                    tracing::error!(
                        %method,
                        path,
                        reason,
                        request_id = ?exchange.request_id,
                        "a request handler panicked"
                    );
                    Problem::internal().into_response()
                }
            }
        }
    };
    for finish in FINISHES {
        finish(app, &exchange, &mut response);
    }
    response
}

fn check<B>(app: &App, request: &Request<B>, exchange: &mut Exchange) -> ControlFlow<Response> {
    let head = Head { method: request.method(), uri: request.uri(), headers: request.headers() };
    CHECKS.iter().try_for_each(|check| check(app, &head, exchange))
}

fn check_target_length(_: &App, head: &Head<'_>, _: &mut Exchange) -> ControlFlow<Response> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target <= LONGEST_TARGET {
        return ControlFlow::Continue(());
    }
    let detail = format!("the target has {target} bytes; at most {LONGEST_TARGET} are allowed");
    ControlFlow::Break(Problem::new(Code::UriTooLong, detail).into_response())
}

/// Writes the body of an answer that carries a problem: only here the request's id is known. Counts
/// the limits that are reached.
fn write_problem(app: &App, exchange: &Exchange, response: &mut Response) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        app.limits_hit.count(problem.code());
        problem.write(response, exchange.request_id.to_str().unwrap_or_default(), &app.redactor);
    }
}

fn add_headers(_: &App, exchange: &Exchange, response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    headers.insert(REQUEST_ID, exchange.request_id.clone());
}

pub(crate) async fn not_found(request: Request) -> Problem {
    Problem::new(Code::NotFound, format!("there is nothing at {}", request.uri().path()))
}

/// The `Allow` header is added by the router.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "{} does not allow {}; see the Allow header",
        request.uri().path(),
        request.method()
    );
    Problem::new(Code::MethodNotAllowed, detail)
}

/// The caller's id if it is safe to log, otherwise a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |id: &&HeaderValue| {
        (1..=64).contains(&id.len())
            && id
                .as_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(fresh_id)
}

/// An id that no other answer has.
pub(crate) fn fresh_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = uuid::Uuid::new_v7(Timestamp::now(NoContext)).hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| unreachable!("a UUID is ASCII"))
}

/// What was said by who panicked.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
