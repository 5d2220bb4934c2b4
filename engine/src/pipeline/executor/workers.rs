//! The worker threads of a lane: one commits, one compacts, one asks the log what it holds. They
//! only call the store or the log and answer the lane.
//!
//! Commits that wait are sent together. All queues are bounded: the lane keeps a job for which
//! there is no room and sends it again. The lane notices a thread that ended by an internal error
//! at the next send or receive, and ends too.

use super::shrinking::{Shrink, Shrunk};
use crate::failpoint::point;
use crate::log::{LogError, Survey, Surveyed};
use crate::outage::LogThrottle;
use crate::pipeline::fatal::{Thread, guard};
use crate::pipeline::lane_status::LaneStatus;
use crate::progress::{RevisionNo, Ticket, Trouble, same_log};
use crate::store::{Bucket, Commit, CommitAnswer, Life, RevisionId, Store, StoreError};
use std::sync::Arc;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::thread::JoinHandle;
use std::time::Duration;
use tally_plugin::description::Table;

/// A commit to be sent to the store.
pub(super) struct CommitJob {
    pub(super) revision: RevisionNo,
    pub(super) ticket: Ticket,
    pub(super) commit: Commit,
    /// The log that was counted.
    pub(super) topic: String,
}

/// The answer to a commit.
pub(super) struct CommitDone {
    pub(super) revision: RevisionNo,
    pub(super) ticket: Ticket,
    pub(super) answer: Result<CommitAnswer, StoreError>,
    /// Set if nothing was sent to the store because the log is now this one: what was counted may
    /// be of either.
    pub(super) topic: Option<String>,
}

/// A bucket to be compacted.
pub(super) struct CompactJob {
    pub(super) revision: RevisionNo,
    /// Set if a commit waits for it.
    pub(super) ticket: Option<Ticket>,
    pub(super) id: RevisionId,
    pub(super) life: Life,
    pub(super) bucket: Bucket,
    pub(super) table: Table,
    pub(super) watermark: i64,
    /// Whether to compact only if panes have expired.
    pub(super) expired: bool,
}

/// The result of a compaction; `Ok(None)`: there was nothing to do, or other engines were faster.
pub(super) struct CompactDone {
    pub(super) revision: RevisionNo,
    pub(super) ticket: Option<Ticket>,
    pub(super) bucket: Bucket,
    pub(super) expired: bool,
    pub(super) result: Result<Option<Shrunk>, Trouble>,
}

/// Most jobs of one worker that are under way; the lane keeps further ones.
const UNDER_WAY: usize = 1_024;

/// A thread with a queue of jobs and a queue of answers. Dropping it waits until the queued jobs
/// are done.
pub(super) struct Worker<Job, Done> {
    does: Thread,
    jobs: Option<SyncSender<Job>>,
    done: Option<Receiver<Done>>,
    /// Jobs whose answers were not taken yet.
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

/// Why a worker did not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Too many are under way: later.
    Full,
    /// The worker has ended; the lane status says why.
    Ended(Thread),
}

/// A worker has ended; the lane status says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended(pub(super) Thread);

impl<Job: Send + 'static, Done: Send + 'static> Worker<Job, Done> {
    fn start(
        does: Thread,
        status: Arc<LaneStatus>,
        mut work: impl FnMut(Vec<Job>) -> Vec<Done> + Send + 'static,
    ) -> std::io::Result<Self> {
        // Sending never blocks: at most so many jobs are under way.
        let (jobs, queue) = sync_channel::<Job>(UNDER_WAY);
        let (answer, done) = sync_channel(UNDER_WAY);
        let run = move || {
            // Both ends outlive the guard: once they are gone, the reason is in the status.
            guard(&status, does, || {
                while let Ok(first) = queue.recv() {
                    let waiting: Vec<Job> =
                        std::iter::once(first).chain(queue.try_iter()).collect();
                    for result in work(waiting) {
                        // The lane is gone.
                        if answer.send(result).is_err() {
                            return;
                        }
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name(does.name().into()).spawn(run)?;
        Ok(Worker { does, jobs: Some(jobs), done: Some(done), under_way: 0, thread: Some(thread) })
    }

    /// Whether the worker takes another job.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < UNDER_WAY
    }

    /// Queues a job. Never blocks.
    pub(super) fn send(&mut self, job: Job) -> Result<(), Unsent> {
        if !self.has_room() {
            return Err(Unsent::Full);
        }
        let jobs = self.jobs.as_ref().ok_or(Unsent::Ended(self.does))?;
        jobs.try_send(job).map_err(|fault| match fault {
            TrySendError::Full(_) => Unsent::Full,
            TrySendError::Disconnected(_) => Unsent::Ended(self.does),
        })?;
        self.under_way += 1;
        Ok(())
    }

    /// The next answer, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Done>, Ended> {
        self.wait(Duration::ZERO)
    }

    /// The next answer, if one comes within `limit`.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<Option<Done>, Ended> {
        let done = self.done.as_ref().ok_or(Ended(self.does))?;
        let taken = match done.try_recv() {
            Err(TryRecvError::Empty) if limit.is_zero() => return Ok(None),
            Err(TryRecvError::Empty) => done.recv_timeout(limit),
            Ok(result) => Ok(result),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        };
        match taken {
            Ok(result) => {
                self.under_way = self.under_way.saturating_sub(1);
                Ok(Some(result))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Ended(self.does)),
        }
    }
}

impl<Job, Done> Drop for Worker<Job, Done> {
    fn drop(&mut self) {
        (self.jobs, self.done) = (None, None);
        // A panic of it is in the lane status.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// How long the log may take to say which one it is before a commit. If it does not answer, nothing
/// is stored yet: what was counted may be of another log than the state.
const IDENTITY: Duration = Duration::from_secs(1);

/// Starts the committing thread.
///
/// A topic can be deleted and created again unnoticed, and the client then continues to read in the
/// new one. So what was counted is stored only once the log has confirmed, after the last record
/// was read, that it is still the same.
///
/// # Errors
/// The system starts no more threads.
pub(super) fn committer(
    store: Arc<dyn Store>,
    survey: Arc<dyn Survey>,
    status: Arc<LaneStatus>,
) -> std::io::Result<Worker<CommitJob, CommitDone>> {
    // Why nothing may be stored, and which log it is now, if that is known.
    let doubt = move |jobs: &[CommitJob]| {
        let moves = |job: &CommitJob| {
            job.commit.advances.iter().any(|advance| advance.to.next > advance.from)
        };
        if !jobs.iter().any(moves) {
            return None;
        }
        match survey.topic(IDENTITY) {
            Ok(None) => None,
            Ok(Some(topic)) if jobs.iter().all(|job| same_log(&job.topic, &topic)) => None,
            Ok(Some(topic)) => Some((format!("the log is now {topic}"), Some(topic))),
            Err(fault) => Some((format!("the log does not say which one it is: {fault}"), None)),
        }
    };
    Worker::start(Thread::Commits, status, move |jobs: Vec<CommitJob>| {
        if let Some((why, topic)) = doubt(&jobs) {
            let done = |job: CommitJob| CommitDone {
                revision: job.revision,
                ticket: job.ticket,
                answer: Err(StoreError::Unavailable(format!("nothing is stored for now: {why}"))),
                topic: topic.clone(),
            };
            return jobs.into_iter().map(done).collect();
        }
        let (names, commits): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.revision, job.ticket), job.commit)).unzip();
        point("commit.leaving");
        match store.commit(&commits) {
            Ok(answers) => {
                point("commit.stored");
                let done = |((revision, ticket), answer)| CommitDone {
                    revision,
                    ticket,
                    answer: Ok(answer),
                    topic: None,
                };
                names.into_iter().zip(answers).map(done).collect()
            }
            Err(fault) => {
                let done = |(revision, ticket)| CommitDone {
                    revision,
                    ticket,
                    answer: Err(copy(&fault)),
                    topic: None,
                };
                names.into_iter().map(done).collect()
            }
        }
    })
}

fn copy(fault: &StoreError) -> StoreError {
    match fault {
        StoreError::Unavailable(what) => StoreError::Unavailable(what.clone()),
        StoreError::Corrupt(what) => StoreError::Corrupt(what.clone()),
    }
}

/// How long a log may take to say what it holds.
const ANSWER: Duration = Duration::from_secs(3);

/// The number of a question to the log, and the answer.
pub(super) type SurveyAnswer = (u64, Result<Surveyed, LogError>);

/// Starts the thread that asks the log.
///
/// # Errors
/// The system starts no more threads.
pub(super) fn surveyor(
    survey: Arc<dyn Survey>,
    status: Arc<LaneStatus>,
) -> std::io::Result<Worker<u64, SurveyAnswer>> {
    Worker::start(Thread::Surveys, status, move |questions: Vec<u64>| {
        questions.into_iter().map(|question| (question, survey.ask(ANSWER))).collect()
    })
}

/// Starts the compacting thread. `unfolded`: so many of the newest frames stay unchanged, unless a
/// commit waits for room or panes have expired; `largest`: a bucket whose snapshot has more bytes
/// is split.
///
/// # Errors
/// The system starts no more threads.
pub(super) fn compactor(
    store: Arc<dyn Store>,
    unfolded: usize,
    largest: u64,
    status: Arc<LaneStatus>,
) -> std::io::Result<Worker<CompactJob, CompactDone>> {
    let mut throttle = LogThrottle::default();
    Worker::start(Thread::Compacts, status, move |jobs: Vec<CompactJob>| {
        let compact = |job: CompactJob| {
            // A commit waits for room: the bucket is split earlier.
            let largest = if job.ticket.is_some() { largest / 4 } else { largest };
            // Expired: readers learn of new floors only by reading the bucket again.
            let unfolded = if job.ticket.is_some() || job.expired { 0 } else { unfolded };
            let shrink = Shrink {
                revision: &job.id,
                life: job.life,
                bucket: job.bucket,
                table: &job.table,
                watermark: job.watermark,
                expired: job.expired,
                unfolded,
                largest,
            };
            let result = shrink.carry_out(&*store).map_err(|fault| report(&mut throttle, &fault));
            CompactDone {
                revision: job.revision,
                ticket: job.ticket,
                bucket: job.bucket,
                expired: job.expired,
                result,
            }
        };
        jobs.into_iter().map(compact).collect()
    })
}

/// Logs a fault of the store, at most once a minute. Returns what it means to the protocol.
pub(super) fn report(throttle: &mut LogThrottle, fault: &StoreError) -> Trouble {
    if let StoreError::Unavailable(what) = fault
        && throttle.due(&what.chars().take(48).collect::<String>())
    {
        tracing::warn!("{what}; trying again");
    }
    trouble(fault)
}

/// What a fault of the store means to the protocol.
pub(super) fn trouble(fault: &StoreError) -> Trouble {
    match fault {
        StoreError::Unavailable(_) => Trouble::Unavailable,
        StoreError::Corrupt(what) => Trouble::Corrupt(what.clone()),
    }
}
