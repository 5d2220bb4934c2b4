//! The lane's books: the protocol's machine, the deliveries of the source, and what is counted but
//! not stored.
//!
//! An event goes in, effects come out. Effects that only change the books are carried out here, the
//! others are actions for the executor. The ledger answers every question about how far the lane
//! is. It calls no store, no source and no plugin.

use super::lane_status::LaneTotals;
use super::members::{LaneMetric, Members};
use super::pending::Pending;
use super::stop_reasons;
use crate::event::Position;
use crate::log::{Bounds, Start};
use crate::progress::{
    Advance, Deliveries, Effect, Event, Halt, Machine, Quarantine, ReadFrom, RevisionNo, Settings,
    Step, Ticket,
};
use crate::state::MetricId;
use crate::store::{Bucket, Life};
use std::collections::BTreeMap;
use std::ops::Range;

/// See the module's description.
pub(super) struct Ledger {
    machine: Machine,
    deliveries: Deliveries,
    /// What was counted and is not stored yet.
    pub(super) pending: Pending,
    max_pending_rows: u64,
    /// Whether anything was ever stopped.
    halted: bool,
}

/// An effect of the machine that the executor carries out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LedgerAction {
    /// Load the progress of a revision; `rebuild`: also its view, as of the same moment.
    Load { revision: RevisionNo, ticket: Ticket, rebuild: bool },
    /// Create the state of a revision.
    Create(RevisionNo, Ticket),
    /// Send a commit to the store. `topic`: the log that was counted.
    Commit {
        revision: RevisionNo,
        ticket: Ticket,
        life: Life,
        advances: Vec<Advance>,
        topic: String,
    },
    /// Compact a bucket, because a commit waits for room in it.
    Compact(RevisionNo, Ticket, Bucket),
    /// Ask the log for the bounds of these partitions.
    AskBounds(Ticket, Vec<u32>),
    /// Show a partition at this offset, without counting.
    ShowPosition(RevisionNo, u32, u64),
    /// Drop what is counted of a partition and not sealed yet.
    DropTail(RevisionNo, u32),
    /// Log that a partition, or the whole metric, is stopped.
    ReportHalt(RevisionNo, Option<u32>, Halt),
}

/// Which metrics count a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DueBatch {
    /// The epoch under which it counts.
    pub(super) epoch: u64,
    /// The metrics that count it, ascending by number.
    pub(super) metrics: Vec<DueMetric>,
}

/// One metric that counts a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueMetric {
    pub(super) no: RevisionNo,
    /// The first offset that counts.
    pub(super) from: u64,
    /// The offset from which on nothing is committed for now.
    pub(super) held_at: Option<u64>,
    /// Number of events of the partition that are left out so far.
    pub(super) failed: u64,
}

/// The events that load a metric again. The caller applies `leave`, forgets everything else that it
/// knows of the metric, and then applies `join` in order.
#[derive(Debug)]
pub(super) struct Rejoin {
    pub(super) leave: Event,
    pub(super) join: Vec<Event>,
}

impl DueBatch {
    /// The first offset that counts in any metric; `None`: no metric counts the batch.
    pub(super) fn count_from(&self) -> Option<u64> {
        self.metrics.iter().map(|due| due.from).min()
    }
}

impl Ledger {
    pub(super) fn new(settings: Settings) -> Ledger {
        Ledger {
            max_pending_rows: settings.max_pending_rows,
            machine: Machine::new(settings),
            deliveries: Deliveries::default(),
            pending: Pending::default(),
            halted: false,
        }
    }

    /// Applies an event to the machine. Pass its effects to [`Ledger::record`], in this order,
    /// before the next event.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        self.machine.on(event)
    }

    /// Records an effect. Returns the action for the executor, if there is one.
    pub(super) fn record(&mut self, effect: Effect) -> Option<LedgerAction> {
        match effect {
            Effect::Forget(revision, partition, to) => {
                self.pending.stored(revision, partition, to);
                None
            }
            Effect::Read { partition, from, epoch, fresh } => {
                self.deliveries.read(partition, ReadFrom { from, epoch, fresh });
                None
            }
            Effect::Pause(partition) => {
                self.deliveries.pause(partition, true);
                None
            }
            Effect::Resume(partition) => {
                self.deliveries.pause(partition, false);
                None
            }
            Effect::Drop(revision, partition) => {
                self.pending.drop_partition(revision, partition);
                Some(LedgerAction::DropTail(revision, partition))
            }
            Effect::Load { revision, ticket, rebuild } => {
                if rebuild {
                    // It belongs to the state that the load replaces.
                    self.pending.drop_revision(revision);
                }
                Some(LedgerAction::Load { revision, ticket, rebuild })
            }
            Effect::Halted(revision, partition, halt) => {
                self.halted = true;
                Some(LedgerAction::ReportHalt(revision, partition, halt))
            }
            Effect::Commit { revision, ticket, life, advances } => {
                let topic = self.machine.topic().to_owned();
                Some(LedgerAction::Commit { revision, ticket, life: Life(life), advances, topic })
            }
            Effect::Create(revision, ticket) => Some(LedgerAction::Create(revision, ticket)),
            Effect::Compact(revision, ticket, table, bucket) => {
                Some(LedgerAction::Compact(revision, ticket, Bucket { table, bucket }))
            }
            Effect::Bounds(ticket, partitions) => Some(LedgerAction::AskBounds(ticket, partitions)),
            Effect::Stands(revision, partition, at) => {
                Some(LedgerAction::ShowPosition(revision, partition, at))
            }
        }
    }

    /// The events that load a metric whose state in memory is in doubt again from the store. `why`:
    /// why it must then stop, if it must.
    pub(super) fn rejoin(metric: &LaneMetric, why: Option<Quarantine>) -> Rejoin {
        let joined = Event::Joined(metric.no, metric.history.clone(), None);
        let stops =
            why.or_else(|| metric.barred.clone()).map(|why| Event::Quarantined(metric.no, why));
        Rejoin {
            leave: Event::Left(metric.no),
            join: std::iter::once(joined).chain(stops).collect(),
        }
    }

    // Deliveries of the source.

    /// Begins partitions again: their records are dropped until the machine says where to read.
    pub(super) fn begin(&mut self, partitions: &[u32]) {
        partitions.iter().for_each(|partition| self.deliveries.begin(*partition));
    }

    /// The source no longer holds these partitions.
    pub(super) fn end(&mut self, partitions: &[u32]) {
        partitions.iter().for_each(|partition| self.deliveries.end(*partition));
    }

    /// The epoch under which a delivery of a partition counts; `None`: it is dropped.
    pub(super) fn epoch(&mut self, partition: u32) -> Option<u64> {
        self.deliveries.comes(partition)
    }

    /// The steps that the source has yet to take.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.deliveries.steps()
    }

    /// The source now reads from where `read` begins: what it delivers counts under that epoch.
    /// Returns whether the dedupe window starts empty.
    pub(super) fn took_over(&mut self, partition: u32, read: ReadFrom) -> bool {
        self.deliveries.took_over(partition, read.epoch) && read.fresh
    }

    /// The source did not begin the read.
    pub(super) fn read_failed(&mut self, partition: u32) {
        self.deliveries.failed(partition);
    }

    /// The source has paused or resumed a partition.
    pub(super) fn has_paused(&mut self, partition: u32, paused: bool) {
        self.deliveries.has_paused(partition, paused);
    }

    /// The partitions held, ascending.
    pub(super) fn held(&self) -> Vec<u32> {
        self.deliveries.held().collect()
    }

    /// Where the source starts a partition that it is being assigned, so that it fetches the right
    /// records at once.
    pub(super) fn start(&self, partition: u32) -> Start {
        self.machine.start(partition).map_or(Start::Earliest, Start::At)
    }

    // Which metrics count a batch.

    /// Offsets below `to` whose records must be reported before their batch is counted.
    pub(super) fn anchors(&self, partition: u32, to: u64) -> Vec<u64> {
        self.machine.anchors(partition, to).collect()
    }

    /// The least offset of a partition whose record any metric is yet to count.
    pub(super) fn next_due(&self, partition: u32) -> Option<u64> {
        self.machine.next_due(partition)
    }

    /// The metrics that count a batch up to `to` that was delivered in `epoch`.
    pub(super) fn due(&self, partition: u32, epoch: u64, to: u64) -> DueBatch {
        let due = |(no, from)| DueMetric {
            no,
            from,
            held_at: self.machine.held_at(no, partition),
            failed: self.machine.failed(no, partition),
        };
        DueBatch { epoch, metrics: self.machine.due(partition, epoch, to).map(due).collect() }
    }

    /// By partition the records at the end of what a metric has counted that are not committed
    /// before one succeeds: its own code fails on all of them.
    pub(super) fn failing(&self, no: RevisionNo) -> Vec<(u32, Range<u64>)> {
        let failing = |partition| {
            let from = self.machine.held_at(no, partition)?;
            Some((partition, from..self.machine.next(no, partition)?))
        };
        self.deliveries.held().filter_map(failing).collect()
    }

    // How far the lane is.

    /// Whether so many rows wait for a commit that one is due.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.machine.pending_rows() >= self.max_pending_rows / 2
    }

    /// Whether the store has left a request unanswered.
    pub(super) fn store_away(&self) -> bool {
        self.machine.store_away()
    }

    /// Whether nothing of these partitions waits for a commit.
    pub(super) fn flushed(&self, partitions: &[u32]) -> bool {
        self.machine.flushed(partitions)
    }

    /// Per partition how far the views of a metric go, if they hold exactly what is stored.
    pub(super) fn shown(&self, no: RevisionNo) -> Option<Position> {
        self.machine.shown(no).map(Position)
    }

    /// The furthest that any metric has counted, per partition.
    pub(super) fn position(&self, members: &Members) -> Position {
        let mut all = Position::default();
        for metric in members.iter() {
            for (partition, offset) in self.machine.position(metric.no).0 {
                let furthest = all.0.entry(partition).or_default();
                *furthest = offset.max(*furthest);
            }
        }
        all
    }

    /// Per partition the smallest offset that any metric has stored.
    pub(super) fn committed(&self, members: &Members) -> BTreeMap<u32, u64> {
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        for metric in members.iter() {
            for (partition, offset) in self.machine.committed(metric.no).0 {
                let least = all.entry(partition).or_insert(offset);
                *least = offset.min(*least);
            }
        }
        all
    }

    /// The totals of the lane, which has counted `processed` records.
    pub(super) fn totals(&self, members: &Members, processed: u64) -> LaneTotals {
        let committed = self.committed(members);
        let behind = |(partition, counted): (&u32, &u64)| {
            counted - committed.get(partition).copied().unwrap_or(0).min(*counted)
        };
        let behind: u64 = self.position(members).0.iter().map(behind).sum();
        LaneTotals { processed, committed: processed.saturating_sub(behind), unfinished: false }
    }

    /// The partitions whose log ends before what was counted of them (`position`), without those
    /// that are stopped already.
    pub(super) fn beyond(&self, bounds: &[Bounds], position: &Position) -> Vec<u32> {
        let stopped: Vec<Option<u32>> =
            self.machine.halts().map(|(_, partition, _)| partition).collect();
        let beyond = |b: &&Bounds| position.0.get(&b.partition).is_some_and(|next| *next > b.end);
        let beyond = bounds.iter().filter(beyond).map(|b| b.partition);
        beyond.filter(|partition| !stopped.contains(&Some(*partition))).collect()
    }

    // What is stopped.

    /// Whether anything was ever stopped.
    pub(super) fn has_halted(&self) -> bool {
        self.halted
    }

    /// Whether a whole metric is stopped.
    pub(super) fn is_stopped(&self, no: RevisionNo) -> bool {
        self.machine.halts().any(|(stopped, partition, _)| stopped == no && partition.is_none())
    }

    /// Whether a partition is stopped at records that a person may skip, the first of them at this
    /// offset.
    pub(super) fn is_stopped_at(&self, partition: u32, offset: u64) -> bool {
        self.machine.halts().any(|(_, of, halt)| {
            let at = match halt {
                Halt::Gap { gap, .. } => gap.from,
                Halt::Undecodable { offset, .. } => *offset,
                _ => return false,
            };
            of == Some(partition) && at == offset
        })
    }

    /// Why each metric is stopped, to be shown; `shown`: what is shown so far.
    pub(super) fn stop_reasons(
        &self,
        members: &Members,
        shown: &BTreeMap<MetricId, Halt>,
    ) -> BTreeMap<MetricId, Halt> {
        let metrics = members.iter().map(|metric| (metric.no, metric.id));
        stop_reasons::stop_reasons(&self.machine, metrics, &self.held(), shown)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
