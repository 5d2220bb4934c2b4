//! `tally plugin purge`: what is stored of a metric that is no longer served goes, all of it and
//! nothing else.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use tally_tests::client::Client;
use tally_tests::ends::Ends;
use tally_tests::folder::{CONFIG, drop_in, home, post, state, until_state};
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

const ALL: Value = Value::Null;

/// `products_popularity` under another name, with another meaning for each weight.
fn copy(buy: u32) -> String {
    format!(
        "{CONFIG}[metrics.copy]\nplugin = \"products_popularity\"\n[metrics.copy.config.weights]\nbuy = {buy}\n"
    )
}

fn purge(home: &Home, tally: &Tally, arguments: &[&str]) -> Output {
    home.run(&[&["plugin", "purge", "--url", &tally.url()], arguments].concat()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The lives of what is stored of a metric that is served.
fn life(home: &Home, tally: &Tally, name: &str) -> String {
    let stored = home.succeed(&["state", "tables", "--json", "--url", &tally.url()]).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let metrics = stored["metrics"].as_array().unwrap().iter();
    let found =
        metrics.filter(|metric| metric["metric"] == name).map(|metric| metric["life"].to_string());
    found.collect()
}

/// What is served stays, and the refusal says what to do; so does what is not stored at all.
fn purging_what_is_not_retired_is_refused(home: &Home, tally: &Tally) {
    let refused = purge(home, tally, &["event_frequencies", "--yes"]);
    assert!(
        !refused.status.success()
            && said(&refused).contains("event_frequencies is served: take its file out")
    );
    let refused = purge(home, tally, &["nobody", "--yes"]);
    assert!(
        !refused.status.success() && said(&refused).contains("nothing is stored of nobody"),
        "{}",
        said(&refused)
    );
}

#[test]
fn everything_of_a_retired_metric_goes_and_nothing_else() {
    let (home, folder) = home();
    drop_in(&folder, "products_popularity");
    drop_in(&folder, "event_frequencies");
    home.write("metrics.toml", copy(2)).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 5_000);
    for name in ["copy", "event_frequencies", "products_popularity"] {
        client.ask(name, &ALL, &end).unwrap();
    }
    let (first, kept) =
        (life(&home, &tally, "event_frequencies"), life(&home, &tally, "products_popularity"));
    assert!(first.len() > 30 && first != kept, "{first}");

    purging_what_is_not_retired_is_refused(&home, &tally);

    // Two revisions of one, one of the other.
    home.write("metrics.toml", copy(3)).unwrap();
    wait_for_other_revision(client);
    home.write("metrics.toml", CONFIG).unwrap();
    fs::remove_file(folder.join("event_frequencies.so")).unwrap();
    until_state(client, "copy", "retired");
    until_state(client, "event_frequencies", "retired");
    purge_copy(&home, &tally);

    // Also what was retired before the engine started, and is listed by nobody.
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    assert_eq!(state(client, "event_frequencies"), "absent");
    let done = purge(&home, &tally, &["event_frequencies", "--yes"]);
    assert!(
        said(&done).contains("event_frequencies: everything stored of it is removed, 1 revisions"),
        "{}",
        said(&done)
    );

    // They count anew; the other one never noticed. None of it comes back with another start.
    tally.kill().unwrap();
    drop_in(&folder, "event_frequencies");
    home.write("metrics.toml", copy(2)).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    until_state(client, "event_frequencies", "active");
    until_state(client, "copy", "active");
    let end = post(client, 5_000, 6_000);
    for name in ["copy", "event_frequencies", "products_popularity"] {
        assert_eq!(client.ask(name, &ALL, &end).unwrap()["total"], 6_000, "{name}");
    }
    assert_ne!(life(&home, &tally, "event_frequencies"), first, "it is another life");
    assert_eq!(life(&home, &tally, "products_popularity"), kept);
    let audit = home.run(&["verify", "--url", &tally.url()]).unwrap();
    assert!(audit.status.success(), "{}", said(&audit));
    tally.stop().unwrap();
}

fn wait_for_other_revision(client: &Client) {
    let versions = |client: &Client| {
        let listing = client.get("/api/metrics/copy/versions").unwrap().json();
        let roles: Vec<&str> = listing["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["role"].as_str().unwrap())
            .collect();
        if roles == ["answering", "before"] { Ok(String::new()) } else { Err(listing.to_string()) }
    };
    client
        .until("the other revision answers", std::time::Duration::from_secs(60), versions)
        .unwrap();
}

/// Done when it is said with `--yes`; a second time there is nothing.
fn purge_copy(home: &Home, tally: &Tally) {
    let unasked = purge(home, tally, &["copy"]);
    assert!(
        unasked.status.code() == Some(2) && said(&unasked).contains("--yes"),
        "{}",
        said(&unasked)
    );
    assert_eq!(state(&tally.client, "copy"), "retired");
    let foreseen = purge(home, tally, &["copy", "--dry-run", "--json"]);
    let foreseen: Value = serde_json::from_slice(&foreseen.stdout).unwrap();
    let would = foreseen["would"].as_str().unwrap();
    assert!(would.contains("would be removed, 2 revisions"), "{would}");
    assert_eq!(state(&tally.client, "copy"), "retired", "nothing was done");
    let done = purge(home, tally, &["copy", "--yes", "--json"]);
    assert!(done.status.success(), "{}", said(&done));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["done"], "copy: everything stored of it is removed, 2 revisions");
    assert_eq!(state(&tally.client, "copy"), "absent");
    assert!(said(&purge(home, tally, &["copy", "--yes"])).contains("nothing is stored of copy"));
}

#[test]
fn in_a_group_what_another_engine_counts_stays() {
    let kafka = Kafka::start().unwrap();
    let redis = Redis::start(&[]).unwrap();
    kafka.create_topic("group-purge", 4, &[]).unwrap();
    let homes = make_homes(&kafka, &redis);
    let engines: Vec<Tally> = homes.iter().map(|(home, _)| home.start().unwrap()).collect();
    let end = post(&engines[0].client, 0, 1_000);
    for engine in &engines {
        engine.client.ask("event_frequencies", &ALL, &end).unwrap();
    }
    let done = AtomicBool::new(false);
    let posted = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut at = 1_000;
            while !done.load(Ordering::Relaxed) {
                let end = post(&engines[1].client, at, at + 200);
                at += 200;
                // A steady stream: the next ones follow when these are counted.
                engines[1].client.ask("products_popularity", &ALL, &end).unwrap();
            }
            at
        });
        let ends = Ends(&done);
        fs::remove_file(homes[0].1.join("event_frequencies.so")).unwrap();
        until_state(&engines[0].client, "event_frequencies", "retired");
        let refused = purge(&homes[0].0, &engines[0], &["event_frequencies", "--yes"]);
        assert!(
            !refused.status.success() && said(&refused).contains("another engine counts"),
            "{}",
            said(&refused)
        );
        fs::remove_file(homes[1].1.join("event_frequencies.so")).unwrap();
        until_state(&engines[1].client, "event_frequencies", "retired");
        let done_it = purge(&homes[0].0, &engines[0], &["event_frequencies", "--yes"]);
        assert!(done_it.status.success(), "{}", said(&done_it));
        drop(ends);
        producer.join().unwrap()
    });
    let left: Vec<String> = redis.content().unwrap().into_iter().map(|(key, _)| key).collect();
    assert!(!left.iter().any(|key| key.contains("event_frequencies")), "{left:?}");
    assert!(left.iter().any(|key| key.contains("products_popularity")), "{left:?}");
    assert_eq!(state(&engines[0].client, "event_frequencies"), "absent");
    // The other one learns of it when it is told the same.
    assert_eq!(state(&engines[1].client, "event_frequencies"), "retired");
    assert!(purge(&homes[1].0, &engines[1], &["event_frequencies", "--yes"]).status.success());
    assert_eq!(state(&engines[1].client, "event_frequencies"), "absent");
    homes.iter().for_each(|(_, folder)| drop_in(folder, "event_frequencies"));
    let end = post(&engines[0].client, posted, posted + 100);
    for engine in &engines {
        until_state(&engine.client, "event_frequencies", "active");
        assert_eq!(
            engine.client.ask("event_frequencies", &ALL, &end).unwrap()["total"],
            posted + 100
        );
        assert_eq!(
            engine.client.ask("products_popularity", &ALL, &end).unwrap()["total"],
            posted + 100
        );
    }
    engines.into_iter().for_each(|engine| drop(engine.stop().unwrap()));
}

/// Two homes that share a group and a store, each with its plugin folder.
fn make_homes(kafka: &Kafka, redis: &Redis) -> Vec<(Home, PathBuf)> {
    (0..2)
        .map(|_| {
            let (mut home, folder) = home();
            home.env("KAFKA_BROKER", &kafka.brokers());
            home.env("TOPIC", "group-purge");
            home.env("GROUP_ID", "group-purge");
            home.env("REDIS_URL", &redis.at());
            drop_in(&folder, "products_popularity");
            drop_in(&folder, "event_frequencies");
            (home, folder)
        })
        .collect()
}
