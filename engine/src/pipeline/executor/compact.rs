//! When buckets are compacted, split and expired panes rolled up. How is decided in `state`; whether it may be done, by the store.

use super::Shared;
use super::commit::look_up_buckets;
use super::workers::{CompactDone, CompactJob, Unsent, Worker, compactor};
use crate::failpoint::point;
use crate::pipeline::board::Board;
use crate::pipeline::members::{LaneMetric, Members};
use crate::progress::{Event, RevisionNo, Ticket};
use crate::state;
use crate::store::{Bucket, BucketSize, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bucket is compacted when what was appended since its snapshot is at least this, and at least the snapshot: each
/// byte is then rewritten a logarithmic number of times. Embedded, every view is in memory, so this only bounds what a
/// start reads and what the disk holds.
const COMPACT: u64 = 4 << 20;

/// The same where readers fetch buckets: a cold one should cost little.
const COMPACT_SHARED: u64 = 256 << 10;

/// A bucket whose snapshot has become larger than this is split. Embedded, a commit that touches more buckets costs more,
/// and large ones cost nobody anything but the next compaction.
const SPLIT: u64 = 8 << 20;

/// The same where readers fetch buckets.
const SPLIT_SHARED: u64 = 64 << 10;

/// Newest frames of a bucket that a compaction leaves as they are. A reader that folded one of them keeps its view; so
/// many come in more than a second, and readers look more often than that.
const UNFOLDED: usize = 64;

/// A bucket is compacted at most this often: its newest frames stay, however large they are.
const COMPACT_AGAIN: Duration = Duration::from_secs(2);

/// Rows rolled up at a time: some two milliseconds.
const ROLL: usize = 20_000;

/// How often a table is compacted because panes have expired, at most.
const EXPIRE: Duration = Duration::from_secs(60);

/// The thread that compacts, and what it is to do.
pub(super) struct Compactions {
    worker: Worker<CompactJob, CompactDone>,
    /// Buckets that the thread has.
    under_way: BTreeSet<(RevisionNo, Bucket)>,
    /// Buckets that may hold expired panes and found no room at the thread; bounded by the buckets there are.
    expiring: VecDeque<(RevisionNo, Bucket)>,
    /// When a bucket was last given to the thread.
    given: BTreeMap<(RevisionNo, Bucket), Instant>,
    /// When expired panes of a revision were last looked for.
    expired: BTreeMap<RevisionNo, Instant>,
    /// Where engines share the store: what was due of each table when expired panes were last looked for.
    floors: BTreeMap<RevisionNo, Vec<[i64; 3]>>,
    /// Whether panes may wait to be rolled up: after a start, and whenever floors rose.
    rolling: bool,
}

impl Compactions {
    pub(super) fn start(store: Arc<dyn Store>, board: Arc<Board>, engines_share: bool) -> std::io::Result<Compactions> {
        let worker = match engines_share {
            true => compactor(store, UNFOLDED, SPLIT_SHARED, board)?,
            false => compactor(store, 0, SPLIT, board)?,
        };
        Ok(Compactions {
            worker,
            under_way: BTreeSet::new(),
            expiring: VecDeque::new(),
            given: BTreeMap::new(),
            expired: BTreeMap::new(),
            floors: BTreeMap::new(),
            rolling: true,
        })
    }

    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<CompactDone> {
        shared.heard(self.worker.take())
    }

    pub(super) fn wait(&mut self, shared: &mut Shared, limit: Duration) -> Option<CompactDone> {
        shared.heard(self.worker.wait(limit))
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
        self.given.retain(|(of, _), _| *of != no);
    }

    /// Looks, after a commit that left buckets of these sizes, which are to be compacted.
    pub(super) fn look_for_work(
        &mut self,
        shared: &mut Shared,
        members: &Members,
        no: RevisionNo,
        sizes: &[BucketSize],
    ) {
        for size in sizes {
            let least = if shared.engines_share { COMPACT_SHARED } else { COMPACT };
            let recently = self.given.get(&(no, size.bucket)).is_some_and(|given| given.elapsed() < COMPACT_AGAIN);
            if size.tail >= least.max(size.snapshot)
                && !recently
                && self.compact(shared, members, no, None, size.bucket, false).is_ok()
            {
                self.given.insert((no, size.bucket), Instant::now());
            }
        }
        if let Some(metric) = members.get(no) {
            self.look_for_expired(shared, members, metric);
        }
    }

    fn look_for_expired(&mut self, shared: &mut Shared, members: &Members, metric: &LaneMetric) {
        let no = metric.no;
        let recently = self.expired.get(&no).is_some_and(|last| last.elapsed() < EXPIRE);
        let watermark = watermark(shared, metric);
        if recently || self.expiring.iter().any(|(of, _)| *of == no) {
            return;
        }
        if shared.engines_share {
            // No panes are held here: what is due has changed, or nobody here has looked yet.
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
                tracing::warn!("expired panes are kept for now: {fault}");
            }
        }
    }

    /// Gives buckets that may hold expired panes to the thread, as far as it has room.
    pub(super) fn compact_expiring(&mut self, shared: &mut Shared, members: &Members) {
        while self.worker.has_room()
            && let Some((no, bucket)) = self.expiring.pop_front()
        {
            if self.compact(shared, members, no, None, bucket, true).is_err() {
                return self.expiring.push_front((no, bucket));
            }
        }
    }

    /// Gives a bucket to the thread. `expired`: only if panes of the bucket have expired.
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
        let Some(table) = metric.plugin.description().tables.get(usize::from(bucket.table)) else { return Ok(()) };
        let Some(life) = shared.lives.get(&no).copied() else { return Ok(()) };
        // One at a time; a commit that waits is served by its own job, whatever else is under way.
        if ticket.is_none() && self.under_way.contains(&(no, bucket)) {
            return Ok(());
        }
        let (id, watermark) = (metric.revision.clone(), watermark(shared, metric));
        let job = CompactJob { revision: no, ticket, id, life, bucket, table: table.clone(), watermark, expired };
        self.worker.send(job).inspect_err(|fault| shared.note_end(*fault))?;
        self.under_way.insert((no, bucket));
        Ok(())
    }

    /// Rolls expired panes of the lane's metrics up, a piece at a time, so that counting continues in between.
    pub(super) fn roll(&mut self, shared: &Shared, members: &Members) {
        let ours = |id| members.iter().any(|metric| metric.id == id);
        let rolling = if self.rolling { shared.view.read().state.rolling(ROLL, ours) } else { None };
        self.rolling = rolling.is_some();
        if let Some(rolling) = rolling {
            shared.view.write().state.rolled(rolling);
        }
    }

    /// Takes over what a compaction came to; what the ledger is told.
    pub(super) fn compacted(&mut self, shared: &mut Shared, members: &Members, done: CompactDone) -> Vec<Event> {
        point("compact.answered");
        self.under_way.remove(&(done.revision, done.bucket));
        if done.expired && done.result.is_err() {
            // Looked for again, though what is due stays the same.
            self.floors.remove(&done.revision);
        }
        if let (Ok(Some(shrunk)), Some(metric)) = (&done.result, members.get(done.revision)) {
            if shrunk.split
                && let Err(fault) = look_up_buckets(shared, members, done.revision)
            {
                // The next commit says so once more.
                tracing::warn!(metric = metric.plugin.name(), "which buckets there are is not known: {fault}");
            }
            let raised = shared.view.write().state.raise(metric.id, usize::from(done.bucket.table), &shrunk.snapshot);
            self.rolling = true;
            if let Err(fault) = raised {
                tracing::error!(metric = metric.plugin.name(), "a snapshot cannot be taken over: {fault}");
            }
        }
        let result = done.result.map(|_| ());
        done.ticket.map(|ticket| Event::Compacted(done.revision, ticket, result)).into_iter().collect()
    }
}

/// Events further ahead of the believed time expire nothing, milliseconds.
const AHEAD: i64 = 5 * 60_000;

/// Up to where panes may expire: by event time, never past a time that one wrong reading of the clock could have moved.
fn watermark(shared: &Shared, metric: &LaneMetric) -> i64 {
    let ahead = shared.view.clock().now().saturating_add(AHEAD);
    let times = shared.view.read().state.times(metric.id);
    times.map_or(i64::MIN, |(_, last)| last.min(ahead))
}
