//! Commands to a running lane: metrics join and leave, code is replaced, counting pauses and
//! resumes.
//!
//! A lane carries commands out between two batches. The queue is bounded: a full queue returns
//! [`Busy`](super::CommandError::Busy).

use super::lane::Lane;
use super::members::LaneMetric;
use crate::event::Position;
use crate::progress::{Event, RevisionNo};
use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Commands that may wait for a lane.
pub(super) const QUEUE: usize = 64;

/// How long a lane tries to commit what a metric has counted before the metric leaves.
const FLUSH: Duration = Duration::from_secs(2);

/// A command to a lane.
pub enum Command {
    /// Count this metric too.
    Join {
        /// The metric; its ids are those of the view's state.
        metric: Box<LaneMetric>,
        /// Per partition how far its views in memory go, if they hold exactly what is stored;
        /// `None`: they are loaded from the store.
        shown: Option<Position>,
    },
    /// Commit what the metric has counted, then stop counting it; the answer says how its views
    /// stand.
    Leave(RevisionNo, SyncSender<Left>),
    /// From the next batch on call the code of this metric, which is of the same revision as the
    /// member of the same number.
    ReplaceCode(Box<LaneMetric>),
    /// Take no records until `Resume`, at most so long; the answer is how far the lane has counted.
    Pause(Duration, SyncSender<Position>),
    /// Take records again.
    Resume,
    /// Continue a partition without the records at which it is stopped, the first of them at this
    /// offset; the answer is whether it was stopped there.
    Skip(u32, u64, SyncSender<bool>),
}

/// How a metric left.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Per partition how far its views in memory go, if they hold exactly what is stored.
    pub shown: Option<Position>,
}

impl Lane {
    /// Carries out the commands that wait; while the lane is paused, waits for more, at most
    /// `wait`. Returns whether it is paused.
    pub(super) fn run_commands(&mut self, wait: Duration) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            self.run_command(command);
        }
        let Some(until) = self.paused_until else { return false };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!("resume was not requested in time; counting resumes");
            self.paused_until = None;
            return false;
        }
        match self.commands.recv_timeout(wait.min(left)) {
            Ok(command) => self.run_command(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.paused_until = None,
        }
        self.paused_until.is_some()
    }

    fn run_command(&mut self, command: Command) {
        // The receiver of an answer may be gone: it did not wait any longer.
        match command {
            Command::Join { metric, shown } => {
                let (no, history) = (metric.no, metric.history.clone());
                self.members.add(*metric);
                self.batches.read_properties(&self.members);
                self.handle(Event::Joined(no, history, shown.map(|position| position.0)));
                self.stop_if_barred(no);
            }
            Command::Leave(no, answer) => {
                let left = self.leave(no);
                let _ = answer.send(left);
            }
            Command::ReplaceCode(with) => {
                let no = with.no;
                self.members.replace_code(*with);
                self.batches.read_properties(&self.members);
                self.stop_if_barred(no);
            }
            Command::Pause(limit, answer) => {
                self.paused_until = Some(Instant::now() + limit);
                let _ = answer.send(self.ledger.position(&self.members));
            }
            Command::Resume => self.paused_until = None,
            Command::Skip(partition, offset, answer) => {
                let stopped = self.ledger.is_stopped_at(partition, offset);
                if stopped {
                    tracing::warn!(
                        partition,
                        offset,
                        "continuing without the records at which the partition was stopped"
                    );
                    self.handle(Event::GapAccepted(partition));
                }
                let _ = answer.send(stopped);
            }
        }
    }

    fn leave(&mut self, no: RevisionNo) -> Left {
        if self.members.get(no).is_none() {
            return Left::default();
        }
        let held = self.ledger.held();
        self.handle(Event::CheckpointDue);
        self.flush(&held, FLUSH);
        // Its views would miss the floors that a compaction under way raises.
        let settled = self.settle_compactions(no, FLUSH);
        let left = Left { shown: self.ledger.shown(no).filter(|_| settled) };
        self.handle(Event::Left(no));
        self.executor.forget(no);
        self.members.remove(no);
        self.batches.read_properties(&self.members);
        self.ledger.pending.drop_revision(no);
        self.batches.forget(no);
        left
    }
}
