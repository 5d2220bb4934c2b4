//! Questions: from a name and params to an answer with the exact position it rests on.
//!
//! Look up, check the params (all faults at once), wait if asked to, take a moment of the metric:
//! window, reads and position are those of that moment, however long the plugin takes and whatever
//! is counted meanwhile. Equal questions at one version of a metric share one evaluation. What an
//! answer may cost is judged before it is spent (`cost`), what it was read from is noted
//! (`footprint`), and when a question that is watched is asked again is decided in [`live`]. No HTTP
//! here, and no catalogue: names and the like are the host's decoration.

mod answers;
mod cost;
mod footprint;
pub mod live;
mod params;
mod window;

pub use answers::Answers;
pub use cost::Limits;
pub use footprint::Footprint;
pub use params::{Params, ParamsSchemaError, canonical};
pub use window::looks_at_the_clock;

use crate::event::Position;
use crate::host::{self, AnswerFailure, Answered, ReadFault};
use crate::state::{self, HeldRange, MetricId};
use cost::Reads;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::ask::{Ask, Fault, Steps, Warning};

/// A metric that can be asked.
pub struct Askable {
    /// Its number in the state.
    pub id: MetricId,
    /// The plugin.
    pub plugin: Arc<host::Metric>,
    /// What its params must satisfy.
    pub params: Params,
    /// Whether it has a param of this name.
    has_limit: bool,
    /// Shared by the metrics of an engine.
    answers: Arc<Answers>,
    /// Its number there.
    number: u64,
    limits: Limits,
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
    /// What it was read from.
    pub footprint: Arc<Footprint>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// The params are wrong; code and all faults.
    Invalid(String, Vec<Fault>),
    /// The plugin failed.
    Plugin(String),
    /// It took too long: longer than this.
    Deadline(Duration),
    /// As much memory as answers may take is in use.
    Memory,
}

/// A metric at one moment, as a question sees it.
pub struct Moment {
    /// Its tables.
    pub state: state::Moment,
    /// Its position.
    pub position: Position,
    /// Grows with every change of the metric's state.
    pub version: u64,
}

impl Askable {
    /// A metric that can be asked.
    ///
    /// # Errors
    /// [`ParamsSchemaError`].
    pub fn new(
        id: MetricId,
        plugin: Arc<host::Metric>,
        answers: &Arc<Answers>,
        limits: &Limits,
    ) -> Result<Askable, ParamsSchemaError> {
        let params = Params::new(plugin.description())?;
        let has_limit = params.schema().pointer("/properties/limit").is_some();
        let (number, answers, limits) = (answers.number(), Arc::clone(answers), limits.clone());
        Ok(Askable { id, plugin, params, has_limit, answers, number, limits })
    }

    /// The same revision with other code: what the code before answered does not hold.
    ///
    /// # Errors
    /// As [`Askable::new`].
    pub fn with_code(&self, plugin: Arc<host::Metric>) -> Result<Askable, ParamsSchemaError> {
        Askable::new(self.id, plugin, &self.answers, &self.limits)
    }

    /// Checks a question; `null` means `{}`. What it cannot see is what depends on the state: how
    /// finely the past is held.
    ///
    /// # Errors
    /// All faults.
    pub fn check<'q>(
        &self,
        params: &'q Value,
        now: i64,
    ) -> Result<Cow<'q, Map<String, Value>>, Refused> {
        let (faults, params) = match params {
            Value::Null => {
                (self.params.faults(&Value::Object(Map::new()), now), Cow::Owned(Map::new()))
            }
            Value::Object(given) => match params::settled(given) {
                None => (self.params.faults(params, now), Cow::Borrowed(given)),
                Some(settled) => {
                    let settled = Value::Object(settled);
                    let faults = self.params.faults(&settled, now);
                    let Value::Object(settled) = settled else {
                        return Err(invalid("/params", "params is not an object"));
                    };
                    (faults, Cow::Owned(settled))
                }
            },
            _ => return Err(invalid("/params", "params is not an object")),
        };
        if faults.is_empty() {
            Ok(params)
        } else {
            Err(Refused::Invalid("invalid_params".into(), faults))
        }
    }

    /// Answers a question that was checked. Calls the plugin, which may take any time: nothing must
    /// be locked.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn answer(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        deadline: Instant,
        moment: &Moment,
    ) -> Result<Arc<Answer>, Refused> {
        let (ask, warning) = self.ask(params, as_of, moment.state.held())?;
        let question = question(&ask);
        match self.answers.known(self.number, moment.version, &question) {
            Some(answer) => Ok(answer),
            None => self.evaluate(&ask, warning, question, deadline, moment),
        }
    }

    /// The answer to a question that was checked, if it is known at `version`. Calls no plugin.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn known(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        held: &HeldRange,
        version: u64,
    ) -> Result<Option<Arc<Answer>>, Refused> {
        let (ask, _) = self.ask(params, as_of, held)?;
        Ok(self.answers.known(self.number, version, &question(&ask)))
    }

    /// The first time after `as_of` at which a question that was checked means another window or
    /// series, as long as what is held stays the same; `None`: it never does, or it is refused now.
    #[must_use]
    pub fn next_edge(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        held: &HeldRange,
    ) -> Option<i64> {
        if self.plugin.description().time { window::next_edge(params, as_of, held) } else { None }
    }

    /// What a question that was checked means now, as a text to compare; `None`: that does not
    /// depend on what is held, as long as no floor rises.
    #[must_use]
    pub fn meaning(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        held: &HeldRange,
    ) -> Option<String> {
        let follows = self.plugin.description().time && window::follows_held(params);
        // One that is refused is refused whatever else it would mean.
        let text = || self.ask(params, as_of, held).map(|(ask, _)| question(&ask));
        follows.then(|| text().unwrap_or_default())
    }

    fn evaluate(
        &self,
        ask: &Ask,
        warning: Option<Warning>,
        question: String,
        deadline: Instant,
        moment: &Moment,
    ) -> Result<Arc<Answer>, Refused> {
        let late = || Refused::Deadline(self.limits.deadline);
        let of = (&moment.state, &*self.plugin.description().tables);
        let reads = Reads::new(of, (ask, self.has_limit), &self.limits, deadline);
        let reads = reads.map_err(|_| Refused::Memory)?;
        let answer = match self.plugin.answer(ask, &reads) {
            Ok(Answered::Answer(result, warnings)) => Arc::new(Answer {
                result,
                window: (ask.window.from, ask.window.to),
                warnings: warnings.into_iter().chain(warning).collect(),
                position: moment.position.clone(),
                footprint: Arc::new(reads.footprint()),
            }),
            Ok(Answered::Refusal(refusal)) => {
                return Err(Refused::Invalid(refusal.code, refusal.errors));
            }
            Err(AnswerFailure::Read(fault)) => {
                return Err(match fault {
                    ReadFault::Deadline => late(),
                    ReadFault::Memory => Refused::Memory,
                    ReadFault::Refused(code, fault) => Refused::Invalid(code.into(), vec![fault]),
                    fault => Refused::Plugin(fault.to_string()),
                });
            }
            Err(failure) => return Err(Refused::Plugin(failure.to_string())),
        };
        if Instant::now() >= deadline {
            // Nobody waits for it any more.
            return Err(late());
        }
        self.answers.remember(self.number, moment.version, question, &answer);
        Ok(answer)
    }

    /// The question as the plugin gets it, and what the asker should know of its window.
    fn ask(
        &self,
        params: &Map<String, Value>,
        as_of: i64,
        held: &HeldRange,
    ) -> Result<(Ask, Option<Warning>), Refused> {
        if !self.plugin.description().time {
            let (params, window) =
                (Value::Object(params.clone()), tally_plugin::ask::Window::default());
            return Ok((Ask { params, window, steps: None, event_types: None, as_of }, None));
        }
        let time = window::parse(params, as_of, held)
            .map_err(|fault| Refused::Invalid(fault.code.into(), fault.faults))?;
        let own = params.iter().filter(|(name, _)| !window::TIME_PARAMS.contains(&name.as_str()));
        let own = Value::Object(own.map(|(name, value)| (name.clone(), value.clone())).collect());
        let warning = time.steps.filter(|_| time.shortened).map(shortened);
        let (window, steps, event_types) = (time.window, time.steps, time.event_types);
        Ok((Ask { params: own, window, steps, event_types, as_of }, warning))
    }
}

/// What is said of a series that leaves out events of its window.
fn shortened(steps: Steps) -> Warning {
    let from = window::text(steps.from);
    let detail = format!(
        "the series has its newest steps from {from} to {}; events outside of them are in the \
         totals: ask for a window, or a longer bucket",
        window::text(steps.to)
    );
    Warning::new("series_shortened", detail).with("from", from)
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
