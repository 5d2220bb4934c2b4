//! The result of each action when the store and the log answer, and when they do not.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::database::Database;
use crate::pipeline::testing::{FailingStore, FixedSurvey, NO, Plan, metric};
use crate::progress::{Advance, Progress, Ticket};
use crate::store::Bucket;
use std::time::Instant;

/// How long anything may take before it counts as never.
const LIMIT: Duration = Duration::from_secs(30);

struct Rig {
    executor: Executor,
    members: Members,
    pending: Pending,
    store: Arc<FailingStore>,
    plan: Plan,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let plan = Plan::default();
    let store = Arc::new(FailingStore::new(&database, &plan));
    let view = Arc::new(View::default());
    let members = Members::new(vec![metric(&view)]);
    let shown = (view, Arc::new(LaneStatus::default()), Arc::new(MemoryShare::new(1 << 40)));
    let survey = Arc::new(FixedSurvey { plan: plan.clone(), end: 100 });
    let executor = Executor::start(store.clone(), survey, shown, false, LaneRole::Main).unwrap();
    Rig { executor, members, pending: Pending::default(), store, plan, _folder: folder }
}

impl Rig {
    fn run(&mut self, action: LedgerAction) -> Option<Event> {
        let ran = self.executor.run(action, &self.members, &mut self.pending);
        assert!(ran.panicked.is_none());
        ran.event
    }

    fn create(&mut self) -> Result<(), Trouble> {
        match self.run(LedgerAction::Create(NO, Ticket(1))) {
            Some(Event::Created(NO, Ticket(1), created)) => created,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a commit of progress alone, and waits for the answer.
    fn commit(&mut self, from: u64, to: u64) -> Answer {
        let life = self.executor.shared.lives[&NO];
        let base = (from > 0).then(|| Progress { next: from, ..Progress::default() });
        let to = Progress { next: to, ..Progress::default() };
        let advances = vec![Advance { partition: 0, from, base, to }];
        let sent = LedgerAction::Commit {
            revision: NO,
            ticket: Ticket(2),
            life,
            advances,
            topic: String::new(),
        };
        assert!(self.run(sent).is_none());
        match self.executor.wait_for_commit(&self.members, LIMIT) {
            Waited::Answered(mut events) => match events.remove(0) {
                Event::Answered(NO, Ticket(2), answer) => answer,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_load_finds_what_is_stored_or_says_why_not() {
    let mut rig = rig();
    let load = |rebuild| LedgerAction::Load { revision: NO, ticket: Ticket(3), rebuild };
    let loaded = |event| match event {
        Some(Event::Loaded(NO, Ticket(3), loaded)) => loaded,
        other => panic!("{other:?}"),
    };
    for rebuild in [false, true] {
        assert!(matches!(loaded(rig.run(load(rebuild))), Ok(None)), "nothing is stored");
    }
    rig.create().unwrap();
    assert_eq!(rig.commit(0, 10), Answer::Applied);
    for rebuild in [false, true] {
        let found = loaded(rig.run(load(rebuild))).unwrap().unwrap();
        assert_eq!(found.progress[0].1.next, 10);
    }
    assert_eq!(rig.executor.shared.view.read().metrics[0].position.0, [(0, 10)].into());
    rig.plan.fail("read", 1);
    assert!(matches!(loaded(rig.run(load(true))), Err(Trouble::Unavailable)));
    let in_doubt = rig.executor.shared.view.read().metrics[0].in_doubt;
    assert!(!in_doubt, "nothing was dropped before the store had answered");
    assert!(rig.executor.shared.status.read(|status| status.store_trouble.is_some()));
}

#[test]
fn a_revision_is_created_and_answers_even_if_that_is_known_later() {
    let mut rig = rig();
    rig.plan.fail("create", 1);
    assert!(matches!(rig.create(), Err(Trouble::Unavailable)));
    rig.plan.fail("point", 1);
    rig.create().unwrap();
    let answers = |rig: &Rig| rig.store.inner.current("plain").unwrap();
    assert_eq!(answers(&rig), None, "the store did not note it");
    rig.executor.publish_revisions(&rig.members);
    assert_eq!(answers(&rig), Some(rig.members.get(NO).unwrap().revision.clone()));
}

#[test]
fn a_commit_is_answered_as_the_store_says() {
    let mut rig = rig();
    rig.create().unwrap();
    rig.plan.fail("commit", 1);
    assert_eq!(rig.commit(0, 10), Answer::Failed(Trouble::Unavailable));
    assert_eq!(rig.commit(0, 10), Answer::Applied);
    assert!(matches!(rig.commit(0, 20), Answer::Mismatch(_)), "another offset is stored");
    assert!(rig.executor.poll(&rig.members).is_none() && rig.executor.ended().is_none());
}

#[test]
fn a_thread_that_ends_is_noticed_and_nothing_waits_for_it() {
    let mut rig = rig();
    rig.create().unwrap();
    rig.plan.panic("commit");
    let life = rig.executor.shared.lives[&NO];
    let advances = vec![Advance { partition: 0, from: 0, base: None, to: Progress::default() }];
    rig.run(LedgerAction::Commit {
        revision: NO,
        ticket: Ticket(2),
        life,
        advances,
        topic: String::new(),
    });
    assert!(matches!(rig.executor.wait_for_commit(&rig.members, LIMIT), Waited::Ended));
    assert_eq!(rig.executor.ended(), Some(Thread::Commits));
}

#[test]
fn a_bucket_is_compacted_only_in_the_life_that_is_known() {
    let mut rig = rig();
    let bucket = Bucket { table: 0, bucket: 0 };
    assert!(rig.run(LedgerAction::Compact(NO, Ticket(4), bucket)).is_none());
    assert!(!rig.executor.still_compacts(NO), "nothing was loaded or created");
    rig.create().unwrap();
    rig.run(LedgerAction::Compact(NO, Ticket(4), bucket));
    assert!(rig.executor.still_compacts(NO));
    match rig.executor.wait_for_compaction(&rig.members, LIMIT) {
        Waited::Answered(events) => {
            assert!(matches!(events[..], [Event::Compacted(NO, Ticket(4), Ok(()))]))
        }
        other => panic!("{other:?}"),
    }
    assert!(!rig.executor.still_compacts(NO));
}

#[test]
fn bounds_are_asked_for_without_blocking_and_answer_all_requests() {
    let mut rig = rig();
    let answer = |rig: &mut Rig| {
        let begun = Instant::now();
        loop {
            rig.executor.ask_log(false, Position::default);
            if let Some(answer) = rig.executor.log_answer() {
                return answer;
            }
            assert!(begun.elapsed() < LIMIT, "the log does not answer");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    };
    rig.plan.fail("bounds", 1);
    rig.run(LedgerAction::AskBounds(Ticket(5), vec![0]));
    let failed = answer(&mut rig);
    assert!(failed.held.is_err() && failed.events.is_empty());
    // The machine asks again with the next checkpoint.
    rig.run(LedgerAction::AskBounds(Ticket(6), vec![0]));
    let LogAnswer { events, held } = answer(&mut rig);
    assert_eq!(held.unwrap().0[0].end, 100);
    let told =
        |event: &Event| matches!(event, Event::Bounds(Ticket(6), bounds) if bounds[0].end == 100);
    assert!(events.iter().any(told), "{events:?}");
}
