//! A client of server-sent events, blocking, each wait with an end that is an error.
//!
//! It asks in HTTP/1.0, so that the answer is not cut into chunks, and keeps the last id like a
//! browser.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// An open stream.
pub struct EventStream {
    reader: BufReader<TcpStream>,
    /// The last id that came: what a browser sends as `Last-Event-ID`.
    pub last_id: String,
}

impl EventStream {
    /// Opens a stream; with a last id it goes on there.
    ///
    /// # Errors
    /// The answer is none of events.
    pub fn open(address: SocketAddr, target: &str, last_id: &str) -> Result<EventStream> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let last = match last_id {
            "" => String::new(),
            last => format!("last-event-id: {last}\r\n"),
        };
        write!(socket, "GET {target} HTTP/1.0\r\nhost: localhost\r\n{last}\r\n")?;
        let mut stream =
            EventStream { reader: BufReader::new(socket), last_id: last_id.to_owned() };
        let status = stream.line()?;
        ensure!(status.contains(" 200 "), "{status}");
        while !stream.line()?.is_empty() {}
        // The first block says where the stream begins.
        stream.block()?;
        Ok(stream)
    }

    /// The data of the next message.
    ///
    /// # Errors
    /// None comes, or the stream ends.
    pub fn message(&mut self) -> Result<Value> {
        loop {
            if let Some(data) = self.block()? {
                return Ok(data);
            }
        }
    }

    /// Reads up to an empty line; the data, if there is any.
    fn block(&mut self) -> Result<Option<Value>> {
        let mut data = None;
        loop {
            let line = self.line()?;
            if let Some(id) = line.strip_prefix("id: ") {
                self.last_id = id.to_owned();
            } else if let Some(line) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(line)?);
            } else if line.is_empty() {
                return Ok(data);
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("no line came")? == 0 {
            bail!("the stream has ended");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
