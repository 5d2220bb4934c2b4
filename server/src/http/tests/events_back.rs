//! Events backwards, and single records with their verdicts.

use super::fake::World;
use crate::http::Limits;
use serde_json::{Value, json};

#[tokio::test]
async fn events_come_backwards_page_by_page() {
    let world = World::new(Limits::default()).await;
    let answer = world.get("/api/events?limit=2").await;
    assert_eq!(
        answer.text,
        r#"{"items":[{"position":"0:1204","timestamp":"2026-01-01T00:00:00.000Z","event":{"user_id":1,"x":1.50,"n":1204}},{"position":"0:1203","timestamp":"2026-01-01T00:00:00.000Z","event":{"user_id":1,"x":1.50,"n":1203}}],"next":"0:1202"}"#
    );
    assert_eq!(answer.header("content-type"), "application/json");
    let other = world.get("/api/events?limit=1").await;
    assert_ne!(answer.header("etag"), other.header("etag"), "another page is another answer");
    let page = world.get("/api/events?before=0:3&limit=&user_id=1").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (3, &Value::Null));
    let page = world.get("/api/events").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 50);
    assert_eq!(world.get("/api/events?user_id=2").await.json(), json!({"items": [], "next": null}));
}

#[tokio::test]
async fn faults_of_a_page_are_told_together() {
    let world = World::new(Limits::default()).await;
    for (query, code, pointers) in [
        ("before=x", "position_invalid", &["/before"][..]),
        ("limit=0", "invalid_params", &["/limit"]),
        ("user=", "invalid_params", &["/user"]),
        (
            "limit=1001&user_ids=7&event_types=A",
            "invalid_params",
            &["/limit", "/user_ids", "/event_types"],
        ),
    ] {
        let answer = world.get(&format!("/api/events?{query}")).await;
        let problem = answer.json();
        assert_eq!((answer.status.as_u16(), &problem["code"]), (422, &json!(code)), "{problem}");
        let errors = problem["errors"].as_array().unwrap().iter();
        let found: Vec<&Value> = errors.map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{problem}");
    }
}

#[tokio::test]
async fn a_record_comes_as_it_is_with_its_verdict() {
    let world = World::new(Limits::default()).await;
    let answer = world.get("/api/records/0/0").await;
    assert_eq!(
        answer.text,
        r#"{"partition":0,"offset":0,"position":"0:1","topic":"log","timestamp":"2026-01-01T00:00:00.000Z","length":2,"text":"{}","verdict":{"state":"event","event":{"n":1.50}}}"#
    );
    let copy = world.get("/api/records/0/5").await.json();
    assert_eq!(
        (&copy["origin"], &copy["origin_timestamp"]),
        (&json!("log/0/7"), &json!("2025-12-31T23:58:20.000Z"))
    );
    let duplicate = world.get("/api/records/0/1").await.json();
    assert_eq!(duplicate["verdict"], json!({"state": "duplicate"}));
    let refused = world.get("/api/records/0/2").await.json();
    assert_eq!((&refused["bytes_base64"], &refused["length"]), (&json!("/w=="), &json!(1)));
    assert_eq!(refused["verdict"], json!({"state": "refused", "reason": "invalid_utf8"}));
    let deleted = world.get("/api/records/0/3").await.json();
    assert!(deleted.get("text").is_none() && deleted.get("bytes_base64").is_none(), "{deleted}");
    for path in ["/api/records/0/4", "/api/records/7/0"] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (404, &json!("record_not_found"))
        );
    }
    for path in ["/api/records/x/4", "/api/records/0/-1", "/api/records/4294967296/0"] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (422, &json!("invalid_params"))
        );
    }
}
