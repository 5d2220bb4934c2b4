//! An answer with what the catalogue adds, and the text of its reply.
//!
//! A large answer is read and written on a blocking thread, and holds memory of the answers' share
//! until its reply is sent. Everybody who answers a question goes through here; who asks again,
//! keeps or tags an answer is decided elsewhere.

use super::budgeted_body::BudgetedBody;
use super::codes::Code;
use super::envelope::{self, Envelope};
use super::metric_request::MetricRequest;
use super::problem::Problem;
use super::rows::{self, RowForm, RowSource, RowsFault};
use super::{App, blocking, enrich, etag};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_engine::engine::Evaluated;
use tally_engine::event::Position;
use tally_engine::memory::Held;
use tally_engine::time::to_text;
use tokio::runtime::Handle;

/// A longer result is worked on by a blocking thread, and holds memory of the answers' share until
/// it is sent.
pub(crate) const LARGE: usize = 64 * 1024;

/// Copies of a large result in memory while its reply is made and sent: the result, the one with
/// names, the envelope, the text.
pub(crate) const COPIES: u64 = 4;

/// An answer that nothing is added to any more.
pub(crate) struct CompleteAnswer {
    pub(crate) asked: MetricRequest,
    /// The result with names, if these were asked for, and all warnings.
    pub(crate) evaluated: Evaluated,
    /// Memory of the answers' share, if it is large.
    pub(crate) held: Option<Held>,
}

impl CompleteAnswer {
    /// Adds to an answer what the catalogue knows.
    ///
    /// # Errors
    /// Of a large answer, 503 `overloaded`.
    pub(crate) async fn new(
        app: &Arc<App>,
        asked: MetricRequest,
        evaluated: Evaluated,
    ) -> Result<CompleteAnswer, Problem> {
        let mut answer = CompleteAnswer { asked, evaluated, held: None };
        if !answer.is_large() {
            answer.enrich(app).await;
            return Ok(answer);
        }
        answer.held = Some(take(app, answer.evaluated.result.len() as u64 * COPIES)?);
        let app = Arc::clone(app);
        blocking::run(move || {
            Handle::current().block_on(answer.enrich(&app));
            answer
        })
        .await
    }

    /// Whether work on it is for a blocking thread.
    pub(crate) fn is_large(&self) -> bool {
        self.evaluated.result.len() > LARGE
    }

    async fn enrich(&mut self, app: &App) {
        let CompleteAnswer { asked, evaluated, .. } = self;
        let annotations = app.annotations.of(&asked.question.name, &evaluated.result_schema);
        let mut warnings = std::mem::take(&mut evaluated.warnings);
        let (result, names) = (&evaluated.result, asked.names);
        let enriched = enrich::enrich(app, &annotations, result, names, &mut warnings).await;
        evaluated.warnings = warnings;
        if let Some(enriched) = enriched {
            evaluated.result = enriched.into();
            // What the catalogue knows changes unnoticed.
            evaluated.validity = None;
        }
    }

    /// Works on the answer: here, or on a blocking thread if it is large.
    ///
    /// # Errors
    /// 500 `internal_error`: the work panicked.
    pub(crate) async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(CompleteAnswer) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if !self.is_large() {
            return Ok(work(self));
        }
        blocking::run(move || work(self)).await
    }

    /// With its tag in this form.
    pub(crate) async fn tagged(
        self,
        form: Option<RowForm>,
    ) -> Result<(CompleteAnswer, HeaderValue), Problem> {
        let tag = move |answer: CompleteAnswer| {
            let tag = etag::of_answer(&answer.asked, &answer.evaluated, form);
            (answer, tag)
        };
        self.work(tag).await
    }

    /// The question, with the position and the time of this answer.
    pub(crate) fn into_question(self) -> (MetricRequest, Position, i64) {
        let CompleteAnswer { asked, evaluated, .. } = self;
        (asked, evaluated.position, evaluated.as_of)
    }

    /// The envelope of the reply, without its times.
    pub(crate) fn envelope(&self) -> Envelope {
        let CompleteAnswer { asked, evaluated, .. } = self;
        Envelope::new(&asked.question.name, &asked.params_text, evaluated)
    }

    /// The body of the reply to a question that came at `started`; it holds its memory until it is
    /// sent.
    pub(crate) async fn into_body(self, started: Instant) -> Result<Body, Problem> {
        let write = move |answer: CompleteAnswer| {
            let text = answer.envelope().text(answer.evaluated.as_of, started.elapsed());
            (text, answer.held)
        };
        let (text, held) = self.work(write).await?;
        Ok(sent(text, held))
    }

    /// What an update to who watches the question has of it, each on one line: the result, which is
    /// the engine's own wherever that will do, and what follows it in the envelope. `evaluation`:
    /// how long that took; `started`: since when the update is made of it.
    pub(crate) async fn into_update(
        self,
        evaluation: Duration,
        started: Instant,
    ) -> Result<(Arc<str>, String), Problem> {
        let write = move |answer: CompleteAnswer| {
            let evaluated = answer.evaluated;
            let took = evaluation + started.elapsed();
            let rest = Envelope::behind_result(&evaluated).text(evaluated.as_of, took);
            let result = evaluated.result;
            // Between the tokens of a result: inside a text they are escaped.
            let is_one_line = !result.contains(['\n', '\r']);
            (if is_one_line { result } else { result.replace(['\n', '\r'], " ").into() }, rest)
        };
        self.work(write).await
    }

    /// The reply with the result as rows; what else the answer says is in its headers.
    pub(crate) async fn into_rows(self, app: &App, form: RowForm) -> Result<Response, Problem> {
        let mut headers = HeaderMap::new();
        describe(&mut headers, &self.evaluated);
        headers.insert(header::CONTENT_TYPE, form.kind());
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        let most = app.limits.answer_bytes;
        let write = move |answer: CompleteAnswer| {
            rows::text(form, RowSource::RESULT, &answer.evaluated.result, most)
        };
        let text = self.work(write).await?.map_err(|fault| match fault {
            RowsFault::TooLarge(_) => {
                let detail = format!("{fault} ([limits] answer_bytes)");
                Problem::fault(Code::AnswerTooLarge, "/params", detail)
            }
            RowsFault::NotJson => {
                tracing::error!(%fault, "a result cannot be written as rows");
                Problem::internal()
            }
        })?;
        let held = if text.len() > LARGE { Some(take(app, text.len() as u64)?) } else { None };
        let mut response = Response::new(sent(text, held));
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// A body that holds its memory until it is sent.
pub(crate) fn sent(text: String, held: Option<Held>) -> Body {
    match held {
        Some(held) => Body::new(BudgetedBody::new(text, held)),
        None => text.into(),
    }
}

/// Memory of the answers' share.
pub(crate) fn take(app: &App, bytes: u64) -> Result<Held, Problem> {
    app.limits.answers.take(bytes).map_err(|_| {
        Problem::overloaded("the answers in progress already use their share of [limits] memory")
    })
}

/// What an answer says beside its result, as headers.
fn describe(headers: &mut HeaderMap, evaluated: &Evaluated) {
    let Evaluated { window: (from, to), position, as_of, history, warnings, .. } = evaluated;
    let mut add = |name: &'static str, text: String| {
        // Numbers, times and words are good for a header.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("tally-position", position.to_string());
    add("tally-as-of", to_text(*as_of));
    let side = |time: &Option<i64>| time.map_or_else(|| "..".to_owned(), to_text);
    if from.is_some() || to.is_some() {
        add("tally-window", format!("{}/{}", side(from), side(to)));
    }
    let since = history.from.map_or_else(String::new, |from| format!("; from={}", to_text(from)));
    add("tally-history", format!("{}{since}", envelope::history_state(history)));
    // A plugin may have chosen any text.
    let codes: Vec<String> =
        warnings.iter().map(|warning| warning.code.escape_default().to_string()).collect();
    if !codes.is_empty() {
        add("tally-warnings", codes.join(", "));
    }
}
