//! A whole lane between a log and a store that fail on demand: whatever fails is repeated, and
//! every record counts once; a worker thread that ends stops the lane, with its reason in the
//! status.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::config::EventsConfig;
use crate::database::Database;
use crate::pipeline::testing::{FailingStore, FixedSurvey, Plan, metric, payload, settings};
use crate::pipeline::{self, CommandError, Target};
use crate::progress::Progress;
use crate::store::{BucketRead, Known, RevisionId};
use std::ops::Range;

const RECORDS: u64 = 300;

/// How long anything may take before it counts as never.
const LIMIT: Duration = Duration::from_secs(30);

/// One partition of records, ten at a time, from the moment at which it is assigned.
struct Records {
    plan: Plan,
    payloads: Vec<String>,
    next: Option<u64>,
    paused: bool,
}

impl Source for Records {
    fn poll(&mut self, wait: Duration, most: usize, sink: &mut dyn Sink) -> Result<(), LogError> {
        let next = match self.next {
            Some(next) => next,
            None => match sink.assigned(&[0])[0] {
                Start::At(offset) => offset,
                Start::Earliest => 0,
            },
        };
        let to = (next + 10.min(most as u64)).min(RECORDS);
        self.next = Some(next);
        if self.paused || next == to {
            std::thread::park_timeout(wait);
            return Ok(());
        }
        let record = |offset: u64| {
            let payload = self.payloads[offset as usize].as_bytes();
            Record::new(offset, 1_800_000_000_000, Some(payload))
        };
        sink.records(0, &(next..to).map(record).collect::<Vec<_>>());
        self.next = Some(to);
        if next > 100 && self.plan.strikes("lost") {
            sink.revoked(&[0], true);
            (self.next, self.paused) = (None, false);
        }
        Ok(())
    }

    fn pause(&mut self, _: u32) {
        self.paused = true;
    }

    fn resume(&mut self, _: u32) -> Result<(), LogError> {
        self.plan.source("resume")?;
        self.paused = false;
        Ok(())
    }

    fn rewind(&mut self, _: u32, offset: u64) -> Result<(), LogError> {
        self.plan.source("rewind")?;
        self.next = Some(offset);
        Ok(())
    }

    fn publish_progress(&mut self, _: &[(u32, u64)]) {}

    fn close(self: Box<Self>, _: Duration) {}
}

/// A lane that counts [`RECORDS`] records, each of another user.
struct Rig {
    store: Arc<FailingStore>,
    view: Arc<View>,
    status: Arc<LaneStatus>,
    lane: pipeline::Handle,
    revision: RevisionId,
    _folder: tempfile::TempDir,
}

fn rig(plan: &Plan) -> Rig {
    rig_of(plan, None)
}

/// The same with some records that are counted and sealed one by one.
fn rig_of(plan: &Plan, one_by_one: Option<Range<u64>>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let store = Arc::new(FailingStore::new(&database, plan));
    let (view, status) = (Arc::new(View::default()), Arc::new(LaneStatus::default()));
    let payloads = (0..RECORDS).map(payload).collect();
    let source = Records { plan: plan.clone(), payloads, next: None, paused: false };
    let metric = metric(&view);
    let revision = metric.revision.clone();
    let parts = LaneParts {
        source: Box::new(source),
        survey: Arc::new(FixedSurvey { plan: plan.clone(), end: RECORDS }),
        store: store.clone(),
        shared: false,
        view: view.clone(),
        status: status.clone(),
        memory_share: Arc::new(MemoryShare::new(1 << 40)),
        role: LaneRole::Main,
        metrics: vec![metric],
        settings: settings(),
        decoder: Decoder::new(&EventsConfig::default()).unwrap(),
        dead_letters: Arc::new(DeadLetters::open(&database, 100).unwrap()),
        judged: JudgedRanges::default(),
        feed: None,
        checkpoint: Duration::from_millis(20),
        topic: "log".into(),
        call_mark: None,
    };
    let prepare = move |lane: &mut Lane| {
        let panicked: Vec<(u32, Range<u64>)> =
            one_by_one.map(|records| (0, records)).into_iter().collect();
        lane.batches.panicking.note(RevisionNo(0), &panicked).unwrap();
    };
    let lane = pipeline::start_with(parts, prepare).unwrap();
    Rig { store, view, status, lane, revision, _folder: folder }
}

impl Rig {
    /// Waits until everything is counted and ends the lane. All of it must be stored, each record
    /// once.
    fn counts_all_once(self, what: &str) {
        let id = crate::state::MetricId(0);
        let end = Position([(0, RECORDS)].into());
        assert!(
            self.view.wait_for(id, &end, LIMIT),
            "{what}: not counted: {:?}",
            self.status.snapshot()
        );
        let answers =
            || self.store.inner.current("plain").unwrap().as_ref() == Some(&self.revision);
        let begun = Instant::now();
        while !self.store.plan.is_spent() || !answers() {
            assert!(
                begun.elapsed() < LIMIT,
                "{what}: not called often enough, or the revision does not answer"
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let done = self.lane.stop(LIMIT);
        assert_eq!(done.committed, done.processed, "{what}");
        let stored = self.store.inner.stored(&self.revision).unwrap().unwrap();
        let progress = Progress::decode(&stored.progress[&0].bytes).unwrap();
        assert_eq!((progress.next, progress.rows), (RECORDS, RECORDS), "{what}: stored");
        assert_eq!(self.view.read().state.size(id).0, RECORDS, "{what}: each user has a cell");
        assert_eq!(self.stored_rows(), RECORDS, "{what}: each record is stored once");
    }

    fn stored_rows(&self) -> u64 {
        let buckets = self.store.inner.buckets(&self.revision).unwrap();
        let known: Vec<Known> =
            buckets.iter().map(|bucket| Known { bucket: *bucket, last: None }).collect();
        let reading = self.store.inner.read(&self.revision, &known).unwrap();
        let mut state = crate::state::State::default();
        let id = state.add(crate::host::plain_metric().description());
        let held: Vec<(u16, u32)> =
            buckets.iter().map(|bucket| (bucket.table, bucket.bucket)).collect();
        state.lay_out(id, &held).unwrap();
        let mut rows = 0;
        for (bucket, read) in buckets.iter().zip(reading.unwrap().buckets) {
            let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = read else {
                panic!("{read:?}")
            };
            rows += frames
                .iter()
                .map(|frame| state.load(id, bucket.table.into(), &frame.bytes).unwrap())
                .sum::<u64>();
        }
        rows
    }
}

#[test]
fn a_store_is_asked_again_after_pauses_that_begin_with_the_first() {
    let millis = [0, 1, 2, 6, u32::MAX].map(|tries| pause(tries).as_millis());
    assert_eq!(millis, [0, STORE_AGAIN.first.as_millis(), 200, 3_000, 3_000]);
}

#[test]
fn nothing_counts_before_a_rewind_has_succeeded() {
    // Records that come with the assignment are dropped, so the lane rewinds the source.
    let plan = Plan::default();
    plan.fail("rewind", 3);
    rig(&plan).counts_all_once("rewind");
}

#[test]
fn history_is_complete_once_it_is_counted_that_the_log_held() {
    let plan = Plan::default();
    plan.fail("bounds", 1);
    let rig = rig(&plan);
    let begun = Instant::now();
    let seen = || {
        let counted = rig.view.read();
        let progress = &counted.metrics[0];
        (progress.is_known() && progress.target == Target::Reached, progress.position.clone())
    };
    while let (false, position) = seen() {
        assert!(begun.elapsed() < LIMIT, "it never is: {position}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(seen().1, Position([(0, RECORDS)].into()));
    rig.counts_all_once("bounds");
}

/// Deltas of records that are counted again are not stored twice.
#[test]
fn partitions_that_are_lost_and_come_back_are_counted_once() {
    for one_by_one in [None, Some(0..RECORDS)] {
        let plan = Plan::default();
        plan.fail("lost", 5);
        rig_of(&plan, one_by_one).counts_all_once("lost");
    }
}

#[test]
fn any_call_that_fails_is_repeated() {
    let calls = [
        "resume",
        "topic",
        "bounds",
        "buckets",
        "read",
        "create",
        "current",
        "point",
        "commit",
        "committed",
        "full",
        "compact",
    ];
    for call in calls {
        let plan = Plan::default();
        plan.fail(call, 2);
        // What leads to the call.
        match call {
            "compact" => plan.fail("full", 1),
            "resume" => plan.fail("commit", 1),
            _ => {}
        }
        rig(&plan).counts_all_once(call);
    }
}

#[test]
fn a_thread_that_ends_stops_the_lane_and_says_why() {
    for (call, thread) in
        [("commit", "the thread that commits"), ("compact", "the thread that compacts")]
    {
        let plan = Plan::default();
        plan.panic(call);
        if call == "compact" {
            plan.fail("full", 1);
        }
        let rig = rig(&plan);
        let begun = Instant::now();
        while !rig.status.read(|status| status.ended) {
            assert!(begun.elapsed() < LIMIT, "{call}: the lane goes on without {thread}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let failed = rig.status.read(|status| status.failed.clone()).map(|fatal| fatal.to_string());
        let failed = failed.unwrap_or_default();
        assert!(
            failed.starts_with(thread) && failed.contains(&format!("{call} panics on demand")),
            "{failed}"
        );
        assert_eq!(rig.lane.send(Command::Resume), Err(CommandError::Ended));
        rig.lane.stop(Duration::from_secs(1));
        assert!(begun.elapsed() < LIMIT, "{call}: it ends at once");
    }
}
