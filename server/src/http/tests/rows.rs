//! Lists and answers as rows, for those who prefer them.

use super::fake::{Answer, World, evaluated};
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tally_engine::engine::{AnswerValidity, DeadLetter, Evaluated, Refusals};
use tally_plugin::ask::Warning;

const CSV: &str = "text/csv; charset=utf-8; header=present";
const NDJSON: &str = "application/x-ndjson";
const ANSWER: &str = "/api/metrics/event_frequencies/answer";

async fn get(world: &World, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    world.send(request).await
}

async fn post(world: &World, body: &str, accept: &str) -> Answer {
    let request = Request::post("/api/metrics")
        .header("content-type", "application/json")
        .header("accept", accept);
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn lists_are_rows_for_those_who_prefer_them() {
    let world = World::new(Limits::default()).await;
    let users = get(&world, "/api/users?limit=2", "text/csv").await;
    assert_eq!(
        users.text,
        "user_id,user_name,email\r\n1,Ada,ada@example.com\r\n2,\"Bo \"\"b\"\"\",\r\n"
    );
    assert_eq!((users.header("content-type"), users.varies()), (CSV, vec!["accept", "origin"]));
    // Where the next page begins is what `next` says.
    let page = world.get("/api/users?limit=2").await.json();
    assert_eq!(page["next"], users.header("tally-next"));
    let rest = format!("/api/users?cursor={}", users.header("tally-next"));
    let rest = get(&world, &rest, NDJSON).await;
    assert_eq!(
        rest.text,
        "{\"user_id\":10,\"user_name\":\"Ten\",\"email\":null}\n\
         {\"user_id\":\"abc\",\"user_name\":\"Text\",\"email\":null}\n"
    );
    assert_eq!((rest.header("content-type"), rest.header("tally-next")), (NDJSON, ""));
    let products = get(&world, "/api/product", "text/csv").await;
    assert_eq!(products.text, "product_id,product_name,cost\r\n10,lamp,290.00\r\n");

    let metrics = get(&world, "/api/metrics", "text/csv").await;
    let mut lines = metrics.text.lines();
    let (names, first) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(names.starts_with("name,version,summary,plugin,state,since,params_schema,"), "{names}");
    assert!(names.contains(",cost.ns_per_event,cost.cells,"), "{names}");
    assert!(first.starts_with("event_frequencies,1.0.0,How often,"), "{first}");

    let letter = DeadLetter::new("invalid_json", "events", 3, 8, 1_767_225_600_000, Some(b"{\r\n"));
    let letters = vec![letter];
    *world.fake.letters.lock() = Ok(Refusals { letters, ..Refusals::default() });
    let letters = get(&world, "/api/dead-letters", "text/csv").await;
    assert_eq!(
        letters.text,
        "reason,topic,partition,offset,time,length,text\r\n\
         invalid_json,events,3,8,2026-01-01T00:00:00.000Z,3,\"{\r\n\"\r\n"
    );
}

#[tokio::test]
async fn rows_have_a_tag_of_their_own() {
    let world = World::new(Limits::default()).await;
    for path in ["/api/users", ANSWER] {
        let mut tags = Vec::new();
        for accept in ["application/json", "text/csv", NDJSON] {
            let tag = get(&world, path, accept).await.header("etag").to_owned();
            let request = Request::get(path).header("accept", accept).header("if-none-match", &tag);
            let again = world.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path} {accept}");
            tags.push(tag);
        }
        tags.dedup();
        assert_eq!(tags.len(), 3, "{path}: {tags:?}");
    }
}

fn series() -> Evaluated {
    let steps = json!([
        {"start": "2026-01-01T00:00:00.000Z", "total": 2, "by_type": {"buy": 1, "view": 1}},
        {"start": "2026-01-01T01:00:00.000Z", "total": 0, "by_type": {}},
    ]);
    let result = json!({"total": 2, "by_type": {"buy": 1, "view": 1}, "series": steps});
    let mut answer = evaluated(&result.to_string(), json!({}));
    answer.window = (Some(1_767_225_600_000), None);
    answer.warnings = vec![
        Warning::new("events_failed", "some").with("count", 1),
        Warning::new("ünlike\r\n", "a plugin's own"),
    ];
    answer
}

#[tokio::test]
async fn a_series_is_rows_and_what_else_it_says_is_in_headers() {
    let world = World::new(Limits::default()).await;
    world.fake.answers(|_| Ok(series()));
    let expected = "start,total,by_type.buy,by_type.view\r\n\
                    2026-01-01T00:00:00.000Z,2,1,1\r\n2026-01-01T01:00:00.000Z,0,,\r\n";
    let body = r#"{"name":"event_frequencies"}"#;
    for answer in [get(&world, ANSWER, "text/csv").await, post(&world, body, "text/csv").await] {
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, expected));
        for (name, value) in [
            ("content-type", CSV),
            ("tally-position", "0:1204,1:998"),
            ("tally-as-of", "2026-01-01T00:00:00.000Z"),
            ("tally-window", "2026-01-01T00:00:00.000Z/.."),
            ("tally-history", "complete; from=2026-01-01T00:01:00.000Z"),
            ("tally-warnings", "events_failed, \\u{fc}nlike\\r\\n"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert_eq!(answer.varies()[0], "accept");
    }
    let lines = post(&world, body, NDJSON).await;
    let rows: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["by_type"]), (2, &json!({})));
    let wanted = get(&world, ANSWER, "text/csv;q=0.5, application/json").await;
    assert_eq!(wanted.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_refusal_is_a_problem_whatever_is_preferred() {
    let world = World::new(Limits { answer_bytes: 50, ..Limits::default() }).await;
    world.fake.answers(|_| Ok(series()));
    for accept in ["text/csv", NDJSON] {
        let answer = get(&world, ANSWER, accept).await;
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), &body["code"]), (422, &json!("answer_too_large")));
        assert!(body["detail"].as_str().unwrap().contains("[limits] answer_bytes"), "{body}");
    }
    let nobody = get(&world, "/api/users/999", "text/csv").await;
    assert_eq!(nobody.header("content-type"), "application/problem+json");
    assert_eq!(get(&world, ANSWER, "image/png").await.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_kept_reply_is_not_given_to_who_prefers_rows() {
    let world = World::new(Limits::default()).await;
    world.fake.answers(|_| {
        let validity = Some(AnswerValidity::new(|| Some(0)));
        Ok(Evaluated { validity, ..evaluated("{\"total\":11}", json!({})) })
    });
    let body = r#"{"name":"event_frequencies"}"#;
    let asked = || world.fake.asked.lock().len();
    for _ in 0..2 {
        assert_eq!(post(&world, body, "*/*").await.json()["result"], json!({"total": 11}));
    }
    assert_eq!(asked(), 1, "it is kept");
    assert_eq!(post(&world, body, "text/csv").await.text, "total\r\n11\r\n");
    assert_eq!(asked(), 2);
    assert_eq!(post(&world, body, "application/json").await.json()["result"], json!({"total": 11}));
    assert_eq!(asked(), 2, "and rows were not kept in its place");
}

#[tokio::test]
async fn a_large_answer_is_made_rows_of_too() {
    let answers = std::sync::Arc::new(tally_engine::memory::Share::new(4 << 20));
    let world = World::new(Limits { answers: answers.clone(), ..Limits::default() }).await;
    world.fake.answers(|_| {
        let rows: Vec<Value> =
            (0..5_000).map(|n| json!({"id": n, "name": "x".repeat(20)})).collect();
        Ok(evaluated(&json!({"rows": rows}).to_string(), json!({})))
    });
    let answer = get(&world, ANSWER, "text/csv").await;
    assert_eq!((answer.status.as_u16(), answer.text.lines().count()), (200, 5_001));
    assert_eq!(answers.used(), 0, "it was sent");
}
