//! Whether a metric may be asked now: it is served, its numbers would be whole, and it counts.
//!
//! What that takes of an engine is here by itself, so that threads which answer have it too.

use super::answer_slots::AnswerSlots;
use super::catalog::{MetricCatalog, ServedRevision};
use super::evaluate::{OVER_MEMORY, Stopped};
use super::{EvaluateError, StateUnavailable, watchdog};
use crate::pipeline::{Fatal, LaneStatus, Thread, View};
use crate::progress::{Halt, Quarantine};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// Characters of an unknown name that an error repeats.
const LONGEST_NAME: usize = 64;

/// What it takes to ask a metric of an engine.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) catalog: Arc<RwLock<MetricCatalog>>,
    pub(super) view: Arc<View>,
    /// Of the main lane.
    pub(super) status: Arc<LaneStatus>,
    /// Whether other engines use the store too.
    pub(super) shared: bool,
    pub(super) answering: Arc<AnswerSlots>,
    /// How long an answer may take.
    pub(super) deadline: Duration,
}

impl Asking {
    /// The revision that answers for a metric.
    ///
    /// # Errors
    /// [`EvaluateError::NotFound`].
    pub(super) fn served(&self, name: &str) -> Result<Arc<ServedRevision>, EvaluateError> {
        let catalog = self.catalog.read();
        catalog.answering.get(name).cloned().ok_or_else(|| unknown(&catalog, name))
    }

    /// An engine with a store of its own must hold all partitions: otherwise its numbers would be
    /// too small.
    pub(super) fn require_partitions(&self) -> Result<(), EvaluateError> {
        let missing = partitions_missing(&self.status, self.shared);
        missing.map_or(Ok(()), |what| Err(EvaluateError::PartitionsMissing(what)))
    }

    /// Whether anything of a metric is in memory.
    fn holds_some(&self, served: &ServedRevision) -> bool {
        match &served.follower {
            Some(follower) => !follower.read().position.0.is_empty(),
            None => !self.view.read().metrics[served.id.0].position.0.is_empty(),
        }
    }

    /// A metric that has grown too large answers as of where it stopped, with a warning; one that
    /// is stopped for another reason does not answer. Returns the warnings that go with its
    /// answers.
    pub(super) fn require_counting(
        &self,
        served: &ServedRevision,
    ) -> Result<Stopped, EvaluateError> {
        // The thread may have ended in the middle of a batch.
        let half = |fatal: &&Fatal| fatal.thread == Thread::Counts && served.follower.is_none();
        if let Some(fatal) = self.status.read(|status| status.failed.as_ref().filter(half).cloned())
        {
            return Err(StateUnavailable::Ended(fatal).into());
        }
        match served.halt(&self.status) {
            None => {
                let stalled = watchdog::stall_warning(&self.catalog, served, &self.status);
                Ok(Stopped { warnings: stalled.into_iter().collect(), for_good: false })
            }
            Some(Halt::Quarantined(why @ Quarantine::OverMaxCells { .. })) => {
                Ok(Stopped::too_large("over_max_cells", &why))
            }
            // State that did not fit into memory cannot answer.
            Some(Halt::Quarantined(why @ Quarantine::OverMemory { .. }))
                if self.holds_some(served) =>
            {
                Ok(Stopped::too_large(OVER_MEMORY, &why))
            }
            Some(halt) => Err(EvaluateError::Quarantined(halt)),
        }
    }
}

/// Why its numbers would not be whole, if they would not.
pub(super) fn partitions_missing(status: &LaneStatus, shared: bool) -> Option<String> {
    // While the log does not answer, no other engine counts either: what is known is complete up to
    // its position.
    status.read(|status| {
        let away = status.assigned && status.held.is_empty() && status.source_trouble.is_some();
        if away { None } else { super::missing(status, shared) }
    })
}

fn unknown(catalog: &MetricCatalog, name: &str) -> EvaluateError {
    if let Some(retired) = catalog.retired.get(name) {
        let since = jiff::Timestamp::from_millisecond(retired.info.since).unwrap_or_default();
        let detail = format!(
            "this metric is retired since {since}: its file or its section is gone; its state is \
             kept"
        );
        return EvaluateError::NotFound { suggestions: Vec::new(), detail };
    }
    if let Some(detail) = catalog.refusal(name) {
        return EvaluateError::NotFound { suggestions: Vec::new(), detail };
    }
    let named = catalog.answering.keys().filter(|_| name.len() <= LONGEST_NAME);
    let mut near: Vec<(f64, &String)> =
        named.map(|known| (strsim::jaro_winkler(known, name), known)).collect();
    near.retain(|(likeness, _)| *likeness > 0.75);
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let suggestions: Vec<String> =
        near.into_iter().take(3).map(|(_, known)| known.clone()).collect();
    let hint =
        suggestions.first().map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    let name: String = name.chars().take(LONGEST_NAME).collect();
    EvaluateError::NotFound {
        suggestions,
        detail: format!("unknown metric \"{}\"{hint}", name.escape_debug()),
    }
}
