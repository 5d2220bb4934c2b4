//! Metrics over HTTP: the list, one descriptor, an evaluation.
//!
//! What was answered before and still holds is said again; what the engine has ready is answered on the spot. Other
//! evaluations run on blocking threads, so many at once and no more; those that wait for a position have places of their
//! own, so that they never keep others from being answered.

use super::answer::Envelope;
use super::descriptor::{Descriptor, RejectedText};
use super::problem::Problem;
use super::question::{self, Asked};
use super::{App, body, decorate};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Json};
use bytes::Bytes;
use hyper::body::Body;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;
use tally_engine::engine::{EvaluateError, Evaluated, Question};
use tokio::time::timeout;

/// A longer body goes to a blocking thread in any case: checking what it asks may take a while.
const SHORT: usize = 4 * 1024;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Listing<'a> {
        metrics: Vec<Descriptor<'a>>,
        rejected: Vec<RejectedText>,
    }
    let metrics = app.core.metrics();
    let rejected = app.core.rejected().into_iter().map(RejectedText::from).collect();
    Json(Listing { metrics: metrics.iter().map(Descriptor::of).collect(), rejected }).into_response()
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let unknown = |detail| Problem::new(StatusCode::NOT_FOUND, "metric_not_found", detail);
    let Path(name) = name.map_err(|_| unknown("the name is not UTF-8".into()))?;
    match app.core.metric(&name) {
        Some(info) => Ok(Json(Descriptor::of(&info)).into_response()),
        None => Err(unknown(format!("there is no metric \"{}\"; GET /api/metrics lists them", name.escape_debug()))),
    }
}

pub(crate) async fn evaluate<B: Body<Data = Bytes> + Unpin>(
    app: &App,
    headers: &HeaderMap,
    body: B,
) -> Result<Response, Problem>
where
    B::Error: Into<BoxError>,
{
    body::media_type(headers, &["application/json"])?;
    let body = body::read(headers, body, body::ORDINARY, app.limits.body).await?;
    let started = Instant::now();
    let text = match app.replies.again(&body, started) {
        Some(text) => text,
        // Apart, for its size: moving it about costs more than the line above.
        None => Box::pin(answered(app, &body, started)).await?,
    };
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn answered(app: &App, body: &Bytes, started: Instant) -> Result<String, Problem> {
    let Asked { question, params_text, names } = question::parse(body)?;
    let ready = if body.len() <= SHORT { app.core.ready_answer(&question) } else { None };
    let (question, mut evaluated) = match ready {
        Some(answer) => (question, answer?),
        None => run(app, question).await?,
    };
    let mut warnings = std::mem::take(&mut evaluated.warnings);
    let plan = app.plans.of(&question.name, &evaluated.result_schema);
    let decorated = decorate::decorate(app, &plan, &evaluated.result, names, &mut warnings).await;
    let result = decorated.as_deref().unwrap_or(&evaluated.result);
    let envelope = Envelope::new(&question.name, &params_text, result, &evaluated, &warnings);
    let text = envelope.text(evaluated.as_of, started.elapsed());
    if let (Some(again), None) = (evaluated.again, decorated) {
        app.replies.keep(body, again, envelope);
    }
    Ok(text)
}

async fn run(app: &App, question: Question) -> Result<(Question, Evaluated), Problem> {
    let waits = question.at_least.as_ref().is_some_and(|at_least| !app.core.position().reaches(at_least));
    let (places, limit) = match waits {
        true => (&app.waiting, app.limits.evaluation + question.wait),
        false => (&app.evaluations, app.limits.evaluation),
    };
    let place = Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded("as many evaluations are under way as this server takes on"))?;
    let core = Arc::clone(&app.core);
    let work = tokio::task::spawn_blocking(move || {
        let answer = core.evaluate(&question);
        // Held until the thread is free, also when nobody waits for the answer any more.
        drop(place);
        answer.map(|evaluated| (question, evaluated))
    });
    match timeout(limit, work).await {
        Ok(Ok(answer)) => answer.map_err(Problem::from),
        Ok(Err(failed)) => {
            tracing::error!(%failed, "an evaluation panicked");
            Err(Problem::internal())
        }
        Err(_) => Err(EvaluateError::DeadlineExceeded.into()),
    }
}
