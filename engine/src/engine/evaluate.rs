//! Answers questions: checks the state that a metric is in, then takes a moment of it, under the
//! lock, and reads it without.
//!
//! Where engines share a store, the moment is one of the store, read when asked: any engine gives
//! the answer of any other.
//!
//! Whether it may be asked at all, `asking` says. Two ways give the same answers.
//! [`Engine::evaluate`] waits and calls the plugin, which may take any time: no lock is held, so
//! nothing waits for it, and `answering` keeps it from taking all threads.
//! [`Engine::ready_answer`] returns only answers that are known, for callers that must not block.

mod together;

pub use together::TOGETHER_LIMIT;

use super::catalog::ServedRevision;
use super::notices::{events_failed, keys_limited};
use super::{Engine, EvaluateError, Evaluated, History, Question, StateUnavailable};
use crate::event::Position;
use crate::pipeline::{
    Counted, Coverage, FOLLOWED, Followed, Follower, MetricProgress, Refreshed, Target,
};
use crate::progress::Quarantine;
use crate::query::{Answer, Moment, Refused};
use crate::state::{MetricId, State};
use crate::store::StoreError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tally_plugin::ask::Warning;

/// The reason of a refusal while answers use all the memory that they may.
const MEMORY: &str =
    "answers under way hold as much memory as they may, which is a share of [limits] memory";

/// Code of the warning that a metric stopped for lack of memory, and answers as of that moment.
pub(super) const OVER_MEMORY: &str = "over_memory";

/// How often the store is read for commits of other engines while a question waits for a position.
const CHECK_EVERY: Duration = Duration::from_millis(10);

impl Engine {
    /// Answers a question. Blocks (waiting for `at_least`, reading): call it off the async threads.
    ///
    /// # Errors
    /// [`EvaluateError`].
    pub fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError> {
        let served = self.served(&question.name)?;
        let answer = self.evaluate_of(&served, question);
        // Its memory was freed meanwhile: another revision answers, or none.
        if served.is_gone() { self.evaluate(question) } else { answer }
    }

    /// As `evaluate`, for one revision. The answer is void if the revision is gone afterwards.
    pub(super) fn evaluate_of(
        &self,
        served: &Arc<ServedRevision>,
        question: &Question,
    ) -> Result<Evaluated, EvaluateError> {
        let params = served.askable.check(&question.params, now()).map_err(refused)?;
        self.asking.require_partitions()?;
        self.asking.require_counting(served)?;
        if let Some(follower) = &served.follower {
            return self.evaluate_followed(served, follower, &params, question);
        }
        if let Some(position) = &question.at_least
            && !self.view.wait_for(served.id, position, question.wait)
        {
            return Err(EvaluateError::PositionNotReached(
                self.view.read().metrics[served.id.0].position.clone(),
            ));
        }
        // Not the time of the check: the question may have waited since.
        let as_of = now();
        let deadline = Instant::now() + self.deadline;
        let stopped = self.asking.require_counting(served)?;
        let still = Seen::of_lane(served, &self.view.read()).still(question, &stopped)?;
        let answer = self.answer(served, question, &params, (as_of, deadline), &still)?;
        Ok(self.of_lane(served, question, &answer, as_of, &still.facts, stopped))
    }

    /// Calls the plugin, without a lock.
    fn answer(
        &self,
        served: &ServedRevision,
        question: &Question,
        params: &Map<String, Value>,
        (as_of, deadline): (i64, Instant),
        still: &Still,
    ) -> Result<Arc<Answer>, EvaluateError> {
        let _under_way = self.answering.begin(served.askable.plugin.name(), deadline)?;
        question.calling.store(true, Ordering::Relaxed);
        let answer = served.askable.answer(params, as_of, deadline, &still.moment).map_err(refused);
        question.calling.store(false, Ordering::Relaxed);
        answer
    }

    /// As `evaluate`, from everything that all engines have committed by now.
    fn evaluate_followed(
        &self,
        served: &ServedRevision,
        follower: &Follower,
        params: &Map<String, Value>,
        question: &Question,
    ) -> Result<Evaluated, EvaluateError> {
        let deadline = Instant::now() + question.wait;
        let until = deadline.max(Instant::now() + self.deadline);
        let refresh = || {
            let away = |fault: StoreError| EvaluateError::StoreUnavailable(fault.into());
            follower.refresh_until(Instant::now(), until).map_err(away)
        };
        let mut refreshed = refresh()?;
        let reached = |at_least: &Position| follower.read().position.reaches(at_least);
        while let Some(at_least) = question.at_least.as_ref().filter(|at_least| !reached(at_least))
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(EvaluateError::PositionNotReached(follower.read().position.clone()));
            }
            tracing::trace!(%at_least, "waiting for a commit, here or by another engine");
            self.view.wait_for_change(left.min(CHECK_EVERY));
            refreshed = refresh()?;
        }
        let as_of = now();
        let deadline = Instant::now() + self.deadline;
        let stopped = self.asking.require_counting(served)?.and_behind(&refreshed);
        let still = Seen::followed(&follower.read()).still(question, &stopped)?;
        let answer = self.answer(served, question, params, (as_of, deadline), &still)?;
        Ok(served.evaluated(&answer, as_of, &still.facts, stopped.warnings))
    }

    /// Answers a question if the answer is known: `at_least` (if any) is reached, no batch is being
    /// applied, and the same question was answered since the last batch. `None` means: call
    /// [`Engine::evaluate`]. Calls no plugin, and may be called on async threads.
    pub fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>> {
        self.at_once(question).transpose()
    }

    fn at_once(&self, question: &Question) -> Result<Option<Evaluated>, EvaluateError> {
        let served = self.served(&question.name)?;
        let as_of = now();
        let params = served.askable.check(&question.params, as_of).map_err(refused)?;
        self.asking.require_partitions()?;
        let stopped = self.asking.require_counting(&served)?;
        // The commits of other engines have to be read first.
        if served.follower.is_some() {
            return Ok(None);
        }
        let Some(counted) = self.view.try_read().filter(|_| !served.is_gone()) else {
            return Ok(None);
        };
        let seen = Seen::of_lane(&served, &counted);
        if question.at_least.as_ref().is_some_and(|at_least| !seen.position.reaches(at_least)) {
            return Ok(None);
        }
        seen.require_whole(question, &stopped)?;
        let held = seen.state.held(seen.id);
        let answer = served.askable.known(&params, as_of, &held, seen.version).map_err(refused)?;
        let facts = seen.facts();
        drop(counted);
        Ok(answer.map(|answer| self.of_lane(&served, question, &answer, as_of, &facts, stopped)))
    }

    fn of_lane(
        &self,
        served: &Arc<ServedRevision>,
        question: &Question,
        answer: &Answer,
        as_of: i64,
        facts: &Facts,
        stopped: Stopped,
    ) -> Evaluated {
        let whole = stopped.warnings.is_empty() && facts.history.complete;
        let validity = if whole { self.validity_of(served, question, facts.version) } else { None };
        Evaluated { validity, ..served.evaluated(answer, as_of, facts, stopped.warnings) }
    }

    pub(super) fn served(&self, name: &str) -> Result<Arc<ServedRevision>, EvaluateError> {
        self.asking.served(name)
    }
}

impl ServedRevision {
    pub(super) fn evaluated(
        &self,
        answer: &Answer,
        as_of: i64,
        facts: &Facts,
        stopped: Vec<Warning>,
    ) -> Evaluated {
        let limited = facts.limited.iter().cloned();
        let name = self.askable.plugin.name();
        let failed = Some(facts.failed).filter(|failed| *failed > 0);
        let failed = failed.map(|count| {
            Warning::new("events_failed", events_failed(name, count)).with("count", count)
        });
        Evaluated {
            result: answer.result.clone(),
            result_schema: Arc::clone(&self.result_schema),
            window: answer.window,
            position: answer.position.clone(),
            as_of,
            version: self.askable.plugin.version().to_owned(),
            revision: self.revision.fingerprint,
            history: facts.history.clone(),
            warnings: answer
                .warnings
                .iter()
                .cloned()
                .chain(stopped)
                .chain(limited)
                .chain(failed)
                .collect(),
            validity: None,
        }
    }
}

/// Whether, and how, a metric that answers does not count at this moment.
pub(super) struct Stopped {
    /// What its answers say about that.
    pub(super) warnings: Vec<Warning>,
    /// It does not continue before somebody changes something, or there is more memory.
    pub(super) for_good: bool,
}

impl Stopped {
    pub(super) fn too_large(code: &'static str, why: &Quarantine) -> Stopped {
        Stopped { warnings: vec![Warning::new(code, why.to_string())], for_good: true }
    }

    /// The same, if its follower stays at an earlier moment, which its lane may not have reported
    /// yet.
    pub(super) fn and_behind(mut self, refreshed: &Refreshed) -> Stopped {
        let Refreshed::Behind(why) = refreshed else { return self };
        if self.warnings.iter().all(|warning| warning.code != OVER_MEMORY) {
            self.warnings.push(Warning::new(OVER_MEMORY, why.to_string()));
        }
        Stopped { for_good: true, ..self }
    }
}

/// A metric as it is now, in the lane's view or in a follower, under its lock.
pub(super) struct Seen<'a> {
    pub(super) state: &'a State,
    pub(super) id: MetricId,
    position: &'a Position,
    pub(super) version: u64,
    target: &'a Target,
    coverages: &'a BTreeMap<u32, Coverage>,
    in_doubt: bool,
}

/// What goes with an answer.
pub(super) struct Facts {
    version: u64,
    pub(super) history: History,
    pub(super) limited: Vec<Warning>,
    /// Events that are in none of its numbers.
    pub(super) failed: u64,
}

/// A metric at one moment, to be read without a lock.
pub(super) struct Still {
    pub(super) moment: Moment,
    pub(super) facts: Facts,
}

impl<'a> Seen<'a> {
    pub(super) fn of_lane(served: &ServedRevision, counted: &'a Counted) -> Seen<'a> {
        let MetricProgress { position, version, target, coverages, in_doubt, .. } =
            &counted.metrics[served.id.0];
        let (state, version) = (&counted.state, *version);
        Seen { state, id: served.id, position, version, target, coverages, in_doubt: *in_doubt }
    }

    pub(super) fn followed(followed: &'a Followed) -> Seen<'a> {
        let Followed { state, position, version, target, coverages, .. } = followed;
        let version = *version;
        Seen { state, id: FOLLOWED, position, version, target, coverages, in_doubt: false }
    }

    pub(super) fn require_whole(
        &self,
        question: &Question,
        stopped: &Stopped,
    ) -> Result<(), EvaluateError> {
        // A metric that is stopped for good would never be complete; its answer says that it is
        // stopped, and that history is missing.
        if !question.allow_partial
            && !stopped.for_good
            && let Some(done) = self.target.completed(self.position, self.coverages)
        {
            return Err(EvaluateError::Backfilling { done });
        }
        if self.in_doubt { Err(StateUnavailable::Loading.into()) } else { Ok(()) }
    }

    pub(super) fn facts(&self) -> Facts {
        let from = self.state.times(self.id).map(|(first, _)| first);
        let history = History { complete: *self.target == Target::Reached, from };
        let (limited, failed) =
            (keys_limited(self.state, self.id), Coverage::failed(self.coverages));
        Facts { version: self.version, history, limited, failed }
    }

    pub(super) fn still(
        &self,
        question: &Question,
        stopped: &Stopped,
    ) -> Result<Still, EvaluateError> {
        self.require_whole(question, stopped)?;
        let (state, position) = (self.state.moment(self.id), self.position.clone());
        Ok(Still { moment: Moment { state, position, version: self.version }, facts: self.facts() })
    }
}

/// Unix milliseconds.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

pub(super) fn refused(refused: Refused) -> EvaluateError {
    match refused {
        Refused::Invalid(code, errors) => EvaluateError::Invalid { code, errors },
        Refused::Plugin(what) => EvaluateError::PluginFailed(what),
        Refused::Deadline(limit) => EvaluateError::DeadlineExceeded(limit),
        Refused::Memory => EvaluateError::Overloaded(MEMORY.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHY: Quarantine = Quarantine::OverMemory { held: 2, share: 1 };

    fn codes(stopped: &Stopped) -> Vec<&str> {
        stopped.warnings.iter().map(|warning| &*warning.code).collect()
    }

    #[test]
    fn what_is_answered_from_an_earlier_moment_says_so_once_also_before_its_lane_does() {
        let counts = || Stopped { warnings: Vec::new(), for_good: false };
        let behind = Refreshed::Behind(WHY);
        let current = counts().and_behind(&Refreshed::Current);
        assert!(codes(&current).is_empty() && !current.for_good);
        let stays = counts().and_behind(&behind);
        assert_eq!((codes(&stays), stays.for_good), (vec!["over_memory"], true));
        assert!(stays.warnings[0].detail.contains("[limits] memory"), "{:?}", stays.warnings);
        // Its lane has said it, or something else.
        assert_eq!(
            codes(&Stopped::too_large(OVER_MEMORY, &WHY).and_behind(&behind)),
            ["over_memory"]
        );
        let cells = Stopped::too_large("over_max_cells", &WHY).and_behind(&behind);
        assert_eq!(codes(&cells), ["over_max_cells", "over_memory"]);
    }
}
