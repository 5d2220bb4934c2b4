//! What an event may say, end to end: the range of its time, the clocks around it, `null`, numbers,
//! event types without end.

use serde_json::{Value, json};
use std::time::Instant;
use tally_tests::client::Client;
use tally_tests::tally::Home;

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

fn line(user: u64, kind: &str, more: &str) -> String {
    format!("{{\"user_id\":{user},\"product_id\":10,\"event_type\":\"{kind}\"{more}}}\n")
}

fn at(time: &str) -> String {
    line(1, "view", &format!(",\"timestamp\":\"{time}\""))
}

fn rejected(client: &Client, lines: &str) -> Vec<(usize, String)> {
    client.events(lines).unwrap().rejected
}

/// Events of 1990 and of 2199 count, are stored, found again after a restart, and verified; those
/// beyond are named.
#[test]
fn the_ends_of_event_time_count_like_any_other() {
    let home = Home::new(&format!("{CONFIG}[events]\nmax_ahead = \"off\"\n")).unwrap();
    let tally = home.start().unwrap();
    let ends = ["1990-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2199-12-31T23:59:59.999Z"];
    let position = tally.client.post_all(&ends.map(at).concat()).unwrap();
    let beyond = [
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1989-12-31T23:59:59.999Z",
        "2200-01-01T00:00:00Z",
    ];
    let reasons = rejected(&tally.client, &beyond.map(at).concat());
    let early = |n| (n, "timestamp_too_early".to_owned());
    assert_eq!(reasons, [early(0), early(1), early(2), (3, "timestamp_in_future".into())]);
    let check = |client: &Client| {
        let ask = |params: Value| client.ask("event_frequencies", &params, &position).unwrap();
        assert_eq!(ask(json!({}))["total"], 3);
        let first =
            json!({"from": "1990-01-01T00:00:00Z", "to": "1990-01-02T00:00:00Z", "bucket": "1d"});
        assert_eq!(ask(first)["series"][0]["total"], 1);
        let last =
            json!({"from": "2199-12-30T00:00:00Z", "to": "2200-01-01T00:00:00Z", "bucket": "1d"});
        assert_eq!(
            (&ask(last.clone())["series"][0]["total"], &ask(last)["series"][1]["total"]),
            (&json!(0), &json!(1))
        );
        let user = client.ask("user_activities", &json!({"user_id": 1.0}), &position).unwrap();
        assert_eq!(user["first_seen"], "1990-01-01T00:00:00.000Z");
        assert_eq!(user["last_seen"], "2199-12-31T23:59:59.999Z");
    };
    check(&tally.client);
    home.succeed(&["verify", "--url", &tally.url()]).unwrap();
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    check(&tally.client);
    tally.stop().unwrap();
}

/// Times of questions follow the grammar of events; numbers without a fraction are integers; a
/// wrong one is pointed at.
#[test]
fn questions_write_times_and_numbers_as_events_do() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let lines = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:30.123456789012Z"].map(at).concat();
    let number =
        line(2, "buy", ",\"timestamp\":1.7672256e12,\"event_id\":null").replace(":2,", ":2.0,");
    let position = client.post_all(&format!("{lines}{number}")).unwrap();
    let end = json!({"from": 1.7672256e12, "to": "9999-12-31T23:59:59Z"});
    let answer = client.answer("event_frequencies", &end, &position).unwrap();
    assert_eq!(
        (&answer["result"]["total"], &answer["meta"]["window"]["to"]),
        (&json!(3), &json!("9999-12-31T23:59:59.999Z"))
    );
    let products = json!({"product_ids": [10.0], "limit": 5.0});
    assert_eq!(
        client.ask("products_popularity", &products, &position).unwrap()["products"][0]["product_id"],
        10
    );
    assert_eq!(
        client.ask("user_activities", &json!({"user_id": 2e0}), &position).unwrap()["total"],
        1
    );
    for to in [
        "2026-01-01T00:00Z",
        "20260101T000000Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00,5Z",
    ] {
        let question = json!({"name": "event_frequencies", "params": {"to": to}});
        let answer = client.evaluate(&question).unwrap();
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/params/to")),
            "{to}"
        );
    }
    let wrong = json!({"name": "products_popularity", "params": {"limit": 5.5}});
    let answer = client.evaluate(&wrong).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/params/limit"))
    );
    tally.stop().unwrap();
}

/// A property that cannot be read leaves a trace, by metric and property; one that is absent or
/// null leaves none.
#[test]
fn values_that_cannot_be_read_are_counted() {
    let home = Home::new(&format!("{CONFIG}[metrics.revenue]\nplugin = \"revenue\"\n")).unwrap();
    let tally = home.start().unwrap();
    let prices = [
        "",
        ",\"price\":null",
        ",\"price\":\"1,234.50\"",
        ",\"price\":true",
        ",\"price\":\"12.50\"",
    ];
    let lines: String = prices.iter().map(|price| line(1, "buy", price)).collect();
    let position = tally.client.post_all(&lines).unwrap();
    tally.client.ask("revenue", &json!({}), &position).unwrap();
    let labels = "metric=\"revenue\",property=\"price\"";
    assert_eq!(tally.client.figure("tally_property_unreadable_total", labels).unwrap() as i64, 2);
    let descriptor = tally.client.get("/api/metrics/revenue").unwrap().json();
    assert_eq!(descriptor["cost"]["unreadable"], 2, "{descriptor}");
    let plain = tally.client.get("/api/metrics/event_frequencies").unwrap().json();
    assert!(plain["cost"].get("unreadable").is_none(), "{plain}");
    tally.stop().unwrap();
}

/// Types without end: the two main metrics answer as quickly as ever, with the same types after a
/// restart, and say so.
#[test]
fn event_types_without_end_count_together() {
    const TYPES: usize = 100_000;
    let home = Home::new(&format!("{CONFIG}[events]\nkeep = [\"kept_type\"]\n")).unwrap();
    let tally = home.start().unwrap();
    let mut position = String::new();
    for from in (0..TYPES).step_by(10_000) {
        let lines: String =
            (from..from + 10_000).map(|n| line(n as u64 % 50, &format!("type_{n}"), "")).collect();
        position = tally.client.post_all(&lines).unwrap();
    }
    let kept = tally.client.post_all(&line(1, "kept_type", "")).unwrap();
    let check = |client: &Client| {
        client.ask("event_frequencies", &json!({}), &position).unwrap();
        let answer = client.answer("event_frequencies", &json!({}), &kept).unwrap();
        let by_type = answer["result"]["by_type"].as_object().unwrap();
        assert_eq!(answer["result"]["total"], TYPES + 1);
        assert!((300..=1_001).contains(&by_type.len()), "{} types", by_type.len());
        assert_eq!(by_type["kept_type"], 1);
        let sum: u64 = by_type.values().filter_map(Value::as_u64).sum();
        assert_eq!(sum, TYPES as u64 + 1);
        let warnings = answer["warnings"].as_array().unwrap();
        let limited = |one: &&Value| one["code"] == "keys_limited" && one["column"] == "event_type";
        assert!(warnings.iter().any(|one| limited(&one)), "{warnings:?}");
        // Another question, so that it is not answered from what was kept; the default deadline is
        // 250 ms.
        let begun = Instant::now();
        client.ask("products_popularity", &json!({"limit": 3}), &kept).unwrap();
        client.ask("event_frequencies", &json!({"window": "1h", "bucket": "1m"}), &kept).unwrap();
        assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
        by_type.clone()
    };
    let before = check(&tally.client);
    home.succeed(&["verify", "--url", &tally.url()]).unwrap();
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(check(&tally.client), before, "the same types stand for themselves");
    tally.stop().unwrap();
    // Nothing of the state is left: all of it is counted again.
    let again = Home::new(&format!("{CONFIG}[events]\nkeep = [\"kept_type\"]\n")).unwrap();
    let tally = again.start().unwrap();
    let all: String =
        (0..TYPES).rev().map(|n| line(n as u64 % 50, &format!("type_{n}"), "")).collect();
    let mut lines: Vec<&str> = all.split_inclusive('\n').collect();
    let one = line(1, "kept_type", "");
    lines.push(&one);
    let mut end = String::new();
    for chunk in lines.chunks(7_000) {
        end = tally.client.post_all(&chunk.concat()).unwrap();
        tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    }
    let answer = tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    assert_eq!(answer["by_type"].as_object().unwrap(), &before, "whatever their order");
    tally.stop().unwrap();
}
