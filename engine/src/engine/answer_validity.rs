//! Whether an answer is still valid, for a host that caches replies.
//!
//! An answer is valid if asking again would give the same result, position, history and warnings;
//! nothing else is promised. An answer that depends on the time of asking, or on more than one
//! engine, is never called valid.

use super::asking::partitions_missing;
use super::catalog::{MetricCatalog, ServedRevision};
use super::watchdog::STUCK;
use super::{Engine, Question};
use crate::pipeline::{LaneStatus, Target, View};
use crate::query::looks_at_the_clock;
use parking_lot::RwLock;
use std::fmt;
use std::sync::{Arc, Weak};

/// Tells whether one answer is still valid.
#[derive(Clone)]
pub struct AnswerValidity(Arc<dyn Fn() -> Option<i64> + Send + Sync>);

impl AnswerValidity {
    /// `holds` is called each time; it must not block.
    pub fn new(holds: impl Fn() -> Option<i64> + Send + Sync + 'static) -> AnswerValidity {
        AnswerValidity(Arc::new(holds))
    }

    /// The present time, Unix milliseconds, if the question would get the same answer now.
    #[must_use]
    pub fn holds(&self) -> Option<i64> {
        (self.0)()
    }
}

impl fmt::Debug for AnswerValidity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AnswerValidity")
    }
}

/// What an answer was computed from.
struct AnswerBasis {
    catalog: Arc<RwLock<MetricCatalog>>,
    status: Arc<LaneStatus>,
    view: Arc<View>,
    shared: bool,
    /// Code and state; other code may answer differently from the same state.
    served: Weak<ServedRevision>,
    version: u64,
}

impl AnswerBasis {
    fn holds(&self) -> Option<i64> {
        let served = self.served.upgrade()?;
        let answering =
            self.catalog.read().answering.get(served.askable.plugin.name()).map(Arc::as_ptr);
        let asked_now = answering == Some(Arc::as_ptr(&served)) && !served.is_gone();
        let is_stopped = || {
            served.halt(&self.status).is_some()
                || served.status(&self.status, |status| status.stuck(STUCK)).is_some()
        };
        if !asked_now || partitions_missing(&self.status, self.shared).is_some() || is_stopped() {
            return None;
        }
        let counted = self.view.try_read()?;
        let progress = &counted.metrics[served.id.0];
        let is_same = progress.version == self.version && progress.target == Target::Reached;
        is_same.then(super::evaluate::now)
    }
}

impl Engine {
    /// Of an answer from the lane's view at `version`, of a metric that counts and has all of its
    /// history.
    pub(super) fn validity_of(
        &self,
        served: &Arc<ServedRevision>,
        question: &Question,
        version: u64,
    ) -> Option<AnswerValidity> {
        if looks_at_the_clock(&question.params) {
            return None;
        }
        let basis = AnswerBasis {
            catalog: Arc::clone(&self.catalog),
            status: Arc::clone(&self.status),
            view: Arc::clone(&self.view),
            shared: self.shared,
            served: Arc::downgrade(served),
            version,
        };
        Some(AnswerValidity::new(move || basis.holds()))
    }
}
