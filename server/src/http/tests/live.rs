//! `/ws` over a real socket.

use super::fake::{Listening, World};
use crate::http::Limits;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tally_engine::engine::FeedItem;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

async fn open(server: &Listening, path: &str, origin: Option<&str>) -> Result<Socket, Error> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    client_async(request, server.connect().await).await.map(|(socket, _)| socket)
}

/// Opens, and reads the hello.
async fn greeted(server: &Listening, path: &str) -> Socket {
    let mut socket = open(server, path, None).await.unwrap();
    let hello = next(&mut socket).await;
    assert_eq!(
        hello,
        json!({"type": "hello", "protocol": 1, "position": "0:1204,1:998", "metrics": ["event_frequencies"]})
    );
    socket
}

/// The next text message.
async fn next(socket: &mut Socket) -> Value {
    loop {
        match timeout(Duration::from_secs(10), socket.next()).await.expect("a message comes").unwrap().unwrap() {
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
    for n in 1..=50 {
        world.fake.event(n);
    }
    for n in 1..=50 {
        let expected = json!({"type": "event", "position": format!("0:{n}"), "event": {"user_id": n}});
        assert_eq!(next(&mut one).await, expected);
        assert_eq!(next(&mut two).await, expected);
    }
    world.fake.feed.send(FeedItem::Skipped(120)).unwrap();
    assert_eq!(next(&mut one).await, json!({"type": "skipped", "count": 120}));
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
        assert_eq!((&answer["type"], &answer["code"], &answer["id"]), (&json!("error"), &json!(code), &id), "{answer}");
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
    socket.send(Message::text(format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "y".repeat(4_096 - 22)))).await.unwrap();
    assert_eq!(next(&mut socket).await, json!({"type": "pong"}), "4 KiB are fine");
    socket.send(Message::text("y".repeat(4_097))).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1009);
    let mut socket = greeted(&server, "/ws").await;
    socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1003);
}

#[tokio::test]
async fn refused_before_the_upgrade() {
    let mut world = World::new(Limits { sockets: 1, ..Limits::default() }).await;
    let server = world.listen().await;
    let status = |refused: Result<Socket, Error>| match refused.map(drop) {
        Err(Error::Http(answer)) => (
            answer.status().as_u16(),
            serde_json::from_slice::<Value>(answer.body().as_deref().unwrap()).unwrap()["code"].clone(),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(open(&server, "/ws", Some("http://evil.example")).await), (403, json!("origin_not_allowed")));
    assert_eq!(status(open(&server, "/ws?events=some", None).await), (422, json!("invalid_params")));
    let same = format!("http://{}", server.address);
    let _held = open(&server, "/ws", Some(&same)).await.unwrap();
    assert_eq!(status(open(&server, "/ws", None).await), (503, json!("overloaded")));
    assert_eq!(world.get("/ws").await.json()["code"], json!("upgrade_required"));
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
    let reading = timeout(Duration::from_millis(900), async { while let Some(Ok(_)) = alive.next().await {} }).await;
    assert!(reading.is_err(), "the one that answers stays");
    let end = timeout(Duration::from_secs(10), async { while let Some(Ok(_)) = mute.next().await {} }).await;
    end.expect("the mute one was dropped");
}

#[tokio::test]
async fn a_socket_that_stays_blocked_is_closed_with_1013() {
    let mut world = World::new(Limits { socket_write: Duration::from_millis(200), ..Limits::default() }).await;
    let server = world.listen().await;
    let mut socket = greeted(&server, "/ws").await;
    let large = format!("{{\"type\":\"event\",\"x\":\"{}\"}}", "y".repeat(500_000));
    // Far more than the two sockets' buffers hold; the ring drops what is not taken.
    for _ in 0..64 {
        world.fake.feed.send(FeedItem::Event(large.as_str().into())).unwrap();
    }
    // Sending to a full socket blocks nobody: another client is served meanwhile.
    let mut other = greeted(&server, "/ws?events=none").await;
    other.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(next(&mut other).await, json!({"type": "pong"}));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(close_code(&mut socket).await, 1013);
}
