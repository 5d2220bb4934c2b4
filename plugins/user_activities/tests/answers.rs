//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use serde_json::{Value, json};
use tally_testkit::{Event, State, ask, conforms, day_of_events, event, fits};
use user_activities::UserActivities;

fn counted(events: &[Event]) -> State<UserActivities> {
    let mut state = State::new(json!({})).unwrap();
    state.feed(events).unwrap();
    state
}

fn answer(params: Value) -> Value {
    counted(&day_of_events()).answer(&ask(params)).unwrap()
}

#[test]
fn conforms_to_the_laws() {
    conforms::<UserActivities>(json!({}), &fits);
}

#[test]
fn the_day_of_the_contract() {
    let expected = json!({
        "user": {"user_id": 1, "known": true},
        "total": 5,
        "by_type": {"add_to_cart": 1, "buy": 1, "view": 3},
        "first_seen": "2026-01-01T00:01:00.000Z",
        "last_seen": "2026-01-01T01:30:00.000Z",
        "products_total": 2,
        "products": [
            {"product_id": 20, "total": 1, "by_type": {"view": 1},
             "first_seen": "2026-01-01T01:30:00.000Z", "last_seen": "2026-01-01T01:30:00.000Z"},
            {"product_id": 10, "total": 4, "by_type": {"add_to_cart": 1, "buy": 1, "view": 2},
             "first_seen": "2026-01-01T00:01:00.000Z", "last_seen": "2026-01-01T00:05:00.000Z"},
        ],
    });
    assert_eq!(answer(json!({"user_id": 1})), expected);
    assert_eq!(answer(json!({"user_id": "1"})), expected, "the text \"1\" is the integer 1");
}

#[test]
fn products_are_ordered_and_ties_go_to_the_lower_id() {
    let at = |minute: &str| format!("2026-01-01T00:{minute}:00Z");
    let state = counted(&[
        event(1, 9, "view", &at("05")),
        event(1, 2, "view", &at("05")),
        event(1, 5, "view", &at("01")),
        event(1, 5, "buy", &at("02")),
        event(1, 7, "view", &at("03")),
    ]);
    let order = |params: Value| -> Vec<u64> {
        let answer = state.answer(&ask(params)).unwrap();
        answer["products"]
            .as_array()
            .unwrap()
            .iter()
            .map(|product| product["product_id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(order(json!({"user_id": 1})), [2, 9, 7, 5]);
    assert_eq!(order(json!({"user_id": 1, "order_by": "total"})), [5, 2, 7, 9]);
    assert_eq!(order(json!({"user_id": 1, "order_by": "total", "limit": 2})), [5, 2]);
}

#[test]
fn a_limit_cuts_the_list_and_nothing_else() {
    let answer = answer(json!({"user_id": 1, "limit": 1}));
    assert_eq!(answer["products"].as_array().unwrap().len(), 1);
    assert_eq!((&answer["total"], &answer["products_total"]), (&json!(5), &json!(2)));
    assert_eq!(answer["first_seen"], "2026-01-01T00:01:00.000Z");
}

#[test]
fn a_user_without_events_is_zeros_and_a_warning() {
    let (answer, warnings) =
        counted(&day_of_events()).answer_and_warn(&ask(json!({"user_id": "nobody"}))).unwrap();
    let expected = json!({
        "user": {"user_id": "nobody", "known": false}, "total": 0, "by_type": {},
        "first_seen": null, "last_seen": null, "products_total": 0, "products": [],
    });
    assert_eq!(answer, expected);
    assert!(
        warnings.is_empty(),
        "whether the user is unknown is for the host to say, who has the catalogue"
    );
}

#[test]
fn a_user_is_known_whatever_part_of_the_events_is_asked_for() {
    let nothing_of_it = json!({"user_id": 1, "product_id": 30, "event_types": ["refund"], "from": "2026-01-02T00:00:00Z"});
    let (answer, warnings) =
        counted(&day_of_events()).answer_and_warn(&ask(nothing_of_it)).unwrap();
    assert_eq!(answer["user"], json!({"user_id": 1, "known": true}));
    assert_eq!((&answer["total"], warnings.len()), (&json!(0), 0));
}

#[test]
fn filters_and_series() {
    let params = json!({"user_id": 1, "product_id": 10, "event_types": ["view"], "window": "2h", "bucket": "1h", "limit": 1});
    let answer = answer(params);
    assert_eq!((&answer["total"], &answer["by_type"]), (&json!(2), &json!({"view": 2})));
    let expected = json!([
        {"start": "2026-01-01T00:00:00.000Z", "total": 2, "by_type": {"view": 2}},
        {"start": "2026-01-01T01:00:00.000Z", "total": 0, "by_type": {}},
    ]);
    assert_eq!(answer["series"], expected);
}

#[test]
fn the_series_covers_products_that_a_limit_cuts_off() {
    let answer = answer(json!({"user_id": 1, "window": "2h", "bucket": "1h", "limit": 1}));
    let totals: Vec<&Value> =
        answer["series"].as_array().unwrap().iter().map(|step| &step["total"]).collect();
    assert_eq!(totals, [4, 1]);
}

#[test]
fn an_event_without_a_product_counts_for_no_product() {
    let events = [Event { product: None, ..event(1, 1, "view", "2026-01-01T00:00:00Z") }];
    let answer = counted(&events).answer(&ask(json!({"user_id": 1}))).unwrap();
    assert_eq!((&answer["total"], &answer["user"]["known"]), (&json!(0), &json!(false)));
}

#[test]
fn schemas_say_the_ranges_and_mark_the_ids() {
    let state = counted(&[]);
    let description = state.description();
    for bad in [
        json!({}),
        json!({"user_id": 1, "limit": 0}),
        json!({"user_id": 1, "limit": 1001}),
        json!({"user_id": 1.5}),
        json!({"user_id": 1, "x": 1}),
    ] {
        assert!(fits(&description.params_schema, &bad).is_err(), "{bad}");
    }
    assert_eq!(
        fits(
            &description.params_schema,
            &json!({"user_id": "a", "limit": 1000, "order_by": "last_seen"})
        ),
        Ok(())
    );
    let result = &description.result_schema;
    assert_eq!(
        result.pointer("/properties/user/properties/user_id/x-tally-id"),
        Some(&json!("user"))
    );
    assert_eq!(
        result.pointer("/properties/user/properties/known/x-tally-known"),
        Some(&json!("user"))
    );
    assert_eq!(
        result.pointer("/properties/products/items/properties/product_id/x-tally-id"),
        Some(&json!("product"))
    );
}
