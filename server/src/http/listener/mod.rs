//! Where connections come from: one trait for every kind of listener, and one factory.
//!
//! A kind is a file here and a line in [`bind`]; TCP in clear is one. Everything else in the server
//! knows [`Listener`] and [`Stream`] only. A listener accepts and nothing more: how many
//! connections there may be, and how long each may wait, is decided where they are served. A kind
//! that begins with a handshake does it in the stream's first read or write, where the connection's
//! time limits hold, and never in `poll_accept`, where one slow peer would keep out all others.

mod tcp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// An address to listen on.
pub(crate) trait Listener: Send + Sync {
    /// The address, with the actual port.
    fn address(&self) -> SocketAddr;

    /// The next connection. Must not wait for its peer.
    ///
    /// # Errors
    /// No connection could be accepted, usually for lack of file descriptors; trying again in a
    /// while helps.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>>;
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    /// Its bytes.
    pub(crate) stream: Box<dyn Stream>,
    /// Who is at the other end. Connections are counted by this address.
    pub(crate) peer: IpAddr,
}

/// The bytes of a connection, in the clear.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Writes an answer without waiting, before anything was read; the stream is closed right
    /// after. A kind that cannot write before its handshake writes nothing.
    fn write_refusal(&self, answer: &[u8]);
}

/// Why an address cannot be listened on, and what to do.
#[derive(Debug, Error)]
pub enum ListenError {
    /// It is not an address, or a name without one.
    #[error("[server] listen: \"{0}\" is not an address: {1}; write it as 127.0.0.1:8080")]
    NoAddress(String, String),
    /// It can be reached from other machines.
    #[error(
        "[server] listen: {0} can be reached from other machines, and this version has no \
         authentication; listen on 127.0.0.1 and put a reverse proxy with authentication in front"
    )]
    NotLoopback(SocketAddr),
    /// Another program uses it.
    #[error("{0} is in use; try --listen 127.0.0.1:0")]
    InUse(SocketAddr),
    /// Anything else.
    #[error("[server] listen: cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

impl ListenError {
    /// Whether the same address may be free later.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        matches!(self, ListenError::InUse(_))
    }
}

/// Opens the listener that `[server] listen` asks for.
///
/// # Errors
/// [`ListenError`].
pub(crate) async fn bind(listen: &str) -> Result<Box<dyn Listener>, ListenError> {
    Ok(Box::new(tcp::Tcp::bind(listen).await?))
}
