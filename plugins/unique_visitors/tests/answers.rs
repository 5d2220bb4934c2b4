//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use serde_json::{Value, json};
use tally_testkit::{State, ask, conforms, day_of_events, event, fits};
use unique_visitors::UniqueVisitors;

fn answer(params: Value) -> Value {
    let mut state = State::<UniqueVisitors>::new(json!({})).unwrap();
    state.feed(&day_of_events()).unwrap();
    state.answer(&ask(params)).unwrap()
}

#[test]
fn conforms_to_the_laws() {
    conforms::<UniqueVisitors>(json!({}), &fits);
}

#[test]
fn a_user_counts_once_overall_and_once_per_product() {
    let expected = json!({"users": 3, "products": [
        {"product_id": 20, "users": 3}, {"product_id": 10, "users": 2}, {"product_id": 30, "users": 2},
    ]});
    assert_eq!(answer(json!({})), expected);
    assert_eq!(answer(json!({"limit": 0})), json!({"users": 3, "products": []}));
}

#[test]
fn types_windows_and_steps() {
    assert_eq!(
        answer(json!({"limit": 1, "event_types": ["buy"]})),
        json!({"users": 2, "products": [{"product_id": 10, "users": 1}]})
    );
    assert_eq!(answer(json!({"limit": 0, "from": "2026-01-01T01:00:00Z"}))["users"], 2);
    let series = json!([
        {"start": "2026-01-01T00:00:00.000Z", "users": 2}, {"start": "2026-01-01T01:00:00.000Z", "users": 2},
    ]);
    assert_eq!(answer(json!({"limit": 0, "window": "2h", "bucket": "1h"}))["series"], series);
}

#[test]
fn products_asked_for_are_all_listed() {
    let expected = json!([{"product_id": 10, "users": 2}, {"product_id": 99, "users": 0}]);
    assert_eq!(answer(json!({"product_ids": [99, 10, 10]}))["products"], expected);
}

#[test]
fn many_users_are_within_two_per_cent() {
    let mut state = State::<UniqueVisitors>::new(json!({})).unwrap();
    let events: Vec<_> =
        (0..20_000).map(|user| event(user % 8_000, 1, "view", "2026-01-01T00:00:00Z")).collect();
    state.feed(&events).unwrap();
    let users = state.answer(&ask(json!({}))).unwrap()["users"].as_f64().unwrap();
    assert!((users / 8_000.0 - 1.0).abs() < 0.02, "{users}");
}
