//! Whether an answer still holds: for a host that keeps what it made of answers, to say it once more.
//!
//! What is known of an answer that holds is only that: asking again would give the same result, position, history and
//! warnings. What depends on the time of asking, or on more than one engine, is never said to hold.

use super::catalog::{MetricCatalog, ServedRevision};
use super::evaluate::partitions_missing;
use super::watchdog::STUCK;
use super::{Engine, Question};
use crate::pipeline::{Board, View};
use crate::query::looks_at_the_clock;
use parking_lot::RwLock;
use std::fmt;
use std::sync::{Arc, Weak};

/// Says of one answer whether it still holds.
#[derive(Clone)]
pub struct AnswerValidity(Arc<dyn Fn() -> Option<i64> + Send + Sync>);

impl AnswerValidity {
    /// `holds` is asked each time; it must not block.
    pub fn new(holds: impl Fn() -> Option<i64> + Send + Sync + 'static) -> AnswerValidity {
        AnswerValidity(Arc::new(holds))
    }

    /// "Now", Unix milliseconds, if the question would get the same answer now.
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

/// What an answer came from.
struct Given {
    catalog: Arc<RwLock<MetricCatalog>>,
    board: Arc<Board>,
    view: Arc<View>,
    shared: bool,
    /// Code and state; of other code for the same state the answer may be another.
    served: Weak<ServedRevision>,
    version: u64,
}

impl Given {
    fn holds(&self) -> Option<i64> {
        let served = self.served.upgrade()?;
        let answering = self.catalog.read().answering.get(served.askable.plugin.name()).map(Arc::as_ptr);
        let asked_now = answering == Some(Arc::as_ptr(&served)) && !served.is_gone();
        let stands =
            || served.halt(&self.board).is_some() || served.board(&self.board, |board| board.stuck(STUCK)).is_some();
        if !asked_now || partitions_missing(&self.board, self.shared).is_some() || stands() {
            return None;
        }
        let counted = self.view.try_read()?;
        let place = &counted.metrics[served.id.0];
        (place.version == self.version && place.target.is_none()).then(super::evaluate::now)
    }
}

impl Engine {
    /// For an answer of the lane's view at `version`, of a metric that counts, with its history complete.
    pub(super) fn validity_of(
        &self,
        served: &Arc<ServedRevision>,
        question: &Question,
        version: u64,
    ) -> Option<AnswerValidity> {
        if looks_at_the_clock(&question.params) {
            return None;
        }
        let given = Given {
            catalog: Arc::clone(&self.catalog),
            board: Arc::clone(&self.board),
            view: Arc::clone(&self.view),
            shared: self.shared,
            served: Arc::downgrade(served),
            version,
        };
        Some(AnswerValidity::new(move || given.holds()))
    }
}
