//! Whether the process lives, whether it can be asked, and its own metrics.
//!
//! `/readyz` is text for probes and people, in the form of the Kubernetes API server: a line per part.

use super::App;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use std::fmt::Write;
use std::sync::Arc;

const TEXT: [(HeaderName, HeaderValue); 2] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

pub(crate) async fn live() -> impl IntoResponse {
    (TEXT, "ok\n")
}

pub(crate) async fn ready(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let asked = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    let checks = app.core.readiness();
    let ready = checks.iter().all(|check| check.ok);
    if ready && !asked {
        return (StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    let mut text = String::new();
    for check in checks {
        let (sign, word) = if check.ok { ('+', "ok") } else { ('-', "failed") };
        let detail = if check.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", check.detail.replace(['\r', '\n'], " "))
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{sign}]{} {word}{detail}", check.name);
    }
    text.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, TEXT, text)
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.render)())
}
