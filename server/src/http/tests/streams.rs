//! Server-sent events over a real socket. Asked in HTTP/1.0, so that the answer is not cut into
//! chunks.

use super::fake::{Listening, World, evaluated};
use crate::http::Limits;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tally_engine::engine::EvaluateError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

struct Stream {
    socket: TcpStream,
    /// What was received and not looked at yet.
    left: String,
}

impl Stream {
    /// Opens, and reads the head.
    async fn open(server: &Listening, target: &str, headers: &str) -> Stream {
        let mut socket = server.connect().await;
        let head = format!("GET {target} HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut stream = Stream { socket, left: String::new() };
        let head = stream.up_to("\r\n\r\n").await;
        assert!(
            head.contains(" 200 ") && head.contains("content-type: text/event-stream"),
            "{head}"
        );
        assert!(head.contains("cache-control: no-store"), "{head}");
        stream
    }

    /// Reads up to an end, which is not in the text.
    async fn up_to(&mut self, end: &str) -> String {
        loop {
            if let Some((text, left)) = self.left.split_once(end) {
                let text = text.to_owned();
                self.left = left.to_owned();
                return text;
            }
            let mut read = [0; 4096];
            let count = timeout(PATIENCE, self.socket.read(&mut read)).await;
            let count = count.unwrap_or_else(|_| panic!("nothing comes after {:?}", self.left));
            match count.unwrap() {
                0 => panic!("it ends after {:?}", self.left),
                count => self.left.push_str(std::str::from_utf8(&read[..count]).unwrap()),
            }
        }
    }

    /// The next message: its id and its data.
    async fn message(&mut self) -> (Option<String>, Value) {
        let block = self.up_to("\n\n").await;
        let (id, data) = match block.strip_prefix("id: ") {
            Some(rest) => rest.split_once('\n').map(|(id, data)| (Some(id), data)).unwrap(),
            None => (None, block.as_str()),
        };
        let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("{block:?}"));
        (id.map(str::to_owned), serde_json::from_str(data).unwrap())
    }
}

#[tokio::test]
async fn events_come_with_the_cursor_as_their_id_and_what_is_missed_without() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    world.fake.feed.starts(1, 998);
    let mut all = Stream::open(&server, "/api/events/stream", "").await;
    assert_eq!(all.up_to("\n\n").await, "retry: 1000\nid: 1:998");
    let target = "/api/events/stream?event_types=buy,view&user_id=2&since=&product_id=";
    let mut some = Stream::open(&server, target, "").await;
    some.up_to("\n\n").await;
    (1..=3).for_each(|n| world.fake.event(n));
    let event = |n: u64| {
        let (position, cursor) = (format!("0:{n}"), format!("0:{n},1:998"));
        let data = json!({"type": "event", "position": position, "cursor": cursor, "event": {"user_id": n}});
        (Some(cursor), data)
    };
    for n in 1..=3 {
        assert_eq!(all.message().await, event(n));
    }
    assert_eq!(some.message().await, event(2));
    // A long one is as whole.
    world.fake.show(4, format!("{{\"x\":\"{}\"}}", "y".repeat(100_000)));
    let (id, data) = all.message().await;
    assert_eq!((id.as_deref(), &data["position"]), (Some("0:4,1:998"), &json!("0:4")));
    assert_eq!(data["event"]["x"].as_str().map(str::len), Some(100_000));
    // More than is kept, before anybody can take any.
    let new = |next| tally_engine::feed::NewEvent {
        next,
        event_type: "view".into(),
        user: None,
        product: None,
        event: "{}".into(),
    };
    world.fake.feed.publish(0, 9_004, (5..9_005).map(new).collect());
    assert_eq!(all.message().await, (None, json!({"type": "skipped", "count": 9_000 - 8_192})));
}

#[tokio::test]
async fn the_last_id_comes_before_since_and_faults_are_told_together() {
    let mut world = World::new(Limits::default()).await;
    for (target, code, pointers) in [
        ("?since=x", "position_invalid", &["/since"][..]),
        ("?since=0:1205", "position_invalid", &["/since"]),
        ("?since=0:5,7:0", "position_invalid", &["/since"]),
        ("?since=9:9", "overloaded", &[]),
        ("?user_ids=7", "invalid_params", &["/user_ids"]),
        (
            "?event_types=Buy&user_id=__other__&x=1",
            "invalid_params",
            &["/event_types", "/user_id", "/x"],
        ),
    ] {
        let answer = world.get(&format!("/api/events/stream{target}")).await;
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{problem}");
        let none = Vec::new();
        let errors = problem["errors"].as_array().unwrap_or(&none).iter();
        let found: Vec<&Value> = errors.map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{problem}");
        let retry = if code == "overloaded" { "1" } else { "" };
        assert_eq!(answer.header("retry-after"), retry);
    }
    let server = world.listen().await;
    for (target, headers) in [
        ("/api/events/stream?since=0:5", ""),
        ("/api/events/stream?since=0:5", "last-event-id: 0:7,1:2\r\n"),
        ("/api/events/stream?since=0:5", "last-event-id: \r\n"),
        ("/api/events/stream", "last-event-id: 0:8\r\n"),
    ] {
        Stream::open(&server, target, headers).await;
    }
    let since: Vec<String> = world.fake.since.lock().iter().map(ToString::to_string).collect();
    assert_eq!(since, ["0:5", "0:7,1:2", "0:5", "0:8"]);
}

#[tokio::test]
async fn an_internal_error_is_told_and_the_stream_ends() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let mut stream = Stream::open(&server, "/api/events/stream?since=8:8", "").await;
    let mut rest = std::mem::take(&mut stream.left).into_bytes();
    timeout(PATIENCE, stream.socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    let rest = String::from_utf8(rest).unwrap();
    let told = "retry: 60000\ndata: {\"type\":\"error\",\"code\":\"internal_error\"";
    assert!(rest.contains(told), "{rest}");
}

#[tokio::test]
async fn a_comment_keeps_a_stream_open_and_a_stop_ends_it() {
    let limits = Limits {
        heartbeat: Duration::from_millis(20),
        idle: Duration::from_millis(50),
        first_byte: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let mut server = world.listen().await;
    let mut stream = Stream::open(&server, "/api/events/stream", "").await;
    stream.up_to("\n\n").await;
    for _ in 0..20 {
        assert_eq!(stream.up_to("\n\n").await, ":");
    }
    world.fake.event(1);
    while stream.up_to("\n\n").await == ":" {}
    server.stop();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(server.end().await.cut, 0);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_and_gives_its_place_back() {
    let limits = Limits { sockets: 1, write: Duration::from_millis(200), ..Limits::default() };
    let mut world = World::new(limits).await;
    let server = world.listen().await;
    let held = Stream::open(&server, "/api/events/stream", "").await;
    // Far more than the two sockets' buffers hold.
    for n in 1..=64 {
        world.fake.show(n, format!("{{\"x\":\"{}\"}}", "y".repeat(500_000)));
    }
    let request = b"GET /api/events/stream HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let refused = server.exchange(request).await;
    assert!(refused.contains(" 503 ") && refused.contains("\"overloaded\""), "{refused}");
    let begun = Instant::now();
    while world.fake.feed.has_listeners() {
        assert!(begun.elapsed() < PATIENCE, "the server does not give up");
        tokio::task::yield_now().await;
    }
    drop(held);
    Stream::open(&server, "/api/events/stream", "").await;
}

/// Answers from now on with this number, and says so to who watches.
fn count_to(world: &World, number: u64) {
    world.fake.answers(move |_| Ok(evaluated(&number.to_string(), json!({}))));
    world.fake.changed();
}

#[tokio::test]
async fn answers_come_with_their_tag_as_their_id_and_who_has_one_gets_the_next() {
    let mut world = World::new(Limits::default()).await;
    count_to(&world, 1);
    let tag = world.get("/api/metrics/event_frequencies/answer").await.header("etag").to_owned();
    let server = world.listen().await;
    let target = "/api/metrics/event_frequencies/stream?min_interval_ms=0&params=%7B%7D&expand=";
    let mut stream = Stream::open(&server, target, "").await;
    assert_eq!(stream.up_to("\n\n").await, "retry: 1000");
    let (id, mut update) = stream.message().await;
    let id = id.unwrap();
    assert_eq!(format!("W/\"{id}\""), tag, "the tag of the same answer to a GET");
    assert!(update["meta"]["took_us"].take().is_u64(), "{update}");
    let history = json!({"state": "complete", "from": "2026-01-01T00:01:00.000Z"});
    let meta = json!({"position": "0:1204,1:998", "as_of": "2026-01-01T00:00:00.000Z",
        "version": "1.0.0", "history": history, "took_us": null});
    let expected = json!({"type": "update", "seq": 1, "result": 1, "meta": meta, "warnings": []});
    assert_eq!(update, expected);

    // Who has it is not sent it again, and whoever has another one is.
    let last = format!("last-event-id: {id}\r\n");
    let mut resumed = Stream::open(&server, target, &last).await;
    assert_eq!(resumed.up_to("\n\n").await, format!("retry: 1000\nid: {id}"));
    let mut other = Stream::open(&server, target, "last-event-id: 0:17\r\n").await;
    assert_eq!(other.up_to("\n\n").await, "retry: 1000");
    assert_eq!(other.message().await.1["result"], 1);
    count_to(&world, 2);
    for (stream, seq) in [(&mut stream, 2), (&mut resumed, 1), (&mut other, 2)] {
        let (next, update) = stream.message().await;
        assert_eq!((&update["seq"], &update["result"]), (&json!(seq), &json!(2)));
        assert_ne!(next, Some(id.clone()));
    }

    // A fault has no id, and the answer after it is one again.
    world.fake.answers(|_| Err(EvaluateError::PluginFailed("no".into())));
    world.fake.changed();
    let fault =
        json!({"type": "error", "code": "plugin_failed", "detail": "the plugin failed: no"});
    assert_eq!(stream.message().await, (None, fault));
    count_to(&world, 2);
    let (_, update) = stream.message().await;
    assert_eq!((&update["seq"], &update["result"]), (&json!(3), &json!(2)));
}

#[tokio::test]
async fn what_a_stream_of_a_metric_asks_for_is_judged_before_it_begins() {
    let world = World::new(Limits { sockets: 0, ..Limits::default() }).await;
    let path = "/api/metrics/event_frequencies/stream";
    for (query, code, pointers) in [
        ("?params=%5B%5D", "invalid_params", &["/params"][..]),
        (
            "?expand=all&min_interval_ms=-1&since=0:1&params=1",
            "invalid_request",
            &["/expand", "/min_interval_ms", "/since", "/params"],
        ),
        ("?min_interval_ms=1&min_interval_ms=2", "invalid_request", &["/min_interval_ms"]),
    ] {
        let problem = world.get(&format!("{path}{query}")).await.json();
        assert_eq!(problem["code"], code, "{problem}");
        let errors = problem["errors"].as_array().unwrap().iter();
        let found: Vec<&Value> = errors.map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{problem}");
    }
    let full = world.get(path).await;
    assert_eq!((full.status.as_u16(), full.header("retry-after")), (503, "1"));
    assert!(world.fake.watched.lock().is_empty(), "nothing is watched for it");
    let world = World::new(Limits::default()).await;
    world.fake.answers(|question| {
        Err(EvaluateError::NotFound { suggestions: vec![], detail: question.name.clone() })
    });
    let answer = world.get("/api/metrics/nothing/stream").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (404, &json!("metric_not_found")));
}
