//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use revenue::Revenue;
use serde_json::{Value, json};
use tally_testkit::{Event, State, ask, conforms, event, fits};

const AT: &str = "2026-01-01T00:10:00Z";

fn buys(prices: &[Value]) -> Vec<Event> {
    prices.iter().map(|price| event(1, 10, "buy", AT).with("/price", price.clone())).collect()
}

fn answer(config: Value, events: &[Event], params: Value) -> Value {
    let mut state = State::<Revenue>::new(config).unwrap();
    state.feed(events).unwrap();
    state.answer(&ask(params)).unwrap()
}

#[test]
fn conforms_to_the_laws() {
    conforms::<Revenue>(json!({}), &fits);
    conforms::<Revenue>(
        json!({"price": "/cents", "digits": 0, "event_types": ["buy", "x"]}),
        &fits,
    );
}

#[test]
fn sums_are_exact_and_what_is_no_price_is_none() {
    let mut events =
        buys(&[json!(0.1), json!(0.2), json!("0.30"), json!("three"), json!(null), json!(2.5)]);
    events.push(event(1, 20, "buy", AT));
    events.push(event(1, 20, "view", AT).with("/price", 99));
    let expected = json!({
        "purchases": 7, "revenue": 3.1, "average": 0.775, "p50": 0.19999, "p95": 0.30,
        "products": [{"product_id": 10}, {"product_id": 20, "purchases": 1, "revenue": 0}],
    });
    let answer = answer(json!({}), &events, json!({}));
    for member in ["purchases", "revenue", "average"] {
        assert_eq!(answer[member], expected[member], "{member}");
    }
    for (member, exact) in [("p50", 0.2), ("p95", 0.3)] {
        let told = answer[member].as_f64().unwrap();
        assert!((told - exact).abs() <= exact * 0.01, "{member}: {told}");
    }
    assert_eq!(
        answer["products"][1], expected["products"][1],
        "no average and no quantiles of nothing"
    );
    assert_eq!(answer["products"][0]["purchases"], 6);
}

#[test]
fn products_are_ordered_by_revenue() {
    let events = [(1, 5), (2, 7), (3, 5)]
        .map(|(product, price)| event(1, product, "buy", AT).with("/price", price));
    let ids = |params| -> Vec<u64> {
        let answer = answer(json!({}), &events, params);
        answer["products"]
            .as_array()
            .unwrap()
            .iter()
            .map(|product| product["product_id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ids(json!({})), [2, 1, 3]);
    assert_eq!(ids(json!({"limit": 1})), [2]);
    assert_eq!(ids(json!({"product_ids": [3, 1]})), [1, 3]);
    assert_eq!(ids(json!({"window": "1h"})), [0; 0], "nothing in the last hour before two");
}

#[test]
fn where_the_price_stands_is_configured() {
    let events = [
        event(1, 1, "refund", AT).with("/total/cents", 1_999),
        event(1, 1, "buy", AT).with("/price", 5),
    ];
    let config = json!({"price": "/total/cents", "digits": 0, "event_types": ["refund"]});
    assert_eq!(answer(config, &events, json!({}))["revenue"], 1_999);
}

#[test]
fn event_types_cannot_be_asked_for() {
    let state = State::<Revenue>::new(json!({})).unwrap();
    let refusal = state.answer(&ask(json!({"event_types": ["buy"]}))).unwrap_err();
    assert_eq!(refusal.errors[0].pointer, "/params/event_types");
}
