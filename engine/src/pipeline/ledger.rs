//! The lane's books: the protocol's machine, what the source was told, and what is counted but not stored.
//!
//! An event goes in, effects come out; those that only concern the books are carried out here, the others are actions for the
//! executor. Answers every question about how far the lane is. Calls no store, no source and no plugin.

use super::board::Done;
use super::members::{LaneMetric, Members};
use super::pending::Pending;
use super::stop_reasons;
use crate::event::Position;
use crate::progress::{
    Advance, Deliveries, Effect, Event, Halt, Machine, Quarantine, ReadFrom, RevisionNo, Settings, Step, Ticket,
};
use crate::source::{Bounds, Start};
use crate::state::MetricId;
use crate::store::{Bucket, Life};
use std::collections::BTreeMap;

/// See the module's description.
pub(super) struct Ledger {
    machine: Machine,
    deliveries: Deliveries,
    /// What was counted and is not stored.
    pub(super) pending: Pending,
    max_pending_rows: u64,
    /// Whether anything was ever stopped.
    halted: bool,
}

/// What the machine wants done that is more than bookkeeping.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Load progress, and the view at the same moment if it is to be rebuilt.
    Load { revision: RevisionNo, ticket: Ticket, rebuild: bool },
    /// Create the state of a revision.
    Create(RevisionNo, Ticket),
    /// Send a commit to the store. `topic`: the log that was counted.
    Commit { revision: RevisionNo, ticket: Ticket, life: Life, advances: Vec<Advance>, topic: String },
    /// Compact a bucket, for a commit waits for it.
    Compact(RevisionNo, Ticket, Bucket),
    /// Ask the log for the bounds of these partitions.
    AskBounds(Ticket, Vec<u32>),
    /// Show that a partition stands at this offset without a record.
    ShowPosition(RevisionNo, u32, u64),
    /// Drop what is counted of a partition and not sealed.
    DropTail(RevisionNo, u32),
    /// Say in the log that something is stopped.
    ReportHalt(RevisionNo, Option<u32>, Halt),
}

/// What a batch is due to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DueBatch {
    /// The stamp under which it counts.
    pub(super) epoch: u64,
    /// The metrics that count it, ascending by number.
    pub(super) metrics: Vec<DueMetric>,
}

/// One metric that counts a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueMetric {
    pub(super) no: RevisionNo,
    /// Offset from which on rows count.
    pub(super) from: u64,
    /// The offset beyond which nothing is committed for now.
    pub(super) held_at: Option<u64>,
    /// Events of the partition that are left out so far.
    pub(super) failed: u64,
}

impl DueBatch {
    /// The first offset that counts in any metric; `None`: nobody counts the batch.
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

    /// Enters an event. Its effects go through [`Ledger::keep`], one by one and in this order, before the next event is entered.
    pub(super) fn on(&mut self, event: Event) -> Vec<Effect> {
        self.machine.on(event)
    }

    /// Carries out what concerns the books alone; what is left is an action.
    pub(super) fn keep(&mut self, effect: Effect) -> Option<Action> {
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
                Some(Action::DropTail(revision, partition))
            }
            Effect::Load { revision, ticket, rebuild } => {
                if rebuild {
                    // It belongs to what was in memory before.
                    self.pending.drop_revision(revision);
                }
                Some(Action::Load { revision, ticket, rebuild })
            }
            Effect::Halted(revision, partition, halt) => {
                self.halted = true;
                Some(Action::ReportHalt(revision, partition, halt))
            }
            Effect::Commit { revision, ticket, life, advances } => {
                let topic = self.machine.topic().to_owned();
                Some(Action::Commit { revision, ticket, life: Life(life), advances, topic })
            }
            Effect::Create(revision, ticket) => Some(Action::Create(revision, ticket)),
            Effect::Compact(revision, ticket, table, bucket) => {
                Some(Action::Compact(revision, ticket, Bucket { table, bucket }))
            }
            Effect::Bounds(ticket, partitions) => Some(Action::AskBounds(ticket, partitions)),
            Effect::Stands(revision, partition, at) => Some(Action::ShowPosition(revision, partition, at)),
        }
    }

    /// The events by which a metric whose state in memory is in doubt is loaded again from the store and counted on from there, unless
    /// `why` says why it must stop. Between the first and the others everything else that is known of it is forgotten.
    pub(super) fn rejoin(metric: &LaneMetric, why: Option<Quarantine>) -> (Event, Vec<Event>) {
        let joined = Event::Joined(metric.no, metric.history.clone(), None);
        let stops = why.or_else(|| metric.blamed.clone()).map(|why| Event::Quarantined(metric.no, why));
        (Event::Left(metric.no), std::iter::once(joined).chain(stops).collect())
    }

    // What comes from the source.

    /// These partitions begin anew: what comes of them is thrown away until the machine says where to read.
    pub(super) fn begin(&mut self, partitions: &[u32]) {
        partitions.iter().for_each(|partition| self.deliveries.begin(*partition));
    }

    /// The source no longer holds these partitions.
    pub(super) fn end(&mut self, partitions: &[u32]) {
        partitions.iter().for_each(|partition| self.deliveries.end(*partition));
    }

    /// Something of a partition comes: the stamp under which it counts; `None`: it is thrown away.
    pub(super) fn epoch(&mut self, partition: u32) -> Option<u64> {
        self.deliveries.comes(partition)
    }

    /// What the source is to be told now.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.deliveries.steps()
    }

    /// The source is where a read begins: what comes now counts under its stamp. Whether the dedupe window starts empty.
    pub(super) fn took_over(&mut self, partition: u32, read: ReadFrom) -> bool {
        self.deliveries.took_over(partition, read.epoch) && read.fresh
    }

    /// The source did not go where it was told.
    pub(super) fn read_failed(&mut self, partition: u32) {
        self.deliveries.failed(partition);
    }

    /// The source has paused a partition, or goes on with it.
    pub(super) fn has_paused(&mut self, partition: u32, paused: bool) {
        self.deliveries.has_paused(partition, paused);
    }

    /// The partitions held, ascending.
    pub(super) fn held(&self) -> Vec<u32> {
        self.deliveries.held().collect()
    }

    /// Where a partition that is being assigned is read first, so that the source fetches the right records from the first moment.
    pub(super) fn start(&self, partition: u32) -> Start {
        self.machine.start(partition).map_or(Start::Earliest, Start::At)
    }

    // What a batch is due to.

    /// Offsets below `to` whose records must be reported before their batch is counted.
    pub(super) fn anchors(&self, partition: u32, to: u64) -> Vec<u64> {
        self.machine.anchors(partition, to).collect()
    }

    /// Who counts a batch up to `to` that came under this stamp.
    pub(super) fn due(&self, partition: u32, epoch: u64, to: u64) -> DueBatch {
        let due = |(no, from)| DueMetric {
            no,
            from,
            held_at: self.machine.held_at(no, partition),
            failed: self.machine.failed(no, partition),
        };
        DueBatch { epoch, metrics: self.machine.due(partition, epoch, to).map(due).collect() }
    }

    // How far the lane is.

    /// Whether so much waits for a commit that one is due.
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

    /// What the lane has done, of so many records that it has counted.
    pub(super) fn done(&self, members: &Members, processed: u64) -> Done {
        let committed = self.committed(members);
        let behind =
            |(partition, counted): (&u32, &u64)| counted - committed.get(partition).copied().unwrap_or(0).min(*counted);
        let behind: u64 = self.position(members).0.iter().map(behind).sum();
        Done { processed, committed: processed.saturating_sub(behind), unfinished: false }
    }

    /// The partitions that the log says to end before what was counted of them (`position`), and that are not stopped yet.
    pub(super) fn beyond(&self, bounds: &[Bounds], position: &Position) -> Vec<u32> {
        let stopped: Vec<Option<u32>> = self.machine.halts().map(|(_, partition, _)| partition).collect();
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

    /// Whether a partition is stopped before records of which the first is at this offset, and that a person may skip.
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

    /// Why each metric is stopped, as it is to be shown, where `shown` is so far.
    pub(super) fn stop_reasons(&self, members: &Members, shown: &BTreeMap<MetricId, Halt>) -> BTreeMap<MetricId, Halt> {
        let metrics = members.iter().map(|metric| (metric.no, metric.id));
        stop_reasons::stop_reasons(&self.machine, metrics, &self.held(), shown)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
