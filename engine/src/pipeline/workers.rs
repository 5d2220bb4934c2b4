//! The threads beside the lane: one commits, one compacts, one asks the log what it holds. They only talk to the store or the log
//! and answer the lane.
//!
//! Commits that wait are sent together. The machine keeps at most one commit of a revision on its way, so the queue is
//! bounded by the number of revisions; a bucket is compacted at most once at a time, the log asked one question at a time.

use super::shrinking::{Shrink, Shrunk};
use crate::failpoint::point;
use crate::outage::Said;
use crate::progress::{RevisionNo, Ticket, Trouble, same_log};
use crate::source::{SourceError, Survey, Surveyed};
use crate::store::{Bucket, Commit, CommitAnswer, Life, RevisionId, Store, StoreError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tally_plugin::description::Table;

/// A commit on its way.
pub(super) struct CommitJob {
    pub(super) revision: RevisionNo,
    pub(super) ticket: Ticket,
    pub(super) commit: Commit,
    /// The log that it was counted from.
    pub(super) topic: String,
}

/// What became of it.
pub(super) struct CommitDone {
    pub(super) revision: RevisionNo,
    pub(super) ticket: Ticket,
    pub(super) answer: Result<CommitAnswer, StoreError>,
    /// Nothing was sent to the store, for the log is now this one: what was counted may be of either.
    pub(super) topic: Option<String>,
}

/// A bucket to be compacted.
pub(super) struct CompactJob {
    pub(super) revision: RevisionNo,
    /// Set where a commit waits for it.
    pub(super) ticket: Option<Ticket>,
    pub(super) id: RevisionId,
    pub(super) life: Life,
    pub(super) bucket: Bucket,
    pub(super) table: Table,
    pub(super) watermark: i64,
    /// Only if panes have expired.
    pub(super) expired: bool,
}

/// What became of it; nothing where others were faster.
pub(super) struct CompactDone {
    pub(super) revision: RevisionNo,
    pub(super) ticket: Option<Ticket>,
    pub(super) bucket: Bucket,
    pub(super) result: Result<Option<Shrunk>, Trouble>,
}

/// A thread with its queue and its answers. It ends when it is dropped, after what was queued.
pub(super) struct Worker<Job, Done> {
    jobs: Option<Sender<Job>>,
    pub(super) done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl<Job: Send + 'static, Done: Send + 'static> Worker<Job, Done> {
    fn start(name: &str, mut work: impl FnMut(Vec<Job>) -> Vec<Done> + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (answer, done) = channel();
        let run = move || {
            while let Ok(first) = queue.recv() {
                let waiting: Vec<Job> = std::iter::once(first).chain(queue.try_iter()).collect();
                for result in work(waiting) {
                    // The lane is gone: nobody to tell.
                    if answer.send(result).is_err() {
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Worker { jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// Queues a job. The number of jobs on their way is bounded by whoever sends them (see the module).
    pub(super) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            tracing::error!("a worker thread ended unexpectedly; restart the engine");
        }
    }
}

impl<Job, Done> Drop for Worker<Job, Done> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// How long a log may take to say which one it is before a commit goes its way. One that does not answer delivers nothing
/// either, so what was counted came before.
const IDENTITY: Duration = Duration::from_secs(1);

/// Starts the committing thread. A topic can be deleted and created again between two looks at it, and the client reads on in
/// the new one as if nothing had happened. So what was counted is stored only once the log has said, after the last record
/// came, that it is still the same.
pub(super) fn committer(
    store: Arc<dyn Store>,
    survey: Arc<dyn Survey>,
) -> std::io::Result<Worker<CommitJob, CommitDone>> {
    let other_log = move |jobs: &[CommitJob]| {
        let moves = |job: &CommitJob| job.commit.advances.iter().any(|advance| advance.to.next > advance.from);
        if !jobs.iter().any(moves) {
            return None;
        }
        let topic = survey.topic(IDENTITY).ok()??;
        jobs.iter().any(|job| !same_log(&job.topic, &topic)).then_some(topic)
    };
    Worker::start("tally-commit", move |jobs: Vec<CommitJob>| {
        if let Some(topic) = other_log(&jobs) {
            let what = || StoreError::Unavailable(format!("nothing is stored: the log is now {topic}"));
            let done = |job: CommitJob| CommitDone {
                revision: job.revision,
                ticket: job.ticket,
                answer: Err(what()),
                topic: Some(topic.clone()),
            };
            return jobs.into_iter().map(done).collect();
        }
        let (names, commits): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.revision, job.ticket), job.commit)).unzip();
        point("commit.leaving");
        match store.commit(&commits) {
            Ok(answers) => {
                point("commit.stored");
                let done =
                    |((revision, ticket), answer)| CommitDone { revision, ticket, answer: Ok(answer), topic: None };
                names.into_iter().zip(answers).map(done).collect()
            }
            Err(fault) => {
                let done =
                    |(revision, ticket)| CommitDone { revision, ticket, answer: Err(again(&fault)), topic: None };
                names.into_iter().map(done).collect()
            }
        }
    })
}

fn again(fault: &StoreError) -> StoreError {
    match fault {
        StoreError::Unavailable(what) => StoreError::Unavailable(what.clone()),
        StoreError::Corrupt(what) => StoreError::Corrupt(what.clone()),
    }
}

/// How long a log may take to say what it holds.
const ANSWER: Duration = Duration::from_secs(3);

/// The number of a question to the log, and what was answered.
pub(super) type Answered = (u64, Result<Surveyed, SourceError>);

/// Starts the thread that asks the log. Who asks several times before it comes to that gets one answer, to the last question.
pub(super) fn surveyor(survey: Arc<dyn Survey>) -> std::io::Result<Worker<u64, Answered>> {
    Worker::start("tally-survey", move |questions: Vec<u64>| {
        questions.into_iter().max().map(|question| (question, survey.ask(ANSWER))).into_iter().collect()
    })
}

/// Starts the compacting thread. `unfolded`: so many of the newest frames stay as they are, unless a commit waits for room or
/// panes have expired;
/// `largest`: a bucket whose snapshot has more bytes is split.
pub(super) fn compactor(
    store: Arc<dyn Store>,
    unfolded: usize,
    largest: u64,
) -> std::io::Result<Worker<CompactJob, CompactDone>> {
    let mut said = Said::default();
    Worker::start("tally-compact", move |jobs: Vec<CompactJob>| {
        let compact = |job: CompactJob| {
            // A commit that waits for room must find some.
            let largest = if job.ticket.is_some() { largest / 4 } else { largest };
            // Readers learn of new floors by reading the bucket anew.
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
            let result = shrink.carry_out(&*store).map_err(|fault| tell(&mut said, &fault));
            CompactDone { revision: job.revision, ticket: job.ticket, bucket: job.bucket, result }
        };
        jobs.into_iter().map(compact).collect()
    })
}

/// The same; says it in the log, unless it was just said.
pub(super) fn tell(said: &mut Said, fault: &StoreError) -> Trouble {
    if let StoreError::Unavailable(what) = fault
        && said.due(&what.chars().take(48).collect::<String>())
    {
        tracing::warn!("{what}; trying on");
    }
    trouble(fault)
}

/// What a store's fault is to the protocol.
pub(super) fn trouble(fault: &StoreError) -> Trouble {
    match fault {
        StoreError::Unavailable(_) => Trouble::Unavailable,
        StoreError::Corrupt(what) => Trouble::Corrupt(what.clone()),
    }
}
