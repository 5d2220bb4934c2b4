//! Metrics that are watched, on a real engine, on `/ws` and as server-sent events: every update is
//! what a question gets, what does not concern a question causes none, and who watches goes on over
//! a crash. The same of two engines that share Kafka and Redis, and of a window that moves with the
//! clock alone.

use crate::clock;
use crate::kafka::{CONFIG as GROUP, PARTITIONS, member};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};
use tally_engine::event::Position;
use tally_tests::client::{Client, Live};
use tally_tests::day;
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::sse::EventStream;
use tally_tests::tally::{Home, Tally};

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str = "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n[live]\nmin_interval_ms = 10\n";

/// A question to a metric; each to another one.
type Watched = (&'static str, Value);

fn questions() -> Vec<Watched> {
    let of_the_day = |mut params: Value| {
        params["window"] = "2h".into();
        params["to"] = "2026-01-01T02:00:00Z".into();
        params
    };
    vec![
        ("event_frequencies", of_the_day(json!({"bucket": "1h"}))),
        ("products_popularity", of_the_day(json!({"limit": 3}))),
        ("user_activities", of_the_day(json!({"user_id": 1}))),
    ]
}

/// Whether an event of this user concerns a question.
fn concerns(question: &Watched, user: u64) -> bool {
    question.0 != "user_activities" || user == 1
}

/// One event of a user; the position behind it.
fn post(client: &Client, user: u64) -> String {
    let event = json!({"user_id": user, "product_id": 10, "event_type": "view",
        "timestamp": "2026-01-01T00:01:30Z"});
    client.post_all(&day::lines(&[event])).unwrap()
}

fn subscribe(live: &mut Live<'_>, (name, params): &Watched) {
    let message = json!({"type": "subscribe", "id": name, "metric": name, "params": params,
        "min_interval_ms": 10});
    live.say(&message.to_string()).unwrap();
}

/// A stream of each question; with last ids they go on there.
fn streams(tally: &Tally, questions: &[Watched], last: &[String]) -> Vec<EventStream> {
    let open = |(n, (name, params)): (usize, &Watched)| {
        let params: String =
            params.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let target = format!("/api/metrics/{name}/stream?min_interval_ms=10&params={params}");
        let last = last.get(n).map_or("", String::as_str);
        EventStream::open(tally.address, &target, last).unwrap()
    };
    questions.iter().enumerate().map(open).collect()
}

/// The next update on a socket.
fn update(live: &mut Live<'_>) -> Value {
    loop {
        let message = live.message().unwrap();
        match message["type"].as_str() {
            Some("update") => return message,
            Some("plugin") => {}
            _ => panic!("{message}"),
        }
    }
}

/// An update is what the question gets at its position, at which the engine stands.
fn check(client: &Client, (name, params): &Watched, update: &Value) {
    let at = update["meta"]["position"].as_str().unwrap_or_else(|| panic!("{update}"));
    let asked = client.answer(name, params, at).unwrap();
    assert_eq!(asked["meta"]["position"], at, "{name}");
    for key in ["result", "warnings"] {
        assert_eq!(update[key], asked[key], "{name}: {key}");
    }
    for key in ["window", "history", "version"] {
        assert_eq!(update["meta"][key], asked["meta"][key], "{name}: {key}");
    }
}

fn reaches(update: &Value, end: &str) -> bool {
    let at = update["meta"]["position"].as_str().unwrap();
    at.parse::<Position>().unwrap().reaches(&end.parse().unwrap())
}

/// Posts an event; whom it concerns is told what it led to.
fn round(
    client: &Client,
    questions: &[Watched],
    (live, streams): (&mut Live<'_>, &mut [EventStream]),
    user: u64,
) {
    let end = post(client, user);
    let concerned = questions.iter().filter(|question| concerns(question, user));
    let mut open: BTreeSet<&str> = concerned.map(|(name, _)| *name).collect();
    while !open.is_empty() {
        let update = update(live);
        let question = questions.iter().find(|(name, _)| update["id"] == *name).unwrap();
        assert!(open.remove(question.0), "an event of {user} does not concern {update}");
        assert!(reaches(&update, &end), "{update} is not behind {end}");
        check(client, question, &update);
    }
    for (question, stream) in questions.iter().zip(streams) {
        if concerns(question, user) {
            let update = stream.message().unwrap();
            assert!(reaches(&update, &end), "{update} is not behind {end}");
            check(client, question, &update);
        }
    }
}

/// The snapshot of each question; the sockets' numbers begin with it.
fn snapshots(client: &Client, questions: &[Watched], live: &mut Live<'_>) {
    for question in questions {
        subscribe(live, question);
        let update = update(live);
        assert_eq!((&update["id"], &update["seq"]), (&json!(question.0), &json!(1)));
        check(client, question, &update);
    }
}

#[test]
fn updates_are_what_a_question_gets_and_go_on_over_a_crash() {
    let (home, questions) = (Home::new(CONFIG).unwrap(), questions());
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&day::lines(&day::events())).unwrap();
    for (name, params) in &questions {
        tally.client.answer(name, params, &end).unwrap();
    }
    let client = Client::new(tally.address).unwrap();
    let mut live = tally.client.live("/ws?events=none").unwrap();
    snapshots(&client, &questions, &mut live);
    let mut open = streams(&tally, &questions, &[]);
    for (question, stream) in questions.iter().zip(&mut open) {
        check(&client, question, &stream.message().unwrap());
    }
    // Of one question, some of the events are others'.
    for user in [1, 2, 2, 1, 3, 2, 1, 2] {
        round(&client, &questions, (&mut live, &mut open), user);
    }
    // A number for each that concerned it, and none for the others.
    round(&client, &questions, (&mut live, &mut open), 2);
    let end = post(&client, 1);
    for _ in &questions {
        let update = update(&mut live);
        let seq = if update["id"] == "user_activities" { 5 } else { 11 };
        assert_eq!(update["seq"], seq, "{update}");
    }
    for stream in &mut open {
        assert!(reaches(&stream.message().unwrap(), &end));
    }
    let last: Vec<String> = open.iter().map(|stream| stream.last_id.clone()).collect();
    drop((live, open));
    tally.kill().unwrap();

    let tally = home.start().unwrap();
    for (name, params) in &questions {
        tally.client.answer(name, params, &end).unwrap();
    }
    let client = Client::new(tally.address).unwrap();
    let mut live = tally.client.live("/ws?events=none").unwrap();
    snapshots(&client, &questions, &mut live);
    // Who has the answer is not sent it again: the first that comes is behind the next event.
    let mut open = streams(&tally, &questions, &last);
    for user in [2, 1] {
        round(&client, &questions, (&mut live, &mut open), user);
    }
    drop((live, open));
    tally.stop().unwrap();
}

#[test]
fn what_cannot_be_watched_is_refused_as_a_post_is() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let mut live = tally.client.live("/ws?events=none").unwrap();
    let mut refused = |metric: &str, params: Value| {
        let message = json!({"type": "subscribe", "id": "a", "metric": metric, "params": params});
        live.say(&message.to_string()).unwrap();
        let error = live.message().unwrap();
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("a")), "{error}");
        error
    };
    assert_eq!(refused("user_activitys", json!({}))["code"], "metric_not_found");
    let faults = refused("user_activities", json!({"limit": 0, "windw": 1}));
    assert_eq!(faults["code"], "invalid_params");
    let asked = json!({"name": "user_activities", "params": {"limit": 0, "windw": 1}});
    let asked = tally.client.evaluate(&asked).unwrap().json();
    assert_eq!(faults["errors"], asked["errors"], "as a POST is refused");
    let path = "/api/metrics/user_activities/stream?params=%7B%22limit%22:0,%22windw%22:1%7D";
    let stream = tally.client.get(path).unwrap();
    assert_eq!((stream.status, &stream.json()["errors"]), (422, &asked["errors"]));
    drop(live);
    tally.stop().unwrap();
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// No event comes: what was counted leaves a window that ends now. The engine's clock is set
/// forward, as far as it is believed at once, to the beginning of a minute, so that no other one
/// begins while questions are asked.
#[test]
fn a_window_that_ends_now_moves_by_itself() {
    let home = clock::home_with("+0", CONFIG);
    let tally = home.start().unwrap();
    let lines: String = (0..3)
        .map(|n| format!("{}\n", json!({"user_id": n, "product_id": 1, "event_type": "view"})))
        .collect();
    let end = tally.client.post_all(&lines).unwrap();
    let question: Watched = ("event_frequencies", json!({"window": "2m"}));
    assert_eq!(tally.client.ask(question.0, &question.1, &end).unwrap()["total"], 3);
    let client = Client::new(tally.address).unwrap();
    let mut live = tally.client.live("/ws?events=none").unwrap();
    subscribe(&mut live, &question);
    let first = update(&mut live);
    assert_eq!((&first["seq"], &first["result"]["total"]), (&json!(1), &json!(3)), "{first}");
    // Two seconds into the fourth minute from now.
    let ahead = 4 * 60 + 2 - now() % 60;
    clock::set(&home, &format!("+{ahead}"));
    let moved = loop {
        let update = update(&mut live);
        // A minute may have begun before.
        if update["result"]["total"] == 0 {
            break update;
        }
    };
    assert_ne!(moved["meta"]["window"], first["meta"]["window"]);
    check(&client, &question, &moved);
    drop(live);
    tally.stop().unwrap();
}

/// Waits until a socket was told of each of these questions behind `end`, where nothing is counted
/// beyond it: what it is told is what each engine answers there.
fn settle(
    live: &mut Live<'_>,
    questions: &[Watched],
    (mut open, end): (BTreeSet<&str>, &str),
    clients: &[Client],
) {
    while !open.is_empty() {
        let message = live.message().unwrap();
        match message["type"].as_str() {
            Some("update") => {}
            // For a moment there may be no answer, while the group divides its partitions.
            Some("error" | "plugin") => continue,
            _ => panic!("{message}"),
        }
        if !reaches(&message, end) {
            // More was counted by now.
            continue;
        }
        let (name, params) = questions.iter().find(|(name, _)| message["id"] == *name).unwrap();
        let at = message["meta"]["position"].as_str().unwrap();
        for client in clients {
            let asked = client.answer(name, params, at).unwrap();
            assert_eq!(asked["result"], message["result"], "{name} at {at}");
        }
        open.remove(name);
    }
}

/// Each engine counts some of the partitions, and both tell of all.
pub(crate) fn updates_of_engines_in_a_group_are_what_each_of_them_answers(kafka: &Kafka) {
    let (redis, questions) = (Redis::start(&[]).unwrap(), questions());
    kafka.create_topic("live", PARTITIONS, &[]).unwrap();
    let start = || {
        let mut home = member(kafka, "live", &format!("{GROUP}[live]\nmin_interval_ms = 10\n"));
        home.env("REDIS_URL", &redis.url());
        let tally = home.start().unwrap();
        (home, tally)
    };
    let ((_first, one), (_second, other)) = (start(), start());
    let clients = [&one, &other].map(|tally| Client::new(tally.address).unwrap());
    let mut end = clients[0].post_all(&day::lines(&day::events())).unwrap();
    for client in &clients {
        for (name, params) in &questions {
            client.answer(name, params, &end).unwrap();
        }
    }
    let mut sockets = [&one, &other].map(|tally| tally.client.live("/ws?events=none").unwrap());
    let all: BTreeSet<&str> = questions.iter().map(|(name, _)| *name).collect();
    for live in &mut sockets {
        questions.iter().for_each(|question| subscribe(live, question));
        settle(live, &questions, (all.clone(), end.as_str()), &clients);
    }
    for (n, user) in [1, 2, 2, 1, 3, 1].into_iter().enumerate() {
        end = post(&clients[n % 2], user);
        let concerned = questions.iter().filter(|question| concerns(question, user));
        let concerned: BTreeSet<&str> = concerned.map(|(name, _)| *name).collect();
        for live in &mut sockets {
            settle(live, &questions, (concerned.clone(), end.as_str()), &clients);
        }
    }
    drop(sockets);
    // The one that is left counts all, and tells of it.
    other.stop().unwrap();
    end = post(&clients[0], 1);
    let mut live = one.client.live("/ws?events=none").unwrap();
    questions.iter().for_each(|question| subscribe(&mut live, question));
    settle(&mut live, &questions, (all, end.as_str()), &clients[..1]);
    drop(live);
    one.stop().unwrap();
}
