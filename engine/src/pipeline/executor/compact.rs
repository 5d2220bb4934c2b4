//! Decides when buckets are compacted and split, and when expired panes are rolled up. `state`
//! decides how; the store, whether it may be done.

use super::Shared;
use super::commit::look_up_buckets;
use super::workers::{CompactDone, CompactJob, Unsent, Worker, compactor};
use crate::failpoint::point;
use crate::pipeline::lane_status::LaneStatus;
use crate::pipeline::members::{LaneMetric, Members};
use crate::progress::{Event, RevisionNo, Ticket};
use crate::state;
use crate::store::{Bucket, BucketSize, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bucket is compacted when the bytes appended since its snapshot are at least this many, and at
/// least as many as the snapshot has: each byte is then rewritten a logarithmic number of times.
/// With the embedded store every view is in memory, so this only bounds what a start reads and what
/// the disk holds.
const COMPACT: u64 = 4 << 20;

/// The same where readers fetch buckets: an unread one should cost little.
const COMPACT_SHARED: u64 = 256 << 10;

/// A bucket whose snapshot has more bytes is split. With the embedded store a commit to more
/// buckets costs more, and large buckets cost only the next compaction.
const SPLIT: u64 = 8 << 20;

/// The same where readers fetch buckets.
const SPLIT_SHARED: u64 = 64 << 10;

/// Newest frames of a bucket that a compaction leaves unchanged. A reader that folded one of them
/// keeps its view; so many frames take more than a second to come, and readers refresh more often.
const UNFOLDED: usize = 64;

/// Shortest time between two compactions of a bucket: its newest frames stay unchanged, however
/// large they are.
const COMPACT_AGAIN: Duration = Duration::from_secs(2);

/// Rows rolled up at a time: some two milliseconds.
const ROLL: usize = 20_000;

/// Shortest time between two compactions of a table because panes have expired.
const EXPIRE: Duration = Duration::from_secs(60);

/// The thread that compacts, and the work that is due.
pub(super) struct Compactions {
    worker: Worker<CompactJob, CompactDone>,
    /// Buckets that the thread is working on or has in its queue.
    under_way: BTreeSet<(RevisionNo, Bucket)>,
    /// Buckets that may hold expired panes and wait for room in the thread's queue; bounded by the
    /// number of buckets.
    expiring: VecDeque<(RevisionNo, Bucket)>,
    /// When a bucket was last sent to the thread.
    sent: BTreeMap<(RevisionNo, Bucket), Instant>,
    /// When a revision was last searched for expired panes.
    expired: BTreeMap<RevisionNo, Instant>,
    /// Where engines share the store: what was due in each table at the last search for expired
    /// panes.
    floors: BTreeMap<RevisionNo, Vec<[i64; 3]>>,
    /// Whether panes may wait to be rolled up: after a start, and whenever floors rose.
    rolling: bool,
}

impl Compactions {
    pub(super) fn start(
        store: Arc<dyn Store>,
        status: Arc<LaneStatus>,
        engines_share: bool,
    ) -> std::io::Result<Compactions> {
        let worker = match engines_share {
            true => compactor(store, UNFOLDED, SPLIT_SHARED, status)?,
            false => compactor(store, 0, SPLIT, status)?,
        };
        Ok(Compactions {
            worker,
            under_way: BTreeSet::new(),
            expiring: VecDeque::new(),
            sent: BTreeMap::new(),
            expired: BTreeMap::new(),
            floors: BTreeMap::new(),
            rolling: true,
        })
    }

    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<CompactDone> {
        shared.received(self.worker.take())
    }

    pub(super) fn wait(&mut self, shared: &mut Shared, limit: Duration) -> Option<CompactDone> {
        shared.received(self.worker.wait(limit))
    }

    /// See [`super::Executor::still_compacts`].
    pub(super) fn still_compacts(&mut self, no: RevisionNo) -> bool {
        self.expiring.retain(|(of, _)| *of != no);
        self.under_way.iter().any(|(of, _)| *of == no)
    }

    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.expired.remove(&no);
        self.floors.remove(&no);
        self.under_way.retain(|(of, _)| *of != no);
        self.expiring.retain(|(of, _)| *of != no);
        self.sent.retain(|(of, _), _| *of != no);
    }

    /// Compacts what has become due by a commit that left buckets of these sizes.
    pub(super) fn compact_due(
        &mut self,
        shared: &mut Shared,
        members: &Members,
        no: RevisionNo,
        sizes: &[BucketSize],
    ) {
        for size in sizes {
            let least = if shared.engines_share { COMPACT_SHARED } else { COMPACT };
            let recently = self
                .sent
                .get(&(no, size.bucket))
                .is_some_and(|sent| sent.elapsed() < COMPACT_AGAIN);
            if size.tail >= least.max(size.snapshot)
                && !recently
                && self.compact(shared, members, no, None, size.bucket, false).is_ok()
            {
                self.sent.insert((no, size.bucket), Instant::now());
            }
        }
        if let Some(metric) = members.get(no) {
            self.find_expired(shared, members, metric);
        }
    }

    /// Compacts all buckets of a revision that may hold expired panes, if that is due.
    fn find_expired(&mut self, shared: &mut Shared, members: &Members, metric: &LaneMetric) {
        let no = metric.no;
        let recently = self.expired.get(&no).is_some_and(|last| last.elapsed() < EXPIRE);
        let watermark = watermark(shared, metric);
        if recently || self.expiring.iter().any(|(of, _)| *of == no) {
            return;
        }
        if shared.engines_share {
            // The lane holds no panes: searched if what is due has changed, or for the first time.
            let due = state::due(&metric.plugin.description().tables, watermark);
            if watermark == i64::MIN || self.floors.get(&no) == Some(&due) {
                return;
            }
            self.floors.insert(no, due);
        } else if !shared.view.read().state.has_expired(metric.id, watermark) {
            return;
        }
        self.expired.insert(no, Instant::now());
        match shared.store.buckets(&metric.revision) {
            Ok(buckets) => {
                self.expiring.extend(buckets.into_iter().map(|bucket| (no, bucket)));
                self.compact_expiring(shared, members);
            }
            Err(fault) => {
                self.floors.remove(&no);
                tracing::warn!(
                    "expired panes are kept for now, because the store does not list its buckets: \
                     {fault}"
                );
            }
        }
    }

    /// Sends buckets that may hold expired panes to the thread, as long as its queue has room.
    pub(super) fn compact_expiring(&mut self, shared: &mut Shared, members: &Members) {
        while self.worker.has_room()
            && let Some((no, bucket)) = self.expiring.pop_front()
        {
            if self.compact(shared, members, no, None, bucket, true).is_err() {
                return self.expiring.push_front((no, bucket));
            }
        }
    }

    /// Sends a bucket to the thread. `expired`: it is compacted only if panes of it have expired.
    pub(super) fn compact(
        &mut self,
        shared: &mut Shared,
        members: &Members,
        no: RevisionNo,
        ticket: Option<Ticket>,
        bucket: Bucket,
        expired: bool,
    ) -> Result<(), Unsent> {
        let Some(metric) = members.get(no) else { return Ok(()) };
        let Some(table) = metric.plugin.description().tables.get(usize::from(bucket.table)) else {
            return Ok(());
        };
        let Some(life) = shared.lives.get(&no).copied() else { return Ok(()) };
        // One job for each bucket; only a commit that waits has a job of its own.
        if ticket.is_none() && self.under_way.contains(&(no, bucket)) {
            return Ok(());
        }
        let (id, watermark) = (metric.revision.clone(), watermark(shared, metric));
        let job = CompactJob {
            revision: no,
            ticket,
            id,
            life,
            bucket,
            table: table.clone(),
            watermark,
            expired,
        };
        self.worker.send(job).inspect_err(|fault| shared.note_end(*fault))?;
        self.under_way.insert((no, bucket));
        Ok(())
    }

    /// Rolls expired panes of the lane's metrics up, some rows at a time, so that counting
    /// continues in between.
    pub(super) fn roll(&mut self, shared: &Shared, members: &Members) {
        let ours = |id| members.iter().any(|metric| metric.id == id);
        let rolling =
            if self.rolling { shared.view.read().state.rolling(ROLL, ours) } else { None };
        self.rolling = rolling.is_some();
        if let Some(rolling) = rolling {
            shared.view.write().state.rolled(rolling);
        }
    }

    /// Takes over the result of a compaction. Returns events for the ledger.
    pub(super) fn compacted(
        &mut self,
        shared: &mut Shared,
        members: &Members,
        done: CompactDone,
    ) -> Vec<Event> {
        point("compact.answered");
        self.under_way.remove(&(done.revision, done.bucket));
        if done.expired && done.result.is_err() {
            // Searched again, although what is due stays the same.
            self.floors.remove(&done.revision);
        }
        if let (Ok(Some(shrunk)), Some(metric)) = (&done.result, members.get(done.revision)) {
            if shrunk.split
                && let Err(fault) = look_up_buckets(shared, members, done.revision)
            {
                // The next commit asks again.
                tracing::warn!(
                    metric = metric.plugin.name(),
                    "the buckets of the store are not known: {fault}"
                );
            }
            let raised = shared.view.write().state.raise(
                metric.id,
                usize::from(done.bucket.table),
                &shrunk.snapshot,
            );
            self.rolling = true;
            if let Err(fault) = raised {
                tracing::error!(
                    metric = metric.plugin.name(),
                    "a snapshot cannot be taken over: {fault}"
                );
            }
        }
        let result = done.result.map(|_| ());
        done.ticket
            .map(|ticket| Event::Compacted(done.revision, ticket, result))
            .into_iter()
            .collect()
    }
}

/// Events further ahead of the clock expire nothing, milliseconds.
const AHEAD: i64 = 5 * 60_000;

/// The time up to which panes may expire: the largest event time, but not further ahead of the
/// clock than [`AHEAD`].
fn watermark(shared: &Shared, metric: &LaneMetric) -> i64 {
    let ahead = shared.view.clock().now().saturating_add(AHEAD);
    let times = shared.view.read().state.times(metric.id);
    times.map_or(i64::MIN, |(_, last)| last.min(ahead))
}
