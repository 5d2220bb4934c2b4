//! The documents of a real engine: that of the shipped metrics is the one that is kept here, they
//! follow the plugin folder, and what the engine answers and says is what they describe.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tally_engine::schema::Schema;
use tally_tests::client::Client;
use tally_tests::day;
use tally_tests::tally::{Home, binary, plugin};

const LIMIT: Duration = Duration::from_secs(60);

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

const SHIPPED: [&str; 3] = ["event_frequencies", "products_popularity", "user_activities"];

/// A document with components.
struct Document(Value);

impl Document {
    fn of(client: &Client, path: &str) -> Document {
        let answer = client.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        Document(answer.json())
    }

    /// Whether a value fits a schema of the document; else what is wrong with it.
    fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let whole = json!({"allOf": [schema],
            "components": {"schemas": self.0["components"]["schemas"]}});
        let compiled = Schema::compile(&whole).unwrap_or_else(|fault| panic!("{schema}: {fault}"));
        let faults = compiled.faults(value, 10);
        faults.iter().map(|fault| format!("{} {fault}", fault.pointer())).collect()
    }

    fn check(&self, name: &str, value: &Value) {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        assert_eq!(self.faults(&schema, value), Vec::<String>::new(), "{name}: {value}");
    }

    /// The answer to this GET.
    fn check_get(&self, client: &Client, name: &str, path: &str) -> Value {
        let answer = client.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        self.check(name, &answer.json());
        answer.json()
    }
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/openapi.json")
}

/// With `UPDATE=1` in the environment the file is written anew: look at what has changed.
#[test]
fn the_document_of_the_shipped_metrics_is_the_one_that_is_kept() {
    let home = Home::new("").unwrap();
    let tally = home.start().unwrap();
    let Document(mut document) = Document::of(&tally.client, "/api/openapi.json");
    tally.stop().unwrap();
    // The version of the program says nothing about its routes.
    document["info"]["version"] = "0".into();
    let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        return fs::write(golden(), text).unwrap();
    }
    let kept = fs::read_to_string(golden()).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).position(|(kept, now)| kept != now);
    let first = differs.unwrap_or_else(|| kept.lines().count().min(text.lines().count()));
    assert!(
        kept == text,
        "the document is another one from line {} of {} on; is now: {:?}. UPDATE=1 writes it anew",
        first + 1,
        golden().display(),
        text.lines().nth(first)
    );
}

#[test]
fn a_plugin_that_comes_is_described_and_one_that_goes_is_not() {
    let mut home = Home::new("[plugins]\ndir = \"plugins\"\n").unwrap();
    let (bin, folder) = (home.path().join("bin"), home.path().join("plugins"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::copy(binary().unwrap(), bin.join("tally")).unwrap();
    home.use_binary(bin.join("tally"));
    fs::copy(plugin("event_frequencies").unwrap(), folder.join("event_frequencies.so")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let until = |what: &str, wanted: bool| {
        let seen = |client: &Client| {
            let open = Document::of(client, "/api/openapi.json").0;
            let telling = Document::of(client, "/api/asyncapi.json").0;
            let path = open["paths"].get("/api/metrics/products_popularity/answer").is_some();
            let schema = "metric.products_popularity.result";
            let result = telling["components"]["schemas"].get(schema).is_some();
            if (path, result) == (wanted, wanted) {
                Ok(String::new())
            } else {
                Err(format!("paths {path}, results {result}"))
            }
        };
        client.until(what, LIMIT, seen).unwrap()
    };
    until("it is not there", false);
    // As one piece, as a plugin is to be put there.
    let (waiting, there) = (home.path().join("waiting.so"), folder.join("products_popularity.so"));
    fs::copy(plugin("products_popularity").unwrap(), &waiting).unwrap();
    fs::rename(&waiting, &there).unwrap();
    until("it has come", true);
    fs::remove_file(&there).unwrap();
    until("it has gone", false);
    tally.stop().unwrap();
}

#[test]
fn what_an_engine_answers_is_what_its_document_says() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let lines = format!("{}7\n", day::lines(&day::events()));
    let headers = [("content-type", "application/x-ndjson")];
    let posted = client.send("POST", "/api/events", &headers, lines).unwrap().json();
    let document = Document::of(client, "/api/openapi.json");
    document.check("appended", &posted);
    let position = posted["position"].as_str().unwrap();
    for name in SHIPPED {
        let metric = document.check_get(client, "metric", &format!("/api/metrics/{name}"));
        for example in metric["examples"].as_array().unwrap() {
            document.check(&format!("metric.{name}.params"), &example["params"]);
            let mut question = json!({"name": name, "params": example["params"]});
            question["expand"] = json!(["names"]);
            question["at_least"] = json!(position);
            let answer = client.evaluate(&question).unwrap();
            assert_eq!(answer.status, 200, "{question}: {}", answer.text);
            document.check(&format!("metric.{name}.answer"), &answer.json());
            document.check("answer", &answer.json());
        }
        let versions = format!("/api/metrics/{name}/versions");
        document.check_get(client, "revisions", &versions);
    }
    let refused = client.evaluate(&json!({"name": SHIPPED[0], "params": {"limit": 1}})).unwrap();
    document.check("problem", &refused.json());
    for (schema, path) in [
        ("metrics", "/api/metrics"),
        ("plugins", "/api/plugins"),
        ("status", "/api/status"),
        ("past_events", "/api/events?limit=3"),
        ("dead_letters", "/api/dead-letters"),
        ("fields", "/api/fields?records=100"),
        ("codes", "/problems"),
    ] {
        document.check_get(client, schema, path);
    }
    let body = json!({"plugin": "counts", "config": {"cells": {"events": "count"}}}).to_string();
    let preview = client.post("/api/preview", body).unwrap();
    assert_eq!(preview.status, 200, "{}", preview.text);
    document.check("preview", &preview.json());
    let events = document.check_get(client, "past_events", "/api/events?event_types=buy");
    let (partition, next) =
        events["items"][0]["position"].as_str().unwrap().split_once(':').unwrap();
    let offset = next.parse::<u64>().unwrap() - 1;
    document.check_get(client, "record", &format!("/api/records/{partition}/{offset}"));
    tally.stop().unwrap();
}

#[test]
fn what_an_engine_says_is_what_its_document_says() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let document = Document::of(client, "/api/asyncapi.json");
    let mut live = client.live("/ws").unwrap();
    document.check("hello", &live.hello);
    for name in SHIPPED {
        let params = if name == "user_activities" { json!({"user_id": 1}) } else { json!({}) };
        let message = json!({"type": "subscribe", "id": name, "metric": name, "params": params,
            "expand": ["names"], "min_interval_ms": 50});
        live.say(&message.to_string()).unwrap();
    }
    live.say(&json!({"type": "subscribe", "id": "e", "events": {}}).to_string()).unwrap();
    live.say(&json!({"type": "unsubscribe", "id": "x"}).to_string()).unwrap();
    // Of each event that counts one for the connection and one for the subscription.
    let (mut events, mut is_posted) = (0, false);
    let mut updated: Vec<String> = Vec::new();
    while events < 2 * 11 || updated.len() < SHIPPED.len() {
        let message = live.message().unwrap();
        let kind = message["type"].as_str().unwrap();
        let schema = if kind == "event" { "event_message" } else { kind };
        document.check(schema, &message);
        match kind {
            "event" => events += 1,
            // What was said before was heard.
            "error" if !is_posted => {
                client.post_all(&day::lines(&day::events())).unwrap();
                is_posted = true;
            }
            "update" if message["result"]["total"].as_u64() > Some(0) => {
                let id = message["id"].as_str().unwrap().to_owned();
                let result = format!("metric.{id}.result");
                document.check(&result, &message["result"]);
                if !updated.contains(&id) {
                    updated.push(id);
                }
            }
            _ => {}
        }
    }
    drop(live);
    tally.stop().unwrap();
}
