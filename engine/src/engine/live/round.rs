//! What the threads do that evaluate: a round of questions to one metric, all at one moment.
//!
//! A plugin that does not return keeps its thread: that is given up by the thread that watches, and
//! ends when it comes back. A round ends when it has taken as long as one answer may, so that no
//! moment is held for long; what is left waits for the next. A panic is the outcome of its
//! question.

use super::hub::{Evaluation, LiveHub};
use crate::engine::asking::Asking;
use crate::engine::catalog::ServedRevision;
use crate::engine::evaluate::{Seen, Still, Stopped, refused};
use crate::engine::{EvaluateError, Question};
use crate::pipeline::{Follower, Refreshed};
use crate::query::live::{LiveOutcome, LiveRound};
use crate::store::StoreError;
use crate::telemetry;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old what is known of a shared store may be when it is looked at.
const FRESH: Duration = Duration::from_millis(50);

/// How long to wait for another thread that reads it.
const PATIENCE: Duration = Duration::from_millis(250);

/// Evaluates what is due until the engine stops, or this thread was given up.
pub(super) fn work(hub: &LiveHub, thread: u64) {
    while let Some(round) = hub.take(thread) {
        if !evaluate(hub, thread, &round) {
            hub.came_back();
            return;
        }
        hub.end_round(thread);
    }
}

/// Evaluates a round. Returns whether the thread goes on.
fn evaluate(hub: &LiveHub, thread: u64, round: &LiveRound) -> bool {
    let asking = &hub.asking;
    let end = Instant::now() + asking.deadline;
    let basis = contained(|| Basis::new(asking, &round.metric));
    for (n, (question, params)) in round.questions.iter().enumerate() {
        let now = Instant::now();
        if n > 0 && now >= end {
            break;
        }
        let deadline = now + asking.deadline;
        if !hub.begin(thread, *question, deadline) {
            continue;
        }
        let evaluated = match &basis {
            Ok(basis) => contained(|| basis.evaluate(asking, params, (hub.now_ms(), deadline))),
            Err(fault) => Err(fault.clone()),
        };
        telemetry::live_evaluated();
        let done = evaluated.unwrap_or_else(|fault| Some(Evaluation::failed(fault)));
        if !hub.finish(thread, *question, done) {
            return false;
        }
    }
    true
}

/// A metric at one moment.
struct Basis {
    served: Arc<ServedRevision>,
    still: Still,
    stopped: Stopped,
}

impl Basis {
    /// What [`crate::engine::Engine::evaluate`] would read now.
    fn new(asking: &Asking, metric: &str) -> Result<Basis, EvaluateError> {
        let served = asking.served(metric)?;
        asking.require_partitions()?;
        let stopped = asking.require_counting(&served)?;
        let question = whole(metric);
        let (stopped, still) = match &served.follower {
            None => {
                let still = Seen::of_lane(&served, &asking.view.read()).still(&question, &stopped);
                (stopped, still?)
            }
            Some(follower) => {
                let stopped = stopped.and_behind(&refreshed(follower)?);
                let still = Seen::followed(&follower.read()).still(&question, &stopped);
                (stopped, still?)
            }
        };
        Ok(Basis { served, still, stopped })
    }

    /// Evaluates a question; `None`: not now.
    fn evaluate(
        &self,
        asking: &Asking,
        params: &Value,
        (as_of, deadline): (i64, Instant),
    ) -> Result<Option<Evaluation>, EvaluateError> {
        let Basis { served, still, stopped } = self;
        let askable = &served.askable;
        let params = askable.check(params, as_of).map_err(refused)?;
        let Some(_under_way) = asking.answering.try_begin(askable.plugin.name(), deadline)? else {
            return Ok(None);
        };
        let answer = askable.answer(&params, as_of, deadline, &still.moment).map_err(refused)?;
        if served.is_gone() {
            // Its memory was freed meanwhile: another revision answers, or none.
            return Ok(None);
        }
        let held = still.moment.state.held();
        let live = LiveOutcome {
            version: still.moment.version,
            footprint: Arc::clone(&answer.footprint),
            edge: askable.next_edge(&params, as_of, held),
            meaning: askable.meaning(&params, as_of, held),
            failed: false,
        };
        let outcome = served.evaluated(&answer, as_of, &still.facts, stopped.warnings.clone());
        Ok(Some(Evaluation { outcome: Ok(outcome), live }))
    }
}

/// A question that wants all of history; what is asked is not in it.
pub(super) fn whole(metric: &str) -> Question {
    Question {
        name: metric.to_owned(),
        params: Value::Null,
        at_least: None,
        wait: Duration::ZERO,
        allow_partial: false,
        calling: Arc::default(),
    }
}

/// Reads what other engines have committed, unless that was just done.
pub(super) fn refreshed(follower: &Follower) -> Result<Refreshed, EvaluateError> {
    let now = Instant::now();
    let asked = now.checked_sub(FRESH).unwrap_or(now);
    let away = |fault: StoreError| EvaluateError::StoreUnavailable(fault.into());
    follower.refresh_until(asked, now + PATIENCE).map_err(away)
}

/// Does something that must not end its thread.
pub(super) fn contained<T>(
    act: impl FnOnce() -> Result<T, EvaluateError>,
) -> Result<T, EvaluateError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        // Dropping the payload may panic in turn.
        std::mem::forget(panic);
        Err(EvaluateError::PluginFailed(
            "an internal error ended the evaluation; the log has its message".into(),
        ))
    })
}
