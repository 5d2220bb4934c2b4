//! Metrics that are watched: subscriptions on `/ws`, and what all who watch a question share.

use super::enrich::counting_for;
use super::fake::{World, evaluated};
use super::live::{Socket, greeted, next};
use super::subscriptions::{heard, refused, say};
use crate::http::live::{LiveAnswers, LiveBody, LiveHandle, PacedUpdate, PacedUpdates};
use crate::http::{Limits, metric_request};
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tally_engine::engine::EvaluateError;
use tally_engine::memory::Share;
use tally_plugin::ask::Fault;
use tokio::task::yield_now;
use tokio::time::timeout;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

const NAME: &str = "event_frequencies";

/// Answers from now on with what the shared number says.
fn counting(world: &World) -> Arc<AtomicUsize> {
    let number = Arc::new(AtomicUsize::new(1));
    let shown = Arc::clone(&number);
    world.fake.answers(move |_| {
        Ok(evaluated(&format!("{{\n\"total\": {}}}", shown.load(Ordering::Relaxed)), json!({})))
    });
    number
}

fn count_to(world: &World, number: &AtomicUsize, to: usize) {
    number.store(to, Ordering::Relaxed);
    world.fake.changed();
}

fn fails(world: &World, fault: EvaluateError) {
    world.fake.answers(move |_| Err(fault.clone()));
    world.fake.changed();
}

/// Subscribes without a least time between two updates.
async fn subscribe(socket: &mut Socket, id: &str, params: Value) {
    let message = json!({"type": "subscribe", "id": id, "metric": NAME, "params": params,
        "min_interval_ms": 0});
    say(socket, &message).await;
}

fn watch(world: &World, params: &str, names: bool) -> LiveHandle {
    let asked = metric_request::with_params(NAME.into(), params, names).unwrap();
    LiveAnswers::watch(world.app(), &asked, Duration::ZERO).unwrap()
}

fn text(body: &LiveBody) -> String {
    String::from_utf8([&**body.result(), &**body.rest()].concat()).unwrap()
}

/// What is told next, as text: the result of an answer and what follows it, or a code.
async fn told(updates: &mut PacedUpdates) -> (u64, String) {
    let update = timeout(LONG, updates.next()).await.expect("an update comes").unwrap();
    match update {
        PacedUpdate::Answer { seq, body } => (seq, text(&body)),
        PacedUpdate::Refused(problem) => (0, problem.code().to_owned()),
    }
}

/// Waits until so many questions are watched.
async fn watched(world: &World, count: usize) {
    let until = async {
        while world.app().live.count() != count {
            yield_now().await;
        }
    };
    timeout(LONG, until).await.expect("so many are watched");
}

#[tokio::test]
async fn what_an_update_took_is_not_how_long_ago_it_was_evaluated() {
    let world = World::new(Limits::default()).await;
    let number = counting(&world);
    let mut updates = PacedUpdates::new(watch(&world, "{}", false), Duration::ZERO);
    assert_eq!(told(&mut updates).await.0, 1);
    number.store(2, Ordering::Relaxed);
    // As one that is made ready again, once there is room or the catalogue is back.
    world.fake.changed_at(Instant::now().checked_sub(LONG).expect("the machine runs for a while"));
    let (seq, text) = told(&mut updates).await;
    let took = text.split_once("\"took_us\":").unwrap().1.split('}').next().unwrap();
    let took = Duration::from_micros(took.parse().unwrap());
    assert!(seq == 2 && took < LONG, "{text}");
}

#[tokio::test]
async fn a_subscription_gets_a_snapshot_and_then_what_changes_until_it_ends() {
    let mut world = World::new(Limits::default()).await;
    let number = counting(&world);
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    subscribe(&mut socket, "a", json!({"limit": 5})).await;
    let mut first = next(&mut socket).await;
    assert!(first["meta"]["took_us"].is_u64(), "{first}");
    first["meta"]["took_us"] = json!(0);
    let meta = json!({"position": "0:1204,1:998", "as_of": "2026-01-01T00:00:00.000Z",
        "version": "1.0.0", "took_us": 0,
        "history": {"state": "complete", "from": "2026-01-01T00:01:00.000Z"}});
    let expected = json!({"type": "update", "id": "a", "seq": 1, "result": {"total": 1},
        "meta": meta, "warnings": []});
    assert_eq!(first, expected);
    // What says the same is no update.
    world.fake.changed();
    heard(&mut socket).await;
    count_to(&world, &number, 2);
    let second = next(&mut socket).await;
    assert_eq!((&second["seq"], &second["result"]), (&json!(2), &json!({"total": 2})));
    // Another one on the same socket has numbers of its own.
    subscribe(&mut socket, "b", json!({"limit": 5.0})).await;
    let other = next(&mut socket).await;
    assert_eq!((&other["id"], &other["seq"]), (&json!("b"), &json!(1)));
    assert_eq!(other["result"], json!({"total": 2}));
    say(&mut socket, &json!({"type": "unsubscribe", "id": "a"})).await;
    heard(&mut socket).await;
    count_to(&world, &number, 3);
    let third = next(&mut socket).await;
    assert_eq!((&third["id"], &third["seq"]), (&json!("b"), &json!(2)));
    // And with events beside it.
    say(&mut socket, &json!({"type": "subscribe", "id": "e", "events": {}})).await;
    heard(&mut socket).await;
    world.fake.event(1);
    assert_eq!(next(&mut socket).await["id"], "e");
}

#[tokio::test]
async fn names_are_added_once_they_are_asked_for() {
    let mut world = World::new(Limits::default()).await;
    let schema = json!({"type": "object", "properties": {"user_id": {"x-tally-id": "user"}}});
    world.fake.answers(move |_| Ok(evaluated(r#"{"user_id":1}"#, schema.clone())));
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    subscribe(&mut socket, "plain", json!({})).await;
    assert_eq!(next(&mut socket).await["result"], json!({"user_id": 1}));
    let named = json!({"type": "subscribe", "id": "named", "metric": NAME, "expand": ["names"]});
    say(&mut socket, &named).await;
    assert_eq!(next(&mut socket).await["result"], json!({"user_id": 1, "name": "Ada"}));
}

#[tokio::test]
async fn what_the_engine_refuses_is_no_subscription() {
    let mut world = World::new(Limits { subscriptions: 1, ..Limits::default() }).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    let metric =
        |params: Value| json!({"type": "subscribe", "id": "a", "metric": NAME, "params": params});
    let told = refused(&mut socket, &metric(json!([]))).await;
    assert_eq!(told, ("invalid_params".into(), json!("a")));
    let pointer = "/params/limit".to_owned();
    let errors = vec![Fault { pointer, detail: "0 is less than the minimum of 1".into() }];
    let invalid = EvaluateError::Invalid { code: "invalid_params".into(), errors };
    world.fake.answers(move |_| Err(invalid.clone()));
    say(&mut socket, &metric(json!({"limit": 0}))).await;
    let error = next(&mut socket).await;
    let errors = json!([{"pointer": "/params/limit", "detail": "0 is less than the minimum of 1"}]);
    let expected = json!({"type": "error", "id": "a", "code": "invalid_params",
        "detail": "0 is less than the minimum of 1", "errors": errors});
    assert_eq!(error, expected);
    world.fake.answers(|_| {
        Err(EvaluateError::NotFound { suggestions: vec![], detail: "there is none".into() })
    });
    let told = refused(&mut socket, &metric(json!({}))).await;
    assert_eq!(told, ("metric_not_found".into(), json!("a")));
    // Neither has a place, nor the id.
    counting(&world);
    subscribe(&mut socket, "a", json!({})).await;
    assert_eq!(next(&mut socket).await["type"], "update");
    let told = refused(&mut socket, &metric(json!({}))).await;
    assert_eq!(told, ("id_in_use".into(), json!("a")));
}

#[tokio::test]
async fn a_subscription_that_gets_no_answer_is_told_once_and_stays() {
    let mut world = World::new(Limits::default()).await;
    let backfilling = |done| EvaluateError::Backfilling { done };
    fails(&world, backfilling(0.25));
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    subscribe(&mut socket, "a", json!({})).await;
    let error = next(&mut socket).await;
    let detail = "history is being counted: 25 % done";
    let expected = json!({"type": "error", "id": "a", "code": "backfilling", "detail": detail});
    assert_eq!(error, expected);
    fails(&world, backfilling(0.5));
    heard(&mut socket).await;
    fails(&world, EvaluateError::PartitionsMissing("half".into()));
    assert_eq!(next(&mut socket).await["code"], "partitions_missing");
    counting(&world);
    world.fake.changed();
    let update = next(&mut socket).await;
    assert_eq!((&update["seq"], &update["result"]), (&json!(1), &json!({"total": 1})));
    // An answer after a fault says that there is one again.
    fails(&world, EvaluateError::PluginFailed("no".into()));
    assert_eq!(next(&mut socket).await["code"], "plugin_failed");
    counting(&world);
    world.fake.changed();
    let update = next(&mut socket).await;
    assert_eq!((&update["seq"], &update["result"]), (&json!(2), &json!({"total": 1})));
}

#[tokio::test]
async fn an_answer_longer_than_what_waits_for_a_socket_arrives_whole() {
    let mut world = World::new(Limits::default()).await;
    let text = "x".repeat(3 << 20);
    let result = format!("{{\"x\":\"{text}\"}}");
    world.fake.answers(move |_| Ok(evaluated(&result, json!({}))));
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    subscribe(&mut socket, "a", json!({})).await;
    let update = next(&mut socket).await;
    assert!(update["result"]["x"] == text && update["seq"] == 1);
    heard(&mut socket).await;
}

#[tokio::test]
async fn all_who_watch_a_question_share_one_text_and_the_last_ends_it() {
    let world = World::new(Limits::default()).await;
    let number = counting(&world);
    let mut all: Vec<LiveHandle> = (0..1_000).map(|_| watch(&world, "{}", false)).collect();
    let names = watch(&world, "{}", true);
    // One question, however it is written.
    let spelt = ["{\"limit\":5,\"user_id\":1}", "{ \"user_id\": 1.0, \"\\u006cimit\": 5e0 }"];
    let others = spelt.map(|params| watch(&world, params, false));
    watched(&world, 3).await;
    count_to(&world, &number, 2);
    let mut texts = Vec::new();
    for handle in &mut all {
        loop {
            let body = timeout(LONG, handle.changed()).await.unwrap().unwrap().unwrap();
            if text(&body).contains("\"total\": 2") {
                texts.push((body.result().as_ptr(), body.rest().as_ptr()));
                break;
            }
        }
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "one text for all");
    drop((names, others));
    watched(&world, 1).await;
    let last = all.pop();
    drop(all);
    watched(&world, 1).await;
    drop(last);
    watched(&world, 0).await;
    assert_eq!(world.app().limits.watched.used(), 0, "what was held is given back");
    // It begins anew for who comes later.
    let mut updates = PacedUpdates::new(watch(&world, "{}", false), Duration::ZERO);
    assert!(told(&mut updates).await.1.contains("\"total\": 2"));
}

#[tokio::test]
async fn updates_keep_their_pace_and_the_newest_wins() {
    let world = World::new(Limits::default()).await;
    let number = counting(&world);
    let (pace, begun) = (Duration::from_millis(250), Instant::now());
    let mut updates = PacedUpdates::new(watch(&world, "{}", false), pace);
    assert!(told(&mut updates).await.1.contains("\"total\": 1"));
    for to in 2..=9 {
        count_to(&world, &number, to);
        // Each is made ready.
        for _ in 0..16 {
            yield_now().await;
        }
    }
    let (seq, text) = told(&mut updates).await;
    assert!(seq == 2 && text.contains("\"total\": 9"), "{seq} {text}");
    assert!(begun.elapsed() >= pace, "{:?}", begun.elapsed());
    // Nothing is left of those between.
    assert!(updates.next().now_or_never().is_none());
}

#[tokio::test]
async fn an_answer_evaluated_at_the_pace_is_told_at_once() {
    let world = World::new(Limits::default()).await;
    let number = counting(&world);
    let (pace, begun) = (Duration::from_secs(3_600), Instant::now());
    let mut updates = PacedUpdates::new(watch(&world, "{}", false), pace);
    assert_eq!(told(&mut updates).await.0, 1);
    number.store(2, Ordering::Relaxed);
    // However late the one before was told.
    world.fake.changed_at(begun + 2 * pace);
    assert!(told(&mut updates).await.1.contains("\"total\": 2"));
}

#[tokio::test]
async fn where_there_is_no_room_it_is_told_and_tried_again() {
    let share = Arc::new(Share::new(1_000));
    let world = World::new(Limits { watched: Arc::clone(&share), ..Limits::default() }).await;
    counting(&world);
    let (taken, begun) = (share.take(900).unwrap(), Instant::now());
    let mut updates = PacedUpdates::new(watch(&world, "{}", false), Duration::ZERO);
    assert_eq!(told(&mut updates).await, (0, "overloaded".to_owned()));
    drop(taken);
    let (seq, text) = told(&mut updates).await;
    assert!(seq == 1 && text.contains("\"total\": 1") && !text.contains('\n'), "{text}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(share.used(), text.len() as u64);
}

#[tokio::test]
async fn a_text_finds_room_in_the_place_of_the_one_before() {
    let share = Arc::new(Share::new(1_200));
    let world = World::new(Limits { watched: Arc::clone(&share), ..Limits::default() }).await;
    let schema = json!({"type": "object", "properties": {"user_id": {"x-tally-id": "user"}}});
    let shows = |letter: &str| {
        let (result, schema) =
            (format!("{{\"user_id\":1,\"x\":\"{}\"}}", letter.repeat(600)), schema.clone());
        world.fake.answers(move |_| Ok(evaluated(&result, schema.clone())));
        world.fake.changed();
    };
    shows("a");
    // With names it is another text than the engine's.
    let mut updates = PacedUpdates::new(watch(&world, "{}", true), Duration::ZERO);
    for (seq, letter) in [(1, "a"), (2, "b"), (3, "c")] {
        shows(letter);
        let (number, text) = told(&mut updates).await;
        assert!(number == seq && text.contains(&letter.repeat(600)), "{number} {text}");
        assert!(text.contains("\"Ada\""), "{text}");
    }
    assert!(share.used() > 600);
}

#[tokio::test]
async fn a_result_is_the_engines_text_and_is_held_while_somebody_sends_it() {
    let share = Arc::new(Share::new(600));
    let world = World::new(Limits { watched: Arc::clone(&share), ..Limits::default() }).await;
    let shows = |letter: &str| {
        let answer = evaluated(&format!("\"{}\"", letter.repeat(100_000)), json!({}));
        let shown = answer.clone();
        world.fake.answers(move |_| Ok(shown.clone()));
        world.fake.changed();
        answer.result
    };
    let engines = shows("a");
    let mut updates = PacedUpdates::new(watch(&world, "{}", false), Duration::ZERO);
    let update = timeout(LONG, updates.next()).await.unwrap();
    let Some(PacedUpdate::Answer { body, .. }) = update else { panic!("no answer") };
    assert_eq!(body.result().as_ptr(), engines.as_ptr());
    assert!(share.used() < 600, "only what is around it is kept here");
    // Who sends it still has it when the engine has another one, and nobody else.
    let newer = shows("b");
    assert!(told(&mut updates).await.1.starts_with(&*newer));
    assert_eq!(&**body.result(), engines.as_bytes());
    assert_eq!(Arc::strong_count(&engines), 2);
    drop(body);
    assert_eq!(Arc::strong_count(&engines), 1);
    // Who comes while the next one is not ready yet waits for it.
    let newest = shows("c");
    let mut late = PacedUpdates::new(watch(&world, "{}", false), Duration::ZERO);
    assert!(late.next().now_or_never().is_none());
    let (seq, text) = told(&mut late).await;
    assert!(seq == 1 && text.starts_with(&*newest), "{seq}");
}

#[tokio::test]
async fn an_update_can_be_taken_until_the_next_one_is_ready() {
    let world = World::new(Limits::default()).await;
    let shows = |letter: &str| {
        let answer = evaluated(&format!("\"{letter}\""), json!({}));
        world.fake.answers(move |_| Ok(answer.clone()));
        world.fake.changed();
    };
    let result = async |handle: &mut LiveHandle| {
        let update = timeout(LONG, handle.changed()).await.expect("an update comes").unwrap();
        String::from_utf8(update.unwrap().result().to_vec()).unwrap()
    };
    shows("a");
    let mut first = watch(&world, "{}", false);
    assert_eq!(result(&mut first).await, "\"a\"");
    for (before, next) in [("a", "b"), ("b", "c")] {
        // Making the next one ready takes longer than anybody takes to wake.
        let still = world.app().live.stand_still();
        shows(next);
        for _ in 0..16 {
            yield_now().await;
        }
        let mut late = watch(&world, "{}", false);
        assert_eq!(result(&mut late).await, format!("\"{before}\""));
        drop(still);
        assert_eq!(result(&mut late).await, format!("\"{next}\""));
    }
}

/// Answers with a user, whose name is in the catalogue.
fn shows_a_user(world: &World) {
    let schema = json!({"type": "object", "properties": {"user_id": {"x-tally-id": "user"}}});
    world.fake.answers(move |_| Ok(evaluated(r#"{"user_id":1}"#, schema.clone())));
}

#[tokio::test]
async fn names_come_once_the_catalogue_is_back() {
    let (catalogue, world) = counting_for(true, LONG);
    shows_a_user(&world);
    let mut updates = PacedUpdates::new(watch(&world, "{}", true), Duration::ZERO);
    let (seq, text) = told(&mut updates).await;
    assert!(seq == 1 && text.contains("catalogue_unavailable"), "{text}");
    catalogue.fails.store(false, Ordering::Relaxed);
    // Nothing is counted meanwhile.
    let (seq, text) = told(&mut updates).await;
    assert!(seq == 2 && !text.contains("catalogue_unavailable"), "{text}");
}

#[tokio::test]
async fn what_needs_no_names_does_not_wait_for_the_catalogue() {
    let (catalogue, world) = counting_for(false, LONG * 10);
    catalogue.hangs.store(true, Ordering::Relaxed);
    shows_a_user(&world);
    let asks = |n: u64| watch(&world, &format!("{{\"limit\":{n}}}"), true);
    let waiting: Vec<LiveHandle> = (1..100).map(asks).collect();
    let mut plain = PacedUpdates::new(watch(&world, "{}", false), Duration::ZERO);
    assert_eq!(told(&mut plain).await.0, 1);
    drop(waiting);
}

#[tokio::test]
async fn the_end_of_the_engine_ends_who_watches() {
    let world = World::new(Limits::default()).await;
    counting(&world);
    let mut handle = watch(&world, "{}", false);
    assert!(handle.changed().await.unwrap().is_ok());
    world.fake.watched.lock().clear();
    assert!(timeout(LONG, handle.changed()).await.expect("it ends").is_none());
    watched(&world, 0).await;
}
