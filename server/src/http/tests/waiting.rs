//! Callers who wait, for a position or for their own reading: they take nobody's place, and a stop
//! wakes them.

use super::fake::{World, evaluated};
use crate::http::Limits;
use serde_json::{Value, json};
use std::time::Duration;
use tally_engine::engine::EvaluateError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(30);

fn post(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = "POST /api/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An engine that stands at 0:1204 until it is moved, and answers as the real one does to who asks
/// for more.
async fn world_at_1204(limits: Limits) -> World {
    let world = World::new(limits).await;
    let fake = world.fake.clone();
    world.fake.answers(move |question| match &question.at_least {
        Some(at_least) if !fake.position.lock().reaches(at_least) => {
            Err(EvaluateError::PositionNotReached(fake.position.lock().clone()))
        }
        _ => Ok(evaluated("42", json!({}))),
    });
    world
}

#[tokio::test]
async fn any_number_may_wait_for_a_position_and_all_are_answered_when_it_is_counted() {
    let mut world = world_at_1204(Limits { place: LONG, ..Limits::default() }).await;
    let fake = world.fake.clone();
    let server = world.listen().await;
    let waits = post(&json!({"name": "a", "at_least": "0:9000", "wait_ms": 30_000}));
    let mut waiting = Vec::new();
    // Many more than have a place.
    for _ in 0..250 {
        let mut stream = server.connect().await;
        stream.write_all(&waits).await.unwrap();
        waiting.push(stream);
    }
    // Meanwhile another one is answered, waiting or not.
    let answer = server.exchange(&post(&json!({"name": "a"}))).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let late =
        server.exchange(&post(&json!({"name": "a", "at_least": "0:9000", "wait_ms": 300}))).await;
    assert!(late.starts_with("HTTP/1.1 504") && late.contains("position_not_reached"), "{late}");
    *fake.position.lock() = "0:9000".parse().unwrap();
    for mut stream in waiting {
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.expect("it is woken").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_stop_wakes_those_who_wait() {
    let mut world = world_at_1204(Limits { drain: LONG, ..Limits::default() }).await;
    let mut server = world.listen().await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut stream = server.connect().await;
        stream
            .write_all(&post(&json!({"name": "a", "at_least": "0:9000", "wait_ms": 30_000})))
            .await
            .unwrap();
        waiting.push(stream);
    }
    // They have been read once this one was, which came last.
    assert!(server.exchange(&post(&json!({"name": "a"}))).await.starts_with("HTTP/1.1 200"));
    let begun = std::time::Instant::now();
    server.stop();
    for mut stream in waiting {
        let mut answer = String::new();
        // One whose request had not been read yet is closed without an answer.
        let _ = timeout(LONG, stream.read_to_string(&mut answer)).await.expect("it is woken");
        assert!(answer.is_empty() || answer.contains("\"stopping\""), "{answer}");
    }
    assert_eq!(server.end().await.cut, 0);
    assert!(begun.elapsed() < LONG / 2, "nobody was waited for: {:?}", begun.elapsed());
}
