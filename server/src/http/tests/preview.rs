//! Previews: what is asked of the engine, and what is answered.

use super::fake::{World, evaluated};
use crate::http::Limits;
use serde_json::json;
use std::time::Duration;
use tally_engine::engine::{
    EvaluateError, LogError, MakeFault, Preview, PreviewError, PreviewRequest,
};
use tally_plugin::ask::Fault;

const PATH: &str = "/api/preview";

#[tokio::test]
async fn an_answer_is_as_of_a_post_and_says_over_how_many_records() {
    let world = World::new(Limits::default()).await;
    let mut answer = evaluated("{\"total\":11}", json!({"type": "object"}));
    answer.window = (Some(1_767_225_600_000), None);
    answer.history.complete = false;
    *world.fake.preview.lock() = Ok(Preview {
        evaluated: answer,
        records: 49_999,
        params_schema: json!({"minProperties": 1}),
    });
    let body = r#"{"plugin":"counts","config":{"cells":{"n":"count"}},"params":{"limit":5.0}}"#;
    let answer = world.post(PATH, body).await;
    let told = answer.json();
    let took = told["meta"]["took_us"].as_u64().unwrap();
    assert_eq!(
        answer.text,
        format!(
            r#"{{"name":"counts","params":{{"limit":5.0}},"result":{{"total":11}},"params_schema":{{"minProperties":1}},"result_schema":{{"type":"object"}},"meta":{{"window":{{"from":"2026-01-01T00:00:00.000Z"}},"position":"0:1204,1:998","as_of":"2026-01-01T00:00:00.000Z","version":"1.0.0","history":{{"state":"partial","from":"2026-01-01T00:01:00.000Z"}},"took_us":{took},"records":49999}},"warnings":[]}}"#
        )
    );
    assert_eq!(answer.header("content-type"), "application/json");
    let asked = PreviewRequest {
        plugin: "counts".into(),
        config: json!({"cells": {"n": "count"}}),
        params: json!({"limit": 5.0}),
        records: 50_000,
    };
    assert_eq!(*world.fake.previewed.lock(), [asked]);
}

#[tokio::test]
async fn a_long_answer_holds_memory_until_it_is_sent() {
    let world = World::new(Limits::default()).await;
    let long = format!("\"{}\"", "x".repeat(100_000));
    let preview =
        Preview { evaluated: evaluated(&long, json!({})), records: 1, params_schema: json!({}) };
    *world.fake.preview.lock() = Ok(preview);
    let answer = world.post(PATH, r#"{"plugin":"a"}"#).await;
    assert_eq!(answer.json()["result"].as_str().unwrap().len(), 100_000);
    assert_eq!(world.app().limits.answers.used(), 0, "it is sent");
}

#[tokio::test]
async fn what_prevents_one_is_told() {
    let world = World::new(Limits::default()).await;
    let fault = |pointer: &str| Fault { pointer: pointer.into(), detail: "no".into() };
    let params = EvaluateError::Invalid {
        code: "invalid_params".into(),
        errors: vec![fault("/params/limit")],
    };
    let failed = EvaluateError::PluginFailed("no".into());
    let faults: [(PreviewError, u16, &str, &str); 9] = [
        (PreviewError::Busy("the plugin \"a\" for 7 s".into()), 503, "overloaded", ""),
        (PreviewError::NoRoom, 503, "overloaded", ""),
        (MakeFault::Unknown(vec!["counts".into()]).into(), 404, "plugin_not_found", ""),
        (MakeFault::Config(vec![fault("/config/by")]).into(), 422, "invalid_config", "/config/by"),
        (params.into(), 422, "invalid_params", "/params/limit"),
        (failed.into(), 500, "plugin_failed", ""),
        (LogError::Fatal("no".into()).into(), 503, "log_unavailable", ""),
        (PreviewError::Late(Duration::from_secs(5)), 504, "deadline_exceeded", ""),
        (PreviewError::Memory(128 << 20), 422, "preview_too_large", "/records"),
    ];
    for (fault, status, code, pointer) in faults {
        *world.fake.preview.lock() = Err(fault);
        let answer = world.post(PATH, r#"{"plugin":"count"}"#).await;
        let problem = answer.json();
        assert_eq!((answer.status.as_u16(), &problem["code"]), (status, &json!(code)), "{problem}");
        assert_eq!(problem["errors"][0]["pointer"].as_str().unwrap_or_default(), pointer);
        if code == "overloaded" {
            assert_eq!(answer.header("retry-after"), "1");
        }
        if code == "plugin_not_found" {
            assert_eq!(problem["suggestions"], json!(["counts"]));
            let detail = "unknown plugin \"count\"; did you mean \"counts\"?";
            assert_eq!(problem["detail"], detail);
        }
    }
    assert_eq!(world.post(PATH, "{}").await.json()["errors"][0]["pointer"], "/plugin");
    assert_eq!(world.get(PATH).await.status, 405);
}

#[tokio::test]
#[allow(clippy::await_holding_lock, reason = "the work that waits for it has a thread of its own")]
async fn one_that_does_not_return_is_left_behind() {
    let world = World::new(Limits { preview: Duration::ZERO, ..Limits::default() }).await;
    // Held until the answer is there, so the work cannot be done before.
    let held = world.fake.preview.lock();
    let answer = world.post(PATH, r#"{"plugin":"a"}"#).await;
    drop(held);
    let code = &answer.json()["code"];
    assert_eq!((answer.status.as_u16(), code), (504, &json!("deadline_exceeded")));
}
