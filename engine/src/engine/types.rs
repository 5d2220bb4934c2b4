//! What goes into the engine and what comes out of it: data only.

use super::answer_validity::AnswerValidity;
use super::errors::StateUnavailable;
use crate::config::Config;
use crate::dead_letter::DeadLetter;
use crate::event::Position;
use crate::files::FileStamp;
use crate::progress::Halt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tally_plugin::ask::{Fault, Warning};
use tally_plugin::description::{Description, Tier};
use thiserror::Error;

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Folders that are searched for plugin files; of two files with one name, the first folder's
    /// is used.
    pub plugin_dirs: Vec<PathBuf>,
    /// The configuration file: its `[metrics]` are applied whenever it changes.
    pub config_file: Option<ConfigFile>,
    /// Metrics that are not loaded, whatever the folders and the configuration hold.
    pub disabled: Vec<String>,
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Where it is, or may appear.
    pub path: PathBuf,
    /// Its stamp, from before it was read: what changed since is applied. `None`: there was none.
    pub stamp: Option<FileStamp>,
}

/// A question to a metric.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name of the metric.
    pub name: String,
    /// An object, or null for `{}`; time params included.
    pub params: Value,
    /// Answer only once this has been counted.
    pub at_least: Option<Position>,
    /// How long to wait for `at_least`.
    pub wait: Duration,
    /// Whether an answer over incomplete history is wanted.
    pub allow_partial: bool,
    /// Set while a plugin computes the answer. A plugin may hang, and the number of its answers has
    /// a bound of its own; everything else that an evaluation waits for ends.
    pub calling: Arc<AtomicBool>,
}

/// An answer with what it rests on.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The result as JSON text, shared by equal questions at one position; the reply contains it
    /// unchanged.
    pub result: Arc<str>,
    /// The schema of the result; ids are marked `x-tally-id`.
    pub result_schema: Arc<Value>,
    /// Start and end of the window, Unix milliseconds; `None` is an open bound.
    pub window: (Option<i64>, Option<i64>),
    /// Exactly what has been counted.
    pub position: Position,
    /// The time that counts as "now" in this answer, Unix milliseconds.
    pub as_of: i64,
    /// Version of the plugin.
    pub version: String,
    /// The revision that answered: a number for everything that gives its state meaning.
    pub revision: u64,
    /// Whether all retained history is included.
    pub history: History,
    /// What the asker should know.
    pub warnings: Vec<Warning>,
    /// Tells whether an equal question would get this answer again; `None`: ask the engine.
    pub validity: Option<AnswerValidity>,
}

/// Whether all retained history is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Whether it is.
    pub complete: bool,
    /// Time of the first event counted, Unix milliseconds.
    pub from: Option<i64>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error)]
pub enum EvaluateError {
    /// There is no such metric, or it is retired: then `detail` says since when.
    #[error("{detail}")]
    NotFound {
        /// Near names.
        suggestions: Vec<String>,
        /// For people.
        detail: String,
    },
    /// All faults of the params at once. `code` is `invalid_params`, `too_many_points`,
    /// `answer_too_large` or the plugin's own.
    #[error("{code}")]
    Invalid {
        /// Stable word.
        code: String,
        /// With JSON pointers.
        errors: Vec<Fault>,
    },
    /// History is still being counted for the first time.
    #[error("history is being counted: {:.0} % done", done * 100.0)]
    Backfilling {
        /// 0…1.
        done: f64,
    },
    /// The metric is stopped, with the reason.
    #[error("the metric is quarantined: {0}")]
    Quarantined(Halt),
    /// The plugin failed while answering.
    #[error("the plugin failed: {0}")]
    PluginFailed(String),
    /// `at_least` was not reached in time; the position that was.
    #[error("not counted that far yet: at {0}")]
    PositionNotReached(Position),
    /// The evaluation took longer than this.
    #[error(
        "the evaluation took longer than {} ms, which is [server] evaluation_deadline_ms: ask for \
         less, or raise it",
        .0.as_millis()
    )]
    DeadlineExceeded(Duration),
    /// There is no room for one more answer now, with the reason.
    #[error("{0}")]
    Overloaded(String),
    /// The engine does not hold all partitions, so its numbers would be too small.
    #[error("{0}")]
    PartitionsMissing(String),
    /// State cannot be read now.
    #[error(transparent)]
    StoreUnavailable(#[from] StateUnavailable),
}

impl EvaluateError {
    /// Whether the same question may be answered later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            EvaluateError::NotFound { .. }
            | EvaluateError::Invalid { .. }
            | EvaluateError::PluginFailed(_)
            | EvaluateError::DeadlineExceeded(_) => false,
            EvaluateError::Backfilling { .. }
            | EvaluateError::PositionNotReached(_)
            | EvaluateError::Overloaded(_)
            | EvaluateError::PartitionsMissing(_) => true,
            EvaluateError::Quarantined(halt) => halt.retry_helps(),
            EvaluateError::StoreUnavailable(fault) => fault.retry_helps(),
        }
    }
}

/// What is known of a metric.
#[derive(Clone, Debug)]
pub struct MetricInfo {
    /// Name under which it answers.
    pub name: String,
    /// Version of the plugin's code.
    pub version: String,
    /// Name of the plugin.
    pub plugin: String,
    /// File it was loaded from.
    pub file: PathBuf,
    /// What it is. `params_schema` includes the time params.
    pub description: Arc<Description>,
    /// Its configuration.
    pub config: Value,
    /// `active`, `backfilling` …
    pub state: MetricState,
    /// A notice for everybody who looks at the metric.
    pub notice: Option<String>,
    /// Events that are in none of its numbers, because its own code fails on them.
    pub failed: u64,
    /// A newer revision, which does not answer yet.
    pub newer: Option<Beside>,
    /// The revision that answered before, which still receives events.
    pub before: Option<Beside>,
    /// Since when, Unix milliseconds.
    pub since: i64,
    /// Whether history is complete.
    pub history: History,
    /// What it costs.
    pub cost: Cost,
    /// Retention in force.
    pub tiers: Vec<Tier>,
}

/// State of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricState {
    /// Counts and answers.
    Active,
    /// Counts history; 0…1 done, seconds to go if known.
    Backfilling {
        /// 0…1.
        done: f64,
        /// Estimate.
        eta_s: Option<u64>,
    },
    /// Stopped, with the reason.
    Quarantined(String),
    /// Its file or section is gone; its state is kept.
    Retired,
}

/// A revision of a metric that is counted beside the one that answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// Hash of everything that gives its state meaning, 16 hexadecimal digits.
    pub id: String,
    /// Version of the plugin's code.
    pub version: String,
    /// `active`, `backfilling` …
    pub state: MetricState,
    /// Since when, Unix milliseconds.
    pub since: i64,
    /// Events that are in none of its numbers, because its own code fails on them.
    pub failed: u64,
    /// Why it does not replace the answering revision by itself.
    pub held: Option<String>,
    /// Until when it receives events, Unix milliseconds.
    pub until: Option<i64>,
}

/// A revision of a metric that is counted.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its role for the metric.
    pub role: Role,
    /// Hash of everything that gives its state meaning, 16 hexadecimal digits.
    pub id: String,
    /// What is known of it.
    pub info: MetricInfo,
    /// SHA-256 of the plugin file, in hexadecimal digits.
    pub sha256: String,
    /// How long the revision that it replaces receives events.
    pub keep_old: Duration,
    /// Why a newer one does not replace the answering revision by itself.
    pub held: Option<String>,
    /// Until when a previous one receives events, Unix milliseconds.
    pub until: Option<i64>,
    /// Its answers to the examples of the answering revision, in their order.
    pub examples: Vec<Result<Evaluated, EvaluateError>>,
}

/// The role of a revision for its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It answers.
    Answering,
    /// It is newer, and counts its history or waits for a promote.
    Next,
    /// It answered before, and receives events for a while longer.
    Before,
}

/// What a metric costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Wall nanoseconds per event, mean since start.
    pub ns_per_event: f64,
    /// Rows × cells in memory.
    pub cells: u64,
    /// Bytes in memory, estimated.
    pub bytes: u64,
    /// Values of its declared properties that could not be read, since start; absent where it
    /// declares none.
    pub unreadable: Option<u64>,
}

/// A file that was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// File name.
    pub file: String,
    /// One sentence.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since: i64,
}

/// The outcome of an append.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    /// How many were written.
    pub accepted: u64,
    /// Index and reason of each that was not, in order.
    pub rejected: Vec<(usize, String)>,
    /// The offset after the last one written, of each partition written to.
    pub position: Position,
}

/// Dead letters that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Newest first.
    pub letters: Vec<DeadLetter>,
    /// Whether older ones were not searched, because too many letters of other reasons lie in
    /// between.
    pub partial: bool,
    /// How many there were by reason since the data directory was created, including those that are
    /// no longer kept.
    pub counts: BTreeMap<Box<str>, u64>,
}

/// One line of readiness.
#[derive(Clone, Debug)]
pub struct Check {
    /// `plugins`, `store`, `kafka` …
    pub name: &'static str,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Whether questions need it; otherwise it is reported, and the engine is ready without it.
    pub needed: bool,
    /// Its state, or what is wrong.
    pub detail: String,
    /// What to do about it, if something is wrong.
    pub remedy: Option<&'static str>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Records read since start.
    pub processed: u64,
    /// Records whose effect is durable since start.
    pub committed: u64,
    /// Whether a thread did not return in time and was left running: it may have done a little
    /// more.
    pub unfinished: bool,
}
