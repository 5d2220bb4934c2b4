//! What the server answers is what its OpenAPI document says: status, media type, headers, body,
//! and the code of a problem.

use super::fake::{World, evaluated};
use super::problems::refused_by_the_engine;
use crate::http::Limits;
use crate::http::codes::Code;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tally_engine::engine::{
    ColumnKind, CommitStatus, Cost, DeadLetter, FieldReport, MetricState, MetricStatus, OrderError,
    PartitionOwner, PartitionStatus, RecordField, Refusals, ValueKind,
};
use tally_engine::schema::Schema;
use tally_plugin::ask::Warning;

/// A metric's name.
const NAME: &str = "event_frequencies";

/// An OpenAPI document.
pub(super) struct Documented(Value);

/// What an answer is.
struct Seen<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl Documented {
    pub(super) async fn of(world: &World) -> Documented {
        Documented(world.get("/api/openapi.json").await.json())
    }

    fn resolved<'d>(&'d self, value: &'d Value) -> &'d Value {
        let target = value["$ref"].as_str();
        target.map_or(value, |target| self.0.pointer(target.strip_prefix('#').unwrap()).unwrap())
    }

    /// What is wrong with a value.
    fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let whole = json!({"allOf": [schema], "components": self.0["components"]});
        let schema = Schema::compile(&whole).unwrap_or_else(|fault| panic!("{schema}: {fault}"));
        let faults = schema.faults(value, 10);
        faults.iter().map(|fault| format!("{} {fault}", fault.pointer())).collect()
    }

    /// What an answer has that the document does not say.
    fn faults_of(&self, (method, path): (&str, &str), seen: &Seen<'_>) -> Vec<String> {
        let responses = &self.0["paths"][path][method]["responses"];
        let response = self.resolved(&responses[seen.status.as_str()]);
        if response.is_null() {
            return vec![format!("the status {}", seen.status)];
        }
        let mut faults = self.faults_of_headers(&response["headers"], seen.headers);
        let kind = seen.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        let kind = kind.split(';').next().unwrap_or_default();
        let content = &response["content"];
        if content.is_null() {
            faults.extend((!seen.body.is_empty()).then(|| "a body".to_owned()));
            return faults;
        }
        let Some(schema) = content.get(kind).map(|content| &content["schema"]) else {
            faults.push(format!("the media type {kind:?}"));
            return faults;
        };
        if !kind.ends_with("json") || kind.ends_with("ndjson") {
            assert_eq!(*schema, json!({"type": "string"}), "{kind}");
            return faults;
        }
        let body: Value = serde_json::from_slice(seen.body).unwrap();
        faults.extend(self.faults(schema, &body));
        let codes = response["x-codes"].as_array().into_iter().flatten();
        let codes: Vec<&Value> = codes.collect();
        if !codes.is_empty() && !codes.contains(&&body["code"]) {
            faults.push(format!("the code {}", body["code"]));
        }
        faults
    }

    fn faults_of_headers(&self, described: &Value, headers: &HeaderMap) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, header) in described.as_object().into_iter().flatten() {
            let header = self.resolved(header);
            let Some(value) = headers.get(name.as_str()) else {
                faults.extend((header["required"] == true).then(|| format!("no {name}")));
                continue;
            };
            let text = value.to_str().unwrap();
            let is_number = header["schema"]["type"] == "integer";
            let value = if is_number { json!(text.parse::<u64>().unwrap()) } else { json!(text) };
            let wrong = self.faults(&header["schema"], &value);
            faults.extend(wrong.into_iter().map(|fault| format!("{name}: {fault}")));
        }
        // What a client has to know is described where it is sent.
        for name in ["etag", "retry-after", "allow", "tally-next", "content-encoding"] {
            let mut told = described.as_object().into_iter().flatten();
            let is_told = told.any(|(told, _)| told.eq_ignore_ascii_case(name));
            if headers.contains_key(name) && !is_told {
                faults.push(format!("the header {name}"));
            }
        }
        faults
    }
}

/// Asks, and compares the answer with the document.
pub(super) async fn compare(
    world: &World,
    documented: &Documented,
    operation: (&str, &str),
    request: Request<Body>,
) -> StatusCode {
    let target = request.uri().to_string();
    let (status, headers, body) = world.send_raw(request).await;
    let seen = Seen { status, headers: &headers, body: &body };
    let faults = documented.faults_of(operation, &seen);
    let text = String::from_utf8_lossy(&body);
    assert!(faults.is_empty(), "{operation:?} {target}: {status} has {faults:?}: {text:.2000}");
    status
}

/// Path of the document, target, header, expected status.
type Read = (&'static str, &'static str, (&'static str, &'static str), u16);

/// Path of the document, media type, body, expected status.
type Written = (&'static str, &'static str, &'static str, u16);

const NONE: (&str, &str) = ("x-nothing", "");
const JSON: &str = "application/json";
const CSV: (&str, &str) = ("accept", "text/csv");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");
const HTML: (&str, &str) = ("accept", "text/html");
const ANSWER: &str = "/api/metrics/event_frequencies/answer";
const EVENTS: &str = "/api/events/stream";
const RECORD: &str = "/api/records/{partition}/{offset}";

const BOARD: &str = r#"{"version":1,"title":"Ops","items":[{"id":"a","title":"Types","metric":"event_frequencies","params":{"window":"1h"},"expand":["names"],"picture":"bars","x":0,"y":0,"w":6,"h":4}]}"#;

const READS: &[Read] = &[
    ("/api/users", "", NONE, 200),
    ("/api/users", "?limit=1", CSV, 200),
    ("/api/users", "?limit=", LINES, 200),
    ("/api/users", "?limit=0&cursor=7", NONE, 422),
    ("/api/users", "", ("if-none-match", "*"), 304),
    ("/api/users", "", ("host", "evil.example"), 403),
    ("/api/users/{id}", "/api/users/1", NONE, 200),
    ("/api/users/{id}", "/api/users/abc", NONE, 200),
    ("/api/users/{id}", "/api/users/999", NONE, 404),
    ("/api/users/{id}", "/api/users/x%00", NONE, 422),
    ("/api/product", "", NONE, 200),
    ("/api/products", "", CSV, 200),
    ("/api/product/{id}", "/api/product/10", NONE, 200),
    ("/api/products/{id}", "/api/products/11", NONE, 404),
    ("/api/metrics", "", NONE, 200),
    ("/api/metrics", "", CSV, 200),
    ("/api/metrics/{name}", "/api/metrics/event_frequencies", NONE, 200),
    ("/api/metrics/{name}", "/api/metrics/nothing", NONE, 404),
    ("/api/metrics/{name}/versions", "/api/metrics/event_frequencies/versions", NONE, 200),
    ("/api/metrics/{name}/versions", "/api/metrics/nothing/versions", NONE, 404),
    ("/api/metrics/{name}/answer", "/api/metrics/a/answer?wait=2m", NONE, 422),
    ("/api/metrics/{name}/stream", "/api/metrics/a/stream?x=1", NONE, 422),
    ("/api/metrics/{name}/stream", "/api/metrics/a/stream?x", NONE, 422),
    ("/api/metrics/{name}/answer", "/api/metrics/a/answer?param=", NONE, 422),
    (ANSWER, "", NONE, 200),
    (ANSWER, "?params=%7B%7D&expand=names", CSV, 200),
    (ANSWER, "?after=*", NONE, 304),
    ("/api/metrics/event_frequencies/stream", "?params=7", NONE, 422),
    ("/api/dead-letters", "", NONE, 200),
    ("/api/dead-letters", "", LINES, 200),
    ("/api/dead-letters", "?limit=101", NONE, 422),
    ("/api/sections", "", NONE, 200),
    ("/api/sections", "", CSV, 200),
    ("/api/sections", "", ("if-none-match", "*"), 304),
    ("/api/plugins", "", NONE, 200),
    ("/api/plugins", "", ("if-none-match", "*"), 304),
    ("/api/status", "", NONE, 200),
    ("/api/events", "?before=x", NONE, 422),
    ("/api/events", "?user=1", NONE, 422),
    ("/api/events", "?user_id=2", NONE, 200),
    ("/api/events", "?limit=2", ("if-none-match", "*"), 304),
    (EVENTS, "?since=x", NONE, 422),
    (EVENTS, "?user=", NONE, 422),
    (EVENTS, "?since=9:9", NONE, 503),
    ("/api/fields", "", NONE, 200),
    ("/api/fields", "?records=10000", ("if-none-match", "*"), 304),
    ("/api/fields", "?records=10001&x=1", NONE, 422),
    ("/api/fields", "?records=13", NONE, 503),
    (RECORD, "/api/records/0/1", NONE, 200),
    (RECORD, "/api/records/0/2", NONE, 200),
    (RECORD, "/api/records/0/3", NONE, 200),
    (RECORD, "/api/records/0/3", ("if-none-match", "*"), 304),
    (RECORD, "/api/records/7/0", NONE, 404),
    (RECORD, "/api/records/0/x", NONE, 422),
    ("/ws", "", NONE, 426),
    ("/ws", "?events=some", NONE, 422),
    ("/livez", "", NONE, 200),
    ("/readyz", "", NONE, 200),
    ("/readyz", "?verbose", NONE, 200),
    ("/metrics", "", NONE, 200),
    ("/problems", "", NONE, 200),
    ("/problems", "", HTML, 200),
    ("/problems/{code}", "/problems/overloaded", NONE, 200),
    ("/problems/{code}", "/problems/message_too_large", NONE, 200),
    ("/problems/{code}", "/problems/nothing", HTML, 404),
    ("/api/openapi.json", "", NONE, 200),
    ("/api/asyncapi.json", "", NONE, 200),
    ("/", "", NONE, 200),
    ("/", "", ("accept-encoding", "gzip"), 200),
    ("/", "", ("if-none-match", "*"), 304),
    ("/api/boards", "", NONE, 200),
    ("/api/boards/{name}", "/api/boards/ops", NONE, 200),
    ("/api/boards/{name}", "/api/boards/ops", ("if-none-match", "*"), 304),
    ("/api/boards/{name}", "/api/boards/nothing", NONE, 404),
    ("/docs", "", NONE, 200),
    ("/docs/{file}", "/docs/page.js", NONE, 200),
    ("/docs/{file}", "/docs/page.js", ("if-none-match", "*"), 304),
    ("/docs/{file}", "/docs/swagger-ui-5.35.0.css", NONE, 200),
    ("/docs/{file}", "/docs/nothing", NONE, 404),
];

const WRITES: &[Written] = &[
    ("/api/metrics", JSON, r#"{"name":"event_frequencies"}"#, 200),
    ("/api/metrics", JSON, r#"{"name":"event_frequencies","params":null,"expand":[]}"#, 200),
    ("/api/metrics", JSON, r#"{"name":7,"x":1}"#, 422),
    ("/api/metrics", JSON, r#"{"name":"a","params":7}"#, 422),
    ("/api/metrics", JSON, "{", 400),
    ("/api/metrics", "text/plain", "{}", 415),
    ("/api/metrics/batch", JSON, r#"{"queries":[{"name":"event_frequencies"}]}"#, 200),
    ("/api/metrics/batch", JSON, r#"{"queries":[7,{"name":"event_frequencies","params":7}]}"#, 200),
    ("/api/metrics/batch", JSON, r#"{"queries":[]}"#, 422),
    ("/api/metrics/batch", JSON, "[", 400),
    ("/api/preview", JSON, r#"{"plugin":"counts","config":{"cells":{"n":"count"}}}"#, 200),
    ("/api/preview", JSON, r#"{"plugin":"counts","params":null,"records":1}"#, 200),
    ("/api/preview", JSON, r#"{"plugin":7,"records":0}"#, 422),
    ("/api/preview", JSON, "{", 400),
    ("/api/preview", "text/plain", "{}", 415),
    ("/api/events", JSON, r#"[{"a":1},7]"#, 200),
    ("/api/events", JSON, "[]", 200),
    ("/api/events", "application/x-ndjson", "{}\n{}\n", 200),
    ("/api/events", JSON, "{", 400),
    ("/api/events", "text/plain", "{}", 415),
];

/// The target of a path: behind the path itself, or in its place.
fn target_of(path: &str, target: &str) -> String {
    if target.starts_with('/') { target.to_owned() } else { format!("{path}{target}") }
}

fn read((path, target, (name, value), _): &Read) -> Request<Body> {
    let request = Request::get(target_of(path, target)).header(*name, *value);
    request.body(Body::empty()).unwrap()
}

fn written(path: &str, kind: &str, body: &str) -> Request<Body> {
    let request = Request::post(path).header("content-type", kind);
    request.body(Body::from(body.to_owned())).unwrap()
}

/// Much that may be there, and is not by default.
fn fill(world: &World) {
    world.fake.answers(|_| {
        let mut answer = evaluated("{\"total\":11,\"by_type\":{}}", json!({}));
        answer.window = (None, Some(1_767_225_600_000));
        answer.warnings = vec![Warning::new("events_failed", "some").with("count", 563)];
        Ok(answer)
    });
    let letter = |reason: &str, payload: &[u8]| {
        DeadLetter::new(reason, "events", 3, 9, 1_767_225_600_000, Some(payload))
    };
    let letters = vec![letter("invalid_utf8", b"\xff"), letter("invalid_json", b"{")];
    let counts = [("invalid_json".into(), 12)].into();
    *world.fake.letters.lock() = Ok(Refusals { letters, partial: true, counts });
    let field = RecordField {
        pointer: "/price".into(),
        records: 3,
        kinds: vec![(ValueKind::String, 2), (ValueKind::Null, 1)],
        examples: vec!["\"57.70\"".into(), "57.70".into()],
        distinct: Some(2),
        mapped: Some("user_id"),
        column: Some(ColumnKind::Decimal(2)),
    };
    let fields = vec![field];
    *world.fake.fields.lock() = FieldReport {
        records: 4,
        others: 1,
        fields,
        records_left_out: true,
        fields_left_out: true,
        deeper_left_out: true,
    };
    let mut status = world.fake.status.lock();
    let partition = PartitionStatus {
        partition: 0,
        owner: Some(PartitionOwner::Other),
        position: Some(7),
        start: 3,
        end: 10,
        lag: Some(3),
        open: 1,
        stalled: true,
    };
    status.partitions = vec![partition];
    status.commits = CommitStatus { last: Some(1_767_225_612_000), processed: 9, committed: 8 };
    status.metrics = vec![MetricStatus {
        name: NAME.into(),
        state: MetricState::Backfilling { done: 0.5, eta_s: Some(3) },
        version: "1.0.0".into(),
        notice: None,
        cost: Cost { ns_per_event: 1.5, cells: 1, bytes: 2, unreadable: None },
        events_failed: 1,
        answers_stuck: 1,
    }];
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    world.board("ops.json", BOARD);
    for filled in [false, true] {
        for asked in READS {
            let (path, target, _, expected) = asked;
            let status = compare(&world, &documented, ("get", *path), read(asked)).await;
            assert_eq!(status.as_u16(), *expected, "{path} {target}");
        }
        for (path, kind, body, expected) in WRITES {
            let request = written(path, kind, body);
            let status = compare(&world, &documented, ("post", *path), request).await;
            assert_eq!(status.as_u16(), *expected, "{path} {body}");
        }
        if !filled {
            fill(&world);
        }
    }
    // Of any request.
    let long = format!("/livez?{}", "x".repeat(5_000));
    for (request, expected) in [(Request::get(long), 414), (Request::delete("/livez"), 405)] {
        let request = request.body(Body::empty()).unwrap();
        let status = compare(&world, &documented, ("get", "/livez"), request).await;
        assert_eq!(status.as_u16(), expected);
    }
    for (path, bytes) in [("/api/metrics", 64 << 10), ("/api/events", 1 << 20)] {
        let request = written(path, JSON, &" ".repeat(bytes + 1));
        let status = compare(&world, &documented, ("post", path), request).await;
        assert_eq!(status.as_u16(), 413, "{path}");
    }
}

#[tokio::test]
async fn what_a_metric_refuses_is_what_the_document_says() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    let one = json!({ "name": NAME });
    let together = json!({ "queries": [one] }).to_string();
    let one = one.to_string();
    for code in Code::ALL {
        let Some(fault) = refused_by_the_engine(*code) else { continue };
        world.fake.answers(move |_| Err(fault.clone()));
        for (path, body, expected) in [
            ("/api/metrics", &one, code.status()),
            ("/api/metrics/batch", &together, StatusCode::OK),
        ] {
            let request = written(path, JSON, body);
            let status = compare(&world, &documented, ("post", path), request).await;
            assert_eq!(status, expected, "{path}: {}", code.word());
        }
        // By GET no position is required.
        if *code != Code::PositionNotReached {
            let request = Request::get(ANSWER).body(Body::empty()).unwrap();
            let status = compare(&world, &documented, ("get", ANSWER), request).await;
            assert_eq!(status, code.status(), "{}", code.word());
        }
    }
}

#[tokio::test]
async fn what_becomes_of_an_order_is_what_the_document_says() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    let refused = || Err(OrderError::NotPossible("there is only one".into()));
    let failed = || Err(OrderError::Failed("a lane is late".into()));
    let unknown = || Err(OrderError::OutcomeUnknown(Duration::from_secs(10)));
    for order in ["promote", "rollback", "purge"] {
        let path = format!("/api/metrics/{{name}}/{order}");
        for (query, kind, outcome, expected) in [
            ("", JSON, Ok("a: done".into()), 200),
            ("?dry_run=true", JSON, Ok("a: it would be done".into()), 200),
            ("", JSON, refused(), 409),
            ("", JSON, failed(), 503),
            ("", JSON, unknown(), 504),
            ("?dry_run=7", JSON, refused(), 422),
            ("", "text/plain", refused(), 415),
        ] {
            *world.fake.order_outcome.lock() = outcome;
            let request = written(&format!("/api/metrics/a/{order}{query}"), kind, "{}");
            let status = compare(&world, &documented, ("post", path.as_str()), request).await;
            assert_eq!(status.as_u16(), expected, "{order}{query}");
        }
    }
}

#[tokio::test]
async fn what_is_not_in_order_is_told_as_the_document_says() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    world.fake.checks.lock().iter_mut().for_each(|check| check.ok = false);
    *world.fake.append_fails.lock() = true;
    for asked in [
        ("/readyz", "", NONE, 503),
        ("/readyz", "?verbose=1", NONE, 503),
        ("/api/status", "", NONE, 200),
    ] {
        let status = compare(&world, &documented, ("get", asked.0), read(&asked)).await;
        assert_eq!(status.as_u16(), asked.3, "{}", asked.0);
    }
    let path = "/api/events";
    let status = compare(&world, &documented, ("post", path), written(path, JSON, "{}")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn answers_that_are_not_described_are_found() {
    let world = World::new(Limits::default()).await;
    let Documented(mut document) = Documented::of(&world).await;
    let user = document.pointer_mut("/components/schemas/user/properties").unwrap();
    user.as_object_mut().unwrap().shift_remove("email");
    let responses = document.pointer_mut("/paths/~1api~1users/get/responses").unwrap();
    responses.as_object_mut().unwrap().shift_remove("422");
    let documented = Documented(document);
    for (target, fault) in [("", "email"), ("?limit=0", "the status 422")] {
        let request = read(&("/api/users", target, NONE, 0));
        let (status, headers, body) = world.send_raw(request).await;
        let seen = Seen { status, headers: &headers, body: &body };
        let faults = documented.faults_of(("get", "/api/users"), &seen);
        assert!(faults.iter().any(|found| found.contains(fault)), "{faults:?}");
    }
}
