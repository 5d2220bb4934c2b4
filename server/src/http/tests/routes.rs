//! What the routes answer when all is well.

use super::fake::{World, evaluated};
use crate::http::Limits;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tally_engine::engine::{
    AnswerValidity, Check, DeadLetter, EvaluateError, Evaluated, MetricState, Refusals,
};
use tally_engine::progress::Halt;

#[tokio::test]
async fn an_answer_is_the_contract_to_the_letter() {
    let world = World::new(Limits::default()).await;
    world.fake.answers(|_| {
        let mut answer = evaluated("{\"total\":11,\"by_type\":{\"view\":8,\"buy\":2}}", json!({}));
        answer.window = (Some(1_767_225_600_000), Some(1_767_232_800_000));
        Ok(answer)
    });
    let answer = world
        .post(
            "/api/metrics",
            r#"{"params":{"window":"2h", "bucket":"1h"},"name":"event_frequencies"}"#,
        )
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let (before, after) = answer.text.split_once("\"took_us\":").unwrap();
    assert_eq!(
        before,
        r#"{"name":"event_frequencies","params":{"window":"2h", "bucket":"1h"},"result":{"total":11,"by_type":{"view":8,"buy":2}},"meta":{"window":{"from":"2026-01-01T00:00:00.000Z","to":"2026-01-01T02:00:00.000Z"},"position":"0:1204,1:998","as_of":"2026-01-01T00:00:00.000Z","version":"1.0.0","history":{"state":"complete","from":"2026-01-01T00:01:00.000Z"},"#
    );
    assert!(after.ends_with("},\"warnings\":[]}"), "{after}");
    answer.json();
    let asked = world.fake.asked.lock()[0].clone();
    assert_eq!(asked.params, json!({"window": "2h", "bucket": "1h"}));
    assert_eq!(
        (asked.at_least, asked.wait, asked.allow_partial),
        (None, Duration::from_secs(5), false)
    );
}

#[tokio::test]
async fn what_the_engine_has_ready_is_answered_on_the_spot() {
    let world = World::new(Limits { evaluations: 0, ..Limits::default() }).await;
    let asked = json!({"name": "a"});
    assert_eq!(world.ask(asked.clone()).await.status, 503, "no place for it on a blocking thread");
    *world.fake.ready.lock() = true;
    assert_eq!(world.ask(asked).await.json()["result"]["total"], json!(11));
    let long = format!("{{\"name\":\"a\",\"params\":{{\"x\":\"{}\"}}}}", "x".repeat(4_096));
    assert_eq!(
        world.post("/api/metrics", long).await.status,
        503,
        "a long question goes the long way"
    );
}

/// An answer of which `holds` says how long it may be given again.
fn lasting(result: &str, schema: Value, holds: &Arc<Mutex<Option<i64>>>) -> Evaluated {
    let holds = Arc::clone(holds);
    Evaluated {
        validity: Some(AnswerValidity::new(move || *holds.lock())),
        ..evaluated(result, schema)
    }
}

#[tokio::test]
async fn an_equal_body_gets_the_reply_again_with_its_own_times_for_as_long_as_it_holds() {
    let world = World::new(Limits::default()).await;
    let holds = Arc::new(Mutex::new(Some(1_767_225_601_000)));
    let of_answers = Arc::clone(&holds);
    world.fake.answers(move |_| Ok(lasting("{\"total\":11}", json!({}), &of_answers)));
    let asked = || world.fake.asked.lock().len();
    let body = r#"{"name":"a","params":{"limit": 1}}"#;
    let (first, again) =
        (world.post("/api/metrics", body).await, world.post("/api/metrics", body).await);
    assert_eq!(asked(), 1, "the engine is not asked twice");
    let untimed = |text: &str, as_of: &str| {
        let (before, after) = text.split_once("\"took_us\":").unwrap();
        assert!(before.contains(as_of), "{text}");
        (
            before.replace(as_of, ""),
            after.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned(),
        )
    };
    let (one, other) = ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z");
    assert_eq!(untimed(&first.text, one), untimed(&again.text, other));
    assert_eq!((again.status, again.header("content-type")), (first.status, "application/json"));
    assert_ne!(again.header("request-id"), first.header("request-id"));

    world.post("/api/metrics", r#"{"name":"a","params":{"limit":1}}"#).await;
    assert_eq!(asked(), 2, "a body with other bytes is read");
    *holds.lock() = None;
    world.fake.answers(|_| Ok(evaluated("{\"total\":12}", json!({}))));
    assert_eq!(world.post("/api/metrics", body).await.json()["result"]["total"], 12);
    *holds.lock() = Some(0);
    world.fake.answers(|_| Err(EvaluateError::Quarantined(Halt::StateLost)));
    let last = world.post("/api/metrics", r#"{"name":"a","params":{"limit":  1}}"#).await;
    assert_eq!(last.status, 503, "what was never answered is not known");
}

#[tokio::test]
async fn what_the_catalogue_had_a_part_in_is_made_anew() {
    let world = World::new(Limits::default()).await;
    let holds = Arc::new(Mutex::new(Some(0)));
    let schema = json!({"properties": {"user_id": {"x-tally-id": "user"}}});
    world.fake.answers(move |_| Ok(lasting("{\"user_id\":1}", schema.clone(), &holds)));
    let asked = || world.fake.asked.lock().len();
    for _ in 0..2 {
        let answer = world.ask(json!({"name": "a", "expand": ["names"]})).await.json();
        assert_eq!(answer["result"], json!({"user_id": 1, "name": "Ada"}));
    }
    assert_eq!(asked(), 2);
    for _ in 0..2 {
        assert_eq!(world.ask(json!({"name": "a"})).await.json()["result"], json!({"user_id": 1}));
    }
    assert_eq!(asked(), 3, "unasked it has none");
}

#[tokio::test]
async fn a_window_that_is_open_at_both_ends_is_absent() {
    let world = World::new(Limits::default()).await;
    let meta = &world.ask(json!({"name": "a"})).await.json()["meta"];
    assert!(meta.get("window").is_none() && meta["took_us"].is_u64(), "{meta}");
}

#[tokio::test]
async fn absent_and_null_params_are_empty_and_open_bounds_absent() {
    let world = World::new(Limits::default()).await;
    world.fake.answers(|_| {
        let mut answer = evaluated("1", json!({}));
        answer.window.1 = Some(0);
        answer.history.complete = false;
        answer.history.from = None;
        Ok(answer)
    });
    for body in [
        json!({"name": "a"}),
        json!({"name": "a", "params": null}),
        json!({"name": "a", "params": {}}),
    ] {
        let answer = world.ask(body).await.json();
        assert_eq!(answer["params"], json!({}));
        assert_eq!(answer["meta"]["window"], json!({"to": "1970-01-01T00:00:00.000Z"}));
        assert_eq!(answer["meta"]["history"], json!({"state": "partial"}));
    }
}

#[tokio::test]
async fn top_level_keys_reach_the_engine() {
    let world = World::new(Limits::default()).await;
    let body = json!({"name": "a", "at_least": "0:9999", "wait_ms": 0, "expand": ["names"], "allow_partial": true});
    assert_eq!(world.ask(body).await.status, 200);
    let asked = world.fake.asked.lock()[0].clone();
    assert_eq!(asked.at_least, Some("0:9999".parse().unwrap()));
    assert_eq!((asked.wait, asked.allow_partial), (Duration::ZERO, true));
}

#[tokio::test]
async fn metrics_are_described_as_the_contract_says() {
    let world = World::new(Limits::default()).await;
    let descriptor = r#"{"name":"event_frequencies","version":"1.0.0","summary":"How often","plugin":"event_frequencies","state":"active","since":"2026-01-01T00:00:00.000Z","params_schema":{"type":"object"},"result_schema":{"type":"object"},"config":{},"examples":[{"params":{},"note":"all"}],"reads":["event_type"],"time":true,"history":{"state":"complete"},"cost":{"ns_per_event":12.5,"cells":1234,"bytes":98765},"tiers":[{"pane":"1m","keep":"48h"},{"pane":"1h","keep":"90d"},{"pane":"1d","keep":"all"}]}"#;
    assert_eq!(world.get("/api/metrics/event_frequencies").await.text, descriptor);
    let list = format!(
        "{{\"metrics\":[{descriptor}],\"rejected\":[{{\"file\":\"x.so\",\"reason\":\"no\",\"since\":\"1970-01-01T00:00:00.000Z\"}}]}}"
    );
    assert_eq!(world.get("/api/metrics").await.text, list);

    *world.fake.states.lock() = MetricState::Backfilling { done: 0.42, eta_s: Some(12) };
    let answer = world.get("/api/metrics/event_frequencies").await.json();
    assert_eq!(
        (&answer["state"], &answer["progress"]),
        (&json!("backfilling"), &json!({"done": 0.42, "eta_s": 12}))
    );
    *world.fake.states.lock() = MetricState::Quarantined("it failed".into());
    let answer = world.get("/api/metrics/event_frequencies").await.json();
    assert_eq!((&answer["state"], &answer["reason"]), (&json!("quarantined"), &json!("it failed")));
}

#[tokio::test]
async fn users_and_products_are_listed_by_lower_id_and_found() {
    let world = World::new(Limits::default()).await;
    let all = world.get("/api/users").await;
    assert_eq!(
        all.text,
        r#"{"items":[{"user_id":1,"user_name":"Ada","email":"ada@example.com"},{"user_id":2,"user_name":"Bo \"b\"","email":null},{"user_id":10,"user_name":"Ten","email":null},{"user_id":"abc","user_name":"Text","email":null}],"next":null}"#
    );
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/api/users?limit=1&cursor={cursor}")).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|user| user["user_id"].clone()));
        match &page["next"] {
            Value::String(next) => cursor.clone_from(next),
            next => break assert!(next.is_null()),
        }
    }
    assert_eq!(seen, [json!(1), json!(2), json!(10), json!("abc")]);
    for path in ["/api/product", "/api/products"] {
        assert_eq!(
            world.get(path).await.text,
            r#"{"items":[{"product_id":10,"product_name":"lamp","cost":290.00}],"next":null}"#
        );
        assert_eq!(
            world.get(&format!("{path}/10")).await.text,
            r#"{"product_id":10,"product_name":"lamp","cost":290.00}"#
        );
    }
    assert_eq!(world.get("/api/users/%61bc").await.json()["user_id"], json!("abc"));
    assert_eq!(world.get("/api/users?limit=1000").await.status, 200);
}

#[tokio::test]
async fn events_reach_the_log_as_they_were_sent() {
    let world = World::new(Limits::default()).await;
    let answer = world.post("/api/events", "[{\"a\" : 1.0}, 7, {\"a\":1,\"a\":2}]").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (
            200,
            r#"{"accepted":2,"rejected":[{"index":1,"reason":"not_an_object"}],"position":"0:17"}"#
        )
    );
    assert_eq!(*world.fake.written.lock(), ["{\"a\" : 1.0}", "7", "{\"a\":1,\"a\":2}"]);
    let request =
        Request::post("/api/events").header("content-type", "application/x-ndjson; charset=utf-8");
    let answer = world.send(request.body(Body::from("{\"b\":1}\n{\"b\":2}\n")).unwrap()).await;
    assert_eq!(answer.json(), json!({"accepted": 2, "rejected": [], "position": "0:17"}));
    let large = format!("[{}]", vec!["{\"a\":1}"; 20_000].join(","));
    assert_eq!(
        world.post("/api/events", large).await.json()["accepted"],
        json!(20_000),
        "far more than 64 KiB"
    );
}

#[tokio::test]
async fn dead_letters_are_shown_as_text_where_they_are_text() {
    let world = World::new(Limits::default()).await;
    let empty = world.get("/api/dead-letters").await;
    assert_eq!((empty.status.as_u16(), empty.text.as_str()), (200, r#"{"items":[],"counts":{}}"#));
    let letter = |reason: &str, offset, payload: &[u8]| {
        DeadLetter::new(reason, "events", 3, offset, 1_767_225_600_000, Some(payload))
    };
    let letters = vec![
        letter("invalid_utf8", 9, b"\xff\xfe"),
        letter("invalid_json", 8, "{\"ü".as_bytes()),
        letter("payload_too_large", 7, &[b'x'; 70_000]),
        DeadLetter { origin: Some("events/3/1".into()), ..letter("too_deep", 6, b"[") },
    ];
    let counts = [("invalid_json".into(), 12), ("invalid_utf8".into(), 1)].into();
    *world.fake.letters.lock() = Ok(Refusals { letters, partial: true, counts });
    let answer =
        world.get("/api/dead-letters?limit=100&reason=missing_field%3Auser_id").await.json();
    let place = json!({"topic": "events", "partition": 3, "time": "2026-01-01T00:00:00.000Z"});
    let with = |rest: Value| {
        let mut item = place.as_object().unwrap().clone();
        item.extend(rest.as_object().unwrap().clone());
        Value::Object(item)
    };
    let items = json!([
        with(json!({"reason": "invalid_utf8", "offset": 9, "length": 2, "bytes_base64": "//4="})),
        with(json!({"reason": "invalid_json", "offset": 8, "length": 4, "text": "{\"ü"})),
        with(
            json!({"reason": "payload_too_large", "offset": 7, "length": 70_000, "text": "x".repeat(1_024)})
        ),
        with(
            json!({"reason": "too_deep", "offset": 6, "length": 1, "text": "[", "origin": "events/3/1"})
        ),
    ]);
    assert_eq!(answer["items"], items);
    assert_eq!(
        (&answer["partial"], &answer["counts"]),
        (&json!(true), &json!({"invalid_json": 12, "invalid_utf8": 1}))
    );
    world.get("/api/dead-letters?limit=&reason=").await;
    let asked = world.fake.letters_asked.lock().clone();
    assert_eq!(asked, [(20, None), (100, Some("missing_field:user_id".to_owned())), (20, None)]);
}

#[tokio::test]
async fn health_is_told_line_by_line() {
    let world = World::new(Limits::default()).await;
    assert_eq!(world.get("/livez").await.text, "ok\n");
    assert_eq!(world.get("/readyz").await.text, "ok\n");
    assert_eq!(
        world.get("/readyz?verbose").await.text,
        "[+]store ok: embedded\n[+]catalogue ok\nreadyz check passed\n"
    );
    world.fake.checks.lock().push(Check {
        name: "source",
        ok: false,
        needed: true,
        detail: "no assignment".into(),
        remedy: None,
    });
    let answer = world.get("/readyz?verbose").await;
    assert_eq!(answer.status, 503);
    let lines = "[+]store ok: embedded\n[-]source failed: no assignment\n[+]catalogue ok\nreadyz check failed\n";
    assert_eq!(answer.text, lines);
    let answer = world.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/problem+json", "no-store")
    );
    let problem = answer.json();
    assert_eq!(problem["code"], json!("not_ready"));
    assert_eq!(problem["errors"], json!([{"pointer": "/source", "detail": "no assignment"}]));
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let own = metrics.text.strip_prefix("tally_up 1\n# HELP tally_ready ").unwrap();
    for line in [
        "tally_ready 0",
        "tally_catalogue_ready 1",
        "tally_sockets 0",
        "tally_questions_held 0",
        "tally_limits_hit_total{code=\"overloaded\"} 0",
    ] {
        assert!(own.lines().any(|own| own == line), "{line}: {own}");
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_headers_that_browsers_heed() {
    let world = World::new(Limits::default()).await;
    for path in ["/livez", "/nothing", "/api/users", "/api/users/x%00"] {
        let answer = world.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'self'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("request-id").len(), 36);
    }
    let request =
        |id: &str| Request::get("/nothing").header("request-id", id).body(Body::empty()).unwrap();
    let answer = world.send(request("abc-1")).await;
    assert_eq!(
        (answer.header("request-id"), &answer.json()["request_id"]),
        ("abc-1", &json!("abc-1"))
    );
    assert_ne!(world.send(request("a b\"c")).await.header("request-id"), "a b\"c");
    assert_ne!(world.send(request(&"x".repeat(65))).await.header("request-id").len(), 65);
}

#[tokio::test]
async fn the_log_is_shown_line_by_line_to_those_who_count_again() {
    let world = World::new(Limits { audits: 2, ..Limits::default() }).await;
    let answer = world.get("/api/internal/log").await;
    assert_eq!(
        (answer.status, answer.json()),
        (
            StatusCode::OK,
            json!([{"partition": 0, "start": 3, "end": 1204}, {"partition": 1, "start": 0, "end": 998},
            {"partition": 8, "start": 0, "end": 8}, {"partition": 9, "start": 0, "end": 9}])
        )
    );
    let answer = world.get("/api/internal/log?partition=0&from=5&to=9").await;
    let lines: Vec<&str> = answer.text.lines().collect();
    let expected = [
        r#"{"offset":5,"timestamp":7,"payload":"e30="}"#,
        r#"{"offset":6,"timestamp":7,"payload":null}"#,
        r#"{"offset":7,"timestamp":7,"payload":"/w==","origin":"log/0/1","origin_time":3}"#,
        r#"{"end":3}"#,
    ];
    assert_eq!(
        (answer.header("content-type"), lines.as_slice()),
        ("application/x-ndjson", &expected[..])
    );
    // What breaks off says so in its last line: the status was sent long before.
    let answer = world.get("/api/internal/log?partition=0&from=100&to=900").await;
    assert_eq!(answer.text.lines().last(), Some(r#"{"fault":"it broke off"}"#));
    let answer = world.get("/api/internal/log?partition=1&from=0&to=1").await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("log_unavailable"))
    );
    for query in ["?partition=0", "?from=1&to=2", "?partition=x&from=0&to=1"] {
        assert_eq!(
            world.get(&format!("/api/internal/log{query}")).await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    let answer = world.get("/api/internal/state/nothing").await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::NOT_FOUND, &json!("metric_not_found"))
    );
    let answer = world.get("/api/internal/events").await;
    assert_eq!(answer.json()["dedupe_window"], 65_536);
}
