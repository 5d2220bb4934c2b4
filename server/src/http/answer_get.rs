//! `GET /api/metrics/{name}/answer`: the answer of a POST as a GET, which caches may give to others
//! for a second, and which can be held until it changes.
//!
//! A held question is asked again when its metric has counted something, when a minute is over
//! (windows that end now move with it), and at its end. In between it takes no thread and no slot,
//! and the number of held ones is bounded. That equal ones are evaluated once at each position is
//! the engine's own care. What wakes a held question is [`LastAnswer::changed`] alone.

use super::codes::Code;
use super::complete_answer::CompleteAnswer;
use super::etag::{self, KnownTags};
use super::metric_request::{self, MetricRequest};
use super::metrics::{answer_asked, name_in};
use super::problem::Problem;
use super::rows::RowForm;
use super::wait_for_position::WaitOutcome;
use super::{App, MOVE_POLL};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_engine::event::Position;
use tokio::time::sleep_until;

/// The known keys of the query.
const KEYS: [&str; 4] = ["params", "expand", "after", "wait"];

/// The longest time that an answer is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A window that ends now moves by whole minutes.
const WINDOW_STEP_MS: i64 = 60_000;

/// How long it may be given to others who ask the same.
const SHARED: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// What a query asks for.
struct AnswerQuery {
    asked: MetricRequest,
    /// A tag that the client has.
    after: Option<HeaderValue>,
    /// How long an answer is held that the client has.
    wait: Duration,
}

pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let AnswerQuery { asked, after, wait } = parse_query(name_in(name)?, query)?;
    let (known, form) = (KnownTags::of(&headers).and(after), RowForm::preferred(&headers));
    let (mut answer, mut tag) = answer_asked(&app, asked).await?.tagged(form).await?;
    if known.has(&tag) {
        if wait.is_zero() {
            return Ok(unchanged(tag));
        }
        match held_answer(&app, (answer, form), &tag, started + wait).await? {
            Some(other) => (answer, tag) = other,
            None => return Ok(unchanged(tag)),
        }
    }
    let response = match form {
        Some(form) => answer.into_rows(&app, form).await?,
        None => {
            let mut response = Response::new(answer.into_body(started).await?);
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
    };
    Ok(shared(response, tag))
}

/// Holds a question whose answer had `tag` until it has another; `None`: it has none before `end`,
/// or the server stops.
async fn held_answer(
    app: &Arc<App>,
    (answer, form): (CompleteAnswer, Option<RowForm>),
    tag: &HeaderValue,
    end: Instant,
) -> Result<Option<(CompleteAnswer, HeaderValue)>, Problem> {
    let place = Arc::clone(&app.held).try_acquire_owned();
    let _place = place.map_err(|_| {
        Problem::overloaded("too many questions are held until their answer changes")
    })?;
    let (asked, mut last) = LastAnswer::of(answer);
    while Instant::now() < end {
        if let WaitOutcome::Stopping = last.changed(app, &asked.question.name, end).await {
            return Ok(None);
        }
        match answer_asked(app, asked.again()).await {
            Ok(answer) => {
                let (answer, now) = answer.tagged(form).await?;
                if now != *tag {
                    return Ok(Some((answer, now)));
                }
                last = LastAnswer::of(answer).1;
            }
            // Many are woken at once. This one is asked again, at its end at the latest.
            Err(problem) if problem.is(Code::Overloaded) && Instant::now() < end => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(None)
}

/// Where a question was answered last, and until when at most the answer stands if nothing is
/// counted.
struct LastAnswer {
    position: Position,
    stands: Instant,
}

impl LastAnswer {
    /// With the question. The answer itself, which may be large, is not needed any more.
    fn of(answer: CompleteAnswer) -> (MetricRequest, LastAnswer) {
        let (asked, position, as_of) = answer.into_question();
        let left = WINDOW_STEP_MS - as_of.rem_euclid(WINDOW_STEP_MS);
        let stands = Instant::now() + Duration::from_millis(left.unsigned_abs());
        (asked, LastAnswer { position, stands })
    }

    /// Waits until there may be another answer, or until `end`. Takes some time in any case, so
    /// that a metric that counts without pause is not asked without pause.
    async fn changed(&self, app: &App, metric: &str, end: Instant) -> WaitOutcome {
        let begun = Instant::now();
        let limit = self.stands.min(end).saturating_duration_since(begun);
        let moves = &app.position_moves;
        let outcome = moves.moved(&app.phase, metric, &self.position, limit).await;
        if outcome != WaitOutcome::Stopping {
            sleep_until((begun + MOVE_POLL).min(end).into()).await;
        }
        outcome
    }
}

/// The client has the answer.
fn unchanged(tag: HeaderValue) -> Response {
    let mut response = Response::default();
    etag::leave_out(&mut response);
    shared(response, tag)
}

/// With what a cache needs to give the answer to others.
fn shared(mut response: Response, tag: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, SHARED);
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Strict, as the body of a POST; an empty value counts as none.
fn parse_query(
    name: String,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<AnswerQuery, Problem> {
    let Query(mut pairs) =
        query.map_err(|_| Problem::fault(Code::InvalidRequest, "", "the query is not UTF-8"))?;
    pairs.retain(|(_, value)| !value.is_empty());
    let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    let mut faults = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        match (KEYS.contains(key), keys[..n].contains(key)) {
            (true, false) | (false, true) => {}
            (true, true) => faults.push(metric_request::key_fault(key, "is given twice".into())),
            (false, false) => {
                let known = format!("unknown key; known keys: {}", KEYS.join(", "));
                faults.push(metric_request::key_fault(key, known));
            }
        }
    }
    let of = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str());
    let after = of("after").map(HeaderValue::from_str).transpose();
    if after.is_err() {
        faults.push(metric_request::key_fault("after", "is not the ETag of an answer".into()));
    }
    if of("expand").is_some_and(|expand| expand != "names") {
        faults.push(metric_request::key_fault("expand", "is not \"names\", the only value".into()));
    }
    let wait = of("wait").map_or(Some(Duration::ZERO), parse_wait);
    if wait.is_none() {
        let detail = "is not a time of at most 60 s, such as 30s or 500ms";
        faults.push(metric_request::key_fault("wait", detail.into()));
    }
    let code = if faults.is_empty() { Code::InvalidParams } else { Code::InvalidRequest };
    let params = of("params").unwrap_or("{}");
    match (metric_request::with_params(name, params, of("expand").is_some()), after, wait) {
        (Ok(asked), Ok(after), Some(wait)) if faults.is_empty() => {
            Ok(AnswerQuery { asked, after, wait })
        }
        (asked, ..) => {
            faults.extend(asked.err());
            Err(Problem::invalid(code, faults))
        }
    }
}

/// `30s`, `500ms`.
fn parse_wait(text: &str) -> Option<Duration> {
    let (number, unit_ms) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1_000),
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let ms = number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(unit_ms)?;
    Some(Duration::from_millis(ms)).filter(|wait| *wait <= LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_numbers_of_seconds_or_milliseconds() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("30s", Some(ms(30_000))),
            ("500ms", Some(ms(500))),
            ("0s", Some(ms(0))),
            ("60s", Some(ms(60_000))),
            ("60000ms", Some(ms(60_000))),
            ("61s", None),
            ("60001ms", None),
            ("30", None),
            ("s", None),
            ("ms", None),
            ("+1s", None),
            ("1.5s", None),
            ("1m", None),
            ("18446744073709551615s", None),
        ] {
            assert_eq!(parse_wait(text), expected, "{text}");
        }
    }
}
