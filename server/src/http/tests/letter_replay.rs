//! Replays of dead letters: what is asked of the engine, and what is answered.

use super::fake::World;
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use std::time::Duration;
use tally_engine::database::DatabaseError;
use tally_engine::engine::{
    AppendError, LetterReplayCounts, LetterReplayFault, LogError, StateUnavailable,
};

const PATH: &str = "/api/dead-letters/replay";

#[tokio::test]
async fn the_engine_is_asked_and_its_counts_are_the_answer() {
    let world = World::new(Limits::default()).await;
    let counts =
        LetterReplayCounts { appended: 3, still_refused: 2, in_log: 1, undecided: 0, more: false };
    *world.fake.replayed.lock() = Ok(counts);
    let answer = world.post(PATH, "{}").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, r#"{"appended":3,"still_refused":2,"in_log":1}"#)
    );
    *world.fake.replayed.lock() = Ok(LetterReplayCounts { more: true, ..counts });
    let answer = world.post(PATH, r#"{"reason":"invalid_json"}"#).await;
    assert_eq!(answer.text, r#"{"appended":3,"still_refused":2,"in_log":1,"more":true}"#);
    *world.fake.replayed.lock() = Ok(LetterReplayCounts { undecided: 4, more: true, ..counts });
    let answer = world.post(PATH, r#"{"reason":"missing_field:user_id"}"#).await;
    assert_eq!(
        answer.text,
        r#"{"appended":3,"still_refused":2,"in_log":1,"undecided":4,"more":true}"#
    );
    assert_eq!(
        *world.fake.replay_asked.lock(),
        [None, Some("invalid_json".to_owned()), Some("missing_field:user_id".to_owned()),]
    );
}

#[tokio::test]
async fn what_is_no_request_asks_nothing() {
    let world = World::new(Limits::default()).await;
    for (kind, body, status) in [
        ("application/json", "{", 400),
        ("application/json", r#"{"reasons":"too_deep"}"#, 422),
        ("application/json", r#"{"reason":"plugin_failed:a"}"#, 422),
        ("application/json", r#"{"reason":"timestamp_to_early"}"#, 422),
        // What a page elsewhere may send without asking.
        ("text/plain", "{}", 415),
        ("application/x-www-form-urlencoded", "{}", 415),
    ] {
        let request = Request::post(PATH).header("content-type", kind);
        let answer = world.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, status, "{kind} {body}");
    }
    let answer = world.post(PATH, r#"{"reason":"timestamp_to_early"}"#).await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/reason", "{}", answer.text);
    assert!(answer.text.contains("timestamp_too_early, "), "{}", answer.text);
    assert_eq!(world.get(PATH).await.status, 405);
    assert!(world.fake.replay_asked.lock().is_empty());
}

#[tokio::test]
async fn what_prevents_it_is_told() {
    let world = World::new(Limits::default()).await;
    let failed = DatabaseError::Failed { reason: "no".into() };
    let faults = [
        (LetterReplayFault::Busy, 409, "replay_running", "1"),
        (failed.into(), 503, "store_unavailable", "1"),
        (StateUnavailable::Loading.into(), 503, "store_unavailable", "1"),
        (LogError::Fatal("no".into()).into(), 503, "log_unavailable", ""),
        (AppendError::InDoubt("perhaps".into()).into(), 503, "log_unavailable", "1"),
        (AppendError::Refused("no right".into()).into(), 503, "log_unavailable", ""),
    ];
    for (fault, status, code, again) in faults {
        *world.fake.replayed.lock() = Err(fault);
        let answer = world.post(PATH, "{}").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after"), &answer.json()["code"]),
            (status, again, &json!(code))
        );
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "the work that waits for it has a thread of its own")]
async fn one_that_takes_too_long_is_told_to_go_on() {
    let world = World::new(Limits { replay: Duration::ZERO, ..Limits::default() }).await;
    // Held until the answer is there, so the work cannot be done before.
    let held = world.fake.replayed.lock();
    let answer = world.post(PATH, "{}").await;
    drop(held);
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("goes on"), "{}", answer.text);
}
