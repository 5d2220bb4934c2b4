//! Whether the process is alive, whether it can answer questions, and its own metrics.
//!
//! `/readyz` is `ok`, or a problem that names every reason. `/readyz?verbose` is text for people,
//! in the form of the Kubernetes API server: a line per part. The catalogue has one too, `[!]`
//! while it is unavailable, and never makes the engine unready: metrics do not need it. So do other
//! parts that questions do not need, such as writing to the log.

use super::codes::Code;
use super::problem::Problem;
use super::{App, export, figures};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Write;
use std::sync::Arc;
use tally_engine::engine::Check;
use tally_plugin::ask::Fault;

/// Seconds after which a client should check again.
const LOOK_AGAIN: u32 = 1;

const TEXT: [(HeaderName, HeaderValue); 2] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")), NO_STORE];

const NO_STORE: (HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

pub(crate) async fn live() -> impl IntoResponse {
    (TEXT, "ok\n")
}

pub(crate) async fn ready(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let asked = query.is_some_and(|query| {
        query.split('&').any(|part| part.split('=').next() == Some("verbose"))
    });
    let hide = |text: String| app.redactor.redact(&text).into_owned();
    let checks: Vec<Check> = app
        .engine
        .readiness()
        .into_iter()
        .map(|check| Check { detail: hide(check.detail), ..check })
        .collect();
    let health_error = app.catalogue.health_error().map(hide);
    let ready = checks.iter().all(|check| check.ok || !check.needed);
    match (asked, ready) {
        (true, true) => {
            (StatusCode::OK, TEXT, verbose_text(checks, health_error, "readyz check passed\n"))
                .into_response()
        }
        (true, false) => (
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            verbose_text(checks, health_error, "readyz check failed\n"),
        )
            .into_response(),
        (false, true) => (StatusCode::OK, TEXT, "ok\n").into_response(),
        (false, false) => {
            let failed: Vec<Check> =
                checks.into_iter().filter(|check| !check.ok && check.needed).collect();
            let names: Vec<&str> = failed.iter().map(|check| check.name).collect();
            let detail =
                format!("not ready: {}; /readyz?verbose shows all parts", names.join(", "));
            let reason =
                |check: Check| Fault { pointer: format!("/{}", check.name), detail: check.detail };
            let problem = Problem::new(Code::NotReady, detail)
                .because(failed.into_iter().map(reason).collect())
                .retry_after(LOOK_AGAIN);
            ([NO_STORE], problem).into_response()
        }
    }
}

fn verbose_text(checks: Vec<Check>, health_error: Option<String>, last: &str) -> String {
    let mut text = String::new();
    for check in checks {
        let (sign, word) = match (check.ok, check.needed) {
            (true, _) => ('+', "ok"),
            (false, true) => ('-', "failed"),
            (false, false) => ('!', "failed (answers do not need it)"),
        };
        let detail = if check.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", check.detail.replace(['\r', '\n'], " "))
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{sign}]{} {word}{detail}", check.name);
    }
    let _ = match health_error {
        None => writeln!(text, "[+]catalogue ok"),
        Some(reason) => {
            let reason = reason.replace(['\r', '\n'], " ");
            writeln!(text, "[!]catalogue unavailable (metrics do not need it): {reason}")
        }
    };
    text + last
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    // The engine's, the server's, and what is exported: the last may be of any name.
    let text = [(app.render)(), figures::text(&app), export::text(&app)].concat();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
