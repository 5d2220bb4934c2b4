//! Errors as RFC 9457 problems.
//!
//! A handler returns a [`Problem`]; `middleware` writes it out, because only there the request's id
//! is known. Never carries a debug text, a path (`redact_paths`) or SQL.

use super::redact_paths::PathRedactor;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use tally_engine::engine::EvaluateError;
use tally_plugin::ask::Fault;

/// Most faults that a problem lists.
const FAULTS: usize = 100;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    errors: Vec<Fault>,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    close: bool,
}

impl Problem {
    /// With a stable code in `snake_case`; the title is the code in words.
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Problem {
        let (code, detail) = (code.into(), detail.into());
        Problem {
            status,
            code,
            detail,
            errors: Vec::new(),
            more: Map::new(),
            headers: Vec::new(),
            close: false,
        }
    }

    /// 422 with all faults, the first [`FAULTS`] of them.
    pub(crate) fn invalid(code: impl Into<Cow<'static, str>>, mut errors: Vec<Fault>) -> Problem {
        let detail = match errors.as_slice() {
            [one] => one.detail.clone(),
            many if many.len() > FAULTS => format!("{} faults; the first are listed", many.len()),
            many => format!("{} faults", many.len()),
        };
        errors.truncate(FAULTS);
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail) }
    }

    /// 422 with one fault.
    pub(crate) fn fault(code: &'static str, pointer: &str, detail: impl Into<String>) -> Problem {
        Problem::invalid(code, vec![Fault { pointer: pointer.into(), detail: detail.into() }])
    }

    /// 503: more work than the server takes on at once.
    pub(crate) fn overloaded(detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(1)
    }

    /// 503: what the request needs does not answer. With a time to try again at, if that helps.
    pub(crate) fn unavailable(
        code: &'static str,
        detail: impl Into<String>,
        retry_helps: bool,
    ) -> Problem {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        if retry_helps { problem.retry_after(1) } else { problem }
    }

    /// 500 without a reason; the reason is in the log, beside the request's id.
    pub(crate) fn internal() -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the request failed; the log gives the reason under this request_id",
        )
    }

    /// Adds reasons, each with where it applies.
    pub(crate) fn because(self, errors: Vec<Fault>) -> Problem {
        Problem { errors, ..self }
    }

    /// Sets `Retry-After`: seconds until the client should try again.
    pub(crate) fn retry_after(self, seconds: u32) -> Problem {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header; the last one of a name counts.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Closes the connection after the answer, because the rest of it cannot be read.
    pub(crate) fn closing(self) -> Problem {
        Problem { close: true, ..self }
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(key.into(), value.into());
        self
    }

    /// Writes the body and headers into the response that carries this problem.
    pub(crate) fn write(
        mut self,
        response: &mut Response,
        request_id: &str,
        redactor: &PathRedactor,
    ) {
        self.detail = redactor.redact(&self.detail).into_owned();
        for error in &mut self.errors {
            error.detail = redactor.redact(&error.detail).into_owned();
        }
        #[derive(Serialize)]
        struct Text<'a> {
            r#type: String,
            title: String,
            status: u16,
            code: &'a str,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
            errors: &'a [Fault],
            #[serde(flatten)]
            more: &'a Map<String, Value>,
            request_id: &'a str,
        }
        let Problem { status, code, detail, errors, more, headers: own, close } = &self;
        let text = Text {
            r#type: format!("/problems/{code}"),
            title: title(code),
            status: status.as_u16(),
            code,
            detail,
            errors,
            more,
            request_id,
        };
        let body = serde_json::to_vec(&text).unwrap_or_default();
        *response.status_mut() = *status;
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        if *close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        *response.body_mut() = Body::from(body);
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<EvaluateError> for Problem {
    fn from(error: EvaluateError) -> Problem {
        let (detail, helps) = (error.to_string(), error.retry_helps());
        let unavailable = |code, detail: String| Problem::unavailable(code, detail, helps);
        match error {
            EvaluateError::NotFound { suggestions, detail } => {
                Problem::new(StatusCode::NOT_FOUND, "metric_not_found", detail)
                    .with("suggestions", suggestions)
            }
            EvaluateError::Invalid { code, errors } => Problem::invalid(code, errors),
            EvaluateError::Backfilling { done } => unavailable("backfilling", detail)
                .with("progress", serde_json::json!({ "done": done })),
            EvaluateError::Quarantined(_) => {
                let problem = unavailable("plugin_quarantined", detail);
                if helps { problem.retry_after(30) } else { problem }
            }
            EvaluateError::PluginFailed(_) => {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "plugin_failed", detail)
            }
            EvaluateError::PositionNotReached(position) => {
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "position_not_reached", detail)
                    .with("position", position.to_string())
            }
            EvaluateError::DeadlineExceeded(_) => {
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", detail)
            }
            EvaluateError::Overloaded(_) => Problem::overloaded(&detail),
            EvaluateError::PartitionsMissing(_) => unavailable("partitions_missing", detail),
            EvaluateError::StoreUnavailable(_) => unavailable("store_unavailable", detail),
        }
    }
}

fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
