//! One live question, as the machine keeps it.

use crate::query::Footprint;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When a question that gave no answer is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// One question, whoever watches it.
pub(super) struct LiveEntry {
    pub(super) metric: Arc<str>,
    pub(super) canonical: Arc<str>,
    pub(super) params: Arc<Value>,
    /// The least time between two evaluations, and how many watch at that pace.
    pub(super) paces: BTreeMap<Duration, usize>,
    pub(super) phase: LivePhase,
    /// When it last began.
    pub(super) begun: Option<Instant>,
    /// Whether its last evaluation gave no answer.
    pub(super) failed: bool,
    /// The version at which it was last answered.
    pub(super) answered: Option<u64>,
    pub(super) edge: Option<i64>,
    pub(super) meaning: Option<String>,
    /// What looks at its metric match rows with.
    pub(super) footprint: Arc<Footprint>,
}

/// What becomes of a question.
pub(super) enum LivePhase {
    /// Its answer is known.
    Rests,
    /// Since when something may have changed it; when it may begin, and its turn.
    Waits { woken: Instant, ready: Instant, turn: u64 },
    /// It is evaluated.
    Runs {
        woken: Instant,
        /// When it began the time before.
        before: Option<Instant>,
        /// Something came that no version has.
        again: Option<Instant>,
        /// Rows came up to this version that concern it.
        hit: Option<(u64, Instant)>,
    },
}

impl LiveEntry {
    /// One that nobody has evaluated, which somebody watches at this pace.
    pub(super) fn new(
        (metric, canonical): (&Arc<str>, &Arc<str>),
        params: &Arc<Value>,
        pace: Duration,
    ) -> LiveEntry {
        LiveEntry {
            metric: Arc::clone(metric),
            canonical: Arc::clone(canonical),
            params: Arc::clone(params),
            paces: BTreeMap::from([(pace, 1)]),
            phase: LivePhase::Rests,
            begun: None,
            failed: false,
            answered: None,
            edge: None,
            meaning: None,
            footprint: Arc::default(),
        }
    }

    /// One who watches at one pace does so at another from now on.
    pub(super) fn repace(&mut self, from: Option<Duration>, to: Option<Duration>) {
        if let Some(watching) = from.and_then(|from| self.paces.get_mut(&from)) {
            *watching -= 1;
        }
        self.paces.retain(|_, watching| *watching > 0);
        if let Some(to) = to {
            *self.paces.entry(to).or_default() += 1;
        }
    }

    /// When it may begin, if it waits since `woken`.
    pub(super) fn ready(&self, woken: Instant) -> Instant {
        let pace = self.paces.keys().next().copied().unwrap_or_default();
        let pace = if self.failed { pace.max(RETRY) } else { pace };
        self.begun.map_or(woken, |begun| woken.max(begun + pace))
    }
}
