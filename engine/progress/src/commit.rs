//! What the store is sent, and what its answers lead to.
//!
//! At most one commit of a revision is on its way. A range once sent is frozen: it is sent again as
//! it was until the store says what became of it, because a lost answer may have been "applied".

use super::cell::Phase;
use super::machine::Machine;
use super::protocol::*;

/// After so many compactions of one full bucket without a commit in between the revision stops.
const FULL_TRIES: u32 = 4;

/// So often in a row a commit is sent again at once because buckets were split; then when the next
/// checkpoint is due.
const REGROUPS: u32 = 4;

/// A commit whose answer is awaited.
#[derive(Debug)]
pub(super) struct InFlight {
    ticket: Ticket,
    life: u128,
    /// Partition and fence.
    froms: Vec<(u32, u64)>,
}

/// A bucket that has to be compacted before anything can be committed.
#[derive(Debug)]
pub(super) struct FullBucket {
    table: u16,
    bucket: u32,
    asked: Option<Ticket>,
}

impl Machine {
    /// Sends what revision `r` has to send, unless something of it is on its way.
    pub(super) fn commit(&mut self, r: usize, heartbeat: bool, out: &mut Vec<Effect>) {
        let revision = &mut self.revisions[r];
        let Some(life) = revision.life else { return };
        if !revision.commits() || revision.commit.is_some() || revision.full.is_some() {
            return;
        }
        let ticket = Ticket(self.last_ticket + 1);
        let mut advances = Vec::new();
        for part in &mut self.partitions {
            let cell = &mut part.cells[r];
            if !cell.is_resolved() {
                continue;
            }
            if cell.sent.is_none() && cell.is_dirty() {
                cell.freeze(ticket);
            }
            let (partition, from, base) =
                (part.partition, cell.fence(), cell.stored.then(|| cell.base.clone()));
            if let Some(sent) = &mut cell.sent {
                sent.ticket = ticket;
                advances.push(Advance { partition, from, base, to: sent.record.clone() });
            } else if heartbeat && cell.stored && !part.revoked {
                advances.push(Advance { partition, from, base, to: cell.base.clone() });
            }
        }
        if advances.is_empty() {
            return;
        }
        self.last_ticket = ticket.0;
        let froms = advances.iter().map(|advance| (advance.partition, advance.from)).collect();
        revision.commit = Some(InFlight { ticket, life, froms });
        out.push(Effect::Commit { revision: revision.no, ticket, life, advances });
    }

    pub(super) fn answered(
        &mut self,
        no: RevisionNo,
        ticket: Ticket,
        answer: Answer,
        out: &mut Vec<Effect>,
    ) {
        let Some(r) = self.revision(no) else { return };
        let was_over = self.pending_rows() >= self.settings.max_pending_rows;
        let revision = &mut self.revisions[r];
        let Some(commit) = revision.commit.take_if(|commit| commit.ticket == ticket) else {
            return;
        };
        let current = revision.life == Some(commit.life);
        let was_away =
            std::mem::replace(&mut revision.away, answer.outcome() == Outcome::SendAgain);
        let mut restructured = was_away != revision.away;
        match answer {
            Answer::Applied => {
                (revision.full_tries, revision.regrouped) = (0, 0);
                self.applied(r, &commit, out);
            }
            Answer::Mismatch(stored) if current => {
                restructured |= self.mismatched(r, &commit, &stored, out)
            }
            Answer::OtherLife if current => {
                self.restart(r, out);
                restructured = true;
            }
            Answer::Full(table, bucket) => {
                // Another bucket: the one before has got room.
                let again = revision.was_full.replace((table, bucket)) == Some((table, bucket));
                revision.full_tries = if again { revision.full_tries + 1 } else { 1 };
                if revision.full_tries >= FULL_TRIES {
                    self.halt(r, Halt::Full { table, bucket }, out);
                    restructured = true;
                } else {
                    revision.full = Some(FullBucket { table, bucket, asked: None });
                    self.compact(r, out);
                }
            }
            Answer::Layout => {
                revision.regrouped += 1;
                if revision.regrouped <= REGROUPS {
                    self.commit(r, false, out);
                }
            }
            Answer::Failed(Trouble::Stopped(why)) => self.halt(r, Halt::Quarantined(why), out),
            Answer::Failed(Trouble::Corrupt(what)) => {
                self.halt(r, Halt::Corrupt(what), out);
                restructured = true;
            }
            // Of a life that is no longer counted for; or unknown, and sent again when due.
            Answer::Mismatch(_) | Answer::OtherLife | Answer::Failed(Trouble::Unavailable) => {}
        }
        if !self.revisions[r].away
            && self.partitions.iter().any(|part| part.revoked && part.cells[r].is_dirty())
        {
            self.commit(r, false, out);
        }
        if restructured || (was_over && self.pending_rows() < self.settings.max_pending_rows) {
            self.settle(false, out);
        }
    }

    fn applied(&mut self, r: usize, commit: &InFlight, out: &mut Vec<Effect>) {
        let no = self.revisions[r].no;
        for (partition, _) in &commit.froms {
            let Some(p) = self.partition(*partition) else { continue };
            let cell = &mut self.partitions[p].cells[r];
            if let Some(sent) = cell.sent.take_if(|sent| sent.ticket == commit.ticket) {
                out.push(Effect::Forget(no, *partition, sent.record.next));
                self.revisions[r].pending_rows =
                    self.revisions[r].pending_rows.saturating_sub(sent.rows);
                cell.advance(sent.record);
            }
        }
    }

    /// The partitions that differ are to be loaded; the others are sent again at once. Whether any
    /// differed.
    fn mismatched(
        &mut self,
        r: usize,
        commit: &InFlight,
        stored: &[(u32, u64)],
        out: &mut Vec<Effect>,
    ) -> bool {
        // The same offsets, yet a mismatch: a record differs, and only loading tells which.
        let all = commit.froms.iter().all(|from| stored.contains(from));
        let mut differs = false;
        for (partition, from) in &commit.froms {
            let Some(p) = self.partition(*partition) else { continue };
            let cell = &mut self.partitions[p].cells[r];
            if cell.is_resolved()
                && cell.fence() == *from
                && (all || !stored.contains(&(*partition, *from)))
            {
                cell.phase = Phase::Waiting;
                differs = true;
            }
        }
        if differs {
            self.need_load(r);
            self.commit(r, false, out);
        }
        differs
    }

    pub(super) fn compact(&mut self, r: usize, out: &mut Vec<Effect>) {
        let revision = &mut self.revisions[r];
        let Some(full) = revision.full.as_mut().filter(|full| full.asked.is_none()) else { return };
        self.last_ticket += 1;
        full.asked = Some(Ticket(self.last_ticket));
        out.push(Effect::Compact(revision.no, Ticket(self.last_ticket), full.table, full.bucket));
    }

    pub(super) fn compacted(
        &mut self,
        no: RevisionNo,
        ticket: Ticket,
        done: Result<(), Trouble>,
        out: &mut Vec<Effect>,
    ) {
        let Some(r) = self.revision(no) else { return };
        let revision = &mut self.revisions[r];
        let Some(full) = revision.full.as_mut().filter(|full| full.asked == Some(ticket)) else {
            return;
        };
        full.asked = None;
        revision.away = done == Err(Trouble::Unavailable);
        match done {
            Ok(()) => {
                revision.full = None;
                self.commit(r, false, out);
            }
            Err(Trouble::Corrupt(what)) => self.halt(r, Halt::Corrupt(what), out),
            Err(Trouble::Stopped(why)) => self.halt(r, Halt::Quarantined(why), out),
            Err(Trouble::Unavailable) => {}
        }
        self.settle(false, out);
    }
}
