//! The laws, and exact answers over a known day.
#![allow(clippy::unwrap_used)] // a refused question is a failed test

use event_frequencies::EventFrequencies;
use serde_json::json;
use tally_testkit::{State, ask, conforms, day_of_events, event, fits};

fn day() -> State<EventFrequencies> {
    let mut state = State::new(json!({})).unwrap();
    state.feed(&day_of_events()).unwrap();
    state
}

#[test]
fn conforms_to_the_laws() {
    conforms::<EventFrequencies>(json!({}), &fits);
}

#[test]
fn the_day_of_the_contract() {
    let answer = day().answer(&ask(json!({"window": "2h"}))).unwrap();
    let expected = json!({
        "total": 11,
        "by_type": {"add_to_cart": 1, "buy": 2, "view": 8},
        "share": {"add_to_cart": 0.090909, "buy": 0.181818, "view": 0.727273},
        "per_second": 0.001527778,
    });
    assert_eq!(answer, expected);
}

#[test]
fn an_open_window_has_no_rate() {
    let answer = day().answer(&ask(json!({}))).unwrap();
    assert_eq!(answer["total"], 11);
    assert!(answer.get("per_second").is_none());
    assert!(answer.get("series").is_none());
}

#[test]
fn types_asked_for_appear_at_zero() {
    let answer = day().answer(&ask(json!({"event_types": ["refund", "buy"]}))).unwrap();
    assert_eq!(
        answer,
        json!({"total": 2, "by_type": {"buy": 2, "refund": 0}, "share": {"buy": 1.0, "refund": 0.0}})
    );
}

#[test]
fn nothing_is_zeros() {
    let answer = State::<EventFrequencies>::new(json!({}))
        .unwrap()
        .answer(&ask(json!({"window": "1h"})))
        .unwrap();
    assert_eq!(answer, json!({"total": 0, "by_type": {}, "share": {}, "per_second": 0.0}));
}

#[test]
fn a_series_is_zero_filled_and_says_which_steps_are_cut() {
    let params =
        json!({"from": "2026-01-01T00:58:00Z", "to": "2026-01-01T03:00:00Z", "bucket": "1h"});
    let answer = day().answer(&ask(params)).unwrap();
    let expected = json!([
        {"start": "2026-01-01T00:00:00.000Z", "total": 1, "by_type": {"view": 1}, "partial": true},
        {"start": "2026-01-01T01:00:00.000Z", "total": 4, "by_type": {"buy": 1, "view": 3}},
        {"start": "2026-01-01T02:00:00.000Z", "total": 0, "by_type": {}},
    ]);
    assert_eq!(answer["series"], expected);
    assert_eq!(answer["total"], 5);
}

#[test]
fn the_end_of_a_window_does_not_count() {
    let mut state = State::<EventFrequencies>::new(json!({})).unwrap();
    state
        .feed(&[
            event(1, 1, "view", "2026-01-01T00:00:00Z"),
            event(1, 1, "view", "2026-01-01T01:00:00Z"),
        ])
        .unwrap();
    let params = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"});
    assert_eq!(state.answer(&ask(params)).unwrap()["total"], 1);
}

#[test]
fn params_of_its_own_are_refused() {
    let schema = day().description().params_schema.clone();
    assert!(fits(&schema, &json!({})).is_ok());
    assert!(fits(&schema, &json!({"limit": 3})).is_err());
}
