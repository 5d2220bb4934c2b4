//! `[kafka] start = "latest"`: the first metrics count what comes after they were made, whatever
//! happens in between; later metrics follow their `history`, partitions that are added begin with
//! their first record.

use super::{CONFIG, LONG, PARTITIONS, fill, member, total};
use serde_json::json;
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, failing_binary};

const LATER: &str = "[metrics.later]\nplugin = \"counts\"\nconfig.cells = { events = \"count\" }\n";

fn config() -> String {
    CONFIG.replace("[kafka]\n", "[kafka]\nstart = \"latest\"\n")
}

pub(crate) fn latest_is_found_once_and_before_the_first_count(kafka: &Kafka) {
    let redis = Redis::start(&[]).unwrap();
    for (topic, shared) in [("begins", false), ("begins-shared", true)] {
        kafka.create_topic(topic, PARTITIONS, &[]).unwrap();
        fill(kafka, topic, "before", 50);
        let mut home = member(kafka, topic, &config());
        if shared {
            home.env("REDIS_URL", &redis.url());
        }
        begins(kafka, topic, home);
    }
}

fn begins(kafka: &Kafka, topic: &str, mut home: Home) {
    let shipped = tally_tests::tally::binary().unwrap();
    // It ends when it is about to load what is stored: nothing is created and nothing counted.
    home.use_binary(failing_binary().unwrap());
    let armed = [("TALLY_FAILPOINT", "load.begin:1")];
    home.with_env(&armed, |home| home.spawn().unwrap().ended(LONG).unwrap());
    home.use_binary(shipped);
    fill(kafka, topic, "meanwhile", 10);
    let tally = home.start().unwrap();
    let at = kafka.position(topic, PARTITIONS).unwrap();
    assert_eq!(total(&tally.client, &at), 40, "what came since it was found, and nothing before");
    tally.kill().unwrap();
    fill(kafka, topic, "after", 5);
    let tally = home.start().unwrap();
    let at = kafka.position(topic, PARTITIONS).unwrap();
    assert_eq!(total(&tally.client, &at), 60);

    // One that comes later counts what is held.
    home.write("metrics.toml", config() + LATER).unwrap();
    let counted = |client: &tally_tests::client::Client| {
        let answer =
            client.evaluate(&json!({"name": "later"})).map_err(|fault| fault.to_string())?;
        match answer.json()["result"].to_string() {
            text if answer.status == 200 && text.contains("260") => Ok(text),
            text => Err(format!("{} {text}", answer.status)),
        }
    };
    tally.client.until("a later metric counts all that is held", LONG, counted).unwrap();

    kafka.add_partitions(topic, PARTITIONS + 1).unwrap();
    kafka.produce(topic, PARTITIONS, &[super::event("first of a new partition")]).unwrap();
    let five = |answer: &tally_tests::client::Answer| {
        answer.status == 200 && answer.text.contains("5 partitions")
    };
    tally.client.readyz("all partitions are held", LONG, five).unwrap();
    assert_eq!(total(&tally.client, &kafka.position(topic, PARTITIONS + 1).unwrap()), 61);
    tally.stop().unwrap();
}
