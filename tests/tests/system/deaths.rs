//! What ends a process, or a lane, does not end it again and again: the plugin to blame stands
//! still, a record that kills is left out where it kills, and kills from outside blame nobody.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tally_tests::chaos::seed;
use tally_tests::client::Client;
use tally_tests::poison::poison;
use tally_tests::tally::{Home, Tally, failing_binary};

/// One partition, so that events follow each other as they are posted.
const CONFIG: &str = "[plugins]\ndir = \"plugins\"\n[store]\ncheckpoint_interval_ms = 100\n[log]\npartitions = 1\n\
    [server]\nevaluation_deadline_ms = 10000\n";

const LIMIT: Duration = Duration::from_secs(60);

/// A home with the plugin that fails, or the mended one, beside the shipped ones.
fn home(breaks: bool) -> (Home, PathBuf) {
    let home = Home::new(CONFIG).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::copy(poison(breaks).unwrap(), folder.join("poison.so")).unwrap();
    (home, folder)
}

/// So many events, the one in the middle on this product.
fn events(count: u64, product: u64) -> String {
    let of = |n: u64| if n == count / 2 { product } else { n % 89 };
    let line = |n: u64| {
        let event = json!({"event_id": format!("e{product}-{n}"), "user_id": n % 97, "product_id": of(n), "event_type": "view", "timestamp": 1_767_225_600_000_u64 + n});
        format!("{event}\n")
    };
    (0..count).map(line).collect()
}

fn total(client: &Client, end: &str) -> Value {
    client.ask("event_frequencies", &json!({}), end).unwrap()["total"].clone()
}

/// Starts until the plugin stands still; how many starts ended before.
fn start_until_it_stays(home: &Home) -> (Tally, u32) {
    for ended in 0..10 {
        let Ok(tally) = home.start() else { continue };
        let stands = |client: &Client| match client.get("/api/metrics/poison") {
            Ok(metric) if metric.json()["state"] == "quarantined" => Ok("stands".to_owned()),
            Ok(metric) => Err(metric.text),
            Err(_) => Ok("gone".to_owned()),
        };
        if tally
            .client
            .until("the plugin stands still, or the process ends", LIMIT, stands)
            .unwrap()
            == "stands"
        {
            return (tally, ended);
        }
    }
    panic!("ten starts, and none stays up");
}

fn reason(client: &Client, name: &str) -> String {
    let metric = client.get(&format!("/api/metrics/{name}")).unwrap().json();
    assert_eq!(metric["state"], "quarantined", "{metric}");
    metric["reason"].as_str().unwrap().to_owned()
}

fn until_active(client: &Client, name: &str) {
    let seen = |client: &Client| {
        let state =
            client.get(&format!("/api/metrics/{name}")).unwrap().json()["state"].to_string();
        if state == "\"active\"" { Ok(state) } else { Err(state) }
    };
    client.until(&format!("{name} is active"), LIMIT, seen).unwrap();
}

/// A plugin ends the process on one event; the process stays up after `starts` that end too.
fn ends_the_process(product: u64, starts: u32, word: &str) {
    let (home, folder) = home(true);
    let tally = home.start().unwrap();
    let lines = events(501, product);
    // The answer may not come any more; the events are in the log all the same, or are posted
    // again: they have ids.
    let _ = tally.client.events(&lines);
    let mut tally = tally;
    tally.process.ended(LIMIT).unwrap();
    let (tally, ended) = start_until_it_stays(&home);
    assert!(ended <= starts, "{ended} starts ended, {starts} may");
    let end = tally.client.post_all(&lines).unwrap();
    assert_eq!(total(&tally.client, &end), 501, "everything else counts");
    let why = reason(&tally.client, "poison");
    assert!(why.contains(word) && why.contains("partition 0"), "{why}");
    tally.stop().unwrap();
    // It is remembered, and forgotten with the file.
    let tally = home.start().unwrap();
    assert_eq!(reason(&tally.client, "poison"), why);
    fs::copy(poison(false).unwrap(), folder.join("mended")).unwrap();
    fs::rename(folder.join("mended"), folder.join("poison.so")).unwrap();
    until_active(&tally.client, "poison");
    assert_eq!(
        tally.client.ask("poison", &json!({}), &end).unwrap()["updated"],
        501,
        "nothing was skipped"
    );
    tally.stop().unwrap();
}

#[test]
fn a_plugin_that_aborts_stands_still_from_the_next_start_on() {
    ends_the_process(901, 0, "signal 6");
}

#[test]
fn a_plugin_that_exits_stands_still_from_the_next_start_on() {
    ends_the_process(902, 0, "exit");
}

#[test]
fn without_a_cause_the_event_is_found_one_by_one() {
    ends_the_process(903, 2, "offset 250");
}

#[test]
fn a_plugin_that_hung_until_the_process_was_killed_stands_still() {
    let (home, _) = home(true);
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&events(501, 888)).unwrap();
    let named = |ready: &tally_tests::client::Answer| ready.text.contains("has not returned");
    tally.client.readyz("the plugin that hangs is named", LIMIT, named).unwrap();
    let marked = |_: &Client| match fs::read_to_string(home.path().join("stderr.log"))
        .unwrap()
        .contains("has not returned")
    {
        true => Ok(String::new()),
        false => Err("it is not logged".into()),
    };
    tally.client.until("the watchdog has noted it", LIMIT, marked).unwrap();
    tally.kill().unwrap();
    let (tally, ended) = start_until_it_stays(&home);
    assert_eq!((ended, total(&tally.client, &end)), (0, json!(501)));
    let why = reason(&tally.client, "poison");
    assert!(why.contains("did not return"), "{why}");
    tally.stop().unwrap();
}

#[test]
fn kills_from_outside_blame_nobody() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let kills = std::env::var("TALLY_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let (home, _) = home(false);
    let mut end = String::new();
    for _ in 0..kills {
        let tally = home.start().unwrap();
        // Some way into what it makes of these, which it is still counting when it is killed.
        for _ in 0..rng.random_range(1..6) {
            end = tally.client.post_all(&events(2_000, rng.random_range(0..1 << 40))).unwrap();
        }
        tally.kill().unwrap();
    }
    let tally = home.start().unwrap();
    let all = total(&tally.client, &end);
    until_active(&tally.client, "poison");
    assert_eq!(
        tally.client.ask("poison", &json!({}), &end).unwrap()["updated"],
        all,
        "TALLY_SEED={seed}"
    );
    tally.stop().unwrap();
}

/// A home in which this work panics on the record at `offset`.
fn poisoned(work: &str, offset: u64) -> Home {
    let mut home = Home::new(CONFIG).unwrap();
    home.use_binary(failing_binary().unwrap());
    home.env("TALLY_POISON", &format!("{work}:0:{offset}"));
    home
}

#[test]
fn a_record_that_cannot_be_decoded_halts_its_partition_until_it_is_skipped() {
    for work in ["decode", "keys"] {
        let home = poisoned(work, 250);
        let tally = home.start().unwrap();
        let client = &tally.client;
        let end = client.post_all(&events(501, 1)).unwrap();
        let named = |ready: &tally_tests::client::Answer| {
            ready.text.contains("offset 250 of partition 0 cannot be decoded")
        };
        client.readyz("the record is named", LIMIT, named).unwrap();
        assert!(
            home.run(&["skip", "0", "251", "--url", &tally.url()]).unwrap().status.code()
                == Some(1)
        );
        tally.kill().unwrap();

        // Another start halts there too, and stays up.
        let tally = home.listening().unwrap();
        let client = &tally.client;
        client.readyz("the record is named again", LIMIT, named).unwrap();
        let said = home.succeed(&["skip", "0", "250", "--url", &tally.url()]).unwrap();
        assert!(said.contains("continues without"), "{said}");
        assert_eq!(total(client, &end), 500, "{work}");
        assert_eq!(client.ask("products_popularity", &json!({}), &end).unwrap()["total"], 500);
        tally.stop().unwrap();

        // The gap is stored: nothing halts any more, also where the record is read again for the
        // dedupe window.
        let tally = home.start().unwrap();
        let end = tally.client.post_all(&events(100, 2)).unwrap();
        assert_eq!(total(&tally.client, &end), 600, "{work}");
        tally.client.ready(LIMIT).unwrap();
        tally.stop().unwrap();
    }
}

#[test]
fn a_record_that_a_metric_cannot_count_is_missing_there_alone() {
    let home = poisoned("event_frequencies", 250);
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(501, 1)).unwrap();
    assert_eq!(total(client, &end), 500);
    assert_eq!(client.ask("products_popularity", &json!({}), &end).unwrap()["total"], 501);
    // Letters are written with the commit.
    let letter = |client: &Client| {
        let letters = client.get("/api/dead-letters?reason=internal_error").unwrap().json();
        if letters["items"][0]["offset"] == 250 {
            Ok(String::new())
        } else {
            Err(letters.to_string())
        }
    };
    client.until("the dead letter is stored", LIMIT, letter).unwrap();
    let warned = |tally: &Tally, end: &str| {
        let answer = tally.client.answer("event_frequencies", &json!({}), end).unwrap();
        assert_eq!(answer["warnings"][0]["code"], "events_failed", "{answer}");
        assert_eq!(answer["warnings"][0]["count"], 1, "{answer}");
    };
    warned(&tally, &end);
    let verified = home.run(&["verify", "event_frequencies", "--url", &tally.url()]).unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains("1 events failed"), "{said}");
    client.ready(LIMIT).unwrap();
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&events(100, 2)).unwrap();
    assert_eq!(total(&tally.client, &end), 600);
    warned(&tally, &end);
    tally.stop().unwrap();
}
