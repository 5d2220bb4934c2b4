//! Where counting starts: what is stored is loaded, compared with memory and with the log, and the
//! source is told from where to deliver.
//!
//! The order is always load, then bounds, then read: bounds asked before a load could be older than
//! what it finds, and a stored offset would seem to lie beyond the log's end.

use super::begin::{Comparison, begin, compare};
use super::cell::{Cell, Phase};
use super::machine::{Machine, Need, Partition, Revision};
use super::protocol::*;
use std::collections::BTreeMap;

impl Machine {
    pub(super) fn assigned(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
        let again: Vec<u32> = partitions
            .iter()
            .copied()
            .filter(|partition| self.partition(*partition).is_some())
            .collect();
        self.lost(&again, out);
        for partition in partitions {
            if let Err(at) = self.partitions.binary_search_by_key(partition, |part| part.partition)
            {
                let cells = self.revisions.iter().map(|_| Cell::new()).collect();
                let part = Partition {
                    partition: *partition,
                    epoch: 0,
                    read: None,
                    window_from: 0,
                    log_start: 0,
                    bounds_asked: None,
                    revoked: false,
                    paused: false,
                    cells,
                };
                self.partitions.insert(at, part);
            }
        }
        for r in 0..self.revisions.len() {
            self.need_load(r);
        }
        self.settle(false, out);
    }

    pub(super) fn revoked(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
        for partition in partitions {
            if let Some(p) = self.partition(*partition) {
                self.partitions[p].revoked = true;
            }
        }
        for r in 0..self.revisions.len() {
            if self.partitions.iter().any(|part| part.revoked && part.cells[r].is_dirty()) {
                self.commit(r, false, out);
            }
        }
        self.settle(false, out);
    }

    pub(super) fn lost(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
        for partition in partitions {
            let Some(p) = self.partition(*partition) else { continue };
            let part = self.partitions.remove(p);
            for (r, cell) in part.cells.iter().enumerate() {
                let revision = &mut self.revisions[r];
                if cell.has_memory() {
                    revision.pending_rows =
                        revision.pending_rows.saturating_sub(cell.pending_rows());
                    match self.settings.memory {
                        Memory::Apart => out.push(Effect::Drop(revision.no, *partition)),
                        Memory::Resident => self.rebuild(r),
                    }
                } else if cell.stored && !cell.untouched {
                    revision.view.insert(*partition, cell.base.next);
                }
            }
        }
        if !partitions.is_empty() {
            self.settle(false, out);
        }
    }

    pub(super) fn joined(
        &mut self,
        no: RevisionNo,
        history: History,
        shown: Option<BTreeMap<u32, u64>>,
        out: &mut Vec<Effect>,
    ) {
        let Err(at) = self.revisions.binary_search_by_key(&no, |revision| revision.no) else {
            return;
        };
        let need =
            Need::Load { rebuild: self.settings.memory == Memory::Resident && shown.is_none() };
        let mut revision = Revision::new(no, history, need);
        revision.view = shown.unwrap_or_default();
        revision.adopted = revision.view.clone();
        self.revisions.insert(at, revision);
        for part in &mut self.partitions {
            part.cells.insert(at, Cell::new());
        }
        self.settle(false, out);
    }

    pub(super) fn left(&mut self, no: RevisionNo, out: &mut Vec<Effect>) {
        let Some(r) = self.revision(no) else { return };
        for part in &mut self.partitions {
            if part.cells.remove(r).has_memory() {
                out.push(Effect::Drop(no, part.partition));
            }
        }
        self.revisions.remove(r);
        self.settle(false, out);
    }

    pub(super) fn loaded(
        &mut self,
        no: RevisionNo,
        ticket: Ticket,
        found: Result<Option<Found>, Trouble>,
        out: &mut Vec<Effect>,
    ) {
        let Some(r) = self.revision(no).filter(|r| self.revisions[*r].asked == Some(ticket)) else {
            return;
        };
        let revision = &mut self.revisions[r];
        revision.asked = None;
        revision.away = found == Err(Trouble::Unavailable);
        match found {
            Err(Trouble::Unavailable) => {}
            Err(Trouble::Corrupt(what)) => self.halt(r, Halt::Corrupt(what), out),
            Err(Trouble::Stopped(why)) => {
                revision.refused = true;
                self.halt(r, Halt::Quarantined(why), out);
            }
            Ok(None) if revision.lived && self.settings.on_state_loss == OnStateLoss::Halt => {
                self.halt(r, Halt::StateLost, out)
            }
            Ok(None) => {
                self.restart(r, out);
                self.revisions[r].need = Need::Create;
            }
            Ok(Some(found)) => self.take(r, found, out),
        }
        self.settle(false, out);
    }

    fn take(&mut self, r: usize, found: Found, out: &mut Vec<Effect>) {
        let revision = &mut self.revisions[r];
        let rebuilt = revision.need == Need::Load { rebuild: true };
        if !rebuilt && revision.life.is_some_and(|life| life != found.life) {
            return self.restart(r, out);
        }
        revision.need = Need::Nothing;
        revision.life = Some(found.life);
        revision.lived = true;
        if rebuilt {
            revision.view = found
                .progress
                .iter()
                .map(|(partition, progress)| (*partition, progress.next))
                .collect();
        }
        for part in &mut self.partitions {
            let cell = &mut part.cells[r];
            if matches!(cell.phase, Phase::Waiting | Phase::Loaded(_)) {
                let stored =
                    found.progress.iter().find(|(partition, _)| *partition == part.partition);
                cell.phase = Phase::Loaded(stored.map(|(_, progress)| progress.clone()));
                // Bounds that are on their way may be older than this record.
                part.bounds_asked = None;
            }
        }
    }

    pub(super) fn created(
        &mut self,
        no: RevisionNo,
        ticket: Ticket,
        done: Result<(), Trouble>,
        out: &mut Vec<Effect>,
    ) {
        let Some(r) = self.revision(no).filter(|r| self.revisions[*r].asked == Some(ticket)) else {
            return;
        };
        let resident = self.settings.memory == Memory::Resident;
        let revision = &mut self.revisions[r];
        revision.asked = None;
        revision.away = done == Err(Trouble::Unavailable);
        // It may have been created although the answer was lost: look before creating again.
        revision.need = Need::Load { rebuild: resident };
        if let Err(Trouble::Corrupt(what)) = done {
            self.halt(r, Halt::Corrupt(what), out);
        }
        self.settle(false, out);
    }

    pub(super) fn bounded(&mut self, ticket: Ticket, bounds: &[Bounds], out: &mut Vec<Effect>) {
        for found in bounds {
            let Some(p) = self
                .partition(found.partition)
                .filter(|p| self.partitions[*p].bounds_asked == Some(ticket))
            else {
                continue;
            };
            self.partitions[p].bounds_asked = None;
            self.partitions[p].log_start = found.start;
            for r in 0..self.revisions.len() {
                if matches!(self.partitions[p].cells[r].phase, Phase::Loaded(_)) {
                    self.resolve(p, r, *found, out);
                }
            }
        }
        self.settle(false, out);
    }

    /// What is stored and what the log holds are known: memory is kept or dropped, and counting can
    /// begin.
    fn resolve(&mut self, p: usize, r: usize, bounds: Bounds, out: &mut Vec<Effect>) {
        let memory = self.settings.memory;
        let (revision, part) = (&mut self.revisions[r], &mut self.partitions[p]);
        let cell = &mut part.cells[r];
        let Phase::Loaded(found) = std::mem::replace(&mut cell.phase, Phase::Waiting) else {
            return;
        };
        match compare(cell, found.as_ref(), memory) {
            Comparison::Kept => {
                if let Some(found) = found {
                    cell.base = found;
                }
                cell.phase = Phase::Live;
                return;
            }
            Comparison::Committed => {
                let rows = cell.sent.as_ref().map_or(0, |sent| sent.rows);
                revision.pending_rows = revision.pending_rows.saturating_sub(rows);
                if let Some(found) = found {
                    out.push(Effect::Forget(revision.no, part.partition, found.next));
                    cell.advance(found);
                }
                cell.phase = Phase::Live;
                return;
            }
            Comparison::Void => {}
        }
        let shown = revision.view.get(&part.partition).copied();
        if memory == Memory::Resident
            && (!cell.untouched || shown != found.as_ref().map(|found| found.next))
        {
            return self.rebuild(r);
        }
        if cell.has_memory() {
            revision.pending_rows = revision.pending_rows.saturating_sub(cell.pending_rows());
            out.push(Effect::Drop(revision.no, part.partition));
        }
        let halt = begin(cell, found, bounds, &revision.history, &self.settings);
        if revision.adopted.remove(&part.partition) == Some(cell.base.next) {
            cell.verify = None;
        }
        if cell.counted() > 0 {
            out.push(Effect::Stands(revision.no, part.partition, cell.counted()));
        }
        if let Some(halt) = halt {
            out.push(Effect::Halted(revision.no, Some(part.partition), halt.clone()));
            cell.phase = Phase::Halted(halt);
        }
    }

    /// Resident: the view is made anew from the store, with everything that counts into it.
    pub(super) fn rebuild(&mut self, r: usize) {
        let revision = &mut self.revisions[r];
        revision.need = Need::Load { rebuild: true };
        revision.asked = None;
        revision.pending_rows = 0;
        revision.adopted.clear();
        for part in &mut self.partitions {
            part.cells[r] = Cell::new();
        }
    }

    /// The state is not the one that was counted for: nothing of it stays.
    pub(super) fn restart(&mut self, r: usize, out: &mut Vec<Effect>) {
        if self.settings.memory == Memory::Apart {
            for part in &self.partitions {
                if part.cells[r].has_memory() {
                    out.push(Effect::Drop(self.revisions[r].no, part.partition));
                }
            }
        }
        self.rebuild(r);
        self.revisions[r].life = None;
        self.revisions[r].need = Need::Load { rebuild: self.settings.memory == Memory::Resident };
    }

    pub(super) fn need_load(&mut self, r: usize) {
        let revision = &mut self.revisions[r];
        if matches!(revision.need, Need::Nothing | Need::Load { rebuild: false }) {
            revision.need = Need::Load { rebuild: false };
            // One that is on its way may be older than what made us ask.
            revision.asked = None;
        }
    }

    /// Asks for what is missing, starts and rewinds partitions, pauses and resumes them.
    pub(super) fn settle(&mut self, retry: bool, out: &mut Vec<Effect>) {
        for r in 0..self.revisions.len() {
            let ticket = self.ticket();
            let revision = &mut self.revisions[r];
            let idle = !revision.commits() || revision.refused;
            if idle || revision.asked.is_some() || (revision.away && !retry) {
                continue;
            }
            out.push(match revision.need {
                Need::Nothing => continue,
                Need::Load { rebuild } => Effect::Load { revision: revision.no, ticket, rebuild },
                Need::Create => Effect::Create(revision.no, ticket),
            });
            revision.asked = Some(ticket);
        }
        let ticket = self.ticket();
        let mut unbounded = Vec::new();
        for p in 0..self.partitions.len() {
            let part = &mut self.partitions[p];
            let cells = || part.cells.iter().zip(&self.revisions);
            let waits = cells()
                .any(|(cell, revision)| revision.counts() && matches!(cell.phase, Phase::Waiting));
            let loaded = cells().any(|(cell, _)| matches!(cell.phase, Phase::Loaded(_)));
            if waits || loaded {
                if !waits && part.bounds_asked.is_none() {
                    part.bounds_asked = Some(ticket);
                    unbounded.push(part.partition);
                }
            } else if !part.revoked {
                self.start_reading(p, out);
            }
            let stands = self.pauses_of(p).next().is_some();
            let part = &mut self.partitions[p];
            if part.paused != stands {
                part.paused = stands;
                out.push(if stands {
                    Effect::Pause(part.partition)
                } else {
                    Effect::Resume(part.partition)
                });
            }
        }
        if !unbounded.is_empty() {
            out.push(Effect::Bounds(ticket, unbounded));
        }
    }

    /// Delivers from the smallest offset needed, if that is not where the source stands anyway.
    /// Revisions ahead of it ignore what they have.
    fn start_reading(&mut self, p: usize, out: &mut Vec<Effect>) {
        let window = self.settings.dedupe_window;
        let part = &mut self.partitions[p];
        let live = || {
            part.cells
                .iter()
                .zip(&self.revisions)
                .filter(|(cell, revision)| cell.is_live() && revision.counts())
        };
        let Some(needed) = live().map(|(cell, _)| cell.counted()).min() else { return };
        let warm = needed.saturating_sub(window).max(part.log_start).min(needed);
        let unverified =
            live().filter_map(|(cell, _)| cell.verify).map(|anchor| anchor.offset).min();
        let seen = |read: u64| {
            read <= needed
                && part.window_from <= warm
                && unverified.is_none_or(|offset| read <= offset)
        };
        if part.read.is_some_and(seen) {
            return;
        }
        let from = live()
            .filter_map(|(cell, _)| cell.read_from(window))
            .min()
            .unwrap_or(needed)
            .max(part.log_start)
            .min(needed);
        for cell in &mut part.cells {
            cell.verify = cell.verify.filter(|anchor| anchor.offset >= from);
        }
        self.read(p, from, true, out);
    }
}
