//! How a metric leaves a lane, and what becomes of it then: it joins the main lane, it is gone, or it is stopped.
//!
//! Promises: nothing of that happens before the lane has let it go (`leaving`), however long that takes; meanwhile nobody else counts
//! its revision. It decides nothing about who leaves.

use super::leaving::Leaving;
use super::manager::PluginManager;
use crate::engine::catalog::{ServedRevision, Stage};
use crate::engine::evaluate::now;
use crate::pipeline::{Board, Command, Handle, Left, Untold};
use crate::progress::Halt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A metric on its way.
pub(super) type Departure = Leaving<Leaves>;

/// Who leaves, and what then.
pub(super) struct Leaves {
    pub(super) served: Arc<ServedRevision>,
    pub(super) then: Then,
}

/// What becomes of a metric that a lane has let go.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// Nobody asks it any more: what is held of it goes.
    Gone,
    /// It joins the main lane.
    Joins,
    /// It is stopped, for this reason.
    Stops(Halt),
}

/// A lane and its board.
pub(super) struct LaneHandle {
    pub(super) handle: Arc<Handle>,
    pub(super) board: Arc<Board>,
}

impl PluginManager {
    /// The lane that counts a metric.
    pub(super) fn lane_of(&self, served: &ServedRevision) -> Option<LaneHandle> {
        if matches!(&*served.stage.read(), Stage::Main) {
            return Some(LaneHandle { handle: self.main.clone(), board: self.board.clone() });
        }
        let lane = self.pool.lane_of(served.no)?;
        Some(LaneHandle { handle: lane.handle.clone(), board: lane.board.clone() })
    }

    /// Has a lane let a metric go.
    pub(super) fn take_out(&mut self, served: Arc<ServedRevision>, lane: &LaneHandle, then: Then) {
        self.pool.remove(served.no);
        let halt = match &then {
            Then::Stops(halt) => Some(halt.clone()),
            Then::Gone | Then::Joins => None,
        };
        *served.stage.write() = Stage::Leaving { board: lane.board.clone(), halt };
        self.leaving.push(Leaving::new(served.no, lane.handle.clone(), Leaves { served, then }));
    }

    /// Does what is to be done with metrics that were let go; waits for that at most `limit`.
    pub(super) fn see_off(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for mut leaving in std::mem::take(&mut self.leaving) {
            let left = leaving.left(deadline.saturating_duration_since(Instant::now()));
            let done = left.is_some_and(|left| self.has_left(&leaving.what, left));
            if leaving.is_worth_a_word() {
                let metric = leaving.what.served.askable.plugin.name();
                tracing::warn!(
                    metric,
                    "its lane has not let it go yet, because something in it does not return; nothing else is done with it until it has"
                );
            }
            if !done {
                self.leaving.push(leaving);
            }
        }
    }

    /// Lets go of what is held of a metric that no lane counts.
    pub(super) fn empty(&self, served: &ServedRevision) {
        self.view.empty(served.id);
        self.factory.room.forget(served.id);
    }

    /// Whether everything is done with a metric that was let go.
    fn has_left(&mut self, leaves: &Leaves, left: Left) -> bool {
        let served = &leaves.served;
        match &leaves.then {
            Then::Gone => {
                self.empty(served);
                true
            }
            Then::Stops(halt) => {
                *served.stage.write() = Stage::Stopped { halt: halt.clone(), since: Instant::now() };
                true
            }
            Then::Joins => self.join_main(served, left),
        }
    }

    /// Whether the main lane was told to count a metric.
    fn join_main(&self, served: &Arc<ServedRevision>, left: Left) -> bool {
        let metric = self.factory.metric(served);
        if self.main.tell(Command::Join { metric: Box::new(metric), shown: left.shown }) == Err(Untold::Busy) {
            return false;
        }
        *served.stage.write() = Stage::Main;
        self.view.arrived(served.id, now());
        let name = served.askable.plugin.name();
        if self.catalog.read().answering.get(name).is_some_and(|answering| answering.no == served.no) {
            self.factory.answers_now(&served.revision);
        }
        tracing::info!(metric = name, "history is counted; the metric is active");
        true
    }
}
