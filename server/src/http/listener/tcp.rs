//! TCP in the clear, on loopback addresses only: authentication and TLS are a reverse proxy's in
//! this version.

use super::{Accepted, ListenError, Listener, Stream};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use tokio::net::{TcpListener, TcpStream, lookup_host};

/// A TCP socket that listens.
pub(super) struct Tcp {
    socket: TcpListener,
    address: SocketAddr,
}

impl Tcp {
    /// Takes an address such as `127.0.0.1:8080`; port 0 means any free one. Of a name's addresses
    /// the first that is free.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(super) async fn bind(listen: &str) -> Result<Tcp, ListenError> {
        let no_address = |reason: String| ListenError::NoAddress(listen.to_owned(), reason);
        let addresses: Vec<SocketAddr> =
            lookup_host(listen).await.map_err(|error| no_address(error.to_string()))?.collect();
        if let Some(outside) = addresses.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ListenError::NotLoopback(*outside));
        }
        let mut last = no_address("the name has no address".into());
        for address in addresses {
            let socket = TcpListener::bind(address).await;
            match socket.and_then(|socket| Ok((socket.local_addr()?, socket))) {
                Ok((address, socket)) => return Ok(Tcp { socket, address }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    last = ListenError::InUse(address)
                }
                Err(error) => last = ListenError::Other(address, error),
            }
        }
        Err(last)
    }
}

impl Listener for Tcp {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let (stream, peer) = ready!(self.socket.poll_accept(cx))?;
        // Answers are written whole; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok(Accepted { stream: Box::new(stream), peer: peer.ip() }))
    }
}

impl Stream for TcpStream {
    fn write_refusal(&self, answer: &[u8]) {
        // A peer that cannot take 300 bytes learns of the refusal from the close.
        let _ = self.try_write(answer);
    }
}
