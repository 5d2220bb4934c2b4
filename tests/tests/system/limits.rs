//! What answers cost is judged before it is spent, and bounded: points, bytes, memory, faults.

use serde_json::{Map, Value, json};
use tally_tests::client::{Answer, Client};
use tally_tests::footprint::peak;
use tally_tests::tally::{Home, Tally};

/// A long deadline, so that what is refused is refused for its size, however busy the machine is.
const SERVER: &str =
    "[server]\nevaluation_deadline_ms = 60000\n[store]\ncheckpoint_interval_ms = 100\n";

const POPULAR: &str = "products_popularity";

/// An engine with these sections more, and the position after these events.
fn started(sections: &str, events: impl Iterator<Item = Value>) -> (Home, Tally, String) {
    let home = Home::new(&format!("{SERVER}{sections}")).unwrap();
    let tally = home.start().unwrap();
    let lines: Vec<String> = events.map(|event| event.to_string()).collect();
    let mut position = String::new();
    for some in lines.chunks(5_000) {
        position = tally
            .client
            .post_all(&some.iter().map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
    }
    // All partitions: the last post names only those that it wrote to.
    tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
    (home, tally, position)
}

fn event(user: u64, product: u64, timestamp: &str) -> Value {
    json!({"user_id": user, "product_id": product, "event_type": "view", "timestamp": timestamp})
}

/// `n` events of as many products, on as many days from 1999-07-20 on.
fn years(n: u64) -> impl Iterator<Item = Value> {
    let first = 932_428_800_000_u64;
    (0..n).map(move |n| json!({"user_id": 1, "product_id": n % 1_000, "event_type": "view", "timestamp": first + n * 86_400_000}))
}

fn asked(client: &Client, name: &str, params: Value) -> Answer {
    client.evaluate(&json!({"name": name, "params": params})).unwrap()
}

/// Code and pointers of a problem with this status.
fn problem(answer: &Answer, status: u16) -> (String, Vec<String>) {
    let json = answer.json();
    assert_eq!(answer.status, status, "{:.500}", answer.text);
    let errors = json["errors"].as_array().cloned().unwrap_or_default();
    let pointers = errors.iter().map(|fault| fault["pointer"].as_str().unwrap().to_owned());
    (json["code"].as_str().unwrap().to_owned(), pointers.collect())
}

#[test]
fn too_many_points_are_refused_before_anything_is_read() {
    let (_home, tally, _) = started("", years(9_000));
    let client = &tally.client;
    let before = peak(&tally).unwrap();
    let ids: Vec<u64> = (0..100).collect();
    let (from, to) = ("1999-07-20T00:00:00Z", "2026-11-01T00:00:00Z");
    let long = |more: Value| {
        let mut params = json!({"from": from, "to": to, "bucket": "1d"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let hours = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T23:00:00Z", "bucket": "1m", "limit": 1000});
    for (params, pointer) in [
        (long(json!({"limit": 1000})), "/params/limit"),
        (long(json!({"limit": 11})), "/params/limit"),
        (long(json!({"product_ids": ids})), "/params/bucket"),
        (json!({"limit": 1000, "bucket": "1d"}), "/params/limit"),
        (hours, "/params/limit"),
    ] {
        let refused = problem(&asked(client, POPULAR, params.clone()), 422);
        assert_eq!(refused, ("too_many_points".into(), vec![pointer.into()]), "{params}");
    }
    let told = asked(client, POPULAR, long(json!({"limit": 1000}))).json();
    assert!(told["detail"].as_str().unwrap().contains("a limit of at most 10,"), "{told}");
    let much = peak(&tally).unwrap() - before;
    assert!(much < 16 << 20, "refusing took {much} bytes");

    // What is allowed is answered, to the last point.
    let answer = asked(client, POPULAR, long(json!({"limit": 10})));
    assert_eq!(answer.status, 200, "{:.500}", answer.text);
    let products = answer.json()["result"]["products"].take();
    let lengths: Vec<usize> = products
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["series"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [9_966; 10]);
}

#[test]
fn an_answer_longer_than_answer_bytes_is_refused() {
    let (_home, tally, _) = started("[limits]\nanswer_bytes = 65536\n", years(2_000));
    let days = |days: u64| {
        let to = 932_428_800_000_u64 + days * 86_400_000;
        asked(
            &tally.client,
            "event_frequencies",
            json!({"from": "1999-07-20T00:00:00Z", "to": to, "bucket": "1d"}),
        )
    };
    assert_eq!(days(500).status, 200);
    assert_eq!(problem(&days(2_000), 422), ("answer_too_large".into(), vec!["/params".into()]));
    assert!(days(2_000).text.contains("[limits] answer_bytes"));
    assert_eq!(days(500).status, 200);
}

#[test]
fn answers_together_take_their_share_of_memory_and_no_more() {
    // The least: 16 % of 32 MiB are for answers.
    let (_home, tally, _) = started("[limits]\nmemory = 33554432\n", years(9_000));
    let params = json!({"from": "1999-07-20T00:00:00Z", "to": "2026-11-01T00:00:00Z", "bucket": "1d", "limit": 10});
    let answer = asked(&tally.client, POPULAR, params);
    assert_eq!(problem(&answer, 503).0, "overloaded");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.text.contains("[limits] memory"), "{}", answer.text);
    assert_eq!(asked(&tally.client, POPULAR, json!({"limit": 10})).status, 200);
}

#[test]
fn one_event_far_away_leaves_all_others_their_series() {
    let far = [
        event(1, 10, "1990-01-01T00:00:00Z"),
        event(1, 10, "2026-01-01T00:00:00Z"),
        event(2, 10, "2026-01-02T12:00:00Z"),
    ];
    let (_home, tally, position) = started("", far.into_iter());
    for (name, params) in [
        ("event_frequencies", json!({"bucket": "1d"})),
        ("user_activities", json!({"user_id": 1, "bucket": "1d"})),
        (POPULAR, json!({"bucket": "1d", "limit": 10})),
    ] {
        let answer = tally.client.answer(name, &params, &position).unwrap();
        let result = &answer["result"];
        let series = result
            .get("series")
            .unwrap_or_else(|| &result["products"][0]["series"])
            .as_array()
            .unwrap();
        assert_eq!(series.len(), 10_000, "{name}");
        let counted: u64 = series.iter().map(|step| step["total"].as_u64().unwrap()).sum();
        assert_eq!(
            result["total"].as_u64().unwrap(),
            counted + 1,
            "{name}: totals hold everything"
        );
        let warning = &answer["warnings"][0];
        assert_eq!(
            (&warning["code"], &warning["from"]),
            (&json!("series_shortened"), &series[0]["start"]),
            "{answer:.300}"
        );
    }
    // Of a window that was asked for nothing is left out in silence.
    let params = json!({"from": "1990-01-01T00:00:00Z", "bucket": "1d"});
    assert_eq!(
        problem(&asked(&tally.client, "event_frequencies", params), 422).0,
        "too_many_points"
    );
}

#[test]
fn many_different_long_questions_leave_memory_as_it_is() {
    let (_home, tally, _) = started("[limits]\nmemory = 1073741824\n", years(9_000));
    let ask = |shift: u64| {
        let from = 932_428_800_000_u64 + shift * 86_400_000;
        let params =
            json!({"from": from, "to": "2026-11-01T00:00:00Z", "bucket": "1d", "limit": 7});
        let answer = asked(&tally.client, POPULAR, params);
        assert_eq!(answer.status, 200, "{:.300}", answer.text);
        assert!(answer.text.len() > 3 << 20);
    };
    (0..5).for_each(ask);
    let before = peak(&tally).unwrap();
    (5..40).for_each(ask);
    let more = peak(&tally).unwrap() - before;
    assert!(more < 64 << 20, "35 answers of 4 MB left {more} bytes");
}

#[test]
fn of_many_faults_the_first_are_listed() {
    let (_home, tally, _) = started("", std::iter::empty());
    let keys: Map<String, Value> = (0..5_000).map(|n| (format!("k{n}"), json!(1))).collect();
    let (code, pointers) =
        problem(&tally.client.evaluate(&Value::Object(keys.clone())).unwrap(), 422);
    assert_eq!(
        (code.as_str(), pointers.len()),
        ("invalid_request", 65),
        "and name, which is missing"
    );
    let answer = asked(&tally.client, POPULAR, Value::Object(keys));
    assert_eq!(problem(&answer, 422).1.len(), 64);
    let many = asked(&tally.client, POPULAR, json!({"product_ids": vec!["x".repeat(100); 500]}));
    assert_eq!(many.status, 422);
    assert!(many.text.len() < 64 << 10, "{} bytes come back", many.text.len());
}
