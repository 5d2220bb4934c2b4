//! What a lane is told while it runs: metrics that join and leave, code that is replaced, a moment of standing still.
//!
//! A lane obeys between two batches. The queue is bounded: who finds it full is told so, and comes again.

use super::counting::Metric;
use super::lane::Lane;
use crate::event::Position;
use crate::progress::{Event, Halt, RevisionNo};
use crate::telemetry;
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
        metric: Box<Metric>,
        /// See above; `None`: they are made anew from the store.
        shown: Option<Position>,
    },
    /// Commit what it counted and let it go; the answer says what is left of it.
    Leave(RevisionNo, SyncSender<Left>),
    /// From the next batch on call the code of this metric: it is of the same revision as the one of its number.
    Swap(Box<Metric>),
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
            self.carry_out(command);
        }
        let Some(until) = self.stands_until else { return false };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!("nobody said when to go on; counting goes on");
            self.stands_until = None;
            return false;
        }
        match self.commands.recv_timeout(wait.min(left)) {
            Ok(command) => self.carry_out(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stands_until = None,
        }
        self.stands_until.is_some()
    }

    fn carry_out(&mut self, command: Command) {
        // An asker that no longer waits has gone on without the answer.
        match command {
            Command::Join { metric, shown } => {
                let (no, history) = (metric.no, metric.history.clone());
                self.counting.metrics.push(*metric);
                self.counting.read_properties();
                self.tell(Event::Joined(no, history, shown.map(|position| position.0)));
                self.counting.blame(no).into_iter().for_each(|event| self.tell(event));
            }
            Command::Leave(no, answer) => {
                let left = self.leave(no);
                let _ = answer.send(left);
            }
            Command::Swap(with) => {
                let (no, with) = (with.no, *with);
                if let Some(metric) = self.counting.metrics.iter_mut().find(|metric| metric.no == no) {
                    telemetry::swapped(with.plugin.name());
                    (metric.plugin, metric.code) = (with.plugin, with.code);
                    // Of the code before, others were.
                    (metric.blamed, metric.suspected) = (with.blamed, with.suspected);
                }
                self.counting.read_properties();
                self.counting.blame(no).into_iter().for_each(|event| self.tell(event));
            }
            Command::Stand(limit, answer) => {
                self.stands_until = Some(Instant::now() + limit);
                let _ = answer.send(self.counting.position());
            }
            Command::Go => self.stands_until = None,
            Command::Skip(partition, offset, answer) => {
                let stood = self.counting.machine.halts().any(|(_, of, halt)| {
                    let at = match halt {
                        Halt::Gap { gap, .. } => gap.from,
                        Halt::Undecodable { offset, .. } => *offset,
                        _ => return false,
                    };
                    of == Some(partition) && at == offset
                });
                if stood {
                    tracing::warn!(partition, offset, "going on without the records at which the partition stood");
                    self.tell(Event::GapAccepted(partition));
                }
                let _ = answer.send(stood);
            }
        }
    }

    fn leave(&mut self, no: RevisionNo) -> Left {
        if self.counting.metric(no).is_none() {
            return Left::default();
        }
        let held = self.counting.held();
        self.tell(Event::CheckpointDue);
        self.driver.flush(&mut self.counting, &held, FLUSH);
        // What a compaction still raises would be missing in its views.
        let settled = self.driver.settle_compactions(&mut self.counting, no, FLUSH);
        let left = Left { shown: self.counting.machine.shown(no).filter(|_| settled).map(Position) };
        self.tell(Event::Left(no));
        self.driver.forget(no);
        self.counting.forget(no);
        left
    }
}
