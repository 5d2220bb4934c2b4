//! Answering a question: the state a metric is in first, then one moment of it under the read lock.
//!
//! Two ways with the same answers: [`Engine::evaluate`] waits and reads as long as the deadline lets it;
//! [`Engine::ready_answer`] only does what is over at once, for callers that must not block.

use super::{Engine, EvaluateError, Evaluated, History, Question, Served, done, missing};
use crate::event::Position;
use crate::pipeline::{Counted, Standing};
use crate::query::{Answer, Moment, Refused};
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    /// Answers a question. Blocks (waiting for `at_least`, reading): call it off the async threads.
    ///
    /// # Errors
    /// [`EvaluateError`].
    pub fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError> {
        let served = self.served(&question.name)?;
        let params = served.askable.check(&question.params, now()).map_err(refused)?;
        self.require_partitions()?;
        if let Some(position) = &question.at_least
            && !self.view.wait_for(served.askable.id, position, question.wait)
        {
            return Err(EvaluateError::PositionNotReached(self.position_of(served)));
        }
        // Not the time of the check: what was waited for has happened since.
        let as_of = now();
        let deadline = Instant::now() + self.deadline;
        self.require_counting(served)?;
        let counted = self.view.read();
        let moment = moment(served, &counted, question.allow_partial)?;
        let answer = served.askable.answer(&params, as_of, deadline, &moment).map_err(refused)?;
        Ok(served.evaluated(&answer, as_of, &counted))
    }

    /// Answers a question if that neither waits nor takes long: `at_least` (if any) is reached, no batch is being
    /// applied at this moment, and the answer is known or was found quickly the last time
    /// ([`QUICK`](crate::query::QUICK)). `None` means: ask [`Engine::evaluate`]. May be called on async threads.
    pub fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>> {
        self.at_once(question).transpose()
    }

    fn at_once(&self, question: &Question) -> Result<Option<Evaluated>, EvaluateError> {
        let served = self.served(&question.name)?;
        let as_of = now();
        let params = served.askable.check(&question.params, as_of).map_err(refused)?;
        self.require_partitions()?;
        self.require_counting(served)?;
        let Some(counted) = self.view.try_read() else { return Ok(None) };
        let position = &counted.metrics[served.askable.id.0].position;
        if question.at_least.as_ref().is_some_and(|at_least| !position.reaches(at_least)) {
            return Ok(None);
        }
        let moment = moment(served, &counted, question.allow_partial)?;
        let answer = served.askable.answer_at_once(&params, as_of, &moment).map_err(refused)?;
        Ok(answer.map(|answer| served.evaluated(&answer, as_of, &counted)))
    }

    fn served(&self, name: &str) -> Result<&Served, EvaluateError> {
        self.metrics.get(name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> EvaluateError {
        let mut near: Vec<(f64, &String)> =
            self.metrics.keys().map(|known| (strsim::jaro_winkler(known, name), known)).collect();
        near.retain(|(likeness, _)| *likeness > 0.75);
        near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let suggestions: Vec<String> = near.into_iter().take(3).map(|(_, known)| known.clone()).collect();
        let hint = suggestions.first().map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        EvaluateError::NotFound { suggestions, detail: format!("there is no metric of this name{hint}") }
    }

    /// With a store of its own an engine must hold all partitions: half the numbers are never served.
    fn require_partitions(&self) -> Result<(), EvaluateError> {
        // While the log is away nobody else counts either: what is known is whole up to its position.
        let missing = |standing: &Standing| {
            let away = standing.assigned && standing.held.is_empty() && standing.source_trouble.is_some();
            if away { None } else { missing(standing) }
        };
        self.view.look(missing).map_or(Ok(()), |what| Err(EvaluateError::PartitionsMissing(what)))
    }

    fn require_counting(&self, served: &Served) -> Result<(), EvaluateError> {
        let halt = self.view.look(|standing| standing.halts.get(&served.askable.id).cloned());
        halt.map_or(Ok(()), |reason| Err(EvaluateError::Quarantined(reason)))
    }

    fn position_of(&self, served: &Served) -> Position {
        self.view.read().metrics[served.askable.id.0].position.clone()
    }
}

impl Served {
    fn evaluated(&self, answer: &Answer, as_of: i64, counted: &Counted) -> Evaluated {
        let id = self.askable.id;
        let complete = counted.metrics[id.0].target.is_none();
        Evaluated {
            result: answer.result.clone(),
            result_schema: Arc::clone(&self.result_schema),
            window: answer.window,
            position: answer.position.clone(),
            as_of,
            version: self.askable.plugin.version().to_owned(),
            history: History { complete, from: counted.state.times(id).map(|(first, _)| first) },
            warnings: answer.warnings.clone(),
        }
    }
}

fn moment<'a>(served: &Served, counted: &'a Counted, allow_partial: bool) -> Result<Moment<'a>, EvaluateError> {
    let place = &counted.metrics[served.askable.id.0];
    match &place.target {
        Some(target) if !allow_partial => Err(EvaluateError::Backfilling { done: done(&place.position, target) }),
        _ => Ok(Moment { state: &counted.state, position: &place.position, version: place.version }),
    }
}

/// Unix milliseconds.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn refused(refused: Refused) -> EvaluateError {
    match refused {
        Refused::Invalid(code, errors) => EvaluateError::Invalid { code, errors },
        Refused::Plugin(what) => EvaluateError::PluginFailed(what),
        Refused::Deadline => EvaluateError::DeadlineExceeded,
    }
}
