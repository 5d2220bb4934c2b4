//! Tags of answers: every read of data has one, and who has the answer already gets no body again.

use super::fake::{Answer, World};
use crate::http::Limits;
use axum::body::Body;
use axum::http::{Method, Request};
use tally_engine::engine::MetricState;

/// Every kind of data.
const DATA: [&str; 21] = [
    "/api/users",
    "/api/users/1",
    "/api/product?limit=1",
    "/api/product/10",
    "/api/metrics",
    "/api/metrics/event_frequencies",
    "/api/sections",
    "/api/dead-letters",
    "/api/events?limit=2",
    "/api/events?user_id=2",
    "/api/records/0/0",
    "/api/internal/events",
    "/api/internal/log",
    "/api/internal/tables",
    "/problems/not_found",
    "/api/openapi.json",
    "/api/asyncapi.json",
    "/",
    "/api/boards",
    "/docs",
    "/docs/page.js",
];

/// What has no tag: how the process is, streams, problems.
const OTHER: [&str; 9] = [
    "/livez",
    "/readyz",
    "/readyz?verbose",
    "/metrics",
    "/api/internal/log?partition=0&from=5&to=9",
    "/api/users/999",
    "/api/records/7/0",
    "/nothing",
    "/ws",
];

async fn send(world: &World, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_read_of_data_has_a_tag_and_who_has_it_gets_no_body_again() {
    let world = World::new(Limits::default()).await;
    for path in DATA {
        let first = world.get(path).await;
        assert_eq!((first.status.as_u16(), first.header("cache-control")), (200, "no-cache"));
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\"") && tag.len() == 36, "{path}: {tag}");
        assert_eq!(world.get(path).await.header("etag"), tag, "{path}");

        let head = send(&world, Method::HEAD, path, &[]).await;
        assert_eq!((head.header("etag"), head.text.as_str()), (tag.as_str(), ""), "{path}");
        for method in [Method::GET, Method::HEAD] {
            let headers = [("if-none-match", tag.as_str()), ("request-id", "a-1")];
            let again = send(&world, method, path, &headers).await;
            assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
            assert_eq!((again.header("etag"), again.header("cache-control")), (&*tag, "no-cache"));
            assert_eq!(again.header("request-id"), "a-1");
            assert_eq!((again.header("content-type"), again.header("content-length")), ("", ""));
        }
        let other = send(&world, Method::GET, path, &[("if-none-match", "W/\"00\"")]).await;
        assert_eq!((other.status.as_u16(), other.text), (200, first.text), "{path}");
    }
}

#[tokio::test]
async fn another_answer_has_another_tag() {
    let world = World::new(Limits::default()).await;
    let path = "/api/metrics/event_frequencies";
    let before = world.get(path).await.header("etag").to_owned();
    *world.fake.states.lock() = MetricState::Quarantined("it failed".into());
    let after = send(&world, Method::GET, path, &[("if-none-match", before.as_str())]).await;
    assert_eq!((after.status.as_u16(), after.json()["state"].as_str()), (200, Some("quarantined")));
    assert_ne!(after.header("etag"), before);
}

#[tokio::test]
async fn what_is_no_data_and_what_is_not_read_has_no_tag() {
    let world = World::new(Limits::default()).await;
    for path in OTHER {
        let answer = send(&world, Method::GET, path, &[("if-none-match", "*")]).await;
        assert_ne!(answer.status.as_u16(), 304, "{path}");
        assert_eq!(answer.header("etag"), "", "{path}");
    }
    for (path, body) in [("/api/metrics", r#"{"name":"a"}"#), ("/api/events", "{}")] {
        let answer = world.post(path, body).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, ""), "{path}");
        assert_eq!(answer.header("cache-control"), "", "{path}");
    }
}

/// A cache between a listed page and the server gives its browser nothing that was answered to
/// somebody else.
#[tokio::test]
async fn what_may_be_kept_depends_on_the_page_that_asks() {
    let world = World::new(Limits::default()).await;
    let plain = world.get("/api/users").await;
    assert_eq!(plain.varies(), ["accept", "origin"]);
    assert_eq!(plain.header("access-control-allow-origin"), "");
    let page = [("origin", "https://shop.example")];
    let listed = send(&world, Method::GET, "/api/users", &page).await;
    assert_eq!(listed.header("access-control-allow-origin"), "https://shop.example");
    assert!(listed.header("access-control-expose-headers").contains("etag"));
    assert_eq!(listed.varies(), ["accept", "origin"]);
    assert!(world.get("/livez").await.varies().is_empty());
}
