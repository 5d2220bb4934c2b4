//! Loads the progress of a revision and, if required, its view as of the same moment.
//!
//! A view may be read only once it is known to be complete; until then its metric is in doubt and
//! answers no question.

use super::Shared;
use crate::failpoint::point;
use crate::pipeline::load_metric::{LoadFault, load_metric};
use crate::pipeline::members::{LaneMetric, Members};
use crate::pipeline::panicking_records::contained;
use crate::pipeline::stored::{counted_partitions, decode_progress};
use crate::progress::{Found, RevisionNo, Trouble};
use crate::store::StoredRevision;

impl Shared {
    /// Loads the progress of a revision; `rebuild`: and its view. `None`: nothing is stored of it.
    pub(super) fn load(
        &mut self,
        members: &Members,
        no: RevisionNo,
        rebuild: bool,
    ) -> Result<Option<Found>, Trouble> {
        let Some(metric) = members.get(no) else { return Ok(None) };
        let loaded = contained(|| self.load_metric(metric, rebuild)).unwrap_or_else(|what| {
            Err(Trouble::Corrupt(format!(
                "loading it panicked; this is a bug in Tally, please report it: {what}"
            )))
        });
        if !self.engines_share && matches!(loaded, Ok(None) | Err(Trouble::Corrupt(_))) {
            // Nothing was loaded, and nothing will be.
            self.memory_share.record_held(metric.id, 0);
        }
        loaded
    }

    fn load_metric(
        &mut self,
        metric: &LaneMetric,
        rebuild: bool,
    ) -> Result<Option<Found>, Trouble> {
        point("load.begin");
        let stored = if rebuild { self.rebuild(metric)? } else { self.look_up(metric)? };
        let Some(stored) = stored else { return Ok(None) };
        point("load.read");
        self.lives.insert(metric.no, stored.life);
        let found = decode_progress(&stored)?;
        self.view.write().metrics[metric.id.0].set_history(&found.progress);
        Ok(Some(found))
    }

    /// Loads the progress alone: the view is valid.
    fn look_up(&mut self, metric: &LaneMetric) -> Result<Option<StoredRevision>, Trouble> {
        let stored =
            self.store.stored(&metric.revision).map_err(|fault| self.store_fault(&fault))?;
        if self.engines_share {
            // No answer uses it, but metrics that join the main lane are compared by it.
            let progress = &mut self.view.write().metrics[metric.id.0];
            progress.position.0.extend(stored.iter().flat_map(counted_partitions));
            progress.in_doubt = false;
        }
        Ok(stored)
    }

    fn rebuild(&mut self, metric: &LaneMetric) -> Result<Option<StoredRevision>, Trouble> {
        let loaded = load_metric(
            &*self.store,
            (&*self.view, &*self.memory_share),
            metric.id,
            &metric.revision,
            self.replays,
        );
        loaded.map_err(|fault| match fault {
            LoadFault::Store(fault) => self.store_fault(&fault),
            LoadFault::Trouble(trouble) => trouble,
        })
    }
}
