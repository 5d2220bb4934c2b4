//! Questions that are watched: each is evaluated again when its answer may have changed, once for
//! all who watch it.
//!
//! * `hub`: who watches what, what is due, what was published. `same`: what is worth an update.
//! * `watcher`: the thread that sees what came to the metrics that are watched.
//! * `round`: the threads that evaluate. `threads`: their start and end.
//!
//! Promises: an update is what a question would have been answered at its position and time, made
//! in the same way; once nothing comes any more, the last one is what would be answered now. What
//! one cannot take in time is left out, and the newest wins. Nothing here runs on a lane, sends to
//! one, or holds a lock while a plugin runs; a panic costs its evaluation only. Those that evaluate
//! give way to counting. Who watches gets data: how it is sent to them is not known here.
//!
//! Coarser than it could be: where rows are gone before they were looked at (two checkpoints passed,
//! floors rose, ids were numbered anew), every question to the metric is evaluated; so is one that
//! reads very much, or has no answer, whenever anything comes to its metric.

mod hub;
mod round;
mod same;
mod threads;
mod watcher;

pub(super) use threads::{LiveThreads, start};

use super::evaluate::{now, refused};
use super::{Engine, EvaluateError, Evaluated};
use crate::memory::Held;
use hub::LiveHub;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A question that somebody wants to watch.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// Name of the metric.
    pub name: String,
    /// An object, or null for `{}`; time params included.
    pub params: Value,
    /// The least time between two updates; no less than `[live] min_interval_ms`.
    pub min_interval: Duration,
}

/// An answer that differs from the one before, or why there is none now. Its memory is counted for
/// as long as anybody has it: who only may need it again keeps a [`std::sync::Weak`] of it.
#[derive(Debug)]
pub struct LiveAnswer {
    /// Grows from answer to answer of a question.
    pub number: u64,
    /// What [`Engine::evaluate`] would have said.
    pub outcome: Result<Evaluated, EvaluateError>,
    /// When it was evaluated: the least time between two updates is counted between these.
    pub begun: Instant,
    /// How long that took.
    pub took: Duration,
    _held: Option<Held>,
}

/// A question that is watched, until this is dropped.
pub struct LiveQuestion {
    canonical: Arc<str>,
    answers: watch::Receiver<Option<Arc<LiveAnswer>>>,
    /// `None`: of a publisher by itself.
    interest: Option<OpenInterest>,
}

/// One who watches a question in an engine.
struct OpenInterest {
    hub: Arc<LiveHub>,
    question: u64,
    pace: Mutex<Duration>,
}

/// Publishes answers to a question to all who watch it. Once it is dropped they get no more.
pub struct LivePublisher(watch::Sender<Option<Arc<LiveAnswer>>>);

/// A question whose answers come from a publisher, and the publisher: for those who test what they
/// make of answers.
#[must_use]
pub fn live_question(canonical: &str) -> (LivePublisher, LiveQuestion) {
    let publisher = LivePublisher::new();
    let question = publisher.question(canonical.into(), None);
    (publisher, question)
}

impl Engine {
    /// Watches a question: it is evaluated now, and again whenever its answer may have changed.
    ///
    /// # Errors
    /// [`EvaluateError::NotFound`], [`EvaluateError::Invalid`]: nothing is watched.
    /// [`EvaluateError::Overloaded`]: as many different questions as may be are watched. What else
    /// keeps it from being answered is an answer.
    pub fn watch(&self, request: &WatchRequest) -> Result<LiveQuestion, EvaluateError> {
        let served = self.asking.served(&request.name)?;
        let params = served.askable.check(&request.params, now()).map_err(refused)?.into_owned();
        self.live.hub().watch(&request.name, params, request.min_interval)
    }
}

impl LiveAnswer {
    /// One whose memory nobody counts, evaluated in no time.
    #[must_use]
    pub fn new(
        number: u64,
        outcome: Result<Evaluated, EvaluateError>,
        begun: Instant,
    ) -> LiveAnswer {
        LiveAnswer { number, outcome, begun, took: Duration::ZERO, _held: None }
    }
}

impl LiveQuestion {
    /// Its params as text: equal questions to a metric have equal texts.
    #[must_use]
    pub fn canonical(&self) -> &Arc<str> {
        &self.canonical
    }

    /// The newest answer; `None`: there is none yet, or it has made room for the next one.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<LiveAnswer>> {
        self.answers.borrow().clone()
    }

    /// The newest answer, once it is one that this has not returned; `None`: the engine has
    /// stopped. May be cancelled: no answer is lost.
    pub async fn changed(&mut self) -> Option<Arc<LiveAnswer>> {
        loop {
            self.answers.changed().await.ok()?;
            let newest = self.answers.borrow_and_update().clone();
            if newest.is_some() {
                return newest;
            }
        }
    }

    /// The newest answer, also one that this or [`LiveQuestion::changed`] has returned; where there
    /// is none yet, or it has made room for the next one, the next one. `None`: the engine has
    /// stopped. May be cancelled: no answer is lost.
    pub async fn newest(&mut self) -> Option<Arc<LiveAnswer>> {
        // Of an engine that has stopped the last answer would be there for good.
        if self.answers.has_changed().is_ok() {
            let newest = self.answers.borrow_and_update().clone();
            if newest.is_some() {
                return newest;
            }
        }
        self.changed().await
    }

    /// From now on there is at least so much time between two updates, unless somebody else who
    /// watches the same question asks for less.
    pub fn set_pace(&self, min_interval: Duration) {
        let Some(interest) = &self.interest else { return };
        let mut pace = interest.pace.lock();
        *pace = interest.hub.repace(interest.question, *pace, min_interval);
    }
}

impl LivePublisher {
    /// One that has published nothing.
    fn new() -> LivePublisher {
        LivePublisher(watch::Sender::new(None))
    }

    /// Publishes an answer; whoever has not taken the one before does not get it.
    pub fn publish(&self, answer: Arc<LiveAnswer>) {
        self.0.send_replace(Some(answer));
    }

    /// Lets what was published go, for what is published next. Nobody is told.
    pub fn forget(&self) {
        self.0.send_if_modified(|answer| {
            *answer = None;
            false
        });
    }

    /// One more who watches: what was published last is new to them.
    fn question(&self, canonical: Arc<str>, interest: Option<OpenInterest>) -> LiveQuestion {
        let mut answers = self.0.subscribe();
        answers.mark_changed();
        LiveQuestion { canonical, answers, interest }
    }
}

impl Drop for OpenInterest {
    fn drop(&mut self) {
        self.hub.close(self.question, *self.pace.get_mut());
    }
}

#[cfg(test)]
mod live_tests;
