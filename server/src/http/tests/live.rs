//! `/ws` over a real socket.

use super::fake::{Listening, World};
use crate::http::Limits;
use axum::body::Body;
use axum::http::Request;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tally_engine::feed::NewEvent;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub(super) type Socket = WebSocketStream<TcpStream>;

pub(super) async fn open(
    server: &Listening,
    path: &str,
    origin: Option<&str>,
) -> Result<Socket, Error> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    client_async(request, server.connect().await).await.map(|(socket, _)| socket)
}

/// Opens, and reads the hello.
pub(super) async fn greeted(server: &Listening, path: &str) -> Socket {
    let mut socket = open(server, path, None).await.unwrap();
    let hello = next(&mut socket).await;
    assert_eq!(
        hello,
        json!({"type": "hello", "protocol": 1, "position": "0:1204,1:998", "metrics": ["event_frequencies"],
            "min_interval_ms": 50})
    );
    socket
}

/// The next text message.
pub(super) async fn next(socket: &mut Socket) -> Value {
    loop {
        match timeout(Duration::from_secs(10), socket.next())
            .await
            .expect("a message comes")
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The code with which the server closes.
async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        match timeout(Duration::from_secs(10), socket.next()).await.expect("the server closes") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_bare_connection_gets_every_new_event_and_what_it_missed_as_a_number() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let (mut one, mut two) = (greeted(&server, "/ws").await, greeted(&server, "/ws").await);
    world.fake.feed.starts(1, 998);
    for n in 1..=50 {
        world.fake.event(n);
    }
    for n in 1..=50 {
        let (position, cursor) = (format!("0:{n}"), format!("0:{n},1:998"));
        let expected = json!({"type": "event", "position": position, "cursor": cursor, "event": {"user_id": n}});
        assert_eq!(next(&mut one).await, expected);
        assert_eq!(next(&mut two).await, expected);
    }
    // More than the ring holds, before anybody can take any.
    let new = |next| NewEvent {
        next,
        event_type: "view".into(),
        user: None,
        product: None,
        event: "{}".into(),
    };
    world.fake.feed.publish(0, 9_000, (51..9_001).map(new).collect());
    let skipped = next(&mut one).await;
    assert_eq!(skipped, json!({"type": "skipped", "count": 8_950 - 8_192}));
    assert_eq!(next(&mut one).await["position"], json!(format!("0:{}", 9_001 - 8_192)));
}

#[tokio::test]
async fn a_silent_connection_gets_none() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let mut loud = greeted(&server, "/ws").await;
    let mut silent = greeted(&server, "/ws?events=none").await;
    world.fake.event(1);
    assert_eq!(next(&mut loud).await["type"], json!("event"));
    silent.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(next(&mut silent).await, json!({"type": "pong"}));
}

#[tokio::test]
async fn bad_messages_get_an_error_and_the_connection_stays() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws").await;
    for (message, code, id) in [
        ("{", "invalid_json", Value::Null),
        ("[]", "invalid_request", Value::Null),
        (r#"{"id":"a"}"#, "invalid_request", json!("a")),
        (r#"{"type":"dance","id":"a"}"#, "unknown_type", json!("a")),
    ] {
        socket.send(Message::text(message)).await.unwrap();
        let answer = next(&mut socket).await;
        assert_eq!(
            (&answer["type"], &answer["code"], &answer["id"]),
            (&json!("error"), &json!(code), &id),
            "{answer}"
        );
        assert!(answer["detail"].is_string());
    }
    socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(next(&mut socket).await, json!({"type": "pong"}));
}

#[tokio::test]
async fn too_large_and_binary_messages_close() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws").await;
    let ping = r#"{"type":"ping"}"#;
    socket.send(Message::text(format!("{ping}{}", " ".repeat(4_096 - ping.len())))).await.unwrap();
    assert_eq!(next(&mut socket).await, json!({"type": "pong"}), "4 KiB are fine");
    socket.send(Message::text("y".repeat(4_097))).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1009);
    let mut socket = greeted(&server, "/ws").await;
    socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1003);
}

/// Sends bytes as they are; what the server says before it closes: the codes of `error` messages,
/// and that of the close.
async fn end_of(server: &Listening, bytes: &[u8]) -> (Vec<String>, u16) {
    let mut socket = greeted(server, "/ws?events=none").await;
    socket.get_mut().write_all(bytes).await.unwrap();
    let mut errors = Vec::new();
    loop {
        match timeout(Duration::from_secs(10), socket.next()).await.expect("the server closes") {
            Some(Ok(Message::Close(Some(frame)))) => return (errors, frame.code.into()),
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                errors.push(message["code"].as_str().unwrap_or_default().to_owned());
            }
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn bad_frames_are_told_and_closed_with_the_code_that_names_them() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let masked = |first: u8, payload: &[u8]| {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    };
    // What follows a bad frame is not read as one, and does not keep the code from arriving.
    let flood = vec![0xff; 300_000];
    for (what, bytes, error, code) in [
        ("not UTF-8", masked(0x81, b"\xff\xfe"), "invalid_utf8", 1007),
        ("a close that is not UTF-8", masked(0x88, b"\x03\xe8\xff"), "", 1007),
        ("not masked", vec![0x81, 1, b'a'], "protocol_error", 1002),
        ("a reserved bit", masked(0xc1, b"a"), "protocol_error", 1002),
        ("an unknown kind", masked(0x83, b"a"), "protocol_error", 1002),
        ("nothing to continue", masked(0x80, b"a"), "protocol_error", 1002),
        ("a ping in parts", masked(0x09, b"a"), "protocol_error", 1002),
        ("binary", masked(0x82, b"a"), "binary_message", 1003),
        ("too large", vec![0x81, 0xfe, 0x20, 0, 0, 0, 0, 0], "message_too_large", 1009),
        (
            "not masked, and more",
            [vec![0x81, 1, b'a'], flood.clone()].concat(),
            "protocol_error",
            1002,
        ),
        (
            "a larger one than there is",
            [vec![0x81, 0xff, 1, 0, 0, 0, 0, 0, 0, 0], flood].concat(),
            "message_too_large",
            1009,
        ),
        ("more pings than are taken", masked(0x89, b"").repeat(2_000), "too_many_messages", 1008),
    ] {
        let (errors, closed) = end_of(&server, &bytes).await;
        assert_eq!(closed, code, "{what}: {errors:?}");
        assert!(error.is_empty() || errors == [error], "{what}: {errors:?}");
    }
}

#[tokio::test]
async fn a_close_of_the_client_is_answered() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    for code in [1000_u16, 1001, 3000] {
        let mut socket = greeted(&server, "/ws").await;
        let frame = CloseFrame { code: code.into(), reason: "bye".into() };
        socket.send(Message::Close(Some(frame))).await.unwrap();
        assert_eq!(close_code(&mut socket).await, code);
        // And the connection ends in order, not by a reset.
        assert!(timeout(Duration::from_secs(10), socket.next()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn refused_before_the_upgrade() {
    let mut world = World::new(Limits { sockets: 1, ..Limits::default() }).await;
    let server = world.listen().await;
    let status = |refused: Result<Socket, Error>| match refused.map(drop) {
        Err(Error::Http(answer)) => (
            answer.status().as_u16(),
            serde_json::from_slice::<Value>(answer.body().as_deref().unwrap()).unwrap()["code"]
                .clone(),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        status(open(&server, "/ws", Some("http://evil.example")).await),
        (403, json!("origin_not_allowed"))
    );
    assert_eq!(
        status(open(&server, "/ws?events=some", None).await),
        (422, json!("invalid_params"))
    );
    let same = format!("http://{}", server.address);
    let _held = open(&server, "/ws", Some(&same)).await.unwrap();
    assert_eq!(status(open(&server, "/ws", None).await), (503, json!("overloaded")));
    for (name, value) in [
        ("sec-websocket-version", "12"),
        ("upgrade", "h2c"),
        ("sec-websocket-key", ""),
        ("connection", "close"),
    ] {
        let mut headers = vec![
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.retain(|(other, _)| *other != name);
        let mut request = Request::get("/ws");
        for (name, value) in headers
            .into_iter()
            .chain([(name, value)].into_iter().filter(|(_, value)| !value.is_empty()))
        {
            request = request.header(name, value);
        }
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (426, &json!("upgrade_required")),
            "{name}"
        );
        assert_eq!(
            (answer.header("sec-websocket-version"), answer.header("upgrade")),
            ("13", "websocket")
        );
    }
}

#[tokio::test]
async fn a_stop_closes_with_1001() {
    let mut world = World::new(Limits::default()).await;
    let mut server = world.listen().await;
    let mut socket = greeted(&server, "/ws").await;
    server.stop();
    assert_eq!(close_code(&mut socket).await, 1001);
    assert!(matches!(socket.next().await, None | Some(Err(_))));
    assert_eq!(server.end().await.cut, 0);
}

#[tokio::test]
async fn a_peer_without_a_sign_of_life_is_dropped_and_one_that_answers_pings_is_not() {
    let limits = Limits {
        socket_ping: Duration::from_millis(50),
        socket_dead: Duration::from_millis(300),
        idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let server = world.listen().await;
    // Reading answers pings; the mute one does not read.
    let mut mute = greeted(&server, "/ws").await;
    let mut alive = greeted(&server, "/ws").await;
    let _ = timeout(Duration::from_millis(900), alive.next())
        .await
        .map(|message| assert!(matches!(message, Some(Ok(Message::Ping(_))))));
    let reading = timeout(Duration::from_millis(900), async {
        while let Some(Ok(_)) = alive.next().await {}
    })
    .await;
    assert!(reading.is_err(), "the one that answers stays");
    let end =
        timeout(Duration::from_secs(10), async { while let Some(Ok(_)) = mute.next().await {} })
            .await;
    end.expect("the mute one was dropped");
}

#[tokio::test]
async fn a_socket_that_stays_blocked_is_closed_with_1013() {
    let mut world =
        World::new(Limits { socket_write: Duration::from_millis(200), ..Limits::default() }).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws").await;
    // Far more than the two sockets' buffers hold.
    for n in 1..=64 {
        world.fake.show(n, format!("{{\"x\":\"{}\"}}", "y".repeat(500_000)));
    }
    // A full socket blocks nobody: another client is served meanwhile.
    let mut other = greeted(&server, "/ws?events=none").await;
    other.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(next(&mut other).await, json!({"type": "pong"}));
    // Nothing is read until the server has given up, which ends its subscription.
    let begun = Instant::now();
    while world.fake.feed.has_listeners() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the server does not give up");
        tokio::task::yield_now().await;
    }
    assert_eq!(close_code(&mut socket).await, 1013);
}
