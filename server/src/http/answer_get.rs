//! `GET /api/metrics/{name}/answer`: the answer of a POST as a GET, which caches may give to others
//! for a second, and which can be held until it changes.
//!
//! A held question is watched (`live`), as by a subscription: it takes no thread and no slot, the
//! number of held ones is bounded, and all who hold the same one share its text. At its end it is
//! asked once more, so that nothing that changed and changed back in between is kept from anybody.

use super::codes::Code;
use super::complete_answer::{CompleteAnswer, LARGE};
use super::etag::{self, KnownTags};
use super::json_members::push_text;
use super::live::{LiveAnswers, LiveBody, longest_way, pieces};
use super::metric_request::MetricRequest;
use super::metrics::{answer_asked, name_in};
use super::problem::Problem;
use super::query_pairs::RawPairs;
use super::question_query::QuestionQuery;
use super::rows::RowForm;
use super::{App, wait_for_stop};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// The known keys of the query.
const KEYS: [&str; 4] = ["params", "expand", "after", "wait"];

/// The longest time that an answer is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The least time between two evaluations of what is held.
const PACE: Duration = Duration::from_millis(50);

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
    query: RawPairs,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let AnswerQuery { asked, after, wait } = parse_query(name_in(name)?, query)?;
    let (known, form) = (KnownTags::of(&headers).and(after), RowForm::preferred(&headers));
    let (answer, tag) = answer_asked(&app, asked).await?.tagged(form).await?;
    if !known.has(&tag) {
        return reply(&app, (answer, form), tag, started).await;
    }
    if wait.is_zero() {
        return Ok(unchanged(tag));
    }
    let held = held_answer(&app, (answer, form), &tag, started + wait).await?;
    Ok(held.unwrap_or_else(|| unchanged(tag)))
}

async fn reply(
    app: &App,
    (answer, form): (CompleteAnswer, Option<RowForm>),
    tag: HeaderValue,
    started: Instant,
) -> Result<Response, Problem> {
    let response = match form {
        Some(form) => answer.into_rows(app, form).await?,
        None => json(answer.into_body(started).await?),
    };
    Ok(shared(response, tag))
}

/// Holds a question whose answer had `tag` until it has another; `None`: it has none at `end`, or
/// the server stops.
async fn held_answer(
    app: &Arc<App>,
    (answer, form): (CompleteAnswer, Option<RowForm>),
    tag: &HeaderValue,
    end: Instant,
) -> Result<Option<Response>, Problem> {
    let place = Arc::clone(&app.held).try_acquire_owned();
    let _place = place.map_err(|_| {
        Problem::overloaded("too many questions are held until their answer changes")
    })?;
    let (asked, position, as_of) = answer.into_question();
    let mut phase = app.phase.subscribe();
    let mut updates = LiveAnswers::watch(app, &asked, PACE)?;
    let mut is_first = true;
    loop {
        let update = tokio::select! {
            biased;
            () = wait_for_stop(&mut phase) => return Ok(None),
            update = updates.changed() => update,
            () = sleep_until(end.into()) => break,
        };
        // Without one the engine has stopped.
        let Some(update) = update else { return Ok(None) };
        match (update, form) {
            // The first one may be of before, and hide one that came and went.
            (Ok(body), None)
                if *body.tag() == *tag && (!is_first || body.is_since(&position, as_of)) =>
            {
                continue;
            }
            (Ok(body), None) if *body.tag() != *tag && body.is_since(&position, as_of) => {
                let reply = json(body_around(&asked, &body, app.limits.write));
                return Ok(Some(shared(reply, body.tag().clone())));
            }
            (Err(problem), _) if problem.is(Code::Overloaded) => continue,
            // What is of before may be the newest all the same, where another revision answers
            // that has counted less. As rows it is to be asked for; a reason may be of before.
            (Ok(_) | Err(_), _) => {}
        }
        is_first = false;
        match asked_again(app, &asked, form, tag).await {
            // Many are woken at once.
            Err(problem) if problem.is(Code::Overloaded) => {}
            Ok(None) => {}
            other => return other,
        }
    }
    asked_again(app, &asked, form, tag).await
}

/// The reply to the same question asked now, if its answer does not have `tag`.
async fn asked_again(
    app: &Arc<App>,
    asked: &MetricRequest,
    form: Option<RowForm>,
    tag: &HeaderValue,
) -> Result<Option<Response>, Problem> {
    let started = Instant::now();
    let (answer, now) = answer_asked(app, asked.again()).await?.tagged(form).await?;
    if now == *tag {
        return Ok(None);
    }
    reply(app, (answer, form), now, started).await.map(Some)
}

/// What a POST would have got. A long text stays shared, for as long as it may be on its way where
/// one write may take `write`.
fn body_around(asked: &MetricRequest, body: &LiveBody, write: Duration) -> Body {
    let mut head = String::from("{\"name\":");
    push_text(&mut head, &asked.question.name);
    head.push_str(",\"params\":");
    head.push_str(&asked.params_text);
    head.push_str(",\"result\":");
    if body.len() > LARGE {
        let (rest, limit) = (body.rest().clone(), longest_way(write, body.len()));
        let (head, rest) = (stream::iter([Ok(Bytes::from(head))]), stream::iter([Ok(rest)]));
        return Body::from_stream(head.chain(pieces(body.result().clone(), limit)).chain(rest));
    }
    let mut whole = head.into_bytes();
    whole.extend_from_slice(body.result());
    whole.extend_from_slice(body.rest());
    whole.into()
}

fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
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

fn parse_query(name: String, query: RawPairs) -> Result<AnswerQuery, Problem> {
    let mut query = QuestionQuery::new(query, &KEYS)?;
    // Other bytes could be in a header, but no tag of this server has any.
    let tag = |text: &str| HeaderValue::from_str(text).ok().filter(|after| after.to_str().is_ok());
    let after = query.pairs.read("after", tag, "after is not the ETag of an answer");
    let names = query.names();
    let detail = "wait is not a time of at most 60 s, such as 30s or 500ms";
    let wait = query.pairs.read("wait", parse_wait, detail).unwrap_or_default();
    Ok(AnswerQuery { asked: query.finish(name, names)?, after, wait })
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
