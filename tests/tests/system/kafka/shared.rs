//! Engines on Kafka whose state is in Redis: a state that is lost, engines that do not read alike,
//! a table that is full, where history begins.

use super::{CONFIG, LONG, PARTITIONS, fill, home, member, told, total};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tally_tests::client::Client;
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::Tally;

pub(crate) fn a_state_that_is_lost_is_counted_again_or_told(kafka: &Kafka) {
    let redis = Redis::start(&[]).unwrap();
    let lose = || redis::cmd("FLUSHALL").exec(&mut redis.connect().unwrap()).unwrap();
    let mut home = home(kafka, "lost");
    home.env("REDIS_URL", &redis.url());
    fill(kafka, "lost", "first", 500);
    let at = kafka.position("lost", PARTITIONS).unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &at), 2_000);
    lose();
    assert_eq!(total(&tally.client, &at), 2_000, "it is counted again");
    tally.stop().unwrap();

    home.write("metrics.toml", format!("{CONFIG}\n[source]\non_state_loss = \"halt\"\n")).unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &at), 2_000);
    lose();
    told(&tally, "the stored state is gone");
    assert!(
        redis.content().unwrap().iter().all(|(key, _)| !key.contains(":b:")),
        "it is not counted again by itself"
    );
    tally.stop().unwrap();
    // the cure that it names
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &at), 2_000);
    tally.stop().unwrap();
}

/// Two engines of a group, of which one reads other events: both answer with the revision that is
/// there and count it, and the other's is held back as long as it lacks what the first one holds.
pub(crate) fn engines_that_read_differently_say_so(kafka: &Kafka) {
    let redis = Redis::start(&[]).unwrap();
    let mut first = home(kafka, "apart");
    first.env("REDIS_URL", &redis.url());
    fill(kafka, "apart", "first", 500);
    let one = first.start().unwrap();
    assert_eq!(total(&one.client, &kafka.position("apart", PARTITIONS).unwrap()), 2_000);
    let mut second =
        member(kafka, "apart", &format!("{CONFIG}\n[events.aliases]\npurchase = \"buy\"\n"));
    second.env("REDIS_URL", &redis.url());
    let other = second.start().unwrap();
    let entry = |client: &Client| client.get("/api/metrics/event_frequencies").unwrap().json();
    let said = |client: &Client| match entry(client)["newer"]["held"].take() {
        Value::String(text) if text.contains("its history is shorter") => Ok(text),
        text => Err(text.to_string()),
    };
    other.client.until("the catalogue says so", LONG, said).unwrap();
    for client in [&one.client, &other.client] {
        assert_eq!(entry(client)["reason"], Value::Null, "it is the current one");
        assert_eq!(total(client, &kafka.position("apart", PARTITIONS).unwrap()), 2_000);
    }
    // Each counts the revision that answers on the partitions that it holds.
    fill(kafka, "apart", "both", 500);
    for client in [&one.client, &other.client] {
        assert_eq!(total(client, &kafka.position("apart", PARTITIONS).unwrap()), 4_000);
    }
    other.stop().unwrap();
    fill(kafka, "apart", "second", 500);
    assert_eq!(
        total(&one.client, &kafka.position("apart", PARTITIONS).unwrap()),
        6_000,
        "nothing of the other is in it"
    );
    one.stop().unwrap();
}

/// Users without end, counted by two engines: each keeps the same ones, exact, and counts the
/// others together; also one that starts later, and one that may hold more.
pub(crate) fn a_table_that_is_full_is_the_same_for_all_engines(kafka: &Kafka) {
    const USERS: u64 = 30_000;
    let redis = Redis::start(&[]).unwrap();
    let limited = format!(
        "{CONFIG}\n[metrics.users]\nplugin = \"counts\"\nmax_cells = 500\noverflow = \"other\"\nconfig.by = [\"user_id\"]\nconfig.cells = {{ events = \"count\" }}\n"
    );
    kafka.create_topic("full", PARTITIONS, &[]).unwrap();
    let start = |config: &str| {
        let mut home = member(kafka, "full", config);
        home.env("REDIS_URL", &redis.url());
        let tally = home.start().unwrap();
        (home, tally)
    };
    let (one, other) = (start(&limited), start(&limited));
    // Each user in one partition, as producers send them; so many events of each.
    let times = |user: u64| user % 3 + 1;
    for from in (0..USERS).step_by(3_000) {
        for partition in 0..PARTITIONS {
            let of = (from..from + 3_000).filter(|user| (*user as i32) % PARTITIONS == partition);
            let events = of.flat_map(|user| (0..times(user)).map(move |time| (user, time)));
            let line = |(user, time): (u64, u64)| json!({"event_id": format!("{user}-{time}"), "user_id": format!("u{user}"), "product_id": 1, "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"});
            let events: Vec<Vec<u8>> =
                events.map(|event| line(event).to_string().into_bytes()).collect();
            kafka.produce("full", partition, &events).unwrap();
        }
    }
    let at = kafka.position("full", PARTITIONS).unwrap();
    let shown = |client: &Client| {
        let settled = |client: &Client| {
            let answer = client
                .answer("users", &json!({"limit": 1000}), &at)
                .map_err(|fault| fault.to_string())?;
            let rows = answer["result"]["groups"].as_array().map_or(0, Vec::len);
            if rows <= 501 { Ok(answer.to_string()) } else { Err(format!("{rows} rows")) }
        };
        let answer: Value =
            serde_json::from_str(&client.until("it is made smaller", LONG, settled).unwrap())
                .unwrap();
        assert_eq!(answer["warnings"][0]["code"], "keys_limited", "{answer}");
        let row = |row: &Value| {
            (row["user_id"].as_str().unwrap().to_owned(), row["values"]["events"].as_u64().unwrap())
        };
        let rows: BTreeMap<String, u64> =
            answer["result"]["groups"].as_array().unwrap().iter().map(row).collect();
        assert_eq!(rows.values().sum::<u64>(), (0..USERS).map(times).sum::<u64>());
        for (user, events) in rows.iter().filter(|(user, _)| *user != "__other__") {
            assert_eq!(*events, times(user[1..].parse().unwrap()), "{user}");
        }
        rows
    };
    let first = shown(&one.1.client);
    assert!((100..=500).contains(&first.len()), "{}", first.len());
    assert_eq!(shown(&other.1.client), first);
    other.1.stop().unwrap();
    let late = start(&limited.replace("max_cells = 500", "max_cells = 100000"));
    assert_eq!(shown(&late.1.client), first, "one that starts later, and may hold more");
    late.1.stop().unwrap();
    one.1.stop().unwrap();
}

/// Two engines of which each counts some partitions: both say when the first event of all was, also
/// one that starts later, and their answers have one tag.
pub(crate) fn history_begins_at_the_same_time_for_all_engines(kafka: &Kafka) {
    let redis = Redis::start(&[]).unwrap();
    kafka.create_topic("beginning", PARTITIONS, &[]).unwrap();
    let mut home = member(kafka, "beginning", CONFIG);
    home.env("REDIS_URL", &redis.url());
    let mut second = member(kafka, "beginning", CONFIG);
    second.env("REDIS_URL", &redis.url());
    // One event of each partition, the first one in the last.
    let produce = |minute: i32| {
        for partition in 0..PARTITIONS {
            let time = format!("2026-01-01T00:{minute:02}:{:02}.789Z", 40 - partition);
            let event = json!({"event_id": time, "user_id": 1, "product_id": 1, "event_type": "view", "timestamp": time});
            kafka.produce("beginning", partition, &[event.to_string().into_bytes()]).unwrap();
        }
        kafka.position("beginning", PARTITIONS).unwrap()
    };
    let said = |client: &Client, at: &str| -> Result<(String, String), String> {
        let fault = |fault: anyhow::Error| format!("{fault:#}");
        let answer = client.answer("event_frequencies", &json!({}), at).map_err(fault)?;
        let from = answer["meta"]["history"]["from"].as_str().unwrap_or_default().to_owned();
        let tagged = client.get("/api/metrics/event_frequencies/answer").map_err(fault)?;
        Ok((from, tagged.header("etag").to_owned()))
    };
    let is_said = |tally: &Tally, at: &str, expected: &(String, String)| {
        let same = |client: &Client| {
            let said = said(client, at)?;
            if said == *expected { Ok(String::new()) } else { Err(format!("{said:?}")) }
        };
        tally.client.until("it says where history begins", LONG, same).unwrap();
    };
    let at = produce(7);
    let one = home.start().unwrap();
    let before = said(&one.client, &at).unwrap();
    assert_eq!(before.0, "2026-01-01T00:07:37.789Z");
    let other = second.start().unwrap();
    is_said(&other, &at, &before);
    // What is earlier, and comes later, is counted by both.
    let at = produce(5);
    let before = said(&one.client, &at).unwrap();
    assert_eq!(before.0, "2026-01-01T00:05:37.789Z");
    is_said(&other, &at, &before);
    one.stop().unwrap();
    let one = home.start().unwrap();
    for engine in [&one, &other] {
        is_said(engine, &at, &before);
    }
    one.stop().unwrap();
    other.stop().unwrap();
}
