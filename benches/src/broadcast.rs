//! The bare broadcast that others are measured against: an axum server that sends each event that
//! is posted to all of its WebSockets, and does nothing else with it.
//!
//! What waits for a socket is written together, as Tally does it; a subscriber that is too slow
//! loses the oldest events and is told how many. An event is made into a message once, for all.

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tally_tests::together::write_together;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Events that are kept for slow subscribers, as many as Tally keeps.
const KEPT: usize = 8_192;

/// Messages that are written together at most, as many as Tally does.
const TOGETHER: usize = 256;

#[derive(Clone)]
struct Broadcast {
    events: Sender<Utf8Bytes>,
    posted: Arc<AtomicU64>,
}

/// Prints where it listens, and serves.
///
/// # Errors
/// What the system says.
#[allow(clippy::print_stdout)] // whoever started it reads where it listens
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let broadcast = Broadcast { events: channel(KEPT).0, posted: Arc::default() };
    let router = Router::new()
        .route("/api/events", post(take))
        .route("/ws", get(upgrade))
        .with_state(broadcast);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // a client that leaves ends its own connection only
        drop(tokio::spawn(connection));
    }
}

/// Takes events, one a line.
async fn take(State(broadcast): State<Broadcast>, body: String) -> String {
    let mut accepted = 0;
    for event in body.lines() {
        let next = broadcast.posted.fetch_add(1, Ordering::Relaxed) + 1;
        let message = format!(
            "{{\"type\":\"event\",\"position\":\"0:{next}\",\"cursor\":\"0:{next}\",\"event\":{event}}}"
        );
        // without subscribers it is for nobody
        let _ = broadcast.events.send(message.into());
        accepted += 1;
    }
    format!("{{\"accepted\":{accepted}}}")
}

async fn upgrade(State(broadcast): State<Broadcast>, upgrade: WebSocketUpgrade) -> Response {
    let events = broadcast.events.subscribe();
    upgrade.on_upgrade(move |socket| send(socket, events))
}

/// Sends what comes until the client leaves.
async fn send(mut socket: WebSocket, mut events: Receiver<Utf8Bytes>) {
    if socket.send(Message::text("{\"type\":\"hello\"}")).await.is_err() {
        return;
    }
    loop {
        let first = tokio::select! {
            event = events.recv() => event,
            said = socket.recv() => match said {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
        };
        let mut waiting = match first {
            Ok(event) => vec![Message::Text(event)],
            Err(RecvError::Lagged(count)) => vec![skipped(count)],
            Err(RecvError::Closed) => return,
        };
        while waiting.len() < TOGETHER {
            match events.try_recv() {
                Ok(event) => waiting.push(Message::Text(event)),
                Err(TryRecvError::Lagged(count)) => waiting.push(skipped(count)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if write_together(&mut socket, waiting).await.is_err() {
            return;
        }
    }
}

fn skipped(count: u64) -> Message {
    Message::text(format!("{{\"type\":\"skipped\",\"count\":{count}}}"))
}
