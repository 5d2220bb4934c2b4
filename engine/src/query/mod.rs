//! Questions: from a name and params to an answer with the exact position it rests on.
//!
//! Look up, check the params (all faults at once), wait if asked to, then under one read lock: window, reads, position.
//! Equal questions at one version of a metric share one evaluation; how long it took decides whether the next one, at a
//! later version, may be made on a thread that must not block. No HTTP here, and no catalogue: names and the like
//! are the host's decoration.

mod params;
mod window;

pub use params::Params;
pub use window::looks_at_the_clock;

use crate::event::Position;
use crate::plugin::{self, AnswerFailure, Read, ReadFault};
use crate::state::{Held, MetricId, ReadError, State};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::ask::{Ask, Fault, Reply, Warning};
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// Answers kept per metric; equal questions at one version are answered once. Beyond it all are forgotten.
const CACHED: usize = 256;

/// An evaluation that took less is repeated where it is asked for: handing it to another thread and back costs some 30 µs
/// and a place there, while this holds up an async thread no longer than a few system calls do.
pub const QUICK: Duration = Duration::from_micros(200);

/// Where an evaluation that was quick before is broken off after all: it goes to a thread then, and next time too.
const QUICK_DEADLINE: Duration = Duration::from_millis(1);

/// A metric that can be asked.
pub struct Askable {
    /// Its number in the state.
    pub id: MetricId,
    /// The plugin.
    pub plugin: Arc<plugin::Metric>,
    /// What its params must satisfy.
    pub params: Params,
    answers: Answers,
}

/// By question.
#[derive(Default)]
struct Answers(Mutex<HashMap<String, Kept>>);

struct Kept {
    /// Of the state that it was read from.
    version: u64,
    answer: Arc<Answer>,
    took: Duration,
}

/// What is known of a question.
enum Known {
    /// Its answer.
    Answer(Arc<Answer>),
    /// How long its last answer took, at an earlier version.
    Took(Duration),
    Nothing,
}

/// An answer, shared by equal questions.
#[derive(Debug)]
pub struct Answer {
    /// The result as JSON text.
    pub result: Arc<str>,
    /// The window counted; an absent bound is open.
    pub window: (Option<i64>, Option<i64>),
    /// What the asker should know.
    pub warnings: Vec<Warning>,
    /// Exactly what was counted.
    pub position: Position,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// The params are wrong; code and all faults.
    Invalid(String, Vec<Fault>),
    /// The plugin failed.
    Plugin(String),
    /// It took too long.
    Deadline,
}

/// State at one moment, as a question sees it.
pub struct Moment<'a> {
    /// The views.
    pub state: &'a State,
    /// The metric's position.
    pub position: &'a Position,
    /// Grows with every change of the metric's state.
    pub version: u64,
}

impl Askable {
    /// A metric that can be asked.
    ///
    /// # Errors
    /// A sentence, if its params schema cannot be used.
    pub fn new(id: MetricId, plugin: Arc<plugin::Metric>) -> Result<Askable, String> {
        let params = Params::new(plugin.description())?;
        Ok(Askable { id, plugin, params, answers: Answers::default() })
    }

    /// Checks a question; `null` means `{}`. What it cannot see is what depends on the state: how finely the past is held.
    ///
    /// # Errors
    /// All faults.
    pub fn check<'q>(&self, params: &'q Value, now: i64) -> Result<Cow<'q, Map<String, Value>>, Refused> {
        let (faults, params) = match params {
            Value::Null => (self.params.faults(&Value::Object(Map::new()), now), Cow::Owned(Map::new())),
            Value::Object(given) => (self.params.faults(params, now), Cow::Borrowed(given)),
            _ => return Err(invalid("/params", "params is not an object")),
        };
        if faults.is_empty() { Ok(params) } else { Err(Refused::Invalid("invalid_params".into(), faults)) }
    }

    /// Answers a question that was checked.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn answer(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        deadline: Instant,
        moment: &Moment<'_>,
    ) -> Result<Arc<Answer>, Refused> {
        let ask = self.ask(params, as_of, &moment.state.held(self.id))?;
        let question = question(&ask);
        match self.answers.known(moment.version, &question) {
            Known::Answer(answer) => Ok(answer),
            Known::Took(_) | Known::Nothing => self.evaluate(&ask, question, deadline, moment),
        }
    }

    /// Answers a question that was checked if the answer is known or was found quickly the last time; else `None`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn answer_at_once(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        moment: &Moment<'_>,
    ) -> Result<Option<Arc<Answer>>, Refused> {
        let ask = self.ask(params, as_of, &moment.state.held(self.id))?;
        let question = question(&ask);
        match self.answers.known(moment.version, &question) {
            Known::Answer(answer) => Ok(Some(answer)),
            Known::Took(took) if took < QUICK => {
                match self.evaluate(&ask, question.clone(), Instant::now() + QUICK_DEADLINE, moment) {
                    Err(Refused::Deadline) => {
                        self.answers.0.lock().remove(&question);
                        Ok(None)
                    }
                    other => other.map(Some),
                }
            }
            Known::Took(_) | Known::Nothing => Ok(None),
        }
    }

    fn evaluate(
        &self,
        ask: &Ask,
        question: String,
        deadline: Instant,
        moment: &Moment<'_>,
    ) -> Result<Arc<Answer>, Refused> {
        let begun = Instant::now();
        let reader = StateReader { state: moment.state, metric: self.id, deadline };
        let answer = match self.plugin.answer(ask, &reader) {
            Ok(Reply::Answer { result, warnings }) => Arc::new(Answer {
                result: result.to_string().into(),
                window: (ask.window.from, ask.window.to),
                warnings,
                position: moment.position.clone(),
            }),
            Ok(Reply::Refusal(refusal)) => return Err(Refused::Invalid(refusal.code, refusal.errors)),
            Err(AnswerFailure::Read(ReadFault::Deadline)) => return Err(Refused::Deadline),
            Err(failure) => return Err(Refused::Plugin(failure.to_string())),
        };
        self.answers
            .remember(question, Kept { version: moment.version, answer: Arc::clone(&answer), took: begun.elapsed() });
        Ok(answer)
    }

    fn ask(&self, params: &Map<String, Value>, as_of: i64, held: &Held) -> Result<Ask, Refused> {
        if !self.plugin.description().time {
            let (params, window) = (Value::Object(params.clone()), tally_plugin::ask::Window::default());
            return Ok(Ask { params, window, steps: None, event_types: None, as_of });
        }
        let time =
            window::parse(params, as_of, held).map_err(|fault| Refused::Invalid(fault.code.into(), fault.faults))?;
        let own = params.iter().filter(|(name, _)| !window::TIME_PARAMS.contains(&name.as_str()));
        let own = Value::Object(own.map(|(name, value)| (name.clone(), value.clone())).collect());
        let (window, steps, event_types) = (time.window, time.steps, time.event_types);
        Ok(Ask { params: own, window, steps, event_types, as_of })
    }
}

impl Answers {
    fn known(&self, version: u64, question: &str) -> Known {
        match self.0.lock().get(question) {
            Some(kept) if kept.version == version => Known::Answer(Arc::clone(&kept.answer)),
            Some(kept) => Known::Took(kept.took),
            None => Known::Nothing,
        }
    }

    fn remember(&self, question: String, kept: Kept) {
        let mut answers = self.0.lock();
        if answers.len() >= CACHED && !answers.contains_key(&question) {
            answers.clear();
        }
        answers.insert(question, kept);
    }
}

/// What makes two questions equal at one version: everything but the time of asking.
fn question(ask: &Ask) -> String {
    let Ask { params, window, steps, event_types, as_of: _ } = ask;
    let steps = steps.map(|steps| (steps.step_ms, steps.from, steps.to));
    format!("{params}|{:?}|{:?}|{steps:?}|{event_types:?}", window.from, window.to)
}

fn invalid(pointer: &str, detail: &str) -> Refused {
    let fault = Fault { pointer: pointer.into(), detail: detail.into() };
    Refused::Invalid("invalid_params".into(), vec![fault])
}

/// Reads of one answer, all at one moment.
struct StateReader<'a> {
    state: &'a State,
    metric: MetricId,
    deadline: Instant,
}

impl Read for StateReader<'_> {
    fn read(&self, request: &ReadRequest) -> Result<ReadAnswer, ReadFault> {
        let late = || Instant::now() >= self.deadline;
        self.state.read(self.metric, request, &late).map_err(|error| match error {
            ReadError::Deadline => ReadFault::Deadline,
            ReadError::Bad(what) => ReadFault::Request(what),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(version: u64, took: Duration) -> Kept {
        let answer =
            Answer { result: "1".into(), window: (None, None), warnings: Vec::new(), position: Position::default() };
        Kept { version, answer: Arc::new(answer), took }
    }

    #[test]
    fn an_answer_is_known_at_its_version_and_how_long_it_took_later() {
        let answers = Answers::default();
        assert!(matches!(answers.known(1, "a"), Known::Nothing));
        answers.remember("a".into(), kept(1, QUICK));
        assert!(matches!(answers.known(1, "a"), Known::Answer(_)));
        assert!(matches!(answers.known(2, "a"), Known::Took(took) if took == QUICK));
        assert!(matches!(answers.known(1, "b"), Known::Nothing));
    }

    #[test]
    fn answers_are_bounded_and_one_that_is_renewed_forgets_none() {
        let answers = Answers::default();
        for n in 0..CACHED {
            answers.remember(n.to_string(), kept(1, QUICK));
        }
        answers.remember("0".into(), kept(2, QUICK));
        assert!(matches!(answers.known(1, "255"), Known::Answer(_)));
        answers.remember("new".into(), kept(2, QUICK));
        assert_eq!(answers.0.lock().len(), 1);
    }
}
