//! An engine that says on its WebSockets what a test tells it to, for tests of the commands that
//! follow one.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::time::Duration;
use tally_engine::outage::Pauses;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

/// No test waits for longer pauses.
pub(super) const AT_ONCE: Pauses =
    Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(4) };

/// What it says first.
const HELLO: &str = r#"{"type":"hello","protocol":1,"position":"0:5","metrics":[]}"#;

/// Sends the messages of each connection after the client has asked for something, and breaks it
/// off. Returns its address, and what was asked for.
pub(super) async fn server(connections: Vec<Vec<String>>) -> (String, JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for messages in connections {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            socket.send(Message::text(HELLO)).await.unwrap();
            let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no message") };
            asked.push(serde_json::from_str(&text).unwrap());
            for message in messages {
                // A client that has enough may be gone.
                let _ = socket.send(Message::text(message)).await;
            }
        }
        asked
    });
    (format!("ws://{address}/ws?events=none"), served)
}

/// An `error` message without places.
pub(super) fn error(code: &str) -> String {
    format!("{{\"type\":\"error\",\"id\":\"e\",\"code\":\"{code}\",\"detail\":\"because\"}}")
}
