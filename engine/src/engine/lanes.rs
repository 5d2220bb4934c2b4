//! What lanes are made of, and metrics for them: everything that is opened once and shared by the main lane and by those
//! that replay history.

use super::StartError;
use super::catalog::{ServedRevision, Stage};
use super::crash_suspects::{self, CrashSuspects};
use super::first_offsets::first_offsets;
use super::lifecycle::Reading;
use crate::config::EventsConfig;
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::feed::Feed;
use crate::pipeline::{self, Board, FOLLOWED, Follower, Handle, LaneMetric, Marks, Parts, Place, Role, Room, View};
use crate::plugin;
use crate::progress::{History, RevisionNo, Settings};
use crate::query::{Answers, Askable, Limits};
use crate::revision::revision;
use crate::source::{Log, Source};
use crate::state::{Folds, MetricId, TypeLimit};
use crate::store::{RevisionId, Store};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tally_plugin::description::Description;

/// A lane that replays history makes durable what it counted this often, at least: nobody waits for it.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// Makes lanes.
pub(super) struct Lanes {
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
    /// The main lane's board.
    pub(super) board: Arc<Board>,
    /// Names of the metrics that were found when the engine started.
    pub(super) first: Vec<String>,
    /// The next metric's number in the lanes.
    pub(super) next: AtomicU32,
    /// Answers of all metrics.
    pub(super) answers: Arc<Answers>,
    /// What answers may cost.
    pub(super) limits: Limits,
    /// How much memory state may take.
    pub(super) room: Arc<Room>,
    /// Where folds of all metrics are kept.
    pub(super) folds: Arc<Folds>,
    /// Revisions that answer and that the store does not note yet, by metric.
    pub(super) unnoted: Mutex<BTreeMap<String, RevisionId>>,
    /// Where calls of plugins leave marks, if that is possible.
    pub(super) marks: Option<Marks>,
    /// Who ended the process before.
    pub(super) crash_suspects: CrashSuspects,
}

impl Lanes {
    /// Gives a metric its place in state and makes it askable; it is not in a lane yet. It may read events otherwise than is configured now.
    pub(super) fn serve(&self, reading: &Reading, view: &View, place: Place) -> Result<ServedRevision, String> {
        let Reading { plugin, reads } = reading;
        let reads = reads.clone();
        // What may fail first: a place in state is for ever.
        self.askable(FOLLOWED, plugin)?;
        let (revision, meta) = self.revision_and_meta(reading);
        // What is counted goes on from there. So a log that cannot be asked now puts no other revision in the place of this one; a
        // partition that is new counts from its start.
        let counted = || matches!(self.store.stored(&revision), Ok(Some(stored)) if !stored.progress.is_empty());
        let history = self.history(plugin).or_else(|why| if counted() { Ok(History::Whole) } else { Err(why) })?;
        let id = view.add(plugin.description(), place);
        let events = reads.as_deref().unwrap_or(&self.events);
        let follow = || {
            let types = TypeLimit::new(events.max_types, events.kept_types());
            let follower = Follower::with_types(self.store.clone(), revision.clone(), plugin.description(), types);
            Arc::new(follower.within(self.room.clone(), id).keeping(self.folds.clone()))
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

    fn askable(&self, id: MetricId, plugin: &Arc<plugin::Metric>) -> Result<Askable, String> {
        Askable::new(id, plugin.clone(), &self.answers, &self.limits)
    }

    /// Where a metric begins on partitions that it never counted.
    fn history(&self, plugin: &plugin::Metric) -> Result<History, String> {
        let first = first_offsets(&*self.store, &*self.log, &self.first, plugin.name());
        if let Some(starts) = first.map_err(|fault| format!("where it begins is not known: {fault}"))? {
            return Ok(History::From(starts));
        }
        let since = match plugin.history() {
            plugin::History::All => return Ok(History::Whole),
            plugin::History::None => i64::MAX,
            plugin::History::Last(length) => {
                let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                self.view.clock().now().saturating_sub(length)
            }
        };
        let starts = self.log.starts(since);
        Ok(History::From(starts.map_err(|fault| format!("where its history begins cannot be asked: {fault}"))?))
    }

    /// The revision of a metric, and what is stored of its tables.
    pub(super) fn revision(&self, plugin: &plugin::Metric) -> (RevisionId, Vec<u8>) {
        revision(plugin, &self.events)
    }

    /// The revision of a metric that may read events otherwise than is configured now.
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
            blamed: self.crash_suspects.blame(&served.revision, &code),
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
        self.start(source, metrics, feed, Role::Main, self.board.clone(), &self.events).map_err(StartError)
    }

    /// Starts a lane that replays history for these metrics, on the partitions that the main lane holds.
    pub(super) fn backfill(&self, metrics: &[Arc<ServedRevision>]) -> Result<(Handle, Arc<Board>), String> {
        self.second(metrics, Role::Backfill, &self.events)
    }

    /// Starts a lane for a metric that reads events otherwise than is configured now: it follows the log beside the main one.
    pub(super) fn beside(&self, metric: &Arc<ServedRevision>) -> Result<(Handle, Arc<Board>), String> {
        let events = metric.reads.clone();
        self.second(std::slice::from_ref(metric), Role::Beside, events.as_deref().unwrap_or(&self.events))
    }

    fn second(
        &self,
        metrics: &[Arc<ServedRevision>],
        role: Role,
        events: &EventsConfig,
    ) -> Result<(Handle, Arc<Board>), String> {
        let main = self.board.clone();
        let wanted = move || main.look(|standing| standing.held.clone());
        let source = self.log.replay(Box::new(wanted)).map_err(|fault| fault.to_string())?;
        let board = Arc::new(Board::default());
        let handle = self.start(source, metrics, None, role, board.clone(), events)?;
        Ok((handle, board))
    }

    fn start(
        &self,
        source: Box<dyn Source>,
        metrics: &[Arc<ServedRevision>],
        feed: Option<Arc<Feed>>,
        role: Role,
        board: Arc<Board>,
        events: &EventsConfig,
    ) -> Result<Handle, String> {
        let checkpoint = if role == Role::Backfill { self.checkpoint.max(CHECKPOINT) } else { self.checkpoint };
        let dedupe_window = events.dedupe_window;
        let parts = Parts {
            source,
            survey: self.log.survey(),
            store: self.store.clone(),
            shared: self.shared,
            view: self.view.clone(),
            board,
            room: self.room.clone(),
            role,
            metrics: metrics.iter().map(|served| self.metric(served)).collect(),
            settings: Settings { dedupe_window, ..self.settings.clone() },
            decoder: Decoder::new(events)?,
            dead_letters: self.dead_letters.clone(),
            feed,
            checkpoint,
            topic: self.log.name().to_owned(),
            mark: self.marks.as_ref().and_then(Marks::slot).map(Arc::new),
        };
        pipeline::start(parts).map_err(|fault| format!("no thread can be started: {fault}"))
    }

    /// Points again at revisions that the store did not note.
    pub(super) fn note_again(&self) {
        let unnoted: Vec<RevisionId> = self.unnoted.lock().values().cloned().collect();
        unnoted.iter().for_each(|revision| self.answers_now(revision));
    }

    /// Nobody answers for this metric any more.
    pub(super) fn forget_note(&self, metric: &str) {
        self.unnoted.lock().remove(metric);
    }

    /// Points at a revision as the one that answers for its metric; where the store does not note it, later.
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
                        "the store does not note the current revision: {fault}; trying again"
                    );
                }
            }
        }
    }
}

impl ServedRevision {
    /// The same revision with other code.
    pub(super) fn with_code(&self, plugin: &Arc<plugin::Metric>) -> Result<ServedRevision, String> {
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
