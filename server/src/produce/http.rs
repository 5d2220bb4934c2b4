//! The outlet to a running engine: `POST /api/events` in NDJSON batches.
//!
//! At most [`IN_FLIGHT`] requests at once, `send` waits beyond that. A request without an answer,
//! or one that found the log busy, is repeated for [`PATIENCE`]: events carry ids, so that a batch
//! that did arrive is not counted twice. What the engine says that waiting does not mend (503
//! without `Retry-After`) ends the outlet at once, with the reason.

use super::{Counts, Outgoing, Outlet, OutletError};
use crate::cli::client::{Body, Client, ClientError};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// The API takes bodies up to 1 MiB; a quarter of it keeps answers quick.
const BATCH_BYTES: usize = 256 * 1024;

/// The API's limit: no batch may grow beyond it by its last event.
const LARGEST_BODY: usize = 1 << 20;

/// Requests under way at once.
const IN_FLIGHT: u32 = 4;

/// How long a batch is repeated before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Complaints kept until they are asked for; more are only counted.
const COMPLAINTS: usize = 20;

/// Sends to an engine.
pub(crate) struct HttpOutlet {
    runtime: Runtime,
    client: Arc<Client>,
    batch: Vec<u8>,
    lines: Vec<u64>,
    slots: Arc<Semaphore>,
    shared: Arc<Mutex<UploadState>>,
}

#[derive(Default)]
struct UploadState {
    counts: Counts,
    complaints: Vec<String>,
    broken: Option<String>,
}

impl UploadState {
    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(complaint);
        }
    }
}

/// The answer of `POST /api/events`.
#[derive(Deserialize)]
struct AcceptedEvents {
    accepted: u64,
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Rejected {
    index: usize,
    reason: String,
}

impl HttpOutlet {
    /// Asks whether an engine is there.
    ///
    /// # Errors
    /// No engine answers, and what to do.
    pub(crate) fn open(client: Client) -> Result<HttpOutlet, OutletError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| OutletError(format!("cannot start a thread: {error}")))?;
        runtime.block_on(client.get("/livez")).map_err(|error| OutletError(error.to_string()))?;
        Ok(HttpOutlet {
            runtime,
            client: Arc::new(client),
            batch: Vec::new(),
            lines: Vec::new(),
            slots: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            shared: Arc::default(),
        })
    }

    fn check(&self) -> Result<(), OutletError> {
        match &self.shared.lock().broken {
            Some(broken) => Err(OutletError(broken.clone())),
            None => Ok(()),
        }
    }
}

impl Outlet for HttpOutlet {
    fn send(&mut self, event: Outgoing) -> Result<(), OutletError> {
        if self.batch.len() + event.json.len() + 1 > LARGEST_BODY {
            self.flush()?;
        }
        self.batch.extend_from_slice(&event.json);
        self.batch.push(b'\n');
        self.lines.push(event.line);
        if self.batch.len() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OutletError> {
        self.check()?;
        if self.lines.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(std::mem::take(&mut self.batch));
        let lines = std::mem::take(&mut self.lines);
        let closed = |_| OutletError("the output is closed".into());
        let slot = self.runtime.block_on(self.slots.clone().acquire_owned()).map_err(closed)?;
        let (client, shared) = (self.client.clone(), self.shared.clone());
        self.runtime.spawn(async move {
            let result = post(&client, body).await;
            let mut shared = shared.lock();
            match result {
                Ok(answer) => {
                    shared.counts.acknowledged += answer.accepted;
                    shared.counts.errors += answer.rejected.len() as u64;
                    for Rejected { index, reason } in answer.rejected {
                        let line = lines.get(index).copied().unwrap_or_default();
                        shared.complain(format!("event {line} was refused: {reason}"));
                    }
                }
                Err(error) => {
                    shared.counts.errors += lines.len() as u64;
                    shared.broken = Some(error);
                }
            }
            drop(slot);
        });
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.shared.lock().counts.clone()
    }

    fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().complaints)
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        let flushed = self.flush();
        // All slots free means that nothing is under way; each request ends by itself within its
        // patience.
        let all = self.runtime.block_on(self.slots.acquire_many(IN_FLIGHT));
        drop(all);
        flushed.and_then(|()| self.check())
    }
}

async fn post(client: &Client, body: Bytes) -> Result<AcceptedEvents, String> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let result = client.post("/api/events", Body::Ndjson(body.clone())).await;
        let (complaint, wish) = match result {
            Ok(answer) if answer.status == 200 => {
                return serde_json::from_slice(&answer.body)
                    .map_err(|error| format!("the engine's answer cannot be read: {error}"));
            }
            Ok(answer)
                if answer.status == 429
                    || (answer.status == 503 && answer.retry_after.is_some()) =>
            {
                (answer.problem_line(), answer.retry_after)
            }
            Ok(answer) => {
                return Err(format!("the engine refused the events: {}", answer.problem_line()));
            }
            Err(error @ ClientError::Unusable(_)) => return Err(error.to_string()),
            Err(error) => (error.to_string(), None),
        };
        if start.elapsed() + pause > PATIENCE {
            return Err(format!("gave up after {} s: {complaint}", PATIENCE.as_secs()));
        }
        // As long as the engine requests, within limits; otherwise twice as long each time.
        tokio::time::sleep(wish.unwrap_or(pause).min(Duration::from_secs(5))).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener};

    /// Answers each request, one connection each, with the next answer; returns the bodies. Without
    /// one left it stops.
    fn engine(
        answers: Vec<(&'static str, &'static str)>,
    ) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let mut bodies = Vec::new();
            for (status, answer) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                bodies.push(String::from_utf8(body).unwrap());
                let length = answer.len();
                write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{answer}")
                    .unwrap();
            }
            bodies
        };
        (address, std::thread::spawn(serve))
    }

    fn event(line: u64) -> Outgoing {
        Outgoing { key: "1".into(), json: format!("{{\"n\":{line}}}").into_bytes(), line }
    }

    fn outlet(address: SocketAddr) -> HttpOutlet {
        HttpOutlet::open(Client::new(&format!("http://{address}")).unwrap()).unwrap()
    }

    #[test]
    fn a_busy_log_is_asked_again_with_the_same_events_and_refusals_name_lines() {
        let (address, engine) = engine(vec![
            ("200 OK", "{}"),
            ("503 Busy\r\nretry-after: 0", "{\"title\":\"busy\"}"),
            (
                "200 OK",
                r#"{"accepted":1,"rejected":[{"index":1,"reason":"id_out_of_range:user_id"}],"position":"0:1"}"#,
            ),
        ]);
        let mut outlet = outlet(address);
        outlet.send(event(7)).unwrap();
        outlet.send(event(8)).unwrap();
        outlet.finish().unwrap();
        assert_eq!(outlet.counts(), Counts { acknowledged: 1, errors: 1 });
        assert_eq!(outlet.complaints(), ["event 8 was refused: id_out_of_range:user_id"]);
        let bodies = engine.join().unwrap();
        assert_eq!(bodies[1], "{\"n\":7}\n{\"n\":8}\n");
        assert_eq!(bodies[1], bodies[2]);
    }

    #[test]
    fn a_refusal_of_the_whole_batch_breaks_the_outlet_at_once() {
        for (status, problem, reason) in [
            ("413 Large", "{\"title\":\"Too large\"}", "Too large"),
            ("503 Refused", "{\"title\":\"Log unavailable\",\"detail\":\"grant it\"}", "grant it"),
        ] {
            let (address, engine) = engine(vec![("200 OK", "{}"), (status, problem)]);
            let mut outlet = outlet(address);
            outlet.send(event(1)).unwrap();
            let error = outlet.finish().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("refused the events"), "{error}");
            assert_eq!(outlet.counts(), Counts { acknowledged: 0, errors: 1 });
            engine.join().unwrap();
        }
    }
}
