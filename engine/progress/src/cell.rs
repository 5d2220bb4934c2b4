//! One revision on one partition: what is stored, what is on its way, what is only in memory.
//!
//! Three ranges follow each other: `[start, base.next)` is stored, up to `sent` it is frozen in a
//! commit whose answer is not known, up to `open.to` it is counted in memory. Arithmetic only; who
//! asks for what is in `machine`.

use super::protocol::{Count, Halt, Ticket};
use super::record::{Anchor, Progress, Span};

/// Where a cell stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// What is stored has to be loaded.
    Waiting,
    /// It is loaded (`None`: nothing stored); the log's bounds are still to come.
    Loaded(Option<Progress>),
    /// Counting.
    Live,
    /// Stopped; what was counted is still committed.
    Halted(Halt),
}

/// Counted, not stored.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Offset after it.
    pub(super) to: u64,
    pub(super) rows: u64,
    /// Smallest and largest event time.
    pub(super) times: Option<(i64, i64)>,
    pub(super) anchor: Option<Anchor>,
    pub(super) gaps: Vec<Span>,
    pub(super) dedupe_gap: Option<Span>,
    /// Events left out; all of them lie before a hold.
    pub(super) failed: u64,
}

/// A frozen range: sent once or more, answer unknown.
#[derive(Debug)]
pub(super) struct Sent {
    /// The latest sending.
    pub(super) ticket: Ticket,
    /// What is stored once it applied.
    pub(super) record: Progress,
    pub(super) rows: u64,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) phase: Phase,
    /// Nothing was counted since the cell was made: there is no memory to keep or to drop.
    pub(super) untouched: bool,
    /// Whether `base` is stored; else the fence is at 0.
    pub(super) stored: bool,
    pub(super) base: Progress,
    pub(super) sent: Option<Sent>,
    pub(super) open: Delta,
    pub(super) hold: Option<u64>,
    /// To be compared when the record at that offset is read again.
    pub(super) verify: Option<Anchor>,
}

impl Cell {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Waiting,
            untouched: true,
            stored: false,
            base: Progress::default(),
            sent: None,
            open: Delta::default(),
            hold: None,
            verify: None,
        }
    }

    /// What the store holds as `next`, as far as we know.
    pub(super) fn fence(&self) -> u64 {
        if self.stored { self.base.next } else { 0 }
    }

    pub(super) fn counted(&self) -> u64 {
        self.open.to
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// Progress and bounds are known.
    pub(super) fn is_resolved(&self) -> bool {
        matches!(self.phase, Phase::Live | Phase::Halted(_))
    }

    pub(super) fn pending_rows(&self) -> u64 {
        self.open.rows + self.sent.as_ref().map_or(0, |sent| sent.rows)
    }

    /// Whether memory is ahead of the store.
    pub(super) fn has_memory(&self) -> bool {
        !self.untouched && (self.sent.is_some() || self.open.to > self.base.next)
    }

    /// Whether a commit would move something.
    pub(super) fn is_dirty(&self) -> bool {
        !self.untouched
            && (self.sent.is_some()
                || !self.stored
                || self.commit_to() > self.base.next
                || self.open.dedupe_gap.is_some())
    }

    fn commit_to(&self) -> u64 {
        self.hold.map_or(self.open.to, |hold| hold.min(self.open.to)).max(self.base.next)
    }

    /// Takes what is open, up to a hold, into a frozen range.
    pub(super) fn freeze(&mut self, ticket: Ticket) {
        let to = self.commit_to();
        let rest = Delta { to: self.open.to, anchor: self.open.anchor, ..Delta::default() };
        let delta = std::mem::replace(&mut self.open, rest);
        let mut record = self.base.clone();
        record.next = to;
        record.rows = record.rows.saturating_add(delta.rows);
        record.failed = record.failed.saturating_add(delta.failed);
        record.history_to = record.history_to.filter(|end| *end > to);
        if let Some(times) = delta.times {
            record.add_times(times);
        }
        record.anchor = delta.anchor.filter(|anchor| anchor.offset < to).or(record.anchor);
        record.dedupe_gap = delta.dedupe_gap.or(record.dedupe_gap);
        for gap in delta.gaps {
            if gap.to <= to {
                record.add_gap(gap);
            } else {
                self.open.gaps.push(gap);
            }
        }
        self.sent = Some(Sent { ticket, record, rows: delta.rows });
    }

    /// The frozen range is stored, with this record.
    pub(super) fn advance(&mut self, record: Progress) {
        self.base = record;
        self.stored = true;
        self.sent = None;
    }

    /// Counting begins afresh where the store stands.
    pub(super) fn begin(&mut self, base: Progress, stored: bool) {
        self.open = Delta { to: base.next, ..Delta::default() };
        self.verify = if stored { base.anchor } else { None };
        self.base = base;
        self.stored = stored;
        self.sent = None;
        self.hold = None;
        self.untouched = false;
        self.phase = Phase::Live;
    }

    /// Events left out, stored or not; of a run that has not ended none.
    pub(super) fn failed(&self) -> u64 {
        let stored = self.sent.as_ref().map_or(self.base.failed, |sent| sent.record.failed);
        stored.saturating_add(self.open.failed)
    }

    pub(super) fn add(&mut self, to: u64, count: &Count, last: Option<Anchor>) {
        self.open.rows = self.open.rows.saturating_add(count.rows);
        self.open.failed = self.open.failed.saturating_add(count.failed);
        self.open.times = match (self.open.times, count.times) {
            (Some((first, last)), Some((least, most))) => Some((first.min(least), last.max(most))),
            (one, other) => one.or(other),
        };
        self.open.anchor = last.filter(|last| last.offset >= self.open.to).or(self.open.anchor);
        self.open.to = to;
    }

    /// Records `[.., gap.to)` from `gap.from` on are gone; those not counted yet are recorded as
    /// lost.
    pub(super) fn jump(&mut self, gap: Span) {
        self.open.gaps.push(Span { from: gap.from.max(self.open.to), to: gap.to });
        self.open.to = gap.to;
    }

    /// What must be read again, at the earliest, to count on from here; also where only what is
    /// stored is known yet. `None`: that depends on the log's bounds.
    pub(super) fn read_from(&self, window: u64) -> Option<u64> {
        let (next, verify) = match &self.phase {
            Phase::Waiting | Phase::Loaded(None) => return None,
            Phase::Loaded(Some(found)) => (found.next, found.anchor),
            Phase::Live | Phase::Halted(_) => (self.counted(), self.verify),
        };
        let warm = next.saturating_sub(window);
        Some(verify.map_or(warm, |anchor| warm.min(anchor.offset)))
    }
}
