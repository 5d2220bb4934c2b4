//! Lanes and the metrics in them: who stands still gives a lane up, who waits says for what, who
//! leaves is gone only once its lane says so, and who has nothing to count has arrived.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::folder::{CONFIG, drop_in, home, post, state, until_state};
use tally_tests::kafka::Kafka;
use tally_tests::poison::poison;
use tally_tests::redis::Redis;
use tally_tests::tally::Home;

const ALL: Value = Value::Null;

const LIMIT: Duration = Duration::from_secs(60);

fn event(user: u64, product: u64) -> String {
    let time = "2026-01-01T00:00:00Z";
    format!(
        "{{\"user_id\":{user},\"product_id\":{product},\"event_type\":\"view\",\"timestamp\":\"{time}\"}}\n"
    )
}

fn reason(client: &Client, name: &str) -> String {
    let descriptor = client.get(&format!("/api/metrics/{name}")).unwrap().json();
    descriptor["reason"].as_str().unwrap_or_default().to_owned()
}

fn until_reason(client: &Client, name: &str, parts: &[&str]) {
    let seen = |client: &Client| {
        let reason = reason(client, name);
        if parts.iter().all(|part| reason.contains(part)) { Ok(reason) } else { Err(reason) }
    };
    client.until(&format!("{name} says {parts:?}"), LIMIT, seen).unwrap();
}

/// Sections of the configuration, one after the other.
fn sections(home: &Home, sections: &[String]) {
    home.write("metrics.toml", format!("{CONFIG}{}", sections.concat())).unwrap();
}

fn section(name: &str, plugin: &str, rest: &str) -> String {
    format!("[metrics.{name}]\nplugin = \"{plugin}\"\n{rest}\n")
}

#[test]
fn metrics_that_stand_still_while_they_count_history_give_their_lanes_up() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    drop_in(&folder, "products_popularity");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 3_000);
    client.ask("event_frequencies", &ALL, &end).unwrap();
    // One after the other, so that each has a lane of its own.
    let mut all: Vec<String> = Vec::new();
    for name in ["first", "second", "third"] {
        all.push(section(name, "products_popularity", "max_cells = 10"));
        sections(&home, &all);
        until_state(client, name, "quarantined");
        until_reason(client, name, &["over_max_cells", "max_cells = 10"]);
    }
    all.push(section("good", "products_popularity", ""));
    sections(&home, &all);
    until_state(client, "good", "active");
    assert_eq!(client.ask("good", &ALL, &end).unwrap()["total"], 3_000);
    assert_eq!(state(client, "second"), "quarantined");
    client
        .readyz("what stands still harms no other", LIMIT, |answer| answer.status == 200)
        .unwrap();

    // With more room it counts on, in a lane of its own again.
    all[1] = section("second", "products_popularity", "");
    sections(&home, &all);
    until_state(client, "second", "active");
    assert_eq!(client.ask("second", &ALL, &end).unwrap()["total"], 3_000);
    tally.stop().unwrap();
}

/// Events in an own home with the plugin that does not return for product 888, and takes 80 ms for
/// 777.
fn slow_home(folder: &Path) {
    drop_in(folder, "event_frequencies");
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
}

#[test]
fn who_waits_for_a_lane_says_for_whom_and_who_is_not_released_is_counted_by_nobody_else() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&event(1, 888)).unwrap();
    client.ask("event_frequencies", &ALL, &end).unwrap();
    // It hangs wherever it counts this: four lanes are lost to it, and the fifth metric waits.
    let mut all = vec!["[metrics.poison]\nenabled = false\n".to_owned()];
    sections(&home, &all);
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let hung = ["hung1", "hung2", "hung3", "hung4"];
    for name in hung {
        all.push(section(name, "poison", ""));
        sections(&home, &all);
        client
            .readyz("it hangs", LIMIT, |answer| {
                answer.text.contains(&format!("plugin {name} has not returned"))
            })
            .unwrap();
    }
    all.push(section("good", "event_frequencies", ""));
    sections(&home, &all);
    until_reason(client, "good", &["it waits for a lane", "hung1", "hung4"]);
    assert_eq!(state(client, "good"), "backfilling");

    // Taken away and brought back: its old lane still holds it.
    let first = all.remove(1);
    sections(&home, &all);
    until_state(client, "hung1", "retired");
    let purged = client.post("/api/metrics/hung1/purge", "{}").unwrap();
    assert!(
        purged.status != 200 && purged.text.contains("has not released it yet"),
        "{}",
        purged.text
    );
    all.push(first);
    sections(&home, &all);
    until_reason(client, "hung1", &["until the lane that counted it before has released it"]);
    // Its lane is still taken, but counts for nobody who is served.
    until_state(client, "good", "active");
    tally.kill().unwrap();
}

#[test]
fn a_metric_that_its_lane_releases_late_has_lost_and_doubled_nothing() {
    let (home, folder) = home();
    slow_home(&folder);
    let tally = home.start().unwrap();
    let client = &tally.client;
    // Its lane is held up for longer than anybody waits for an answer.
    let slow: String = (0..250).map(|_| event(1, 777)).collect();
    let end = client.post_all(&slow).unwrap();
    client
        .readyz("it is held up", LIMIT, |answer| {
            answer.text.contains("plugin poison has not returned")
        })
        .unwrap();
    fs::remove_file(folder.join("poison.so")).unwrap();
    until_state(client, "poison", "retired");
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    until_state(client, "poison", "active");
    assert_eq!(client.ask("poison", &ALL, &end).unwrap()["updated"], 250);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 250);
    let audit = home.run(&["verify", "--url", &tally.url()]).unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    tally.stop().unwrap();
}

/// The partition and the offset after it that one event of a user has gone to.
fn one(client: &Client, user: u64) -> (String, u64) {
    let end = client.post_all(&event(user, 1)).unwrap();
    let (partition, next) = end.split_once(':').unwrap();
    (partition.to_owned(), next.parse().unwrap())
}

#[test]
fn a_metric_has_arrived_where_all_records_of_a_partition_are_gone() {
    let config = "[log]\npartitions = 2\nretention_bytes = 2097152\n";
    let (home, folder) = home();
    home.write("metrics.toml", format!("{CONFIG}{config}")).unwrap();
    drop_in(&folder, "event_frequencies");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let (gone, first) = one(client, 1);
    let other = (2..100).find(|user| one(client, *user).0 != gone).unwrap();
    // Until nothing is left of the first partition.
    let padding = "x".repeat(1_000);
    let line = event(other, 1).replacen('{', &format!("{{\"note\":\"{padding}\","), 1);
    let lines = line.repeat(500);
    let empty = |client: &Client| {
        client.post_all(&lines).unwrap();
        let log = client.get("/api/internal/log").unwrap().json();
        let text = log.to_string();
        let of_gone = log
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["partition"].as_u64() == gone.parse().ok())
            .unwrap();
        if of_gone["start"] == of_gone["end"] { Ok(text) } else { Err(text) }
    };
    client.until("the partition is empty", LIMIT, empty).unwrap();
    let (_, _) = one(client, other);
    sections(&home, &[config.to_owned(), section("late", "event_frequencies", "")]);
    until_state(client, "late", "active");
    let answer = client.evaluate(&json!({"name": "late"})).unwrap().json();
    let position = answer["meta"]["position"].as_str().unwrap();
    let stands =
        position.split(',').find_map(|part| part.strip_prefix(&format!("{gone}:"))).unwrap();
    assert!(stands.parse::<u64>().unwrap() >= first, "{position}");
    assert_eq!(answer["meta"]["history"]["state"], "complete");
    tally.stop().unwrap();
}

#[test]
fn the_same_in_kafka_with_a_store_of_its_own_and_with_a_shared_one() {
    let kafka = Kafka::start().unwrap();
    let redis = Redis::start(&[]).unwrap();
    for (topic, shared) in [("gone-own", false), ("gone-shared", true)] {
        kafka.create_topic(topic, 2, &[]).unwrap();
        let (mut home, folder) = home();
        home.env("KAFKA_BROKER", &kafka.brokers());
        home.env("TOPIC", topic);
        home.env("GROUP_ID", topic);
        if shared {
            home.env("REDIS_URL", &redis.at());
        }
        drop_in(&folder, "event_frequencies");
        let payloads: Vec<Vec<u8>> = (0..5).map(|user| event(user, 1).trim().into()).collect();
        for partition in 0..2 {
            kafka.produce(topic, partition, &payloads).unwrap();
        }
        let tally = home.start().unwrap();
        let client = &tally.client;
        assert_eq!(client.ask("event_frequencies", &ALL, "0:5,1:5").unwrap()["total"], 10);
        kafka.delete_before(topic, 0, 5).unwrap();
        sections(&home, &[section("late", "event_frequencies", "")]);
        until_state(client, "late", "active");
        assert_eq!(
            client.ask("late", &ALL, "0:5,1:5").unwrap()["total"],
            5,
            "what partition 1 holds"
        );
        tally.stop().unwrap();
    }
}
