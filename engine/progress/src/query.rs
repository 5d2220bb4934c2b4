//! What can be asked of the protocol: how far it is, what a batch is due to, what stands still and
//! why.

use super::cell::{Cell, Phase};
use super::machine::{Machine, Need};
use super::position::Position;
use super::protocol::*;
use super::record::Progress;
use std::collections::BTreeMap;

impl Machine {
    /// The revisions that a batch up to `to` is to be counted for, ascending, each with the offset
    /// from which on its rows count; rows below only warm up the dedupe window. Empty for another
    /// epoch than the present one: throw it away.
    pub fn due(
        &self,
        partition: u32,
        epoch: u64,
        to: u64,
    ) -> impl Iterator<Item = (RevisionNo, u64)> + '_ {
        let part = self.partition(partition).map(|p| &self.partitions[p]);
        let part = part.filter(|part| {
            part.epoch == epoch && !part.revoked && part.read.is_some_and(|read| read < to)
        });
        part.into_iter().flat_map(move |part| {
            part.cells.iter().zip(&self.revisions).filter_map(move |(cell, revision)| {
                let due = cell.is_live()
                    && revision.counts()
                    && part.read.is_some_and(|read| (read..to).contains(&cell.counted()))
                    && cell.verify.is_none_or(|anchor| anchor.offset >= to);
                due.then(|| (revision.no, cell.counted()))
            })
        })
    }

    /// Offsets below `to` whose records must be reported as [`Event::Anchor`] before their batch is
    /// counted; ascending by revision, mostly empty.
    pub fn anchors(&self, partition: u32, to: u64) -> impl Iterator<Item = u64> + '_ {
        let part = self.partition(partition).map(|p| &self.partitions[p]);
        part.into_iter().flat_map(move |part| {
            part.cells.iter().filter_map(move |cell| {
                cell.verify.map(|anchor| anchor.offset).filter(|offset| *offset < to)
            })
        })
    }

    /// The offset after the last record counted.
    #[must_use]
    pub fn next(&self, revision: RevisionNo, partition: u32) -> Option<u64> {
        self.cell(revision, partition).filter(|cell| cell.is_resolved()).map(Cell::counted)
    }

    /// Events that are in no cell because the metric's own code fails on them, stored or not; those
    /// of a run of failures that has not ended are not among them.
    #[must_use]
    pub fn failed(&self, revision: RevisionNo, partition: u32) -> u64 {
        self.cell(revision, partition).filter(|cell| cell.is_resolved()).map_or(0, Cell::failed)
    }

    /// The offset beyond which nothing is committed for now ([`Event::Held`]).
    #[must_use]
    pub fn held_at(&self, revision: RevisionNo, partition: u32) -> Option<u64> {
        self.cell(revision, partition)?.hold
    }

    /// What is known to be stored.
    #[must_use]
    pub fn stored(&self, revision: RevisionNo, partition: u32) -> Option<&Progress> {
        self.cell(revision, partition).filter(|cell| cell.stored).map(|cell| &cell.base)
    }

    /// Where a partition that was assigned is read first, as far as it is known before the log's
    /// bounds are; `None`: maybe from its first record. The source that begins there fetches
    /// nothing in vain.
    #[must_use]
    pub fn start(&self, partition: u32) -> Option<u64> {
        let part = &self.partitions[self.partition(partition)?];
        let counting =
            part.cells.iter().zip(&self.revisions).filter(|(_, revision)| revision.counts());
        let starts = counting.map(|(cell, _)| cell.read_from(self.settings.dedupe_window));
        starts.min().flatten()
    }

    /// The least offset from which on a record of a partition is due to any revision; `None`: no
    /// revision counts it now.
    #[must_use]
    pub fn next_due(&self, partition: u32) -> Option<u64> {
        let part = &self.partitions[self.partition(partition)?];
        let cells = part.cells.iter().zip(&self.revisions);
        let live = cells.filter(|(cell, revision)| cell.is_live() && revision.counts());
        live.map(|(cell, _)| cell.counted()).min()
    }

    /// Counted, over all partitions held: where answers from memory stand.
    #[must_use]
    pub fn position(&self, revision: RevisionNo) -> Position {
        self.positions(revision, |cell| cell.is_resolved().then(|| cell.counted()))
    }

    /// Stored, over all partitions held: what survives a crash.
    #[must_use]
    pub fn committed(&self, revision: RevisionNo) -> Position {
        self.positions(revision, |cell| cell.stored.then_some(cell.base.next))
    }

    fn positions(&self, revision: RevisionNo, of: impl Fn(&Cell) -> Option<u64>) -> Position {
        let Some(r) = self.revision(revision) else { return Position::default() };
        Position(
            self.partitions
                .iter()
                .filter_map(|part| Some((part.partition, of(&part.cells[r])?)))
                .collect(),
        )
    }

    /// What stands still until a person acts: revision, partition (`None`: all), why.
    pub fn halts(&self) -> impl Iterator<Item = (RevisionNo, Option<u32>, &Halt)> + '_ {
        let whole = self
            .revisions
            .iter()
            .filter_map(|revision| Some((revision.no, None, revision.halt.as_ref()?)));
        let cells = self.partitions.iter().flat_map(move |part| {
            part.cells.iter().zip(&self.revisions).filter_map(move |(cell, revision)| {
                match &cell.phase {
                    Phase::Halted(halt) => Some((revision.no, Some(part.partition), halt)),
                    _ => None,
                }
            })
        });
        whole.chain(cells)
    }

    /// Why a partition is not delivered now; nothing while it is.
    pub fn pauses(&self, partition: u32) -> impl Iterator<Item = Pause> + '_ {
        self.partition(partition).into_iter().flat_map(|p| self.pauses_of(p))
    }

    pub(super) fn pauses_of(&self, p: usize) -> impl Iterator<Item = Pause> + '_ {
        let part = &self.partitions[p];
        let counting =
            || part.cells.iter().zip(&self.revisions).filter(|(_, revision)| revision.counts());
        let loading =
            counting().any(|(cell, _)| matches!(cell.phase, Phase::Waiting | Phase::Loaded(_)));
        let live = counting().any(|(cell, _)| cell.is_live());
        let limit = self.settings.max_pending_rows;
        let pending = self.pending_rows() >= limit;
        let reasons = [
            (loading, Pause::Loading),
            (self.store_away(), Pause::StoreAway),
            (pending, Pause::Pending),
            (!live && !loading, Pause::Idle),
            (part.revoked, Pause::Revoked),
        ];
        reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason))
    }

    /// Whether the store left a request unanswered since it last answered: retry with back-off.
    #[must_use]
    pub fn store_away(&self) -> bool {
        self.revisions.iter().any(|revision| revision.away)
    }

    /// Whether nothing of these partitions waits for a commit.
    #[must_use]
    pub fn flushed(&self, partitions: &[u32]) -> bool {
        let held = partitions.iter().filter_map(|partition| self.partition(*partition));
        held.into_iter().all(|p| {
            let mut cells = self.partitions[p].cells.iter().zip(&self.revisions);
            cells.all(|(cell, revision)| !revision.commits() || !cell.is_dirty())
        })
    }

    /// Per partition how far the view of a revision goes, where it holds exactly what is stored;
    /// `None`: it does not.
    #[must_use]
    pub fn shown(&self, revision: RevisionNo) -> Option<BTreeMap<u32, u64>> {
        let r = self.revision(revision)?;
        let rebuilding =
            matches!(self.revisions[r].need, Need::Load { rebuild: true } | Need::Create);
        if rebuilding || self.partitions.iter().any(|part| part.cells[r].has_memory()) {
            return None;
        }
        let mut shown = self.revisions[r].view.clone();
        let counted = self.partitions.iter().map(|part| (part.partition, &part.cells[r]));
        shown.extend(
            counted
                .filter(|(_, cell)| cell.stored && !cell.untouched)
                .map(|(p, cell)| (p, cell.base.next)),
        );
        Some(shown)
    }

    /// Updates of all revisions that wait for their commit: reason enough for an early checkpoint.
    #[must_use]
    pub fn pending_rows(&self) -> u64 {
        self.revisions
            .iter()
            .filter(|revision| revision.commits())
            .map(|revision| revision.pending_rows)
            .sum()
    }

    fn cell(&self, revision: RevisionNo, partition: u32) -> Option<&Cell> {
        Some(&self.partitions[self.partition(partition)?].cells[self.revision(revision)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Anchor, Bounds, Effect, Event, Found, History, Memory, OnGap, OnStateLoss, Settings,
    };

    /// Where reading begins that is stored so far, as it is said before the bounds are known and as
    /// it is decided after; and from where on records are due.
    fn begins(stored: &[Option<(u64, u64)>]) -> (Option<u64>, Option<u64>, Option<u64>) {
        let mut machine = Machine::new(Settings {
            dedupe_window: 20,
            on_gap: OnGap::Halt,
            on_state_loss: OnStateLoss::Rebuild,
            memory: Memory::Resident,
            max_pending_rows: 1_000,
            topic: String::new(),
        });
        let nos = || (0..).map(RevisionNo);
        let joined = nos().take(stored.len()).map(|no| Event::Joined(no, History::Whole, None));
        let mut events: Vec<Event> = joined.chain([Event::Assigned(vec![0])]).collect();
        events.reverse();
        let (mut asked, mut read) = (None, None);
        let mut said = None;
        loop {
            let Some(event) = events.pop() else {
                let Some(ticket) = asked.take() else { return (said, read, machine.next_due(0)) };
                said = machine.start(0);
                events
                    .push(Event::Bounds(ticket, vec![Bounds { partition: 0, start: 0, end: 100 }]));
                continue;
            };
            for effect in machine.on(event) {
                match effect {
                    Effect::Load { revision, ticket, .. } => {
                        let (_, stored) =
                            nos().zip(stored).find(|(no, _)| *no == revision).expect("it joined");
                        let progress = stored.map(|(next, anchor)| {
                            let anchor = Some(Anchor { offset: anchor, timestamp_ms: 0, crc32: 0 });
                            (0, Progress { next, anchor, ..Progress::default() })
                        });
                        let found = Found { life: 1, progress: progress.into_iter().collect() };
                        events.push(Event::Loaded(revision, ticket, Ok(Some(found))));
                    }
                    Effect::Bounds(ticket, _) => asked = Some(ticket),
                    Effect::Read { from, .. } => read = Some(from),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn where_reading_begins_is_said_before_the_bounds_are_known() {
        for (stored, said, read, due) in [
            (vec![Some((50, 49))], Some(30), 30, 50),
            (vec![Some((50, 10))], Some(10), 10, 50),
            (vec![Some((5, 4))], Some(0), 0, 5),
            (vec![Some((90, 89)), Some((50, 49)), Some((70, 69))], Some(30), 30, 50),
            (vec![Some((50, 49)), None], None, 0, 0),
            (vec![None], None, 0, 0),
        ] {
            assert_eq!(begins(&stored), (said, Some(read), Some(due)), "{stored:?}");
        }
    }
}
