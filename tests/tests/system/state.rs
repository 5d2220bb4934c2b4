//! `tally state`: through a running engine, and without one from its store, embedded and Redis;
//! what is stored and not served.

use serde_json::Value;
use std::process::Output;
use std::time::Duration;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

/// Nobody listens at the configured address: engines of tests take another one.
const CONFIG: &str = "[server]\nlisten = \"127.0.0.1:1\"\n[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = 50\n";

fn shown(home: &Home, args: &[&str]) -> (String, String, i32) {
    let Output { stdout, stderr, status } = home.run(args).unwrap();
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), status.code().unwrap())
}

/// As JSON, without an engine.
fn alone(home: &Home, args: &[&str]) -> Value {
    let (out, err, code) = shown(home, &[args, &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("no engine answers at http://127.0.0.1:1: reading ")
            && err.contains(" itself"),
        "{err}"
    );
    serde_json::from_str(&out).unwrap()
}

fn asked(home: &Home, tally: &Tally, args: &[&str]) -> Value {
    let (out, err, code) = shown(home, &[args, &["--json", "--url", &tally.url()]].concat());
    assert_eq!(
        (code, err.as_str()),
        (0, ""),
        "an engine that is named is asked, and nothing is said"
    );
    serde_json::from_str(&out).unwrap()
}

/// Metric, whether it is served, and the offset of its first partition.
fn listed(stored: &Value) -> Vec<(&str, Option<bool>, Option<u64>)> {
    let metrics = stored["metrics"].as_array().unwrap().iter();
    let next = |metric: &Value| metric["partitions"][0]["next"].as_u64();
    metrics
        .map(|metric| {
            (metric["metric"].as_str().unwrap(), metric["served"].as_bool(), next(metric))
        })
        .collect()
}

fn looked_at(home: &Home, embedded: bool) {
    if embedded {
        let (_, err, code) = shown(home, &["state", "tables"]);
        assert!(code == 1 && err.contains("no state in "), "{err}");
    }
    let tally = home.start().unwrap();
    let event = |user: u32| {
        format!(
            "{{\"user_id\":{user},\"product_id\":\"p1\",\"event_type\":\"view\",\"timestamp\":\"2026-01-01T00:00:30Z\"}}\n"
        )
    };
    tally.client.post_all(&[event(7), event(7), event(8)].concat()).unwrap();
    let all = ["event_frequencies", "products_popularity", "user_activities"];
    let counted = |_: &_| {
        let stored = asked(home, &tally, &["state", "tables"]);
        let there = listed(&stored) == all.map(|name| (name, Some(true), Some(3)));
        if there { Ok(String::new()) } else { Err(stored.to_string()) }
    };
    tally.client.until("all of it is stored", Duration::from_secs(30), counted).unwrap();
    let get = ["state", "get", "user_activities", "7"];
    let row = asked(home, &tally, &get);
    assert_eq!(row["rows"][0]["cells"][0], "2", "{row}");
    if embedded {
        // It belongs to the engine.
        let (_, err, code) = shown(home, &["state", "tables"]);
        assert!(
            code == 1 && err.contains("in use by another process") && err.contains("--url names"),
            "{err}"
        );
    }
    tally.stop().unwrap();

    let stored = alone(home, &["state", "tables"]);
    assert_eq!(listed(&stored), all.map(|name| (name, None, Some(3))));
    assert_eq!(alone(home, &get), row, "the same without an engine");
    let buckets = alone(home, &["state", "buckets", "event_frequencies"]);
    assert_eq!(buckets["metrics"][0]["tables"][0]["buckets"][0]["updates"], 3, "{buckets}");
    assert!(
        shown(home, &["state", "get", "nobody/t", "1"])
            .1
            .contains("no revision of a metric nobody")
    );

    // Two are not served any more: they are listed, and their rows are shown.
    home.write("metrics.toml", format!("{CONFIG}[plugins]\nshipped = [\"event_frequencies\"]\n"))
        .unwrap();
    let tally = home.start().unwrap();
    let stored = asked(home, &tally, &["state", "tables"]);
    let served = |name: &str| (name == all[0], Some(3));
    assert_eq!(listed(&stored), all.map(|name| (name, Some(served(name).0), served(name).1)));
    assert_eq!(asked(home, &tally, &["state", "get", "user_activities/activity", "7"]), row);
    let printed = shown(home, &["state", "tables", "--url", &tally.url()]).0;
    assert_eq!(printed.matches(", current, not served, life ").count(), 2, "{printed}");
    home.succeed(&["plugin", "purge", "user_activities", "--yes", "--url", &tally.url()]).unwrap();
    assert_eq!(asked(home, &tally, &["state", "tables"])["metrics"].as_array().unwrap().len(), 2);
    tally.kill().unwrap();
    assert_eq!(
        listed(&alone(home, &["state", "tables"])),
        all[..2].iter().map(|name| (*name, None, Some(3))).collect::<Vec<_>>()
    );
}

#[test]
fn an_embedded_store_is_looked_at_with_and_without_its_engine() {
    looked_at(&Home::new(CONFIG).unwrap(), true);
}

#[test]
fn so_is_redis() {
    let redis = Redis::start(&[]).unwrap();
    let mut home = Home::new(CONFIG).unwrap();
    home.env("REDIS_URL", &redis.at());
    looked_at(&home, false);
}
