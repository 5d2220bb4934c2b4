//! Commits: what was counted is sealed, written as frames and given to the thread that commits; its answers become events.

use super::Shared;
use super::workers::{CommitDone, CommitJob, Unsent, Worker, committer, trouble};
use crate::failpoint::point;
use crate::pipeline::board::Board;
use crate::pipeline::members::{LaneMetric, Members};
use crate::pipeline::panicking_records::contained;
use crate::pipeline::pending::Pending;
use crate::progress::{Advance, Answer, Event, Progress, RevisionNo, Ticket, Trouble};
use crate::source::Survey;
use crate::state::Sealed;
use crate::store::{self, Bucket, BucketSize, Commit, CommitAnswer, Life, Store, StoredProgress};
use crate::telemetry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The thread that commits.
pub(super) struct Commits(Worker<CommitJob, CommitDone>);

/// Why a commit was not sent.
pub(super) enum Failed {
    /// The thread took it not: it is sent again later.
    Unsent(Unsent),
    /// Writing it panicked, somewhere in these offsets of partitions; the metric's state in memory is dropped.
    Panicked(Vec<(u32, Range<u64>)>),
}

/// What an answer of the store comes to.
pub(super) struct Settled {
    /// What the ledger is told.
    pub(super) events: Vec<Event>,
    /// Of a commit that was applied: what it left of the buckets that it wrote to.
    pub(super) sizes: Option<Vec<BucketSize>>,
}

impl Commits {
    pub(super) fn start(store: Arc<dyn Store>, survey: Arc<dyn Survey>, board: Arc<Board>) -> std::io::Result<Commits> {
        Ok(Commits(committer(store, survey, board)?))
    }

    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<CommitDone> {
        shared.heard(self.0.take())
    }

    pub(super) fn wait(&mut self, shared: &mut Shared, limit: Duration) -> Option<CommitDone> {
        shared.heard(self.0.wait(limit))
    }

    #[expect(clippy::too_many_arguments, reason = "what a commit is made of")]
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        metric: &LaneMetric,
        ticket: Ticket,
        life: Life,
        advances: &[Advance],
        topic: String,
        pending: &mut Pending,
    ) -> Result<(), Failed> {
        let moved: Vec<&Advance> = advances.iter().filter(|advance| advance.to.next > advance.from).collect();
        let frames = contained(|| write_frames(shared, metric, &moved, pending)).map_err(|what| {
            tracing::error!(metric = metric.plugin.name(), "writing what was counted panicked: {what}");
            shared.view.write().let_go(metric.id);
            Failed::Panicked(moved.iter().map(|advance| (advance.partition, advance.from..advance.to.next)).collect())
        })?;
        let stored = |progress: &Progress| StoredProgress { next: progress.next, bytes: progress.encode() };
        let advance = |advance: &Advance| store::Advance {
            partition: advance.partition,
            from: advance.from,
            base: advance.base.as_ref().map(Progress::encode),
            to: stored(&advance.to),
        };
        let advances = advances.iter().map(advance).collect();
        let commit = Commit { revision: metric.revision.clone(), life, advances, frames };
        point("commit.folded");
        self.0.send(CommitJob { revision: metric.no, ticket, commit, topic }).map_err(Failed::Unsent)
    }
}

/// The frames of these ranges. A range that was sent before has the same ones.
fn write_frames(
    shared: &Shared,
    metric: &LaneMetric,
    moved: &[&Advance],
    pending: &mut Pending,
) -> Vec<(Bucket, Vec<u8>)> {
    let view = &shared.view;
    for advance in moved {
        pending.freeze(metric.no, advance.partition, advance.to.next, || {
            // Worked out beside readers; nobody else changes state, so it still holds when it is put into force.
            let sealing = view.read().state.sealing(metric.id, advance.partition);
            view.write().state.sealed(sealing)
        });
    }
    let sealed: Vec<&Sealed> = moved.iter().flat_map(|advance| pending.frozen(metric.no, advance.partition)).collect();
    let frames = view.read().state.frames(metric.id, &sealed).into_iter();
    frames.map(|frame| (Bucket { table: frame.table, bucket: frame.bucket }, frame.bytes)).collect()
}

/// What an answer of the store comes to; the view and the board show it.
pub(super) fn settle(shared: &mut Shared, members: &Members, done: CommitDone) -> Settled {
    let CommitDone { revision, ticket, answer, topic } = done;
    point("commit.answered");
    let mut applied = None;
    let answer = match answer {
        Ok(CommitAnswer::Applied(sizes)) => {
            let now = jiff::Timestamp::now().as_millisecond();
            telemetry::committed(now);
            shared.view.announce();
            shared.board.stand(|standing| {
                standing.last_commit = Some(now);
                standing.store_trouble = None;
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
    let events = std::iter::once(Event::Answered(revision, ticket, answer)).chain(topic.map(Event::Topic)).collect();
    Settled { events, sizes: applied }
}

/// Asks the store which buckets there are, for the next frames.
pub(super) fn look_up_buckets(shared: &Shared, members: &Members, no: RevisionNo) -> Result<(), Trouble> {
    let Some(metric) = members.get(no) else { return Ok(()) };
    let buckets = shared.store.buckets(&metric.revision).map_err(|fault| trouble(&fault))?;
    let held: Vec<(u16, u32)> = buckets.iter().map(|bucket| (bucket.table, bucket.bucket)).collect();
    let laid_out = shared.view.write().state.lay_out(metric.id, &held);
    laid_out.map_err(|fault| Trouble::Corrupt(format!("which buckets there are: {fault}")))
}
