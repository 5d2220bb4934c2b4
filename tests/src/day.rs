//! One known day: the events behind the examples of the HTTP contract, with their answers.

use serde_json::{Value, json};

/// 2026-01-01: eleven events of three users on three products, one of them sent twice, one late.
#[must_use]
pub fn events() -> Vec<Value> {
    let rows = [
        (1, 10, "view", "00:01"),
        (1, 10, "view", "00:02"),
        (1, 10, "add_to_cart", "00:03"),
        (1, 10, "buy", "00:05"),
        (2, 10, "view", "00:07"),
        (2, 20, "view", "00:20"),
        (3, 20, "view", "01:01"),
        (3, 20, "buy", "01:05"),
        (3, 30, "view", "01:06"),
        (1, 20, "view", "01:30"),
        (1, 10, "add_to_cart", "00:03"),
        (2, 30, "view", "00:59"),
    ];
    let event = |(user, product, kind, time): (u64, u64, &str, &str)| {
        json!({"event_id": format!("{user}-{product}-{kind}-{time}"), "user_id": user, "product_id": product,
            "event_type": kind, "timestamp": format!("2026-01-01T{time}:00.000Z")})
    };
    rows.into_iter().map(event).collect()
}

/// As NDJSON.
#[must_use]
pub fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}
