//! The commit protocol of one lane as a pure state machine: events in, effects out. Here: what is
//! held, what happens to the log; `load` has where counting starts, `commit` what the store is sent
//! and what its answers lead to.
//!
//! It promises: every range is committed with the fence it was counted on, at most one commit of a
//! revision is on its way, and whatever is in doubt is settled by what is stored, never by what is
//! remembered. It does no I/O, holds no clock and no thread, decides nothing by chance, and never
//! sees a delta: only ranges.

use super::cell::{Cell, Phase};
use super::commit::{FullBucket, InFlight};
use super::protocol::*;
use super::record::{Anchor, Span};
use std::collections::BTreeMap;

/// The protocol of one lane; see the module's worked example.
#[derive(Debug)]
pub struct Machine {
    pub(super) settings: Settings,
    /// Ascending by number.
    pub(super) revisions: Vec<Revision>,
    /// Ascending by partition; each has one cell per revision, in the same order.
    pub(super) partitions: Vec<Partition>,
    pub(super) last_ticket: u64,
    last_epoch: u64,
}

#[derive(Debug)]
pub(super) struct Revision {
    pub(super) no: RevisionNo,
    pub(super) history: History,
    pub(super) life: Option<u128>,
    /// Whether a life was ever seen: then its absence is a loss.
    pub(super) lived: bool,
    pub(super) halt: Option<Halt>,
    pub(super) need: Need,
    /// The request for `need` that is on its way.
    pub(super) asked: Option<Ticket>,
    /// The last answer was that the store is unavailable.
    pub(super) away: bool,
    /// What is stored of it is more than there is room for: it is not asked for again.
    pub(super) refused: bool,
    pub(super) commit: Option<InFlight>,
    pub(super) full: Option<FullBucket>,
    pub(super) full_tries: u32,
    /// The bucket that was full last.
    pub(super) was_full: Option<(u16, u32)>,
    /// Commits in a row that named buckets that are none.
    pub(super) regrouped: u32,
    pub(super) pending_rows: u64,
    /// Resident: what the view holds of partitions that are not being counted here.
    pub(super) view: BTreeMap<u32, u64>,
    /// Per partition how far it was counted in this process before it joined: there the log needs
    /// no second look.
    pub(super) adopted: BTreeMap<u32, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Load { rebuild: bool },
    Create,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) partition: u32,
    pub(super) epoch: u64,
    /// Up to where it was delivered and counted; `None` until it is started.
    pub(super) read: Option<u64>,
    /// Where the present dedupe window began.
    pub(super) window_from: u64,
    pub(super) log_start: u64,
    pub(super) bounds_asked: Option<Ticket>,
    pub(super) revoked: bool,
    pub(super) paused: bool,
    pub(super) cells: Vec<Cell>,
}

impl Revision {
    /// Whether it shall count; a quarantined one only commits what it has.
    pub(super) fn counts(&self) -> bool {
        self.halt.is_none()
    }

    pub(super) fn commits(&self) -> bool {
        matches!(self.halt, None | Some(Halt::Quarantined(_)))
    }
}

impl Machine {
    /// A lane that feeds nothing and holds nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            revisions: Vec::new(),
            partitions: Vec::new(),
            last_ticket: 0,
            last_epoch: 0,
        }
    }

    /// Takes notice of an event; says what is to be done, in this order.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        let out = &mut out;
        match event {
            Event::Counted(batch) => self.counted(&batch, out),
            Event::Answered(no, ticket, answer) => self.answered(no, ticket, answer, out),
            Event::CheckpointDue => self.due_now(false, out),
            Event::HeartbeatDue => self.due_now(true, out),
            Event::Assigned(partitions) => self.assigned(&partitions, out),
            Event::Revoked(partitions) => self.revoked(&partitions, out),
            Event::Lost(partitions) => self.lost(&partitions, out),
            Event::Topic(topic) => self.told_topic(topic, out),
            Event::Joined(no, history, shown) => self.joined(no, history, shown, out),
            Event::Left(no) => self.left(no, out),
            Event::Loaded(no, ticket, found) => self.loaded(no, ticket, found, out),
            Event::Created(no, ticket, done) => self.created(no, ticket, done, out),
            Event::Bounds(ticket, bounds) => self.bounded(ticket, &bounds, out),
            Event::Anchor(partition, epoch, found) => self.anchored(partition, epoch, found, out),
            Event::Gap(partition, epoch, gap) => self.gapped(partition, epoch, gap, out),
            Event::Undecodable(partition, epoch, offset) => {
                self.undecodable(partition, epoch, offset, out)
            }
            Event::GapAccepted(partition) => self.gap_accepted(partition, out),
            Event::Held(no, partition, at) => self.hold(no, partition, Some(at)),
            Event::Released(no, partition) => self.hold(no, partition, None),
            Event::Quarantined(no, reason) => {
                if let Some(r) = self.revision(no) {
                    self.halt(r, Halt::Quarantined(reason), out);
                    self.settle(false, out);
                }
            }
            Event::Compacted(no, ticket, done) => self.compacted(no, ticket, done, out),
        }
        std::mem::take(out)
    }

    fn counted(&mut self, batch: &Counted, out: &mut Vec<Effect>) {
        let limit = self.settings.max_pending_rows;
        let was_over = self.pending_rows() >= limit;
        let Some(p) = self.partition(batch.partition) else { return };
        let part = &mut self.partitions[p];
        let Some(read) =
            part.read.filter(|read| !part.revoked && part.epoch == batch.epoch && *read < batch.to)
        else {
            return;
        };
        let mut behind = false;
        let mut counts = batch.counts.iter();
        for (cell, revision) in part.cells.iter_mut().zip(&mut self.revisions) {
            // Below `read` it missed records of this stream: it counts nothing more before they are
            // read again.
            if !cell.is_live() || !revision.counts() || !(read..batch.to).contains(&cell.counted())
            {
                continue;
            }
            if cell.verify.is_some_and(|anchor| anchor.offset < read) {
                // This stream began behind the record to be compared: it is read from there once
                // all is loaded.
                behind = true;
                continue;
            }
            if let Some(anchor) = cell.verify.filter(|anchor| anchor.offset < batch.to) {
                let halt = Halt::LogChanged { partition: batch.partition, offset: anchor.offset };
                cell.phase = Phase::Halted(halt.clone());
                out.push(Effect::Halted(revision.no, Some(batch.partition), halt));
                behind = true;
                continue;
            }
            // Both are ascending, so this walks `counts` once.
            let count = match counts.as_slice().first() {
                Some(count) if count.revision == revision.no => counts.next(),
                _ => batch.counts.iter().find(|count| count.revision == revision.no),
            };
            let Some(count) = count else {
                behind = true;
                continue;
            };
            cell.add(batch.to, count, batch.last);
            revision.pending_rows = revision.pending_rows.saturating_add(count.rows);
        }
        part.read = Some(batch.to);
        if behind || !was_over && self.pending_rows() >= limit {
            self.settle(false, out);
        }
    }

    fn due_now(&mut self, heartbeat: bool, out: &mut Vec<Effect>) {
        for part in &mut self.partitions {
            part.bounds_asked = None;
        }
        for r in 0..self.revisions.len() {
            self.compact(r, out);
            self.commit(r, heartbeat, out);
        }
        self.settle(true, out);
    }

    fn anchored(&mut self, partition: u32, epoch: u64, found: Anchor, out: &mut Vec<Effect>) {
        let Some(p) = self.partition(partition) else { return };
        let part = &mut self.partitions[p];
        if part.epoch != epoch {
            return;
        }
        let mut halted = false;
        for (cell, revision) in part.cells.iter_mut().zip(&self.revisions) {
            let Some(expected) = cell.verify.take_if(|anchor| anchor.offset == found.offset) else {
                continue;
            };
            if expected != found {
                let halt = Halt::LogChanged { partition, offset: found.offset };
                cell.phase = Phase::Halted(halt.clone());
                out.push(Effect::Halted(revision.no, Some(partition), halt));
                halted = true;
            }
        }
        if halted {
            self.settle(false, out);
        }
    }

    fn gapped(&mut self, partition: u32, epoch: u64, gap: Span, out: &mut Vec<Effect>) {
        let Some(p) = self.partition(partition) else { return };
        let part = &mut self.partitions[p];
        if part.epoch != epoch || part.revoked || gap.from >= gap.to {
            return;
        }
        let mut live = part
            .cells
            .iter()
            .zip(&self.revisions)
            .filter(|(cell, revision)| cell.is_live() && revision.counts());
        if part.read.is_none_or(|read| read < gap.from)
            || live.any(|(cell, _)| cell.counted() < gap.from)
        {
            // Records before the gap were read but not counted: they come first, or are reported
            // gone in their turn.
            part.read = None;
            return self.settle(false, out);
        }
        part.log_start = part.log_start.max(gap.to);
        for (cell, revision) in part.cells.iter_mut().zip(&self.revisions) {
            if !cell.is_live() || !revision.counts() {
                continue;
            }
            cell.verify = cell.verify.filter(|anchor| anchor.offset >= gap.to);
            let missing = Span { from: gap.from.max(cell.counted()), to: gap.to };
            if missing.from >= missing.to {
                // Only warm-up is gone: verdicts may miss duplicates of it.
                let from = gap
                    .from
                    .max(cell.base.start)
                    .max(cell.counted().saturating_sub(self.settings.dedupe_window));
                if from < gap.to {
                    cell.open.dedupe_gap = Some(Span { from, to: gap.to });
                }
            } else if self.settings.on_gap == OnGap::Continue {
                cell.jump(missing);
                out.push(Effect::Stands(revision.no, partition, cell.counted()));
            } else {
                let halt = Halt::Gap { partition, gap: missing };
                cell.phase = Phase::Halted(halt.clone());
                out.push(Effect::Halted(revision.no, Some(partition), halt));
            }
        }
        let live = part
            .cells
            .iter()
            .zip(&self.revisions)
            .any(|(cell, revision)| cell.is_live() && revision.counts());
        if live {
            // The window goes on: what it holds lies before the gap, and verdicts behind it may
            // need it.
            self.read(p, gap.to, false, out);
        } else {
            // The source stands still before the gap until it is told where to go on.
            self.partitions[p].read = None;
        }
        self.settle(false, out);
    }

    /// Whoever stands right before the record halts there; the others are past it, or come to it in
    /// their turn.
    fn undecodable(&mut self, partition: u32, epoch: u64, offset: u64, out: &mut Vec<Effect>) {
        let Some(p) = self.partition(partition) else { return };
        let part = &mut self.partitions[p];
        if part.epoch != epoch || part.revoked {
            return;
        }
        for (cell, revision) in part.cells.iter_mut().zip(&self.revisions) {
            if cell.is_live() && revision.counts() && cell.counted() == offset {
                let halt = Halt::Undecodable { partition, offset };
                cell.phase = Phase::Halted(halt.clone());
                out.push(Effect::Halted(revision.no, Some(partition), halt));
            }
        }
        part.read = None;
        self.settle(false, out);
    }

    fn gap_accepted(&mut self, partition: u32, out: &mut Vec<Effect>) {
        let Some(p) = self.partition(partition) else { return };
        for (cell, revision) in self.partitions[p].cells.iter_mut().zip(&self.revisions) {
            let gap = match &cell.phase {
                Phase::Halted(Halt::Gap { gap, .. }) => *gap,
                Phase::Halted(Halt::Undecodable { offset, .. }) => {
                    Span { from: *offset, to: offset + 1 }
                }
                _ => continue,
            };
            cell.jump(gap);
            cell.phase = Phase::Live;
            out.push(Effect::Stands(revision.no, partition, cell.counted()));
        }
        self.settle(false, out);
    }

    fn hold(&mut self, no: RevisionNo, partition: u32, at: Option<u64>) {
        if let (Some(r), Some(p)) = (self.revision(no), self.partition(partition)) {
            self.partitions[p].cells[r].hold = at;
        }
    }

    pub(super) fn halt(&mut self, r: usize, halt: Halt, out: &mut Vec<Effect>) {
        let revision = &mut self.revisions[r];
        out.push(Effect::Halted(revision.no, None, halt.clone()));
        revision.away = false;
        revision.halt = Some(halt);
    }

    pub(super) fn read(&mut self, p: usize, from: u64, fresh: bool, out: &mut Vec<Effect>) {
        self.last_epoch += 1;
        let part = &mut self.partitions[p];
        part.epoch = self.last_epoch;
        part.read = Some(from);
        if fresh {
            part.window_from = from;
        }
        out.push(Effect::Read { partition: part.partition, from, epoch: part.epoch, fresh });
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    pub(super) fn revision(&self, no: RevisionNo) -> Option<usize> {
        self.revisions.binary_search_by_key(&no, |revision| revision.no).ok()
    }

    pub(super) fn partition(&self, partition: u32) -> Option<usize> {
        self.partitions.binary_search_by_key(&partition, |part| part.partition).ok()
    }
}

impl Revision {
    pub(super) fn new(no: RevisionNo, history: History, need: Need) -> Self {
        Self {
            no,
            history,
            life: None,
            lived: false,
            halt: None,
            need,
            asked: None,
            away: false,
            refused: false,
            commit: None,
            full: None,
            full_tries: 0,
            was_full: None,
            regrouped: 0,
            pending_rows: 0,
            view: BTreeMap::new(),
            adopted: BTreeMap::new(),
        }
    }
}
