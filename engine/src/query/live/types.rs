//! What goes into the machine of live questions and what comes out of it: data only.

use crate::query::Footprint;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// A change of what a question looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum InterestChange {
    /// It looks at this.
    Set(u64, Arc<Footprint>),
    /// It is gone.
    Remove(u64),
}

/// What a look at a metric begins with.
#[derive(Debug, Default)]
pub struct LiveLook {
    /// Whether another revision answers than at the last look: what was kept of it is void.
    pub restarted: bool,
    /// What questions look at since the last look.
    pub changes: Vec<InterestChange>,
    /// Whether every question waits, so that rows need not be looked at.
    pub idle: bool,
}

/// Questions to evaluate at one moment of a metric.
#[derive(Debug)]
pub struct LiveRound {
    /// The metric.
    pub metric: Arc<str>,
    /// Number and params of each.
    pub questions: Vec<(u64, Arc<Value>)>,
}

/// What an evaluation came to.
#[derive(Debug, Default)]
pub struct LiveOutcome {
    /// The version of the metric that was read.
    pub version: u64,
    /// What it looked at.
    pub footprint: Arc<Footprint>,
    /// When it comes to mean something else, Unix milliseconds.
    pub edge: Option<i64>,
    /// What it means, where that depends on what is held.
    pub meaning: Option<String>,
    /// Whether it gave no answer.
    pub failed: bool,
}

/// An evaluation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveFinish {
    /// When the change was seen that led to it.
    pub woken: Instant,
    /// When it began.
    pub begun: Instant,
    /// Whether the metric, or the clock, is to be looked at now and not when it is convenient.
    pub urgent: bool,
}
