//! Engines on Kafka whose state is in Redis: a state that is lost, and engines that do not read alike.

use super::{CONFIG, LONG, PARTITIONS, fill, home, member, told, total};
use serde_json::Value;
use tally_tests::client::Client;
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;

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
    assert!(redis.content().unwrap().iter().all(|(key, _)| !key.contains(":b:")), "it is not counted again by itself");
    tally.stop().unwrap();
    // the cure that it names
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &at), 2_000);
    tally.stop().unwrap();
}

/// Two engines of a group, of which one reads other events: their states are apart, and the catalogue says which is current.
pub(crate) fn engines_that_read_differently_say_so(kafka: &Kafka) {
    let redis = Redis::start(&[]).unwrap();
    let mut first = home(kafka, "apart");
    first.env("REDIS_URL", &redis.url());
    fill(kafka, "apart", "first", 500);
    let one = first.start().unwrap();
    assert_eq!(total(&one.client, &kafka.position("apart", PARTITIONS).unwrap()), 2_000);
    let mut second = member(kafka, "apart", &format!("{CONFIG}\n[events.aliases]\npurchase = \"buy\"\n"));
    second.env("REDIS_URL", &redis.url());
    let other = second.start().unwrap();
    let reason = |client: &Client| client.get("/api/metrics/event_frequencies").unwrap().json()["reason"].take();
    let said = |client: &Client| match reason(client) {
        Value::String(text) if text.contains("the current revision of this metric in the store is") => Ok(text),
        text => Err(text.to_string()),
    };
    other.client.until("the catalogue says so", LONG, said).unwrap();
    assert_eq!(reason(&one.client), Value::Null, "it is the current one");
    other.stop().unwrap();
    fill(kafka, "apart", "second", 500);
    assert_eq!(
        total(&one.client, &kafka.position("apart", PARTITIONS).unwrap()),
        4_000,
        "nothing of the other is in it"
    );
    one.stop().unwrap();
}
