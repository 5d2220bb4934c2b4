//! Takes metrics out of lanes. Then a metric joins the main lane, is dropped, or is stopped.
//!
//! Promises: none of this happens before the lane has released the metric (`leaving`), however long
//! that takes; until then no other lane counts its revision. Which metrics leave is decided
//! elsewhere.

use super::leaving::Leaving;
use super::manager::PluginManager;
use crate::engine::catalog::{ServedRevision, Stage};
use crate::engine::evaluate::now;
use crate::pipeline::{Command, CommandError, Handle, LaneStatus, Left};
use crate::progress::Halt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A metric on its way out of a lane.
pub(super) type Departure = Leaving<Leaves>;

/// The metric that leaves, and what happens then.
pub(super) struct Leaves {
    pub(super) served: Arc<ServedRevision>,
    pub(super) then: Then,
}

/// What happens to a metric that its lane has released.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// It is no longer asked: its memory is freed.
    Gone,
    /// It joins the main lane.
    Joins,
    /// It is stopped, for this reason.
    Stops(Halt),
}

/// A lane and its status.
pub(super) struct LaneHandle {
    pub(super) handle: Arc<Handle>,
    pub(super) status: Arc<LaneStatus>,
}

impl PluginManager {
    /// The lane that counts a metric.
    pub(super) fn lane_of(&self, served: &ServedRevision) -> Option<LaneHandle> {
        if matches!(&*served.stage.read(), Stage::Main) {
            return Some(LaneHandle { handle: self.main.clone(), status: self.status.clone() });
        }
        let lane = self.pool.lane_of(served.no)?;
        Some(LaneHandle { handle: lane.handle.clone(), status: lane.status.clone() })
    }

    /// Asks a lane to release a metric.
    pub(super) fn take_out(&mut self, served: Arc<ServedRevision>, lane: &LaneHandle, then: Then) {
        self.pool.remove(served.no);
        let halt = match &then {
            Then::Stops(halt) => Some(halt.clone()),
            Then::Gone | Then::Joins => None,
        };
        *served.stage.write() = Stage::Leaving { status: lane.status.clone(), halt };
        self.leaving.push(Leaving::new(served.no, lane.handle.clone(), Leaves { served, then }));
    }

    /// Finishes with metrics that their lanes have released; waits for releases at most `limit`.
    pub(super) fn see_off(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for mut leaving in std::mem::take(&mut self.leaving) {
            let left = leaving.left(deadline.saturating_duration_since(Instant::now()));
            let done = left.is_some_and(|left| self.has_left(&leaving.what, left));
            if leaving.takes_long() {
                let metric = leaving.what.served.askable.plugin.name();
                tracing::warn!(
                    metric,
                    "its lane has not released it yet, because a call in it does not return; \
                     nothing else is done with the metric until then"
                );
            }
            if !done {
                self.leaving.push(leaving);
            }
        }
    }

    /// Frees the memory of a metric that no lane counts.
    pub(super) fn empty(&self, served: &ServedRevision) {
        self.view.clear(served.id);
        self.factory.memory_share.forget(served.id);
    }

    /// Finishes with a metric that was released; whether that was possible.
    fn has_left(&mut self, leaves: &Leaves, left: Left) -> bool {
        let served = &leaves.served;
        match &leaves.then {
            Then::Gone => {
                self.empty(served);
                true
            }
            Then::Stops(halt) => {
                *served.stage.write() =
                    Stage::Stopped { halt: halt.clone(), since: Instant::now() };
                true
            }
            Then::Joins => self.join_main(served, left),
        }
    }

    /// Has the main lane count a metric; whether it took the command.
    fn join_main(&self, served: &Arc<ServedRevision>, left: Left) -> bool {
        let metric = self.factory.metric(served);
        if self.main.send(Command::Join { metric: Box::new(metric), shown: left.shown })
            == Err(CommandError::Busy)
        {
            return false;
        }
        *served.stage.write() = Stage::Main;
        self.view.finish_backfill(served.id, now());
        let name = served.askable.plugin.name();
        if self
            .catalog
            .read()
            .answering
            .get(name)
            .is_some_and(|answering| answering.no == served.no)
        {
            self.factory.answers_now(&served.revision);
        }
        tracing::info!(metric = name, "history is counted; the metric is active");
        true
    }
}
