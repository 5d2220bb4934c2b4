//! Engines that count a topic of real Apache Kafka: odd records, kills, a broker that goes, groups,
//! gaps, topics that grow, are made anew or take no large records, a state that is lost, a real
//! file.
//!
//! Totals are what was produced, exactly. What Kafka does to a source alone is in `sources.rs`.

mod begins;
mod holes;
mod refusals;
mod rights;
mod shared;

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

pub(crate) const PARTITIONS: i32 = 4;

/// How long a group may take to agree, or a broker to be found again.
const LONG: Duration = Duration::from_secs(60);

/// Short sessions, so that the group does not wait long for an engine that was killed.
pub(crate) const CONFIG: &str = r#"
[kafka]
session_timeout_ms = 1500
[store]
checkpoint_interval_ms = 100
[server]
evaluation_deadline_ms = 10000
"#;

/// One broker for all of it: starting one takes five seconds.
#[test]
fn kafka() {
    let mut kafka = Kafka::start().unwrap();
    odd_records_and_kills(&kafka);
    a_second_engine_in_the_group_is_told(&kafka);
    a_gap_is_told_and_what_only_the_window_misses_is_none(&kafka);
    a_file_counts_once_however_often_it_is_replayed(&kafka);
    a_topic_made_anew_is_told_and_nothing_of_it_is_counted(&kafka);
    partitions_that_are_added_are_counted(&kafka);
    holes::what_retention_takes_behind_the_last_record_is_no_gap(&kafka);
    holes::lag_and_group_offset_come_to_the_end_where_that_is_no_record(&kafka);
    begins::latest_is_found_once_and_before_the_first_count(&kafka);
    refusals::an_event_that_is_too_large_is_rejected_alone(&kafka);
    shared::a_state_that_is_lost_is_counted_again_or_told(&kafka);
    shared::engines_that_read_differently_say_so(&kafka);
    shared::a_table_that_is_full_is_the_same_for_all_engines(&kafka);
    shared::history_begins_at_the_same_time_for_all_engines(&kafka);
    crate::live::updates_of_engines_in_a_group_are_what_each_of_them_answers(&kafka);
    crate::preview::a_topic_is_read_beside_counting(&kafka);
    a_broker_that_goes_is_waited_for(&mut kafka);
}

#[test]
fn a_file_counts_once_in_the_embedded_log() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    journey(&home, &tally.client, &["--url", &tally.url()]);
    tally.stop().unwrap();
}

/// A home of an engine that counts `topic`, which is made.
fn home(kafka: &Kafka, topic: &str) -> Home {
    kafka.create_topic(topic, PARTITIONS, &[]).unwrap();
    member(kafka, topic, CONFIG)
}

/// A home of an engine in the group that counts `topic`.
pub(crate) fn member(kafka: &Kafka, topic: &str, config: &str) -> Home {
    let mut home = Home::new(config).unwrap();
    home.env("KAFKA_BROKER", &kafka.brokers());
    home.env("TOPIC", topic);
    home.env("GROUP_ID", &format!("group-{topic}"));
    home
}

fn event(id: &str) -> Vec<u8> {
    json!({"event_id": id, "user_id": 1, "product_id": 1, "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"})
        .to_string()
        .into_bytes()
}

fn produce(home: &Home, count: u64, seed: u64) {
    let (count, seed) = (count.to_string(), seed.to_string());
    let printed = home.succeed(&["produce", "--count", &count, "--seed", &seed, "--json"]).unwrap();
    let closing: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (closing["acknowledged"].to_string(), &closing["errors"]),
        (count, &json!(0)),
        "{printed}"
    );
}

fn total(client: &Client, at_least: &str) -> u64 {
    client.ask("event_frequencies", &json!({}), at_least).unwrap()["total"].as_u64().unwrap()
}

/// Records that are no events, with the reason.
const POISON: [(&[u8], &str); 4] = [
    (b"not json", "invalid_json"),
    (b"", "empty_payload"),
    (b"[1]", "not_an_object"),
    (b"{\"user_id\":1,\"product_id\":1}", "missing_field:event_type"),
];

/// Two events for each partition, one more, and what is no event.
fn produce_odd_records(kafka: &Kafka) {
    for partition in 0..PARTITIONS {
        for (payload, _) in POISON {
            kafka.produce("odd", partition, &[payload.to_vec()]).unwrap();
        }
        kafka.tombstone("odd", partition).unwrap();
        kafka
            .produce_in_transaction(
                "odd",
                partition,
                &[event("aborted"), event("aborted too")],
                false,
            )
            .unwrap();
        let committed = [event(&format!("committed-{partition}"))];
        kafka.produce_in_transaction("odd", partition, &committed, true).unwrap();
        let last = event(&format!("last-{partition}"));
        kafka.produce("odd", partition, &[last.clone(), last]).unwrap();
    }
    // 10,000 headers are not looked at: a record like any other
    kafka.produce_with_headers("odd", 0, &event("headers"), 10_000).unwrap();
    // an id again with another type, a time in seconds, a schema registry's frame: what is noticed
    // of each
    let other = String::from_utf8(event("last-0")).unwrap().replace("view", "buy");
    kafka.produce("odd", 0, &[other.into_bytes(), b"\0\0\0\0\x07avro".to_vec()]).unwrap();
    let seconds = String::from_utf8(event("seconds"))
        .unwrap()
        .replace("\"2026-01-01T00:00:00Z\"", "1767225600");
    kafka.produce("odd", 0, &[seconds.into_bytes()]).unwrap();
}

fn odd_records_and_kills(kafka: &Kafka) {
    let home = home(kafka, "odd");
    produce(&home, 20_000, 1);
    produce_odd_records(kafka);
    let mut expected = 20_000 + 2 * PARTITIONS as u64 + 1;
    let tally = home.start().unwrap();
    let at = kafka.position("odd", PARTITIONS).unwrap();
    assert_eq!(total(&tally.client, &at), expected);
    for (_, reason) in POISON {
        let each = if reason == "empty_payload" { 2 } else { 1 } * PARTITIONS;
        let each = each + i32::from(reason == "invalid_json"); // the frame
        // Each is counted when it is kept, which it is with the commit.
        let kept = |client: &Client| {
            let figure = client
                .figure("tally_rejected_total", &format!("reason=\"{reason}\""))
                .map_err(|fault| format!("{fault:#}"))?;
            if figure as i32 == each {
                Ok(String::new())
            } else {
                Err(format!("{figure}, not {each}"))
            }
        };
        tally.client.until(reason, LONG, kept).unwrap();
    }
    assert_eq!(tally.client.figure("tally_duplicates_total", "").unwrap() as i32, PARTITIONS + 1);
    assert_eq!(tally.client.figure("tally_conflicts_total", "").unwrap() as i32, 1);
    for hint in ["timestamp_in_seconds", "schema_registry_frame"] {
        assert_eq!(tally.client.figure("tally_hints_total", hint).unwrap() as i32, 1, "{hint}");
    }
    tally.kill().unwrap();

    // kills while a producer writes, at moments of no order
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (2..8).for_each(|seed| produce(&home, 10_000, seed));
            done.store(true, Ordering::SeqCst);
        });
        for n in 0..8_u64 {
            let tally = if n % 3 == 0 { home.listening().unwrap() } else { home.start().unwrap() };
            std::thread::sleep(Duration::from_millis(n * 97 % 800));
            tally.kill().unwrap();
        }
    });
    assert!(done.load(Ordering::SeqCst));
    expected += 60_000;
    let tally = home.start().unwrap();
    let at = kafka.position("odd", PARTITIONS).unwrap();
    assert_eq!(total(&tally.client, &at), expected);
    // what is posted goes into the topic
    let posted = tally
        .client
        .post_all(&format!("{}\n", String::from_utf8(event("posted")).unwrap()))
        .unwrap();
    assert_eq!(total(&tally.client, &posted), expected + 1);
    // the same events again are none, for they lie within the window
    produce(&home, 10_000, 7);
    let at = kafka.position("odd", PARTITIONS).unwrap();
    assert_eq!(total(&tally.client, &at), expected + 1);
    tally.stop().unwrap();
}

fn a_second_engine_in_the_group_is_told(kafka: &Kafka) {
    let first_home = home(kafka, "shared");
    produce(&first_home, 2_000, 1);
    let first = first_home.start().unwrap();
    let at = kafka.position("shared", PARTITIONS).unwrap();
    assert_eq!(total(&first.client, &at), 2_000);
    let mut second_home = Home::new(CONFIG).unwrap();
    second_home.env("KAFKA_BROKER", &kafka.brokers());
    second_home.env("TOPIC", "shared");
    second_home.env("GROUP_ID", "group-shared");
    let second = second_home.listening().unwrap();
    for engine in [&first, &second] {
        half(engine);
    }
    produce(&first_home, 2_000, 2);
    second.kill().unwrap();
    first.client.ready(LONG).unwrap();
    let at = kafka.position("shared", PARTITIONS).unwrap();
    assert_eq!(
        total(&first.client, &at),
        4_000,
        "what the other counted meanwhile is counted here as well"
    );
    first.stop().unwrap();
}

/// An engine that holds a part only says so and serves no numbers.
fn half(engine: &Tally) {
    let part = "of 4 partitions, and its store is not shared";
    let ready = engine.client.readyz("a part is held", LONG, |answer| {
        answer.status == 503 && answer.text.contains(part)
    });
    ready.unwrap();
    let answer = engine.client.evaluate(&json!({"name": "event_frequencies"})).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &json!("partitions_missing")),
        "{}",
        answer.text
    );
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(engine.client.get("/livez").unwrap().status, 200);
}

fn a_gap_is_told_and_what_only_the_window_misses_is_none(kafka: &Kafka) {
    let home = home(kafka, "gap");
    let some = |name: &str| -> Vec<Vec<u8>> {
        (0..1_000).map(|n| event(&format!("{name}-{n}"))).collect()
    };
    for partition in 0..PARTITIONS {
        kafka.produce("gap", partition, &some(&format!("first-{partition}"))).unwrap();
    }
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &kafka.position("gap", PARTITIONS).unwrap()), 4_000);
    tally.stop().unwrap();

    // gone, but counted: no gap
    kafka.delete_before("gap", 0, 900).unwrap();
    kafka.produce("gap", 0, &some("second")).unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &kafka.position("gap", PARTITIONS).unwrap()), 5_000);
    tally.stop().unwrap();

    kafka.produce("gap", 0, &some("third")).unwrap();
    kafka.delete_before("gap", 0, 2_500).unwrap();
    let tally = home.listening().unwrap();
    let told = |text: &str| text.contains("offsets 2000 to 2500 of partition 0 were deleted");
    let ready = tally
        .client
        .readyz("the gap is told", LONG, |answer| answer.status == 503 && told(&answer.text));
    assert!(ready.unwrap().contains("[-]counting failed"));
    let answer = tally.client.evaluate(&json!({"name": "event_frequencies"})).unwrap();
    assert_eq!(answer.status, 503, "no numbers with a hole: {}", answer.text);
    tally.stop().unwrap();

    // the cure that it names
    home.write("metrics.toml", format!("{CONFIG}\n[source]\non_gap = \"continue\"\n")).unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &kafka.position("gap", PARTITIONS).unwrap()), 5_500);
    tally.stop().unwrap();
}

/// So many events of each partition, of ids that begin with `name`.
fn fill(kafka: &Kafka, topic: &str, name: &str, count: usize) {
    for partition in 0..PARTITIONS {
        let events: Vec<Vec<u8>> =
            (0..count).map(|n| event(&format!("{name}-{partition}-{n}"))).collect();
        kafka.produce(topic, partition, &events).unwrap();
    }
}

fn anew(kafka: &Kafka, topic: &str) {
    kafka.delete_topic(topic).unwrap();
    kafka.create_topic(topic, PARTITIONS, &[]).unwrap();
    // More than before: the offsets that were counted are there again.
    fill(kafka, topic, "other", 1_500);
}

/// It stands still for that reason, and answers no numbers.
fn told(tally: &Tally, why: &str) {
    let stands = |text: &str| text.contains("[-]counting failed") && text.contains(why);
    let ready =
        tally.client.readyz(why, LONG, |answer| answer.status == 503 && stands(&answer.text));
    ready.unwrap_or_else(|fault| panic!("{fault:#}\n{}", tally.process.tail()));
    let answer = tally.client.evaluate(&json!({"name": "event_frequencies"})).unwrap();
    assert_eq!((answer.status, answer.text.contains(why)), (503, true), "{}", answer.text);
    assert!(tally.process.tail().contains(why), "the log says it: {}", tally.process.tail());
}

/// What is stored, but for the buckets: these are compacted at any time, and frames come with their
/// progress or not at all.
fn progress(redis: &Redis) -> Vec<(String, Vec<u8>)> {
    let mut content = redis.content().unwrap();
    content.retain(|(key, _)| !key.contains("}:b"));
    assert!(!content.is_empty());
    content
}

/// An engine of which all that it counts is stored: of what is not, a topic that is made anew is
/// counted whole, without a word.
fn stored(home: &Home, kafka: &Kafka, topic: &str, events: u64) -> Tally {
    let counted = |tally: &Tally| total(&tally.client, &kafka.position(topic, PARTITIONS).unwrap());
    let tally = home.start().unwrap();
    assert_eq!(counted(&tally), events);
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(counted(&tally), events);
    tally
}

fn a_topic_made_anew_is_told_and_nothing_of_it_is_counted(kafka: &Kafka) {
    const WHY: &str = "the topic was deleted and recreated";
    // while an engine runs that commits all the time
    let redis = Redis::start(&[]).unwrap();
    let mut home = home(kafka, "anew");
    home.env("REDIS_URL", &redis.url());
    fill(kafka, "anew", "first", 1_000);
    let tally = stored(&home, kafka, "anew", 4_000);
    let before = progress(&redis);
    anew(kafka, "anew");
    told(&tally, WHY);
    tally.stop().unwrap();
    assert!(progress(&redis) == before, "records of another topic were stored");

    // between two runs, and with a store of its own
    let home = self::home(kafka, "anew-stopped");
    fill(kafka, "anew-stopped", "first", 1_000);
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &kafka.position("anew-stopped", PARTITIONS).unwrap()), 4_000);
    tally.stop().unwrap();
    anew(kafka, "anew-stopped");
    let tally = home.listening().unwrap();
    told(&tally, WHY);
    tally.kill().unwrap();
    // the cure: an empty data directory
    std::fs::remove_dir_all(home.path().join(".tally")).unwrap();
    let tally = stored(&home, kafka, "anew-stopped", 6_000);

    // while an engine runs with a store of its own, and the new topic is shorter
    kafka.delete_topic("anew-stopped").unwrap();
    kafka.create_topic("anew-stopped", PARTITIONS, &[]).unwrap();
    fill(kafka, "anew-stopped", "third", 10);
    told(&tally, WHY);
    tally.stop().unwrap();
}

fn partitions_that_are_added_are_counted(kafka: &Kafka) {
    let home = home(kafka, "grows");
    fill(kafka, "grows", "first", 100);
    let tally = home.start().unwrap();
    assert_eq!(total(&tally.client, &kafka.position("grows", PARTITIONS).unwrap()), 400);
    kafka.add_partitions("grows", PARTITIONS + 2).unwrap();
    for partition in 0..PARTITIONS + 2 {
        kafka.produce("grows", partition, &[event(&format!("second-{partition}"))]).unwrap();
    }
    let six = |answer: &tally_tests::client::Answer| {
        answer.status == 200 && answer.text.contains("6 partitions")
    };
    tally.client.readyz("all partitions are held", LONG, six).unwrap();
    assert_eq!(total(&tally.client, &kafka.position("grows", PARTITIONS + 2).unwrap()), 406);
    let ended = tally.stop().unwrap();
    assert!(ended.took < Duration::from_secs(5), "{ended:?}");
}

fn a_broker_that_goes_is_waited_for(kafka: &mut Kafka) {
    let home = home(kafka, "broker");
    produce(&home, 5_000, 1);
    let tally = home.start().unwrap();
    let at = kafka.position("broker", PARTITIONS).unwrap();
    assert_eq!(total(&tally.client, &at), 5_000);
    for round in 0..2 {
        kafka.kill().unwrap();
        let gone = |text: &str| text.contains("[-]kafka failed: no Kafka broker answers at");
        tally
            .client
            .readyz("the loss is told", LONG, |answer| answer.status == 503 && gone(&answer.text))
            .unwrap();
        assert_eq!(
            total(&tally.client, ""),
            5_000 + round * 1_000,
            "what is known is answered while the log is away"
        );
        kafka.restart().unwrap();
        produce(&home, 1_000, 2 + round);
        tally.client.ready(LONG).unwrap();
        let at = kafka.position("broker", PARTITIONS).unwrap();
        assert_eq!(total(&tally.client, &at), 6_000 + round * 1_000);
    }
    tally.stop().unwrap();
}

fn a_file_counts_once_however_often_it_is_replayed(kafka: &Kafka) {
    let home = home(kafka, "file");
    let tally = home.start().unwrap();
    journey(&home, &tally.client, &[]);
    tally.stop().unwrap();
}

/// A shop's log as CSV, replayed twice with its columns mapped.
fn journey(home: &Home, client: &Client, to: &[&str]) {
    let mut csv = String::from(
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n",
    );
    let kinds = ["view", "view", "cart", "view", "purchase", "remove_from_cart"];
    for n in 0..3_000_usize {
        let (minute, kind) = (n % 120, kinds[n % kinds.len()]);
        let time = format!("2019-10-01 {:02}:{:02}:00 UTC", minute / 60, minute % 60);
        let (product, user) = (1_004_856 + n % 40, 541_312_140 + n % 25);
        // the same row may stand there twice, and is two events
        csv.push_str(&format!(
            "{time},{kind},{product},2053013555631882655,electronics.smartphone,samsung,130.76,{user},d7de\n"
        ));
    }
    home.write("2019-Oct.csv", &csv).unwrap();
    let map = [
        "--map",
        "user_id=user_id,timestamp=event_time",
        "--alias",
        "purchase=buy,cart=add_to_cart",
    ];
    let args = [&["produce", "--from", "2019-Oct.csv", "--json"], &map[..], to].concat();
    for run in 1..=2 {
        let closing: Value = serde_json::from_str(&home.succeed(&args).unwrap()).unwrap();
        assert_eq!(
            (&closing["acknowledged"], &closing["errors"]),
            (&json!(3_000), &json!(0)),
            "run {run}"
        );
        // acknowledged is not yet counted: one more event of many users says where each partition
        // ends
        let end = |user: u32| {
            let event = json!({"event_id": format!("end-{run}-{user}"), "user_id": user, "product_id": 1, "event_type": "view"});
            format!("{event}\n")
        };
        let end = client.post_all(&(0..64).map(end).collect::<String>()).unwrap();
        assert_eq!(end.split(',').count(), PARTITIONS as usize, "{end}");
        let params = json!({"from": "2019-10-01T00:00:00Z", "to": "2019-10-01T02:00:00Z"});
        assert_eq!(
            client.ask("event_frequencies", &params, &end).unwrap()["total"],
            3_000,
            "run {run}"
        );
    }
    let by_type = json!({"view": 1_500, "add_to_cart": 500, "buy": 500, "remove_from_cart": 500});
    let params = json!({"to": "2019-10-02T00:00:00Z", "from": "2019-10-01T00:00:00Z"});
    assert_eq!(client.ask("event_frequencies", &params, "").unwrap()["by_type"], by_type);
    let user = client.ask("user_activities", &json!({"user_id": 541_312_140}), "").unwrap();
    assert_eq!((&user["total"], &user["products_total"]), (&json!(120), &json!(8)));
    assert_eq!(user["last_seen"], "2019-10-01T01:55:00.000Z");
    let product =
        client.ask("products_popularity", &json!({"product_ids": [1_004_856]}), "").unwrap();
    assert_eq!(product["total"], 75);
}
