//! A plugin's life in a running engine: dropped in, counted from the first record held, replaced,
//! taken away, brought back.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::ends::Ends;
use tally_tests::folder::{CONFIG, drop_in, home, post, state, until_state};
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, plugin};

const COPY: &str = "[metrics.copy]\nplugin = \"products_popularity\"\n";

const ALL: Value = Value::Null;

/// A question for all products by the days of the events: up to today there are too many.
fn days() -> Value {
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-15T00:00:00Z");
    json!({"limit": 300, "bucket": "1d", "from": from, "to": to})
}

#[test]
fn a_file_dropped_in_counts_all_history_and_answers_like_the_original() {
    let (home, folder) = home();
    drop_in(&folder, "products_popularity");
    let tally = home.start().unwrap();
    let client = &tally.client;
    post(client, 0, 100_000);
    let done = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let (mut at, mut end) = (100_000, String::new());
            while !done.load(Ordering::Relaxed) {
                end = post(client, at, at + 500);
                at += 500;
                // A steady stream, not a flood: the next ones follow when these are counted.
                client.ask("products_popularity", &ALL, &end).unwrap();
            }
            (at, end)
        });
        let ends = Ends(&done);
        drop_in(&folder, "event_frequencies");
        home.write("metrics.toml", format!("{CONFIG}{COPY}")).unwrap();
        until_state(client, "event_frequencies", "active");
        until_state(client, "copy", "active");
        drop(ends);
        producer.join().unwrap()
    });
    let (posted, end) = last;
    let question = days();
    let original = client.ask("products_popularity", &question, &end).unwrap();
    assert_eq!(original["total"], posted);
    assert_eq!(client.ask("copy", &question, &end).unwrap(), original);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], posted);

    // Taken away: its state is kept. Brought back, it has counted what came meanwhile.
    let asked = json!({"name": "copy"});
    assert_eq!(client.evaluate(&asked).unwrap().status, 200);
    fs::remove_file(folder.join("event_frequencies.so")).unwrap();
    home.write("metrics.toml", CONFIG).unwrap();
    until_state(client, "event_frequencies", "retired");
    until_state(client, "copy", "retired");
    let gone = client.evaluate(&asked).unwrap();
    assert_eq!(gone.status, 404, "although nothing was counted since it was answered");
    assert!(gone.json()["detail"].as_str().unwrap().contains("retired since"), "{}", gone.text);
    let end = post(client, posted, posted + 3_000);
    drop_in(&folder, "event_frequencies");
    home.write("metrics.toml", format!("{CONFIG}{COPY}")).unwrap();
    until_state(client, "event_frequencies", "active");
    until_state(client, "copy", "active");
    let original = client.ask("products_popularity", &question, &end).unwrap();
    assert_eq!(original["total"], posted + 3_000);
    assert_eq!(client.ask("copy", &question, &end).unwrap(), original);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], posted + 3_000);
    tally.stop().unwrap();
}

#[test]
fn a_backfill_that_is_killed_goes_on_where_it_was_stored() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    let tally = home.start().unwrap();
    let end = post(&tally.client, 0, 400_000);
    tally.client.ask("event_frequencies", &ALL, &end).unwrap();
    drop_in(&folder, "user_activities");
    drop_in(&folder, "products_popularity");
    until_state(&tally.client, "user_activities", "backfilling");
    tally.kill().unwrap();
    for _ in 0..3 {
        home.start().unwrap().kill().unwrap();
    }
    let tally = home.start().unwrap();
    let client = &tally.client;
    until_state(client, "user_activities", "active");
    until_state(client, "products_popularity", "active");
    assert_eq!(client.ask("products_popularity", &ALL, &end).unwrap()["total"], 400_000);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 400_000);
    let of_user = (0..400_000).filter(|n| n % 977 == 5).count();
    assert_eq!(
        client.ask("user_activities", &json!({"user_id": 5}), &end).unwrap()["total"],
        of_user
    );
    let audit = home.run(&["verify", "--url", &tally.url()]).unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    tally.stop().unwrap();
}

#[test]
fn a_file_that_is_no_good_harms_nothing_and_what_it_replaces_goes_on() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 1_000);
    let good = fs::read(plugin("event_frequencies").unwrap()).unwrap();
    fs::write(folder.join("event_frequencies.so"), &good[..good.len() / 2]).unwrap();
    let refused = |client: &Client| {
        let listing = client.get("/api/metrics").unwrap().json();
        let reason = listing["rejected"][0]["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("cut off") { Ok(reason) } else { Err(listing["rejected"].to_string()) }
    };
    client.until("the half file is refused", Duration::from_secs(10), refused).unwrap();
    assert_eq!(state(client, "event_frequencies"), "active");
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 1_000);

    // The rest of it comes: the same code as before.
    fs::write(folder.join("event_frequencies.so"), &good).unwrap();
    let taken = |client: &Client| {
        let listing = client.get("/api/metrics").unwrap().json();
        let rejected = listing["rejected"].as_array().unwrap();
        if rejected.is_empty() { Ok(String::new()) } else { Err(listing["rejected"].to_string()) }
    };
    client.until("the whole file is taken", Duration::from_secs(10), taken).unwrap();
    let end = post(client, 1_000, 2_000);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 2_000);
    tally.stop().unwrap();
}

/// A section under which `products_popularity` means something else: another revision.
fn weighted(buy: u32, rest: &str) -> String {
    format!(
        "{CONFIG}[metrics.products_popularity]\n{rest}[metrics.products_popularity.config.weights]\nbuy = {buy}\n"
    )
}

/// Roles with states, the one that answers first.
fn roles(client: &Client, name: &str) -> Vec<String> {
    let listing = client.get(&format!("/api/metrics/{name}/versions")).unwrap().json();
    let versions = listing["versions"].as_array().unwrap().iter();
    versions
        .map(|v| format!("{} {}", v["role"].as_str().unwrap(), v["state"].as_str().unwrap()))
        .collect()
}

fn until_roles(client: &Client, wanted: &[&str]) {
    let seen = |client: &Client| {
        let seen = roles(client, "products_popularity");
        if seen == wanted { Ok(String::new()) } else { Err(format!("{seen:?}")) }
    };
    client.until(&format!("{wanted:?}"), Duration::from_secs(60), seen).unwrap();
}

fn score(client: &Client, end: &str) -> i64 {
    let params = json!({"product_ids": ["p0"]});
    client.ask("products_popularity", &params, end).unwrap()["products"][0]["score"]
        .as_i64()
        .unwrap()
}

/// Score of `p0` among events `[0, to)` where each purchase weighs `buy` and nothing else counts.
fn recount(to: u64, buy: i64) -> i64 {
    (0..to).filter(|n| n * n % 499 == 0 && n % 5 == 4).count() as i64 * buy
}

/// A dry run says these words, and does nothing.
fn foresees(client: &Client, order: &str, words: &[&str]) {
    let before = roles(client, "products_popularity");
    let path = format!("/api/metrics/products_popularity/{order}?dry_run=true");
    let answer = client.post(&path, "{}").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let would = answer.json()["would"].as_str().unwrap().to_owned();
    for word in words {
        assert!(would.contains(word), "{would}");
    }
    assert_eq!(roles(client, "products_popularity"), before);
}

#[test]
fn another_revision_counts_beside_the_one_that_answers_and_takes_its_place_in_one_step() {
    let (home, folder) = home();
    drop_in(&folder, "products_popularity");
    home.write("metrics.toml", weighted(2, "")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 100_000);
    assert_eq!(score(client, &end), recount(100_000, 2));

    // Whoever polls through the change sees the total grow or stand, and never an error.
    let done = AtomicBool::new(false);
    let (posted, end) = std::thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let (mut last, mut polls) = (100_000, 0);
            while !done.load(Ordering::Relaxed) {
                let answer = client.evaluate(&json!({"name": "products_popularity"})).unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text);
                let total = answer.json()["result"]["total"].as_u64().unwrap();
                assert!(total >= last, "{total} after {last}");
                (last, polls) = (total, polls + 1);
            }
            polls
        });
        let producer = scope.spawn(|| {
            let (mut at, mut end) = (100_000, String::new());
            while !done.load(Ordering::Relaxed) {
                end = post(client, at, at + 500);
                at += 500;
                client.ask("products_popularity", &ALL, &end).unwrap();
            }
            (at, end)
        });
        let ends = Ends(&done);
        home.write("metrics.toml", weighted(5, "")).unwrap();
        until_roles(client, &["answering active", "before active"]);
        drop(ends);
        assert!(poller.join().unwrap() > 0);
        producer.join().unwrap()
    });
    assert_eq!(score(client, &end), recount(posted, 5));

    // The one before was fed on: going back is exact at once, and forward again. What each does is
    // told before.
    let end = post(client, posted, posted + 1_000);
    foresees(client, "rollback", &["would answer again at once", "wait for a promote"]);
    home.succeed(&["plugin", "rollback", "products_popularity", "--url", &tally.url()]).unwrap();
    assert_eq!(score(client, &end), recount(posted + 1_000, 2));
    assert_eq!(roles(client, "products_popularity"), ["answering active", "next active"]);

    // That it was taken back outlives the engine, though the configuration says something else.
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    until_roles(client, &["answering active", "next active"]);
    assert_eq!(score(client, &end), recount(posted + 1_000, 2));
    foresees(client, "promote", &["would answer at once", "would receive events for 1 h longer"]);
    home.succeed(&["plugin", "promote", "products_popularity", "--url", &tally.url()]).unwrap();
    assert_eq!(score(client, &end), recount(posted + 1_000, 5));
    let listing = client.get("/api/metrics/products_popularity/versions").unwrap().json();
    assert_eq!(listing["examples"][0]["answers"].as_array().unwrap().len(), 2, "{listing}");
    assert!(listing["examples"][0]["equal"].is_boolean(), "{listing}");
    let refused =
        home.run(&["plugin", "promote", "products_popularity", "--url", &tally.url()]).unwrap();
    assert!(!refused.status.success());
    tally.stop().unwrap();
}

#[test]
fn a_new_revision_waits_for_a_word_where_that_is_configured() {
    let (home, folder) = home();
    drop_in(&folder, "products_popularity");
    home.write("metrics.toml", weighted(2, "promote = \"manual\"\nkeep_old = \"1m\"\n")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 10_000);
    home.write("metrics.toml", weighted(3, "promote = \"manual\"\nkeep_old = \"1m\"\n")).unwrap();
    until_roles(client, &["answering active", "next active"]);
    assert_eq!(score(client, &end), recount(10_000, 2));
    home.succeed(&["plugin", "promote", "products_popularity", "--url", &tally.url()]).unwrap();
    assert_eq!(score(client, &end), recount(10_000, 3));
    until_roles(client, &["answering active", "before active"]);
    tally.stop().unwrap();
}

#[test]
fn a_metric_can_leave_history_out() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 3_000);
    client.ask("event_frequencies", &ALL, &end).unwrap();
    let late = |name: &str, history: &str| {
        format!("[metrics.{name}]\nplugin = \"event_frequencies\"\nhistory = \"{history}\"\n")
    };
    home.write("metrics.toml", format!("{CONFIG}{}{}", late("fresh", "none"), late("day", "1d")))
        .unwrap();
    until_state(client, "fresh", "active");
    until_state(client, "day", "active");
    let end = post(client, 3_000, 3_500);
    assert_eq!(client.ask("fresh", &ALL, &end).unwrap()["total"], 500);
    assert_eq!(client.ask("day", &ALL, &end).unwrap()["total"], 3_500);
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    let end = post(&tally.client, 3_500, 4_000);
    assert_eq!(tally.client.ask("fresh", &ALL, &end).unwrap()["total"], 1_000);
    assert_eq!(tally.client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 4_000);
    let audit = home.run(&["verify", "--url", &tally.url()]).unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    tally.stop().unwrap();
}

#[test]
fn in_a_group_each_engine_counts_the_history_of_its_partitions() {
    let kafka = Kafka::start().unwrap();
    let redis = Redis::start(&[]).unwrap();
    kafka.create_topic("group-life", 4, &[]).unwrap();
    let homes: Vec<(Home, PathBuf)> = (0..2)
        .map(|_| {
            let (mut home, folder) = home();
            home.env("KAFKA_BROKER", &kafka.brokers());
            home.env("TOPIC", "group-life");
            home.env("GROUP_ID", "group-life");
            home.env("REDIS_URL", &redis.at());
            drop_in(&folder, "products_popularity");
            (home, folder)
        })
        .collect();
    let engines: Vec<_> = homes.iter().map(|(home, _)| home.start().unwrap()).collect();
    let client = &engines[0].client;
    let end = post(client, 0, 60_000);
    client.ask("products_popularity", &ALL, &end).unwrap();
    // Both hold some of the partitions: none of them could count the whole history.
    let holds_some = |client: &Client| {
        let text = client.get("/readyz?verbose").unwrap().text;
        if text.contains("1 partitions")
            || text.contains("2 partitions")
            || text.contains("3 partitions")
        {
            Ok(text)
        } else {
            Err(text)
        }
    };
    for engine in &engines {
        engine
            .client
            .until("it holds some partitions", Duration::from_secs(60), holds_some)
            .unwrap();
    }
    for (home, folder) in &homes {
        drop_in(folder, "event_frequencies");
        home.write("metrics.toml", format!("{CONFIG}{COPY}")).unwrap();
    }
    for engine in &engines {
        until_state(&engine.client, "event_frequencies", "active");
        until_state(&engine.client, "copy", "active");
    }
    let end = post(&engines[1].client, 60_000, 61_000);
    let question = days();
    let original = client.ask("products_popularity", &question, &end).unwrap();
    assert_eq!(original["total"], 61_000);
    for engine in &engines {
        assert_eq!(engine.client.ask("copy", &question, &end).unwrap(), original);
        assert_eq!(engine.client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 61_000);
    }
    let audit = homes[0].0.run(&["verify", "--url", &engines[0].url()]).unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    engines.into_iter().for_each(|engine| drop(engine.stop().unwrap()));
}
