//! A client that reads a WebSocket for as little as it can cost: frames are found in the bytes that
//! came, and a message is looked at where it lies.
//!
//! It answers pings, and takes from a server only what servers here send: text in one frame each.
//! Whether the server has computed the answer to its key is not looked at.

use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Bytes that are read at a time.
const READ: usize = 64 << 10;

/// Longest message.
const LONGEST: usize = 32 << 20;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

const PING: u8 = 9;
const PONG: u8 = 10;
const TEXT: u8 = 1;

/// An open WebSocket.
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer was received and not looked at yet.
    unread: Range<usize>,
}

/// A frame at the beginning of some bytes.
struct ServerFrame {
    kind: u8,
    payload: Range<usize>,
}

impl Socket {
    /// Opens one at `127.0.0.1:port`, and waits for the first message, after which it listens.
    ///
    /// # Errors
    /// It does not open.
    pub async fn open(address: &str, path: &str) -> Result<Socket> {
        Socket::connect(address, path, None).await
    }

    /// As [`Socket::open`], with so many bytes in which the system receives.
    ///
    /// # Errors
    /// It does not open.
    pub async fn open_narrow(address: &str, path: &str, bytes: u32) -> Result<Socket> {
        Socket::connect(address, path, Some(bytes)).await
    }

    async fn connect(address: &str, path: &str, narrow: Option<u32>) -> Result<Socket> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = narrow {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut stream = socket.connect(address.parse::<SocketAddr>()?).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut socket = Socket { stream, buffer: vec![0; 2_048], unread: 0..0 };
        timeout(PATIENCE, socket.greeting())
            .await
            .context("no WebSocket within half a minute")??;
        Ok(socket)
    }

    /// Reads the head of the answer and the first message.
    async fn greeting(&mut self) -> Result<()> {
        let length = loop {
            let head = &self.buffer[self.unread.clone()];
            if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&head[..end]);
                ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
                break end + 4;
            }
            self.receive().await?;
        };
        self.unread.start += length;
        let mut greeted = false;
        self.look(&mut |_: &[u8]| greeted = true).await?;
        while !greeted {
            self.read(|_| greeted = true).await?;
        }
        Ok(())
    }

    /// Sends text of at most 65,535 bytes.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn say(&mut self, text: &str) -> Result<()> {
        self.write(TEXT, text.as_bytes()).await
    }

    /// Waits for bytes, and shows each message that is complete. May be given up while it waits: no
    /// byte is lost.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.receive().await?;
        self.look(&mut each).await
    }

    /// Reads until a message is one that is waited for.
    ///
    /// # Errors
    /// The socket is closed, or it does not come within half a minute.
    pub async fn until(&mut self, mut is: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let mut found = false;
        let waited = async {
            while !found {
                self.read(|text| found |= is(text)).await?;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, waited).await.context("no such message within half a minute")?
    }

    async fn receive(&mut self) -> Result<()> {
        // Small while little comes: there may be thousands.
        if self.unread.end == self.buffer.len() && self.buffer.len() < READ {
            self.buffer.resize(READ, 0);
        }
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        if self.unread.end == self.buffer.len() && self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        } else if self.unread.end == self.buffer.len() {
            ensure!(self.buffer.len() < LONGEST, "a message of more than {LONGEST} bytes");
            self.buffer.resize(self.buffer.len() * 4, 0);
        }
        let count = self.stream.read(&mut self.buffer[self.unread.end..]).await?;
        ensure!(count > 0, "the server has closed a socket");
        self.unread.end += count;
        Ok(())
    }

    /// Shows the messages that have come.
    async fn look(&mut self, each: &mut impl FnMut(&[u8])) -> Result<()> {
        let mut ping = None;
        while let Some(ServerFrame { kind, payload }) = frame(&self.buffer[self.unread.clone()])? {
            let payload = self.unread.start + payload.start..self.unread.start + payload.end;
            self.unread.start = payload.end;
            match kind {
                TEXT => each(&self.buffer[payload]),
                PING => ping = Some(self.buffer[payload].to_vec()),
                PONG => {}
                other => bail!("a frame of kind {other}"),
            }
        }
        match ping {
            Some(ping) => self.write(PONG, &ping).await,
            None => Ok(()),
        }
    }

    /// Writes a frame, masked with zeros.
    async fn write(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let length = u16::try_from(payload.len()).context("too long a message")?;
        let mut bytes = vec![0x80 | kind];
        match length {
            0..126 => bytes.push(0x80 | length as u8),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        Ok(self.stream.write_all(&bytes).await?)
    }
}

/// The frame that begins here, if all of it is there.
fn frame(bytes: &[u8]) -> Result<Option<ServerFrame>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!(first & 0x80 != 0 && second & 0x80 == 0, "a frame in parts, or a masked one");
    let (head, length) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (10_usize, u64::from_be_bytes(*length) as usize),
            None => return Ok(None),
        },
        short => (2, usize::from(short)),
    };
    let payload = head..head.saturating_add(length);
    let kind = first & 0x0f;
    Ok((payload.end <= bytes.len()).then_some(ServerFrame { kind, payload }))
}

/// Head and body of the answer to a GET, which must be 200.
///
/// # Errors
/// Another answer, or none within half a minute.
pub async fn get(address: &str, target: &str) -> Result<(String, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // In HTTP/1.0, so that the answer is not cut into chunks.
        let request = format!("GET {target} HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.context("no answer within half a minute")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.contains(" 200 "), "{target}: {answer}");
    Ok((head.to_owned(), body.to_owned()))
}
