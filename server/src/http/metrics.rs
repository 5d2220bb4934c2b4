//! Metrics over HTTP: the list, one descriptor, an evaluation.
//!
//! A reply that is still valid is sent again; an answer that the engine has ready is sent at once.
//! Other evaluations call a plugin: they run on blocking threads, of which there is a bounded
//! number. One that waits for a position does so on a thread for a moment, in a slot of its own,
//! and from then on without either (`wait_for_position`). One that does not end in time keeps its
//! thread, but not its slot: the engine bounds how many of these a metric may have.

use super::codes::Code;
use super::complete_answer::CompleteAnswer;
use super::descriptor::{Descriptor, RejectedText};
use super::metric_request::{self, MetricRequest};
use super::problem::Problem;
use super::rows::{RowForm, RowSource};
use super::wait_for_position::WaitOutcome;
use super::{App, answer, blocking, request_body};
use axum::BoxError;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Body;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally_engine::engine::{EvaluateError, Evaluated};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long an evaluation waits for a position on a thread: most positions are counted by then, and
/// it wakes at once.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// A longer body always goes to a blocking thread: parsing and checking it may take a while.
pub(super) const SHORT: usize = 4 * 1024;

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct MetricList<'a> {
        metrics: Vec<Descriptor<'a>>,
        rejected: Vec<RejectedText>,
    }
    let metrics = app.engine.metrics();
    let rejected = app
        .engine
        .rejected()
        .into_iter()
        .map(|rejected| RejectedText::of(rejected, &app.redactor))
        .collect();
    let list = MetricList { metrics: metrics.iter().map(Descriptor::of).collect(), rejected };
    answer::list(&headers, RowSource::METRICS, &list, None).await
}

pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let name = name_in(name)?;
    match app.engine.metric(&name) {
        Some(info) => Ok(answer::json(&Descriptor::of(&info))),
        None => Err(no_metric(&app, &name)),
    }
}

/// The name of a metric in a path.
pub(super) fn name_in(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(name) = path.map_err(|_| not_found("the name is not UTF-8".into()))?;
    Ok(name)
}

/// A name is not that of a metric: there is none, or its section was refused.
pub(super) fn no_metric(app: &App, name: &str) -> Problem {
    let section = format!("[metrics.{name}]");
    let refused = app.engine.rejected().into_iter().find(|refused| refused.file == section);
    not_found(refused.map_or_else(
        || format!("unknown metric \"{}\"; GET /api/metrics lists them", name.escape_debug()),
        |refused| format!("{section} was refused: {}", refused.reason),
    ))
}

fn not_found(detail: String) -> Problem {
    Problem::new(Code::MetricNotFound, detail)
}

pub(crate) async fn evaluate<B: Body<Data = Bytes> + Unpin>(
    app: &Arc<App>,
    headers: &HeaderMap,
    body: B,
) -> Result<Response, Problem>
where
    B::Error: Into<BoxError>,
{
    let body = request_body::json(headers, body, app.limits.body).await?;
    if let Some(form) = RowForm::preferred(headers) {
        // Past the cache: what is kept there is JSON.
        let answer = Box::pin(answer_body(app, &body)).await?;
        return Box::pin(answer.into_rows(app, form)).await;
    }
    let started = Instant::now();
    let body = match app.replies.get(&body, started) {
        Some(text) => text.into(),
        // Boxed for its size: moving it costs more than the line above.
        None => Box::pin(answer_request(app, &body, started)).await?,
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn answer_request(
    app: &Arc<App>,
    body: &Bytes,
    started: Instant,
) -> Result<axum::body::Body, Problem> {
    let answer = answer_body(app, body).await?;
    if answer.is_large() {
        return answer.into_body(started).await;
    }
    let envelope = answer.envelope();
    let text = envelope.text(answer.evaluated.as_of, started.elapsed());
    // Kept for the next equal request.
    if let Some(validity) = answer.evaluated.validity {
        app.replies.insert(body, validity, envelope);
    }
    Ok(text.into())
}

/// Answers the question in the body of a `POST /api/metrics`, or in one that is made like it.
pub(super) async fn answer_body(app: &Arc<App>, body: &Bytes) -> Result<CompleteAnswer, Problem> {
    if body.len() <= SHORT {
        return answer_asked(app, metric_request::parse(body)?).await;
    }
    let long = body.clone();
    let place = acquire_slot(app).await?;
    let read = blocking::holding(place, move || metric_request::parse(&long));
    let asked = blocking::run(read).await??;
    let (asked, evaluated) = evaluate_when_counted(app, asked).await?;
    CompleteAnswer::new(app, asked, evaluated).await
}

/// Answers a short question: with what the engine has ready, else on a blocking thread.
pub(super) async fn answer_asked(
    app: &Arc<App>,
    asked: MetricRequest,
) -> Result<CompleteAnswer, Problem> {
    let (asked, evaluated) = match app.engine.ready_answer(&asked.question) {
        Some(answer) => (asked, answer?),
        None => evaluate_when_counted(app, asked).await?,
    };
    CompleteAnswer::new(app, asked, evaluated).await
}

/// Evaluates once the position that the request requires is counted, or the wait is over.
async fn evaluate_when_counted(
    app: &Arc<App>,
    mut asked: MetricRequest,
) -> Result<(MetricRequest, Evaluated), Problem> {
    let (begun, limit) = (Instant::now(), app.limits.evaluation);
    let at_least = asked.question.at_least.clone();
    let Some(at_least) = at_least.filter(|at_least| !app.engine.position().reaches(at_least))
    else {
        let (asked, answer) =
            evaluate_blocking(app, acquire_slot(app).await?, asked, limit).await?;
        return Ok((asked, answer?));
    };
    let wait = asked.question.wait;
    if let Ok(place) = try_acquire_slot(&app.waiting) {
        asked.question.wait = wait.min(SHORT_WAIT);
        let (back, answer) = evaluate_blocking(app, place, asked, limit + SHORT_WAIT).await?;
        asked = back;
        match answer {
            Err(EvaluateError::PositionNotReached(_)) if begun.elapsed() < wait => {}
            answer => return Ok((asked, answer?)),
        }
    }
    let left = wait.saturating_sub(begun.elapsed());
    let name = &asked.question.name;
    match app.position_waits.reached(&app.phase, name, &at_least, left).await {
        WaitOutcome::Reached | WaitOutcome::TimedOut => {}
        WaitOutcome::Stopping => return Err(stopping()),
    }
    asked.question.wait = Duration::ZERO;
    // All callers that waited for the same position arrive at once, and take turns.
    let (asked, answer) = evaluate_blocking(app, acquire_slot(app).await?, asked, limit).await?;
    Ok((asked, answer?))
}

pub(super) fn stopping() -> Problem {
    Problem::unavailable(Code::Stopping, "the server is stopping; ask again", true)
}

/// Evaluates on a blocking thread; returns the question with the answer.
async fn evaluate_blocking(
    app: &App,
    place: OwnedSemaphorePermit,
    asked: MetricRequest,
    limit: Duration,
) -> Result<(MetricRequest, Result<Evaluated, EvaluateError>), Problem> {
    let (engine, calling) = (Arc::clone(&app.engine), Arc::clone(&asked.question.calling));
    let evaluate = move || {
        let answer = engine.evaluate(&asked.question);
        (asked, answer)
    };
    in_slot(app, (place, limit), calling, evaluate).await
}

/// Works on a blocking thread, in a slot for evaluations, at most `limit`; `calling` says when the
/// work calls a plugin.
pub(super) async fn in_slot<T: Send + 'static>(
    app: &App,
    (place, limit): (OwnedSemaphorePermit, Duration),
    calling: Arc<AtomicBool>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let permit = Arc::new(Mutex::new(Some(place)));
    let slot = EvaluationSlot { permit, until: Instant::now() + limit, calling };
    let given_back = ReleaseAtEnd(Arc::clone(&slot.permit));
    let done = blocking::run_within(limit, blocking::holding(given_back, work)).await?;
    done.ok_or_else(|| EvaluateError::DeadlineExceeded(app.limits.evaluation).into())
}

/// A slot for an evaluation. Most evaluations end within a millisecond or two, so this waits for a
/// free slot.
pub(super) async fn acquire_slot(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = timeout(app.limits.place, Arc::clone(&app.evaluations).acquire_owned()).await;
    turn.ok().and_then(Result::ok).map_or_else(|| try_acquire_slot(&app.evaluations), Ok)
}

fn try_acquire_slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(slots).try_acquire_owned();
    place.map_err(|_| Problem::overloaded("too many evaluations at once"))
}

/// The slot of an evaluation. It is free again when the evaluation ends, or when its time is over
/// and it calls a plugin, which may hang; also if nobody waits for the answer any more. An
/// evaluation that waits for anything else keeps its slot: there are as many threads for these as
/// there are slots.
struct EvaluationSlot {
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    until: Instant,
    calling: Arc<AtomicBool>,
}

/// Releases the slot when the evaluation ends, also by a panic.
struct ReleaseAtEnd(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Drop for ReleaseAtEnd {
    fn drop(&mut self) {
        drop(self.0.lock().take());
    }
}

/// Between two checks of whether a late evaluation calls a plugin.
const CHECK_LATE: Duration = Duration::from_millis(250);

impl Drop for EvaluationSlot {
    fn drop(&mut self) {
        if self.permit.lock().is_none() {
            return;
        }
        // Without a runtime nobody waits for slots any more.
        let Ok(runtime) = Handle::try_current() else { return };
        let (permit, calling) = (Arc::clone(&self.permit), Arc::clone(&self.calling));
        let mut until = self.until;
        runtime.spawn(async move {
            loop {
                tokio::time::sleep_until(until.into()).await;
                let mut permit = permit.lock();
                if permit.is_none() || calling.load(Ordering::Relaxed) {
                    return drop(permit.take());
                }
                until = Instant::now() + CHECK_LATE;
            }
        });
    }
}
