//! Several questions in one body: each has its answer or its problem at its place.

use super::fake::{Answer, World, evaluated};
use crate::http::Limits;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_engine::engine::{EvaluateError, Evaluated};
use tally_engine::memory::Share;
use tally_plugin::ask::Fault;

const PATH: &str = "/api/metrics/batch";
/// The metric that there is.
const NAME: &str = "event_frequencies";
const LONG: Duration = Duration::from_secs(30);

fn patient() -> Limits {
    Limits { evaluation: LONG, place: LONG, ..Limits::default() }
}

async fn batch(world: &World, queries: Value) -> Answer {
    world.post(PATH, json!({ "queries": queries }).to_string()).await
}

/// What a batch that is answered says, in order.
async fn answers(world: &World, queries: Value) -> Vec<Value> {
    let answer = batch(world, queries).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!((answer.header("etag"), answer.header("cache-control")), ("", ""));
    answer.json()["answers"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_question_has_its_answer_or_its_problem_at_its_place() {
    let world = World::new(patient()).await;
    world.fake.answers(|question| match question.name.as_str() {
        "nothing" => {
            Err(EvaluateError::NotFound { suggestions: vec!["a".into()], detail: "no".into() })
        }
        "picky" => Err(EvaluateError::Invalid {
            code: "invalid_params".into(),
            errors: vec![Fault { pointer: "/params/limit".into(), detail: "is odd".into() }],
        }),
        name => Ok(evaluated(&json!({ "of": name }).to_string(), json!({}))),
    });
    let queries = json!([
        {"name": "a", "params": {"limit": 5}, "expand": ["names"]},
        {"name": "nothing"},
        {"name": "picky", "params": {"limit": 1}},
        {"nme": "a"},
        7,
        {"name": "a", "params": []},
        {"name": "b"},
    ]);
    let found = answers(&world, queries).await;
    assert_eq!(found.len(), 7);
    let (first, last) = (&found[0], &found[6]);
    assert_eq!((&first["name"], &first["params"]), (&json!("a"), &json!({"limit": 5})));
    assert_eq!((&first["result"], &last["result"]), (&json!({"of": "a"}), &json!({"of": "b"})));
    assert_eq!(first["meta"]["position"], "0:1204,1:998");
    assert!(first["meta"]["took_us"].is_u64() && first["warnings"] == json!([]), "{first}");
    for (n, status, code, pointers) in [
        (1, 404, "metric_not_found", vec![]),
        (2, 422, "invalid_params", vec!["/queries/2/params/limit"]),
        (3, 422, "invalid_request", vec!["/queries/3/nme", "/queries/3/name"]),
        (4, 422, "invalid_request", vec!["/queries/4"]),
        (5, 422, "invalid_params", vec!["/queries/5/params"]),
    ] {
        let problem = &found[n];
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)));
        assert_eq!(problem["type"], format!("/problems/{code}"));
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let at: Vec<&Value> = errors.iter().map(|error| &error["pointer"]).collect();
        assert_eq!(at, pointers, "{problem}");
        // The whole answer has one, in its header.
        assert!(problem.get("request_id").is_none(), "{problem}");
    }
    assert_eq!(found[1]["suggestions"], json!(["a"]));
}

#[tokio::test]
async fn an_answer_of_a_batch_is_that_of_a_post() {
    let world = World::new(patient()).await;
    let question = json!({"name": "a", "params": {"x": [1, 2]}, "allow_partial": true});
    let whole = world.ask(question.clone()).await.json();
    let mut found = answers(&world, json!([question])).await;
    found[0]["meta"]["took_us"] = whole["meta"]["took_us"].clone();
    assert_eq!(found, [whole]);
    let asked = world.fake.asked.lock().clone();
    assert_eq!((asked.len(), asked[1].allow_partial, asked[1].wait), (2, true, Duration::ZERO));
}

#[tokio::test]
async fn a_body_that_is_no_list_of_questions_is_refused_as_a_whole() {
    let world = World::new(patient()).await;
    let many = |count: usize| json!({"queries": vec![json!({"name": "a"}); count]}).to_string();
    for (body, pointers) in [
        ("[]".to_owned(), vec![""]),
        ("{}".to_owned(), vec!["/queries"]),
        (r#"{"queries":{}}"#.to_owned(), vec!["/queries"]),
        (many(0), vec!["/queries"]),
        (many(51), vec!["/queries"]),
        (r#"{"queries":[{"name":"a"}],"at":1}"#.to_owned(), vec!["/at"]),
        (r#"{"query":[]}"#.to_owned(), vec!["/query", "/queries"]),
    ] {
        let answer = world.post(PATH, body.clone()).await;
        let problem = answer.json();
        let told = (answer.status.as_u16(), problem["code"].as_str());
        assert_eq!(told, (422, Some("invalid_request")), "{body}");
        let at: Vec<&Value> =
            problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
        assert_eq!(at, pointers, "{body}");
    }
    assert_eq!(world.post(PATH, "{").await.json()["code"], "invalid_json");
    assert!(world.fake.asked.lock().is_empty(), "none reached the engine");
    assert_eq!(world.post(PATH, many(50)).await.json()["answers"].as_array().unwrap().len(), 50);
    let long = json!({"queries": [{"name": "a", "params": {"x": "y".repeat(10_000)}}]});
    assert_eq!(world.post(PATH, long.to_string()).await.status, 200);
    assert_eq!(world.get(PATH).await.status, 405);
}

#[tokio::test]
async fn positions_are_waited_for_once_and_who_waits_in_vain_alone_is_refused() {
    let world = World::new(patient()).await;
    let fake = world.fake.clone();
    world.fake.answers(move |question| {
        let position = fake.position.lock().clone();
        match &question.at_least {
            Some(at_least) if !position.reaches(at_least) => {
                Err(EvaluateError::PositionNotReached(position))
            }
            _ => Ok(Evaluated { position, ..evaluated("1", json!({})) }),
        }
    });
    let queries = json!([
        {"name": NAME, "at_least": "0:1300", "wait_ms": 30_000},
        {"name": NAME, "at_least": "1:998"},
        {"name": NAME, "at_least": "0:9000", "wait_ms": 0},
        {"name": NAME},
        {"name": "nothing", "at_least": "0:9000", "wait_ms": 30_000},
    ]);
    let begun = Instant::now();
    let move_on = async {
        tokio::task::yield_now().await;
        *world.fake.position.lock() = "0:1300,1:998".parse().unwrap();
    };
    let (found, ()) = tokio::join!(answers(&world, queries), move_on);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    for n in [0, 1, 3] {
        assert_eq!(found[n]["meta"]["position"], "0:1300,1:998", "{}", found[n]);
    }
    assert_eq!(found[2]["code"], "position_not_reached");
    assert_eq!(found[4]["code"], "position_not_reached", "what does not exist is not waited for");
    assert_eq!(found[2]["position"], "0:1300,1:998");
}

#[tokio::test]
async fn a_batch_takes_one_place() {
    let world = World::new(Limits { evaluations: 1, ..patient() }).await;
    let queries = Value::Array(vec![json!({"name": "a"}); 20]);
    assert_eq!(answers(&world, queries.clone()).await.len(), 20);
    let world = World::new(Limits { evaluations: 0, place: Duration::ZERO, ..patient() }).await;
    let full = batch(&world, queries).await;
    assert_eq!((full.status.as_u16(), &full.json()["code"]), (503, &json!("overloaded")));
    let unreadable = answers(&world, json!([7])).await;
    assert_eq!(unreadable[0]["code"], "invalid_request", "nothing to evaluate, no place needed");
}

#[tokio::test]
async fn large_answers_hold_memory_until_they_are_sent() {
    let share = Arc::new(Share::new(8 << 20));
    let world = World::new(Limits { answers: share.clone(), ..patient() }).await;
    world
        .fake
        .answers(|_| Ok(evaluated(&json!({"text": "x".repeat(100 << 10)}).to_string(), json!({}))));
    let three = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
    let found = answers(&world, three).await;
    let length = |answer: &Value| answer["result"]["text"].as_str().map(str::len);
    assert!(found.iter().all(|answer| length(answer) == Some(100 << 10)));
    assert_eq!(share.used(), 0);
    let many = Value::Array(vec![json!({"name": "a"}); 40]);
    let refused = batch(&world, many).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert_eq!(share.used(), 0);
}

#[tokio::test]
async fn a_stop_ends_the_wait_of_a_batch() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut world = World::new(Limits { drain: LONG, ..patient() }).await;
    let mut server = world.listen().await;
    let mut stream = server.connect().await;
    let body = r#"{"queries":[{"name":"event_frequencies","at_least":"0:9000","wait_ms":30000}]}"#;
    let head =
        "POST /api/metrics/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    // It has been read once this one was, which came later.
    let other = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(server.exchange(other.as_bytes()).await.ends_with("ok\n"));
    server.stop();
    let mut answer = String::new();
    // One that had not been read yet is closed without an answer.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.contains("\"stopping\""), "{answer}");
    assert_eq!(server.end().await.cut, 0);
}
