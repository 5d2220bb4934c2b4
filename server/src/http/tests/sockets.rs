//! Connections that are slow, malformed, too many, or open while the server stops.

use super::fake::{World, evaluated};
use crate::http::{Drained, Limits, ListenError, Server};
use serde_json::json;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(20);

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").into_bytes()
}

/// How long until the server closes; panics if it does not.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the server closes");
    start.elapsed()
}

#[tokio::test]
async fn silent_and_dripped_and_idle_connections_are_closed() {
    let mut world =
        World::new(Limits { first_byte: SHORT, head: SHORT, idle: 3 * SHORT, ..Limits::default() })
            .await;
    let server = world.listen().await;
    let mut silent = server.connect().await;
    assert!(closed_after(&mut silent).await >= SHORT - Duration::from_millis(20));

    let mut dripped = server.connect().await;
    dripped.write_all(b"GET / HT").await.unwrap();
    let start = Instant::now();
    // One byte at a time keeps no connection open: the limit is on the whole head.
    let mut byte = [0];
    while let Err(_elapsed) = timeout(SHORT / 5, dripped.read(&mut byte)).await {
        let _ = dripped.write_all(b"x").await;
        assert!(start.elapsed() < LONG, "a dripped head stays open");
    }
    assert!(start.elapsed() >= SHORT / 2);

    let mut idle = server.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 2048];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    assert!(
        closed_after(&mut idle).await >= 2 * SHORT,
        "an idle connection may stay longer than a head"
    );
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_a_dripped_second_head_is_cut() {
    let mut world = World::new(Limits { head: SHORT, idle: LONG, ..Limits::default() }).await;
    let server = world.listen().await;
    let mut stream = server.connect().await;
    let mut answer = [0; 2048];
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    }
    stream.write_all(b"GET /li").await.unwrap();
    assert!(closed_after(&mut stream).await < LONG / 2);
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let mut world = World::new(Limits { body: SHORT, ..Limits::default() }).await;
    let server = world.listen().await;
    let head =
        b"POST /api/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    let answer = server.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn heads_that_smuggle_or_are_too_large_are_refused() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
        .into_bytes()
    };
    let smuggled = "0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "transfer-encoding: x\r\n",
    ] {
        let answer = server.exchange(&post(headers, smuggled)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
        assert!(!answer.contains("tally_up"), "{headers}: the hidden request was answered");
    }
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = server
        .exchange(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let large =
        format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let answer = server.exchange(large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = server.exchange(&get("/livez")).await;
    assert!(answer.ends_with("ok\n"), "and it goes on: {answer}");
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_request_is_a_problem_too() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let many: String = (0..65).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = "y".repeat(20_000);
    for (request, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            "GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "GET /livez HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        ("GET /livez HTTP/3.7\r\nhost: localhost\r\n\r\n".to_owned(), 400, "bad_request"),
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), 431, "head_too_large"),
        (
            format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {large}\r\n\r\n"),
            431,
            "head_too_large",
        ),
    ] {
        let answer = server.exchange(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(
            head.contains("content-type: application/problem+json")
                && head.contains("request-id: "),
            "{head}"
        );
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&json!(code), &json!(status)),
            "{problem}"
        );
    }
    // After a good one on the same connection, too.
    let answer =
        server.exchange(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nnonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"bad_request\""), "{answer}");
}

#[tokio::test]
async fn the_sender_of_a_too_large_body_gets_to_read_the_refusal() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let size = 3 * 1024 * 1024;
    let mut request = format!(
        "POST /api/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    .into_bytes();
    request.resize(request.len() + size, b' ');
    let answer = server.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("payload_too_large"), "{answer}");
    let chunked = format!(
        "POST /api/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n11000\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x11000)
    );
    let answer = server.exchange(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_closed() {
    let mut world = World::new(Limits { connections: 2, ..Limits::default() }).await;
    let server = world.listen().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        held.push(stream);
    }
    let mut one_more = server.connect().await;
    let mut answer = String::new();
    one_more.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    drop(held);
    // The places come back once the server has seen the closes.
    let again = timeout(LONG, async {
        while !server.exchange(&get("/livez")).await.starts_with("HTTP/1.1 200") {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("a place is free again");
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_takes_nothing_new() {
    let mut world = World::new(Limits { evaluation: LONG, ..Limits::default() }).await;
    let (entered, inside) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = parking_lot::Mutex::new(held);
    world.fake.answers(move |_| {
        entered.send(()).unwrap();
        let _ = held.lock().recv();
        Ok(evaluated("42", json!({})))
    });
    let mut server = world.listen().await;
    let mut idle = server.connect().await;
    let mut stream = server.connect().await;
    let body = r#"{"name":"a"}"#;
    let request = format!(
        "POST /api/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::task::spawn_blocking(move || inside.recv().unwrap()).await.unwrap();
    let address = server.address;
    server.stop();
    closed_after(&mut idle).await;
    assert!(TcpStream::connect(address).await.is_err(), "no new connection");
    drop(release);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"result\":42"), "{answer}");
    assert_eq!(server.end().await, Drained { cut: 0 });
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut() {
    let mut world =
        World::new(Limits { evaluation: LONG, drain: SHORT, ..Limits::default() }).await;
    let mut server = world.listen().await;
    let mut stuck = server.connect().await;
    stuck
        .write_all(
            b"POST /api/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{",
        )
        .await
        .unwrap();
    let answer = server.exchange(&get("/livez")).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    server.stop();
    assert_eq!(server.end().await, Drained { cut: 1 });
    closed_after(&mut stuck).await;
}

#[tokio::test]
async fn addresses_that_cannot_be_listened_on_are_refused_with_the_remedy() {
    let first = Server::bind("127.0.0.1:0").await.unwrap();
    assert_ne!(first.address().port(), 0, "the real port is told");
    let again = Server::bind(&first.address().to_string()).await.map(drop).unwrap_err();
    assert!(
        matches!(again, ListenError::InUse(_))
            && again.to_string().contains("--listen 127.0.0.1:0"),
        "{again}"
    );
    for outside in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
        let error = Server::bind(outside).await.map(drop).unwrap_err();
        assert!(
            matches!(error, ListenError::NotLoopback(_))
                && error.to_string().contains("reverse proxy"),
            "{error}"
        );
    }
    let error = Server::bind("8080").await.map(drop).unwrap_err();
    assert!(matches!(error, ListenError::NoAddress(..)), "{error}");
    assert!(Server::bind("localhost:0").await.is_ok());
}
