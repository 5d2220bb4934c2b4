//! Carries out what the ledger says that is more than bookkeeping: loads, creations, commits, compactions, questions to the log.
//!
//! Whatever comes of an action is an event for the ledger, at once or when a thread beside the lane has answered ([`workers`]).
//! Blocks the lane only for loads and creations. Decides nothing about progress, and knows neither the machine nor a source.

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

use super::board::Board;
use super::fatal::Thread;
use super::ledger::Action;
use super::members::Members;
use super::pending::Pending;
use super::room::Room;
use super::view::View;
use crate::event::Position;
use crate::failpoint::point;
use crate::outage::Said;
use crate::progress::{Answer, Event, RevisionNo, Trouble};
use crate::source::Survey;
use crate::store::{Life, Store, StoreError};
use commit::Commits;
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
    /// Revisions that were created and that may not be the ones that answer yet.
    unpointed: BTreeSet<RevisionNo>,
}

/// What all actions need.
struct Shared {
    store: Arc<dyn Store>,
    view: Arc<View>,
    board: Arc<Board>,
    room: Arc<Room>,
    /// Whether other engines read and write the store: then nothing is answered from this lane's state.
    engines_share: bool,
    /// The life of each revision that was loaded or created.
    lives: BTreeMap<RevisionNo, Life>,
    /// Faults of the store that were just reported.
    said: Said,
    /// A thread beside the lane that has ended: then the lane does too.
    ended: Option<Thread>,
}

/// What came of an action.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// What the ledger is told at once.
    pub(super) event: Option<Event>,
    /// Writing what a revision counted panicked somewhere in these offsets of partitions: its state in memory is dropped.
    pub(super) panicked: Option<(RevisionNo, Vec<(u32, Range<u64>)>)>,
}

impl From<Event> for Ran {
    fn from(event: Event) -> Ran {
        Ran { event: Some(event), panicked: None }
    }
}

/// What a wait for the store brought.
#[derive(Debug)]
pub(super) enum Waited {
    /// An answer, as events for the ledger.
    Answered(Vec<Event>),
    /// No answer in time.
    Nothing,
    /// The thread that would answer has ended.
    Ended,
}

impl Shared {
    /// Shows a fault of the store and reports it in the log; what it is to the protocol.
    fn store_fault(&mut self, fault: &StoreError) -> Trouble {
        self.board.stand(|standing| standing.store_trouble = Some(fault.to_string()));
        report(&mut self.said, fault)
    }

    /// What a thread beside the lane answers; that it has ended is noted.
    fn heard<T>(&mut self, answer: Result<Option<T>, Ended>) -> Option<T> {
        answer.unwrap_or_else(|Ended(thread)| {
            self.ended.get_or_insert(thread);
            None
        })
    }

    fn note_end(&mut self, fault: Unsent) {
        if let Unsent::Ended(thread) = fault {
            self.ended.get_or_insert(thread);
        }
    }
}

impl Executor {
    /// Starts the threads beside the lane. `engines_share`: whether other engines use the store too.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub(super) fn start(
        store: Arc<dyn Store>,
        survey: Arc<dyn Survey>,
        (view, board, room): (Arc<View>, Arc<Board>, Arc<Room>),
        engines_share: bool,
    ) -> std::io::Result<Executor> {
        Ok(Executor {
            commits: Commits::start(store.clone(), survey.clone(), board.clone())?,
            compactions: Compactions::start(store.clone(), board.clone(), engines_share)?,
            surveys: Surveys::start(survey, board.clone())?,
            unpointed: BTreeSet::new(),
            shared: Shared {
                store,
                view,
                board,
                room,
                engines_share,
                lives: BTreeMap::new(),
                said: Said::default(),
                ended: None,
            },
        })
    }

    /// The thread beside the lane that has ended by an internal error, if one has.
    pub(super) fn ended(&self) -> Option<Thread> {
        self.shared.ended
    }

    /// Carries out an action of the ledger.
    pub(super) fn run(&mut self, action: Action, members: &Members, pending: &mut Pending) -> Ran {
        match action {
            Action::Load { revision, ticket, rebuild } => {
                self.surveys.note_load();
                let found = self.shared.load(members, revision, rebuild);
                Event::Loaded(revision, ticket, found).into()
            }
            Action::Create(revision, ticket) => {
                let created = self.create(members, revision);
                Event::Created(revision, ticket, created).into()
            }
            Action::Commit { revision, ticket, life, advances, topic } => {
                let Some(metric) = members.get(revision) else { return Ran::default() };
                match self.commits.send(&mut self.shared, metric, ticket, life, &advances, topic, pending) {
                    Ok(()) => Ran::default(),
                    // Sent again when the next checkpoint is due.
                    Err(commit::Failed::Unsent(fault)) => {
                        self.shared.note_end(fault);
                        Event::Answered(revision, ticket, Answer::Failed(Trouble::Unavailable)).into()
                    }
                    Err(commit::Failed::Panicked(at)) => Ran { event: None, panicked: Some((revision, at)) },
                }
            }
            Action::Compact(revision, ticket, bucket) => {
                let given = self.compactions.compact(&mut self.shared, members, revision, Some(ticket), bucket, false);
                let failed = given.err().map(|_| Event::Compacted(revision, ticket, Err(Trouble::Unavailable)));
                Ran { event: failed, panicked: None }
            }
            Action::AskBounds(ticket, partitions) => {
                self.surveys.ask_bounds(ticket, partitions);
                Ran::default()
            }
            Action::ShowPosition(revision, partition, at) => {
                if let Some(metric) = members.get(revision) {
                    self.shared.view.write().metrics[metric.id.0].stand_at(partition, at);
                }
                self.shared.view.announce();
                Ran::default()
            }
            Action::DropTail(revision, partition) => {
                if self.shared.engines_share
                    && let Some(metric) = members.get(revision)
                {
                    self.shared.view.write().state.drop_tail(metric.id, partition);
                }
                Ran::default()
            }
            Action::ReportHalt(revision, partition, halt) => {
                let name = members.get(revision).map(|metric| metric.plugin.name());
                tracing::error!(metric = name, ?partition, "counting is stopped: {halt}");
                Ran::default()
            }
        }
    }

    fn create(&mut self, members: &Members, no: RevisionNo) -> Result<(), Trouble> {
        let Some(metric) = members.get(no) else { return Ok(()) };
        // Also if it is not known whether it was created.
        self.unpointed.insert(no);
        let created = self.shared.store.create(&metric.revision, &metric.meta);
        let life = created.map_err(|fault| self.shared.store_fault(&fault))?;
        point("create.made");
        self.shared.lives.insert(no, life);
        self.point_out(members);
        point("create.pointed");
        Ok(())
    }

    /// Has the store note that new revisions answer for their metrics, where none does: one that answers goes on until a newer
    /// revision has counted its history. What the store does not do is done with the next heartbeat.
    pub(super) fn point_out(&mut self, members: &Members) {
        let Shared { store, said, lives, .. } = &mut self.shared;
        self.unpointed.retain(|no| {
            let Some(metric) = members.get(*no) else { return false };
            if !lives.contains_key(no) {
                return true;
            }
            let pointed = || match store.current(&metric.revision.metric)? {
                Some(_) => Ok(true),
                None => store.point(None, &metric.revision),
            };
            pointed().map_err(|fault: StoreError| report(said, &fault)) != Ok(true)
        });
    }

    /// The next answer of a thread beside the lane, as events for the ledger; `None`: none is there.
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
            self.compactions.look_for_work(&mut self.shared, members, revision, &sizes);
        }
        settled.events
    }

    /// A revision starts no further compactions. Whether some are still under way: what they raise belongs to its views.
    pub(super) fn still_compacts(&mut self, no: RevisionNo) -> bool {
        self.compactions.still_compacts(no)
    }

    /// Waits for the answer to a compaction, at most `limit`.
    pub(super) fn wait_for_compaction(&mut self, members: &Members, limit: Duration) -> Waited {
        match self.compactions.wait(&mut self.shared, limit) {
            Some(done) => Waited::Answered(self.compactions.compacted(&mut self.shared, members, done)),
            None if self.shared.ended.is_some() => Waited::Ended,
            None => Waited::Nothing,
        }
    }

    /// What is done a little at a time: buckets whose panes may have expired are compacted, expired panes rolled up.
    pub(super) fn tidy_up(&mut self, members: &Members) {
        self.compactions.compact_expiring(&mut self.shared, members);
        self.compactions.roll(&self.shared, members);
    }

    /// Asks the log what it holds, if that is `due` or waited for and no question is on its way; `position`: how far is counted now.
    pub(super) fn ask_log(&mut self, due: bool, position: impl FnOnce() -> Position) {
        self.surveys.ask(&mut self.shared, due, position);
    }

    /// What the log answered, if it did since the last call.
    pub(super) fn log_answer(&mut self) -> Option<LogAnswer> {
        self.surveys.take(&mut self.shared)
    }

    /// Forgets a revision.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.shared.lives.remove(&no);
        self.compactions.forget(no);
    }
}
