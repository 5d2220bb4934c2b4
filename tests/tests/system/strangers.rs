//! Strangers: clients that do not read, read a byte now and then, say what is no message, or are
//! very many. Each gets its one answer, memory stays within what docs/sizing.md states, and other
//! clients get every event meanwhile.
//!
//! What each answer looks like is tried on a fake engine (`server/src/http/tests/live.rs`); how
//! fast others are beside strangers is measured (`benches/src/bin/live.rs`), not tested.

use serde_json::{Value, json};
use socket2::{Domain, SockRef, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::footprint::{Footprint, footprint, peak};
use tally_tests::tally::{Home, Tally};
use tokio_tungstenite::tungstenite::client::client_with_config;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// One partition, so that events have one order; little memory, so that what is kept for sockets is
/// little; a long deadline, so that a busy machine is no failure.
const CONFIG: &str = "[store]\ncheckpoint_interval_ms = 100\n[log]\npartitions = 1\n\
    [limits]\nmemory = 268435456\n[server]\nevaluation_deadline_ms = 10000\n";

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Bytes that a socket takes on which nothing happens, at most.
const IDLE: u64 = 64 << 10;

/// Bytes that a socket takes whose client does not read, at most.
const BLOCKED: u64 = 640 << 10;

/// Bytes that a subscription takes beside others to the same question, or to events, at most.
const SUBSCRIPTION: u64 = 8 << 10;

/// Bytes that a different question with a short answer takes, at most.
const QUESTION: u64 = 32 << 10;

/// Bytes by which a process may grow for other reasons: what the log and the store write first.
const OTHERS: u64 = 32 << 20;

type Socket = WebSocket<TcpStream>;

/// Opens, and reads the hello. `narrow`: the system receives a few KiB for it and no more.
fn open(address: SocketAddr, path: &str, narrow: bool) -> Socket {
    let stream = connect(address, narrow);
    let config = WebSocketConfig::default().read_buffer_size(4_096);
    let url = format!("ws://{address}{path}");
    let opened = client_with_config(url, stream, Some(config));
    let (mut socket, _) = opened.map_err(|fault| fault.to_string()).unwrap();
    assert_eq!(said(&mut socket)["type"], "hello");
    socket
}

fn connect(address: SocketAddr, narrow: bool) -> TcpStream {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if narrow {
        socket.set_recv_buffer_size(4_096).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// The next message that is text and not about plugins.
fn said(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["type"] != "plugin" {
                return message;
            }
        }
    }
}

fn say(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).unwrap();
}

/// Asserts that it is served, and that nothing was left to be sent to it.
fn is_served(socket: &mut Socket) {
    say(socket, &json!({"type": "ping"}));
    assert_eq!(said(socket), json!({"type": "pong"}));
}

/// The codes of all errors that are told before the close, and the code of that.
fn end(socket: &mut Socket) -> (Vec<String>, u16) {
    let mut errors = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Close(Some(frame))) => return (errors, frame.code.into()),
            Ok(Message::Text(text)) if text.starts_with(r#"{"type":"error""#) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                errors.push(message["code"].as_str().unwrap().to_owned());
            }
            Ok(_) => {}
            Err(fault) => panic!("no close after {errors:?}: {fault}"),
        }
    }
}

/// Events with these numbers, each of a user of that number.
fn lines(numbers: std::ops::Range<u64>, padding: usize) -> String {
    let line = |n: u64| {
        let event = json!({"event_id": format!("e{n}"), "user_id": n, "product_id": n % 7,
            "event_type": "view", "padding": "x".repeat(padding)});
        format!("{event}\n")
    };
    numbers.map(line).collect()
}

fn post(client: &Client, numbers: std::ops::Range<u64>, padding: usize) {
    client.post_all(&lines(numbers, padding)).unwrap();
}

/// Asserts that the next messages are the events of these numbers.
fn gets(socket: &mut Socket, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let message = said(socket);
        assert_eq!(message["event"]["user_id"], n, "{message:.300}");
    }
}

/// Waits until this figure of `/api/status` is as wanted, and does something between two looks.
fn until(tally: &Tally, pointer: &str, wanted: u64, mut meanwhile: impl FnMut()) {
    let look = |client: &Client| -> Result<String, String> {
        meanwhile();
        let status = client.get("/api/status").map_err(|fault| format!("{fault:#}"))?.json();
        match status.pointer(pointer) {
            Some(found) if *found == wanted => Ok(String::new()),
            found => Err(format!("{pointer}: {found:?}")),
        }
    };
    tally.client.until("a figure of /api/status", LONG, look).unwrap();
}

fn all_closed(tally: &Tally) {
    until(tally, "/sockets/websockets", 0, || {});
    until(tally, "/sockets/streams", 0, || {});
}

fn seen(home: &Home, tally: &Tally) -> Footprint {
    footprint(tally, &home.path().join(".tally")).unwrap()
}

/// Bytes for each of so many by which the process has grown.
fn each(before: &Footprint, after: &Footprint, count: usize) -> u64 {
    after.anonymous.saturating_sub(before.anonymous) / count as u64
}

/// Many sockets are this process's too.
fn raise_limit() {
    tally_engine::descriptors::raise().unwrap();
}

#[test]
fn what_is_no_message_gets_its_one_answer_and_others_get_every_event() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let mut other = open(tally.address, "/ws", false);
    let subscribe = |id: &str| json!({"type": "subscribe", "id": id, "events": {}}).to_string();
    let many: Vec<String> = (0..10_000).map(|n| subscribe(&n.to_string())).collect();
    let strangers: [(&str, Vec<Message>, &str, u16); 4] = [
        ("1 MB", vec![Message::text("y".repeat(1 << 20))], "message_too_large", 1009),
        ("1 MB, binary", vec![Message::binary(vec![0_u8; 1 << 20])], "message_too_large", 1009),
        ("binary", vec![Message::binary(vec![0_u8; 100])], "binary_message", 1003),
        (
            "10,000 subscriptions",
            many.into_iter().map(Message::text).collect(),
            "too_many_messages",
            1008,
        ),
    ];
    let mut n = 0;
    for (what, messages, error, code) in strangers {
        let mut stranger = open(tally.address, "/ws?events=none", false);
        let many = messages.len() > 1;
        for message in messages {
            // It may have been closed before it has said everything.
            let _ = stranger.send(message);
        }
        let (mut errors, closed) = end(&mut stranger);
        assert_eq!((errors.pop().as_deref(), closed), (Some(error), code), "{what}");
        // Each that is too many was told so, up to the allowance of 256 messages.
        assert!(errors.iter().all(|code| code == "too_many_subscriptions"), "{what}: {errors:?}");
        assert_eq!(errors.len() >= 256 - 64, many, "{what}: {} were told", errors.len());
        post(&tally.client, n..n + 1, 0);
        gets(&mut other, n..n + 1);
        n += 1;
    }
    // These are told, and stay.
    let mut stranger = open(tally.address, "/ws?events=none", false);
    for (message, code) in [
        ("{".to_owned(), "invalid_json"),
        (subscribe(&"i".repeat(65)), "invalid_request"),
        (r#"{"type":"subscribe","id":"a","events":{},"evnts":{}}"#.into(), "invalid_request"),
    ] {
        stranger.send(Message::text(message)).unwrap();
        assert_eq!(said(&mut stranger)["code"], code);
    }
    for _ in 0..2 {
        stranger.send(Message::text(subscribe("a"))).unwrap();
    }
    assert_eq!(said(&mut stranger)["code"], "id_in_use");
    post(&tally.client, n..n + 1, 0);
    gets(&mut other, n..n + 1);
    let once = said(&mut stranger);
    assert_eq!((&once["id"], &once["event"]["user_id"]), (&json!("a"), &json!(n)));
    is_served(&mut stranger);
    is_served(&mut other);
    drop((stranger, other));
    all_closed(&tally);
    tally.stop().unwrap();
}

/// Reads what is left, and the code with which it was closed.
fn closed_with(stream: TcpStream, read_before: Vec<u8>) -> u16 {
    end(&mut WebSocket::from_partially_read(stream, read_before, Role::Client, None)).1
}

#[test]
fn who_does_not_read_is_closed_and_takes_a_bounded_part_of_memory_until_then() {
    const SILENT: usize = 32;
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let mut other = open(tally.address, "/ws", false);
    // More than all buffers between an engine and a client that does not read.
    let mut n = 0;
    let mut flood = |other: &mut Socket| {
        for _ in 0..10 {
            post(&tally.client, n..n + 400, 2_000);
            gets(other, n..n + 400);
            n += 400;
        }
    };
    // What the log, the store and the ring take is taken before.
    flood(&mut other);
    let before = peak(&tally).unwrap();
    let silent: Vec<Socket> = (0..SILENT).map(|_| open(tally.address, "/ws", true)).collect();
    let mut slow = open(tally.address, "/ws", true);
    let mut stream = connect(tally.address, true);
    let request = b"GET /api/events/stream HTTP/1.0\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).unwrap();
    until(&tally, "/sockets/websockets", SILENT as u64 + 2, || {});
    until(&tally, "/sockets/streams", 1, || {});
    flood(&mut other);
    is_served(&mut other);
    drop(other);
    // Nobody listens any more once all were given up, and the newest events are let go.
    let mut bytes = Vec::new();
    until(&tally, "/memory/sockets/used", 0, || {
        let mut byte = [0];
        if let Ok(1) = slow.get_mut().read(&mut byte) {
            bytes.push(byte[0]);
        }
    });
    assert!(bytes.len() > 1, "the slow one has read");
    let more = peak(&tally).unwrap().saturating_sub(before);
    let most = (SILENT as u64 + 2) * BLOCKED + OTHERS;
    assert!(more <= most, "{SILENT} that do not read took {more} bytes of {most}");
    for socket in silent {
        assert_eq!(closed_with(socket.into_inner(), Vec::new()), 1013);
    }
    assert_eq!(closed_with(slow.into_inner(), bytes), 1013);
    // A stream has no word for it: it ends before all events.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.starts_with(b"HTTP/1.") && rest.len() < 8_000_000, "{} bytes", rest.len());
    all_closed(&tally);
    tally.stop().unwrap();
}

#[test]
fn a_thousand_idle_and_a_thousand_busy_sockets_are_all_served_and_leave_nothing_behind() {
    const MANY: usize = 1_000;
    raise_limit();
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    // What a first socket brings about is no part of what each takes.
    drop(open(tally.address, "/ws", false));
    all_closed(&tally);
    let before = seen(&home, &tally);
    let mut idle: Vec<Socket> =
        (0..MANY).map(|_| open(tally.address, "/ws?events=none", false)).collect();
    idle.iter_mut().for_each(is_served);
    let with_idle = seen(&home, &tally);
    let taken = each(&before, &with_idle, MANY);
    assert!(taken <= IDLE, "an idle socket takes {taken} bytes");

    let mut busy: Vec<Socket> = (0..MANY).map(|_| open(tally.address, "/ws", false)).collect();
    let question = json!({"type": "subscribe", "id": "q", "metric": "event_frequencies"});
    for socket in &mut busy {
        say(socket, &question);
        assert_eq!(said(socket)["type"], "update");
    }
    let taken = each(&with_idle, &seen(&home, &tally), MANY);
    assert!(taken <= IDLE + SUBSCRIPTION, "one with a subscription takes {taken} bytes");
    for n in 0..10 {
        post(&tally.client, n * 20..(n + 1) * 20, 0);
    }
    // Every event in its order, and the answer with all of them.
    for socket in &mut busy {
        let (mut events, mut total) = (0, 0);
        while events < 200 || total < 200 {
            let message = said(socket);
            if message["type"] == "update" {
                total = message["result"]["total"].as_u64().unwrap();
            } else {
                assert_eq!(message["event"]["user_id"], events, "{message}");
                events += 1;
            }
        }
    }
    idle.iter_mut().for_each(is_served);
    // Half of them go without a word.
    busy.iter_mut().for_each(|socket| socket.close(None).unwrap());
    drop((idle, busy));
    all_closed(&tally);

    let before = seen(&home, &tally);
    for n in 0..10_000 {
        let mut socket = open(tally.address, "/ws", false);
        match n % 3 {
            0 => {}
            1 => socket.close(None).unwrap(),
            _ => SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap(),
        }
    }
    all_closed(&tally);
    let after = seen(&home, &tally);
    let left = each(&before, &after, 10_000);
    assert!(left <= 2 << 10, "a socket that came and went leaves {left} bytes");
    assert!(after.descriptors < before.descriptors + 100, "{before:?} {after:?}");
    tally.stop().unwrap();
}

#[test]
fn subscriptions_and_questions_take_what_is_stated() {
    const SOCKETS: usize = 32;
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    post(&tally.client, 0..1_000, 0);
    let mut sockets: Vec<Socket> =
        (0..SOCKETS).map(|_| open(tally.address, "/ws?events=none", false)).collect();
    let of_user = |id: u64, user: u64| {
        let params = json!({"user_id": user, "limit": 1});
        json!({"type": "subscribe", "id": id.to_string(), "metric": "user_activities", "params": params})
    };
    let with_sockets = seen(&home, &tally);
    // The same 16 questions on all sockets, and as many filters of events.
    for socket in &mut sockets {
        for n in 0..16 {
            let events = json!({"user_id": n, "event_types": ["view", "buy"]});
            say(socket, &json!({"type": "subscribe", "id": format!("e{n}"), "events": events}));
            say(socket, &of_user(n, n));
        }
        for _ in 0..16 {
            assert_eq!(said(socket)["type"], "update");
        }
        is_served(socket);
    }
    let with_subscriptions = seen(&home, &tally);
    let taken = each(&with_sockets, &with_subscriptions, SOCKETS * 32);
    assert!(taken <= SUBSCRIPTION, "a subscription takes {taken} bytes");
    // Questions that nobody else asks.
    for (first, socket) in (0..).step_by(30).zip(&mut sockets) {
        for n in 0..30 {
            say(socket, &of_user(100 + n, 20 + first + n));
        }
        for _ in 0..30 {
            assert_eq!(said(socket)["type"], "update");
        }
        is_served(socket);
    }
    let taken = each(&with_subscriptions, &seen(&home, &tally), SOCKETS * 30);
    assert!(taken <= QUESTION, "a question takes {taken} bytes");
    drop(sockets);
    all_closed(&tally);
    until(&tally, "/memory/sockets/used", 0, || {});
    tally.stop().unwrap();
}
