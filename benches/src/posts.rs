//! Events posted at a rate, with the moment at which each was handed over.
//!
//! The events of a run are numbered; event `n` is of user `n % USERS`. They are posted one request
//! after another, so that a log of one partition holds them in this order.

use crate::http::Connection;
use anyhow::{Result, ensure};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Users that the events are of, by turns.
pub const USERS: u64 = 1_000;

/// Between two requests.
const EVERY: Duration = Duration::from_millis(10);

/// Events of a request at most, where it has to catch up.
const MOST: u64 = 2_000;

/// Bytes of an event, about.
const SIZE: usize = 185;

/// When each event of a run was handed over.
pub type Moments = Arc<Mutex<Vec<Instant>>>;

/// Posts events to one server.
pub struct Poster {
    connection: Connection,
    run: u64,
    /// Events posted so far.
    pub posted: u64,
}

impl Poster {
    /// For the server at `127.0.0.1:port`.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn open(address: &str) -> Result<Poster> {
        Ok(Poster { connection: Connection::open(address).await?, run: 0, posted: 0 })
    }

    /// Posts `rate` events a second for some seconds, a few each ten milliseconds. Returns how long
    /// it took: longer than that where the server takes them more slowly.
    ///
    /// # Errors
    /// They were not all accepted.
    pub async fn post(&mut self, rate: u64, seconds: u64, moments: &Moments) -> Result<Duration> {
        self.run += 1;
        let (started, events) = (Instant::now(), rate * seconds);
        let (mut made, mut turn) = (0, 0);
        while made < events {
            tokio::time::sleep_until((started + EVERY * turn).into()).await;
            turn += 1;
            let due = ((started.elapsed() + EVERY).as_secs_f64() * rate as f64) as u64;
            let to = due.min(events).min(made + MOST);
            if to <= made {
                continue;
            }
            let body = self.lines(made..to);
            moments.lock().extend((made..to).map(|_| Instant::now()));
            let answer = self.connection.post("/api/events", "application/x-ndjson", body).await?;
            let accepted = serde_json::from_slice::<Value>(&answer)?["accepted"].take();
            ensure!(accepted == json!(to - made), "{accepted} of {} were accepted", to - made);
            made = to;
        }
        self.posted += events;
        Ok(started.elapsed())
    }

    fn lines(&self, numbers: std::ops::Range<u64>) -> Bytes {
        let (mut text, run) = (String::new(), self.run);
        for n in numbers {
            let begin = text.len();
            let (user, product) = (n % USERS, n % 499);
            // writing to a String does not fail
            let _ = write!(
                text,
                r#"{{"event_id":"{run}-{n}","user_id":{user},"product_id":{product},"event_type":"view","session":""#
            );
            while text.len() - begin < SIZE - 2 {
                text.push(char::from(b'a' + (text.len() % 26) as u8));
            }
            text.push_str("\"}\n");
        }
        text.into()
    }
}
