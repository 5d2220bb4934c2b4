//! Who watches which question, what is evaluated, and what was published: shared by the threads
//! that watch and evaluate, and by whoever watches.
//!
//! One lock, held for moments: never while rows are looked at, a plugin runs or an answer is
//! compared. There is no queue: what is due waits in the machine, each question once. Bounds:
//! `[live] questions`, and the share of memory for what waits for sockets, from which published
//! answers are taken, for as long as anybody has them; where there is no room, also not in the place
//! of the one before, a question has the answer `Overloaded` and is tried again. Threads that do not
//! come back from a plugin are replaced, at most [`ABANDONED`] of them; the log says when there are
//! more, and others do what they had taken.

use super::same::says_the_same;
use super::{LiveAnswer, LivePublisher, LiveQuestion, OpenInterest};
use crate::config::LiveConfig;
use crate::engine::answer_slots::HUNG;
use crate::engine::asking::Asking;
use crate::engine::{EvaluateError, Evaluated};
use crate::memory::{Full, Held, Share};
use crate::query::canonical;
use crate::query::live::{LiveFinish, LiveMachine, LiveOutcome, LiveRound};
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Threads that may be in a plugin that does not return, beside those that evaluate.
const ABANDONED: usize = 16;

/// Nobody means a longer time between two updates.
const LONGEST_PACE: Duration = Duration::from_secs(24 * 60 * 60);

/// When a question that found as many answers of its metric under way as may be is tried again.
const BUSY: Duration = Duration::from_millis(50);

/// Unix milliseconds; a test has another clock.
pub(super) type LiveClock = Box<dyn Fn() -> i64 + Send + Sync>;

/// See the module.
pub(super) struct LiveHub {
    pub(super) asking: Asking,
    clock: LiveClock,
    /// `[live] min_interval_ms`.
    least: Duration,
    /// `[live] questions`.
    most: usize,
    /// From which published answers are taken.
    room: Arc<Share>,
    state: Mutex<HubState>,
    /// Wakes the threads that evaluate.
    due: Condvar,
    /// Wakes the thread that watches, while nothing is watched.
    watched: Condvar,
    /// Longest time that an update took since it was last asked for, microseconds.
    slowest: AtomicU64,
}

#[derive(Default)]
struct HubState {
    machine: LiveMachine,
    published: BTreeMap<u64, PublishedAnswer>,
    /// What each thread does.
    rounds: BTreeMap<u64, RunningRound>,
    /// Threads that were given up and have not come back.
    abandoned: usize,
    /// Whether there are more than may be, which was told.
    is_short: bool,
    stopping: bool,
}

struct PublishedAnswer {
    publisher: LivePublisher,
    last: Option<Arc<LiveAnswer>>,
}

/// What a thread has taken and not finished.
struct RunningRound {
    /// What it evaluates now, and by when it is to be done.
    current: Option<(u64, Instant)>,
    left: Vec<u64>,
}

/// What an evaluation came to.
pub(super) struct Evaluation {
    pub(super) outcome: Result<Evaluated, EvaluateError>,
    pub(super) live: LiveOutcome,
}

impl Evaluation {
    /// One without an answer.
    pub(super) fn failed(fault: EvaluateError) -> Evaluation {
        let live = LiveOutcome { failed: true, ..LiveOutcome::default() };
        Evaluation { outcome: Err(fault), live }
    }

    fn bytes(&self) -> u64 {
        let result = self.outcome.as_ref().map_or(0, |answer| answer.result.len());
        (result + self.live.footprint.bytes()) as u64
    }
}

impl PublishedAnswer {
    /// Memory for the next answer; where there is none beside the one before, in its place, if
    /// nobody else has that any more.
    fn take(&mut self, room: &Arc<Share>, bytes: u64) -> Result<Held, Full> {
        let taken = room.take(bytes);
        if taken.is_ok() || self.last.as_ref().is_none_or(|last| last.outcome.is_err()) {
            return taken;
        }
        self.last = None;
        self.publisher.forget();
        room.take(bytes)
    }
}

impl HubState {
    /// A thread hangs: others do what it has taken and not begun.
    fn leave(&mut self, thread: u64, now: Instant) {
        let Some(round) = self.rounds.get_mut(&thread) else { return };
        let left = std::mem::take(&mut round.left);
        left.into_iter().for_each(|question| self.machine.put_back(question, now));
        if self.abandoned >= ABANDONED && !std::mem::replace(&mut self.is_short, true) {
            tracing::error!(
                "{ABANDONED} threads that evaluate what is watched hang in plugins, and so does \
                 another, which is not replaced: what is watched may be late, or stand still; stop \
                 the plugin whose answers are \"deadline_exceeded\""
            );
        }
    }
}

/// Whether something may begin earlier than before.
fn is_earlier(before: Option<Instant>, after: Option<Instant>) -> bool {
    after.is_some_and(|after| before.is_none_or(|before| after < before))
}

impl LiveHub {
    pub(super) fn new(
        asking: &Asking,
        config: &LiveConfig,
        room: Arc<Share>,
        clock: LiveClock,
    ) -> LiveHub {
        LiveHub {
            asking: asking.clone(),
            clock,
            least: Duration::from_millis(config.min_interval_ms),
            most: config.questions,
            room,
            state: Mutex::default(),
            due: Condvar::new(),
            watched: Condvar::new(),
            slowest: AtomicU64::new(0),
        }
    }

    /// Unix milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    // Those who watch.

    /// One more who watches a question that was checked.
    pub(super) fn watch(
        self: &Arc<Self>,
        metric: &str,
        params: Map<String, Value>,
        min_interval: Duration,
    ) -> Result<LiveQuestion, EvaluateError> {
        let canonical: Arc<str> = canonical(&params).into();
        let (metric, params) = (Arc::<str>::from(metric), Arc::new(Value::Object(params)));
        let pace = self.pace(min_interval);
        let mut state = self.state.lock();
        if state.stopping {
            return Err(EvaluateError::Overloaded("the engine is stopping".into()));
        }
        let is_new = state.machine.find(&metric, &canonical).is_none();
        if is_new && state.machine.len() >= self.most {
            return Err(EvaluateError::Overloaded(format!(
                "{} different questions are watched, and no more may be ([live] questions)",
                self.most
            )));
        }
        let key = (&metric, &canonical);
        let question = state.machine.open(key, &params, pace, Instant::now());
        let interest = OpenInterest { hub: self.clone(), question, pace: Mutex::new(pace) };
        let published = state
            .published
            .entry(question)
            .or_insert_with(|| PublishedAnswer { publisher: LivePublisher::new(), last: None });
        let watched = published.publisher.question(canonical, Some(interest));
        drop(state);
        self.due.notify_one();
        self.watched.notify_one();
        Ok(watched)
    }

    /// One who watched a question is gone.
    pub(super) fn close(&self, question: u64, pace: Duration) {
        let mut state = self.state.lock();
        if state.machine.close(question, pace) {
            state.published.remove(&question);
        }
    }

    /// One who watched a question at one pace does so at another. Returns that pace.
    pub(super) fn repace(&self, question: u64, from: Duration, to: Duration) -> Duration {
        let to = self.pace(to);
        self.with_machine(|machine| machine.repace(question, Some(from), Some(to)));
        to
    }

    fn pace(&self, min_interval: Duration) -> Duration {
        min_interval.max(self.least).min(LONGEST_PACE)
    }

    /// How many questions are watched, and how long an update took at most since this was asked.
    pub(super) fn figures(&self) -> (usize, Duration) {
        let slowest = Duration::from_micros(self.slowest.swap(0, Ordering::Relaxed));
        (self.state.lock().machine.len(), slowest)
    }

    // The thread that watches.

    /// Waits until something is watched. Returns whether anything is: otherwise the engine stops.
    pub(super) fn wait_for_questions(&self) -> bool {
        let mut state = self.state.lock();
        while state.machine.is_empty() && !state.stopping {
            self.watched.wait(&mut state);
        }
        !state.stopping
    }

    /// Does something with the machine, and wakes who evaluates if something may begin earlier now.
    pub(super) fn with_machine<T>(&self, act: impl FnOnce(&mut LiveMachine) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.machine.next_ready();
        let done = act(&mut state.machine);
        let is_earlier = is_earlier(before, state.machine.next_ready());
        drop(state);
        if is_earlier {
            self.due.notify_all();
        }
        done
    }

    /// Gives up the threads that have not come back from a plugin. Returns how many were: each is
    /// to be replaced.
    pub(super) fn give_up_hung(&self) -> usize {
        let now = Instant::now();
        let mut state = self.state.lock();
        let hung = state
            .rounds
            .iter()
            .filter(|(_, round)| round.current.is_some_and(|(_, deadline)| deadline + HUNG < now));
        let mut hung: Vec<u64> = hung.map(|(thread, _)| *thread).collect();
        if hung.is_empty() {
            return 0;
        }
        let room = ABANDONED.saturating_sub(state.abandoned).min(hung.len());
        let more = hung.split_off(room);
        for thread in &hung {
            state.leave(*thread, now);
            let Some(round) = state.rounds.remove(thread) else { continue };
            state.abandoned += 1;
            if let Some((question, _)) = round.current {
                let fault = EvaluateError::DeadlineExceeded(self.asking.deadline);
                self.settle(&mut state, question, Evaluation::failed(fault), now);
            }
        }
        more.into_iter().for_each(|thread| state.leave(thread, now));
        drop(state);
        self.due.notify_all();
        hung.len()
    }

    // The threads that evaluate.

    /// Waits for questions that are due; `None`: the engine stops.
    pub(super) fn take(&self, thread: u64) -> Option<LiveRound> {
        let mut state = self.state.lock();
        while !state.stopping {
            if let Some(round) = state.machine.due(Instant::now()) {
                let left = round.questions.iter().map(|(question, _)| *question).collect();
                state.rounds.insert(thread, RunningRound { current: None, left });
                return Some(round);
            }
            match state.machine.next_ready() {
                Some(ready) => {
                    let _ = self.due.wait_until(&mut state, ready);
                }
                None => self.due.wait(&mut state),
            }
        }
        None
    }

    /// A thread begins to evaluate a question of its round. Returns whether it is still to: while
    /// it hung, others may have taken the question.
    pub(super) fn begin(&self, thread: u64, question: u64, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        let Some(round) = state.rounds.get_mut(&thread) else { return false };
        let is_current = round.current.is_some_and(|(current, _)| current == question);
        let has_it = is_current || round.left.contains(&question);
        if has_it {
            round.left.retain(|left| *left != question);
            round.current = Some((question, deadline));
        }
        has_it
    }

    /// A thread has evaluated a question; `None`: it is to be tried again in a moment. Returns
    /// whether the thread goes on: otherwise it was given up, and what it found is void.
    pub(super) fn finish(&self, thread: u64, question: u64, done: Option<Evaluation>) -> bool {
        let now = Instant::now();
        let before = self.last(question);
        let is_news = |done: &Evaluation| {
            before.as_ref().is_none_or(|before| !says_the_same(&before.outcome, &done.outcome))
        };
        // Compared without the lock: answers may be long.
        let done = done.map(|done| (is_news(&done), done));
        // The next one may need its room.
        drop(before);
        let mut state = self.state.lock();
        let Some(round) = state.rounds.get_mut(&thread) else { return false };
        round.current = None;
        let ready = state.machine.next_ready();
        let urgent = match done {
            None => {
                state.machine.put_back(question, now + BUSY);
                false
            }
            Some((true, done)) => self.settle(&mut state, question, done, now),
            Some((false, done)) => {
                let finished = state.machine.finish(question, done.live, now);
                finished.is_some_and(|finished| finished.urgent)
            }
        };
        let is_earlier = is_earlier(ready, state.machine.next_ready());
        drop(state);
        // This thread may be busy with its round for a while.
        if is_earlier {
            self.due.notify_one();
        }
        if urgent {
            self.asking.view.notify();
        }
        true
    }

    fn last(&self, question: u64) -> Option<Arc<LiveAnswer>> {
        self.state.lock().published.get(&question).and_then(|published| published.last.clone())
    }

    /// A thread is done with its round: what it did not evaluate waits for another moment.
    pub(super) fn end_round(&self, thread: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let Some(round) = state.rounds.remove(&thread) else { return };
        let left = round.current.map(|(question, _)| question).into_iter().chain(round.left);
        left.for_each(|question| state.machine.put_back(question, now));
        drop(state);
        self.due.notify_one();
    }

    /// A thread that was given up has come back.
    pub(super) fn came_back(&self) {
        let mut state = self.state.lock();
        state.abandoned = state.abandoned.saturating_sub(1);
        state.is_short = false;
    }

    /// Publishes what an evaluation came to, which says something else than what was published
    /// last. Returns whether the metric or the clock is to be looked at at once.
    fn settle(
        &self,
        state: &mut HubState,
        question: u64,
        mut done: Evaluation,
        now: Instant,
    ) -> bool {
        let Some(published) = state.published.get_mut(&question) else { return false };
        let number = published.last.as_ref().map_or(1, |before| before.number + 1);
        let held = published.take(&self.room, done.bytes());
        if held.is_err() {
            done = Evaluation::failed(EvaluateError::Overloaded(
                "what waits for sockets takes as much memory as it may, which is a share of \
                 [limits] memory"
                    .into(),
            ));
        }
        let Some(finished) = state.machine.finish(question, done.live, now) else { return false };
        let before = published.last.as_ref();
        // A fault that is found here may have been told before.
        let is_told = |before: &Arc<LiveAnswer>| says_the_same(&before.outcome, &done.outcome);
        if done.outcome.is_err() && before.is_some_and(is_told) {
            return finished.urgent;
        }
        let LiveFinish { woken, begun, .. } = finished;
        let (outcome, _held) = (done.outcome, held.ok());
        let took = now.saturating_duration_since(begun);
        let answer = Arc::new(LiveAnswer { number, outcome, begun, took, _held });
        published.last = Some(Arc::clone(&answer));
        published.publisher.publish(answer);
        let late = u64::try_from(now.saturating_duration_since(woken).as_micros());
        self.slowest.fetch_max(late.unwrap_or(u64::MAX), Ordering::Relaxed);
        finished.urgent
    }

    /// Ends all threads, and tells everybody who watches.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        let published = std::mem::take(&mut state.published);
        drop(state);
        // Dropping a publisher ends those who watch; they lock the hub in turn.
        drop(published);
        self.due.notify_all();
        self.watched.notify_all();
        self.asking.view.notify();
    }
}
