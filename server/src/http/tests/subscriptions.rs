//! Subscriptions to events on `/ws`: with filters, what is refused, and notices of plugins.

use super::fake::World;
use super::live::{Socket, greeted, next};
use crate::http::Limits;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tally_engine::engine::MetricState;
use tokio_tungstenite::tungstenite::Message;

pub(super) async fn say(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// Waits until everything that was said before was heard.
pub(super) async fn heard(socket: &mut Socket) {
    say(socket, &json!({"type": "ping"})).await;
    assert_eq!(next(socket).await, json!({"type": "pong"}));
}

/// The code and id of the error that comes next.
pub(super) async fn refused(socket: &mut Socket, message: &Value) -> (String, Value) {
    say(socket, message).await;
    let error = next(socket).await;
    assert_eq!(error["type"], "error", "{error}");
    assert!(error["detail"].is_string(), "{error}");
    (error["code"].as_str().unwrap().to_owned(), error["id"].clone())
}

#[tokio::test]
async fn a_subscription_gets_the_events_of_its_filter_under_its_id_until_it_ends() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    for (id, events) in [
        ("all", json!({})),
        ("two", json!({"user_id": "2"})),
        ("none", json!({"event_types": ["buy"]})),
    ] {
        say(&mut socket, &json!({"type": "subscribe", "id": id, "events": events})).await;
    }
    heard(&mut socket).await;
    (1..=3).for_each(|n| world.fake.event(n));
    let event = |id: &str, n: u64| {
        let at = format!("0:{n}");
        json!({"type": "event", "id": id, "position": at, "cursor": at, "event": {"user_id": n}})
    };
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(next(&mut socket).await);
    }
    got.sort_by_key(|message| message["id"].to_string());
    let expected = [event("all", 1), event("all", 2), event("all", 3), event("two", 2)];
    assert_eq!(got, expected);
    say(&mut socket, &json!({"type": "unsubscribe", "id": "all"})).await;
    heard(&mut socket).await;
    world.fake.event(2);
    assert_eq!(next(&mut socket).await, event("two", 2));
    // The id is free again, and a bare connection has its events besides.
    say(&mut socket, &json!({"type": "subscribe", "id": "all", "events": {}})).await;
    heard(&mut socket).await;
    world.fake.event(5);
    assert_eq!(next(&mut socket).await, event("all", 5));
    let mut bare = greeted(&server, "/ws").await;
    say(&mut bare, &json!({"type": "subscribe", "id": "b", "events": {}})).await;
    heard(&mut bare).await;
    world.fake.event(6);
    let mut ids = [next(&mut bare).await["id"].take(), next(&mut bare).await["id"].take()];
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, [json!("b"), Value::Null]);
}

#[tokio::test]
async fn since_is_given_to_the_engine_and_what_cannot_be_is_told() {
    let limits = Limits { subscriptions: 2, ..Limits::default() };
    let mut world = World::new(limits).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws?events=none").await;
    let subscribe = |id: &str, since: Value| json!({"type": "subscribe", "id": id, "events": {}, "since": since});
    let a = json!("a");
    let told = refused(&mut socket, &subscribe("a", json!("nowhere"))).await;
    assert_eq!(told, ("position_invalid".into(), a.clone()));
    for (since, detail) in [
        ("0:1205", "partition 0 ends at offset 1204, and 1205 is beyond that"),
        ("0:5,7:0", "the log has no partition 7; its last one is partition 9"),
    ] {
        say(&mut socket, &subscribe("a", json!(since))).await;
        let fault = json!({"pointer": "/since", "detail": detail});
        let told = json!({"type": "error", "id": "a", "code": "position_invalid",
            "detail": detail, "errors": [fault]});
        assert_eq!(next(&mut socket).await, told);
    }
    let told = refused(&mut socket, &subscribe("a", json!("9:9"))).await;
    assert_eq!(told, ("overloaded".into(), a.clone()));
    let told = refused(&mut socket, &subscribe("a", json!("8:8"))).await;
    assert_eq!(told, ("internal_error".into(), a.clone()));
    say(&mut socket, &subscribe("a", json!("0:17,1:9"))).await;
    heard(&mut socket).await;
    let since: Vec<String> = world.fake.since.lock().iter().map(ToString::to_string).collect();
    assert_eq!(since, ["0:1205", "0:5,7:0", "0:17,1:9"]);
    let told = refused(&mut socket, &subscribe("a", json!("0:1"))).await;
    assert_eq!(told, ("id_in_use".into(), a));
    say(&mut socket, &json!({"type": "subscribe", "id": "b", "events": {}})).await;
    let told = refused(&mut socket, &subscribe("c", json!("0:1"))).await;
    assert_eq!(told, ("too_many_subscriptions".into(), json!("c")));
    let told = refused(&mut socket, &json!({"type": "unsubscribe", "id": "c"})).await;
    assert_eq!(told, ("unknown_id".into(), json!("c")));
    // One that has ended makes room.
    say(&mut socket, &json!({"type": "unsubscribe", "id": "b"})).await;
    say(&mut socket, &json!({"type": "subscribe", "id": "c", "events": {}})).await;
    say(&mut socket, &json!({"type": "auth", "key": "none is needed"})).await;
    heard(&mut socket).await;
}

#[tokio::test]
async fn a_change_of_a_metrics_state_is_told_to_all_sockets_once() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let mut bare = greeted(&server, "/ws").await;
    let mut silent = greeted(&server, "/ws?events=none").await;
    let states = [
        (MetricState::Quarantined("it fails".into()), "quarantined"),
        (MetricState::Backfilling { done: 0.5, eta_s: None }, "backfilling"),
        (MetricState::Active, "active"),
    ];
    for (state, word) in states {
        *world.fake.states.lock() = state;
        let expected = json!({"type": "plugin", "name": "event_frequencies", "state": word});
        assert_eq!(next(&mut bare).await, expected);
        assert_eq!(next(&mut silent).await, expected);
    }
    // Who comes later is told what changes from then on.
    let mut late = greeted(&server, "/ws?events=none").await;
    *world.fake.states.lock() = MetricState::Retired;
    assert_eq!(next(&mut late).await["state"], "retired");
}
