//! `POST /api/metrics/batch`: several questions in one body, answered together: at one position
//! where the store can, else each says at which.
//!
//! Each question is what the body of a POST is, and has its answer or its problem at its place;
//! only a body that is no list of questions is refused as a whole. A batch waits for the positions
//! that its questions require, then takes one place among the evaluations, and has one budget of
//! bytes. JSON only.

use super::codes::Code;
use super::complete_answer::{COPIES, CompleteAnswer, LARGE, sent, take};
use super::metric_request::{self, MetricRequest};
use super::metrics::{SHORT, acquire_slot, in_slot, stopping};
use super::problem::Problem;
use super::request_object::{RequestObject, key_fault};
use super::wait_for_position::WaitOutcome;
use super::{App, blocking, json_members, request_body};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tally_engine::engine::{EvaluateError, Evaluated, Question, TOGETHER_LIMIT};
use tokio::runtime::Handle;

/// Most questions of a batch.
const MOST: usize = 50;

/// The only key of the body.
const QUERIES: &str = "queries";

/// The questions of a body, each read by itself.
type ReadQueries = Vec<Result<MetricRequest, Problem>>;

/// What is known of a question once the engine has answered.
type AnsweredQuery = Result<(MetricRequest, Result<Evaluated, EvaluateError>), Problem>;

pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = request_body::json(&parts.headers, body, app.limits.body).await?;
    let started = Instant::now();
    let queries = read(&app, body).await?;
    wait_for_positions(&app, &queries).await?;
    let outcomes = evaluate(&app, queries).await?;
    let bytes: usize = outcomes.iter().filter_map(result_bytes).sum();
    let (text, held) = if bytes <= LARGE {
        (write(&app, outcomes, started).await, None)
    } else {
        let held = take(&app, bytes as u64 * COPIES)?;
        let write = move || Handle::current().block_on(write(&app, outcomes, started));
        (blocking::run(write).await?, Some(held))
    };
    let mut response = Response::new(sent(text, held));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn result_bytes(outcome: &AnsweredQuery) -> Option<usize> {
    let (_, evaluated) = outcome.as_ref().ok()?;
    evaluated.as_ref().ok().map(|evaluated| evaluated.result.len())
}

/// A longer body is read on a blocking thread.
async fn read(app: &App, body: Bytes) -> Result<ReadQueries, Problem> {
    if body.len() <= SHORT {
        return parse(&body);
    }
    let place = acquire_slot(app).await?;
    blocking::run(blocking::holding(place, move || parse(&body))).await?
}

fn parse(body: &[u8]) -> Result<ReadQueries, Problem> {
    let object = RequestObject::parse(body)?;
    let mut faults = object.key_faults(&[QUERIES]);
    let fault = match object.get(QUERIES).map(json_members::elements) {
        None => "queries is missing".to_owned(),
        Some(None) => "queries is not an array".to_owned(),
        Some(Some(queries)) if queries.is_empty() || queries.len() > MOST => {
            format!("queries has {} questions; 1 to {MOST} are answered together", queries.len())
        }
        Some(Some(queries)) if faults.is_empty() => {
            return Ok(queries.into_iter().map(metric_request::parse_value).collect());
        }
        Some(Some(_)) => return Err(Problem::invalid(Code::InvalidRequest, faults)),
    };
    faults.push(key_fault(QUERIES, fault));
    Err(Problem::invalid(Code::InvalidRequest, faults))
}

/// Waits until each metric has counted what its question requires, or the question's wait is over;
/// then the engine decides. Takes neither a place nor a thread meanwhile.
async fn wait_for_positions(app: &Arc<App>, queries: &ReadQueries) -> Result<(), Problem> {
    let required = queries.iter().flatten().filter_map(|asked| {
        let Question { name, at_least, wait, .. } = &asked.question;
        Some((name, at_least.as_ref().filter(|_| !wait.is_zero())?, *wait))
    });
    let mut required: Vec<_> = required.collect();
    if required.is_empty() {
        return Ok(());
    }
    // What does not exist counts nothing.
    let metrics = app.engine.metric_states();
    required.retain(|(name, ..)| metrics.iter().any(|(metric, _)| metric == *name));
    let waits = required.into_iter().map(|(metric, at_least, wait)| {
        app.position_waits.reached(&app.phase, metric, at_least, wait)
    });
    let stops = join_all(waits).await.contains(&WaitOutcome::Stopping);
    if stops { Err(stopping()) } else { Ok(()) }
}

/// Evaluates all questions that could be read, in one place.
async fn evaluate(app: &Arc<App>, queries: ReadQueries) -> Result<Vec<AnsweredQuery>, Problem> {
    let calling = Arc::new(AtomicBool::new(false));
    let questions: Vec<Question> = queries
        .iter()
        .flatten()
        .map(|asked| Question {
            wait: Duration::ZERO,
            calling: Arc::clone(&calling),
            ..asked.question.clone()
        })
        .collect();
    let mut answers = Vec::new().into_iter();
    if !questions.is_empty() {
        let place = acquire_slot(app).await?;
        // One after the other: each has a deadline, all of them have one too, and one may be begun
        // just before that.
        let turns = questions.len().min(TOGETHER_LIMIT as usize + 1) as u32;
        let limit = app.limits.evaluation.saturating_mul(turns);
        let (engine, most) = (Arc::clone(&app.engine), app.limits.answer_bytes);
        let work = move || engine.evaluate_together(&questions, most);
        answers = in_slot(app, (place, limit), calling, work).await?.into_iter();
    }
    let outcome = |asked: Result<MetricRequest, Problem>| {
        let asked = asked?;
        answers.next().map(|answer| (asked, answer)).ok_or_else(Problem::internal)
    };
    Ok(queries.into_iter().map(outcome).collect())
}

/// The answers and problems, in the order of the questions.
async fn write(app: &Arc<App>, outcomes: Vec<AnsweredQuery>, started: Instant) -> String {
    let mut out = String::from("{\"answers\":[");
    for (n, outcome) in outcomes.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        match answer_text(app, outcome, started).await {
            Ok(text) => out.push_str(&text),
            Err(problem) => {
                let mut problem = problem.within(&format!("/{QUERIES}/{n}"));
                out.push_str(&problem.text(None, &app.redactor));
            }
        }
    }
    out.push_str("]}");
    out
}

async fn answer_text(
    app: &Arc<App>,
    outcome: AnsweredQuery,
    started: Instant,
) -> Result<String, Problem> {
    let (asked, evaluated) = outcome?;
    let answer = CompleteAnswer::new(app, asked, evaluated?).await?;
    Ok(answer.envelope().text(answer.evaluated.as_of, started.elapsed()))
}
