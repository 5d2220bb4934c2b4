//! Dead letters. Each refused record has one, whichever lane is the first to judge it so. They are
//! judged again by today's `[events]`: over an embedded log whose retention has taken their records,
//! with an end at each moment of it, and by two engines at once over real Kafka. Each counts once,
//! which `tally verify` finds too.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::kafka::Kafka;
use tally_tests::points;
use tally_tests::tally::{Home, Tally, binary, failing_binary};

const LIMIT: Duration = Duration::from_secs(60);

const REPLAY: &str = "/api/dead-letters/replay";

/// Records that are events or not, as it is configured, each with why not and how many there are.
const LETTERS: [(&str, &str, u64); 4] = [
    ("missing_field:product_id", r#"{"user_id":1,"event_type":"view"}"#, 4),
    ("missing_field:user_id", r#"{"product_id":1,"event_type":"view"}"#, 5),
    ("event_type_invalid", r#"{"user_id":1,"product_id":1,"event_type":"VIEW!"}"#, 6),
    (
        "timestamp_too_early",
        r#"{"user_id":1,"product_id":1,"event_type":"view","timestamp":"1985-01-01T00:00:00Z"}"#,
        1,
    ),
];

/// All of them, and those that are events where only the last one is not.
const ALL: u64 = 16;
const VIEWS: u64 = 15;

/// Reads all of them as events.
const LENIENT: &str = "[events]\nrequired = [\"event_type\"]\nearliest = \"1980-01-01\"\n\
    aliases = { \"VIEW!\" = \"view\" }\n";

/// Reads all but the last as events, and counts them in a metric that is new.
const LATER: &str = "[events]\nrequired = [\"event_type\"]\naliases = { \"VIEW!\" = \"view\" }\n\
    [metrics.views]\nplugin = \"event_frequencies\"\n";

fn config(retention: &str, more: &str) -> String {
    format!(
        "[log]\npartitions = 1\nretention = \"{retention}\"\n[store]\n\
         checkpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n{more}"
    )
}

fn until<T>(client: &Client, what: &str, mut seen: impl FnMut(&Client) -> Result<T, String>) -> T {
    let mut found = None;
    let look = |client: &Client| {
        found = Some(seen(client)?);
        Ok(String::new())
    };
    client.until(what, LIMIT, look).unwrap();
    found.unwrap()
}

fn get(client: &Client, path: &str) -> Result<Value, String> {
    Ok(client.get(path).map_err(|fault| format!("{fault:#}"))?.json())
}

/// Waits until there are letters of so many records.
fn letters(client: &Client, records: u64) {
    until(client, "the letters are stored", |client| {
        let counts = get(client, "/api/dead-letters")?["counts"].clone();
        let all = counts.as_object().into_iter().flatten();
        let all: u64 = all.filter_map(|(_, count)| count.as_u64()).sum();
        if all == records { Ok(()) } else { Err(counts.to_string()) }
    });
}

/// A home whose engine refused all of [`LETTERS`], which the log still holds.
fn refused() -> Home {
    let home = Home::new(&config("7d", LENIENT)).unwrap();
    let tally = home.start().unwrap();
    append_all(&tally.client);
    tally.stop().unwrap();
    home.write("metrics.toml", config("7d", "")).unwrap();
    let tally = home.start().unwrap();
    letters(&tally.client, ALL);
    tally.stop().unwrap();
    home
}

/// Appends all of [`LETTERS`], to an engine that reads them as events.
fn append_all(client: &Client) {
    let all = LETTERS.iter().flat_map(|(_, text, count)| (0..*count).map(move |_| *text));
    let all: String = all.map(|text| format!("{text}\n")).collect();
    client.post_all(&all).unwrap();
}

/// Has the log drop the records of the letters.
fn cut(home: &Home, more: &str) {
    home.write("metrics.toml", config("3s", more)).unwrap();
    let tally = home.start().unwrap();
    until(&tally.client, "their records are gone", |client| {
        // An append is what looks, and leaves something to count.
        let filler = "{\"user_id\":1,\"product_id\":1,\"event_type\":\"filler\"}\n";
        client.post_all(filler).map_err(|fault| format!("{fault:#}"))?;
        let bounds = get(client, "/api/internal/log")?;
        if bounds[0]["start"].as_u64() >= Some(ALL) { Ok(()) } else { Err(bounds.to_string()) }
    });
    tally.stop().unwrap();
}

fn views(client: &Client) -> u64 {
    let found = client.ask("views", &json!({}), "").unwrap();
    found["by_type"]["view"].as_u64().unwrap_or(0)
}

/// Waits until the metric that is new counts so many views, and no more once all is counted.
fn counts(client: &Client, expected: u64) {
    until(client, "the copies are counted", |client| {
        let bounds = get(client, "/api/internal/log")?;
        let end = format!("0:{}", bounds[0]["end"]);
        let found = client.ask("views", &json!({}), &end).map_err(|fault| format!("{fault:#}"))?;
        let counted = found["by_type"]["view"].as_u64().unwrap_or(0);
        if counted == expected { Ok(()) } else { Err(found.to_string()) }
    });
}

/// Waits until no metric is loaded or counts history: it may have read records before the log
/// dropped them, and their letters wait for it.
fn all_have_their_history(client: &Client) {
    until(client, "all metrics have their history", |client| {
        let listing = get(client, "/api/metrics")?;
        let metrics = listing["metrics"].as_array().ok_or_else(|| listing.to_string())?;
        let is_behind = |metric: &Value| {
            [&metric["state"], &metric["newer"]["state"]].contains(&&json!("backfilling"))
        };
        if metrics.iter().any(is_behind) { Err(listing.to_string()) } else { Ok(()) }
    });
}

fn replayed(client: &Client, body: &str) -> Value {
    let answer = client.post(REPLAY, body.to_owned()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn expected(appended: u64, still_refused: u64, in_log: u64) -> Value {
    json!({"appended": appended, "still_refused": still_refused, "in_log": in_log})
}

/// The records of a partition that are copies.
fn copies(client: &Client, partition: u64) -> Vec<Value> {
    let bounds = client.get("/api/internal/log").unwrap().json();
    let of = &bounds[partition as usize];
    let path =
        format!("/api/internal/log?partition={partition}&from={}&to={}", of["start"], of["end"]);
    let text = client.get(&path).unwrap().text;
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("origin").is_some()).collect()
}

/// What `tally verify` finds of the metric that is new: nothing that differs. What it read.
fn verified(home: &Home, tally: &Tally) -> Value {
    let said = home.succeed(&["verify", "views", "--json", "--url", &tally.url()]).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let metric = &said["metrics"][0];
    assert_eq!((&said["equal"], &metric["whole"]), (&json!(true), &json!(true)), "{said}");
    assert_eq!(metric["in_log"], metric["counted"], "{said}");
    said["log"].clone()
}

#[test]
fn letters_whose_records_are_gone_are_counted_once() {
    let home = refused();
    cut(&home, "");
    home.write("metrics.toml", config("7d", LATER)).unwrap();
    let tally = home.start().unwrap();
    counts(&tally.client, 0);
    all_have_their_history(&tally.client);
    let printed =
        home.succeed(&["dead-letters", "--replay", "--json", "--url", &tally.url()]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected(VIEWS, 1, 0));
    counts(&tally.client, VIEWS);

    assert_eq!(replayed(&tally.client, "{}"), expected(0, 1, VIEWS), "again");
    let of = |reason: &str| replayed(&tally.client, &json!({"reason": reason}).to_string());
    assert_eq!(of("event_type_invalid"), expected(0, 0, 6));
    assert_eq!(of("timestamp_too_early"), expected(0, 1, 0));
    let shown = home.succeed(&["dead-letters", "--replay", "--url", &tally.url()]).unwrap();
    assert_eq!(shown, "0 appended, 1 still refused, 15 in the log or counted before\n");

    // Each says of what it is a copy, and happened when that was appended.
    let copies = copies(&tally.client, 0);
    let mut origins: Vec<&str> =
        copies.iter().map(|copy| copy["origin"].as_str().unwrap()).collect();
    origins.sort_unstable();
    let mut all: Vec<String> = (0..VIEWS).map(|offset| format!("log/0/{offset}")).collect();
    all.sort_unstable();
    assert_eq!(origins, all);
    let first = &copies[0];
    let record = tally.client.get(&format!("/api/records/0/{}", first["offset"])).unwrap().json();
    assert_eq!(
        (&record["origin"], &record["verdict"]["event"]["timestamp"]),
        (&first["origin"], &record["origin_timestamp"])
    );
    assert!(first["origin_time"].as_i64() < first["timestamp"].as_i64(), "{first}");
    assert_eq!(verified(&home, &tally)["duplicates"], 0);
    tally.kill().unwrap();

    let tally = home.start().unwrap();
    assert_eq!(replayed(&tally.client, "{}"), expected(0, 1, VIEWS), "after a crash");
    counts(&tally.client, VIEWS);
    verified(&home, &tally);
    tally.stop().unwrap();
}

#[test]
fn an_end_at_each_moment_of_a_replay_appends_nothing_twice() {
    let mut home = refused();
    cut(&home, "");
    home.write("metrics.toml", config("7d", LATER)).unwrap();
    let moments: Vec<&str> = points::of_replays().collect();
    assert_eq!(moments.len(), 3, "each of these has letters of its own");
    for (moment, (reason, _, letters)) in moments.into_iter().zip(LETTERS) {
        let body = json!({"reason": reason}).to_string();
        home.use_binary(failing_binary().unwrap());
        let armed = format!("{moment}:1");
        let mut tally =
            home.with_env(&[("TALLY_FAILPOINT", armed.as_str())], |home| home.start().unwrap());
        all_have_their_history(&tally.client);
        let cut_off = tally.client.post(REPLAY, body.clone());
        assert!(cut_off.is_err(), "{moment}: {cut_off:?}");
        tally.process.ended(LIMIT).unwrap();
        drop(tally);
        home.use_binary(binary().unwrap());
        let tally = home.start().unwrap();
        all_have_their_history(&tally.client);
        let left = match moment {
            "replay.intended" => expected(letters, 0, 0),
            _ => expected(0, 0, letters),
        };
        assert_eq!(replayed(&tally.client, &body), left, "{moment}");
        assert_eq!(replayed(&tally.client, &body), expected(0, 0, letters), "{moment}, again");
        tally.stop().unwrap();
    }
    let tally = home.start().unwrap();
    assert_eq!(copies(&tally.client, 0).len() as u64, VIEWS);
    counts(&tally.client, VIEWS);
    assert_eq!(verified(&home, &tally)["duplicates"], 0);
    tally.stop().unwrap();
}

#[test]
fn what_was_counted_while_the_log_held_it_is_not_sent_again() {
    let home = refused();
    home.write("metrics.toml", config("7d", LATER)).unwrap();
    let tally = home.start().unwrap();
    counts(&tally.client, VIEWS);
    assert_eq!(replayed(&tally.client, "{}"), expected(0, 0, ALL), "the log holds them");
    tally.stop().unwrap();
    cut(&home, LATER);
    home.write("metrics.toml", config("7d", LATER)).unwrap();
    let tally = home.start().unwrap();
    all_have_their_history(&tally.client);
    assert_eq!(replayed(&tally.client, "{}"), expected(0, 1, VIEWS), "they were counted");
    assert_eq!(views(&tally.client), VIEWS);
    tally.stop().unwrap();
}

/// The revision before counts on as events were read before; when that is configured again it
/// answers, and these records are not read once more.
#[test]
fn what_an_earlier_reading_refuses_has_letters_when_it_is_configured_again() {
    let home = Home::new(&config("7d", "")).unwrap();
    let tally = home.start().unwrap();
    tally.client.post_all("{\"user_id\":1,\"product_id\":1,\"event_type\":\"buy\"}\n").unwrap();
    all_have_their_history(&tally.client);
    tally.stop().unwrap();
    home.write("metrics.toml", config("7d", LENIENT)).unwrap();
    let tally = home.start().unwrap();
    append_all(&tally.client);
    letters(&tally.client, ALL);
    tally.stop().unwrap();
    home.write("metrics.toml", config("7d", "")).unwrap();
    let tally = home.start().unwrap();
    until(&tally.client, "the revision of before answers", |client| {
        let at = format!("0:{}", ALL + 1);
        let found = client.ask("event_frequencies", &json!({}), &at);
        let found = found.map_err(|fault| format!("{fault:#}"))?;
        if found["by_type"] == json!({"buy": 1}) { Ok(()) } else { Err(found.to_string()) }
    });
    let counts = get(&tally.client, "/api/dead-letters").unwrap()["counts"].clone();
    let each: BTreeMap<&str, u64> =
        LETTERS.iter().map(|(reason, _, many)| (*reason, *many)).collect();
    assert_eq!(counts, json!(each));
    tally.stop().unwrap();
}

/// Only some metrics, and two letters that are kept.
fn few(more: &str) -> String {
    let config = config("7d", &format!("[plugins]\nshipped = []\n{more}"));
    config.replace("[store]\n", "[store]\ndead_letters = 2\n")
}

/// The section of a metric.
fn section(name: &str) -> String {
    format!("[metrics.{name}]\nplugin = \"event_frequencies\"\n")
}

/// Waits until a metric has counted all of [`LETTERS`], and what was counted is stored.
fn has_passed(client: &Client, metric: &str) {
    until(client, "it has counted all", |client| {
        let found = client.ask(metric, &json!({}), &format!("0:{ALL}"));
        found.map(drop).map_err(|fault| format!("{fault:#}"))
    });
    all_have_their_history(client);
}

/// A home whose engine counts in no metric, and has appended all of [`LETTERS`].
fn uncounted() -> Home {
    let home = Home::new(&few(LENIENT)).unwrap();
    // Without a metric it does not become ready.
    let tally = home.listening().unwrap();
    append_all(&tally.client);
    tally.stop().unwrap();
    home
}

#[test]
fn what_no_metric_had_counted_has_letters_once_one_counts_it() {
    let home = uncounted();
    let without_limit = |more: &str| few(more).replace("dead_letters = 2\n", "");
    home.write("metrics.toml", without_limit("")).unwrap();
    let tally = home.listening().unwrap();
    home.write("metrics.toml", without_limit(&section("views"))).unwrap();
    has_passed(&tally.client, "views");
    letters(&tally.client, ALL);
    tally.stop().unwrap();
}

#[test]
fn a_metric_that_comes_later_writes_no_letters_of_what_another_one_counted() {
    let home = uncounted();
    home.write("metrics.toml", few(&section("views"))).unwrap();
    let tally = home.start().unwrap();
    has_passed(&tally.client, "views");
    letters(&tally.client, ALL);
    home.write("metrics.toml", few(&(section("views") + &section("again")))).unwrap();
    has_passed(&tally.client, "again");
    // Those that are no longer kept would be counted once more.
    letters(&tally.client, ALL);
    tally.stop().unwrap();
}

const TOPIC: &str = "letters";

/// Records in each of the two partitions that are events only as [`LATER`] has it.
const EACH: u64 = 20;

/// An engine that counts the whole topic for itself.
fn reader(kafka: &Kafka, group: &str) -> Home {
    let mut home = Home::new(&shared("")).unwrap();
    home.env("KAFKA_BROKER", &kafka.brokers());
    home.env("TOPIC", TOPIC);
    home.env("GROUP_ID", group);
    home
}

fn shared(more: &str) -> String {
    format!(
        "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n{more}"
    )
}

fn odd(user: u64) -> Vec<u8> {
    json!({"user_id": user, "product_id": 1, "event_type": "VIEW!"}).to_string().into_bytes()
}

/// Two engines have letters of the same records, which the topic then holds no longer; what the
/// second one is configured to be.
fn two_readers(kafka: &Kafka) -> [Home; 2] {
    kafka.create_topic(TOPIC, 2, &[]).unwrap();
    for partition in 0..2 {
        let payloads: Vec<Vec<u8>> = (0..EACH).map(odd).collect();
        kafka.produce(TOPIC, partition, &payloads).unwrap();
    }
    let homes = ["one", "two"].map(|group| reader(kafka, group));
    for home in &homes {
        let tally = home.start().unwrap();
        letters(&tally.client, 2 * EACH);
        tally.stop().unwrap();
        home.write("metrics.toml", shared(LATER)).unwrap();
    }
    for partition in 0..2 {
        let good = json!({"user_id": 1, "product_id": 1, "event_type": "buy"}).to_string();
        kafka.produce(TOPIC, partition, &[good.into_bytes()]).unwrap();
        kafka.delete_before(TOPIC, partition, EACH as i64).unwrap();
    }
    homes
}

/// What both engines count once they have counted all.
fn both_count(kafka: &Kafka, tallies: [&Tally; 2], expected: u64) {
    let at = kafka.position(TOPIC, 2).unwrap();
    for tally in tallies {
        let found = tally.client.ask("views", &json!({}), &at).unwrap();
        assert_eq!(found["by_type"], json!({"buy": 2, "view": expected}), "{found}");
    }
}

#[test]
fn two_engines_that_replay_the_same_at_once_over_kafka() {
    let kafka = Kafka::start().unwrap();
    let [mut one, two] = two_readers(&kafka);
    one.use_binary(failing_binary().unwrap());
    let armed = [("TALLY_FAILPOINT", "replay.intended:1:stop")];
    let first = one.with_env(&armed, |home| home.start().unwrap());
    let second = two.start().unwrap();
    for tally in [&first, &second] {
        all_have_their_history(&tally.client);
    }
    let address = first.address;
    std::thread::scope(|scope| {
        let late = scope.spawn(move || replayed(&Client::new(address).unwrap(), "{}"));
        // It has looked what others sent, and is about to send.
        until(&second.client, "the first one is stopped", |_| {
            if first.process.is_stopped() { Ok(()) } else { Err("it runs".into()) }
        });
        assert_eq!(replayed(&second.client, "{}"), expected(2 * EACH, 0, 0));
        first.process.signal("CONT").unwrap();
        assert_eq!(late.join().unwrap(), expected(2 * EACH, 0, 0));
    });
    let sent = copies(&second.client, 0).len() + copies(&second.client, 1).len();
    assert_eq!(sent as u64, 4 * EACH, "all of them twice");
    both_count(&kafka, [&first, &second], 2 * EACH);
    for (home, tally) in [(&one, &first), (&two, &second)] {
        assert_eq!(verified(home, tally)["duplicates"], 2 * EACH);
        assert_eq!(replayed(&tally.client, "{}"), expected(0, 0, 2 * EACH));
    }

    headers_that_say_so_are_believed_and_others_are_not(&kafka, [&first, &second]);
    verified(&two, &second);
    first.stop().unwrap();
    second.stop().unwrap();
}

/// Headers are whatever somebody wrote.
fn headers_that_say_so_are_believed_and_others_are_not(kafka: &Kafka, tallies: [&Tally; 2]) {
    let copies = copies(&tallies[1].client, 0);
    let known = copies[0]["origin"].as_str().unwrap();
    let send = |headers: &[(&str, &str)]| {
        kafka.produce_under(TOPIC, 0, &odd(1), headers).unwrap();
    };
    send(&[("tally-origin", known), ("tally-time", "1767225600000")]);
    both_count(kafka, tallies, 2 * EACH);
    send(&[("tally-origin", "elsewhere/0/1"), ("tally-time", "1767225600000")]);
    send(&[("tally-origin", "elsewhere/0/1")]);
    both_count(kafka, tallies, 2 * EACH + 1);
    for no_origin in ["", "letters", "letters/0/01", "letters/0/1/", &"x".repeat(2_000)] {
        send(&[("tally-origin", no_origin), ("other", "header")]);
    }
    send(&[("tally-time", "1767225600000")]);
    both_count(kafka, tallies, 2 * EACH + 7);
    let last = tallies[0].client.get("/api/internal/log").unwrap().json()[0]["end"].clone();
    let record = format!("/api/records/0/{}", last.as_u64().unwrap() - 1);
    let record = tallies[0].client.get(&record).unwrap().json();
    assert!(record.get("origin").is_none() && record["verdict"]["state"] == "event", "{record}");
}
