//! A client of a running engine: HTTP and WebSocket, blocking, each wait with an end that is an
//! error.
//!
//! Knows the shapes of the HTTP contract as far as tests need them, and nothing of the server's
//! code.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How long an answer may take: longer than the longest `wait_ms`.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long `at_least` is waited for, milliseconds.
const WAIT_MS: u64 = 30_000;

/// Talks to one engine; each thread has its own.
pub struct Client {
    base: String,
    runtime: Runtime,
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header as text; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What `POST /api/events` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Events in the log.
    pub accepted: u64,
    /// Index in the body and reason of the others.
    pub rejected: Vec<(usize, String)>,
    /// The position after them.
    pub position: String,
}

/// Why events are not known to be in the log.
#[derive(Clone, Debug)]
pub enum NotPosted {
    /// The engine is gone, or said that it cannot take them: send them again.
    Unknown(String),
    /// An answer that there should not be.
    Wrong(String),
}

impl Client {
    /// For the engine at `address`; nothing is sent yet.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn new(address: SocketAddr) -> Result<Client> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Client { base: format!("http://{address}"), runtime, http })
    }

    /// Sends a request with these headers.
    ///
    /// # Errors
    /// No answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?);
        request = request.uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()))?;
        let exchange = async {
            let response = self.http.request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            let text = String::from_utf8(body.to_vec())?;
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
        };
        let answer = self.runtime.block_on(async { timeout(PATIENCE, exchange).await });
        answer.with_context(|| format!("{method} {path}: no answer after {PATIENCE:?}"))?
    }

    /// GET.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], "")
    }

    /// POST of JSON as text.
    ///
    /// # Errors
    /// No answer.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.send("POST", path, &[(CONTENT_TYPE.as_str(), "application/json")], body)
    }

    /// Posts NDJSON to `/api/events`.
    ///
    /// # Errors
    /// [`NotPosted`].
    pub fn events(&self, lines: &str) -> Result<Posted, NotPosted> {
        let headers = [(CONTENT_TYPE.as_str(), "application/x-ndjson")];
        let answer = self.send("POST", "/api/events", &headers, lines.to_owned());
        let answer = answer.map_err(|fault| NotPosted::Unknown(format!("{fault:#}")))?;
        let read = || {
            let json = answer.json();
            let rejected = json["rejected"].as_array()?.iter();
            let rejected = rejected
                .map(|one| Some((one["index"].as_u64()? as usize, one["reason"].as_str()?.into())));
            let (accepted, position) =
                (json["accepted"].as_u64()?, json["position"].as_str()?.to_owned());
            Some(Posted { accepted, rejected: rejected.collect::<Option<_>>()?, position })
        };
        match answer.status {
            200 => read().ok_or_else(|| NotPosted::Wrong(answer.text.clone())),
            503 => Err(NotPosted::Unknown(answer.text)),
            status => Err(NotPosted::Wrong(format!("{status}: {}", answer.text))),
        }
    }

    /// Posts NDJSON of which every line must be accepted; the position.
    ///
    /// # Errors
    /// Not all were.
    pub fn post_all(&self, lines: &str) -> Result<String> {
        let posted = self.events(lines).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        ensure!(posted.rejected.is_empty(), "rejected: {:?}", posted.rejected);
        ensure!(
            posted.accepted == lines.lines().count() as u64,
            "{} of {}",
            posted.accepted,
            lines.lines().count()
        );
        Ok(posted.position)
    }

    /// `POST /api/metrics`, whatever the answer.
    ///
    /// # Errors
    /// No answer.
    pub fn evaluate(&self, question: &Value) -> Result<Answer> {
        self.post("/api/metrics", question.to_string())
    }

    /// Evaluates a metric once `at_least` is counted (empty: now); the whole answer.
    ///
    /// # Errors
    /// Anything but 200.
    pub fn answer(&self, name: &str, params: &Value, at_least: &str) -> Result<Value> {
        let mut question = json!({"name": name, "params": params});
        if !at_least.is_empty() {
            question["at_least"] = at_least.into();
            question["wait_ms"] = WAIT_MS.into();
        }
        let answer = self.evaluate(&question)?;
        ensure!(answer.status == 200, "{question}: {} {}", answer.status, answer.text);
        Ok(answer.json())
    }

    /// As `answer`, the result alone.
    ///
    /// # Errors
    /// Anything but 200.
    pub fn ask(&self, name: &str, params: &Value, at_least: &str) -> Result<Value> {
        Ok(self.answer(name, params, at_least)?["result"].take())
    }

    /// Waits until a condition on answers holds; `what` names it in the error.
    ///
    /// # Errors
    /// It did not within `limit`; the last thing seen is shown.
    pub fn until(
        &self,
        what: &str,
        limit: Duration,
        mut seen: impl FnMut(&Client) -> Result<String, String>,
    ) -> Result<String> {
        let started = Instant::now();
        loop {
            match seen(self) {
                Ok(found) => return Ok(found),
                Err(last) if started.elapsed() > limit => {
                    bail!("{what}: not within {limit:?}; last: {last}")
                }
                // between two questions, so that the engine has time for something else
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until `/readyz` is 200.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub fn ready(&self, limit: Duration) -> Result<()> {
        self.readyz("ready", limit, |answer| answer.status == 200).map(|_| ())
    }

    /// Waits until `/readyz?verbose` is as `wanted`; its text.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub fn readyz(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<String> {
        self.until(what, limit, |client| match client.get("/readyz?verbose") {
            Ok(answer) if wanted(&answer) => Ok(answer.text),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text)),
            Err(fault) => Err(format!("{fault:#}")),
        })
    }

    /// The sum of a figure of `/metrics` over all its labels that contain `label`.
    ///
    /// # Errors
    /// No answer.
    pub fn figure(&self, name: &str, label: &str) -> Result<f64> {
        let text = self.get("/metrics")?.text;
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(label));
        let named = lines.filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(named.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Opens `/ws…` and reads the hello.
    ///
    /// # Errors
    /// It does not open.
    pub fn live(&self, path: &str) -> Result<Live<'_>> {
        let address = self.base.trim_start_matches("http://").to_owned();
        let url = format!("ws://{address}{path}");
        let open = async {
            let stream = TcpStream::connect(&address).await?;
            let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
            anyhow::Ok(socket)
        };
        let socket = self.runtime.block_on(async { timeout(PATIENCE, open).await })??;
        let mut live = Live { client: self, socket, hello: Value::Null };
        live.hello = live.message()?;
        ensure!(live.hello["type"] == "hello", "{}", live.hello);
        Ok(live)
    }
}

/// An open WebSocket.
pub struct Live<'a> {
    client: &'a Client,
    socket: WebSocketStream<TcpStream>,
    /// The first message.
    pub hello: Value,
}

impl Live<'_> {
    /// The next message that is text.
    ///
    /// # Errors
    /// None comes, or the socket ends.
    pub fn message(&mut self) -> Result<Value> {
        let socket = &mut self.socket;
        let next = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return anyhow::Ok(serde_json::from_str(&text)?);
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => bail!("no message: {other:?}"),
                }
            }
        };
        self.client
            .runtime
            .block_on(async { timeout(PATIENCE, next).await })
            .context("no message came")?
    }

    /// Sends text.
    ///
    /// # Errors
    /// The socket is closed.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let socket = &mut self.socket;
        Ok(self.client.runtime.block_on(async { socket.send(Message::text(text)).await })?)
    }
}
