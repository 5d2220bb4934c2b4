//! When buckets are compacted, split and expired panes rolled up. How is `state`'s; whether it may be is the store's.

use super::counting::Counting;
use super::effects::Driver;
use super::workers::{CompactDone, CompactJob, Unsent, trouble};
use crate::failpoint::point;
use crate::progress::{Event, RevisionNo, Ticket, Trouble};
use crate::state;
use crate::store::{Bucket, BucketSize};
use std::time::{Duration, Instant};

/// A bucket is compacted when what was appended since its snapshot is at least this, and at least the snapshot: each
/// byte is then rewritten a logarithmic number of times. Embedded, every view is in memory, so this only bounds what a
/// start reads and what the disk holds.
const COMPACT: u64 = 4 << 20;

/// The same where readers fetch buckets: a cold one should cost little.
const COMPACT_SHARED: u64 = 256 << 10;

/// A bucket whose snapshot has become larger than this is split. Embedded, a commit that touches more buckets costs more,
/// and large ones cost nobody anything but the next compaction.
pub(super) const SPLIT: u64 = 8 << 20;

/// The same where readers fetch buckets.
pub(super) const SPLIT_SHARED: u64 = 64 << 10;

/// Newest frames of a bucket that a compaction leaves as they are. A reader that folded one of them keeps its view; so
/// many come in more than a second, and readers look more often than that.
pub(super) const UNFOLDED: usize = 64;

/// A bucket is compacted at most this often: its newest frames stay, however large they are.
const COMPACT_AGAIN: Duration = Duration::from_secs(2);

/// Rows rolled up at a time: some two milliseconds.
const ROLL: usize = 20_000;

/// How often a table is compacted because panes have expired, at most.
const EXPIRE: Duration = Duration::from_secs(60);

impl Driver {
    pub(super) fn look_for_compaction(&mut self, counting: &Counting, no: RevisionNo, sizes: &[BucketSize]) {
        for size in sizes {
            let least = if self.shared { COMPACT_SHARED } else { COMPACT };
            let recently = self.given.get(&(no, size.bucket)).is_some_and(|given| given.elapsed() < COMPACT_AGAIN);
            if size.tail >= least.max(size.snapshot)
                && !recently
                && self.compact(counting, no, None, size.bucket, false).is_ok()
            {
                self.given.insert((no, size.bucket), Instant::now());
            }
        }
        let Some(metric) = counting.metric(no) else { return };
        let recently = self.expired.get(&no).is_some_and(|last| last.elapsed() < EXPIRE);
        let watermark = watermark(counting, no);
        if recently || self.expiring.iter().any(|(of, _)| *of == no) {
            return;
        }
        if self.shared {
            // No panes are held here: what is due has changed, or nobody here has looked yet.
            let due = state::due(&metric.plugin.description().tables, watermark);
            if watermark == i64::MIN || self.floors.get(&no) == Some(&due) {
                return;
            }
            self.floors.insert(no, due);
        } else if !self.view.read().state.has_expired(metric.id, watermark) {
            return;
        }
        self.expired.insert(no, Instant::now());
        match self.store.buckets(&metric.revision) {
            Ok(buckets) => {
                self.expiring.extend(buckets.into_iter().map(|bucket| (no, bucket)));
                self.compact_expiring(counting);
            }
            Err(fault) => {
                self.floors.remove(&no);
                tracing::warn!("expired panes are kept for now: {fault}");
            }
        }
    }

    /// Gives buckets that may hold expired panes to the compactor, as far as it has room.
    pub(super) fn compact_expiring(&mut self, counting: &Counting) {
        while self.compactions.has_room()
            && let Some((no, bucket)) = self.expiring.pop_front()
        {
            if self.compact(counting, no, None, bucket, true).is_err() {
                return self.expiring.push_front((no, bucket));
            }
        }
    }

    /// `expired`: only if panes of the bucket have.
    pub(super) fn compact(
        &mut self,
        counting: &Counting,
        no: RevisionNo,
        ticket: Option<Ticket>,
        bucket: Bucket,
        expired: bool,
    ) -> Result<(), Unsent> {
        let Some(metric) = counting.metric(no) else { return Ok(()) };
        let Some(table) = metric.plugin.description().tables.get(usize::from(bucket.table)) else { return Ok(()) };
        let Some(life) = self.lives.get(&no).copied() else { return Ok(()) };
        // One at a time; a commit that waits is served by its own job, whatever else is on its way.
        if ticket.is_none() && self.compacting.contains(&(no, bucket)) {
            return Ok(());
        }
        let (id, watermark) = (metric.revision.clone(), watermark(counting, no));
        let job = CompactJob { revision: no, ticket, id, life, bucket, table: table.clone(), watermark, expired };
        self.compactions.send(job).inspect_err(|fault| self.note_end(*fault))?;
        self.compacting.insert((no, bucket));
        Ok(())
    }

    /// Rolls expired panes of the lane's metrics up, a piece at a time, so that counting goes on in between.
    pub(super) fn roll(&mut self, counting: &Counting) {
        let ours = |id| counting.metrics.iter().any(|metric| metric.id == id);
        let rolling = if self.rolling { self.view.read().state.rolling(ROLL, ours) } else { None };
        self.rolling = rolling.is_some();
        if let Some(rolling) = rolling {
            self.view.write().state.rolled(rolling);
        }
    }

    /// Asks the store which buckets there are, for the next frames.
    pub(super) fn look_up_buckets(&self, counting: &Counting, no: RevisionNo) -> Result<(), Trouble> {
        let Some(metric) = counting.metric(no) else { return Ok(()) };
        let buckets = self.store.buckets(&metric.revision).map_err(|fault| trouble(&fault))?;
        let held: Vec<(u16, u32)> = buckets.iter().map(|bucket| (bucket.table, bucket.bucket)).collect();
        let laid_out = self.view.write().state.lay_out(metric.id, &held);
        laid_out.map_err(|fault| Trouble::Corrupt(format!("which buckets there are: {fault}")))
    }

    pub(super) fn compacted(&mut self, counting: &mut Counting, done: CompactDone) {
        point("compact.answered");
        self.compacting.remove(&(done.revision, done.bucket));
        if done.expired && done.result.is_err() {
            // Looked for again, though what is due stays the same.
            self.floors.remove(&done.revision);
        }
        if let (Ok(Some(shrunk)), Some(metric)) = (&done.result, counting.metric(done.revision)) {
            if shrunk.split
                && let Err(fault) = self.look_up_buckets(counting, done.revision)
            {
                // The next commit says so once more.
                tracing::warn!(metric = metric.plugin.name(), "which buckets there are is not known: {fault}");
            }
            let raised = self.view.write().state.raise(metric.id, usize::from(done.bucket.table), &shrunk.snapshot);
            self.rolling = true;
            if let Err(fault) = raised {
                tracing::error!(metric = metric.plugin.name(), "a snapshot cannot be taken over: {fault}");
            }
        }
        if let Some(ticket) = done.ticket {
            self.tell(counting, Event::Compacted(done.revision, ticket, done.result.map(|_| ())));
        }
    }
}

/// Events further ahead of the believed time expire nothing, milliseconds.
const AHEAD: i64 = 5 * 60_000;

/// Up to where panes may expire: by event time, never past a time that one wrong reading of the clock could have moved.
fn watermark(counting: &Counting, no: RevisionNo) -> i64 {
    let ahead = counting.view.clock().now().saturating_add(AHEAD);
    let times = counting.metric(no).and_then(|metric| counting.view.read().state.times(metric.id));
    times.map_or(i64::MIN, |(_, last)| last.min(ahead))
}
