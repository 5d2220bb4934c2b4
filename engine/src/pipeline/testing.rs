//! What tests of the pipeline share: a metric, events, a store into which they are counted, a store
//! and a log that fail on demand.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::members::LaneMetric;
use super::target::LogEnds;
use super::view::{MetricProgress, View};
use crate::config::Durability;
use crate::database::Database;
use crate::event::{EventBatch, Position};
use crate::log::{Bounds, LogError, Survey, Surveyed};
use crate::outage::Cause;
use crate::progress::{History, Memory, OnGap, OnStateLoss, Progress, RevisionNo, Settings};
use crate::state::{MetricId, State};
use crate::store::embedded::EmbeddedStore;
use crate::store::{
    Advance, Bucket, BucketSize, Commit, CommitAnswer, CompactAnswer, Compaction, Known, Life,
    Reading, RevisionId, Split, SplitAnswer, Store, StoreError, StoredProgress, StoredRevision,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The metric of [`metric`].
pub(super) const NO: RevisionNo = RevisionNo(0);

/// A metric that counts events by user, in a view of its own.
pub(super) fn metric(view: &View) -> LaneMetric {
    let plugin = Arc::new(crate::host::plain_metric());
    let id = view.add(plugin.description(), MetricProgress::default());
    LaneMetric::alone(id, plugin, revision())
}

/// The revision of [`metric`].
fn revision() -> RevisionId {
    RevisionId { metric: "plain".into(), fingerprint: 1 }
}

/// Settings of a lane that holds what it counts in memory.
pub(super) fn settings() -> Settings {
    Settings {
        dedupe_window: 20,
        on_gap: OnGap::Halt,
        on_state_loss: OnStateLoss::Rebuild,
        memory: Memory::Resident,
        max_pending_rows: 50,
        topic: String::new(),
    }
}

/// A position.
pub(super) fn at(text: &str) -> Position {
    text.parse().unwrap()
}

/// What the log holds: of each partition from its first record up to this offset. `history`: where
/// a metric begins that never counted them.
pub(super) fn log_ends(ends: &str, history: &History) -> LogEnds {
    let ends = at(ends).0.into_iter();
    let bounds = ends.map(|(partition, end)| Bounds { partition, start: 0, end, open: 0 });
    LogEnds::new(&bounds.collect::<Vec<_>>(), history)
}

/// An event of a user.
pub(crate) fn payload(user: u64) -> String {
    payload_with(user, "")
}

/// An event of a user with more members: they begin with a comma.
pub(crate) fn payload_with(user: u64, more: &str) -> String {
    format!("{{\"user_id\":{user},\"product_id\":1,\"event_type\":\"view\"{more}}}")
}

/// The time of the event at an offset of [`StoreRig`]: later ones are earlier.
pub(super) fn time_at(offset: u64) -> i64 {
    1_800_000_059_999 - offset as i64
}

/// An event of each of these users, at the offset with the same number.
fn events_of(users: Range<u64>) -> EventBatch {
    let rows = (users.end - users.start) as usize;
    EventBatch {
        from: users.start,
        to: users.end,
        offsets: users.clone().collect(),
        users: users.clone().collect(),
        products: vec![1; rows],
        kinds: vec![0; rows],
        times: users.map(time_at).collect(),
        kind_names: vec!["view".into()],
        ..EventBatch::default()
    }
}

/// A store with one revision, and an engine that counts into it.
pub(super) struct StoreRig {
    pub(super) store: Arc<EmbeddedStore>,
    pub(super) revision: RevisionId,
    pub(super) life: Life,
    /// The offset after what is committed.
    pub(super) next: u64,
    /// Where history ends, which is stored until it is counted.
    pub(super) history_to: Option<u64>,
    /// Whether what is stored is by an engine that recorded no smallest event time.
    pub(super) is_old: bool,
    /// The progress that is stored.
    progress: Option<Vec<u8>>,
    /// What the engine holds, and how many updates of it are committed.
    counts: State,
    rows: u64,
    _folder: tempfile::TempDir,
}

impl StoreRig {
    /// One in which nothing is counted.
    pub(super) fn new() -> StoreRig {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let store = Arc::new(EmbeddedStore::open(database, Durability::Process, 1 << 30).unwrap());
        let revision = revision();
        let life = store.create(&revision, b"").unwrap();
        let mut counts = State::default();
        counts.add(crate::host::plain_metric().description());
        StoreRig {
            store,
            revision,
            life,
            next: 0,
            history_to: None,
            is_old: false,
            progress: None,
            counts,
            rows: 0,
            _folder: folder,
        }
    }

    /// Creates the revision again: another life, of which nothing is committed.
    pub(super) fn create_again(&mut self) {
        self.life = self.store.create(&self.revision, b"").unwrap();
        (self.next, self.progress, self.rows) = (0, None, 0);
    }

    /// Commits these frames of the records before `to`.
    pub(super) fn commit_frames(
        &mut self,
        to: u64,
        progress: Vec<u8>,
        frames: Vec<(Bucket, Vec<u8>)>,
    ) {
        let advance = Advance {
            partition: 0,
            from: self.next,
            base: self.progress.replace(progress.clone()),
            to: StoredProgress { next: to, bytes: progress },
        };
        let commit = Commit {
            revision: self.revision.clone(),
            life: self.life,
            advances: vec![advance],
            frames,
        };
        self.store.commit(&[commit]).unwrap();
        self.next = to;
    }

    /// Counts so many events more, each of a user of its own, and commits them.
    pub(super) fn count(&mut self, events: u64) {
        let metric = MetricId(0);
        let to = self.next + events;
        let batch = events_of(self.next..to);
        self.counts.begin(&batch);
        self.rows += self.counts.apply(metric, &batch, self.next, &[]);
        let sealed = self.counts.seal(metric, 0);
        let frames = self
            .counts
            .frames(metric, &[&sealed])
            .into_iter()
            .map(|frame| (Bucket { table: frame.table, bucket: frame.bucket }, frame.bytes))
            .collect();
        let history_to = self.history_to.filter(|end| *end > to);
        let mut progress =
            Progress { next: to, rows: self.rows, history_to, ..Progress::default() };
        if to > 0 {
            progress.add_times((time_at(to - 1), time_at(0)));
        }
        progress.first = progress.first.filter(|_| !self.is_old);
        self.commit_frames(to, progress.encode(), frames);
    }
}

/// Which calls fail, by name: how often, and whether by a panic.
#[derive(Clone, Default)]
pub(super) struct Plan(Arc<Mutex<BTreeMap<&'static str, (u32, bool)>>>);

impl Plan {
    pub(super) fn fail(&self, call: &'static str, times: u32) {
        self.0.lock().insert(call, (times, false));
    }

    pub(super) fn panic(&self, call: &'static str) {
        self.0.lock().insert(call, (1, true));
    }

    pub(super) fn strikes(&self, call: &'static str) -> bool {
        let mut plan = self.0.lock();
        let Some((times, panics)) = plan.get_mut(call).filter(|(times, _)| *times > 0) else {
            return false;
        };
        *times -= 1;
        let panics = *panics;
        drop(plan);
        assert!(!panics, "{call} panics on demand");
        true
    }

    pub(super) fn store(&self, call: &'static str) -> Result<(), StoreError> {
        if self.strikes(call) {
            Err(StoreError::Unavailable(format!("{call} fails on demand")))
        } else {
            Ok(())
        }
    }

    pub(super) fn source(&self, call: &'static str) -> Result<(), LogError> {
        let fault = || LogError::Transient(Cause::Unclear, format!("{call} fails on demand"));
        if self.strikes(call) { Err(fault()) } else { Ok(()) }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.lock().values().all(|(times, _)| *times == 0)
    }
}

/// A log of one partition with a fixed end.
pub(super) struct FixedSurvey {
    pub(super) plan: Plan,
    /// End of the partition.
    pub(super) end: u64,
}

impl Survey for FixedSurvey {
    fn topic(&self, _: Duration) -> Result<Option<String>, LogError> {
        self.plan.source("topic")?;
        Ok(None)
    }

    fn ask(&self, _: Duration) -> Result<Surveyed, LogError> {
        self.plan.source("bounds")?;
        Ok(Surveyed {
            topic: None,
            bounds: vec![Bounds { partition: 0, start: 0, end: self.end, open: 0 }],
        })
    }
}

/// A store that fails as planned.
pub(super) struct FailingStore {
    pub(super) plan: Plan,
    pub(super) inner: EmbeddedStore,
}

impl FailingStore {
    /// One on an empty database.
    pub(super) fn new(database: &Database, plan: &Plan) -> FailingStore {
        let inner = EmbeddedStore::open(database.clone(), Durability::Process, 1 << 30).unwrap();
        FailingStore { plan: plan.clone(), inner }
    }
}

impl Store for FailingStore {
    fn create(&self, revision: &RevisionId, meta: &[u8]) -> Result<Life, StoreError> {
        self.plan.store("create")?;
        self.inner.create(revision, meta)
    }

    fn stored(&self, revision: &RevisionId) -> Result<Option<StoredRevision>, StoreError> {
        self.inner.stored(revision)
    }

    fn current(&self, metric: &str) -> Result<Option<RevisionId>, StoreError> {
        self.plan.store("current")?;
        self.inner.current(metric)
    }

    fn point(
        &self,
        expected: Option<&RevisionId>,
        revision: &RevisionId,
    ) -> Result<bool, StoreError> {
        self.plan.store("point")?;
        self.inner.point(expected, revision)
    }

    fn metrics(&self) -> Result<Vec<String>, StoreError> {
        self.inner.metrics()
    }

    fn revisions(&self, metric: &str) -> Result<Vec<RevisionId>, StoreError> {
        self.inner.revisions(metric)
    }

    fn begun(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.begun()
    }

    fn begin(&self, how: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.inner.begin(how)
    }

    fn remove(&self, revision: &RevisionId) -> Result<bool, StoreError> {
        self.inner.remove(revision)
    }

    fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitAnswer>, StoreError> {
        self.plan.store("commit")?;
        if let Some(bucket) = self.inner.buckets(&commits[0].revision)?.first().copied()
            && self.plan.strikes("full")
        {
            return Ok(commits.iter().map(|_| CommitAnswer::Full(bucket)).collect());
        }
        let answers = self.inner.commit(commits)?;
        // Applied, and the answer is lost.
        self.plan.store("committed")?;
        Ok(answers)
    }

    fn read(&self, revision: &RevisionId, known: &[Known]) -> Result<Option<Reading>, StoreError> {
        self.plan.store("read")?;
        self.inner.read(revision, known)
    }

    fn buckets(&self, revision: &RevisionId) -> Result<Vec<Bucket>, StoreError> {
        self.plan.store("buckets")?;
        self.inner.buckets(revision)
    }

    fn sizes(&self, revision: &RevisionId) -> Result<Vec<BucketSize>, StoreError> {
        self.plan.store("buckets")?;
        self.inner.sizes(revision)
    }

    fn compact(&self, compaction: &Compaction) -> Result<CompactAnswer, StoreError> {
        self.plan.store("compact")?;
        self.inner.compact(compaction)
    }

    fn split(&self, split: &Split) -> Result<SplitAnswer, StoreError> {
        self.inner.split(split)
    }
}
