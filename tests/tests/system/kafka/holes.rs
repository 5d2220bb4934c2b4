//! Offsets that hold no record: markers of transactions, what was aborted, what waits behind an
//! open one.

use super::{CONFIG, LONG, event, member, total};
use serde_json::json;
use tally_tests::client::Client;
use tally_tests::kafka::Kafka;
use tally_tests::tally::Home;

fn events(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| event(&format!("{name}-{n}"))).collect()
}

/// A home of an engine that counts `topic`, which is made with one partition.
fn home(kafka: &Kafka, topic: &str) -> Home {
    kafka.create_topic(topic, 1, &[]).unwrap();
    member(kafka, topic, CONFIG)
}

fn figure(client: &Client, name: &str, wanted: f64) {
    let seen = |client: &Client| match client.figure(name, "partition=\"0\"") {
        Ok(found) if found == wanted => Ok(String::new()),
        other => Err(format!("{other:?}")),
    };
    client.until(&format!("{name} is {wanted}"), LONG, seen).unwrap();
}

fn position(client: &Client, at_least: &str) -> String {
    let answer = client.answer("event_frequencies", &json!({}), at_least).unwrap();
    answer["meta"]["position"].as_str().unwrap().to_owned()
}

pub(crate) fn what_retention_takes_behind_the_last_record_is_no_gap(kafka: &Kafka) {
    let home = home(kafka, "markers");
    kafka.produce_in_transaction("markers", 0, &events("first", 5), true).unwrap();
    let tally = home.start().unwrap();
    assert_eq!((total(&tally.client, "0:6"), position(&tally.client, "")), (5, "0:6".to_owned()));
    tally.stop().unwrap();
    kafka.delete_before("markers", 0, 6).unwrap();
    let tally = home.start().unwrap();
    assert_eq!((total(&tally.client, "0:6"), position(&tally.client, "")), (5, "0:6".to_owned()));
    // and what comes then is counted
    kafka.produce_in_transaction("markers", 0, &events("second", 2), true).unwrap();
    assert_eq!(total(&tally.client, "0:9"), 7);
    // killed, so that what it holds is what was stored at the last checkpoint
    figure(&tally.client, "tally_lag_records", 0.0);
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!((total(&tally.client, "0:9"), position(&tally.client, "")), (7, "0:9".to_owned()));
    tally.stop().unwrap();
}

pub(crate) fn lag_and_group_offset_come_to_the_end_where_that_is_no_record(kafka: &Kafka) {
    let home = home(kafka, "aborted");
    kafka.produce_in_transaction("aborted", 0, &events("kept", 5), true).unwrap();
    kafka.produce_in_transaction("aborted", 0, &events("aborted", 5), false).unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, "0:12"), 5);
    figure(&tally.client, "tally_lag_records", 0.0);
    let committed = |_: &Client| match kafka.committed("group-aborted", "aborted", 0) {
        Ok(12) => Ok(String::new()),
        other => Err(format!("{other:?}")),
    };
    tally.client.until("the group's offset is the end", LONG, committed).unwrap();

    // What is behind an open transaction is no lag, and is shown beside it.
    let producer = kafka.open_transaction("aborted", 0, &events("open", 3)).unwrap();
    kafka.produce("aborted", 0, &events("behind", 1)).unwrap();
    figure(&tally.client, "tally_open_records", 4.0);
    figure(&tally.client, "tally_lag_records", 0.0);
    let waits = |text: &str| text.contains("4 records wait for the end of an open transaction");
    tally
        .client
        .readyz("it is told", LONG, |answer| answer.status == 200 && waits(&answer.text))
        .unwrap();
    assert_eq!(position(&tally.client, ""), "0:12");
    rdkafka::producer::Producer::commit_transaction(&producer, LONG).unwrap();
    assert_eq!(total(&tally.client, "0:17"), 9);
    figure(&tally.client, "tally_open_records", 0.0);
    // The audit reads to an end that is no record.
    home.succeed(&["verify", "--url", &tally.url()]).unwrap();
    tally.stop().unwrap();
}
