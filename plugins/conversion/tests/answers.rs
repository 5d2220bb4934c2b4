//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use conversion::Conversion;
use serde_json::{Value, json};
use tally_testkit::{State, ask, conforms, day_of_events, fits};

fn answer(config: Value, params: Value) -> Value {
    let mut state = State::<Conversion>::new(config).unwrap();
    state.feed(&day_of_events()).unwrap();
    state.answer(&ask(params)).unwrap()
}

fn stage(event_type: &str, users: u64, of_previous: f64, of_first: f64) -> Value {
    json!({"event_type": event_type, "users": users, "of_previous": of_previous, "of_first": of_first})
}

#[test]
fn conforms_to_the_laws() {
    conforms::<Conversion>(json!({}), &fits);
    conforms::<Conversion>(json!({"stages": ["view", "buy"]}), &fits);
}

#[test]
fn users_are_counted_once_per_stage_whatever_the_order() {
    let answer = answer(json!({}), json!({"limit": 2}));
    let overall = [
        stage("view", 3, 1.0, 1.0),
        stage("add_to_cart", 1, 0.333_333, 0.333_333),
        stage("buy", 2, 2.0, 0.666_667),
    ];
    assert_eq!(answer["stages"], json!(overall));
    let products = &answer["products"];
    assert_eq!((&products[0]["product_id"], &products[1]["product_id"]), (&json!(20), &json!(10)));
    let twenty = [
        stage("view", 3, 1.0, 1.0),
        stage("add_to_cart", 0, 0.0, 0.0),
        stage("buy", 1, 0.0, 0.333_333),
    ];
    assert_eq!(products[0]["stages"], json!(twenty));
}

#[test]
fn windows_products_and_stages_are_chosen() {
    let last = answer(json!({}), json!({"from": "2026-01-01T01:00:00Z", "product_ids": [20, 99]}));
    assert_eq!(last["stages"][0]["users"], 2);
    assert_eq!(last["products"].as_array().unwrap().len(), 1);
    let two = answer(json!({"stages": ["view", "buy"]}), json!({"limit": 0}));
    assert_eq!(
        two["stages"],
        json!([stage("view", 3, 1.0, 1.0), stage("buy", 2, 0.666_667, 0.666_667)])
    );
}
