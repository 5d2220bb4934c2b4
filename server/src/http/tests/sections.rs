//! Sections over HTTP: what reaches the engine, and how its answers are told. What a section may
//! hold is tried with real engines.

use super::documented_answers::{Documented, compare};
use super::fake::{Answer, World, section};
use crate::http::Limits;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use std::time::Duration;
use tally_engine::config::SectionFault;
use tally_engine::engine::{OrderError, SectionError, SectionInfo, SectionPlace};

const PATH: &str = "/api/sections/sales";

/// As the document has it.
const ROUTE: &str = "/api/sections/{name}";

fn request(method: Method, body: &str) -> Request<Body> {
    request_with("", method, body)
}

/// The same with a query.
fn request_with(query: &str, method: Method, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(format!("{PATH}{query}"));
    request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}

async fn put(world: &World, body: &str) -> Answer {
    world.send(request(Method::PUT, body)).await
}

#[tokio::test]
async fn a_section_is_added_changed_listed_and_taken_away() {
    let world = World::new(Limits::default()).await;
    let body = r#"{"plugin":"counts","config":{"by":["/brand"]}}"#;
    let text = "[metrics.sales]\nplugin = \"counts\"\n\n[config]\nby = [\"/brand\"]\n";
    let stored = json!({"name": "sales", "place": "data_directory",
        "section": {"plugin": "counts", "config": {"by": ["/brand"]}}, "toml": text});
    for status in [201, 200] {
        let answer = put(&world, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, stored.clone()));
        assert_eq!(
            (answer.header("etag"), answer.header("content-type")),
            ("", "application/json")
        );
    }
    assert_eq!(put(&world, r#"{"plugin":"counts"}"#).await.status, 200);
    let shadowed = SectionInfo { shadowed: true, ..section("b", SectionPlace::DataDirectory, "") };
    world.fake.sections.lock().push(shadowed);
    let list = world.get("/api/sections").await.json();
    let one = |one: &Value| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        (text("name"), text("place"), one.get("shadowed").cloned())
    };
    let names: Vec<_> = list["sections"].as_array().unwrap().iter().map(one).collect();
    let expected = |name: &str, place: &str, shadowed: Option<Value>| {
        (name.to_owned(), place.to_owned(), shadowed)
    };
    let own = "data_directory";
    let expected = [
        expected("event_frequencies", "file", None),
        expected("sales", own, None),
        expected("b", own, Some(json!(true))),
    ];
    assert_eq!(names, expected);
    let rows = Request::get("/api/sections").header("accept", "text/csv").body(Body::empty());
    let rows = world.send(rows.unwrap()).await.text;
    let header: Vec<&str> = rows.lines().next().unwrap().split(',').collect();
    for column in ["name", "place", "shadowed", "section", "toml"] {
        assert!(header.contains(&column), "{column}: {header:?}");
    }

    let gone = world.send(request(Method::DELETE, "")).await;
    assert_eq!((gone.status.as_u16(), gone.json()), (200, json!({"done": "sales is retired"})));
    assert_eq!(world.send(request(Method::DELETE, "")).await.json()["code"], "section_not_found");
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_does_nothing() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    let body = r#"{"plugin":"counts"}"#;
    for query in ["?dry_run=true", "?dry_run"] {
        let answer = world.send(request_with(query, Method::PUT, body)).await;
        let stored = json!({"name": "sales", "place": "data_directory",
            "section": {"plugin": "counts"}, "toml": "[metrics.sales]\nplugin = \"counts\"\n"});
        let would = json!({"would": "sales would be served", "metric": "added",
            "counts_history": true, "section": stored});
        assert_eq!((answer.status.as_u16(), answer.json()), (200, would));
    }
    assert_eq!(world.fake.sections.lock().len(), 1, "nothing was added");
    assert_eq!(put(&world, body).await.status, 201);
    let answer = world.send(request_with("?dry_run=true", Method::DELETE, "")).await;
    let would =
        json!({"would": "sales would be retired", "metric": "removed", "counts_history": false});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, would));
    assert_eq!(world.fake.sections.lock().len(), 2, "nothing was taken away");
    for (query, method, body, status) in [
        ("?dry_run=true", "put", body, 200),
        ("?dry_run=false", "put", body, 200),
        ("?dry_run=true", "put", "{", 400),
        ("?dry_run=yes", "put", body, 422),
        ("?dryrun", "put", body, 422),
        ("?dry_run=true", "delete", "", 200),
        ("?dryrun=true", "delete", "", 422),
        ("?dry_run=false", "delete", "", 200),
        ("?dry_run=true", "delete", "", 404),
    ] {
        let request = request_with(query, method.to_uppercase().parse().unwrap(), body);
        let told = compare(&world, &documented, (method, ROUTE), request).await;
        assert_eq!(told.as_u16(), status, "{method} {query} {body}");
    }
    *world.fake.section_fails.lock() = Some(SectionError::Invalid(faults()));
    let refused = world.send(request_with("?dry_run=true", Method::PUT, body)).await;
    assert_eq!(refused.json()["code"], "section_invalid");
}

#[tokio::test]
async fn what_is_no_section_reaches_no_engine() {
    let world = World::new(Limits::default()).await;
    let large = format!("{{\"config\":{{\"a\":\"{}\"}}}}", "x".repeat(64 << 10));
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        ("[]", 422, "invalid_request"),
        (r#"{"plugin":"a","plugin":"b"}"#, 422, "section_invalid"),
        (r#"{"config":{"a":null}}"#, 422, "section_invalid"),
        (large.as_str(), 413, "payload_too_large"),
    ] {
        let answer = put(&world, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(code)));
    }
    let plain = Request::put(PATH).header("content-type", "text/plain").body(Body::from("{}"));
    assert_eq!(world.send(plain.unwrap()).await.status, 415);
    assert_eq!(world.fake.sections.lock().len(), 1, "nothing was added");
}

/// Why the engine changes no section, and how that is told: status, code, `Retry-After`.
fn refusals() -> [(SectionError, u16, &'static str, &'static str); 9] {
    let file = "metrics.toml".to_owned();
    let late = OrderError::OutcomeUnknown(Duration::from_secs(10));
    [
        (SectionError::InFile { name: "sales".into(), file }, 409, "section_in_file", ""),
        (SectionError::NotFound("sales".into()), 404, "section_not_found", ""),
        (SectionError::Invalid(faults()), 422, "section_invalid", ""),
        (OrderError::NotPossible("no".into()).into(), 409, "not_possible", ""),
        (OrderError::Failed("no".into()).into(), 503, "order_failed", "1"),
        (OrderError::Ended.into(), 503, "order_failed", ""),
        (OrderError::QueueFull(16).into(), 503, "overloaded", "1"),
        (late.into(), 504, "outcome_unknown", ""),
        (OrderError::InDoubt("no".into()).into(), 504, "outcome_unknown", ""),
    ]
}

#[tokio::test]
async fn what_the_engine_refuses_is_told_as_the_document_says() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    for (fault, status, code, again) in refusals() {
        for method in [Method::PUT, Method::DELETE] {
            let word = method.as_str().to_lowercase();
            // Only one that is taken away has to be there, and only one that is added can be wrong.
            let odd = if word == "put" { "section_not_found" } else { "section_invalid" };
            if code == odd {
                continue;
            }
            *world.fake.section_fails.lock() = Some(fault.clone());
            let asked = request(method.clone(), "{}");
            let told = compare(&world, &documented, (word.as_str(), ROUTE), asked).await;
            assert_eq!(told.as_u16(), status, "{word} {code}");
            let answer = world.send(request(method, "{}")).await;
            assert_eq!(
                (&answer.json()["code"], answer.header("retry-after")),
                (&json!(code), again)
            );
        }
    }
    *world.fake.section_fails.lock() = Some(SectionError::Invalid(faults()));
    let errors = put(&world, "{}").await.json()["errors"].clone();
    let pointers: Vec<&Value> =
        errors.as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, [&json!(""), &json!("/config/by/0")]);
}

fn faults() -> Vec<SectionFault> {
    let fault = |pointer: &str| SectionFault { pointer: pointer.into(), detail: "no".into() };
    ["", "/config/by/0"].map(fault).into()
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let world = World::new(Limits::default()).await;
    let documented = Documented::of(&world).await;
    for (method, body, status) in [
        ("put", r#"{"plugin":"counts"}"#, 201),
        ("put", r#"{"plugin":"counts"}"#, 200),
        ("put", "{", 400),
        ("put", "[]", 422),
        ("delete", "", 200),
        ("delete", "", 404),
    ] {
        let request = request(method.to_uppercase().parse().unwrap(), body);
        let told = compare(&world, &documented, (method, ROUTE), request).await;
        assert_eq!(told.as_u16(), status, "{method} {body}");
    }
}
