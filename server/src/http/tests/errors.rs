//! Every row of the contract's table of errors, each as a problem.

use super::fake::{Answer, World, evaluated};
use crate::http::Limits;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use tally_engine::database::DatabaseError;
use tally_engine::engine::{EvaluateError, OrderError, StateUnavailable};
use tally_engine::progress::{Halt, Quarantine};
use tally_engine::store::StoreError;
use tally_plugin::ask::Fault;

/// Words with which a sentence begins that lacks its subject.
const PREDICATES: [&str; 9] =
    ["is", "are", "has", "must", "may", "cannot", "does", "belongs", "needs"];

/// Checks what every problem has, and returns its pointers.
#[track_caller]
fn problem(answer: &Answer, status: u16, code: &str) -> Vec<String> {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body}");
    assert_eq!(body["type"], json!(format!("/problems/{code}")));
    assert_eq!(body["request_id"], json!(answer.header("request-id")));
    assert!(
        !body["title"].as_str().unwrap().is_empty() && !body["detail"].as_str().unwrap().is_empty(),
        "{body}"
    );
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let details = errors.iter().chain([&body]).map(|told| told["detail"].as_str().unwrap());
    for detail in details {
        let first = detail.split(' ').next().unwrap();
        assert!(!PREDICATES.contains(&first), "of what is it said? {body}");
    }
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_body_that_is_not_json() {
    let world = World::new(Limits::default()).await;
    for body in [
        "{",
        "",
        "{\"name\":\"a\"} x",
        "{\"name\":\"a\",}",
        "{\"name\":\"a\",\"params\":{\"x\":\"\\ud800\"}}",
    ] {
        problem(&world.post("/api/metrics", body).await, 400, "invalid_json");
    }
    problem(&world.post("/api/events", "{").await, 400, "invalid_json");
    assert!(world.fake.asked.lock().is_empty() && world.fake.written.lock().is_empty());
}

#[tokio::test]
async fn every_detail_names_what_it_is_about() {
    let world = World::new(Limits::default()).await;
    let answer = "/api/metrics/event_frequencies/answer";
    for (target, code, pointers) in [
        ("/api/users?limit=x&cursor=y", "invalid_params", &["/limit", "/cursor"][..]),
        ("/api/dead-letters?limit=0", "invalid_params", &["/limit"]),
        (
            "/api/events?limit=x&user_ids=1&product_id=__other__",
            "invalid_params",
            &["/limit", "/user_ids", "/product_id"],
        ),
        ("/api/events/stream?event_types=Buy&x=1", "invalid_params", &["/event_types", "/x"]),
        ("/api/records/0/x", "invalid_params", &["/offset"]),
        ("/api/records/x/0", "invalid_params", &["/partition"]),
        (
            "/api/metrics/a/stream?min_interval_ms=-1&x=1",
            "invalid_request",
            &["/min_interval_ms", "/x"],
        ),
        ("/ws?events=some", "invalid_params", &["/events"]),
        ("/ws?event=none", "invalid_params", &["/event"]),
        ("/api/products?limits=7&limit=1&limit=2", "invalid_params", &["/limits", "/limit"]),
        ("/api/dead-letters?limit=&reasons=&reason=a", "invalid_params", &["/reasons"]),
    ] {
        let found = problem(&world.get(target).await, 422, code);
        assert_eq!(found, pointers, "{target}");
    }
    let told = world.get(&format!("{answer}?wait=2m&expand=x&params=7")).await;
    assert_eq!(problem(&told, 422, "invalid_request"), ["/wait", "/expand", "/params"]);
    for (path, body, pointers) in [
        ("/api/metrics/batch", "{}", &["/queries"][..]),
        ("/api/metrics/batch", r#"{"queries":7}"#, &["/queries"]),
        ("/api/metrics/batch", r#"{"queries":[]}"#, &["/queries"]),
        ("/api/dead-letters/replay", r#"{"reason":7}"#, &["/reason"]),
        ("/api/dead-letters/replay", r#"{"reason":"x"}"#, &["/reason"]),
    ] {
        let answer = world.post(path, body).await;
        assert_eq!(problem(&answer, 422, "invalid_request"), pointers, "{path} {body}");
    }
    let one = world.ask(json!({"name": "a", "wait_ms": -1})).await.json();
    assert_eq!(one["detail"], "wait_ms is not an integer from 0 to 30000");
    let one = world.ask(json!({"name": "a", "windw": 1})).await.json();
    let known = "name, params, at_least, wait_ms, expand, allow_partial";
    assert_eq!(one["detail"], format!("unknown key \"windw\"; known keys: {known}"));
}

#[tokio::test]
async fn a_request_of_another_shape_all_faults_at_once() {
    let world = World::new(Limits::default()).await;
    for (body, pointers) in [
        (json!([]), vec![""]),
        (json!({}), vec!["/name"]),
        (json!({"name": 1}), vec!["/name"]),
        (json!({"name": "a", "windw": 1, "a/b~c": 1}), vec!["/windw", "/a~1b~0c"]),
        (
            json!({"params": 1, "at_least": 1, "wait_ms": 30_001, "expand": ["x"], "allow_partial": 0}),
            vec!["/name", "/at_least", "/wait_ms", "/expand", "/allow_partial", "/params"],
        ),
        (json!({"name": "a", "at_least": "0-1"}), vec!["/at_least"]),
        (json!({"name": "a", "at_least": "0:1,0:2"}), vec!["/at_least"]),
        (json!({"name": "a", "wait_ms": -1}), vec!["/wait_ms"]),
        (json!({"name": "a", "expand": "names"}), vec!["/expand"]),
    ] {
        assert_eq!(
            problem(&world.ask(body.clone()).await, 422, "invalid_request"),
            pointers,
            "{body}"
        );
    }
    let twice = world.post("/api/metrics", r#"{"name":"a","name":"b"}"#).await;
    assert_eq!(problem(&twice, 422, "invalid_request"), ["/name"]);
    let params = world.ask(json!({"name": "a", "params": []})).await;
    assert_eq!(problem(&params, 422, "invalid_params"), ["/params"]);
    assert!(world.fake.asked.lock().is_empty(), "none reached the engine");
}

#[tokio::test]
async fn what_the_engine_refuses() {
    let world = World::new(Limits::default()).await;
    let asked = async |error: EvaluateError| {
        world.fake.answers(move |_| Err(error.clone()));
        world.ask(json!({"name": "a"})).await
    };
    let answer = asked(EvaluateError::NotFound {
        suggestions: vec!["ab".into()],
        detail: "did you mean \"ab\"?".into(),
    })
    .await;
    problem(&answer, 404, "metric_not_found");
    assert_eq!(
        (&answer.json()["suggestions"], &answer.json()["detail"]),
        (&json!(["ab"]), &json!("did you mean \"ab\"?"))
    );

    let fault = |pointer: &str| Fault {
        pointer: pointer.into(),
        detail: "0 is less than the minimum of 1".into(),
    };
    let answer = asked(EvaluateError::Invalid {
        code: "invalid_params".into(),
        errors: vec![fault("/params/limit"), fault("/params/x")],
    })
    .await;
    assert_eq!(problem(&answer, 422, "invalid_params"), ["/params/limit", "/params/x"]);
    let answer = asked(EvaluateError::Invalid {
        code: "too_many_points".into(),
        errors: vec![fault("/params/bucket")],
    })
    .await;
    assert_eq!(problem(&answer, 422, "too_many_points"), ["/params/bucket"]);

    let answer = asked(EvaluateError::Backfilling { done: 0.5 }).await;
    problem(&answer, 503, "backfilling");
    assert_eq!(answer.json()["progress"], json!({"done": 0.5}));
    assert_ne!(answer.header("retry-after"), "");
    let full = Halt::Quarantined(Quarantine::OverMemory { held: 2, share: 1 });
    let (away, corrupt) =
        (StoreError::Unavailable("it is away".into()), StoreError::Corrupt("damaged".into()));
    for (error, status, code, retry_after) in [
        (EvaluateError::Quarantined(Halt::StateLost), 503, "plugin_quarantined", ""),
        (EvaluateError::Quarantined(full), 503, "plugin_quarantined", "30"),
        (EvaluateError::PluginFailed("x".into()), 500, "plugin_failed", ""),
        (
            EvaluateError::PositionNotReached("0:1".parse().unwrap()),
            504,
            "position_not_reached",
            "",
        ),
        (EvaluateError::DeadlineExceeded(Duration::from_millis(250)), 504, "deadline_exceeded", ""),
        (EvaluateError::PartitionsMissing("half".into()), 503, "partitions_missing", "1"),
        (StateUnavailable::Loading.into(), 503, "store_unavailable", "1"),
        (StateUnavailable::from(away).into(), 503, "store_unavailable", "1"),
        (StateUnavailable::from(corrupt).into(), 503, "store_unavailable", ""),
    ] {
        let answer = asked(error).await;
        problem(&answer, status, code);
        assert_eq!(answer.header("retry-after"), retry_after, "{code}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_order_that_is_not_carried_out_says_whether_anything_was_done() {
    let world = World::new(Limits::default()).await;
    let store = |fault| OrderError::Store { what: "nothing was removed".into(), fault };
    let (away, corrupt) =
        (StoreError::Unavailable("it is away".into()), StoreError::Corrupt("damaged".into()));
    for (error, status, code, retry_after) in [
        (OrderError::NotPossible("there is only one".into()), 409, "not_possible", ""),
        (OrderError::QueueFull(8), 503, "overloaded", "1"),
        (OrderError::OutcomeUnknown(Duration::from_secs(5)), 504, "outcome_unknown", ""),
        (OrderError::Failed("a lane is late".into()), 503, "order_failed", "1"),
        (store(away), 503, "order_failed", "1"),
        (store(corrupt), 503, "order_failed", ""),
        (OrderError::Ended, 503, "order_failed", ""),
    ] {
        *world.fake.order_outcome.lock() = Err(error.clone());
        let answer = world.post("/api/metrics/a/promote", "{}").await;
        problem(&answer, status, code);
        assert_eq!(
            (answer.header("retry-after"), &answer.json()["detail"]),
            (retry_after, &json!(error.to_string()))
        );
    }
}

#[tokio::test]
async fn an_evaluation_over_its_deadline_and_too_many_at_once() {
    let (evaluation, place) = (Duration::from_millis(50), Duration::from_millis(10));
    let limits = Limits { evaluation, place, evaluations: 1, ..Limits::default() };
    let world = World::new(limits).await;
    let (release, held) = mpsc::channel::<()>();
    let held = parking_lot::Mutex::new(held);
    world.fake.answers(move |question| {
        // A plugin has it.
        question.calling.store(true, Ordering::Relaxed);
        let _ = held.lock().recv();
        Ok(evaluated("1", json!({})))
    });
    // Its thread does not come back, its place does: the next one has it.
    problem(&world.ask(json!({"name": "a"})).await, 504, "deadline_exceeded");
    problem(&world.ask(json!({"name": "a"})).await, 504, "deadline_exceeded");
    // Of several at once one has the place, and the others wait for it no longer than they may.
    let ask = || world.ask(json!({"name": "a"}));
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let full = [one, two, three].into_iter().find(|answer| answer.status == 503).unwrap();
    problem(&full, 503, "overloaded");
    assert_eq!(full.header("retry-after"), "1");
    // One that waits for a position has a place of its own.
    let waiting = world.ask(json!({"name": "a", "at_least": "0:9999", "wait_ms": 1})).await;
    problem(&waiting, 504, "deadline_exceeded");
    drop(release);
}

#[tokio::test]
async fn a_panic_is_a_problem_and_takes_nothing_with_it() {
    // A panic with a backtrace takes its time on a busy machine.
    let limits = Limits { evaluation: Duration::from_secs(30), ..Limits::default() };
    let world = World::new(limits).await;
    world.fake.answers(|_| panic!("secret"));
    let answer = world.ask(json!({"name": "a"})).await;
    problem(&answer, 500, "internal_error");
    assert!(!answer.text.contains("secret"));
    world.fake.answers(|_| Ok(evaluated("1", json!({}))));
    assert_eq!(world.ask(json!({"name": "a"})).await.status, 200);
}

#[tokio::test]
async fn too_large() {
    let world = World::new(Limits::default()).await;
    let padded = |size: usize| format!("{{\"name\":\"a\"}}{}", " ".repeat(size - 12));
    assert_eq!(world.post("/api/metrics", padded(64 * 1024)).await.status, 200);
    problem(&world.post("/api/metrics", padded(64 * 1024 + 1)).await, 413, "payload_too_large");
    let events = |size: usize| world.post("/api/events", format!("{{}}{}", " ".repeat(size - 2)));
    assert_eq!(events(1024 * 1024).await.status, 200);
    problem(&events(1024 * 1024 + 1).await, 413, "payload_too_large");
    problem(&world.get(&format!("/api/users?x={}", "y".repeat(5_000))).await, 414, "uri_too_long");
}

#[tokio::test]
async fn wrong_media_type() {
    let world = World::new(Limits::default()).await;
    let send = async |path: &str, header: Option<(&str, &str)>| {
        let mut request = Request::post(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        world.send(request.body(Body::from("{\"name\":\"a\"}")).unwrap()).await
    };
    for kind in ["text/plain", "application/x-ndjson", "application/jsonx", ""] {
        problem(
            &send("/api/metrics", Some(("content-type", kind))).await,
            415,
            "unsupported_media_type",
        );
    }
    problem(&send("/api/metrics", None).await, 415, "unsupported_media_type");
    problem(
        &send("/api/events", Some(("content-type", "text/csv"))).await,
        415,
        "unsupported_media_type",
    );
    assert_eq!(
        send("/api/metrics", Some(("content-type", "Application/JSON; charset=utf-8")))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn wrong_method_and_unknown_route() {
    let world = World::new(Limits::default()).await;
    for (method, path, allow) in [
        (Method::DELETE, "/api/metrics", "GET,HEAD,POST"),
        (Method::DELETE, "/api/events", "GET,HEAD,POST"),
        (Method::POST, "/api/dead-letters", "GET,HEAD"),
        (Method::POST, "/api/users", "GET,HEAD"),
        (Method::PUT, "/livez", "GET,HEAD"),
        (Method::POST, "/ws", "GET,HEAD"),
    ] {
        let answer = world
            .send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap())
            .await;
        problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for path in ["/nothing", "/api", "/api/users/1/2", "/api/openapi"] {
        problem(&world.get(path).await, 404, "not_found");
    }
}

#[tokio::test]
async fn ids_and_pages_that_cannot_be() {
    let world = World::new(Limits::default()).await;
    for id in [
        "xyz",
        "0",
        "-1",
        "99999999999999999999",
        "9007199254740992",
        "..%2f..%2fetc%2fpasswd",
        "';%20DROP%20TABLE%20users",
    ] {
        problem(&world.get(&format!("/api/users/{id}")).await, 404, "user_not_found");
        problem(&world.get(&format!("/api/product/{id}")).await, 404, "product_not_found");
    }
    for id in ["%00", "%0a", &"x".repeat(65), "%ff", "__other__"] {
        assert_eq!(
            problem(&world.get(&format!("/api/users/{id}")).await, 422, "invalid_params"),
            ["/user_id"]
        );
        assert_eq!(
            problem(&world.get(&format!("/api/products/{id}")).await, 422, "invalid_params"),
            ["/product_id"]
        );
    }
    for query in ["limit=0", "limit=1001", "limit=1e9", "limit=-1", "limit=x"] {
        assert_eq!(
            problem(&world.get(&format!("/api/users?{query}")).await, 422, "invalid_params"),
            ["/limit"]
        );
    }
    assert_eq!(
        problem(&world.get("/api/users?cursor=garbage&limit=x").await, 422, "invalid_params"),
        ["/cursor", "/limit"]
    );
    let next = world.get("/api/users?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(
        problem(&world.get(&format!("/api/product?cursor={next}")).await, 422, "invalid_params"),
        ["/cursor"]
    );
    for name in ["..%2f..%2fetc%2fpasswd", "a.so", "%00", "%ff"] {
        problem(&world.get(&format!("/api/metrics/{name}")).await, 404, "metric_not_found");
    }
}

#[tokio::test]
async fn dead_letters_that_cannot_be_asked_for_or_read() {
    let world = World::new(Limits::default()).await;
    for limit in ["0", "101", "-1", "1e1", "x"] {
        let answer = world.get(&format!("/api/dead-letters?limit={limit}")).await;
        assert_eq!(problem(&answer, 422, "invalid_params"), ["/limit"], "{limit}");
    }
    assert!(world.fake.letters_asked.lock().is_empty());
    let fault = DatabaseError::Failed { reason: "the disk failed".into() };
    *world.fake.letters.lock() = Err(fault.clone());
    let answer = world.get("/api/dead-letters").await;
    problem(&answer, 503, "store_unavailable");
    assert_eq!(
        (answer.header("retry-after"), &answer.json()["detail"]),
        ("1", &json!(fault.to_string()))
    );
    let world = World::new(Limits { letters: 0, ..Limits::default() }).await;
    problem(&world.get("/api/dead-letters").await, 503, "overloaded");
}

#[tokio::test]
async fn a_log_that_takes_nothing() {
    let world = World::new(Limits::default()).await;
    *world.fake.append_fails.lock() = true;
    let answer = world.post("/api/events", "{}").await;
    problem(&answer, 503, "log_unavailable");
    assert_eq!(
        (answer.header("retry-after"), &answer.json()["detail"]),
        ("1", &Value::from("the disk is full"))
    );
}
