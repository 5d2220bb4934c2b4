//! A clock that is wrong for a moment: nothing that cannot be brought back is given up by it.
//!
//! The clock is made wrong by `faketime`'s library, which reads its offset from a file while the
//! engine runs.

use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::tally::{Home, Tally};

const CONFIG: &str = "[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = 50\n[server]\nevaluation_deadline_ms = 10000\n";

/// How long something that comes by itself may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The library of Debian's package `faketime`.
fn library() -> PathBuf {
    let places = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    let found = places.iter().map(PathBuf::from).find(|place| place.exists());
    found.expect("libfaketime is missing: apt-get install faketime")
}

/// An engine whose clock is off by what `offset` says.
fn home(offset: &str) -> Home {
    home_with(offset, CONFIG)
}

/// The same with this configuration.
pub(crate) fn home_with(offset: &str, config: &str) -> Home {
    let mut home = Home::new(config).unwrap();
    let file = home.write("offset", offset).unwrap();
    home.env("LD_PRELOAD", library().to_str().unwrap());
    home.env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap());
    home.env("FAKETIME_NO_CACHE", "1");
    home.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    home
}

/// From now on its clock is off by that.
pub(crate) fn set(home: &Home, offset: &str) {
    // In one step, so that no half of it is read.
    home.write("offset.new", offset).unwrap();
    std::fs::rename(home.path().join("offset.new"), home.path().join("offset")).unwrap();
}

fn post(tally: &Tally, n: u64) -> String {
    tally
        .client
        .post_all(&format!("{{\"user_id\":{n},\"product_id\":{n},\"event_type\":\"view\"}}\n"))
        .unwrap()
}

fn doubted(tally: &Tally) -> Option<String> {
    let text = tally.client.get("/readyz?verbose").unwrap().text;
    text.lines().find(|line| line.contains("clock")).map(str::to_owned)
}

/// Nothing of the log is gone, and the last hour is held in minutes.
fn whole(tally: &Tally, events: u64, end: &str) {
    let bounds = tally.client.get("/api/internal/log").unwrap().json();
    assert_eq!(bounds[0]["start"], 0, "{bounds}");
    let answer = tally
        .client
        .answer("event_frequencies", &json!({"window": "1h", "bucket": "1m"}), end)
        .unwrap();
    assert_eq!(answer["result"]["total"], events, "{answer}");
}

#[test]
fn a_clock_that_is_wrong_for_a_moment_takes_nothing_away() {
    let home = home("+0");
    let tally = home.start().unwrap();
    for n in 0..5 {
        post(&tally, n);
    }
    assert_eq!(doubted(&tally), None);
    set(&home, "+366d");
    tally
        .client
        .until("the clock is doubted", LIMIT, |_| doubted(&tally).ok_or_else(String::new))
        .unwrap();
    assert_eq!(tally.client.get("/readyz").unwrap().status, 200);
    // One event of next year, which drops the log's old end and rolls minutes up if the clock is
    // believed.
    let end = post(&tally, 5);
    assert_eq!(tally.client.ask("event_frequencies", &json!({}), &end).unwrap()["total"], 6);
    let stored = |_: &Client| {
        let text = home.succeed(&["state", "tables", "--json", "--url", &tally.url()]).unwrap();
        let tables: serde_json::Value = serde_json::from_str(&text).unwrap();
        if tables["metrics"][0]["partitions"][0]["next"] == 6 { Ok(text) } else { Err(text) }
    };
    tally.client.until("it is stored", LIMIT, stored).unwrap();
    set(&home, "+0");
    tally
        .client
        .until("the clock is believed again", LIMIT, |_| {
            doubted(&tally).map_or(Ok(String::new()), Err)
        })
        .unwrap();
    let end = post(&tally, 6);
    whole(&tally, 6, &end);
    tally.stop().unwrap();

    // A start with a wrong clock compares it with what was written down, and a person may confirm
    // it.
    set(&home, "+366d");
    let tally = home.start().unwrap();
    assert!(doubted(&tally).unwrap().contains("tally clock accept"));
    post(&tally, 7);
    set(&home, "+0");
    tally
        .client
        .until("the clock is believed again", LIMIT, |_| {
            doubted(&tally).map_or(Ok(String::new()), Err)
        })
        .unwrap();
    let end = post(&tally, 8);
    whole(&tally, 7, &end);
    set(&home, "+366d");
    tally
        .client
        .until("the clock is doubted", LIMIT, |_| doubted(&tally).ok_or_else(String::new))
        .unwrap();
    let told = home.succeed(&["clock", "accept", "--url", &tally.url()]).unwrap();
    assert!(told.contains("expire by that from now on"), "{told}");
    assert_eq!(doubted(&tally), None);
    tally.stop().unwrap();
}

#[test]
fn a_clock_before_1970_is_refused() {
    let home = home("@1960-01-01 00:00:00");
    let ended = home.run(&["run", "--listen", "127.0.0.1:0"]).unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("before 1970")
            && told.contains("set the clock")
            && !told.contains("panicked"),
        "{told}"
    );
    assert!(!home.path().join(".tally").exists(), "nothing is made");
}
