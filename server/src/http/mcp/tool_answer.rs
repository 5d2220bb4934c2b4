//! The answer to a call of a tool, or a resource that was read, ready to be put into the reply that
//! the SDK writes.
//!
//! The text of a call is the whole answer as `POST /api/metrics` gives it, with `meta` and warnings;
//! its structured content is the result alone, which satisfies the tool's output schema. The text of
//! a resource is what a GET gives, of at most `[limits] answer_bytes`. Memory for all of these, and for the reply with them, is of the answers' share. Decides nothing about the message
//! around them.

use super::tools;
use crate::http::App;
use crate::http::blocking;
use crate::http::codes::Code;
use crate::http::complete_answer::{COPIES, CompleteAnswer, LARGE, sent, take};
use crate::http::json_members::push_text;
use crate::http::middleware;
use crate::http::problem::Problem;
use axum::body::Body;
use bytes::Bytes;
use parking_lot::Mutex;
use std::str::Utf8Error;
use std::sync::Arc;
use std::time::Instant;
use tally_engine::memory::Held;

/// What goes in the place of the marks.
pub(super) struct ToolAnswer {
    /// The whole answer: JSON, written as a JSON text.
    text: String,
    /// The result, if the tool has an output schema.
    result: Option<Arc<str>>,
    /// Memory for these.
    _held: Option<Held>,
    /// Memory for the reply.
    room: Option<Held>,
}

impl ToolAnswer {
    /// Of an answer to a question that came at `started`.
    ///
    /// # Errors
    /// 503 `overloaded`: there is no memory for the reply.
    pub(super) async fn of(
        app: &App,
        answer: CompleteAnswer,
        started: Instant,
    ) -> Result<ToolAnswer, Problem> {
        let write = move |answer: CompleteAnswer| {
            let CompleteAnswer { evaluated, .. } = &answer;
            let whole = answer.envelope().text(evaluated.as_of, started.elapsed());
            let mut text = String::new();
            push_text(&mut text, &whole);
            let is_structured = tools::has_objects(&evaluated.result_schema)
                && evaluated.result.trim_start().starts_with('{');
            let result = is_structured.then(|| Arc::clone(&evaluated.result));
            ToolAnswer { text, result, _held: answer.held, room: None }
        };
        answer.work(write).await?.with_room(app)
    }

    /// Of a resource, which has this text.
    ///
    /// # Errors
    /// 422 `answer_too_large`; 503 `overloaded`: there is no memory for it, or for the reply.
    pub(super) async fn of_resource(app: &App, whole: Bytes) -> Result<ToolAnswer, Problem> {
        let most = app.limits.answer_bytes;
        if whole.len() > most {
            let detail = format!(
                "the resource has {} bytes, and may have {most} ([limits] answer_bytes)",
                whole.len()
            );
            return Err(Problem::new(Code::AnswerTooLarge, detail));
        }
        let is_large = whole.len() > LARGE;
        let held = if is_large { Some(take(app, whole.len() as u64 * COPIES)?) } else { None };
        let write = move || -> Result<ToolAnswer, Utf8Error> {
            let mut text = String::new();
            push_text(&mut text, std::str::from_utf8(&whole)?);
            Ok(ToolAnswer { text, result: None, _held: held, room: None })
        };
        let written = if is_large { blocking::run(write).await? } else { write() };
        let written = written.map_err(|fault| {
            tracing::error!(%fault, "a resource cannot be read");
            Problem::internal()
        })?;
        written.with_room(app)
    }

    /// With memory for the reply.
    fn with_room(mut self, app: &App) -> Result<ToolAnswer, Problem> {
        if self.len() > LARGE {
            self.room = Some(take(app, self.len() as u64)?);
        }
        Ok(self)
    }

    /// Whether it has structured content.
    pub(super) fn is_structured(&self) -> bool {
        self.result.is_some()
    }

    /// Bytes that it adds to a reply.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.result.as_ref().map_or(0, |result| result.len())
    }

    /// The reply with this in the place of its marks; it holds its memory until it is sent. `None`:
    /// the marks are not where they should be.
    pub(super) fn fill(self, reply: &[u8], mark: &str) -> Option<Body> {
        let reply = std::str::from_utf8(reply).ok()?;
        let mut out = String::with_capacity(reply.len() + self.len());
        let (before, mut rest) = reply.split_once(&format!("\"{mark}\""))?;
        out.push_str(before);
        out.push_str(&self.text);
        if let Some(result) = &self.result {
            let (between, after) = rest.split_once(&format!("{{\"{mark}\":null}}"))?;
            out.push_str(between);
            out.push_str(result);
            rest = after;
        }
        out.push_str(rest);
        Some(sent(out, self.room))
    }
}

/// The mark of one request, which no other text contains, and what is to take its place.
pub(super) struct Marked {
    mark: String,
    answer: Mutex<Option<ToolAnswer>>,
}

impl Marked {
    pub(super) fn new() -> Marked {
        let id = middleware::fresh_id();
        let mark = format!("tally-{}", id.to_str().unwrap_or_default());
        Marked { mark, answer: Mutex::default() }
    }

    /// What stands for the text; as the only member of an object, for the structured content.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Keeps an answer until its reply is written.
    pub(super) fn keep(&self, answer: ToolAnswer) {
        *self.answer.lock() = Some(answer);
    }

    /// The answer that was kept.
    pub(super) fn take(&self) -> Option<ToolAnswer> {
        self.answer.lock().take()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn answer(text: &str, result: Option<&str>) -> ToolAnswer {
        let mut literal = String::new();
        push_text(&mut literal, text);
        ToolAnswer { text: literal, result: result.map(Arc::from), _held: None, room: None }
    }

    async fn filled(answer: ToolAnswer, reply: &str) -> Option<String> {
        let body = answer.fill(reply.as_bytes(), "m")?;
        let text = body.collect().await.unwrap().to_bytes();
        Some(String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn marks_are_replaced_and_nothing_else() {
        let reply = r#"{"id":"x m","text":"m","structuredContent":{"m":null},"isError":false}"#;
        assert_eq!(
            filled(answer("{\"a\":1}", Some("{\"a\":1.50}")), reply).await.unwrap(),
            r#"{"id":"x m","text":"{\"a\":1}","structuredContent":{"a":1.50},"isError":false}"#
        );
        let plain = r#"{"text":"m","isError":false}"#;
        let of_text = filled(answer("5", None), plain).await;
        assert_eq!(of_text.unwrap(), r#"{"text":"5","isError":false}"#);
        assert_eq!(filled(answer("5", Some("{}")), plain).await, None);
        assert_eq!(filled(answer("5", None), "{}").await, None);
    }

    #[test]
    fn no_two_requests_have_one_mark() {
        assert_ne!(Marked::new().mark(), Marked::new().mark());
    }
}
