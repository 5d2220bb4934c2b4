//! `tally tap`: new events of a running engine, one a line, until it is ended.
//!
//! Follows the events of `/ws` with a filter that the engine applies. A connection that is lost is
//! made again, later each time, and goes on from the cursor of the last event: what the log still
//! holds is not missed. What is missed is said on stderr. Events go to stdout as they were written;
//! when nobody reads them any more, it ends.

mod heard;
#[cfg(test)]
mod tests;

use super::Failure;
use super::client::{Answer, ClientError};
use super::engine_args::Tap;
use super::output::{json_line, note, thousands};
use futures_util::{SinkExt, StreamExt};
use heard::{Heard, hear};
use hyper::Uri;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tally_engine::outage::{Pauses, with_causes};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Before a connection is made again. Each pause is a quarter longer or shorter, so that clients of
/// an engine that starts again do not come at once.
const RETRY: Pauses =
    Pauses { first: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A server sends a ping every 20 s; one that is silent for longer is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// A connection to an engine.
type TapSocket = WebSocketStream<TcpStream>;

/// What is followed, how far it came, and where it goes.
struct Tapping<'o> {
    /// The filter, as the engine takes it.
    events: Value,
    /// From where to go on.
    since: Option<String>,
    /// How many events are still wanted.
    left: Option<u64>,
    /// Whether messages are printed whole.
    whole: bool,
    /// Takes a line of output; false: nobody reads it.
    out: &'o mut dyn FnMut(&str) -> bool,
    /// Takes a line for people.
    note: &'o mut dyn FnMut(&str),
}

/// What follows from a message.
enum TapStep {
    /// Nothing.
    On,
    /// This is to be sent.
    Subscribe(String),
    /// All that was wanted has come.
    Done,
    /// The engine is too busy now.
    Busy(String),
    /// The engine will not do it.
    Refused(String),
}

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

pub(crate) fn run(args: &Tap) -> Result<(), Failure> {
    let target = args.engine.target()?;
    let (url, place) = (target.socket("/ws?events=none")?, target.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot use the network: {error}")))?;
    let (mut out, mut say) = (json_line, note);
    let mut tapping = Tapping {
        events: filter(args),
        since: args.since.as_ref().map(ToString::to_string),
        left: args.limit,
        whole: args.json,
        out: &mut out,
        note: &mut say,
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(()),
            ended = follow(&mut tapping, &url, &place, RETRY) => ended,
        }
    });
    if let Some(since) = tapping.since.filter(|since| !since.is_empty()) {
        note(&format!("note: --since {since} goes on from here"));
    }
    ended
}

/// The filter of a subscription: only keys that were given.
fn filter(args: &Tap) -> Value {
    let mut events = Map::new();
    if !args.types.is_empty() {
        events.insert("event_types".into(), json!(args.types));
    }
    for (key, id) in [("user_id", &args.user), ("product_id", &args.product)] {
        if let Some(id) = id {
            events.insert(key.into(), json!(id));
        }
    }
    Value::Object(events)
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

/// Follows events over as many connections as it takes.
async fn follow(
    tapping: &mut Tapping<'_>,
    url: &str,
    place: &str,
    pauses: Pauses,
) -> Result<(), Failure> {
    let (mut tries, mut known) = (0_u32, false);
    loop {
        let why = match session(tapping, url).await {
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
        (tapping.note)(&format!("{why}; connecting to {place} again in {seconds:.1} s"));
        tokio::time::sleep(pause).await;
    }
}

/// One connection.
async fn session(tapping: &mut Tapping<'_>, url: &str) -> SessionEnd {
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
        match tapping.take(&text) {
            TapStep::On => {}
            TapStep::Subscribe(subscription) => {
                if let Err(error) = socket.send(Message::text(subscription)).await {
                    return lost(with_causes(&error));
                }
                greeted = true;
            }
            TapStep::Done => {
                // It ends anyhow.
                let _ = socket.close(None).await;
                return SessionEnd::Done;
            }
            TapStep::Busy(why) => return SessionEnd::Lost { why, greeted: false },
            TapStep::Refused(why) => return SessionEnd::Refused(why),
        }
    }
}

async fn connect(url: &str) -> Result<TapSocket, SessionEnd> {
    let late = |_| SessionEnd::Unreached(format!("no connection within {} s", CONNECT.as_secs()));
    let uri: Uri = url.parse().unwrap_or_default();
    let at = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
    let stream = timeout(CONNECT, TcpStream::connect(at)).await.map_err(late)?;
    let stream = stream.map_err(|error| SessionEnd::Unreached(with_causes(&error)))?;
    let lost = |why: String| SessionEnd::Lost { why, greeted: false };
    match timeout(CONNECT, client_async(url, stream)).await.map_err(late)? {
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

impl Tapping<'_> {
    /// Takes a message of the engine.
    fn take(&mut self, text: &str) -> TapStep {
        match hear(text) {
            Heard::Hello(position) => {
                let subscription = self.subscription();
                // Should the connection end before the first event: from here on.
                if !position.is_empty() {
                    self.since.get_or_insert(position);
                }
                return TapStep::Subscribe(subscription);
            }
            Heard::Event { cursor, event } => {
                let line = if self.whole { text } else { event };
                if !(self.out)(line) {
                    return TapStep::Done;
                }
                self.since = cursor.or(self.since.take());
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        return TapStep::Done;
                    }
                }
            }
            Heard::Skipped(count) => (self.note)(&format!(
                "skipped {} events, of any kind: they came faster than they were read",
                thousands(count)
            )),
            Heard::Gap { from, to } => {
                (self.note)(&format!("gap: the log no longer holds what was from {from} to {to}"));
            }
            Heard::Refused { code, detail } if code == "overloaded" => {
                return TapStep::Busy(detail);
            }
            Heard::Refused { code, detail } => {
                return TapStep::Refused(format!("the engine refuses: {detail} ({code})"));
            }
            Heard::Other => {}
        }
        TapStep::On
    }

    /// The message that asks for events.
    fn subscription(&self) -> String {
        let mut message = json!({"type": "subscribe", "id": "e", "events": self.events});
        if let Some(since) = &self.since {
            message["since"] = json!(since);
        }
        message.to_string()
    }
}
