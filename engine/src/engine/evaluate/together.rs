//! Several questions at once, all of them at one moment of what the lane has counted.
//!
//! The moments of their metrics are taken under one hold of the lock, so that the answers can be
//! compared with each other; the answers are then computed one after the other, without it. A
//! metric that counts in a lane of its own is as far as that lane is. Moments are held for a
//! bounded time: what is not answered by then is refused. Where engines share a store each metric
//! is read from the store by itself, and its answer says at which position.

use super::{Seen, Still, Stopped, now, refused};
use crate::engine::catalog::ServedRevision;
use crate::engine::{Engine, EvaluateError, Evaluated, Question};
use crate::pipeline::Counted;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::ask::Fault;

/// As many times as long as one answer, all of them together may take.
pub const TOGETHER_LIMIT: u32 = 4;

/// But no longer than this, unless one answer may.
const LONGEST: Duration = Duration::from_secs(5);

/// A question that was checked, and may be answered.
struct Prepared<'q> {
    served: Arc<ServedRevision>,
    question: &'q Question,
    params: Cow<'q, Map<String, Value>>,
    stopped: Stopped,
    /// None: it is read from a shared store.
    still: Option<Still>,
}

impl<'q> Prepared<'q> {
    /// At this moment.
    fn taken(mut self, counted: &Counted) -> Result<Prepared<'q>, EvaluateError> {
        if self.served.follower.is_some() {
            return Ok(self);
        }
        let seen = Seen::of_lane(&self.served, counted);
        if let Some(at_least) = &self.question.at_least
            && !seen.position.reaches(at_least)
        {
            return Err(EvaluateError::PositionNotReached(seen.position.clone()));
        }
        self.still = Some(seen.still(self.question, &self.stopped)?);
        Ok(self)
    }
}

impl Engine {
    /// Answers several questions together; none of them is waited for longer than its evaluation
    /// takes, and all together for at most [`TOGETHER_LIMIT`] times as long: the rest is refused.
    /// Results that have more than `most` bytes in sum are refused, each that exceeds it. Blocks.
    pub fn evaluate_together(
        &self,
        questions: &[Question],
        most: usize,
    ) -> Vec<Result<Evaluated, EvaluateError>> {
        let prepared: Vec<_> = questions.iter().map(|question| self.prepared(question)).collect();
        let as_of = now();
        let counted = self.view.read();
        let taken: Vec<_> = prepared.into_iter().map(|one| one?.taken(&counted)).collect();
        drop(counted);
        let end = Instant::now() + together(self.deadline);
        let (mut left, mut answers) = (most, Vec::with_capacity(taken.len()));
        for one in taken {
            let answer = one.and_then(|prepared| {
                if Instant::now() >= end {
                    return Err(EvaluateError::DeadlineExceeded(self.deadline));
                }
                self.completed(prepared, (as_of, end))
            });
            answers.push(answer.and_then(|evaluated| {
                let bytes = evaluated.result.len();
                left = left.checked_sub(bytes).ok_or_else(|| too_large(most))?;
                Ok(evaluated)
            }));
        }
        answers
    }

    fn prepared<'q>(&self, question: &'q Question) -> Result<Prepared<'q>, EvaluateError> {
        let served = self.served(&question.name)?;
        let params = served.askable.check(&question.params, now()).map_err(refused)?;
        self.asking.require_partitions()?;
        let stopped = self.asking.require_counting(&served)?;
        Ok(Prepared { served, question, params, stopped, still: None })
    }

    /// By `end` at the latest.
    fn completed(
        &self,
        prepared: Prepared<'_>,
        (as_of, end): (i64, Instant),
    ) -> Result<Evaluated, EvaluateError> {
        let Prepared { served, question, params, stopped, still } = prepared;
        let Some(still) = still else { return self.evaluate(question) };
        let deadline = end.min(Instant::now() + self.deadline);
        let answer = self.answer(&served, question, &params, (as_of, deadline), &still);
        // Its memory was freed meanwhile: another revision answers, or none.
        if served.is_gone() {
            return self.evaluate(question);
        }
        let answer = answer?;
        Ok(self.of_lane(&served, question, &answer, as_of, &still.facts, stopped))
    }
}

/// How long all questions may take where one may take `deadline`.
fn together(deadline: Duration) -> Duration {
    deadline.saturating_mul(TOGETHER_LIMIT).min(LONGEST).max(deadline)
}

fn too_large(most: usize) -> EvaluateError {
    let detail = format!(
        "the answers together would have more than {most} bytes ([limits] answer_bytes): ask for \
         less at once"
    );
    let errors = vec![Fault { pointer: "/params".into(), detail }];
    EvaluateError::Invalid { code: "answer_too_large".into(), errors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_have_a_deadline_and_one_alone_has_its_own() {
        let ms = Duration::from_millis;
        for (one, all) in [(1, 4), (250, 1_000), (2_000, 5_000), (10_000, 10_000)] {
            assert_eq!(together(ms(one)), ms(all), "{one}");
        }
    }
}
