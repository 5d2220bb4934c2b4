//! A plain HTTP client for load: one connection, one request at a time, and the built binary to
//! ask.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

impl Connection {
    /// Connects; the connection's task ends with it.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // a connection that breaks is seen by the next request
        drop(tokio::spawn(connection));
        Ok(Connection { sender, address: address.to_owned() })
    }

    /// Posts a body; the answer's, which must be 200.
    ///
    /// # Errors
    /// Another status with its body, or none within half a minute.
    pub async fn post(&mut self, path: &str, kind: &str, body: Bytes) -> Result<Bytes> {
        let (status, body) = self.exchange(path, kind, body).await?;
        ensure!(status == StatusCode::OK, "{path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// As [`Connection::post`], whatever the status.
    ///
    /// # Errors
    /// None within half a minute.
    pub async fn exchange(
        &mut self,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let request = Request::post(path)
            .header("host", &self.address)
            .header("content-type", kind)
            .body(Full::new(body))?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok((status, body))
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("no answer within half a minute")?
    }
}

/// A child process that serves HTTP; killed when dropped.
pub struct Serving {
    process: Child,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl Serving {
    /// Starts a program that prints a line ending in `http://ADDRESS` once it listens.
    ///
    /// # Errors
    /// When it prints none.
    pub fn start(program: &Path, arguments: &[&str], folder: &Path) -> Result<Serving> {
        let mut command = Command::new(program);
        let process =
            command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process =
            process.stderr(Stdio::null()).spawn().with_context(|| program.display().to_string())?;
        let output = process.stdout.take().context("no pipe")?;
        let mut serving = Serving { process, address: String::new() };
        let mut lines = BufReader::new(output).lines();
        while serving.address.is_empty() {
            let line = lines.next().context("the server ended before it listened")??;
            serving.address = line
                .split_once("http://")
                .map_or(String::new(), |(_, address)| address.trim().to_owned());
        }
        // what it says later must not fill the pipe
        drop(std::thread::spawn(move || lines.for_each(drop)));
        Ok(serving)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // it is of no more use either way
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
