//! Questions: from a name and params to an answer with the exact position it rests on.
//!
//! Look up, check the params (all faults at once), wait if asked to, then under one read lock: window, reads, position.
//! Equal questions at one version of a metric share one evaluation. No HTTP here, and no catalogue: names and the like
//! are the host's decoration.

mod params;
mod window;

pub use params::Params;

use crate::event::Position;
use crate::plugin::{self, AnswerFailure, Read, ReadFault};
use crate::state::{Held, MetricId, ReadError, State};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tally_plugin::ask::{Ask, Fault, Reply, Warning};
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// Answers kept per metric; equal questions at one version are answered once. Beyond it all are forgotten.
const CACHED: usize = 256;

/// A metric that can be asked.
pub struct Askable {
    /// Its number in the state.
    pub id: MetricId,
    /// The plugin.
    pub plugin: Arc<plugin::Metric>,
    /// What its params must satisfy.
    pub params: Params,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    version: u64,
    by_question: HashMap<String, Arc<Answer>>,
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
        Ok(Askable { id, plugin, params, answers: Mutex::default() })
    }

    /// Checks the shape of a question; `null` means `{}`.
    ///
    /// # Errors
    /// All faults.
    pub fn check(&self, params: &Value) -> Result<Map<String, Value>, Refused> {
        let params = match params {
            Value::Null => Map::new(),
            Value::Object(params) => params.clone(),
            _ => return Err(invalid("/params", "params is not an object")),
        };
        match self.params.faults(&params) {
            faults if faults.is_empty() => Ok(params),
            faults => Err(Refused::Invalid("invalid_params".into(), faults)),
        }
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
        if let Some(answer) = self.known(moment.version, &question) {
            return Ok(answer);
        }
        let reader = StateReader { state: moment.state, metric: self.id, deadline };
        let answer = match self.plugin.answer(&ask, &reader) {
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
        self.remember(moment.version, question, &answer);
        Ok(answer)
    }

    fn ask(&self, params: &Map<String, Value>, as_of: i64, held: &Held) -> Result<Ask, Refused> {
        let mut own = params.clone();
        if !self.plugin.description().time {
            let window = tally_plugin::ask::Window::default();
            return Ok(Ask { params: Value::Object(own), window, steps: None, event_types: None, as_of });
        }
        let time =
            window::parse(params, as_of, held).map_err(|fault| Refused::Invalid(fault.code.into(), fault.faults))?;
        own.retain(|name, _| !window::TIME_PARAMS.contains(&name.as_str()));
        let (window, steps, event_types) = (time.window, time.steps, time.event_types);
        Ok(Ask { params: Value::Object(own), window, steps, event_types, as_of })
    }

    fn known(&self, version: u64, question: &str) -> Option<Arc<Answer>> {
        let answers = self.answers.lock();
        (answers.version == version).then(|| answers.by_question.get(question).cloned()).flatten()
    }

    fn remember(&self, version: u64, question: String, answer: &Arc<Answer>) {
        let mut answers = self.answers.lock();
        if answers.version != version || answers.by_question.len() >= CACHED {
            answers.by_question.clear();
            answers.version = version;
        }
        answers.by_question.insert(question, answer.clone());
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
