//! What a metric that nobody serves would answer: a plugin with a configuration counts the newest
//! records into a state of its own, and is asked once.
//!
//! It is counted as a lane counts, and asked as a metric is; nothing that is served or stored is
//! touched. One preview at a time: a plugin that does not return keeps that one place, and no other.
//! Time and memory are bounded, and the memory is taken from the share of answers; where they do not
//! suffice there is no answer, rather than one over some of the records. Where it differs from the metric: no pane has expired, and what came before
//! the records is not known, so duplicates of it count.

use super::evaluate::refused;
use super::newest::{NewestRecords, newest};
use super::notices::keys_limited;
use super::tried_plugin::{PlaceTaken, TriedPlugins};
use super::{Engine, EvaluateError, Evaluated, History};
use crate::clock::wall_ms;
use crate::event::{Position, Record};
use crate::host::{self, MakeFault, PluginSet};
use crate::log::{LogError, LogRecord};
use crate::memory::Held;
use crate::pipeline::{Trial, TrialEnd, TrialParts};
use crate::query::{Answers, Askable, Limits, Moment, Refused};
use crate::state::{MetricId, TypeLimit};
use parking_lot::RwLock;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::ask::{Fault, Warning};
use thiserror::Error;

/// How long a preview may take.
const TIME: Duration = Duration::from_secs(5);

/// How much of that the log may be asked where its newest records begin.
const LOOK: Duration = Duration::from_millis(1_500);

/// Most bytes of what is counted.
const MEMORY: u64 = 128 << 20;

/// It is no more than this part of the memory of answers: a half.
const OF_ANSWERS: u64 = 2;

/// In such pieces they are taken.
const PIECE: u64 = 1 << 20;

/// Bytes of answers that are kept; nobody asks again.
const KEPT: u64 = 64 << 10;

/// The only metric of a preview's state, before there is one.
const METRIC: MetricId = MetricId(0);

/// What previews of an engine need.
pub(super) struct Previews {
    /// The plugins of the folders, as they were last seen.
    pub(super) plugins: Arc<RwLock<PluginSet>>,
    /// What an answer may cost.
    limits: Limits,
    /// Who is tried; the one that is made has a place there.
    pub(super) tried: Arc<TriedPlugins>,
}

impl Previews {
    pub(super) fn new(found: PluginSet, limits: &Limits, tried: Arc<TriedPlugins>) -> Previews {
        let limits = Limits { deadline: TIME, ..limits.clone() };
        Previews { plugins: Arc::new(RwLock::new(found)), limits, tried }
    }
}

/// A metric that is tried, and a question to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewRequest {
    /// Name of its plugin.
    pub plugin: String,
    /// Its configuration: an object.
    pub config: Value,
    /// An object, or null for `{}`; time params included.
    pub params: Value,
    /// Over how many of the newest records.
    pub records: u64,
}

/// What it would answer.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The answer. Its history is complete where the log holds no more records.
    pub evaluated: Evaluated,
    /// Records that were read.
    pub records: u64,
    /// JSON Schema of what can be asked, with the time params.
    pub params_schema: Value,
}

/// Why there is no preview.
#[derive(Clone, Debug, Error)]
pub enum PreviewError {
    /// Another one is made: of which plugin, and for how long.
    #[error(
        "another preview has been trying {0}, and there is one at a time: ask again. If this lasts \
         for more than some seconds, that plugin does not return, and only a restart ends it"
    )]
    Busy(String),
    /// The memory of answers is taken.
    #[error("answers take all the memory that there is for them: ask again")]
    NoRoom,
    /// There is no such plugin, or the configuration does not fit it.
    #[error(transparent)]
    Plugin(#[from] MakeFault),
    /// The question does not fit, or the plugin failed.
    #[error(transparent)]
    Question(#[from] EvaluateError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It took longer than this.
    #[error("a preview may take {} s: ask for fewer records", .0.as_secs())]
    Late(Duration),
    /// It took more than so many bytes.
    #[error(
        "what the records come to takes more than {} MiB: ask for fewer records, or raise [limits] \
         memory",
        .0 >> 20
    )]
    Memory(u64),
}

impl PreviewError {
    /// Whether the same request may succeed later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            PreviewError::Busy(_) | PreviewError::NoRoom => true,
            PreviewError::Question(fault) => fault.retry_helps(),
            PreviewError::Log(fault) => fault.retry_helps(),
            PreviewError::Plugin(_) | PreviewError::Late(_) | PreviewError::Memory(_) => false,
        }
    }
}

impl Engine {
    /// Counts the newest records with a plugin and a configuration, and asks once. Blocks for some
    /// seconds, or as long as the plugin does.
    ///
    /// # Errors
    /// [`PreviewError`].
    pub fn preview(&self, request: &PreviewRequest) -> Result<Preview, PreviewError> {
        let place = self.previews.tried.preview.enter(&request.plugin);
        let _place = place.map_err(|PlaceTaken(by)| PreviewError::Busy(by))?;
        let until = Instant::now() + TIME;
        let plugins = self.previews.plugins.read().clone();
        let plugin = Arc::new(plugins.metric(&request.plugin, request.config.clone())?);
        let askable = askable(&plugin, &self.previews.limits)?;
        let params = askable.check(&request.params, wall_ms()).map_err(of_question)?;
        let mut trial = self.trial(&plugin)?;
        let mut room =
            self.budget.answers.take(PIECE.min(self.most())).map_err(|_| PreviewError::NoRoom)?;
        let look = (Instant::now() + LOOK).min(until);
        let found = newest(&*self.log, request.records, wall_ms(), look)?;
        let records = self.count((&mut trial, &mut room), &found, until)?;
        let as_of = wall_ms();
        let position: Position =
            Position(found.ranges.iter().map(|range| (range.partition, range.to)).collect());
        let (moment, limited, from) = {
            let counted = trial.counted();
            let state = &counted.state;
            let from = state.times(trial.id()).map(|(first, _)| first);
            let moment = Moment { state: state.moment(trial.id()), position, version: 0 };
            (moment, keys_limited(state, trial.id()), from)
        };
        let answer = askable.answer(&params, as_of, until, &moment).map_err(of_question)?;
        let failed = Some(trial.failed()).filter(|failed| *failed > 0).map(events_failed);
        let warnings = answer.warnings.iter().cloned().chain(limited).chain(failed);
        let evaluated = Evaluated {
            result: answer.result.clone(),
            result_schema: Arc::new(plugin.description().result_schema.clone()),
            window: answer.window,
            position: answer.position.clone(),
            as_of,
            version: plugin.version().to_owned(),
            revision: 0,
            history: History { complete: found.all, from },
            warnings: warnings.collect(),
            validity: None,
        };
        Ok(Preview { evaluated, records, params_schema: askable.params.schema().clone() })
    }

    /// Most bytes of what is counted.
    fn most(&self) -> u64 {
        MEMORY.min(self.budget.answers.limit() / OF_ANSWERS)
    }

    fn trial(&self, plugin: &Arc<host::Metric>) -> Result<Trial, PreviewError> {
        let parts = TrialParts {
            plugin: plugin.clone(),
            decoder: self.checker.fresh(),
            dedupe_window: self.events.dedupe_window,
            types: TypeLimit::new(self.events.max_types, self.events.kept_types()),
            memory: self.most(),
        };
        // Not expected: pointers are checked when a metric is made.
        Trial::new(parts).map_err(|fault| misfit(fault.to_string()))
    }

    /// Counts what was found. Returns how many records that were.
    fn count(
        &self,
        (trial, room): (&mut Trial, &mut Held),
        found: &NewestRecords,
        until: Instant,
    ) -> Result<u64, PreviewError> {
        let mut records = 0;
        for range in found.ranges.iter().filter(|range| range.from < range.to) {
            // To open a reader takes time, too.
            if Instant::now() >= until {
                return Err(PreviewError::Late(TIME));
            }
            let mut reader = self.log.range(range.partition, range.from, range.to)?;
            loop {
                let batch = reader.batch()?;
                if batch.is_empty() {
                    break;
                }
                if Instant::now() >= until {
                    return Err(PreviewError::Late(TIME));
                }
                let borrowed: Vec<Record<'_>> = batch.iter().map(LogRecord::borrowed).collect();
                trial.count(range.partition, &borrowed).map_err(of_trial)?;
                room.resize(trial.bytes().next_multiple_of(PIECE))
                    .map_err(|_| PreviewError::NoRoom)?;
                records += batch.len() as u64;
            }
        }
        Ok(records)
    }
}

/// The metric as it is asked.
fn askable(plugin: &Arc<host::Metric>, limits: &Limits) -> Result<Askable, PreviewError> {
    let answers = Arc::new(Answers::new(KEPT));
    Askable::new(METRIC, plugin.clone(), &answers, limits)
        .map_err(|fault| misfit(fault.to_string()))
}

/// The plugin makes of the configuration what cannot be served.
fn misfit(detail: String) -> PreviewError {
    MakeFault::Config(vec![Fault { pointer: "/config".into(), detail }]).into()
}

fn of_question(fault: Refused) -> PreviewError {
    match fault {
        Refused::Deadline(limit) => PreviewError::Late(limit),
        fault => PreviewError::Question(refused(fault)),
    }
}

fn of_trial(end: TrialEnd) -> PreviewError {
    match end {
        TrialEnd::Failing { .. } => EvaluateError::PluginFailed(end.to_string()).into(),
        TrialEnd::Memory { most, .. } => PreviewError::Memory(most),
    }
}

fn events_failed(count: u64) -> Warning {
    let detail = format!(
        "{count} events are in none of its numbers: the plugin's code failed on them, and the log \
         says how"
    );
    Warning::new("events_failed", detail).with("count", count)
}
