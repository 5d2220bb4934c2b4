//! Answers that are watched, each made ready once for all who watch it, whatever way they do.
//!
//! For each question (metric, params, with names or without) one task takes what the engine
//! publishes, adds what the catalogue knows, and writes meta and warnings, with the answer's tag.
//! Whoever watches has the newest of these and shares its bytes; how often it sends one is its own
//! care (`pace`), and nothing waits for it. The task ends with the last who watches.
//!
//! A result is the engine's text, unless names were added or it has line breaks, so that there is
//! one of it. It is held while somebody sends it, and until the next update is ready, so that there
//! is always one to send; the latter not where memory has no room for another one like it.
//!
//! Bounds: the questions are the engine's, [`AT_ONCE`] answers are worked on at a time, and texts
//! are taken from the share of memory for what is watched, for as long as a socket writes them.
//! Where there is no room the problem `overloaded` is told, and the answer is tried again after
//! [`AGAIN`]; so is one that the catalogue was not there for. No position is promised here that the
//! engine did not state.

mod pace;
mod shared_text;

pub(crate) use pace::{PacedUpdate, PacedUpdates};
pub(crate) use shared_text::{longest_way, pieces};

use super::codes::Code;
use super::complete_answer::CompleteAnswer;
use super::json_members::push_text;
use super::metric_request::MetricRequest;
use super::problem::Problem;
use super::{App, enrich};
use axum::http::HeaderValue;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tally_engine::engine::{LiveAnswer, LiveQuestion, WatchRequest};
use tally_engine::event::Position;
use tally_engine::memory::Held;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// The least time between two updates, for who does not say.
pub(crate) const USUAL_PACE: Duration = Duration::from_millis(250);

/// The longest time that anybody may ask for.
pub(crate) const LONGEST_PACE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Answers that are worked on at a time.
const AT_ONCE: usize = 16;

/// When an answer for which there was no room is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The questions that are watched.
pub(crate) struct LiveAnswers {
    shared: Mutex<HashMap<LiveKey, Arc<UpdateSender>>>,
    at_work: Semaphore,
    /// Those that may have to wait for the catalogue; nothing that needs no names waits for these.
    looking_up: Semaphore,
}

/// Questions with one key have one answer and one tag.
#[derive(Clone, PartialEq, Eq, Hash)]
struct LiveKey {
    name: String,
    params: String,
    names: bool,
}

type UpdateSender = watch::Sender<Option<KeptUpdate>>;

type KeptUpdate = Result<Arc<KeptBody>, Arc<Problem>>;

/// An answer, or why there is none now.
pub(crate) type LiveUpdate = Result<LiveBody, Arc<Problem>>;

/// An answer as it is kept for who watches.
struct KeptBody {
    tag: HeaderValue,
    result: KeptResult,
    rest: Bytes,
    position: Position,
    as_of: i64,
    /// When it was evaluated.
    begun: Instant,
    /// Whether the catalogue was not there to be asked.
    lacks_names: bool,
}

enum KeptResult {
    /// That of the engine, while the engine, the task or who sends it has it.
    OfEngine(Weak<LiveAnswer>),
    Own(Bytes),
}

/// An answer as it is sent.
pub(crate) struct LiveBody {
    kept: Arc<KeptBody>,
    result: Bytes,
}

/// One who watches a question, until it is dropped.
pub(crate) struct LiveHandle {
    updates: watch::Receiver<Option<KeptUpdate>>,
    /// Says to the engine how often an update is wanted.
    _interest: LiveQuestion,
}

impl Default for LiveAnswers {
    fn default() -> LiveAnswers {
        let places = || Semaphore::new(AT_ONCE);
        LiveAnswers { shared: Mutex::default(), at_work: places(), looking_up: places() }
    }
}

impl LiveAnswers {
    /// Watches a question, with at least so much time between two updates.
    ///
    /// # Errors
    /// Nothing is watched: what the engine refuses, without paths.
    pub(crate) fn watch(
        app: &Arc<App>,
        asked: &MetricRequest,
        min_interval: Duration,
    ) -> Result<LiveHandle, Problem> {
        let ask = |min_interval| {
            let question = &asked.question;
            let (name, params) = (question.name.clone(), question.params.clone());
            let watched = app.engine.watch(&WatchRequest { name, params, min_interval });
            watched.map_err(|fault| without_paths(app, fault.into()))
        };
        let interest = ask(min_interval)?;
        let key = LiveKey {
            name: asked.question.name.clone(),
            params: asked.canonical_params(),
            names: asked.names,
        };
        let mut shared = app.live.shared.lock();
        let updates = match shared.get(&key) {
            Some(updates) => {
                let mut updates = updates.subscribe();
                updates.mark_changed();
                updates
            }
            None => {
                // Those who watch say how often; the task takes what is published for them.
                let question = ask(Duration::MAX)?;
                let (updates, first) = watch::channel(None);
                let updates = Arc::new(updates);
                shared.insert(key.clone(), Arc::clone(&updates));
                let (app, asked) = (Arc::clone(app), asked.again());
                let task = LiveTask { app, key, asked, updates, sent: Mutex::default() };
                tokio::spawn(task.run(question));
                first
            }
        };
        Ok(LiveHandle { updates, _interest: interest })
    }

    /// Keeps all answers from being made ready, until what this returns is dropped.
    #[cfg(test)]
    pub(crate) fn stand_still(&self) -> tokio::sync::SemaphorePermit<'_> {
        let all = u32::try_from(AT_ONCE).ok().map(|all| self.at_work.try_acquire_many(all));
        all.and_then(Result::ok).expect("nothing is worked on")
    }

    /// How many questions are watched.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shared.lock().len()
    }
}

impl KeptBody {
    /// As it is sent; `None`: the engine has another answer, which follows.
    fn opened(self: &Arc<Self>) -> Option<LiveBody> {
        let result = match &self.result {
            KeptResult::OfEngine(answer) => Bytes::from_owner(EngineText(answer.upgrade()?)),
            KeptResult::Own(result) => result.clone(),
        };
        Some(LiveBody { kept: Arc::clone(self), result })
    }
}

impl LiveBody {
    /// That of the same answer to a GET.
    pub(crate) fn tag(&self) -> &HeaderValue {
        &self.kept.tag
    }

    /// When it was evaluated.
    fn begun(&self) -> Instant {
        self.kept.begun
    }

    /// The result, on one line.
    pub(crate) fn result(&self) -> &Bytes {
        &self.result
    }

    /// What follows the result in a message, to its end: `,"meta":…,"warnings":[…]}`, on one line.
    pub(crate) fn rest(&self) -> &Bytes {
        &self.kept.rest
    }

    /// Bytes of both.
    pub(crate) fn len(&self) -> usize {
        self.result.len() + self.kept.rest.len()
    }

    /// Whether this answer was not made before one of this position and time.
    pub(crate) fn is_since(&self, position: &Position, as_of: i64) -> bool {
        if self.kept.position == *position {
            return self.kept.as_of >= as_of;
        }
        self.kept.position.reaches(position)
    }
}

impl LiveHandle {
    /// The newest update, once it is one that this has not returned; `None`: the engine has
    /// stopped. May be cancelled.
    pub(crate) async fn changed(&mut self) -> Option<LiveUpdate> {
        loop {
            self.updates.changed().await.ok()?;
            let newest = self.newest();
            if newest.is_some() {
                return newest;
            }
        }
    }

    /// The newest update; `None`: there is none yet, or another one follows at once.
    fn newest(&mut self) -> Option<LiveUpdate> {
        match &*self.updates.borrow_and_update() {
            Some(Ok(kept)) => kept.opened().map(Ok),
            Some(Err(problem)) => Some(Err(Arc::clone(problem))),
            None => None,
        }
    }
}

/// What an `update` message begins with, up to the result; `id`: of the subscription, if it has one.
pub(crate) fn update_head(id: Option<&str>, seq: u64) -> String {
    let mut text = String::from("{\"type\":\"update\"");
    if let Some(id) = id {
        text.push_str(",\"id\":");
        push_text(&mut text, id);
    }
    // Writing to a text does not fail.
    let _ = write!(text, ",\"seq\":{seq},\"result\":");
    text
}

fn without_paths(app: &App, mut problem: Problem) -> Problem {
    problem.redact(&app.redactor);
    problem
}

/// What makes the answers to one question ready.
struct LiveTask {
    app: Arc<App>,
    key: LiveKey,
    asked: MetricRequest,
    updates: Arc<UpdateSender>,
    /// The engine's answer that was sent last, for who takes it while the next one is made ready:
    /// the engine may have another one by then.
    sent: Mutex<Option<Arc<LiveAnswer>>>,
}

/// When what is published is tried again.
struct TriedAgain {
    due: Instant,
    /// Whether that is for its names.
    lacks_names: bool,
}

impl LiveTask {
    async fn run(self, mut question: LiveQuestion) {
        let mut again: Option<TriedAgain> = None;
        loop {
            let answer = tokio::select! {
                () = self.updates.closed() => {
                    if self.is_over() {
                        return;
                    }
                    continue;
                }
                answer = self.next(&mut question, again.as_ref()) => answer,
            };
            // The engine has stopped.
            let Some(answer) = answer else { return };
            let update = match self.body(&answer).await {
                Ok(body) => Ok(Arc::new(body)),
                Err(problem) => Err(Arc::new(without_paths(&self.app, problem))),
            };
            // What the engine refuses, it tries again by itself.
            let is_full = |problem: &Arc<Problem>| problem.is(Code::Overloaded);
            let is_ours = answer.outcome.is_ok() && update.as_ref().is_err_and(is_full);
            let lacks_names = update.as_ref().is_ok_and(|body| body.lacks_names);
            let due = Instant::now() + AGAIN;
            again = (is_ours || lacks_names).then_some(TriedAgain { due, lacks_names });
            let is_kept = update.as_ref().is_ok_and(|body| self.has_room_beside(body, &answer));
            self.updates.send_replace(Some(update));
            *self.sent.lock() = is_kept.then_some(answer);
        }
    }

    /// What is to be made ready next: what the engine publishes, or, where it is to be tried again,
    /// what it has published. `None`: the engine has stopped. May be cancelled.
    async fn next(
        &self,
        question: &mut LiveQuestion,
        again: Option<&TriedAgain>,
    ) -> Option<Arc<LiveAnswer>> {
        let Some(TriedAgain { due, lacks_names }) = again else {
            return question.changed().await;
        };
        let mut due = *due;
        loop {
            if let Ok(published) = timeout_at(due, question.changed()).await {
                return published;
            }
            if !lacks_names || self.app.catalogue.health_error().is_none() {
                return question.newest().await;
            }
            due = Instant::now() + AGAIN;
        }
    }

    /// Whether the engine's text can be held until the next update is ready, and the engine still
    /// finds room for its next one.
    fn has_room_beside(&self, body: &KeptBody, answer: &LiveAnswer) -> bool {
        let is_engines = matches!(body.result, KeptResult::OfEngine(_));
        let bytes = answer.outcome.as_ref().map_or(0, |answer| answer.result.len());
        is_engines && self.app.limits.watched.take(bytes as u64).is_ok()
    }

    /// Whether nobody watches any more; then nobody can join those any more either.
    fn is_over(&self) -> bool {
        let mut shared = self.app.live.shared.lock();
        let is_over = self.updates.receiver_count() == 0;
        if is_over {
            shared.remove(&self.key);
        }
        is_over
    }

    async fn body(&self, answer: &Arc<LiveAnswer>) -> Result<KeptBody, Problem> {
        let started = Instant::now().into_std();
        let evaluated = answer.outcome.clone()?;
        let of_engine = Arc::clone(&evaluated.result);
        let (position, as_of) = (evaluated.position.clone(), evaluated.as_of);
        let LiveAnswers { at_work, looking_up, .. } = &self.app.live;
        let asked = self.asked.again();
        let (complete, _places) = if enrich::may_look_up(&self.app, &asked, &evaluated) {
            let place = looking_up.acquire().await;
            let complete = CompleteAnswer::new(&self.app, asked, evaluated).await?;
            (complete, (at_work.acquire().await, Some(place)))
        } else {
            let place = at_work.acquire().await;
            (CompleteAnswer::new(&self.app, asked, evaluated).await?, (place, None))
        };
        let warnings = &complete.evaluated.warnings;
        let lacks_names = warnings.iter().any(|warning| warning.code == enrich::UNAVAILABLE);
        let (complete, tag) = complete.tagged(None).await?;
        let (result, rest) = complete.into_update(answer.took, started).await?;
        let is_engines = Arc::ptr_eq(&result, &of_engine);
        let own = rest.len() + if is_engines { 0 } else { result.len() };
        let held = Arc::new(self.take(own as u64)?);
        let rest = Bytes::from_owner(HeldText { text: rest, _held: Arc::clone(&held) });
        let result = if is_engines {
            KeptResult::OfEngine(Arc::downgrade(answer))
        } else {
            KeptResult::Own(Bytes::from_owner(HeldText { text: result, _held: held }))
        };
        let begun = Instant::from_std(answer.begun);
        Ok(KeptBody { tag, result, rest, position, as_of, begun, lacks_names })
    }

    /// Memory for the next text; where there is no room beside the one before, in its place.
    fn take(&self, bytes: u64) -> Result<Held, Problem> {
        let watched = &self.app.limits.watched;
        let in_its_place = |_| {
            // Nobody is woken: the next update follows at once.
            let mut before = None;
            self.updates.send_if_modified(|update| {
                before = update.take();
                false
            });
            drop(before);
            *self.sent.lock() = None;
            watched.take(bytes)
        };
        watched.take(bytes).or_else(in_its_place).map_err(|_| {
            Problem::overloaded(
                "what waits for sockets takes as much memory as it may, which is a share of \
                 [limits] memory",
            )
        })
    }
}

impl Drop for LiveTask {
    fn drop(&mut self) {
        let mut shared = self.app.live.shared.lock();
        // Another task may have its key by now.
        if shared.get(&self.key).is_some_and(|updates| Arc::ptr_eq(updates, &self.updates)) {
            shared.remove(&self.key);
        }
    }
}

/// A text that holds its memory until the last who sends it is done.
struct HeldText<T> {
    text: T,
    _held: Arc<Held>,
}

impl<T: AsRef<str>> AsRef<[u8]> for HeldText<T> {
    fn as_ref(&self) -> &[u8] {
        self.text.as_ref().as_bytes()
    }
}

/// The result of an answer of the engine, whose memory the engine counts.
struct EngineText(Arc<LiveAnswer>);

impl AsRef<[u8]> for EngineText {
    fn as_ref(&self) -> &[u8] {
        match &self.0.outcome {
            Ok(answer) => answer.result.as_bytes(),
            // None is made of it.
            Err(_) => &[],
        }
    }
}
