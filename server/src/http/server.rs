//! The accept loop, directly on hyper: every wait is bounded, and a stop lets requests under way
//! finish.
//!
//! A connection over the limit is answered 503 and closed at once: it takes no slot, and nothing of
//! it is read. Serves HTTP/1.1 on every connection that its listener accepts.

use super::connection::{Connection, NoTimer, TimedStream};
use super::listener::{self, Accepted, ListenError, Listener, Stream};
use super::routes::Routes;
use super::{App, Parts, Phase, export, middleware};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// Most header fields of a request; more are answered 431.
const HEADERS: usize = 64;

/// Bytes of a request's head; more are answered 431. Also how much of a body is buffered at once.
const BUFFER: usize = 16 * 1024;

/// Pause after `accept` failed for lack of file descriptors, which closing connections free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two lines of the log about that.
const WARN_EVERY: Duration = Duration::from_secs(10);

const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 126\r\n\r\n\
    {\"type\":\"/problems/overloaded\",\"title\":\"Overloaded\",\"status\":503,\"code\":\"overloaded\",\"detail\":\"too many connections are open\"}";

/// Makes a server.
pub struct Server;

/// A server that listens on its address.
pub struct Bound {
    listener: Box<dyn Listener>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections and WebSockets that were cut off because they did not finish in time.
    pub cut: usize,
}

impl Server {
    /// Takes an address such as `127.0.0.1:8080`; port 0 means any free one.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(listen: &str) -> Result<Bound, ListenError> {
        Ok(Bound { listener: listener::bind(listen).await? })
    }
}

impl Bound {
    /// The address that is listened on, with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Answers until `stop` is ready; then takes no more connections, lets requests finish and
    /// closes WebSockets with 1001, all within [`super::Limits::drain`].
    pub async fn serve(self, parts: Parts, stop: impl Future<Output = ()>) -> Drained {
        let app = App::new(parts);
        export::start(&app);
        let routes = Routes::new(&app);
        let mut stop = pin!(stop);
        let mut warned: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = poll_fn(|cx| self.listener.poll_accept(cx)) => match accepted {
                    Ok(Accepted { stream, peer }) => match app.slots.take(peer) {
                        Some(slot) => {
                            let connection = Connection::new(slot);
                            let (app, phase) = (Arc::clone(&app), app.phase.subscribe());
                            tokio::spawn(serve_connection(stream, connection, app, routes.clone(), phase));
                        }
                        None => {
                            app.limits_hit.count("overloaded");
                            stream.write_refusal(FULL.as_bytes());
                        }
                    },
                    Err(error) => {
                        if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                            tracing::warn!(
                                %error,
                                "connections cannot be accepted now; they wait until one closes"
                            );
                            warned = Some(Instant::now());
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
    tracing::warn!(cut, "connections did not finish in time and are cut off");
    app.phase.send_replace(Phase::Cut);
    app.phase.closed().await;
    Drained { cut }
}

async fn serve_connection(
    stream: Box<dyn Stream>,
    connection: Arc<Connection>,
    app: Arc<App>,
    routes: Routes,
    mut phase: watch::Receiver<Phase>,
) {
    let io = TokioIo::new(TimedStream::new(stream, Arc::clone(&connection), &app.limits));
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        connection.begin();
        async {
            let answer = middleware::respond(request, &routes, Some(&connection)).await;
            connection.end();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(NoTimer)
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
        let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let code = crate::http::codes::Code::Overloaded;
        assert_eq!((&problem["code"], &problem["status"]), (&code.word().into(), &503.into()));
    }
}
