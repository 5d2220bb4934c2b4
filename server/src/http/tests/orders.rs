//! Orders about metrics: what is given to the engine, and what is told of its outcome.

use super::fake::World;
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use std::time::Duration;
use tally_engine::engine::{MetricChange, MetricOrder, ORDER_LIMIT, Order};

#[tokio::test]
async fn an_order_is_carried_out_or_only_foreseen() {
    let world = World::new(Limits::default()).await;
    *world.fake.order_outcome.lock() = Ok("a: so it is".into());
    for (path, change) in [
        ("promote", MetricChange::Promote),
        ("rollback", MetricChange::Rollback),
        ("purge", MetricChange::Purge),
    ] {
        for (query, dry_run, said) in [
            ("", false, "done"),
            ("?dry_run=false", false, "done"),
            ("?dry_run=true", true, "would"),
            ("?dry_run=", true, "would"),
            ("?dry_run", true, "would"),
        ] {
            let answer = world.post(&format!("/api/metrics/a/{path}{query}"), "{}").await;
            assert_eq!(
                (answer.status.as_u16(), answer.json()),
                (200, json!({said: "a: so it is"}))
            );
            let given = Order::Metric(MetricOrder { metric: "a".into(), change, dry_run });
            assert_eq!(world.fake.orders.lock().pop(), Some(given), "{path}{query}");
        }
    }
}

#[test]
fn the_engine_says_first_that_an_outcome_is_unknown() {
    assert!(Limits::default().append >= ORDER_LIMIT + Duration::from_secs(1));
}

#[tokio::test]
async fn what_is_misspelt_has_nothing_done() {
    let world = World::new(Limits::default()).await;
    for query in
        ["?dryrun=true", "?dryrun", "?dryrun", "?dry_run=1", "?dry_run=true&x=1", "?dry_run=true&x"]
    {
        let answer = world.post(&format!("/api/metrics/a/purge{query}"), "{}").await;
        let code = answer.json()["code"].clone();
        assert_eq!((answer.status.as_u16(), code), (422, json!("invalid_params")), "{query}");
    }
    for (path, body, status) in [
        ("/api/metrics/a/purge", "", 400),
        ("/api/metrics/a/purge", r#"{"dry_run":true}"#, 422),
        ("/api/metrics/A/purge", "{}", 404),
        ("/api/metrics/%ff/purge", "{}", 404),
    ] {
        assert_eq!(world.post(path, body).await.status, status, "{path} {body}");
    }
    let form = Request::post("/api/metrics/a/purge").body(Body::empty()).unwrap();
    assert_eq!(world.send(form).await.status, 415);
    assert!(world.fake.orders.lock().is_empty());
}
