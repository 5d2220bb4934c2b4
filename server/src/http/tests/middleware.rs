//! Every request passes every step, whichever way it takes to its route.

use super::fake::World;
use super::origin_check::ROUTES;
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;

const LONG: usize = 5_000;

fn request(method: &str, target: &str, host: &str) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", host)
        .header("request-id", "a.1:x");
    request.header("content-type", "application/json").body(Body::from(r#"{"name":"a"}"#)).unwrap()
}

#[tokio::test]
async fn every_answer_of_every_route_is_finished() {
    let world = World::new(Limits::default()).await;
    // On the spot, in the handler itself.
    *world.fake.ready.lock() = true;
    world.fake.answers(|question| panic!("asked for {}", question.name));
    for (method, path) in ROUTES {
        let long = format!("{path}?x={}", "y".repeat(LONG));
        let long = long.as_str();
        for (target, host) in [(path, "localhost"), (path, "evil.example"), (long, "localhost")] {
            let answer = world.send(request(method, target, host)).await;
            assert_eq!(answer.header("request-id"), "a.1:x", "{method} {path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
            if answer.status.as_u16() >= 400 {
                assert_eq!(
                    answer.json()["request_id"],
                    "a.1:x",
                    "{method} {path}: {}",
                    answer.text
                );
            }
        }
    }
    let panicked = world.send(request("POST", "/api/metrics", "localhost")).await;
    assert_eq!(
        (panicked.status.as_u16(), panicked.json()["code"].as_str()),
        (500, Some("internal_error"))
    );
}

#[tokio::test]
async fn the_first_check_that_refuses_answers() {
    let world = World::new(Limits::default()).await;
    for (method, path) in ROUTES {
        let long = format!("{path}?x={}", "y".repeat(LONG));
        let long = long.as_str();
        for (target, host, code) in [
            (path, "evil.example", "host_not_allowed"),
            (long, "evil.example", "host_not_allowed"),
            (long, "localhost", "uri_too_long"),
        ] {
            let answer = world.send(request(method, target, host)).await;
            assert_eq!(answer.json()["code"], code, "{method} {path}");
        }
    }
    assert!(
        world.fake.asked.lock().is_empty() && world.fake.written.lock().is_empty(),
        "no route was reached"
    );
}
