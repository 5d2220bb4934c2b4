//! One socket from its hello to its end: one task reads, writes and keeps time.
//!
//! While a write is blocked nothing is read, and listeners take nothing: what they miss is told. A
//! client that sends more than [`Allowance`] allows is closed.

use super::close::{End, FAREWELL, GOING_AWAY, TOO_MANY, TOO_SLOW, close_socket, received_text};
use super::messages::{self, MessageFault, MetricTopic, Said, Topic};
use super::notices::{NoticeListener, PluginNotices};
use super::subscriptions::{Ready, ReadyItems, Subscriptions};
use super::update_frames::update_frames;
use super::{AT_ONCE, PER_SECOND, Socket};
use crate::http::codes::Code;
use crate::http::error_message::problem_message;
use crate::http::feed_messages::{failed_message, feed_message};
use crate::http::json_members::push_text;
use crate::http::live::{LiveAnswers, PacedUpdate, PacedUpdates, longest_way, update_head};
use crate::http::{App, Phase, metric_request, wait_for_stop};
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use tally_engine::engine::{FeedFilter, ReplayTurns};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::Message;

pub(super) struct Session {
    socket: Socket,
    app: Arc<App>,
    phase: watch::Receiver<Phase>,
    allowance: Allowance,
    subscriptions: Subscriptions,
    replays: ReplayTurns,
    notices: NoticeListener,
}

impl Session {
    pub(super) fn new(socket: Socket, app: Arc<App>, phase: watch::Receiver<Phase>) -> Session {
        let notices = PluginNotices::listen(&app);
        let (allowance, subscriptions) = (Allowance::new(), Subscriptions::default());
        let replays = ReplayTurns::default();
        Session { socket, app, phase, allowance, subscriptions, replays, notices }
    }

    /// Serves the socket to its end; `silent`: without the events of a bare connection.
    pub(super) async fn run(mut self, silent: bool) {
        let end = match self.exchange(silent).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        let Session { mut socket, app, mut phase, subscriptions, notices, .. } = self;
        // What it listened to is let go before the farewell.
        drop((subscriptions, notices));
        // A peer that does not answer a close is dropped.
        match end {
            End::Gone => {}
            End::Answer => drop(timeout(FAREWELL, socket.flush()).await),
            // The client was slow, and has to read everything before the close first.
            End::Close(TOO_SLOW) => {
                let limit = app.limits.socket_write.max(FAREWELL);
                tokio::select! {
                    _ = timeout(limit, close_socket(&mut socket, TOO_SLOW)) => {}
                    () = wait_for_stop(&mut phase) => {}
                }
            }
            End::Close(close) => drop(timeout(FAREWELL, close_socket(&mut socket, close)).await),
        }
    }

    async fn exchange(&mut self, silent: bool) -> Result<Infallible, End> {
        // Listens before it reads the position, so that no event is missed in between.
        if !silent {
            let feed = self.app.engine.listen(FeedFilter::default(), None, &self.replays);
            self.subscriptions.listen(None, feed.map_err(|_| End::Close(GOING_AWAY))?);
        }
        let hello = hello_message(&self.app);
        self.write(&[hello]).await?;
        let limits = self.app.limits.clone();
        let mut ping = interval_at(Instant::now() + limits.socket_ping, limits.socket_ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    if !self.allowance.try_take(heard) {
                        return Err(End::Close(TOO_MANY));
                    }
                    if let Some(text) = received_text(message)?
                        && let Some(reply) = self.reply(&text)
                    {
                        self.write(&[reply]).await?;
                    }
                }
                ready = self.subscriptions.next() => {
                    let begun = Instant::now();
                    self.show(ready).await?;
                    // What nobody reads is no silence.
                    heard += begun.elapsed();
                }
                notices = self.notices.next() => self.write(&notices).await?,
                _ = ping.tick() => {
                    if heard.elapsed() >= limits.socket_dead {
                        return Err(End::Gone);
                    }
                    self.ping().await?;
                }
                _ = tokio::time::sleep_until(heard + limits.socket_dead) => return Err(End::Gone),
                () = wait_for_stop(&mut self.phase) => return Err(End::Close(GOING_AWAY)),
            }
        }
    }

    /// Does what a message says, and answers it if it gets an answer.
    fn reply(&mut self, text: &str) -> Option<String> {
        match messages::parse(text).and_then(|said| self.follow(said)) {
            Ok(reply) => reply,
            Err(fault) => Some(fault.message()),
        }
    }

    fn follow(&mut self, said: Said) -> Result<Option<String>, MessageFault> {
        match said {
            Said::Ping => return Ok(Some("{\"type\":\"pong\"}".into())),
            Said::Auth => {}
            Said::Unsubscribe { id } => {
                if !self.subscriptions.end(&id) {
                    let detail = "there is no subscription of this id";
                    return Err(MessageFault::new(Some(&id), Code::UnknownId, detail));
                }
            }
            Said::Subscribe { id, topic } => self.subscribe(&id, topic)?,
        }
        Ok(None)
    }

    fn subscribe(&mut self, id: &str, topic: Topic) -> Result<(), MessageFault> {
        let refused = |code, detail: String| Err(MessageFault::new(Some(id), code, detail));
        let most = self.app.limits.subscriptions;
        if self.subscriptions.contains(id) {
            return refused(Code::IdInUse, "there is a subscription of this id already".into());
        }
        if self.subscriptions.count() >= most {
            let detail = format!(
                "this socket has {most} subscriptions, which is [live] subscriptions: end one, or \
                 open another socket"
            );
            return refused(Code::TooManySubscriptions, detail);
        }
        match topic {
            Topic::Events { filter, since } => {
                match self.app.engine.listen(filter, since, &self.replays) {
                    Ok(listener) => self.subscriptions.listen(Some(id.into()), listener),
                    Err(full) => return refused(Code::Overloaded, full.to_string()),
                }
            }
            Topic::Metric(topic) => {
                let updates = self.watch(id, topic)?;
                self.subscriptions.watch(id.into(), Box::new(updates));
            }
        }
        Ok(())
    }

    fn watch(&self, id: &str, topic: MetricTopic) -> Result<PacedUpdates, MessageFault> {
        let MetricTopic { name, params, names, min_interval } = topic;
        let asked = metric_request::with_params(name, &params, names)
            .map_err(|fault| MessageFault::because(Some(id), Code::InvalidParams, vec![fault]))?;
        let watched = LiveAnswers::watch(&self.app, &asked, min_interval);
        let handle = watched.map_err(|problem| MessageFault::refused(id, &problem))?;
        Ok(PacedUpdates::new(handle, min_interval))
    }

    /// Sends what a subscription has, and lets it wait again.
    async fn show(&mut self, ready: Ready) -> Result<(), End> {
        match ready {
            Ready::Items(items) => self.show_items(items).await,
            Ready::Update { update: None, .. } => Err(End::Close(GOING_AWAY)),
            Ready::Update { id, updates, update: Some(update) } => {
                self.show_update(&id, update).await?;
                self.subscriptions.watch(id, updates);
                Ok(())
            }
        }
    }

    async fn show_update(&mut self, id: &str, update: PacedUpdate) -> Result<(), End> {
        let (seq, body) = match update {
            PacedUpdate::Answer { seq, body } => (seq, body),
            PacedUpdate::Refused(problem) => {
                return self.write(&[problem_message(Some(id), &problem)]).await;
            }
        };
        let (limit, socket) = (self.app.limits.socket_write, &mut self.socket);
        let frames = update_frames(update_head(Some(id), seq), &body.members);
        let parts = async {
            // A slow socket that takes one part after the other is not blocked.
            for frame in frames {
                ended_write(timeout(limit, socket.feed(frame)).await)?;
            }
            ended_write(timeout(limit, socket.flush()).await)
        };
        // But it holds the text, and reads nothing meanwhile.
        let longest = longest_way(limit, body.members.len());
        tokio::select! {
            written = timeout(longest, parts) => written.unwrap_or(Err(End::Close(TOO_SLOW))),
            () = wait_for_stop(&mut self.phase) => Err(End::Close(GOING_AWAY)),
        }
    }

    async fn show_items(&mut self, ready: ReadyItems) -> Result<(), End> {
        let ReadyItems { id, listener, items, ended } = ready;
        if ended {
            return match id.filter(|_| listener.has_failed()) {
                Some(id) => {
                    self.subscriptions.end(&id);
                    self.write(&[failed_message(Some(&id))]).await
                }
                None => Err(End::Close(GOING_AWAY)),
            };
        }
        let socket = &mut self.socket;
        let written = timeout(self.app.limits.socket_write, async {
            for item in &items {
                socket.feed(Message::text(feed_message(id.as_deref(), item))).await?;
            }
            socket.flush().await
        });
        ended_write(written.await)?;
        self.subscriptions.listen(id, listener);
        Ok(())
    }

    /// Writes all and flushes once; a socket that stays blocked ends the session.
    async fn write(&mut self, texts: &[String]) -> Result<(), End> {
        let socket = &mut self.socket;
        let written = timeout(self.app.limits.socket_write, async {
            for text in texts {
                socket.feed(Message::text(text.as_str())).await?;
            }
            socket.flush().await
        });
        ended_write(written.await)
    }

    async fn ping(&mut self) -> Result<(), End> {
        let ping = self.socket.send(Message::Ping(bytes::Bytes::new()));
        ended_write(timeout(self.app.limits.socket_write, ping).await)
    }
}

/// What follows from the end of a write: it was done, the client is gone, or it did not take it.
fn ended_write<F, T>(written: Result<Result<(), F>, T>) -> Result<(), End> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Close(TOO_SLOW)),
    }
}

/// How many messages a client may still send.
struct Allowance {
    left: u32,
    /// When the next one is added.
    at: Instant,
}

impl Allowance {
    fn new() -> Allowance {
        Allowance { left: AT_ONCE, at: Instant::now() }
    }

    /// Takes one message off the allowance; whether there was one.
    fn try_take(&mut self, now: Instant) -> bool {
        let more = now.duration_since(self.at).as_millis() * u128::from(PER_SECOND) / 1_000;
        if more > 0 {
            self.left =
                AT_ONCE.min(self.left.saturating_add(u32::try_from(more).unwrap_or(AT_ONCE)));
            self.at = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => (self.left = left, true).1,
            None => false,
        }
    }
}

fn hello_message(app: &App) -> String {
    // Each socket that opens asks: what is measured for a descriptor would be dear.
    let served = app.engine.metric_states().into_iter().filter(|(_, state)| *state != "retired");
    let names: BTreeSet<String> = served.map(|(name, _)| name).collect();
    let mut text = String::from("{\"type\":\"hello\",\"protocol\":1,\"position\":");
    push_text(&mut text, &app.engine.position().to_string());
    text.push_str(",\"metrics\":");
    // Names always serialise.
    text.push_str(&serde_json::to_string(&names).unwrap_or_else(|_| "[]".into()));
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn messages_are_allowed_at_once_and_then_by_the_second() {
        let mut allowance = Allowance::new();
        let begun = allowance.at;
        assert!((0..AT_ONCE).all(|_| allowance.try_take(begun)) && !allowance.try_take(begun));
        let later = begun + Duration::from_secs(1);
        assert!((0..PER_SECOND).all(|_| allowance.try_take(later)) && !allowance.try_take(later));
        // However often it is asked, fractions of a message are not lost.
        let taken =
            (1..=1_000).filter(|ms| allowance.try_take(later + Duration::from_millis(*ms))).count();
        assert!((60..=64).contains(&taken), "{taken}");
        assert!((0..AT_ONCE).all(|_| allowance.try_take(begun + Duration::from_secs(3_600))));
    }
}
