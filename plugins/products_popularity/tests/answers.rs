//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use products_popularity::ProductsPopularity;
use serde_json::{Value, json};
use tally_testkit::{Event, State, ask, conforms, day_of_events, event, fits};

fn counted(config: Value, events: &[Event]) -> State<ProductsPopularity> {
    let mut state = State::new(config).unwrap();
    state.feed(events).unwrap();
    state
}

fn answer(params: Value) -> Value {
    counted(json!({}), &day_of_events()).answer(&ask(params)).unwrap()
}

/// Product, interactions and score, in the order of the answer.
fn list(answer: &Value) -> Vec<(u64, u64, u64)> {
    let number = |product: &Value, name: &str| product[name].as_u64().unwrap();
    let products = answer["products"].as_array().unwrap().iter();
    products
        .map(|product| {
            (
                number(product, "product_id"),
                number(product, "interactions"),
                number(product, "score"),
            )
        })
        .collect()
}

#[test]
fn conforms_to_the_laws() {
    conforms::<ProductsPopularity>(json!({}), &fits);
    conforms::<ProductsPopularity>(json!({"weights": {"buy": 5, "view": 0}}), &fits);
}

#[test]
fn the_day_of_the_contract() {
    let answer = answer(json!({"weights": {"view": 1, "add_to_cart": 3, "buy": 7}}));
    let expected = json!({
        "total": 11,
        "products_total": 3,
        "products": [
            {"rank": 1, "product_id": 10, "interactions": 5, "score": 13, "by_type": {"add_to_cart": 1, "buy": 1, "view": 3}, "share": 0.454545},
            {"rank": 2, "product_id": 20, "interactions": 4, "score": 10, "by_type": {"buy": 1, "view": 3}, "share": 0.363636},
            {"rank": 3, "product_id": 30, "interactions": 2, "score": 2, "by_type": {"view": 2}, "share": 0.181818},
        ],
    });
    assert_eq!(answer, expected);
}

#[test]
fn each_event_weighs_one_unless_weights_are_given() {
    assert_eq!(list(&answer(json!({}))), [(10, 5, 5), (20, 4, 4), (30, 2, 2)]);
    assert_eq!(
        list(&answer(json!({"weights": {"buy": 1000}}))),
        [(10, 5, 1000), (20, 4, 1000), (30, 2, 0)]
    );
    assert_eq!(list(&answer(json!({"weights": {}}))), [(10, 5, 0), (20, 4, 0), (30, 2, 0)]);
}

#[test]
fn configured_weights_hold_until_a_question_gives_others() {
    let state = counted(json!({"weights": {"add_to_cart": 2}}), &day_of_events());
    assert_eq!(list(&state.answer(&ask(json!({}))).unwrap()), [(10, 5, 2), (20, 4, 0), (30, 2, 0)]);
    assert_eq!(
        list(&state.answer(&ask(json!({"weights": {"buy": 1}}))).unwrap()),
        [(10, 5, 1), (20, 4, 1), (30, 2, 0)]
    );
}

#[test]
fn the_order_is_score_then_interactions_then_lower_id_in_both_directions() {
    let at = "2026-01-01T00:00:00Z";
    let events = [
        event(1, 9, "buy", at),
        event(1, 2, "buy", at),
        event(1, 5, "view", at),
        event(1, 5, "view", at),
        event(1, 7, "view", at),
    ];
    let state = counted(json!({}), &events);
    let ask =
        |order| list(&state.answer(&ask(json!({"weights": {"buy": 1}, "order": order}))).unwrap());
    assert_eq!(ask("desc"), [(2, 1, 1), (9, 1, 1), (5, 2, 0), (7, 1, 0)]);
    assert_eq!(ask("asc"), [(7, 1, 0), (5, 2, 0), (2, 1, 1), (9, 1, 1)]);
}

#[test]
fn a_limit_cuts_the_list_and_nothing_else() {
    let answer = answer(json!({"limit": 1}));
    assert_eq!(list(&answer), [(10, 5, 5)]);
    assert_eq!((&answer["total"], &answer["products_total"]), (&json!(11), &json!(3)));
}

#[test]
fn products_asked_for_are_listed_at_zero_too_and_limit_does_not_apply() {
    let params = json!({"product_ids": [99, 30, "20", 30, 7], "limit": 1});
    let descending = answer(params.clone());
    assert_eq!(list(&descending), [(20, 4, 4), (30, 2, 2), (7, 0, 0), (99, 0, 0)]);
    assert_eq!((&descending["total"], &descending["products_total"]), (&json!(6), &json!(4)));
    assert_eq!(descending["products"][0]["share"], json!(0.666667));
    assert_eq!(
        descending["products"][3],
        json!({"rank": 4, "product_id": 99, "interactions": 0, "score": 0, "by_type": {}, "share": 0.0})
    );

    let mut params = params;
    params["order"] = json!("asc");
    assert_eq!(list(&answer(params)), [(7, 0, 0), (99, 0, 0), (30, 2, 2), (20, 4, 4)]);
}

#[test]
fn a_series_is_zero_filled_for_each_product() {
    let answer = answer(json!({"product_ids": [10, 99], "window": "2h", "bucket": "1h"}));
    let empty = |start: &str| json!({"start": start, "total": 0, "by_type": {}});
    let (first, second) = ("2026-01-01T00:00:00.000Z", "2026-01-01T01:00:00.000Z");
    let counted =
        json!({"start": first, "total": 5, "by_type": {"add_to_cart": 1, "buy": 1, "view": 3}});
    assert_eq!(answer["products"][0]["series"], json!([counted, empty(second)]));
    assert_eq!(answer["products"][1]["series"], json!([empty(first), empty(second)]));
}

#[test]
fn filters_hold_for_totals_and_shares() {
    let answer = answer(json!({"event_types": ["buy"], "from": "2026-01-01T01:00:00Z"}));
    assert_eq!(list(&answer), [(20, 1, 1)]);
    assert_eq!((&answer["total"], &answer["products"][0]["share"]), (&json!(1), &json!(1.0)));
}

#[test]
fn events_without_a_product_and_without_a_user() {
    let at = "2026-01-01T00:00:00Z";
    let events = [
        Event { product: None, ..event(1, 1, "view", at) },
        Event { user: None, ..event(1, 1, "view", at) },
    ];
    let answer = counted(json!({}), &events).answer(&ask(json!({}))).unwrap();
    assert_eq!(list(&answer), [(1, 1, 1)], "an event counts where its own key columns are present");
    assert_eq!(answer["total"], 1);
}

#[test]
fn ranges_are_those_of_the_contract() {
    let schema = counted(json!({}), &[]).description().params_schema.clone();
    let many = |n: u64| json!((1..=n).collect::<Vec<_>>());
    for good in [
        json!({"limit": 1}),
        json!({"limit": 1000}),
        json!({"weights": {"buy": 0, "view": 1000}}),
        json!({"product_ids": many(100)}),
        json!({"product_ids": ["sku-1", 0]}),
        json!({"order": "asc"}),
    ] {
        assert_eq!(fits(&schema, &good), Ok(()), "{good}");
    }
    for bad in [
        json!({"limit": 0}),
        json!({"limit": 1001}),
        json!({"limit": "3"}),
        json!({"limit": 1.5}),
        json!({"weights": {"buy": -1}}),
        json!({"weights": {"buy": 1001}}),
        json!({"weights": {"buy": 0.5}}),
        json!({"product_ids": []}),
        json!({"product_ids": many(101)}),
        json!({"product_ids": [""]}),
        json!({"product_ids": [-1]}),
        json!({"order": "up"}),
        json!({"limt": 1}),
    ] {
        assert!(fits(&schema, &bad).is_err(), "{bad}");
    }
    assert!(
        State::<ProductsPopularity>::new(json!({"weight": {}})).is_err(),
        "an unknown key of the configuration"
    );
}
