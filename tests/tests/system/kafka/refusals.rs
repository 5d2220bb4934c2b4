//! A topic that takes small records only: the event that is too large is rejected, and no other for
//! its sake.

use super::{CONFIG, LONG, PARTITIONS, member, total};
use serde_json::json;
use tally_tests::client::Posted;
use tally_tests::kafka::Kafka;

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

    // None of these is too large, and all of them together are: no batch takes them.
    let many: String = (10..110).map(|number| line(number, 300)).collect();
    let position = client.post_all(&many).unwrap();
    assert_eq!(total(client, &position), 102);

    let line = |text: &str| text.contains("[+]writing ok");
    client
        .readyz("writing is in order", LONG, |answer| answer.status == 200 && line(&answer.text))
        .unwrap();
    let log = tally.process.tail();
    assert!(log.contains("raise max.message.bytes of the topic"), "the log says it: {log}");
    tally.stop().unwrap();
}
