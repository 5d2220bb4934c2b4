//! One socket from its hello to its end: one task reads, writes and keeps time.
//!
//! While a write is blocked nothing is read, and listeners take nothing: what they miss is told. What
//! subscriptions have by the time of a write goes out in it, and then they take more. A client that
//! sends more than [`Allowance`] allows is closed.

use super::close::{End, FAREWELL, GOING_AWAY, TOO_MANY, TOO_SLOW, close_socket, received_text};
use super::frames::{OutgoingFrames, SharedText};
use super::messages::{self, MessageFault, MetricTopic, Said, Topic};
use super::notices::{NoticeListener, PluginNotices};
use super::subscriptions::{NextWait, Ready, ReadyItems, Subscriptions};
use super::{AT_ONCE, PER_SECOND, Socket};
use crate::http::codes::Code;
use crate::http::error_message::problem_message;
use crate::http::feed_messages::{EVENT_END, event_head, failed_message, feed_message};
use crate::http::json_members::push_text;
use crate::http::live::{LiveAnswers, PacedUpdate, PacedUpdates, longest_way, update_head};
use crate::http::{App, Phase, metric_request, wait_for_stop};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use tally_engine::engine::{FeedFilter, FeedItem, FeedListener, ReplayTurns};
use tally_engine::event::Position;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::Message;

pub(super) struct Session {
    socket: Socket,
    app: Arc<App>,
    phase: watch::Receiver<Phase>,
    allowance: Allowance,
    subscriptions: Subscriptions,
    /// What is written next.
    outgoing: OutgoingFrames,
    replays: ReplayTurns,
    notices: NoticeListener,
}

impl Session {
    pub(super) fn new(socket: Socket, app: Arc<App>, phase: watch::Receiver<Phase>) -> Session {
        let notices = PluginNotices::listen(&app);
        let (allowance, subscriptions) = (Allowance::new(), Subscriptions::default());
        let (outgoing, replays) = (OutgoingFrames::default(), ReplayTurns::default());
        Session { socket, app, phase, allowance, subscriptions, outgoing, replays, notices }
    }

    /// Serves the socket to its end; `silent`: without the events of a bare connection.
    pub(super) async fn run(mut self, silent: bool) {
        let end = match self.exchange(silent).await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        let Session { mut socket, app, mut phase, subscriptions, mut outgoing, notices, .. } = self;
        // What it listened to is let go before the farewell.
        drop((subscriptions, notices));
        let close = match end {
            End::Gone => return,
            End::Answer => return drop(timeout(FAREWELL, socket.flush()).await),
            End::Close(close) => close,
        };
        if let Some(code) = close.error() {
            app.limits_hit.count(code.word());
        }
        let farewell = async {
            if outgoing.finish_begun(socket.get_mut()).await.is_ok() {
                close_socket(&mut socket, close).await;
            }
        };
        // A peer that does not answer a close is dropped.
        if close != TOO_SLOW {
            return drop(timeout(FAREWELL, farewell).await);
        }
        // The client was slow, and has to read what it was sent before the close first.
        tokio::select! {
            _ = timeout(app.limits.socket_write.max(FAREWELL), farewell) => {}
            () = wait_for_stop(&mut phase) => {}
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
            Err(fault) => {
                self.app.limits_hit.count(fault.code());
                Some(fault.message())
            }
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
                match self.app.engine.listen(filter, since.clone(), &self.replays) {
                    Ok(listener) => self.listen(id, listener, since),
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

    /// Listens; from a position on only if it is one of the log, which may take time to say so.
    fn listen(&mut self, id: &str, listener: FeedListener, since: Option<Position>) {
        let id: Arc<str> = id.into();
        let Some(since) = since else { return self.subscriptions.listen(Some(id), listener) };
        let (app, of) = (Arc::clone(&self.app), Arc::clone(&id));
        let judged = async move {
            let judged = app.log_ends.judge(&app.engine, &since).await;
            judged.map_err(|fault| MessageFault::since(&of, fault.to_string()))
        };
        self.subscriptions.listen_if(id, listener, judged);
    }

    fn watch(&self, id: &str, topic: MetricTopic) -> Result<PacedUpdates, MessageFault> {
        let MetricTopic { name, params, names, min_interval } = topic;
        let asked = metric_request::with_params(name, &params, names)
            .map_err(|fault| MessageFault::because(Some(id), Code::InvalidParams, vec![fault]))?;
        let watched = LiveAnswers::watch(&self.app, &asked, min_interval);
        let handle = watched.map_err(|problem| MessageFault::refused(id, &problem))?;
        Ok(PacedUpdates::new(handle, min_interval))
    }

    /// Writes what subscriptions have, first this one and with it what others have by now, and lets
    /// them wait again.
    async fn show(&mut self, first: Ready) -> Result<(), End> {
        let (mut shown, mut next, mut end) = (Vec::new(), Some(first), Ok(()));
        while let Some(ready) = next.take() {
            match self.queue(ready) {
                Ok(goes_on) => shown.extend(goes_on),
                Err(ends) => {
                    end = Err(ends);
                    break;
                }
            }
            if self.outgoing.has_room() {
                next = self.subscriptions.next().now_or_never();
            }
        }
        self.write_out().await?;
        shown.into_iter().for_each(|next| self.subscriptions.go_on(next));
        end
    }

    /// Adds what a subscription has to what is written next. What it waits for then, if it goes on.
    fn queue(&mut self, ready: Ready) -> Result<Option<NextWait>, End> {
        match ready {
            Ready::Items(items) => self.queue_items(items),
            Ready::Update { update: None, .. } => Err(End::Close(GOING_AWAY)),
            Ready::Update { id, updates, update: Some(update) } => {
                self.queue_update(&id, &update);
                Ok(Some(NextWait::Update(id, updates)))
            }
            Ready::Refused { id, fault } => {
                self.subscriptions.end(&id);
                self.app.limits_hit.count(fault.code());
                self.outgoing.push_text(&fault.message());
                Ok(None)
            }
        }
    }

    fn queue_update(&mut self, id: &str, update: &PacedUpdate) {
        match update {
            PacedUpdate::Answer { seq, body } => {
                let shared =
                    [body.result(), body.rest()].map(|text| SharedText::Bytes(text.clone()));
                self.outgoing.push(&update_head(Some(id), *seq), &shared, "");
            }
            PacedUpdate::Refused(problem) => {
                self.app.limits_hit.count(problem.code());
                self.outgoing.push_text(&problem_message(Some(id), problem));
            }
        }
    }

    fn queue_items(&mut self, ready: ReadyItems) -> Result<Option<NextWait>, End> {
        let ReadyItems { id, listener, items, ended } = ready;
        if ended {
            let failed = id.filter(|_| listener.has_failed());
            let id = failed.ok_or(End::Close(GOING_AWAY))?;
            self.subscriptions.end(&id);
            self.outgoing.push_text(&failed_message(Some(&id)));
            return Ok(None);
        }
        let head = event_head(id.as_deref());
        for item in items {
            match item {
                FeedItem::Event(event) => {
                    self.outgoing.push(&head, &[SharedText::Event(event)], EVENT_END);
                }
                other => self.outgoing.push_text(&feed_message(id.as_deref(), &other)),
            }
        }
        Ok(Some(NextWait::Items(id, listener)))
    }

    async fn write(&mut self, texts: &[String]) -> Result<(), End> {
        texts.iter().for_each(|text| self.outgoing.push_text(text));
        self.write_out().await
    }

    /// Writes all that waits; a socket that stays blocked, or takes too long for all of it, ends the
    /// session.
    async fn write_out(&mut self) -> Result<(), End> {
        let Session { socket, app, phase, outgoing, .. } = self;
        let limit = app.limits.socket_write;
        let longest = longest_way(limit, outgoing.bytes());
        let all = async {
            // The protocol layer finishes what it has begun before frames are written past it.
            ended_write(timeout(limit, socket.flush()).await)?;
            while !outgoing.is_empty() {
                // A slow socket that takes some time after time is not blocked.
                ended_write(timeout(limit, outgoing.write_some(socket.get_mut())).await)?;
            }
            ended_write(timeout(limit, socket.flush()).await)
        };
        // Nothing is read meanwhile, and texts are held.
        tokio::select! {
            biased;
            written = timeout(longest, all) => written.unwrap_or(Err(End::Close(TOO_SLOW))),
            () = wait_for_stop(phase) => Err(End::Close(GOING_AWAY)),
        }
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
    text.push_str(&format!(",\"min_interval_ms\":{}}}", app.limits.min_interval.as_millis()));
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
