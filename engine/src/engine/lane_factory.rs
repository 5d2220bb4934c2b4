//! Makes lanes, and metrics for them, from everything that is opened once: the main lane and those
//! that replay history share it.

use super::catalog::{ServedRevision, Stage};
use super::crash_suspects::{self, CrashSuspects};
use super::errors::{ServeError, StartError};
use super::first_offsets::first_offsets;
use super::lifecycle::Reading;
use crate::config::EventsConfig;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::feed::Feed;
use crate::host;
use crate::log::{Log, Source};
use crate::pipeline::{
    self, CallMarks, FOLLOWED, Follower, Handle, JudgedRanges, LaneMetric, LaneParts, LaneRole,
    LaneStatus, MemoryShare, MetricProgress, View,
};
use crate::progress::{History, RevisionNo, Settings};
use crate::query::{Answers, Askable, Limits, ParamsSchemaError};
use crate::revision::revision;
use crate::state::{Folds, MetricId, TypeLimit};
use crate::store::{RevisionId, Store};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tally_plugin::description::Description;

/// A lane that replays history commits no more often than this: nobody waits for it.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// Makes lanes.
pub(super) struct LaneFactory {
    /// What all lanes read.
    pub(super) log: Arc<dyn Log>,
    pub(super) store: Arc<dyn Store>,
    /// Whether other engines use the store too.
    pub(super) shared: bool,
    pub(super) settings: Settings,
    pub(super) events: EventsConfig,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) checkpoint: Duration,
    pub(super) view: Arc<View>,
    /// The main lane's status.
    pub(super) status: Arc<LaneStatus>,
    /// Names of the metrics that were found when the engine started.
    pub(super) first: Vec<String>,
    /// The next metric's number in the lanes.
    pub(super) next: AtomicU32,
    /// Answers of all metrics.
    pub(super) answers: Arc<Answers>,
    /// What answers may cost.
    pub(super) limits: Limits,
    /// How much memory state may take.
    pub(super) memory_share: Arc<MemoryShare>,
    /// Where folds of all metrics are kept.
    pub(super) folds: Arc<Folds>,
    /// Revisions that answer and that the store does not note yet, by metric.
    pub(super) unnoted: Mutex<BTreeMap<String, RevisionId>>,
    /// Where calls of plugins leave marks, if that is possible.
    pub(super) call_marks: Option<CallMarks>,
    /// Plugins that are blamed or suspected for the end of an earlier process.
    pub(super) crash_suspects: CrashSuspects,
}

impl LaneFactory {
    /// Gives a metric its place in state and makes it askable; it is not in a lane yet. It may read
    /// events by an earlier `[events]`.
    ///
    /// # Errors
    /// [`ServeError`]; nothing has changed then.
    pub(super) fn serve(
        &self,
        reading: &Reading,
        view: &View,
        progress: MetricProgress,
    ) -> Result<ServedRevision, ServeError> {
        let Reading { plugin, reads } = reading;
        let reads = reads.clone();
        // First what may fail: a place in state cannot be given back.
        self.askable(FOLLOWED, plugin)?;
        let (revision, meta) = self.revision_and_meta(reading);
        // A metric that has counted continues from there. So a log that does not answer now never
        // puts another revision in its place; a new partition is counted from its start.
        let counted = || matches!(self.store.stored(&revision), Ok(Some(stored)) if !stored.progress.is_empty());
        let history = self
            .history(plugin)
            .or_else(|why| if counted() { Ok(History::Whole) } else { Err(why) })?;
        let id = view.add(plugin.description(), progress);
        let events = reads.as_deref().unwrap_or(&self.events);
        let follow = || {
            let types = TypeLimit::new(events.max_types, events.kept_types());
            let follower = Follower::with_types(
                self.store.clone(),
                revision.clone(),
                plugin.description(),
                types,
            );
            Arc::new(
                follower
                    .with_memory_share(self.memory_share.clone(), id)
                    .with_folds(self.folds.clone()),
            )
        };
        let follower = self.shared.then(follow);
        let no = RevisionNo(self.next.fetch_add(1, Ordering::Relaxed));
        let askable = self.askable(if self.shared { FOLLOWED } else { id }, plugin)?;
        let description = described(&askable);
        let result_schema = Arc::new(description.result_schema.clone());
        let stage = Arc::new(RwLock::new(Stage::Main));
        let gone = Arc::new(AtomicBool::new(false));
        Ok(ServedRevision {
            history,
            reads,
            askable,
            id,
            no,
            revision,
            meta,
            follower,
            description,
            result_schema,
            stage,
            gone,
        })
    }

    fn askable(
        &self,
        id: MetricId,
        plugin: &Arc<host::Metric>,
    ) -> Result<Askable, ParamsSchemaError> {
        Askable::new(id, plugin.clone(), &self.answers, &self.limits)
    }

    /// Where a metric begins on partitions that it never counted.
    fn history(&self, plugin: &host::Metric) -> Result<History, ServeError> {
        if let Some(starts) = first_offsets(&*self.store, &*self.log, &self.first, plugin.name())? {
            return Ok(History::From(starts));
        }
        let since = match plugin.history() {
            host::History::All => return Ok(History::Whole),
            host::History::None => i64::MAX,
            host::History::Last(length) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                self.view.clock().now().saturating_sub(length)
            }
        };
        self.log.starts(since).map(History::From).map_err(ServeError::History)
    }

    /// The revision of a metric, and what is stored of its tables.
    pub(super) fn revision(&self, plugin: &host::Metric) -> (RevisionId, Vec<u8>) {
        revision(plugin, &self.events)
    }

    /// The revision of a metric that may read events by an earlier `[events]`.
    pub(super) fn revision_of(&self, reading: &Reading) -> RevisionId {
        self.revision_and_meta(reading).0
    }

    fn revision_and_meta(&self, reading: &Reading) -> (RevisionId, Vec<u8>) {
        revision(&reading.plugin, reading.reads.as_deref().unwrap_or(&self.events))
    }

    /// A metric as a lane takes it.
    pub(super) fn metric(&self, served: &ServedRevision) -> LaneMetric {
        let code = crash_suspects::code(&served.askable.plugin);
        LaneMetric {
            barred: self.crash_suspects.blame(&served.revision, &code),
            suspected: self.crash_suspects.suspected(&served.revision, &code),
            code,
            no: served.no,
            id: served.id,
            revision: served.revision.clone(),
            meta: served.meta.clone(),
            plugin: served.askable.plugin.clone(),
            history: served.history.clone(),
            follower: served.follower.clone(),
        }
    }

    /// Starts the main lane.
    pub(super) fn main(
        &self,
        source: Box<dyn Source>,
        metrics: &[Arc<ServedRevision>],
        feed: Option<Arc<Feed>>,
    ) -> Result<Handle, StartError> {
        let judging = (&self.events, JudgedRanges::default());
        self.start(source, metrics, feed, LaneRole::Main, self.status.clone(), judging)
    }

    /// Starts a lane that replays history for these metrics, on the partitions that the main lane
    /// holds. It writes no letters of what was `judged` before.
    pub(super) fn backfill(
        &self,
        metrics: &[Arc<ServedRevision>],
        judged: JudgedRanges,
    ) -> Result<(Handle, Arc<LaneStatus>), StartError> {
        self.second(metrics, LaneRole::Backfill, (&self.events, judged))
    }

    /// Starts a lane for a metric that reads events by an earlier `[events]`: it follows the log
    /// beside the main one.
    pub(super) fn beside(
        &self,
        metric: &Arc<ServedRevision>,
    ) -> Result<(Handle, Arc<LaneStatus>), StartError> {
        let events = metric.reads.clone();
        self.second(
            std::slice::from_ref(metric),
            LaneRole::Beside,
            (events.as_deref().unwrap_or(&self.events), JudgedRanges::default()),
        )
    }

    fn second(
        &self,
        metrics: &[Arc<ServedRevision>],
        role: LaneRole,
        judging: (&EventsConfig, JudgedRanges),
    ) -> Result<(Handle, Arc<LaneStatus>), StartError> {
        let main = self.status.clone();
        let wanted = move || main.read(|status| status.held.clone());
        let source = self.log.replay(Box::new(wanted))?;
        let status = Arc::new(LaneStatus::default());
        let handle = self.start(source, metrics, None, role, status.clone(), judging)?;
        Ok((handle, status))
    }

    fn start(
        &self,
        source: Box<dyn Source>,
        metrics: &[Arc<ServedRevision>],
        feed: Option<Arc<Feed>>,
        role: LaneRole,
        status: Arc<LaneStatus>,
        (events, judged): (&EventsConfig, JudgedRanges),
    ) -> Result<Handle, StartError> {
        let checkpoint = if role == LaneRole::Backfill {
            self.checkpoint.max(CHECKPOINT)
        } else {
            self.checkpoint
        };
        let dedupe_window = events.dedupe_window;
        let parts = LaneParts {
            source,
            survey: self.log.survey(),
            store: self.store.clone(),
            shared: self.shared,
            view: self.view.clone(),
            status,
            memory_share: self.memory_share.clone(),
            role,
            metrics: metrics.iter().map(|served| self.metric(served)).collect(),
            settings: Settings { dedupe_window, ..self.settings.clone() },
            decoder: Decoder::new(events)?,
            dead_letters: self.dead_letters.clone(),
            judged,
            feed,
            checkpoint,
            topic: self.log.name().to_owned(),
            call_mark: self.call_marks.as_ref().and_then(CallMarks::take_slot).map(Arc::new),
        };
        pipeline::start(parts).map_err(StartError::Thread)
    }

    /// Tries again to note current revisions that the store has not noted.
    pub(super) fn note_again(&self) {
        let unnoted: Vec<RevisionId> = self.unnoted.lock().values().cloned().collect();
        unnoted.iter().for_each(|revision| self.answers_now(revision));
    }

    /// Forgets to note a current revision of this metric: none answers any more.
    pub(super) fn forget_note(&self, metric: &str) {
        self.unnoted.lock().remove(metric);
    }

    /// Notes in the store that this revision answers for its metric; if that fails,
    /// [`LaneFactory::note_again`] tries again.
    pub(super) fn answers_now(&self, revision: &RevisionId) {
        let point = || {
            let current = self.store.current(&revision.metric)?;
            if current.as_ref() != Some(revision) {
                self.store.point(current.as_ref(), revision)?;
            }
            Ok::<_, crate::store::StoreError>(())
        };
        let noted = point();
        let mut unnoted = self.unnoted.lock();
        match noted {
            Ok(()) => drop(unnoted.remove(&revision.metric)),
            Err(fault) => {
                let known = unnoted.insert(revision.metric.clone(), revision.clone());
                if known.as_ref() != Some(revision) {
                    tracing::warn!(
                        metric = revision.metric,
                        "the current revision cannot be noted in the store, trying again: {fault}"
                    );
                }
            }
        }
    }
}

impl ServedRevision {
    /// The same revision with other code.
    pub(super) fn with_code(
        &self,
        plugin: &Arc<host::Metric>,
    ) -> Result<ServedRevision, ParamsSchemaError> {
        let askable = self.askable.with_code(plugin.clone())?;
        let description = described(&askable);
        Ok(ServedRevision {
            askable,
            id: self.id,
            no: self.no,
            revision: self.revision.clone(),
            history: self.history.clone(),
            reads: self.reads.clone(),
            meta: self.meta.clone(),
            follower: self.follower.clone(),
            result_schema: Arc::new(description.result_schema.clone()),
            description,
            stage: self.stage.clone(),
            gone: self.gone.clone(),
        })
    }
}

/// With the time params in its params schema.
fn described(askable: &Askable) -> Arc<Description> {
    let params_schema = askable.params.schema().clone();
    Arc::new(Description { params_schema, ..(**askable.plugin.description()).clone() })
}
