//! Events live: chosen by filters, resumed from a cursor over a crash, and what is told where the
//! log does not reach back so far.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tally_tests::client::{Client, Live};
use tally_tests::sse::EventStream;
use tally_tests::tally::{Home, Tally};

const CONFIG: &str = "[store]\ncheckpoint_interval_ms = 100\n";

/// Events with these numbers, each of one of ten users.
fn lines(numbers: std::ops::Range<u64>, padding: usize) -> String {
    let line = |n: u64| {
        let event_type = if n.is_multiple_of(3) { "buy" } else { "view" };
        let event = json!({"event_id": format!("e{n}"), "user_id": n % 10, "product_id": n % 7,
            "event_type": event_type, "n": n, "padding": "x".repeat(padding)});
        format!("{event}\n")
    };
    numbers.map(line).collect()
}

fn post(client: &Client, numbers: std::ops::Range<u64>) -> String {
    client.post_all(&lines(numbers, 0)).unwrap()
}

/// The next message that is not about plugins.
fn message(live: &mut Live<'_>) -> Value {
    loop {
        let message = live.message().unwrap();
        if message["type"] != "plugin" {
            return message;
        }
    }
}

/// The number of an event, and the cursor behind it.
fn event(message: &Value) -> (u64, String) {
    assert_eq!(message["type"], "event", "{message}");
    (message["event"]["n"].as_u64().unwrap(), message["cursor"].as_str().unwrap().to_owned())
}

fn subscribe(live: &mut Live<'_>, id: &str, events: Value, since: Option<&str>) {
    let mut message = json!({"type": "subscribe", "id": id, "events": events});
    if let Some(since) = since {
        message["since"] = since.into();
    }
    live.say(&message.to_string()).unwrap();
}

/// Asserts that nothing is left to be sent.
fn quiet(live: &mut Live<'_>) {
    live.say(r#"{"type":"ping"}"#).unwrap();
    assert_eq!(message(live), json!({"type": "pong"}));
}

/// A silent socket.
fn silent(tally: &Tally) -> Live<'_> {
    tally.client.live("/ws?events=none").unwrap()
}

#[test]
fn a_cursor_goes_on_over_a_crash_with_nothing_missing_and_nothing_twice() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let mut live = silent(&tally);
    subscribe(&mut live, "a", json!({}), None);
    quiet(&mut live);
    post(&tally.client, 0..300);
    let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
    for _ in 0..100 {
        let message = message(&mut live);
        assert_eq!(message["id"], "a");
        let (n, at) = event(&message);
        assert!(seen.insert(n), "{n} came twice");
        cursor = at;
    }
    drop(live);
    tally.kill().unwrap();

    let tally = home.start().unwrap();
    post(&tally.client, 300..400);
    let mut live = silent(&tally);
    subscribe(&mut live, "a", json!({}), Some(&cursor));
    post(&tally.client, 400..500);
    while seen.len() < 500 {
        let (n, _) = event(&message(&mut live));
        assert!(seen.insert(n), "{n} came twice");
    }
    assert_eq!(seen, (0..500).collect());
    // It has gone over to what is live.
    let end = post(&tally.client, 500..501);
    let last = message(&mut live);
    assert_eq!((event(&last).0, last["position"].as_str()), (500, Some(end.as_str())));
    quiet(&mut live);
    // From the end on there is nothing, and from the start everything.
    subscribe(&mut live, "end", json!({}), Some(&event(&last).1));
    quiet(&mut live);
    let mut other = silent(&tally);
    subscribe(&mut other, "start", json!({}), Some("0:0,1:0,2:0,3:0"));
    let all: BTreeSet<u64> = (0..501).map(|_| event(&message(&mut other)).0).collect();
    assert_eq!(all.len(), 501);
    quiet(&mut other);
    drop((live, other));
    tally.stop().unwrap();
}

#[test]
fn a_stream_goes_on_with_its_last_id_over_a_crash() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let end = post(&tally.client, 0..1);
    tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    let (all, path) = ("/api/events/stream", "/api/events/stream?event_types=buy");
    let mut stream = EventStream::open(tally.address, path, "").unwrap();
    let begun = EventStream::open(tally.address, all, "").unwrap().last_id;
    post(&tally.client, 1..200);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let message = stream.message().unwrap();
        assert_eq!(message["cursor"], *stream.last_id);
        assert!(seen.insert(event(&message).0), "{message}");
    }
    let last = stream.last_id.clone();
    drop(stream);
    tally.kill().unwrap();

    let tally = home.start().unwrap();
    post(&tally.client, 200..300);
    let mut stream = EventStream::open(tally.address, path, &last).unwrap();
    while seen.len() < 99 {
        let message = stream.message().unwrap();
        assert!(seen.insert(event(&message).0), "{message}");
    }
    assert_eq!(seen, (1..300).filter(|n| n % 3 == 0).collect());
    // Also who had got no event yet goes on where it began.
    let mut idle = EventStream::open(tally.address, all, &begun).unwrap();
    let rest: BTreeSet<u64> = (1..300).map(|_| event(&idle.message().unwrap()).0).collect();
    assert_eq!(rest, (1..300).collect());
    post(&tally.client, 300..301);
    for stream in [&mut stream, &mut idle] {
        assert_eq!(event(&stream.message().unwrap()).0, 300);
    }
    drop((stream, idle));
    tally.stop().unwrap();
}

#[test]
fn so_many_streams_and_no_more() {
    let home = Home::new(&format!("{CONFIG}[live]\nstreams = 2\n")).unwrap();
    let tally = home.start().unwrap();
    let path = "/api/events/stream";
    let live = silent(&tally);
    let stream = EventStream::open(tally.address, path, "").unwrap();
    let refused = tally.client.get(path).unwrap();
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("overloaded")));
    assert!(tally.client.live("/ws").is_err());
    drop((live, stream));
    let again = |_: &Client| match EventStream::open(tally.address, path, "") {
        Ok(_) => Ok(String::new()),
        Err(fault) => Err(format!("{fault:#}")),
    };
    tally.client.until("a place is free", Duration::from_secs(20), again).unwrap();
    tally.stop().unwrap();
}

#[test]
fn a_filter_is_applied_to_what_was_and_to_what_comes() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    post(&tally.client, 0..100);
    let wanted = |n: &u64| n.is_multiple_of(3) && n % 10 == 7;
    let mut live = silent(&tally);
    let filter = json!({"event_types": ["buy", "add_to_cart"], "user_id": "7"});
    subscribe(&mut live, "f", filter, Some("0:0,1:0,2:0,3:0"));
    for n in (0..100).filter(wanted) {
        assert_eq!(event(&message(&mut live)).0, n);
    }
    quiet(&mut live);
    post(&tally.client, 100..200);
    for n in (100..200).filter(wanted) {
        assert_eq!(event(&message(&mut live)).0, n);
    }
    // Nothing comes that was not asked for, and after its end nothing at all.
    quiet(&mut live);
    live.say(r#"{"type":"unsubscribe","id":"f"}"#).unwrap();
    quiet(&mut live);
    let end = post(&tally.client, 207..208);
    tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    quiet(&mut live);
    drop(live);
    tally.stop().unwrap();
}

#[test]
fn a_position_that_is_none_of_the_log_is_refused_with_what_the_log_is() {
    let home = Home::new(&format!("{CONFIG}[log]\npartitions = 2\n")).unwrap();
    let tally = home.start().unwrap();
    let end = post(&tally.client, 0..20);
    let ends = tally.client.get("/api/internal/log").unwrap().json();
    let ends: Vec<u64> = (0..2_usize).map(|n| ends[n]["end"].as_u64().unwrap()).collect();
    let beyond =
        format!("partition 1 ends at offset {}, and {} is beyond that", ends[1], ends[1] + 1);
    let unknown = "the log has no partition 2; its last one is partition 1".to_owned();
    let mut live = silent(&tally);
    for (since, detail) in [
        (format!("0:0,1:{}", ends[1] + 1), beyond),
        ("0:0,2:0".to_owned(), unknown.clone()),
        (format!("2:{}", u64::MAX), unknown),
    ] {
        let errors = json!([{"pointer": "/since", "detail": detail}]);
        subscribe(&mut live, "a", json!({}), Some(&since));
        let told = json!({"type": "error", "id": "a", "code": "position_invalid",
            "detail": detail, "errors": errors});
        assert_eq!(message(&mut live), told);
        let answer = tally.client.get(&format!("/api/events/stream?since={since}")).unwrap();
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (422, &json!("position_invalid")));
        assert_eq!((&problem["detail"], &problem["errors"]), (&json!(detail), &errors));
    }
    // The end itself is one, and what comes behind it is told.
    let all = format!("0:{},1:{}", ends[0], ends[1]);
    tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    subscribe(&mut live, "a", json!({}), Some(&all));
    post(&tally.client, 20..21);
    assert_eq!(event(&message(&mut live)).0, 20);
    drop(live);
    tally.stop().unwrap();
}

#[test]
fn what_the_log_no_longer_holds_is_told_before_the_first_that_it_does() {
    let config = format!("{CONFIG}[log]\npartitions = 1\nretention_bytes = 2097152\n");
    let home = Home::new(&config).unwrap();
    let tally = home.start().unwrap();
    let bounds = || {
        let bounds = tally.client.get("/api/internal/log").unwrap().json()[0].clone();
        (bounds["start"].as_u64().unwrap(), bounds["end"].as_u64().unwrap())
    };
    let mut next = 0;
    while bounds().0 == 0 {
        assert!(next < 20_000, "the log keeps everything");
        let position = tally.client.post_all(&lines(next..next + 250, 2_000)).unwrap();
        next += 250;
        // So that nothing goes that is not counted.
        tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
    }
    let (start, end) = bounds();
    let mut live = silent(&tally);
    subscribe(&mut live, "a", json!({}), Some("0:0"));
    let gap = json!({"type": "gap", "id": "a", "from": "0:0", "to": format!("0:{start}")});
    assert_eq!(message(&mut live), gap);
    for n in start..end {
        let message = message(&mut live);
        assert_eq!((event(&message).0, &message["position"]), (n, &json!(format!("0:{}", n + 1))));
    }
    quiet(&mut live);
    drop(live);
    tally.stop().unwrap();
}

#[test]
fn events_are_read_backwards_and_records_have_their_verdicts() {
    let home = Home::new(&format!("{CONFIG}[log]\npartitions = 2\n")).unwrap();
    let tally = home.start().unwrap();
    let get = |path: &str| tally.client.get(path).unwrap();
    post(&tally.client, 0..90);
    let end = post(&tally.client, 7..8);
    let (mut seen, mut next) = (Vec::new(), json!(""));
    while !next.is_null() {
        let before = next.as_str().unwrap();
        let page = get(&format!("/api/events?limit=20&user_id=7&before={before}")).json();
        for item in page["items"].as_array().unwrap() {
            seen.push(item["event"]["n"].as_u64().unwrap());
        }
        next = page["next"].clone();
    }
    // As the log holds them: the repeated one too.
    let expected: Vec<u64> = (0..90).filter(|n| n % 10 == 7).chain([7]).rev().collect();
    assert_eq!(seen, expected);

    let (partition, after) = end.split_once(':').unwrap();
    let last: u64 = after.parse::<u64>().unwrap() - 1;
    let record = get(&format!("/api/records/{partition}/{last}")).json();
    assert_eq!(
        (&record["verdict"], &record["position"]),
        (&json!({"state": "duplicate"}), &json!(end))
    );
    assert_eq!(record["text"].as_str().unwrap(), lines(7..8, 0).trim_end());
    let first = get(&format!("/api/records/{partition}/0")).json();
    assert_eq!(first["verdict"]["state"], "event", "{first}");
    assert_eq!(get(&format!("/api/records/{partition}/{after}")).status, 404);
    tally.stop().unwrap();
    // Today's rules judge.
    let config = format!("{CONFIG}[log]\npartitions = 2\n[events]\nearliest = \"2199-01-01\"\n");
    home.write("metrics.toml", config).unwrap();
    let tally = home.start().unwrap();
    let record = tally.client.get(&format!("/api/records/{partition}/0")).unwrap().json();
    let refused = json!({"state": "refused", "reason": "timestamp_invalid"});
    assert_eq!(record["verdict"], refused, "{record}");
    tally.stop().unwrap();
}

#[test]
fn so_many_subscriptions_and_replays_and_no_more() {
    let config = format!("{CONFIG}[live]\nsubscriptions = 2\nreplays = 1\n");
    let home = Home::new(&config).unwrap();
    let tally = home.start().unwrap();
    // More than all buffers between the log and a client that does not read.
    for n in 0..40 {
        tally.client.post_all(&lines(n * 400..(n + 1) * 400, 2_000)).unwrap();
    }
    let everything = Some("0:0,1:0,2:0,3:0");
    let mut held = silent(&tally);
    subscribe(&mut held, "a", json!({}), everything);
    event(&message(&mut held));
    let mut other = silent(&tally);
    // It waits for its turn; what needs no replay does not.
    subscribe(&mut other, "a", json!({}), everything);
    subscribe(&mut other, "b", json!({}), None);
    subscribe(&mut other, "c", json!({}), None);
    let refused = message(&mut other);
    assert_eq!((&refused["code"], &refused["id"]), (&json!("too_many_subscriptions"), &json!("c")));
    assert!(refused["detail"].as_str().unwrap().contains("[live] subscriptions"), "{refused}");
    // The place is free once the first one is gone.
    drop(held);
    let first = message(&mut other);
    assert_eq!((&first["type"], &first["id"]), (&json!("event"), &json!("a")));
    tally.stop().unwrap();
}
