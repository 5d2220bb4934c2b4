//! Commits: seals what was counted, writes it as frames and sends it to the thread that commits,
//! whose answers become events.

use super::Shared;
use super::workers::{CommitDone, CommitJob, Unsent, Worker, committer, trouble};
use crate::failpoint::point;
use crate::log::Survey;
use crate::pipeline::lane_status::LaneStatus;
use crate::pipeline::members::{LaneMetric, Members};
use crate::pipeline::panicking_records::contained;
use crate::pipeline::pending::Pending;
use crate::progress::{Advance, Answer, Event, Progress, RevisionNo, Ticket, Trouble};
use crate::state::Sealed;
use crate::store::{self, Bucket, BucketSize, Commit, CommitAnswer, Life, Store, StoredProgress};
use crate::telemetry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The thread that commits.
pub(super) struct Commits(Worker<CommitJob, CommitDone>);

/// What a commit is made of.
pub(super) struct CommitRequest<'a> {
    pub(super) metric: &'a LaneMetric,
    pub(super) ticket: Ticket,
    pub(super) life: Life,
    pub(super) advances: &'a [Advance],
    /// The log that was counted.
    pub(super) topic: String,
}

/// Why a commit was not sent.
pub(super) enum CommitError {
    /// The thread did not take it: it is sent again later.
    Unsent(Unsent),
    /// Writing it panicked, somewhere in these offsets of partitions; the metric's state in memory
    /// was discarded.
    Panicked(Vec<(u32, Range<u64>)>),
}

/// The result of an answer of the store.
pub(super) struct CommitOutcome {
    /// Events for the ledger.
    pub(super) events: Vec<Event>,
    /// If the commit was applied: the sizes of the buckets that it wrote to.
    pub(super) sizes: Option<Vec<BucketSize>>,
}

impl Commits {
    pub(super) fn start(
        store: Arc<dyn Store>,
        survey: Arc<dyn Survey>,
        status: Arc<LaneStatus>,
    ) -> std::io::Result<Commits> {
        Ok(Commits(committer(store, survey, status)?))
    }

    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<CommitDone> {
        shared.received(self.0.take())
    }

    pub(super) fn wait(&mut self, shared: &mut Shared, limit: Duration) -> Option<CommitDone> {
        shared.received(self.0.wait(limit))
    }

    /// Seals what the request covers, writes it as frames and sends it. Deltas that were sent
    /// before are sent unchanged.
    ///
    /// # Errors
    /// [`CommitError`]: nothing was sent.
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        request: CommitRequest<'_>,
        pending: &mut Pending,
    ) -> Result<(), CommitError> {
        let CommitRequest { metric, ticket, life, advances, topic } = request;
        let moved: Vec<&Advance> =
            advances.iter().filter(|advance| advance.to.next > advance.from).collect();
        let frames =
            contained(|| write_frames(shared, metric, &moved, pending)).map_err(|what| {
                tracing::error!(
                    metric = metric.plugin.name(),
                    "writing what was counted panicked: {what}"
                );
                shared.view.write().discard(metric.id);
                CommitError::Panicked(
                    moved
                        .iter()
                        .map(|advance| (advance.partition, advance.from..advance.to.next))
                        .collect(),
                )
            })?;
        let stored =
            |progress: &Progress| StoredProgress { next: progress.next, bytes: progress.encode() };
        let advance = |advance: &Advance| store::Advance {
            partition: advance.partition,
            from: advance.from,
            base: advance.base.as_ref().map(Progress::encode),
            to: stored(&advance.to),
        };
        let advances = advances.iter().map(advance).collect();
        let commit = Commit { revision: metric.revision.clone(), life, advances, frames };
        point("commit.folded");
        self.0
            .send(CommitJob { revision: metric.no, ticket, commit, topic })
            .map_err(CommitError::Unsent)
    }
}

/// The frames of these ranges. A range that was sent before has the same frames.
fn write_frames(
    shared: &Shared,
    metric: &LaneMetric,
    moved: &[&Advance],
    pending: &mut Pending,
) -> Vec<(Bucket, Vec<u8>)> {
    let view = &shared.view;
    for advance in moved {
        pending.freeze(metric.no, advance.partition, advance.to.next, || {
            // Computed under the read lock; only the lane changes state, so the result is still
            // valid under the write lock.
            let sealing = view.read().state.sealing(metric.id, advance.partition);
            view.write().state.sealed(sealing)
        });
    }
    let sealed: Vec<&Sealed> =
        moved.iter().flat_map(|advance| pending.frozen(metric.no, advance.partition)).collect();
    let frames = view.read().state.frames(metric.id, &sealed).into_iter();
    frames.map(|frame| (Bucket { table: frame.table, bucket: frame.bucket }, frame.bytes)).collect()
}

/// Turns an answer of the store into events, and shows it in the view and the status.
pub(super) fn settle(shared: &mut Shared, members: &Members, done: CommitDone) -> CommitOutcome {
    let CommitDone { revision, ticket, answer, topic } = done;
    point("commit.answered");
    let mut applied = None;
    let answer = match answer {
        Ok(CommitAnswer::Applied(sizes)) => {
            let now = jiff::Timestamp::now().as_millisecond();
            telemetry::committed(now);
            shared.view.notify();
            shared.status.update(|status| {
                status.last_commit = Some(now);
                status.store_trouble = None;
            });
            applied = Some(sizes);
            Answer::Applied
        }
        Ok(CommitAnswer::Mismatch(stored)) => Answer::Mismatch(stored.into_iter().collect()),
        Ok(CommitAnswer::OtherLife(_)) => Answer::OtherLife,
        Ok(CommitAnswer::Full(bucket)) => Answer::Full(bucket.table, bucket.bucket),
        Ok(CommitAnswer::Layout(_)) => match look_up_buckets(shared, members, revision) {
            Ok(()) => Answer::Layout,
            Err(trouble) => Answer::Failed(trouble),
        },
        Ok(CommitAnswer::Broken(what)) => Answer::Failed(Trouble::Corrupt(what)),
        Err(fault) => Answer::Failed(shared.store_fault(&fault)),
    };
    let events = std::iter::once(Event::Answered(revision, ticket, answer))
        .chain(topic.map(Event::Topic))
        .collect();
    CommitOutcome { events, sizes: applied }
}

/// Asks the store which buckets there are, so that the next frames are written for those.
pub(super) fn look_up_buckets(
    shared: &Shared,
    members: &Members,
    no: RevisionNo,
) -> Result<(), Trouble> {
    let Some(metric) = members.get(no) else { return Ok(()) };
    let buckets = shared.store.buckets(&metric.revision).map_err(|fault| trouble(&fault))?;
    let held: Vec<(u16, u32)> =
        buckets.iter().map(|bucket| (bucket.table, bucket.bucket)).collect();
    let laid_out = shared.view.write().state.lay_out(metric.id, &held);
    laid_out.map_err(|fault| {
        Trouble::Corrupt(format!("the buckets of the store do not fit its tables: {fault}"))
    })
}
