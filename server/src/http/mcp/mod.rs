//! `POST /mcp`: the Model Context Protocol, by which assistants ask. Each metric that answers is a
//! tool, lists and status are resources.
//!
//! The official SDK judges and writes the messages; it is named in this folder alone. The body is
//! read here, with the bounds of every other body, and a call is answered as a `POST /api/metrics`
//! is: same limits, slots and deadline. There are no sessions and no streams: a request has one
//! answer, which is JSON, whatever the client accepts. Long texts do not pass through the SDK,
//! which would hold them several times: it writes marks, which are replaced by them.

mod assistant;
mod tool_answer;
mod tools;

use super::codes::Code;
use super::complete_answer::LARGE;
use super::problem::Problem;
use super::{App, blocking, request_body};
use assistant::Assistant;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::value::RawValue;
use std::sync::Arc;
use tool_answer::{Marked, ToolAnswer};

/// What the SDK wants every client to accept. Which of the two it gets is decided here.
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Most characters that a refusal repeats of what the SDK says.
const REPEATED: usize = 300;

pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    let body = request_body::json(&head.headers, body, app.limits.body).await?;
    check_shape(&body)?;
    head.headers.insert(header::ACCEPT, ACCEPTED);
    // The SDK keeps the head while it works, perhaps for longer than the connection lasts.
    head.extensions.clear();
    let marked = Arc::new(Marked::new());
    let assistant = Assistant::new(app, Arc::clone(&marked));
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(assistant.clone()), sessions, settings());
    // Boxed for its size.
    let reply = Box::pin(service.handle(Request::from_parts(head, Body::from(body)))).await;
    let (head, body) = reply.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind == "application/json");
    let is_refused = head.status.is_client_error();
    if !is_json && !is_refused && head.status != StatusCode::ACCEPTED {
        // The SDK has logged what it knows.
        tracing::error!(status = %head.status, "an MCP request has no answer");
        return Err(Problem::internal());
    }
    let text = match body.collect().await {
        Ok(text) => text.to_bytes(),
        Err(never) => match never {},
    };
    if is_refused && !is_json {
        return Err(refused(head.status, &text));
    }
    let body = match marked.take() {
        Some(answer) => filled(answer, text, marked).await?,
        None => Body::from(text),
    };
    Ok(Response::from_parts(head, body))
}

/// Our own check of names and origins is the stricter one.
fn settings() -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts()
}

/// Refuses what the SDK would refuse without saying why.
fn check_shape(body: &[u8]) -> Result<(), Problem> {
    let whole: &RawValue = serde_json::from_slice(body)
        .map_err(|fault| invalid(format!("the body is not JSON: {fault}")))?;
    if whole.get().starts_with('[') {
        return Err(invalid("the body is a list; send each message in a request of its own"));
    }
    Ok(())
}

/// A refusal that the SDK says in plain text.
fn refused(status: StatusCode, text: &[u8]) -> Problem {
    // Its media type is the right one, so it is the body that could not be read.
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return invalid(
            "the body is no message of MCP: a JSON-RPC 2.0 request whose id is a number or a \
             text, or a notification",
        );
    }
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix("Bad Request: ").unwrap_or(&text);
    invalid(text.chars().take(REPEATED).collect::<String>())
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::McpInvalid, detail)
}

/// The reply with the answer to a call in the place of its marks.
async fn filled(answer: ToolAnswer, reply: Bytes, marked: Arc<Marked>) -> Result<Body, Problem> {
    let long = answer.len() > LARGE;
    let fill = move || answer.fill(&reply, marked.mark());
    let filled = if long { blocking::run(fill).await? } else { fill() };
    filled.ok_or_else(|| {
        tracing::error!("the MCP SDK wrote a reply without the marks of its answer");
        Problem::internal()
    })
}
