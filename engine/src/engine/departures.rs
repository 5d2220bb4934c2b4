//! How a metric leaves a lane, and what becomes of it then: it joins the main lane, it is gone, or it stands still where it is.
//!
//! Promises: nothing of that happens before the lane has let it go (`leaving`), however long that takes; meanwhile nobody else counts
//! its revision. It decides nothing about who leaves.

use super::evaluate::now;
use super::leaving::Leaving;
use super::life::Work;
use super::roster::{Served, Stage};
use crate::pipeline::{Board, Command, Handle, Left, Untold};
use crate::progress::Halt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A metric on its way.
pub(super) type Departure = Leaving<Leaves>;

/// Who leaves, and what then.
pub(super) struct Leaves {
    pub(super) served: Arc<Served>,
    pub(super) then: Then,
}

/// What becomes of a metric that a lane has let go.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// Nobody asks it any more: what is held of it goes.
    Gone,
    /// It joins the main lane.
    Joins,
    /// It stands still, and says why.
    Stands(Halt),
}

/// A lane and its board.
pub(super) struct Counted {
    pub(super) handle: Arc<Handle>,
    pub(super) board: Arc<Board>,
}

impl Work {
    /// The lane that counts a metric.
    pub(super) fn lane_of(&self, served: &Served) -> Option<Counted> {
        if matches!(&*served.stage.read(), Stage::Main) {
            return Some(Counted { handle: self.parts.main.clone(), board: self.parts.board.clone() });
        }
        let mut lanes = self.backfills.iter().chain(&self.besides);
        let counts = lanes.find(|lane| lane.metrics.iter().any(|metric| metric.no == served.no));
        counts.map(|lane| Counted { handle: lane.handle.clone(), board: lane.board.clone() })
    }

    /// Has a lane let a metric go.
    pub(super) fn take_out(&mut self, served: Arc<Served>, lane: &Counted, then: Then) {
        for backfill in self.backfills.iter_mut().chain(&mut self.besides) {
            backfill.metrics.retain(|metric| metric.no != served.no);
        }
        let halt = match &then {
            Then::Stands(halt) => Some(halt.clone()),
            Then::Gone | Then::Joins => None,
        };
        *served.stage.write() = Stage::Leaving { board: lane.board.clone(), halt };
        self.leaving.push(Leaving::new(served.no, lane.handle.clone(), Leaves { served, then }));
    }

    /// Whether a lane still counts this revision for somebody who leaves it.
    pub(super) fn is_leaving(&self, served: &Served) -> bool {
        self.leaving.iter().any(|leaving| leaving.what.served.revision == served.revision)
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
                    "its lane has not let it go yet, for something in it does not return; nothing else is done with it before"
                );
            }
            if !done {
                self.leaving.push(leaving);
            }
        }
    }

    /// Lets go of what is held of a metric that no lane counts.
    pub(super) fn empty(&self, served: &Served) {
        self.parts.view.empty(served.id);
        self.parts.lanes.room.forget(served.id);
    }

    /// Whether everything is done with a metric that was let go.
    fn has_left(&mut self, leaves: &Leaves, left: Left) -> bool {
        let served = &leaves.served;
        match &leaves.then {
            Then::Gone => {
                self.empty(served);
                true
            }
            Then::Stands(halt) => {
                *served.stage.write() = Stage::Stopped { halt: halt.clone(), since: Instant::now() };
                true
            }
            Then::Joins => self.join_main(served, left),
        }
    }

    /// Whether the main lane was told to count a metric.
    fn join_main(&self, served: &Arc<Served>, left: Left) -> bool {
        let metric = self.parts.lanes.metric(served);
        if self.parts.main.tell(Command::Join { metric: Box::new(metric), shown: left.shown }) == Err(Untold::Busy) {
            return false;
        }
        *served.stage.write() = Stage::Main;
        self.parts.view.arrived(served.id, now());
        let name = served.askable.plugin.name();
        if self.parts.roster.read().served.get(name).is_some_and(|answering| answering.no == served.no) {
            self.parts.lanes.answers_now(&served.revision);
        }
        tracing::info!(metric = name, "history is counted; the metric is active");
        true
    }
}
