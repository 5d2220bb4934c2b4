//! What a lane is told while it runs: metrics that join and leave, code that is replaced, a moment of standing still.
//!
//! A lane obeys between two batches. The queue is bounded: who finds it full is told so, and comes again.

use super::lane::Lane;
use super::members::LaneMetric;
use crate::event::Position;
use crate::progress::{Event, RevisionNo};
use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Commands that may wait at a lane.
pub(super) const QUEUE: usize = 64;

/// How long a lane tries to commit what a metric has counted before it lets it go.
const FLUSH: Duration = Duration::from_secs(2);

/// Something a lane is told.
pub enum Command {
    /// Count this metric too. `shown`: per partition how far its views in memory go, if they hold exactly what is stored.
    Join {
        /// Its ids are those of the view's state.
        metric: Box<LaneMetric>,
        /// See above; `None`: they are made anew from the store.
        shown: Option<Position>,
    },
    /// Commit what it counted and let it go; the answer says what is left of it.
    Leave(RevisionNo, SyncSender<Left>),
    /// From the next batch on call the code of this metric: it is of the same revision as the one of its number.
    Swap(Box<LaneMetric>),
    /// Take no records until told to go on, at most so long; the answer says how far the lane has counted.
    Stand(Duration, SyncSender<Position>),
    /// Go on.
    Go,
    /// Go on without the records at which a partition stands, the first of them at this offset; whether it stood there.
    Skip(u32, u64, SyncSender<bool>),
}

/// How a metric left.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Per partition how far its views in memory go, if they hold exactly what is stored.
    pub shown: Option<Position>,
}

impl Lane {
    /// Obeys what waits; while it stands still, waits for the word to go on, at most `wait`. Whether it stands still.
    pub(super) fn obey(&mut self, wait: Duration) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            self.obey_one(command);
        }
        let Some(until) = self.stands_until else { return false };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!("resume was not requested in time; counting resumes");
            self.stands_until = None;
            return false;
        }
        match self.commands.recv_timeout(wait.min(left)) {
            Ok(command) => self.obey_one(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stands_until = None,
        }
        self.stands_until.is_some()
    }

    fn obey_one(&mut self, command: Command) {
        // An asker that no longer waits has gone on without the answer.
        match command {
            Command::Join { metric, shown } => {
                let (no, history) = (metric.no, metric.history.clone());
                self.members.add(*metric);
                self.batches.read_properties(&self.members);
                self.tell(Event::Joined(no, history, shown.map(|position| position.0)));
                self.blame(no);
            }
            Command::Leave(no, answer) => {
                let left = self.leave(no);
                let _ = answer.send(left);
            }
            Command::Swap(with) => {
                let no = with.no;
                self.members.swap_code(*with);
                self.batches.read_properties(&self.members);
                self.blame(no);
            }
            Command::Stand(limit, answer) => {
                self.stands_until = Some(Instant::now() + limit);
                let _ = answer.send(self.ledger.position(&self.members));
            }
            Command::Go => self.stands_until = None,
            Command::Skip(partition, offset, answer) => {
                let stood = self.ledger.is_stopped_at(partition, offset);
                if stood {
                    tracing::warn!(
                        partition,
                        offset,
                        "continuing without the records at which the partition was stopped"
                    );
                    self.tell(Event::GapAccepted(partition));
                }
                let _ = answer.send(stood);
            }
        }
    }

    fn leave(&mut self, no: RevisionNo) -> Left {
        if self.members.get(no).is_none() {
            return Left::default();
        }
        let held = self.ledger.held();
        self.tell(Event::CheckpointDue);
        self.flush(&held, FLUSH);
        // What a compaction still raises would be missing in its views.
        let settled = self.settle_compactions(no, FLUSH);
        let left = Left { shown: self.ledger.shown(no).filter(|_| settled) };
        self.tell(Event::Left(no));
        self.executor.forget(no);
        self.members.remove(no);
        self.batches.read_properties(&self.members);
        self.ledger.pending.drop_revision(no);
        self.batches.forget(no);
        left
    }
}
