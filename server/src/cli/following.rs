//! `/ws` of a running engine, for commands that go on until they are ended.
//!
//! A connection that is lost is made again, later each time; what is asked for on it, and from
//! where it goes on, its command knows. It ends when the command has what it wants, when the engine
//! refuses it, and on Ctrl-C or SIGTERM. An engine that was never there is an error at once.

use super::Failure;
use super::client::{Answer, ClientError, LARGEST_ANSWER};
use futures_util::{SinkExt, StreamExt};
use hyper::Uri;
use std::time::Duration;
use tally_engine::outage::{Pauses, with_causes};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Before a connection is made again. Each pause is a quarter longer or shorter, so that clients of
/// an engine that starts again do not come at once.
const RETRY: Pauses =
    Pauses { first: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A server sends a ping every 20 s; one that is silent for longer is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// What a command does with what it hears.
pub(super) trait Following {
    /// Takes a message of the engine. The first one of each connection is its hello.
    fn take(&mut self, text: &str) -> FollowStep;

    /// Takes a line for people.
    fn note(&mut self, line: &str);
}

/// What follows from a message.
pub(super) enum FollowStep {
    /// Nothing.
    On,
    /// This is to be sent; by then the engine is one that answers.
    Say(String),
    /// All that was wanted has come.
    Done,
    /// There is nothing to be had on this connection; a later one may be better.
    Again(String),
    /// The engine will not do it.
    Refused(String),
}

/// A connection to an engine.
type EngineSocket = WebSocketStream<TcpStream>;

/// How a connection ended.
enum SessionEnd {
    /// All that was wanted has come.
    Done,
    /// The engine will not do it.
    Refused(String),
    /// There was no connection.
    Unreached(String),
    /// It broke off. `greeted`: after the engine had answered.
    Lost { why: String, greeted: bool },
}

/// Follows the engine at `url`, which messages name `place`, until the command has what it wants or
/// a signal ends it.
///
/// # Errors
/// The engine refuses it, or was never there.
pub(super) fn run(
    following: &mut dyn Following,
    (url, place): (&str, &str),
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot use the network: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(()),
            ended = follow(following, (url, place), RETRY) => ended,
        }
    })
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Then they end the process, as usual.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// As [`run`], without signals and with other pauses.
///
/// # Errors
/// Likewise.
pub(super) async fn follow(
    following: &mut dyn Following,
    (url, place): (&str, &str),
    pauses: Pauses,
) -> Result<(), Failure> {
    let (mut tries, mut known) = (0_u32, false);
    loop {
        let why = match session(following, url).await {
            SessionEnd::Done => return Ok(()),
            SessionEnd::Refused(why) => return Err(Failure::Failed(why)),
            SessionEnd::Unreached(_) if !known => {
                let nobody = ClientError::NoEngine(place.to_owned());
                return Err(Failure::Failed(nobody.to_string()));
            }
            SessionEnd::Unreached(why) => why,
            SessionEnd::Lost { why, greeted } => {
                if greeted {
                    (tries, known) = (0, true);
                }
                why
            }
        };
        let pause = pauses.doubled(tries).mul_f64(0.75 + rand::random::<f64>() / 2.0);
        tries = tries.saturating_add(1);
        let seconds = pause.as_secs_f64();
        following.note(&format!("{why}; connecting to {place} again in {seconds:.1} s"));
        tokio::time::sleep(pause).await;
    }
}

/// One connection.
async fn session(following: &mut dyn Following, url: &str) -> SessionEnd {
    let mut socket = match connect(url).await {
        Ok(socket) => socket,
        Err(end) => return end,
    };
    let mut greeted = false;
    loop {
        let lost = |why: String| SessionEnd::Lost { why, greeted };
        let text = match timeout(SILENCE, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(frame)))) => {
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                return lost(format!("the engine closed the connection: {reason}"));
            }
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(error))) => return lost(with_causes(&error)),
            Ok(None) => return lost("the connection ended".into()),
            Err(_) => return lost(format!("nothing came for {} s", SILENCE.as_secs())),
        };
        match following.take(&text) {
            FollowStep::On => {}
            FollowStep::Say(message) => {
                if let Err(error) = socket.send(Message::text(message)).await {
                    return lost(with_causes(&error));
                }
                greeted = true;
            }
            FollowStep::Done => {
                // It ends anyhow.
                let _ = socket.close(None).await;
                return SessionEnd::Done;
            }
            FollowStep::Again(why) => return SessionEnd::Lost { why, greeted: false },
            FollowStep::Refused(why) => return SessionEnd::Refused(why),
        }
    }
}

async fn connect(url: &str) -> Result<EngineSocket, SessionEnd> {
    let late = |_| SessionEnd::Unreached(format!("no connection within {} s", CONNECT.as_secs()));
    let uri: Uri = url.parse().unwrap_or_default();
    let at = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
    let stream = timeout(CONNECT, TcpStream::connect(at)).await.map_err(late)?;
    let stream = stream.map_err(|error| SessionEnd::Unreached(with_causes(&error)))?;
    let lost = |why: String| SessionEnd::Lost { why, greeted: false };
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST_ANSWER));
    let handshake = client_async_with_config(url, stream, Some(config));
    match timeout(CONNECT, handshake).await.map_err(late)? {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(answer)) => {
            let status = answer.status().as_u16();
            let body = answer.into_body().unwrap_or_default().into();
            let answer = Answer { status, retry_after: None, body };
            Err(match status {
                429 | 503 => lost(answer.problem_line()),
                _ => SessionEnd::Refused(answer.problem()),
            })
        }
        Err(error) => Err(lost(with_causes(&error))),
    }
}
