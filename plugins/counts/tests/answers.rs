//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use counts::Counts;
use serde_json::{Value, json};
use tally_testkit::{Event, State, ask, conforms, day_of_events, event, fits};

fn sales() -> Value {
    json!({
        "by": ["/brand", "product_id"],
        "only": ["buy"],
        "types": {"/price": {"decimal": 2}},
        "cells": {
            "sales": "count",
            "revenue": {"sum": "/price"},
            "cheapest": {"min": "/price"},
            "dearest": {"max": "/price"},
            "buyers": {"distinct": "user_id"},
            "price": {"quantiles": "/price"},
            "brand": {"latest": "/brand"},
        },
    })
}

fn bought(user: u64, product: u64, brand: &str, price: f64, minute: u32) -> Event {
    event(user, product, "buy", &format!("2026-01-01T00:{minute:02}:00Z"))
        .with("/brand", brand)
        .with("/price", price)
}

fn state(config: Value) -> State<Counts> {
    let mut state = State::<Counts>::new(config).unwrap();
    let events = [
        bought(1, 10, "acme", 12.5, 1),
        bought(1, 10, "acme", 7.5, 2),
        bought(2, 20, "acme", 1.0, 3),
    ];
    state.feed(&events).unwrap();
    state
        .feed(&[bought(2, 30, "bolt", 3.0, 59), event(9, 9, "buy", "2026-01-01T00:00:00Z")])
        .unwrap();
    state.feed(&day_of_events()).unwrap();
    state
}

fn answer(config: Value, params: Value) -> Value {
    state(config).answer(&ask(params)).unwrap()
}

#[test]
fn conforms_to_the_laws() {
    conforms::<Counts>(sales(), &fits);
    conforms::<Counts>(json!({"cells": {"n": "count"}, "tiers": []}), &fits);
    let all = json!({"by": ["event_type", "/n"], "types": {"/n": "integer", "/w": "float", "/t": "time", "/b": "bool"}, "cells": {
        "spread": {"quantiles": "/w"}, "first": {"min": "/t"}, "last": {"max": "/t"}, "trues": {"sum": "/b"}, "w": {"latest": "/w"}, "ns": {"distinct": "/n"},
    }});
    conforms::<Counts>(all, &fits);
}

#[test]
fn every_kind_of_cell_by_brand() {
    let answer = answer(sales(), json!({"by": ["brand"], "order_by": "revenue"}));
    assert_eq!(answer["groups_total"], 2);
    let acme = &answer["groups"][0];
    assert_eq!(acme["key"], json!({"brand": "acme"}));
    let values = &acme["values"];
    let exact = json!({"sales": 3, "revenue": 21, "cheapest": 1, "dearest": 12.5, "buyers": 2, "brand": "acme"});
    for (name, value) in exact.as_object().unwrap() {
        assert_eq!(values[name], *value, "{name}");
    }
    let median = values["price"]["p50"].as_f64().unwrap();
    assert!((median - 7.5).abs() <= 0.075, "{median}");
    assert_eq!(answer["total"]["revenue"], 24);
    assert_eq!(answer["total"]["buyers"], 2);
}

#[test]
fn filters_groups_orders_and_series() {
    let params = json!({"only": {"brand": ["acme"]}, "by": ["product_id"], "order_by": "sales", "order": "asc", "limit": 1});
    let one = answer(sales(), params);
    assert_eq!((&one["groups_total"], &one["groups"][0]["product_id"]), (&json!(2), &json!(20)));
    let by_id = answer(sales(), json!({"only": {"product_id": ["10"]}}));
    assert_eq!(
        (&by_id["total"]["sales"], &by_id["groups"][0]["key"]),
        (&json!(2), &json!({"brand": "acme"}))
    );
    let steps = answer(sales(), json!({"by": [], "window": "2h", "bucket": "1h"}));
    let series = steps["groups"][0]["series"].as_array().unwrap();
    assert_eq!(
        (&series[0]["values"]["sales"], &series[1]["values"]["sales"]),
        (&json!(4), &json!(0))
    );
}

#[test]
fn what_is_not_there_is_refused_with_a_pointer() {
    let state = state(sales());
    for (params, pointer) in [
        (json!({"only": {"colour": ["red"]}}), "/params/only/colour"),
        (json!({"by": ["user_id"]}), "/params/by"),
        (json!({"order_by": "price"}), "/params/order_by"),
        (json!({"order_by": "profit"}), "/params/order_by"),
        (json!({"event_types": ["buy"]}), "/params/event_types"),
    ] {
        assert_eq!(
            state.answer(&ask(params.clone())).unwrap_err().errors[0].pointer,
            pointer,
            "{params}"
        );
    }
}

#[test]
fn a_configuration_that_says_nothing_is_refused() {
    for config in [
        json!({}),
        json!({"cells": {"n": "counts"}}),
        json!({"cells": {"n": {"sum": "price"}}}),
        json!({"by": ["/a/x", "/b/x"], "cells": {"n": "count"}}),
        json!({"by": ["/"], "cells": {"n": "count"}}),
    ] {
        assert!(State::<Counts>::new(config.clone()).is_err(), "{config}");
    }
}
