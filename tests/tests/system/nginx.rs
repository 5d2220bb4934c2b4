//! An engine behind the nginx that `contrib` configures: equal questions that are held are one
//! request, sockets and streams pass, and names are the engine's to judge.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tally_tests::client::{Client, Live};
use tally_tests::day;
use tally_tests::nginx::{Nginx, PassedRequest};
use tally_tests::sse::EventStream;
use tally_tests::tally::Home;

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str = "[server]\nevaluation_deadline_ms = 10000\n\
                      allowed_hosts = [\"tally.example\"]\nallowed_origins = [\"https://tally.example\"]\n";

const LIMIT: Duration = Duration::from_secs(60);

const FREQUENCIES: &str = "/api/metrics/event_frequencies/answer";

fn view() -> String {
    day::lines(&[json!({"user_id": 1, "product_id": 10, "event_type": "view",
        "timestamp": "2026-01-01T00:01:30Z"})])
}

/// Sends a request on each of so many connections, and waits for no answer.
fn ask(nginx: &Nginx, count: usize, target: &str, header: &str) -> Vec<TcpStream> {
    let send = |_| {
        let mut socket = TcpStream::connect(nginx.address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        write!(socket, "GET {target} HTTP/1.0\r\nhost: localhost\r\n{header}\r\n").unwrap();
        socket
    };
    (0..count).map(send).collect()
}

/// The statuses of all answers, and the totals in them.
fn answers(sockets: Vec<TcpStream>) -> (BTreeSet<u16>, BTreeSet<u64>) {
    let (mut statuses, mut totals) = (BTreeSet::new(), BTreeSet::new());
    for mut socket in sockets {
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        statuses.insert(head.split(' ').nth(1).unwrap().parse().unwrap());
        let answer: Value = serde_json::from_str(body).unwrap_or_default();
        totals.extend(answer["result"]["total"].as_u64());
    }
    (statuses, totals)
}

/// The requests for this target, once there are so many.
fn passed(client: &Client, nginx: &Nginx, target: &str, count: usize) -> Vec<PassedRequest> {
    let mut found = Vec::new();
    let seen = |_: &Client| {
        found = nginx.passed().unwrap();
        found.retain(|request| request.target == target);
        if found.len() < count { Err(format!("{found:?}")) } else { Ok(String::new()) }
    };
    client.until("the requests are answered", LIMIT, seen).unwrap();
    assert_eq!(found.len(), count);
    found
}

/// Of these requests one was held by the engine, for each ten seconds in which some of them came.
fn check_shared(passed: &[PassedRequest]) {
    let rounds: BTreeSet<&str> = passed.iter().map(|request| &*request.round).collect();
    let of = |cache: &str| passed.iter().filter(|request| request.cache == cache).count();
    assert!(rounds.len() <= 2, "they came over {rounds:?}");
    assert_eq!(of("MISS"), rounds.len(), "{passed:?}");
    // On a machine that stands still for a second some find the answer too old and ask for it.
    assert!(of("HIT") * 2 > passed.len(), "{passed:?}");
}

/// Waits until so many requests wait at nginx, and the engine holds what they ask.
fn until_held(client: &Client, nginx: &Nginx, count: usize) {
    let wait = |_: &Client| match nginx.open().unwrap() {
        open if open == count => Ok(String::new()),
        open => Err(format!("{open} are open")),
    };
    client.until("all are held", LIMIT, wait).unwrap();
    let watched = |client: &Client| match client.figure("tally_live_questions", "").unwrap() {
        1.0 => Ok(String::new()),
        questions => Err(format!("{questions} questions are watched")),
    };
    client.until("the question is watched", LIMIT, watched).unwrap();
}

#[test]
fn equal_questions_that_are_held_are_one_request() {
    const MANY: usize = 200;
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let nginx = Nginx::start(tally.address).unwrap();
    let client = Client::new(nginx.address).unwrap();
    let end = client.post_all(&day::lines(&day::events())).unwrap();
    let mut total = client.ask("event_frequencies", &json!({}), &end).unwrap()["total"].as_u64();
    let now = client.get(FREQUENCIES).unwrap();
    assert_eq!(now.header("cache-control"), "public, max-age=1");
    let mut tag = now.header("etag").to_owned();
    // By the query, and by the header.
    for by_header in [false, true] {
        let id = tag.trim_start_matches("W/").trim_matches('"');
        let (target, header) = match by_header {
            false => (format!("{FREQUENCIES}?wait=40s&after={id}"), String::new()),
            true => (format!("{FREQUENCIES}?wait=40s"), format!("if-none-match: {tag}\r\n")),
        };
        let sockets = ask(&nginx, MANY, &target, &header);
        until_held(&tally.client, &nginx, MANY);
        let end = client.post_all(&view()).unwrap();
        total = total.map(|total| total + 1);
        let (statuses, totals) = answers(sockets);
        assert_eq!(statuses, BTreeSet::from([200]));
        assert_eq!(totals, total.into_iter().collect::<BTreeSet<_>>());
        check_shared(&passed(&client, &nginx, &target, MANY));
        client.ask("event_frequencies", &json!({}), &end).unwrap();
        tag = tally.client.get(FREQUENCIES).unwrap().header("etag").to_owned();
    }
    // Nothing changes: all get 304, and so it is when they ask the same again.
    let id = tag.trim_start_matches("W/").trim_matches('"');
    let target = format!("{FREQUENCIES}?wait=1s&after={id}");
    let unchanged = (BTreeSet::from([304]), BTreeSet::new());
    assert_eq!(answers(ask(&nginx, 20, &target, "")), unchanged);
    let before = passed(&client, &nginx, &target, 20);
    check_shared(&before);
    let last = before.iter().map(|request| request.round.clone()).max().unwrap();
    let later = |client: &Client| {
        client.get("/livez").unwrap();
        match nginx.passed().unwrap().last() {
            Some(request) if request.round > last => Ok(String::new()),
            other => Err(format!("{other:?}")),
        }
    };
    client.until("ten seconds are over", LIMIT, later).unwrap();
    assert_eq!(answers(ask(&nginx, 20, &target, "")), unchanged);
    check_shared(&passed(&client, &nginx, &target, 40)[20..]);
    drop(client);
    tally.stop().unwrap();
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

#[test]
fn sockets_and_streams_pass_and_names_are_judged_by_the_engine() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let nginx = Nginx::start(tally.address).unwrap();
    let client = Client::new(nginx.address).unwrap();
    let mut live = client.live("/ws").unwrap();
    let mut events = EventStream::open(nginx.address, "/api/events/stream", "").unwrap();
    let path = "/api/metrics/event_frequencies/stream";
    let mut updates = EventStream::open(nginx.address, path, "").unwrap();
    assert_eq!(updates.message().unwrap()["result"]["total"], 0);
    let end = tally.client.post_all(&view()).unwrap();
    let told = [message(&mut live), events.message().unwrap()];
    for event in told {
        assert_eq!((&event["type"], &event["position"]), (&json!("event"), &json!(end)));
    }
    assert_eq!(updates.message().unwrap()["result"]["total"], 1);
    live.say(r#"{"type":"subscribe","id":"a","metric":"event_frequencies"}"#).unwrap();
    assert_eq!(message(&mut live)["result"]["total"], 1);
    drop((live, events, updates));

    let send = |headers: &[(&str, &str)]| {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        let answer = client.send("POST", "/api/events", &headers, view()).unwrap();
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(send(&[("host", "tally.example"), ("origin", "https://tally.example")]).0, 200);
    assert_eq!(send(&[("host", "evil.example")]), (403, "host_not_allowed".into()));
    assert_eq!(send(&[("origin", "https://evil.example")]), (403, "origin_not_allowed".into()));
    // What a page of the list gets is not what others get from the cache.
    let of_page = [("origin", "https://tally.example")];
    let allowed = |headers: &[(&str, &str)]| {
        let answer = client.send("GET", FREQUENCIES, headers, "").unwrap();
        (answer.status, answer.header("access-control-allow-origin").to_owned())
    };
    assert_eq!(allowed(&[]), (200, String::new()));
    assert_eq!(allowed(&of_page), (200, "https://tally.example".into()));
    let csv = client.send("GET", FREQUENCIES, &[("accept", "text/csv")], "").unwrap();
    assert!(csv.text.starts_with("total,"), "{}", csv.text);
    // What belongs to operators and to the command line does not pass; the page does.
    let orders = [
        ("POST", "/api/metrics/event_frequencies/promote?dry_run=true", "{}", "not_possible"),
        ("PUT", "/api/sections/sales", r#"{"plugin":"x"}"#, "section_invalid"),
        ("DELETE", "/api/sections/sales", "", "section_not_found"),
        ("POST", "/api/preview", r#"{"plugin":"x"}"#, "plugin_not_found"),
    ];
    for (method, path, body, code) in orders {
        let send = |client: &Client| {
            client.send(method, path, &[("content-type", "application/json")], body).unwrap()
        };
        let judged = send(&tally.client);
        assert_eq!(judged.json()["code"], code, "{method} {path}: {}", judged.text);
        let refused = send(&client);
        assert!(refused.status == 404 && refused.text.contains("nginx"), "{}", refused.text);
    }
    assert_eq!(client.get("/api/sections").unwrap().status, 200);
    assert_eq!(client.get("/").unwrap().header("content-type"), "text/html; charset=utf-8");
    let internal = "/api/internal/log";
    assert_eq!(tally.client.get(internal).unwrap().status, 200);
    let refused = client.get(internal).unwrap();
    assert!(refused.status == 404 && refused.text.contains("nginx"), "{}", refused.text);
    drop(client);
    tally.stop().unwrap();
}
