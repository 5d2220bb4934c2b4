//! Errors as RFC 9457 problems.
//!
//! A handler returns a [`Problem`] with a code of the list (`codes`); `middleware` writes it out,
//! because only there the request's id is known. Never carries a debug text, a path
//! (`redact_paths`) or SQL.

use super::codes::{Code, title};
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
    /// With a code of the list, and its status.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem::of_word(code.status(), code.word().into(), detail.into())
    }

    fn of_word(status: StatusCode, code: Cow<'static, str>, detail: String) -> Problem {
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

    /// With all faults of a request, the first [`FAULTS`] of them.
    pub(crate) fn invalid(code: Code, errors: Vec<Fault>) -> Problem {
        Problem::of_faults(code.status(), code.word().into(), errors)
    }

    /// 422 as a metric refuses params: with a code of the list, or its plugin's own.
    pub(crate) fn refused(code: String, errors: Vec<Fault>) -> Problem {
        Problem::of_faults(StatusCode::UNPROCESSABLE_ENTITY, code.into(), errors)
    }

    fn of_faults(status: StatusCode, code: Cow<'static, str>, mut errors: Vec<Fault>) -> Problem {
        let detail = match errors.as_slice() {
            [one] => one.detail.clone(),
            many if many.len() > FAULTS => format!("{} faults; the first are listed", many.len()),
            many => format!("{} faults", many.len()),
        };
        errors.truncate(FAULTS);
        Problem { errors, ..Problem::of_word(status, code, detail) }
    }

    /// With one fault.
    pub(crate) fn fault(code: Code, pointer: &str, detail: impl Into<String>) -> Problem {
        Problem::invalid(code, vec![Fault { pointer: pointer.into(), detail: detail.into() }])
    }

    /// 503: more work than the server takes on at once.
    pub(crate) fn overloaded(detail: &str) -> Problem {
        Problem::new(Code::Overloaded, detail).retry_after(1)
    }

    /// What the request needs does not answer. With a time to try again at, if that helps.
    pub(crate) fn unavailable(code: Code, detail: impl Into<String>, retry_helps: bool) -> Problem {
        let problem = Problem::new(code, detail);
        if retry_helps { problem.retry_after(1) } else { problem }
    }

    /// 500 without a reason; the reason is in the log, beside the request's id.
    pub(crate) fn internal() -> Problem {
        let detail = "the request failed; the log gives the reason under this request_id";
        Problem::new(Code::InternalError, detail)
    }

    /// Whether it has this code.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == code.word()
    }

    /// Its stable code.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// What went wrong here.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Where, if that is known.
    pub(crate) fn errors(&self) -> &[Fault] {
        &self.errors
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

    /// The problem of a part of a request, whose pointers begin there.
    pub(crate) fn within(mut self, pointer: &str) -> Problem {
        for error in &mut self.errors {
            error.pointer.insert_str(0, pointer);
        }
        self
    }

    /// Takes out paths that are nobody's business.
    pub(crate) fn redact(&mut self, redactor: &PathRedactor) {
        self.detail = redactor.redact(&self.detail).into_owned();
        for error in &mut self.errors {
            error.detail = redactor.redact(&error.detail).into_owned();
        }
    }

    /// The object as JSON; without an id where it is a part of an answer.
    pub(crate) fn text(&mut self, request_id: Option<&str>, redactor: &PathRedactor) -> String {
        self.redact(redactor);
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
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
        }
        let Problem { status, code, detail, errors, more, .. } = &*self;
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
        // Texts and values always serialise.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Writes the body and headers into the response that carries this problem.
    pub(crate) fn write(
        mut self,
        response: &mut Response,
        request_id: &str,
        redactor: &PathRedactor,
    ) {
        let body = self.text(Some(request_id), redactor);
        let Problem { status, headers: own, close, .. } = &self;
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
                Problem::new(Code::MetricNotFound, detail).with("suggestions", suggestions)
            }
            EvaluateError::Invalid { code, errors } => Problem::refused(code, errors),
            EvaluateError::Backfilling { done } => unavailable(Code::Backfilling, detail)
                .with("progress", serde_json::json!({ "done": done })),
            EvaluateError::Quarantined(_) => {
                let problem = unavailable(Code::PluginQuarantined, detail);
                if helps { problem.retry_after(30) } else { problem }
            }
            EvaluateError::PluginFailed(_) => Problem::new(Code::PluginFailed, detail),
            EvaluateError::PositionNotReached(position) => {
                Problem::new(Code::PositionNotReached, detail)
                    .with("position", position.to_string())
            }
            EvaluateError::DeadlineExceeded(_) => Problem::new(Code::DeadlineExceeded, detail),
            EvaluateError::Overloaded(_) => Problem::overloaded(&detail),
            EvaluateError::PartitionsMissing(_) => unavailable(Code::PartitionsMissing, detail),
            EvaluateError::StoreUnavailable(_) => unavailable(Code::StoreUnavailable, detail),
        }
    }
}
