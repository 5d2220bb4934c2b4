//! Fields of the newest records: what is asked of the engine, and what is answered.

use super::fake::World;
use crate::http::Limits;
use serde_json::{Value, json};
use tally_engine::engine::{ColumnKind, FieldReport, RecordField, ValueKind};

#[tokio::test]
async fn what_records_have_is_told_in_shares() {
    let world = World::new(Limits::default()).await;
    let answer = world.get("/api/fields").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, r#"{"records":0,"fields":[]}"#)
    );
    let field = |pointer: &str, records, column| RecordField {
        pointer: pointer.into(),
        records,
        kinds: vec![(ValueKind::String, records - 1), (ValueKind::Number, 1)],
        examples: vec!["\"57.70\"".into(), "57.70".into()],
        distinct: None,
        mapped: None,
        column,
    };
    let price = field("/price", 3, Some(ColumnKind::Decimal(2)));
    let user = RecordField {
        mapped: Some("user_id"),
        distinct: Some(2),
        ..field("/user_id", 2, Some(ColumnKind::Text))
    };
    let fields = vec![price, user];
    *world.fake.fields.lock() = FieldReport {
        records: 4,
        others: 1,
        fields,
        records_left_out: true,
        fields_left_out: false,
        deeper_left_out: true,
    };
    let answer = world.get("/api/fields?records=10000").await;
    assert_eq!(
        answer.text,
        r#"{"records":4,"others":1,"fields":[{"pointer":"/price","types":{"string":0.666667,"number":0.333333},"share":0.75,"examples":["57.70",57.70],"as":{"decimal":2}},{"pointer":"/user_id","types":{"string":0.5,"number":0.5},"share":0.5,"examples":["57.70",57.70],"distinct":2,"mapped":"user_id","as":"text"}],"records_left_out":true,"deeper_left_out":true}"#
    );
    assert!(answer.header("etag").starts_with("W/"), "{:?}", answer.headers);
    assert_eq!(*world.fake.fields_asked.lock(), [1_000, 10_000]);
}

#[tokio::test]
async fn what_is_no_number_of_records_asks_nothing_and_a_log_that_is_away_is_told() {
    let world = World::new(Limits::default()).await;
    for (query, pointers) in [
        ("records=0", &["/records"][..]),
        ("records=10001&limit=1", &["/records", "/limit"]),
        ("records=x", &["/records"]),
        ("record", &["/record"]),
    ] {
        let answer = world.get(&format!("/api/fields?{query}")).await;
        let problem = answer.json();
        let code = &problem["code"];
        assert_eq!((answer.status.as_u16(), code), (422, &json!("invalid_params")), "{problem}");
        let errors = problem["errors"].as_array().unwrap().iter();
        let found: Vec<&Value> = errors.map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{problem}");
    }
    assert!(world.fake.fields_asked.lock().is_empty());
    let answer = world.get("/api/fields?records=13").await;
    let code = &answer.json()["code"];
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after"), code),
        (503, "1", &json!("log_unavailable"))
    );
}
