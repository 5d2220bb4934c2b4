//! A topic that takes small records only: the event that is too large is rejected, and no other for
//! its sake; batches are no larger than it takes, also where it comes to take less.

use super::{CONFIG, LONG, PARTITIONS, member, total};
use serde_json::json;
use tally_engine::config::KafkaConfig;
use tally_engine::log::kafka::BulkProducer;
use tally_engine::log::{DeliveryCounts, LogProducer};
use tally_tests::client::{Client, Posted};
use tally_tests::kafka::Kafka;
use tally_tests::tally::Tally;

/// What the log says where a batch was refused that was too large as a whole.
const LESS: &str = "does not take batches of up to";

/// A text of so many letters that no compression makes much shorter.
fn noise(seed: u64, letters: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..letters).map(|_| letter()).collect()
}

/// A line with an event of one user: all of them are in one partition.
fn line(number: u64, letters: usize) -> String {
    let event = json!({
        "event_id": format!("event-{number}"),
        "user_id": 1,
        "product_id": 1,
        "event_type": "view",
        "timestamp": "2026-01-01T00:00:00Z",
        "note": noise(number, letters),
    });
    format!("{event}\n")
}

pub(crate) fn an_event_that_is_too_large_is_rejected_alone(kafka: &Kafka) {
    const REASON: &str = "payload_too_large";
    kafka.create_topic("narrow", PARTITIONS, &[("max.message.bytes", "2000")]).unwrap();
    let home = member(kafka, "narrow", CONFIG);
    let tally = home.start().unwrap();
    let client = &tally.client;
    let lines = [line(1, 10), line(2, 20_000), line(3, 10)].concat();
    let posted = client.events(&lines).unwrap();
    assert_eq!((posted.accepted, posted.rejected), (2, vec![(1, REASON.to_owned())]));
    assert_eq!(total(client, &posted.position), 2);

    let rejected = vec![(0, REASON.to_owned())];
    let nothing = Posted { accepted: 0, rejected, position: String::new() };
    assert_eq!(client.events(&line(2, 20_000)).unwrap(), nothing, "not asked for again");

    // None of these is too large, and all of them together are: batches hold a few of them.
    let many: String = (10..110).map(|number| line(number, 300)).collect();
    let position = client.post_all(&many).unwrap();
    assert_eq!(total(client, &position), 102);
    let log = tally.process.tail();
    assert!(!log.contains(LESS), "no batch of small events was refused: {log}");

    let all = batches_become_smaller(kafka, &tally, 102);
    in_bulk_no_event_is_lost_beside_another(kafka, client, all);
    let line = |text: &str| text.contains("[+]writing ok");
    client
        .readyz("writing is in order", LONG, |answer| answer.status == 200 && line(&answer.text))
        .unwrap();
    let log = tally.process.tail();
    assert!(log.contains("raise max.message.bytes of the topic"), "the log says it: {log}");
    tally.stop().unwrap();
}

/// Each event is still small enough, and no two of them together: one refusal says so.
fn batches_become_smaller(kafka: &Kafka, tally: &Tally, before: u64) -> u64 {
    kafka.alter_topic("narrow", &[("max.message.bytes", "700")]).unwrap();
    let mut all = before;
    let shrinks = |client: &Client| {
        let many: String = (1_000 + all..1_100 + all).map(|number| line(number, 300)).collect();
        let position = client.post_all(&many).map_err(|fault| format!("{fault:#}"))?;
        all += 100;
        assert_eq!(total(client, &position), all);
        let log = tally.process.tail();
        if log.contains(LESS) { Ok(log) } else { Err(log) }
    };
    tally.client.until("batches become smaller", LONG, shrinks).unwrap();
    all
}

fn in_bulk_no_event_is_lost_beside_another(kafka: &Kafka, client: &Client, before: u64) {
    let config =
        KafkaConfig { brokers: kafka.brokers(), topic: "narrow".into(), ..KafkaConfig::default() };
    let mut producer = BulkProducer::open(&config).unwrap();
    for number in 0..500 {
        let letters = if number == 250 { 20_000 } else { 300 };
        producer.send(b"1", line(100_000 + number, letters).trim_end().as_bytes()).unwrap();
    }
    producer.finish();
    let told = producer.take_failures();
    assert_eq!(producer.counts(), DeliveryCounts { acknowledged: 499, errors: 1 }, "{told:?}");
    assert!(told.len() == 1 && told[0].contains("raise max.message.bytes"), "{told:?}");
    let counted = |client: &Client| match total(client, "") {
        all if all == before + 499 => Ok(String::new()),
        all => Err(all.to_string()),
    };
    client.until("what was produced is counted", LONG, counted).unwrap();
}
