//! The answer of a POST as a GET: tagged, shared, and held until it changes.

use super::fake::{Answer, Fake, World, evaluated};
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tally_engine::engine::{EvaluateError, Evaluated};
use tally_plugin::ask::Warning;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::timeout;

const PATH: &str = "/api/metrics/event_frequencies/answer";

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// On a machine that has much else to do.
fn patient() -> Limits {
    Limits { evaluation: LONG, place: LONG, ..Limits::default() }
}

/// An answer at the position where the engine stands.
fn here(fake: &Fake, result: &str) -> Evaluated {
    Evaluated { position: fake.position.lock().clone(), ..evaluated(result, json!({})) }
}

/// Answers from now on with what the shared number says.
fn counting(world: &World) -> Arc<AtomicUsize> {
    let number = Arc::new(AtomicUsize::new(1));
    let (shown, fake) = (Arc::clone(&number), Arc::clone(&world.fake));
    world.fake.answers(move |_| Ok(here(&fake, &shown.load(Ordering::Relaxed).to_string())));
    number
}

fn count_to(world: &World, position: &str) {
    *world.fake.position.lock() = position.parse().unwrap();
    world.fake.changed();
}

/// Answers so from now on, says so to who watches, and lets them hear it.
async fn answers(
    world: &World,
    answer: impl Fn() -> Result<Evaluated, EvaluateError> + Send + Sync + 'static,
) {
    world.fake.answers(move |_| answer());
    world.fake.changed();
    for _ in 0..32 {
        yield_now().await;
    }
}

async fn conditional(world: &World, path: &str, tag: &str) -> Answer {
    let request = Request::get(path).header("if-none-match", tag).body(Body::empty()).unwrap();
    world.send(request).await
}

/// Asks for what changes after `tag`, and does something as soon as that is held.
async fn held(world: &World, wait: &str, tag: &str, meanwhile: impl AsyncFnOnce()) -> Answer {
    let free = world.free_to_hold();
    let path = format!("{PATH}?wait={wait}");
    let act = async {
        while world.free_to_hold() == free {
            yield_now().await;
        }
        meanwhile().await;
    };
    let both = async { tokio::join!(conditional(world, &path, tag), act) };
    timeout(LONG, both).await.expect("it is answered").0
}

#[tokio::test]
async fn a_get_is_answered_as_a_post_and_may_be_shared_for_a_second() {
    let world = World::new(patient()).await;
    let path = format!("{PATH}?params=%7B%22limit%22%3A%205.0%7D&expand=names");
    let answer = world.get(&path).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let (control, vary) = (answer.header("cache-control"), answer.header("vary"));
    assert_eq!((control, vary), ("public, max-age=1", "accept"));
    let body = r#"{"name":"event_frequencies","params":{"limit": 5.0},"expand":["names"]}"#;
    let posted = world.post("/api/metrics", body).await;
    let untimed = |text: &str| text.split("\"took_us\":").next().unwrap().to_owned();
    assert_eq!(untimed(&answer.text), untimed(&posted.text));
    assert!(answer.text.contains(r#""params":{"limit": 5.0}"#), "{}", answer.text);
    let asked = world.fake.asked.lock()[0].clone();
    assert_eq!(
        (asked.params, asked.at_least, asked.allow_partial),
        (json!({"limit": 5.0}), None, false)
    );
    let all = world.get(PATH).await.json();
    assert_eq!((&all["params"], &all["name"]), (&json!({}), &json!("event_frequencies")));
}

#[tokio::test]
async fn who_has_the_answer_gets_304_whichever_way_it_says_so() {
    let world = World::new(patient()).await;
    let tag = world.get(PATH).await.header("etag").to_owned();
    let bare = tag.trim_start_matches("W/").trim_matches('"').to_owned();
    let quoted = tag.replace('"', "%22");
    for path in [
        format!("{PATH}?after={quoted}"),
        format!("{PATH}?after={bare}"),
        format!("{PATH}?after=%22{bare}%22&wait=0s"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (304, ""), "{path}");
        assert_eq!((answer.header("etag"), answer.header("vary")), (tag.as_str(), "accept"));
        assert_eq!(answer.header("cache-control"), "public, max-age=1");
        assert_eq!(answer.header("content-type"), "");
    }
    assert_eq!(conditional(&world, PATH, &tag).await.status, 304);
    // Another one, or none: there is nothing to wait for.
    for path in [format!("{PATH}?after=00&wait=30s"), format!("{PATH}?wait=30s")] {
        assert_eq!(world.get(&path).await.status, 200, "{path}");
    }
}

/// An answer that was changed somehow.
fn changed(change: impl FnOnce(&mut Evaluated)) -> Evaluated {
    let mut answer = evaluated("{\"total\":11}", json!({}));
    change(&mut answer);
    answer
}

#[tokio::test]
async fn a_tag_stands_for_what_is_answered_and_not_for_when() {
    let world = World::new(patient()).await;
    let tag = async |path: &str, answer: Evaluated| {
        world.fake.answers(move |_| Ok(answer.clone()));
        world.get(path).await.header("etag").to_owned()
    };
    let warned = |detail: &str, count: u64| {
        let warning = Warning::new("events_failed", detail).with("count", count);
        changed(|answer| answer.warnings.push(warning))
    };
    let first = tag(PATH, changed(|_| {})).await;
    for same in [
        changed(|answer| answer.position = "0:9000".parse().unwrap()),
        changed(|answer| answer.as_of += 12_345),
        changed(|answer| answer.version = "1.0.1".into()),
    ] {
        assert_eq!(tag(PATH, same).await, first);
    }
    let mut tags = vec![first];
    for other in [
        changed(|answer| answer.result = "{\"total\":12}".into()),
        changed(|answer| answer.window.0 = Some(0)),
        changed(|answer| answer.window.1 = Some(0)),
        changed(|answer| answer.history.complete = false),
        changed(|answer| answer.history.from = None),
        changed(|answer| answer.revision = 8),
        warned("some", 1),
        warned("some", 2),
    ] {
        tags.push(tag(PATH, other).await);
    }
    for query in ["?params=%7B%22limit%22:5%7D", "?params=%7B%22limit%22:6%7D", "?expand=names"] {
        tags.push(tag(&format!("{PATH}{query}"), changed(|_| {})).await);
    }
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), count, "{tags:?}");
    assert_eq!(tag(PATH, warned("in other words", 1)).await, tag(PATH, warned("some", 1)).await);
    let spelt = tag(&format!("{PATH}?params=%7B%22limit%22%20:%205.0%7D"), changed(|_| {})).await;
    assert!(tags.contains(&spelt), "the same params, written otherwise");
}

#[tokio::test]
async fn a_query_is_read_strictly_all_faults_at_once() {
    let world = World::new(patient()).await;
    for (query, code, pointers) in [
        ("?params=%7B", "invalid_params", vec!["/params"]),
        ("?params=%5B%5D", "invalid_params", vec!["/params"]),
        ("?windw=1h&a~b=1", "invalid_request", vec!["/windw", "/a~0b"]),
        ("?wait=1s&wait=2s", "invalid_request", vec!["/wait"]),
        (
            "?wait=61s&expand=all&params=1&after=%0A",
            "invalid_request",
            vec!["/wait", "/expand", "/params", "/after"],
        ),
    ] {
        let answer = world.get(&format!("{PATH}{query}")).await;
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), &body["code"]), (422, &json!(code)), "{body}");
        let found: Vec<&Value> =
            body["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{query}");
        assert_eq!((answer.header("etag"), answer.header("cache-control")), ("", ""));
    }
    assert!(world.fake.asked.lock().is_empty(), "none reached the engine");
    assert_eq!(world.get(&format!("{PATH}?params=&expand=&after=&wait=")).await.status, 200);
    world.fake.answers(|question| {
        Err(EvaluateError::NotFound { suggestions: vec![], detail: question.name.clone() })
    });
    let answer = world.get("/api/metrics/nothing/answer").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (404, &json!("nothing")));
}

#[tokio::test]
async fn a_held_question_is_answered_when_its_answer_changes() {
    let world = World::new(patient()).await;
    let number = counting(&world);
    let tag = world.get(PATH).await.header("etag").to_owned();
    let answer = held(&world, "30s", &tag, async || {
        // What was counted is not in this answer: it is held on.
        count_to(&world, "0:1205,1:998");
        for _ in 0..32 {
            yield_now().await;
        }
        number.store(2, Ordering::Relaxed);
        count_to(&world, "0:1206,1:998");
    })
    .await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["result"]), (200, &json!(2)), "{body}");
    assert_eq!(body["meta"]["position"], "0:1206,1:998");
    assert_ne!(answer.header("etag"), tag);
    assert_eq!(answer.header("cache-control"), "public, max-age=1");
}

#[tokio::test]
async fn what_does_not_change_is_304_when_the_wait_is_over() {
    let world = World::new(patient()).await;
    let number = counting(&world);
    let tag = world.get(PATH).await.header("etag").to_owned();
    let begun = Instant::now();
    let answer = held(&world, "300ms", &tag, async || {}).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (304, ""));
    assert_eq!(answer.header("etag"), tag);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    // What changed without anything being counted is seen at the end.
    let answer = held(&world, "300ms", &tag, async || number.store(2, Ordering::Relaxed)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["result"]), (200, &json!(2)));
}

/// An answer that is asked for in this minute, about what began with it.
fn in_minute(minute: i64) -> Evaluated {
    changed(|answer| {
        answer.as_of += minute * 60_000;
        answer.window = (Some(minute * 60_000), None);
    })
}

#[tokio::test]
async fn an_answer_of_before_ends_nothing_and_one_of_a_later_time_does() {
    let world = World::new(patient()).await;
    world.fake.answers(|_| Ok(in_minute(1)));
    let tag = world.get(PATH).await.header("etag").to_owned();
    let answer = held(&world, "30s", &tag, async || {
        let behind = |answer: &mut Evaluated| answer.position = "0:1203,1:998".parse().unwrap();
        for before in [in_minute(0), changed(behind)] {
            // Told once; whoever asks afterwards, as a held question does, does not get it.
            let asked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&asked);
            world.fake.answers(move |_| match count.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(before.clone()),
                _ => Ok(in_minute(1)),
            });
            world.fake.changed();
            while asked.load(Ordering::Relaxed) < 2 {
                yield_now().await;
            }
        }
        answers(&world, || Ok(in_minute(2))).await;
    })
    .await;
    let window = &answer.json()["meta"]["window"];
    let expected = json!({"from": "1970-01-01T00:02:00.000Z"});
    assert_eq!((answer.status.as_u16(), window), (200, &expected));
}

#[tokio::test]
async fn another_answer_ends_it_also_at_a_lower_position() {
    let world = World::new(patient()).await;
    let tag = world.get(PATH).await.header("etag").to_owned();
    let answer = held(&world, "30s", &tag, async || {
        let behind = |answer: &mut Evaluated| {
            answer.position = "0:1203,1:998".parse().unwrap();
            answer.revision = 6;
        };
        answers(&world, move || Ok(changed(behind))).await;
    })
    .await;
    let position = &answer.json()["meta"]["position"];
    assert_eq!((answer.status.as_u16(), position), (200, &json!("0:1203,1:998")));
}

#[tokio::test]
async fn a_held_question_goes_on_over_a_lack_of_places_and_another_refusal_ends_it() {
    let world = World::new(patient()).await;
    let tag = world.get(PATH).await.header("etag").to_owned();
    let answer = held(&world, "30s", &tag, async || {
        answers(&world, || Err(EvaluateError::Overloaded("full".into()))).await;
        answers(&world, || Ok(evaluated("2", json!({})))).await;
    })
    .await;
    assert_eq!((answer.status.as_u16(), &answer.json()["result"]), (200, &json!(2)));

    let tag = answer.header("etag").to_owned();
    let answer = held(&world, "30s", &tag, async || {
        // It is over by the time that the question is asked again.
        world.fake.answers(|_| Err(EvaluateError::PluginFailed("no".into())));
        world.fake.changed();
        world.fake.answers(|_| Ok(evaluated("2", json!({}))));
        for _ in 0..32 {
            yield_now().await;
        }
        answers(&world, || Err(EvaluateError::PluginFailed("no".into()))).await;
    })
    .await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (500, &json!("plugin_failed")));
}

#[tokio::test]
async fn a_long_answer_and_rows_come_from_a_held_question_too() {
    let world = World::new(patient()).await;
    let tag = world.get(PATH).await.header("etag").to_owned();
    let text = "x".repeat(100_000);
    let result = json!({"text": text}).to_string();
    let answer = held(&world, "30s", &tag, async || {
        let result = result.clone();
        answers(&world, move || Ok(evaluated(&result, json!({})))).await;
    })
    .await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["name"]), (200, &json!("event_frequencies")));
    assert!(body["params"] == json!({}) && body["result"]["text"] == text);
    let posted = world.get(PATH).await;
    assert_eq!(answer.header("etag"), posted.header("etag"));
    let untimed = |text: &str| text.split("\"took_us\":").next().unwrap().to_owned();
    assert_eq!(untimed(&answer.text), untimed(&posted.text));

    let rows = |tag: String| {
        let path = format!("{PATH}?wait=30s");
        let request = Request::get(path).header("accept", "text/csv").header("if-none-match", tag);
        world.send(request.body(Body::empty()).unwrap())
    };
    answers(&world, || Ok(evaluated(r#"{"series":[{"n":1}]}"#, json!({})))).await;
    let first = rows("\"none\"".into()).await;
    assert_eq!(first.text, "n\r\n1\r\n");
    let free = world.free_to_hold();
    let act = async {
        while world.free_to_hold() == free {
            yield_now().await;
        }
        answers(&world, || Ok(evaluated(r#"{"series":[{"n":2}]}"#, json!({})))).await;
    };
    let both = async { tokio::join!(rows(first.header("etag").into()), act) };
    let (second, ()) = timeout(LONG, both).await.expect("it is answered");
    assert_eq!((second.status.as_u16(), second.text.as_str()), (200, "n\r\n2\r\n"));
}

#[tokio::test]
async fn many_are_held_and_one_more_is_refused() {
    let world = World::new(Limits { held: 400, ..patient() }).await;
    let number = counting(&world);
    let tag = world.get(PATH).await.header("etag").to_owned();
    let path = format!("{PATH}?wait=30s");
    let act = async {
        while world.free_to_hold() > 0 {
            yield_now().await;
        }
        let refused = conditional(&world, &path, &tag).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
        assert_eq!(refused.json()["code"], "overloaded");
        // Another question is none of these.
        assert_eq!(world.get(PATH).await.status, 200);
        number.store(2, Ordering::Relaxed);
        count_to(&world, "0:1205,1:998");
    };
    let held = join_all((0..400).map(|_| conditional(&world, &path, &tag)));
    let both = async { tokio::join!(held, act) };
    let (answers, ()) = timeout(LONG, both).await.expect("all are answered");
    for answer in answers {
        assert_eq!((answer.status.as_u16(), &answer.json()["result"]), (200, &json!(2)));
    }
    assert_eq!(world.free_to_hold(), 400);
}

#[tokio::test]
async fn a_stop_ends_what_is_held() {
    let mut world = World::new(Limits { drain: LONG, ..patient() }).await;
    let tag = world.get(PATH).await.header("etag").to_owned();
    let mut server = world.listen().await;
    let mut held = server.connect().await;
    let head =
        format!("GET {PATH}?wait=60s HTTP/1.1\r\nhost: localhost\r\nif-none-match: {tag}\r\n\r\n");
    held.write_all(head.as_bytes()).await.unwrap();
    while world.fake.asked.lock().len() < 2 {
        yield_now().await;
    }
    let begun = Instant::now();
    server.stop();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 304") && answer.contains(&tag), "{answer}");
    assert!(!answer.contains("content-length"), "a 304 has no body: {answer}");
    assert_eq!(server.end().await.cut, 0);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}
