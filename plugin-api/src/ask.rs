//! What the host asks a metric to answer, and the two kinds of reply: the text that crosses the
//! boundary.
//!
//! The host owns the time params: it has parsed, checked and snapped them before a plugin sees
//! them, and it fills the answer's `meta`. Nothing here reads a clock: "now" is `as_of`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A question to a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The metric's own params, valid under its schema, without the time params.
    pub params: Value,
    /// The window; an absent bound is open.
    pub window: Window,
    /// The grid of the series that is asked for, if one is.
    #[serde(default)]
    pub steps: Option<Steps>,
    /// Event types asked for; absent: all.
    #[serde(default)]
    pub event_types: Option<Vec<String>>,
    /// The host's clock, read once for this evaluation, Unix milliseconds.
    pub as_of: i64,
}

/// A half-open event-time window in Unix milliseconds, snapped outward to panes that are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Start, inclusive.
    #[serde(default)]
    pub from: Option<i64>,
    /// End, exclusive.
    #[serde(default)]
    pub to: Option<i64>,
}

/// The grid of a series: UTC-aligned steps that cover `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// Length of a step in milliseconds.
    pub step_ms: i64,
    /// Where the series starts (the window's start; for an open one the first event counted).
    pub from: i64,
    /// Where it ends.
    pub to: i64,
}

impl Steps {
    /// Start of each step, and whether the window cuts it.
    pub fn iter(&self) -> impl Iterator<Item = (i64, bool)> + use<> {
        let Steps { step_ms, from, to } = *self;
        let first = from.div_euclid(step_ms) * step_ms;
        (0..)
            .map(move |n| first + n * step_ms)
            .take_while(move |start| *start < to)
            .map(move |start| (start, start < from || start + step_ms > to))
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The result, valid under the metric's result schema.
    Answer {
        /// The result.
        result: Value,
        /// What the asker should know.
        warnings: Vec<Warning>,
    },
    /// The question cannot be answered as asked; not a failure of the plugin.
    Refusal(Refusal),
}

/// Something the asker should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable word, `snake_case`.
    pub code: String,
    /// For people.
    pub detail: String,
    /// What it says in numbers, beside the two: `count`, `from`.
    #[serde(default, flatten, skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}

impl Warning {
    /// A word and a sentence.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Warning {
        Warning { code: code.into(), detail: detail.into(), more: Map::new() }
    }

    /// Says something in a number or a time.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Warning {
        self.more.insert(name.into(), value.into());
        self
    }
}

/// Why a question cannot be answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable word; `invalid_params` unless said otherwise.
    pub code: String,
    /// All faults at once.
    pub errors: Vec<Fault>,
}

/// One fault, with where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// JSON pointer, `/params/limit`.
    pub pointer: String,
    /// For people.
    pub detail: String,
}
