//! The accept loop, on hyper itself: every wait is bounded, and a stop lets finish what was begun.
//!
//! Over the connection limit a connection is answered 503 and closed at once: it takes no place, and nothing of it is
//! read. Serves HTTP/1.1 in clear on loopback only; authentication and TLS are a reverse proxy's in this version.

use super::connection::{Connection, Guarded, Places, Untimed};
use super::routes::Routes;
use super::{App, Parts, Phase, wrap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::timeout;

/// Most header fields of a request; more are answered 431.
const HEADERS: usize = 64;

/// Bytes of a request's head; more are answered 431. Also how much of a body is buffered at once.
const BUFFER: usize = 16 * 1024;

/// Pause after `accept` failed for want of something (file descriptors): they come back as connections close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two lines of the log about that.
const TOLD_EVERY: Duration = Duration::from_secs(10);

const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 126\r\n\r\n\
    {\"type\":\"/problems/overloaded\",\"title\":\"Overloaded\",\"status\":503,\"code\":\"overloaded\",\"detail\":\"too many connections are open\"}";

/// Where a server begins.
pub struct Server;

/// A server that has its address.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why an address cannot be listened on, and what to do.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Not an address, or a name without one.
    #[error("[server] listen: \"{0}\" is not an address: {1}; write it as 127.0.0.1:8080")]
    NoAddress(String, String),
    /// Reachable from outside.
    #[error(
        "[server] listen: {0} can be reached from other machines, and this version has no authentication; \
         listen on 127.0.0.1 and put a reverse proxy with authentication in front"
    )]
    NotLoopback(SocketAddr),
    /// Another program has it.
    #[error("{0} is in use; try --listen 127.0.0.1:0")]
    InUse(SocketAddr),
    /// Anything else.
    #[error("[server] listen: {0} cannot be listened on: {1}")]
    Other(SocketAddr, io::Error),
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections and WebSockets that were cut because they did not finish in time.
    pub cut: usize,
}

impl Server {
    /// Takes an address such as `127.0.0.1:8080`; port 0 means any free one.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(listen: &str) -> Result<Bound, ListenError> {
        let no_address = |reason: String| ListenError::NoAddress(listen.to_owned(), reason);
        let addresses: Vec<SocketAddr> =
            lookup_host(listen).await.map_err(|error| no_address(error.to_string()))?.collect();
        if let Some(outside) = addresses.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ListenError::NotLoopback(*outside));
        }
        let mut last = no_address("it names none".into());
        for address in addresses {
            let listener = TcpListener::bind(address).await;
            match listener.and_then(|listener| Ok((listener.local_addr()?, listener))) {
                Ok((address, listener)) => return Ok(Bound { listener, address }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = ListenError::InUse(address),
                Err(error) => last = ListenError::Other(address, error),
            }
        }
        Err(last)
    }
}

impl Bound {
    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is ready; then takes no more connections, lets requests finish and closes WebSockets with
    /// 1001, all within [`super::Limits::drain`].
    pub async fn serve(self, parts: Parts, stop: impl Future<Output = ()>) -> Drained {
        let app = App::new(parts);
        let routes = Routes::new(&app);
        let places = Places::new(&app.limits);
        let mut stop = pin!(stop);
        let mut told: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => match places.take(peer.ip()) {
                        Some(place) => {
                            let connection = Connection::new(place);
                            tokio::spawn(serve(stream, connection, Arc::clone(&app), routes.clone(), app.phase.subscribe()));
                        }
                        None => refuse(&stream),
                    },
                    Err(error) => {
                        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                            tracing::warn!(%error, "connections cannot be accepted now; they wait until one closes");
                            told = Some(Instant::now());
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        drain(&app).await
    }
}

async fn drain(app: &App) -> Drained {
    app.phase.send_replace(Phase::Draining);
    if timeout(app.limits.drain, app.phase.closed()).await.is_ok() {
        return Drained { cut: 0 };
    }
    let cut = app.phase.receiver_count();
    tracing::warn!(cut, "connections did not finish in time and are cut");
    app.phase.send_replace(Phase::Cut);
    app.phase.closed().await;
    Drained { cut }
}

fn refuse(stream: &TcpStream) {
    // Best effort: a peer that cannot take 300 bytes learns it from the close.
    let _ = stream.try_write(FULL.as_bytes());
}

async fn serve(
    stream: TcpStream,
    connection: Arc<Connection>,
    app: Arc<App>,
    routes: Routes,
    mut phase: watch::Receiver<Phase>,
) {
    // Answers are written whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&connection), &app.limits));
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        connection.begin();
        async {
            let answer = wrap::wrap(request, &routes, Some(&connection)).await;
            connection.end();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(Untimed)
            .header_read_timeout(app.limits.idle + app.limits.head)
            .max_headers(HEADERS)
            .max_header_size(BUFFER)
            .max_buf_size(BUFFER)
            .serve_connection(io, service)
            .with_upgrades()
    );
    loop {
        tokio::select! {
            biased;
            outcome = served.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            changed = phase.changed() => match (changed, *phase.borrow_and_update()) {
                (Ok(()), Phase::Serving) => {}
                (Ok(()), Phase::Draining) if connection.started() => served.as_mut().graceful_shutdown(),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_states_its_length() {
        let (head, body) = super::FULL.split_once("\r\n\r\n").expect("it has a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
