//! A broker that asks who comes and what he may: each refusal is told as what it is, and everything
//! goes on by itself once somebody has mended it.

use super::{LONG, event, member};
use serde_json::json;
use tally_tests::client::Client;
use tally_tests::kafka::Kafka;
use tally_tests::tally::Home;

/// As the user `tally`, with further settings.
fn home(kafka: &Kafka, password: &str, settings: &str) -> Home {
    let config = format!(
        "[kafka]\nsession_timeout_ms = 1500\n[kafka.settings]\n\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"tally\"\n\"sasl.password\" = \"{password}\"\n{settings}"
    );
    let mut home = member(kafka, "rights", &config);
    home.env("KAFKA_BROKER", &kafka.secured_at());
    home
}

fn told(client: &Client, words: &[&str]) {
    let said = |text: &str| words.iter().all(|word| text.contains(word));
    let line = client
        .readyz(&words.join(", "), LONG, |answer| answer.status == 503 && said(&answer.text))
        .unwrap();
    assert!(!line.contains("no Kafka broker answers") && !line.contains("create it"), "{line}");
}

#[test]
fn refusals_are_told_as_what_they_are_and_nothing_outlives_them() {
    let kafka = Kafka::secured().unwrap();
    kafka.create_topic("rights", 2, &[]).unwrap();

    let refused = home(&kafka, "wrong", "\"message.timeout.ms\" = \"2000\"\n");
    let wrong = refused.listening().unwrap();
    told(
        &wrong.client,
        &["[-]kafka failed", "refuses our authentication", "sasl.password", "waiting does not fix"],
    );
    let answer = wrong.client.post("/api/events", event("refused")).unwrap();
    let (status, text) = (answer.status, &answer.text);
    assert!(status == 503 && text.contains("sasl.password"), "{status} {text}");
    assert_eq!(answer.header("retry-after"), "", "it only timed out, and always will: {text}");
    wrong.stop().unwrap();

    let home = home(&kafka, "right", "");
    let tally = home.listening().unwrap();
    told(&tally.client, &["lacks a right on topic \"rights\"", "READ and DESCRIBE on the topic"]);
    kafka.grant(&["--operation", "Read", "--operation", "Describe", "--topic", "rights"]).unwrap();
    told(&tally.client, &["lacks a right on group \"group-rights\"", "READ on the group"]);
    kafka.grant(&["--operation", "Read", "--group", "group-rights"]).unwrap();
    tally.client.ready(LONG).unwrap();

    // Counting needs no right to write; what is posted does.
    let post = |client: &Client| client.post("/api/events", event("posted")).unwrap();
    let refused = post(&tally.client);
    assert_eq!((refused.status, refused.text.contains("WRITE")), (503, true), "{}", refused.text);
    assert_eq!(refused.header("retry-after"), "", "waiting does not fix it: {}", refused.text);
    let line = |text: &str| text.contains("[!]writing failed") && text.contains("WRITE");
    tally
        .client
        .readyz("writing is told", LONG, |answer| answer.status == 200 && line(&answer.text))
        .unwrap();
    assert!(
        tally.process.tail().contains("events are not written"),
        "the log says it: {}",
        tally.process.tail()
    );
    kafka.grant(&["--operation", "Write", "--topic", "rights"]).unwrap();
    let written = |client: &Client| match post(client) {
        answer if answer.status == 200 => Ok(answer.text),
        answer => Err(answer.text),
    };
    tally.client.until("the producer is made anew", LONG, written).unwrap();
    let line = |text: &str| text.contains("[+]writing ok");
    tally
        .client
        .readyz("writing is in order", LONG, |answer| answer.status == 200 && line(&answer.text))
        .unwrap();
    let one = |client: &Client| match client.ask("event_frequencies", &json!({}), "") {
        Ok(result) if result["total"] == 1 => Ok(String::new()),
        other => Err(format!("{other:?}")),
    };
    tally.client.until("it is counted, once", LONG, one).unwrap();
    tally.stop().unwrap();
}
