//! What `/api/status` says of an engine and of the server itself.

use super::fake::{Listening, World};
use super::live::{greeted, next};
use super::subscriptions::refused;
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::time::Duration;
use tally_engine::engine::{
    Check, CommitStatus, Cost, EvaluateError, EventRate, MemoryUse, MetricState, MetricStatus,
    PartitionOwner, PartitionStatus,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

fn partition(partition: u32, owner: Option<PartitionOwner>) -> PartitionStatus {
    PartitionStatus {
        partition,
        owner,
        position: None,
        start: 0,
        end: 0,
        lag: None,
        open: 0,
        stalled: false,
    }
}

fn metric(name: &str, state: MetricState) -> MetricStatus {
    MetricStatus {
        name: name.into(),
        version: "1.0.0".into(),
        state,
        notice: None,
        cost: Cost { ns_per_event: 12.5, cells: 1_234, bytes: 98_765, unreadable: None },
        events_failed: 0,
        answers_stuck: 0,
    }
}

#[tokio::test]
async fn a_fresh_engine_has_nothing_to_say_and_no_key_without_a_value() {
    let world = World::new(Limits::default()).await;
    let answer = world.get("/api/status").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    let expected = r#"{"version":"VERSION","started":"2026-01-01T00:00:00.000Z","uptime_s":12,"as_of":"2026-01-01T00:00:12.345Z","ready":true,"rate":{"events_per_s":0.0,"window_s":0.0},"log":{"kind":"log","name":"log"},"partitions":[],"lag":{"records":0,"open":0},"commits":{"processed":0,"committed":0},"store":{"kind":"embedded","ok":true,"what":"embedded"},"catalogue":{"ok":true},"readiness":[{"name":"store","ok":true,"needed":true,"what":"embedded"},{"name":"catalogue","ok":true,"needed":false}],"metrics":[],"memory":{"limit":1000,"state":{"used":0,"limit":600},"answers":{"used":0,"limit":160},"sockets":{"used":0,"limit":60}},"sockets":{"websockets":0,"streams":0,"limit":4096,"held":0,"held_limit":2048},"connections":{"open":0,"local":0,"addresses":0,"limit":4096},"limits_hit":[]"#;
    // What threads there are depends on the program around the test.
    let (known, threads) = answer.text.split_once(",\"threads\":").unwrap();
    assert_eq!(known, expected.replace("VERSION", env!("CARGO_PKG_VERSION")));
    let threads = threads.strip_suffix('}').unwrap();
    let threads: Vec<Value> = serde_json::from_str(threads).unwrap();
    assert!(threads.iter().any(|row| row["count"].as_u64() > Some(0)), "{threads:?}");
}

#[tokio::test]
async fn each_figure_is_shown_where_it_belongs() {
    let world = World::new(Limits::default()).await;
    {
        let mut status = world.fake.status.lock();
        status.rate = EventRate { per_second: 812.449, window: Duration::from_millis(10_040) };
        status.log = ("kafka", "events".into());
        status.commits =
            CommitStatus { last: Some(1_767_225_611_900), processed: 12_400, committed: 12_300 };
        status.partitions = vec![
            PartitionStatus {
                position: Some(1_204),
                start: 3,
                end: 1_210,
                lag: Some(6),
                open: 2,
                stalled: true,
                ..partition(0, Some(PartitionOwner::This))
            },
            PartitionStatus { end: 7, ..partition(1, Some(PartitionOwner::Other)) },
            partition(2, None),
        ];
        status.metrics = vec![
            MetricStatus {
                notice: Some("events_failed: 3".into()),
                events_failed: 3,
                answers_stuck: 1,
                ..metric("a", MetricState::Active)
            },
            metric("b", MetricState::Quarantined("it failed in /usr/lib/b.so".into())),
            metric("c", MetricState::Backfilling { done: 0.42, eta_s: Some(12) }),
        ];
        status.memory.state = MemoryUse { used: 300, limit: 600 };
    }
    let status = world.get("/api/status").await.json();
    assert_eq!(status["rate"], json!({"events_per_s": 812.4, "window_s": 10.0}));
    assert_eq!(status["log"], json!({"kind": "kafka", "name": "events"}));
    assert_eq!(
        status["partitions"],
        json!([
            {"partition": 0, "owner": "this", "position": "0:1204", "start": 3, "end": 1_210, "lag": 6, "open": 2, "stalled": true},
            {"partition": 1, "owner": "other", "start": 0, "end": 7, "open": 0},
            {"partition": 2, "start": 0, "end": 0, "open": 0},
        ])
    );
    assert_eq!(status["lag"], json!({"records": 6, "open": 2}));
    assert_eq!(
        status["commits"],
        json!({"last": "2026-01-01T00:00:11.900Z", "age_s": 0.4, "processed": 12_400, "committed": 12_300})
    );
    let with = |name: &str, state: &str, rest: Value| {
        let mut all = json!({"name": name, "state": state, "version": "1.0.0", "ns_per_event": 12.5, "cells": 1_234, "bytes": 98_765});
        all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        all
    };
    assert_eq!(
        status["metrics"],
        json!([
            with(
                "a",
                "active",
                json!({"reason": "events_failed: 3", "events_failed": 3, "answers_stuck": 1})
            ),
            with("b", "quarantined", json!({"reason": "it failed in …/b.so"})),
            with("c", "backfilling", json!({"progress": {"done": 0.42, "eta_s": 12}})),
        ])
    );
    assert_eq!(status["memory"]["state"], json!({"used": 300, "limit": 600}));
}

#[tokio::test]
async fn a_line_that_is_not_in_order_says_why_and_what_to_do() {
    let world = World::new(Limits::default()).await;
    let line = |name, ok, needed| Check {
        name,
        ok,
        needed,
        detail: "the disk at /var/lib/tally is full".into(),
        remedy: Some("free it"),
    };
    *world.fake.checks.lock() = vec![line("store", false, true), line("writing", true, false)];
    let status = world.get("/api/status").await.json();
    let why = "the disk at …/tally is full";
    assert_eq!(status["ready"], json!(false));
    assert_eq!(status["store"], json!({"kind": "embedded", "ok": false, "why": why}));
    assert_eq!(
        status["readiness"],
        json!([
            {"name": "store", "ok": false, "needed": true, "why": why, "remedy": "free it"},
            {"name": "writing", "ok": true, "needed": false, "what": why},
            {"name": "catalogue", "ok": true, "needed": false},
        ])
    );
    *world.fake.checks.lock() = vec![line("writing", false, false)];
    let status = world.get("/api/status").await.json();
    assert_eq!(status["ready"], json!(true), "nothing that answers need is wrong");
}

#[tokio::test]
async fn limits_that_were_reached_are_counted_and_wrong_requests_are_not() {
    let limits = Limits { evaluations: 0, place: Duration::ZERO, ..Limits::default() };
    let world = World::new(limits).await;
    for _ in 0..2 {
        assert_eq!(world.ask(json!({"name": "a"})).await.status, 503);
    }
    let long = format!("/livez?x={}", "y".repeat(5_000));
    assert_eq!(world.get(&long).await.status, 414);
    let foreign = Request::get("/livez").header("host", "evil.example").body(Body::empty());
    assert_eq!(world.send(foreign.unwrap()).await.status, 403);
    assert_eq!(world.get("/nothing").await.status, 404);
    let status = world.get("/api/status").await.json();
    assert_eq!(
        status["limits_hit"],
        json!([{"code": "overloaded", "count": 2}, {"code": "uri_too_long", "count": 1}])
    );
}

/// What the server says of itself.
async fn status_of(server: &Listening) -> Value {
    let request = b"GET /api/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = server.exchange(request).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(body).unwrap_or_else(|fault| panic!("{fault}: {answer}"))
}

#[tokio::test]
async fn limits_that_are_told_on_sockets_and_streams_are_counted_too() {
    let mut world = World::new(Limits { subscriptions: 1, ..Limits::default() }).await;
    world.fake.answers(|_| Err(EvaluateError::Overloaded("there is no room".into())));
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    let subscribe =
        |id: &str| json!({"type": "subscribe", "id": id, "metric": "event_frequencies"});
    assert_eq!(refused(&mut socket, &subscribe("a")).await.0, "overloaded");
    assert_eq!(refused(&mut socket, &subscribe("b")).await.0, "too_many_subscriptions");
    let ends = json!({"type": "unsubscribe", "id": "b"});
    assert_eq!(refused(&mut socket, &ends).await.0, "unknown_id");
    socket.send(Message::text("y".repeat(4_097))).await.unwrap();
    assert_eq!(next(&mut socket).await["code"], "message_too_large");
    let mut stream = server.connect().await;
    let request = b"GET /api/metrics/event_frequencies/stream HTTP/1.0\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut told = String::new();
    while !told.contains("\"overloaded\"") {
        let mut read = [0; 1024];
        let count = timeout(Duration::from_secs(10), stream.read(&mut read)).await.unwrap();
        let count = count.unwrap();
        assert!(count > 0, "it ends after {told}");
        told.push_str(&String::from_utf8_lossy(&read[..count]));
    }
    let expected = json!([
        {"code": "message_too_large", "count": 1},
        {"code": "overloaded", "count": 2},
        {"code": "too_many_subscriptions", "count": 1},
    ]);
    assert_eq!(status_of(&server).await["limits_hit"], expected);
}

#[tokio::test]
async fn who_is_connected_is_counted_by_kind() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let nobody = status_of(&server).await;
    // The one that asks is connected itself.
    assert_eq!(
        nobody["connections"],
        json!({"open": 1, "local": 1, "addresses": 0, "limit": 4_096})
    );
    let _socket = greeted(&server, "/ws?events=none").await;
    let mut stream = server.connect().await;
    let request = b"GET /api/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut byte = [0];
    let first = timeout(Duration::from_secs(10), stream.read_exact(&mut byte)).await;
    assert_eq!(first.unwrap().unwrap(), 1, "it is answered");
    let status = status_of(&server).await;
    assert_eq!(
        status["sockets"],
        json!({"websockets": 1, "streams": 1, "limit": 4_096, "held": 0, "held_limit": 2_048})
    );
    // The one that asked before may not be closed yet.
    assert!(matches!(status["connections"]["local"].as_u64(), Some(3..)), "{status}");
}
