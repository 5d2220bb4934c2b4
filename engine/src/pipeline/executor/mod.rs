//! Carries out the actions of the ledger: loads, creations, commits, compactions, questions to the
//! log.
//!
//! The result of an action is an event for the ledger, at once or when a worker thread has answered
//! ([`workers`]). Only loads and creations block the lane. Decides nothing about progress, and
//! knows neither the machine nor a source.

mod commit;
mod compact;
mod load;
mod shrinking;
mod survey;
#[cfg(test)]
mod tests;
mod workers;

pub use shrinking::{Shrink, Shrunk};
pub(super) use survey::LogAnswer;

use super::fatal::Thread;
use super::lane_status::LaneStatus;
use super::ledger::LedgerAction;
use super::members::{LaneRole, Members};
use super::memory_share::MemoryShare;
use super::pending::Pending;
use super::view::View;
use crate::event::Position;
use crate::failpoint::point;
use crate::log::Survey;
use crate::outage::LogThrottle;
use crate::progress::{Answer, Event, RevisionNo, Trouble};
use crate::store::{Life, Store, StoreError};
use commit::{CommitRequest, Commits};
use compact::Compactions;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use survey::Surveys;
use workers::{Ended, Unsent, report};

/// See the module's description.
pub(super) struct Executor {
    shared: Shared,
    commits: Commits,
    compactions: Compactions,
    surveys: Surveys,
    /// Revisions that were created and that the store may not yet name as answering.
    unpublished: BTreeSet<RevisionNo>,
}

/// What all actions need.
struct Shared {
    store: Arc<dyn Store>,
    view: Arc<View>,
    status: Arc<LaneStatus>,
    memory_share: Arc<MemoryShare>,
    /// Whether other engines read and write the store: then no answer comes from this lane's state.
    engines_share: bool,
    /// Whether the lane replays history.
    replays: bool,
    /// The life of each revision that was loaded or created.
    lives: BTreeMap<RevisionNo, Life>,
    /// Limits how often faults of the store are logged.
    throttle: LogThrottle,
    /// A worker thread that has ended: then the lane ends too.
    ended: Option<Thread>,
}

/// The result of an action.
#[derive(Debug, Default)]
pub(super) struct ActionResult {
    /// An event for the ledger, if there is one at once.
    pub(super) event: Option<Event>,
    /// Set if writing what a revision counted panicked, somewhere in these offsets of partitions:
    /// its state in memory was discarded.
    pub(super) panicked: Option<(RevisionNo, Vec<(u32, Range<u64>)>)>,
}

impl From<Event> for ActionResult {
    fn from(event: Event) -> ActionResult {
        ActionResult { event: Some(event), panicked: None }
    }
}

/// The result of waiting for a worker thread.
#[derive(Debug)]
pub(super) enum Waited {
    /// An answer, as events for the ledger.
    Answered(Vec<Event>),
    /// No answer in time.
    Nothing,
    /// A worker thread has ended.
    Ended,
}

impl Shared {
    /// Shows a fault of the store in the status and logs it. Returns what it means to the protocol.
    fn store_fault(&mut self, fault: &StoreError) -> Trouble {
        self.status.update(|status| status.store_trouble = Some(fault.to_string()));
        report(&mut self.throttle, fault)
    }

    /// The answer of a worker thread; remembers if it has ended.
    fn received<T>(&mut self, answer: Result<Option<T>, Ended>) -> Option<T> {
        answer.unwrap_or_else(|Ended(thread)| {
            self.ended.get_or_insert(thread);
            None
        })
    }

    /// Remembers if a worker thread has ended.
    fn note_end(&mut self, fault: Unsent) {
        if let Unsent::Ended(thread) = fault {
            self.ended.get_or_insert(thread);
        }
    }
}

impl Executor {
    /// Starts the worker threads. `engines_share`: whether other engines use the store too.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub(super) fn start(
        store: Arc<dyn Store>,
        survey: Arc<dyn Survey>,
        (view, status, memory_share): (Arc<View>, Arc<LaneStatus>, Arc<MemoryShare>),
        engines_share: bool,
        role: LaneRole,
    ) -> std::io::Result<Executor> {
        Ok(Executor {
            commits: Commits::start(store.clone(), survey.clone(), status.clone())?,
            compactions: Compactions::start(store.clone(), status.clone(), engines_share)?,
            surveys: Surveys::start(survey, status.clone())?,
            unpublished: BTreeSet::new(),
            shared: Shared {
                store,
                view,
                status,
                memory_share,
                engines_share,
                replays: role == LaneRole::Backfill,
                lives: BTreeMap::new(),
                throttle: LogThrottle::default(),
                ended: None,
            },
        })
    }

    /// The worker thread that has ended by an internal error, if one has.
    pub(super) fn ended(&self) -> Option<Thread> {
        self.shared.ended
    }

    /// Carries out an action of the ledger.
    pub(super) fn run(
        &mut self,
        action: LedgerAction,
        members: &Members,
        pending: &mut Pending,
    ) -> ActionResult {
        match action {
            LedgerAction::Load { revision, ticket, rebuild } => {
                self.surveys.note_load();
                let found = self.shared.load(members, revision, rebuild);
                Event::Loaded(revision, ticket, found).into()
            }
            LedgerAction::Create(revision, ticket) => {
                let created = self.create(members, revision);
                Event::Created(revision, ticket, created).into()
            }
            LedgerAction::Commit { revision, ticket, life, advances, topic } => {
                let Some(metric) = members.get(revision) else { return ActionResult::default() };
                let request = CommitRequest { metric, ticket, life, advances: &advances, topic };
                self.send_commit(revision, request, pending)
            }
            LedgerAction::Compact(revision, ticket, bucket) => {
                let sent = self.compactions.compact(
                    &mut self.shared,
                    members,
                    revision,
                    Some(ticket),
                    bucket,
                    false,
                );
                let failed = sent
                    .err()
                    .map(|_| Event::Compacted(revision, ticket, Err(Trouble::Unavailable)));
                ActionResult { event: failed, panicked: None }
            }
            LedgerAction::AskBounds(ticket, partitions) => {
                self.surveys.ask_bounds(ticket, partitions);
                ActionResult::default()
            }
            LedgerAction::ShowPosition(revision, partition, at) => {
                if let Some(metric) = members.get(revision) {
                    self.shared.view.write().metrics[metric.id.0].set_position(partition, at);
                }
                self.shared.view.notify();
                ActionResult::default()
            }
            LedgerAction::DropTail(revision, partition) => {
                if self.shared.engines_share
                    && let Some(metric) = members.get(revision)
                {
                    self.shared.view.write().state.drop_tail(metric.id, partition);
                }
                ActionResult::default()
            }
            LedgerAction::ReportHalt(revision, partition, halt) => {
                let name = members.get(revision).map(|metric| metric.plugin.name());
                tracing::error!(metric = name, ?partition, "counting is stopped: {halt}");
                ActionResult::default()
            }
        }
    }

    fn create(&mut self, members: &Members, no: RevisionNo) -> Result<(), Trouble> {
        let Some(metric) = members.get(no) else { return Ok(()) };
        // Before the attempt: it may be created although the call fails.
        self.unpublished.insert(no);
        let created = self.shared.store.create(&metric.revision, &metric.meta);
        let life = created.map_err(|fault| self.shared.store_fault(&fault))?;
        point("create.made");
        self.shared.lives.insert(no, life);
        self.publish_revisions(members);
        point("create.pointed");
        Ok(())
    }

    fn send_commit(
        &mut self,
        revision: RevisionNo,
        request: CommitRequest<'_>,
        pending: &mut Pending,
    ) -> ActionResult {
        let ticket = request.ticket;
        match self.commits.send(&mut self.shared, request, pending) {
            Ok(()) => ActionResult::default(),
            // It is sent again with the next checkpoint.
            Err(commit::CommitError::Unsent(fault)) => {
                self.shared.note_end(fault);
                Event::Answered(revision, ticket, Answer::Failed(Trouble::Unavailable)).into()
            }
            Err(commit::CommitError::Panicked(at)) => {
                ActionResult { event: None, panicked: Some((revision, at)) }
            }
        }
    }

    /// Has the store name new revisions as answering for their metrics, where none does: a revision
    /// that answers is only replaced when a newer one has counted its history. What fails is
    /// repeated with the next heartbeat.
    pub(super) fn publish_revisions(&mut self, members: &Members) {
        let Shared { store, throttle, lives, .. } = &mut self.shared;
        self.unpublished.retain(|no| {
            let Some(metric) = members.get(*no) else { return false };
            if !lives.contains_key(no) {
                return true;
            }
            let published = || match store.current(&metric.revision.metric)? {
                Some(_) => Ok(true),
                None => store.point(None, &metric.revision),
            };
            published().map_err(|fault: StoreError| report(throttle, &fault)) != Ok(true)
        });
    }

    /// The next answer of a worker thread, as events for the ledger; `None`: there is none.
    pub(super) fn poll(&mut self, members: &Members) -> Option<Vec<Event>> {
        if let Some(done) = self.commits.take(&mut self.shared) {
            return Some(self.committed(members, done));
        }
        let done = self.compactions.take(&mut self.shared)?;
        Some(self.compactions.compacted(&mut self.shared, members, done))
    }

    /// Waits for the answer to a commit, at most `limit`.
    pub(super) fn wait_for_commit(&mut self, members: &Members, limit: Duration) -> Waited {
        match self.commits.wait(&mut self.shared, limit) {
            Some(done) => Waited::Answered(self.committed(members, done)),
            None if self.shared.ended.is_some() => Waited::Ended,
            None => Waited::Nothing,
        }
    }

    fn committed(&mut self, members: &Members, done: workers::CommitDone) -> Vec<Event> {
        let revision = done.revision;
        let settled = commit::settle(&mut self.shared, members, done);
        if let Some(sizes) = settled.sizes {
            self.compactions.compact_due(&mut self.shared, members, revision, &sizes);
        }
        settled.events
    }

    /// Starts no further compactions of a revision. Returns whether some are under way: the floors
    /// that they raise belong to its views.
    pub(super) fn still_compacts(&mut self, no: RevisionNo) -> bool {
        self.compactions.still_compacts(no)
    }

    /// Waits for the answer to a compaction, at most `limit`.
    pub(super) fn wait_for_compaction(&mut self, members: &Members, limit: Duration) -> Waited {
        match self.compactions.wait(&mut self.shared, limit) {
            Some(done) => {
                Waited::Answered(self.compactions.compacted(&mut self.shared, members, done))
            }
            None if self.shared.ended.is_some() => Waited::Ended,
            None => Waited::Nothing,
        }
    }

    /// Does a little of the periodic work: compacts buckets whose panes may have expired, and rolls
    /// expired panes up.
    pub(super) fn tidy_up(&mut self, members: &Members) {
        self.compactions.compact_expiring(&mut self.shared, members);
        self.compactions.roll(&self.shared, members);
    }

    /// Asks the log what it holds, if that is `due` or an action waits for it, and no question is
    /// under way; `position`: how far the lane has counted now.
    pub(super) fn ask_log(&mut self, due: bool, position: impl FnOnce() -> Position) {
        self.surveys.ask(&mut self.shared, due, position);
    }

    /// The answer of the log, if there is a new one.
    pub(super) fn log_answer(&mut self) -> Option<LogAnswer> {
        self.surveys.take(&mut self.shared)
    }

    /// Forgets a revision.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.shared.lives.remove(&no);
        self.compactions.forget(no);
    }
}
