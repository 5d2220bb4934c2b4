//! `/api/status` of the built binary: what was counted and committed, what is stopped and why, what
//! is away and what to do about it.

use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::poison::poison;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, binary, plugin};

const LIMIT: Duration = Duration::from_secs(60);

/// So many events, each of a user of its own, on this product.
fn events(count: u64, product: u64) -> String {
    (0..count)
        .map(|n| format!("{{\"user_id\":{n},\"product_id\":{product},\"event_type\":\"view\"}}\n"))
        .collect()
}

/// Waits until the status is as wanted.
fn until(client: &Client, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let seen = |client: &Client| {
        let answer = client.get("/api/status").map_err(|fault| format!("{fault:#}"))?;
        if answer.status == 200 && wanted(&answer.json()) {
            Ok(answer.text)
        } else {
            Err(format!("{} {}", answer.status, answer.text))
        }
    };
    serde_json::from_str(&client.until(what, LIMIT, seen).unwrap()).unwrap()
}

/// The item of a list that has this name.
fn named<'s>(status: &'s Value, list: &str, name: &str) -> &'s Value {
    let mut items = status[list].as_array().unwrap().iter();
    items.find(|item| item["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn what_was_posted_is_shown_as_counted_and_committed() {
    let home = Home::new("[log]\npartitions = 2\n[store]\ncheckpoint_interval_ms = 100\n").unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(100, 1)).unwrap();
    let rate = |status: &Value| status["rate"]["events_per_s"].as_f64() > Some(0.0);
    until(client, "records are counted", rate);
    let status = until(client, "all are counted, committed and measured", |status| {
        let metric = named(status, "metrics", "event_frequencies");
        status["commits"]["committed"] == 100
            && status["lag"]["records"] == 0
            && status["partitions"].as_array().is_some_and(|all| all.len() == 2)
            && metric["cells"].as_u64() > Some(0)
            && metric["bytes"].as_u64() > Some(0)
    });
    let mut positions = Vec::new();
    for partition in status["partitions"].as_array().unwrap() {
        let position = partition["position"].as_str().unwrap();
        assert_eq!(position.split(':').nth(1).unwrap(), partition["end"].to_string(), "{status}");
        assert_eq!(
            (&partition["owner"], &partition["start"], &partition["lag"], &partition["open"]),
            (&json!("this"), &json!(0), &json!(0), &json!(0)),
            "{status}"
        );
        positions.push(position.to_owned());
    }
    assert_eq!(positions.join(","), end);
    assert_eq!(status["commits"]["processed"], 100, "{status}");
    assert!(status["commits"]["last"].is_string() && status["commits"]["age_s"].is_number());
    assert_eq!((&status["ready"], &status["log"]["kind"]), (&json!(true), &json!("log")));
    assert_eq!(
        (&status["store"]["kind"], &status["store"]["ok"]),
        (&json!("embedded"), &json!(true))
    );
    let metric = named(&status, "metrics", "event_frequencies");
    assert_eq!(metric["state"], "active", "{status}");
    assert!(metric["ns_per_event"].as_f64() > Some(0.0), "{status}");
    assert!(status["memory"]["state"]["limit"].as_u64() > Some(0), "{status}");
    lag_is_shown(&home, &tally.url(), &status);

    let live = client.live("/ws?events=none").unwrap();
    assert_eq!(client.get(&format!("/livez?x={}", "y".repeat(5_000))).unwrap().status, 414);
    let status = until(client, "a socket and a limit are shown", |status| {
        status["sockets"]["websockets"] == 1
    });
    assert_eq!(status["limits_hit"], json!([{"code": "uri_too_long", "count": 1}]));
    let connections = &status["connections"];
    assert!(connections["open"].as_u64() > Some(0), "{status}");
    assert_eq!(connections["open"], connections["local"], "{status}");
    until(client, "the lane is measured", |status| {
        named(status, "threads", "tally-lane")["cores"].is_number()
    });
    drop(live);
    until(client, "the socket is gone", |status| status["sockets"]["websockets"] == 0);
    tally.stop().unwrap();
}

/// `tally lag` shows what the status says.
fn lag_is_shown(home: &Home, url: &str, status: &Value) {
    let table = home.succeed(&["lag", "--url", url]).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 4, "a header, two partitions, a total: {table}");
    for (row, partition) in rows[1..3].iter().zip(status["partitions"].as_array().unwrap()) {
        let end = partition["end"].to_string();
        let number = partition["partition"].to_string();
        let (end, number) = (end.as_str(), number.as_str());
        assert_eq!(*row, [number, "this", end, end, "0", "0"], "{table}");
    }
    assert_eq!(rows[3], ["total", "0", "0"], "{table}");
    let json = home.succeed(&["lag", "--url", url, "--json"]).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["partitions"], &json["lag"]), (&status["partitions"], &status["lag"]));
}

#[test]
fn a_metric_that_stopped_says_why_and_the_others_go_on() {
    let mut home = Home::new("[plugins]\ndir = \"plugins\"\n[log]\npartitions = 1\n").unwrap();
    let (bin, folder) = (home.path().join("bin"), home.path().join("plugins"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::copy(binary().unwrap(), bin.join("tally")).unwrap();
    home.use_binary(bin.join("tally"));
    fs::copy(plugin("event_frequencies").unwrap(), folder.join("event_frequencies.so")).unwrap();
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let tally = home.start().unwrap();
    // A product on which it fails; so many in a row stop it.
    tally.client.post_all(&events(150, 666)).unwrap();
    let status = until(&tally.client, "poison is quarantined", |status| {
        named(status, "metrics", "poison")["state"] == "quarantined"
    });
    let reason = named(&status, "metrics", "poison")["reason"].as_str().unwrap();
    assert!(reason.contains("100 events in a row, from offset 0 of partition 0"), "{status}");
    assert_eq!(named(&status, "metrics", "event_frequencies")["state"], "active", "{status}");
    let counting = named(&status, "readiness", "counting");
    assert_eq!((&counting["ok"], counting.get("remedy")), (&json!(true), None), "{status}");
    assert!(
        counting["what"].as_str().unwrap().starts_with("1 metrics are quarantined"),
        "{status}"
    );
    assert_eq!(status["ready"], true, "{status}");
    tally.stop().unwrap();
}

#[test]
fn a_store_that_is_away_is_named_with_why_and_what_to_do() {
    let mut redis = Redis::start(&[]).unwrap();
    let config = format!("[store]\nkind = \"redis\"\n[redis]\nurl = \"{}\"\n", redis.url());
    let home = Home::new(&config).unwrap();
    let tally = home.start().unwrap();
    let status = until(&tally.client, "the store is in order", |status| {
        named(status, "readiness", "store")["ok"] == true
    });
    assert_eq!((&status["store"]["kind"], &status["ready"]), (&json!("redis"), &json!(true)));
    redis.kill().unwrap();
    let status = until(&tally.client, "the store is away", |status| {
        named(status, "readiness", "store")["ok"] == false
    });
    let line = named(&status, "readiness", "store");
    assert!(line["why"].as_str().unwrap().contains(&redis.at()), "{status}");
    assert!(line["remedy"].as_str().unwrap().starts_with("make the store answer"), "{status}");
    assert_eq!((&line["needed"], line.get("what")), (&json!(true), None), "{status}");
    assert_eq!(status["store"], json!({"kind": "redis", "ok": false, "why": line["why"]}));
    assert_eq!(status["ready"], false, "{status}");
    tally.kill().unwrap();
}
