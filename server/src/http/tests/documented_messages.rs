//! What is said on `/ws` and as server-sent events is what the AsyncAPI document says, and of what
//! clients say it calls right what the server follows.

use super::fake::World;
use super::live::{Socket, next, open};
use super::subscriptions::say;
use crate::http::Limits;
use crate::http::error_message::error_message;
use crate::http::feed_messages::feed_message;
use serde_json::{Value, json};
use tally_engine::engine::{FeedItem, MetricState};
use tally_engine::schema::Schema;
use tally_plugin::ask::Fault;

/// A metric's name.
const NAME: &str = "event_frequencies";

/// An AsyncAPI document.
struct Messages(Value);

impl Messages {
    async fn of(world: &World) -> Messages {
        let mut document = world.get("/api/asyncapi.json").await.json();
        // That no partition is named twice is said by a look-ahead, which the checker here has not.
        document["components"]["schemas"]["known_position"]["pattern"] = json!("^[0-9:,]*$");
        Messages(document)
    }

    fn at(&self, reference: &Value) -> &Value {
        let target = reference["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
        self.0.pointer(target).unwrap_or_else(|| panic!("{target} is not there"))
    }

    /// The names of the messages of an operation that this is one of.
    fn kinds(&self, operation: &str, message: &Value) -> Vec<String> {
        let operation = &self.0["operations"][operation];
        let mut kinds = Vec::new();
        for reference in operation["messages"].as_array().unwrap() {
            let described = self.at(self.at(reference));
            let whole = json!({"allOf": [described["payload"]],
                "components": {"schemas": self.0["components"]["schemas"]}});
            let schema = Schema::compile(&whole).unwrap_or_else(|fault| panic!("{fault}"));
            if schema.accepts(message) {
                let name = reference["$ref"].as_str().unwrap().rsplit('/').next();
                kinds.push(name.unwrap().to_owned());
            }
        }
        kinds
    }

    fn check(&self, operation: &str, message: &Value, kind: &str) {
        assert_eq!(message["type"], kind.trim_end_matches("_of_stream"), "{message}");
        assert_eq!(self.kinds(operation, message), [kind], "{message}");
    }

    /// On a socket, and without its id as a server-sent event.
    fn check_both(&self, message: &Value, kind: &str, of_stream: &str) {
        self.check("tell", message, kind);
        let mut bare = message.clone();
        bare.as_object_mut().unwrap().shift_remove("id");
        self.check(of_stream, &bare, &format!("{kind}_of_stream"));
    }
}

/// The next message of this type.
async fn next_of(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let message = next(socket).await;
        if message["type"] == kind {
            return message;
        }
    }
}

#[tokio::test]
async fn what_the_server_says_is_described() {
    let mut world = World::new(Limits::default()).await;
    let messages = Messages::of(&world).await;
    let server = world.listen().await;
    let mut socket = open(&server, "/ws", None).await.unwrap();
    messages.check("tell", &next(&mut socket).await, "hello");

    let event = json!({"user_id": 1, "product_id": "p", "event_type": "view",
        "timestamp": "2026-01-01T00:01:00.000Z", "price": 1.5});
    world.fake.show(1, event.to_string());
    let bare = next_of(&mut socket, "event").await;
    messages.check_both(&bare, "event", "tellEvents");
    say(&mut socket, &json!({"type": "subscribe", "id": "e", "events": {}})).await;
    say(&mut socket, &json!({"type": "subscribe", "id": "m", "metric": NAME})).await;
    messages.check_both(&next_of(&mut socket, "update").await, "update", "tellAnswers");
    world.fake.show(2, event.to_string());
    for _ in 0..2 {
        messages.check_both(&next_of(&mut socket, "event").await, "event", "tellEvents");
    }
    say(&mut socket, &json!({"type": "unsubscribe", "id": "x"})).await;
    messages.check_both(&next_of(&mut socket, "error").await, "error", "tellEvents");
    say(&mut socket, &json!({"type": "ping"})).await;
    messages.check("tell", &next_of(&mut socket, "pong").await, "pong");
    *world.fake.states.lock() = MetricState::Quarantined("no".into());
    messages.check("tell", &next_of(&mut socket, "plugin").await, "plugin");

    let gap = FeedItem::Gap { from: "0:5".parse().unwrap(), to: "0:900,1:2".parse().unwrap() };
    for (item, kind) in [(FeedItem::Skipped(120), "skipped"), (gap, "gap")] {
        let message = serde_json::from_str(&feed_message(Some("e"), &item)).unwrap();
        messages.check_both(&message, kind, "tellEvents");
    }
    let faults = [Fault { pointer: "/params/limit".into(), detail: "no".into() }];
    let error = error_message(Some("m"), "a_code_of_its_own", "no", &faults);
    messages.check_both(&serde_json::from_str(&error).unwrap(), "error", "tellAnswers");
    // And nothing else is.
    for wrong in [
        json!({"type": "skipped", "id": "e"}),
        json!({"type": "pong", "id": "e"}),
        json!({"type": "event", "position": "0:1", "event": event}),
        json!({"type": "update", "seq": 1, "result": {}, "meta": {}, "warnings": []}),
    ] {
        assert_eq!(messages.kinds("tell", &wrong), Vec::<String>::new(), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_called_right_is_followed_and_nothing_else() {
    let mut world = World::new(Limits::default()).await;
    let messages = Messages::of(&world).await;
    let server = world.listen().await;
    let mut socket = open(&server, "/ws?events=none", None).await.unwrap();
    next(&mut socket).await;
    let of_metric = |more: Value| {
        let mut message = json!({"type": "subscribe", "id": "x", "metric": NAME});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let of_events = |events: Value| json!({"type": "subscribe", "id": "y", "events": events});
    let right = [
        json!({"type": "auth", "key": "k"}),
        json!({"type": "auth"}),
        of_metric(json!({"params": {}, "expand": ["names"], "min_interval_ms": 0})),
        of_metric(json!({"id": "b", "params": null})),
        of_events(json!({"event_types": ["buy", "__other__"], "user_id": 1, "product_id": "é"})),
        json!({"type": "subscribe", "id": "c", "events": {}, "since": "0:1,1:9"}),
        json!({"type": "unsubscribe", "id": "c"}),
        json!({"type": "ping"}),
    ];
    let wrong = [
        json!({"type": "dance"}),
        json!({"type": "ping", "x": 1}),
        json!({"type": "unsubscribe"}),
        json!({"type": "subscribe", "id": "z"}),
        json!({"type": "subscribe", "id": "z", "metric": 7}),
        json!({"type": "subscribe", "id": "z", "events": {}, "since": 7}),
        of_metric(json!({"id": ""})),
        of_metric(json!({"id": "z", "params": 7})),
        of_metric(json!({"id": "z", "events": {}})),
        of_metric(json!({"id": "z", "since": "0:1"})),
        of_metric(json!({"id": "z", "expand": ["x"]})),
        of_metric(json!({"id": "z", "min_interval_ms": -1})),
        of_metric(json!({"id": "z", "min_interval_ms": 86_400_001})),
        of_events(json!({"event_types": []})),
        of_events(json!({"event_types": ["Buy"]})),
        of_events(json!({"user_id": -1})),
        of_events(json!({"user_id": true})),
        of_events(json!({"user_id": "__other__"})),
        of_events(json!({"user": 1})),
    ];
    let asked = right.iter().map(|message| (message, true));
    for (message, is_right) in asked.chain(wrong.iter().map(|message| (message, false))) {
        let kinds = messages.kinds("hear", message);
        assert_eq!(kinds.len(), usize::from(is_right), "{message}: {kinds:?}");
        say(&mut socket, message).await;
        say(&mut socket, &json!({"type": "ping"})).await;
        let mut refused = false;
        loop {
            let reply = next(&mut socket).await;
            match reply["type"].as_str().unwrap() {
                "error" => refused = true,
                "pong" => break,
                _ => {}
            }
        }
        if message["type"] == "ping" && is_right {
            next_of(&mut socket, "pong").await;
        }
        assert_eq!(refused, !is_right, "{message}");
    }
}
