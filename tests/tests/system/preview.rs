//! Before a metric exists: the fields that records have, and what a plugin with a configuration
//! would answer over the newest of them.

use crate::kafka::{PARTITIONS, member};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use tally_engine::schema::Schema;
use tally_tests::client::{Answer, Client};
use tally_tests::kafka::Kafka;
use tally_tests::poison::poison;
use tally_tests::tally::Home;

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

const SALES: &str = r#"
[metrics.sales]
plugin = "counts"
config.by = ["/brand"]
config.only = ["buy"]
config.cells = { sales = "count", revenue = { sum = "/price" }, buyers = { distinct = "user_id" } }
"#;

const LIMIT: Duration = Duration::from_secs(60);

/// Event number `n` of a day, with a brand, a price and something nested.
fn event(n: u64) -> String {
    let (user, product, minute) = (n % 97, n % 13, n % 60);
    let kind = if n.is_multiple_of(3) { "buy" } else { "view" };
    format!(
        "{{\"event_id\":\"e{n}\",\"user_id\":{user},\"product_id\":{product},\"event_type\":\"{kind}\",\
         \"timestamp\":\"2026-01-01T00:{minute:02}:00Z\",\"brand\":\"b{}\",\"price\":\"{}.{:02}\",\
         \"shop\":{{\"id\":{}}},\"tags\":[1]}}",
        n % 5,
        n % 90,
        n % 100,
        n % 3
    )
}

fn lines(from: u64, to: u64) -> String {
    (from..to).map(|n| event(n) + "\n").collect()
}

fn preview(client: &Client, request: &Value) -> Answer {
    client.post("/api/preview", request.to_string()).unwrap()
}

/// One that must be there.
fn previewed(client: &Client, request: &Value) -> Value {
    let answer = preview(client, request);
    assert_eq!(answer.status, 200, "{request}: {}", answer.text);
    answer.json()
}

fn sales(records: u64) -> Value {
    json!({
        "plugin": "counts",
        "config": {"by": ["/brand"], "only": ["buy"], "cells":
            {"sales": "count", "revenue": {"sum": "/price"}, "buyers": {"distinct": "user_id"}}},
        "params": {"limit": 3, "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T02:00:00Z", "bucket": "1h"},
        "records": records,
    })
}

#[test]
fn a_preview_is_what_the_metric_answers_and_leaves_nothing_behind() {
    let config = format!("{CONFIG}[log]\npartitions = 3\n");
    let home = Home::new(&config).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    client.post_all(&lines(0, 3_000)).unwrap();
    // They are known, and count once.
    let position = client.post_all(&lines(0, 100)).unwrap();
    let whole = previewed(client, &sales(200_000));
    let meta = &whole["meta"];
    assert_eq!((&whole["name"], &meta["records"]), (&json!("counts"), &json!(3_100)));
    assert_eq!(meta["history"], json!({"state": "complete", "from": "2026-01-01T00:00:00.000Z"}));
    assert_eq!(whole["result"]["total"]["sales"], 1_000, "{whole}");
    let some = previewed(client, &sales(500));
    assert_eq!(
        (&some["meta"]["records"], &some["meta"]["history"]["state"]),
        (&json!(500), &json!("partial")),
        "{some}"
    );
    let listing = client.get("/api/metrics").unwrap().json();
    let names: Vec<&Value> =
        listing["metrics"].as_array().unwrap().iter().map(|metric| &metric["name"]).collect();
    assert!(!names.contains(&&json!("counts")), "{names:?}");
    let plugins = client.get("/api/plugins").unwrap().json();
    let plugins = plugins["plugins"].as_array().unwrap();
    let counts = plugins.iter().find(|plugin| plugin["name"] == "counts");
    let counts = counts.unwrap_or_else(|| panic!("counts is not among {plugins:?}"));
    assert_eq!((&counts["metrics"], counts.get("summary")), (&json!([]), None));
    let can = counts["config_schema"]["properties"]["cells"].is_object();
    assert!(can && counts["file"] == "libcounts.so", "{counts}");
    let schema = Schema::compile(&whole["result_schema"]).unwrap();
    assert!(schema.faults(&whole["result"], 1).is_empty(), "{whole}");
    assert!(whole["params_schema"]["properties"]["window"].is_object(), "{whole}");
    let total = client.ask("event_frequencies", &json!({}), &position).unwrap();
    assert_eq!(total["total"], 3_000);

    home.write("metrics.toml", config + SALES).unwrap();
    let params = sales(1)["params"].take();
    let answered = |client: &Client| {
        let asked = json!({"name": "sales", "params": params, "at_least": position});
        let answer = client.evaluate(&asked).map_err(|fault| fault.to_string())?;
        if answer.status == 200 { Ok(answer.text) } else { Err(answer.text) }
    };
    let text = client.until("the metric answers", LIMIT, answered).unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["result"], whole["result"]);
    tally.stop().unwrap();
}

#[test]
fn fields_are_those_that_the_newest_records_have() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let fields = |query: &str| client.get(&format!("/api/fields{query}")).unwrap().json();
    assert_eq!(fields(""), json!({"records": 0, "fields": []}));
    client.post_all(&lines(0, 600)).unwrap();
    let found = fields("?records=10000");
    // Nothing is left out.
    let keys = found.as_object().unwrap().len();
    assert_eq!((&found["records"], keys), (&json!(600), 2), "{found}");
    let of = |pointer: &str| {
        let fields = found["fields"].as_array().unwrap();
        let field = fields.iter().find(|field| field["pointer"] == pointer);
        field.cloned().unwrap_or_else(|| panic!("{pointer} is not among {fields:?}"))
    };
    let price = of("/price");
    assert_eq!(
        (&price["types"], &price["share"], &price["as"]),
        (&json!({"string": 1.0}), &json!(1.0), &json!({"decimal": 2})),
    );
    let user = of("/user_id");
    assert_eq!(
        (&user["mapped"], &user["distinct"], &user["as"]),
        (&json!("user_id"), &json!(97), &json!("integer"))
    );
    assert_eq!(
        (&of("/timestamp")["as"], &of("/shop/id")["as"]),
        (&json!("time"), &json!("integer"))
    );
    assert_eq!(of("/tags")["types"], json!({"array": 1.0}));
    assert!(of("/event_id").get("distinct").is_none(), "{found}");
    assert_eq!(fields("?records=50")["records"], 50);
    tally.stop().unwrap();
}

#[test]
fn faults_of_a_preview_are_told_where_they_are() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    client.post_all(&lines(0, 10)).unwrap();
    let fine = json!({"n": "count"});
    for (request, status, code, pointers) in [
        (json!({"plugin": "count"}), 404, "plugin_not_found", &[""; 0][..]),
        (
            json!({"plugin": "counts", "config": {"cell": fine}}),
            422,
            "invalid_config",
            &["/config/cell", "/config/cells"],
        ),
        (
            json!({"plugin": "counts", "config": {"by": ["brand"], "cells": fine}}),
            422,
            "invalid_config",
            &["/config"],
        ),
        (
            json!({"plugin": "counts", "config": {"cells": fine}, "params": {"limit": -1, "x": 1}}),
            422,
            "invalid_params",
            &["/params/limit", "/params/x"],
        ),
        (json!({"plugin": "counts", "records": 0}), 422, "invalid_request", &["/records"]),
    ] {
        let answer = preview(client, &request);
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &json!(code)), "{problem}");
        let errors = problem["errors"].as_array().into_iter().flatten();
        let found: Vec<&Value> = errors.map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{problem}");
    }
    let unknown = preview(client, &json!({"plugin": "count"})).json();
    assert_eq!(unknown["suggestions"][0], "counts", "{unknown}");
    tally.stop().unwrap();
}

#[test]
fn a_plugin_that_fails_or_hangs_in_a_preview_harms_nothing() {
    let config = format!(
        "{CONFIG}[log]\npartitions = 1\n[plugins]\ndir = \"plugins\"\n\
         [metrics.poison]\nenabled = false\n"
    );
    let home = Home::new(&config).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let poisoned = |n: u64, product: u64| {
        format!("{{\"user_id\":{},\"product_id\":{product},\"event_type\":\"view\"}}\n", 1_000 + n)
    };
    let some: String = (0..300).map(|n| poisoned(n, if n == 123 { 666 } else { 1 })).collect();
    client.post_all(&some).unwrap();
    let answer = previewed(client, &json!({"plugin": "poison"}));
    assert_eq!(answer["result"], json!({"fed": 299, "updated": 299}), "{answer}");
    let warning = &answer["warnings"][0];
    assert_eq!((&warning["code"], &warning["count"]), (&json!("events_failed"), &json!(1)));

    client.post_all(&(0..150).map(|n| poisoned(n, 666)).collect::<String>()).unwrap();
    let failed = preview(client, &json!({"plugin": "poison", "records": 150}));
    assert_eq!((failed.status, &failed.json()["code"]), (500, &json!("plugin_failed")));
    let letters = client.get("/api/dead-letters").unwrap().json();
    assert_eq!(letters["items"], json!([]), "{letters}");

    let end = client.post_all(&poisoned(0, 888)).unwrap();
    let hung = preview(client, &json!({"plugin": "poison", "records": 1}));
    assert_eq!((hung.status, &hung.json()["code"]), (504, &json!("deadline_exceeded")));
    let busy = preview(client, &json!({"plugin": "event_frequencies"}));
    assert_eq!((busy.status, busy.header("retry-after")), (503, "1"), "{}", busy.text);
    assert!(busy.text.contains("the plugin \\\"poison\\\" for "), "{}", busy.text);
    let total = client.ask("event_frequencies", &json!({}), &end).unwrap();
    assert_eq!(total["total"], 451, "counting and answers go on");
    tally.kill().unwrap();
}

#[test]
fn a_plugin_that_ended_the_process_in_a_preview_is_named_by_the_next_start() {
    let config =
        format!("{CONFIG}[plugins]\ndir = \"plugins\"\n[metrics.poison]\nenabled = false\n");
    let home = Home::new(&config).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let mut tally = home.start().unwrap();
    let aborts = "{\"user_id\":1,\"product_id\":901,\"event_type\":\"view\"}\n";
    let end = tally.client.post_all(aborts).unwrap();
    let request = json!({"plugin": "poison", "records": 1});
    assert!(tally.client.post("/api/preview", request.to_string()).is_err());
    tally.process.ended(LIMIT).unwrap();
    drop(tally);
    let tally = home.start().unwrap();
    let said = tally.process.tail();
    let words = "ended the process with signal 6, while it was loaded or tried";
    let line = said.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("poison"), "{line}");
    let total = tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    assert_eq!(total["total"], 1, "what is served counts");
    tally.stop().unwrap();
}

/// Fields and previews read a topic like the log of the engine's own.
pub(crate) fn a_topic_is_read_beside_counting(kafka: &Kafka) {
    kafka.create_topic("preview", PARTITIONS, &[]).unwrap();
    for partition in 0..PARTITIONS {
        let first = partition as u64 * 100;
        let events: Vec<Vec<u8>> = (first..first + 40).map(|n| event(n).into_bytes()).collect();
        kafka.produce_in_transaction("preview", partition, &events[..20], true).unwrap();
        kafka.produce("preview", partition, &events[20..]).unwrap();
        kafka
            .produce("preview", partition, &[b"not json".to_vec(), event(first).into_bytes()])
            .unwrap();
    }
    let home = member(kafka, "preview", CONFIG);
    let tally = home.start().unwrap();
    let client = &tally.client;
    let found = client.get("/api/fields?records=10000").unwrap().json();
    assert_eq!((&found["records"], &found["others"]), (&json!(164), &json!(4)), "{found}");
    assert!(found["fields"].to_string().contains("\"/shop/id\""), "{found}");
    let whole = previewed(client, &json!({"plugin": "event_frequencies"}));
    assert_eq!(
        (&whole["result"]["total"], &whole["meta"]["records"]),
        (&json!(160), &json!(168)),
        "{whole}"
    );
    assert_eq!(whole["meta"]["position"], kafka.position("preview", PARTITIONS).unwrap());
    let some = previewed(client, &json!({"plugin": "event_frequencies", "records": 40}));
    let records = some["meta"]["records"].as_u64().unwrap();
    assert!((1..=40).contains(&records), "{some}");
    tally.stop().unwrap();
}
