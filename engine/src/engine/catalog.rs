//! Which metrics are served now: the revisions that answer, the newer ones that replace them once
//! they have counted as far, retired metrics, and refused files. Data behind one lock that is held
//! briefly; only the plugin manager changes it (`lifecycle`).

use super::notices::{another_revision_is_current, events_failed, keys_limited};
use super::{Beside, Cost, MetricInfo, MetricState, Rejected, SectionInfo, watchdog};
use crate::config::EventsConfig;
use crate::event::Position;
use crate::pipeline::{Coverage, FOLLOWED, Follower, LaneStatus, Target, View};
use crate::progress::{Halt, History, RevisionNo};
use crate::query::Askable;
use crate::state::{MetricId, State};
use crate::store::RevisionId;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tally_plugin::ask::Warning;
use tally_plugin::description::Description;

/// The notice of a metric that holds nothing because what is stored of it is being loaded.
const LOADING: &str = "its state is being loaded from the store";

/// A revision of a metric that is counted.
pub(super) struct ServedRevision {
    pub(super) askable: Askable,
    /// Its number in the state.
    pub(super) id: MetricId,
    /// Its number in the lanes.
    pub(super) no: RevisionNo,
    pub(super) revision: RevisionId,
    /// Where it begins on partitions that it never counted.
    pub(super) history: History,
    /// How it reads events, if that is not as configured now.
    pub(super) reads: Option<Arc<EventsConfig>>,
    /// The stored description of its tables.
    pub(super) meta: Vec<u8>,
    /// Answers come from this if engines share the store, otherwise from the lane's view.
    pub(super) follower: Option<Arc<Follower>>,
    /// With the time params in its params schema.
    pub(super) description: Arc<Description>,
    pub(super) result_schema: Arc<serde_json::Value>,
    /// Which lane counts it; shared by all code of this revision.
    pub(super) stage: Arc<RwLock<Stage>>,
    /// Set before its memory is freed; shared likewise.
    pub(super) gone: Arc<AtomicBool>,
}

/// Which lane counts a metric.
#[derive(Clone, Default)]
pub(super) enum Stage {
    /// The main one.
    #[default]
    Main,
    /// None: it waits for a lane of its own; the sentence says what for.
    Waiting(Arc<str>),
    /// One that replays history for it.
    Backfill {
        /// The status of that lane.
        status: Arc<LaneStatus>,
        /// Seconds to go, if known.
        eta_s: Option<u64>,
    },
    /// One that was asked to release it, and has not answered yet.
    Leaving {
        /// The status of that lane.
        status: Arc<LaneStatus>,
        /// Why it is stopped, if it is.
        halt: Option<Halt>,
    },
    /// None: it stopped while it counted history, and released its lane for others.
    Stopped {
        /// Why.
        halt: Halt,
        /// Since when.
        since: Instant,
    },
}

/// What a person decided on a newer revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PromotionWish {
    /// A person has to promote it.
    pub(super) waits: bool,
    /// It shall answer although its history is shorter; its code had failed on so many events when
    /// that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<u64>,
}

/// A newer revision than the one that answers.
#[derive(Clone)]
pub(super) struct NewerRevision {
    pub(super) served: Arc<ServedRevision>,
    /// What a person decided on it.
    pub(super) wish: PromotionWish,
    /// Why it is not promoted by itself, as of the last pass.
    pub(super) held: Option<String>,
    /// How far the answering revision had counted at the last pass.
    pub(super) goal: Option<Position>,
    /// Whether it had counted as far as the answering one at the last pass.
    pub(super) ready: bool,
}

impl NewerRevision {
    pub(super) fn new(served: Arc<ServedRevision>, wish: PromotionWish) -> NewerRevision {
        NewerRevision { served, wish, held: None, goal: None, ready: false }
    }
}

/// The revision that answered before, and receives events for a while longer.
#[derive(Clone)]
pub(super) struct PreviousRevision {
    pub(super) served: Arc<ServedRevision>,
    /// As an instant: a change of the clock does not move it.
    pub(super) until: Instant,
    /// The same in Unix milliseconds, which outlives the engine.
    pub(super) until_ms: i64,
}

/// A metric that is no longer served.
#[derive(Clone)]
pub(super) struct Retired {
    pub(super) info: MetricInfo,
    /// Its revisions that were counted.
    pub(super) revisions: Vec<RevisionId>,
}

/// All metrics, by name.
#[derive(Default)]
pub(super) struct MetricCatalog {
    pub(super) answering: BTreeMap<String, Arc<ServedRevision>>,
    pub(super) newer: BTreeMap<String, NewerRevision>,
    pub(super) previous: BTreeMap<String, PreviousRevision>,
    pub(super) retired: BTreeMap<String, Retired>,
    /// Metrics whose current revision is another engine's, with that revision.
    pub(super) foreign: BTreeMap<String, u64>,
    pub(super) rejected: Vec<Rejected>,
    /// The sections of the configuration and of the data directory.
    pub(super) sections: Arc<Vec<SectionInfo>>,
    /// Plugin contents in memory.
    pub(super) loaded: usize,
}

impl MetricCatalog {
    /// Every revision that is counted, or waits to be.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ServedRevision>> {
        let next = self.newer.values().map(|next| &next.served);
        self.answering
            .values()
            .chain(next)
            .chain(self.previous.values().map(|before| &before.served))
    }

    /// The revision that has this number in the lanes.
    pub(super) fn find(&self, no: RevisionNo) -> Option<Arc<ServedRevision>> {
        self.all().find(|served| served.no == no).cloned()
    }

    /// Gives the role of a revision to the same revision in another lane.
    pub(super) fn put_in_place_of(
        &mut self,
        before: &Arc<ServedRevision>,
        served: &Arc<ServedRevision>,
    ) {
        let name = served.askable.plugin.name();
        let is = |other: &Arc<ServedRevision>| Arc::ptr_eq(other, before);
        if let Some(next) = self.newer.get_mut(name).filter(|next| is(&next.served)) {
            // What the last pass found was about the other one.
            *next = NewerRevision::new(served.clone(), next.wish);
        }
        let fed = self.previous.get_mut(name).map(|fed| &mut fed.served);
        fed.into_iter()
            .chain(self.answering.get_mut(name))
            .filter(|place| is(place))
            .for_each(|place| *place = served.clone());
    }

    /// Everything that is known of a served metric.
    pub(super) fn info(
        &self,
        served: &ServedRevision,
        view: &View,
        main: &LaneStatus,
    ) -> MetricInfo {
        let name = served.askable.plugin.name();
        let stalled = watchdog::stalled(self, served, main);
        let stalled = stalled.map(|why| {
            format!("counting_stalled: {why}, and nothing is counted meanwhile; see /readyz")
        });
        let other = self.foreign.get(name).map(|other| another_revision_is_current(*other));
        let info = served.info(view, main);
        let notices: Vec<String> =
            stalled.into_iter().chain(other).chain(info.notice.clone()).collect();
        let newer = self.newer.get(name);
        let newer = newer.map(|next| next.served.beside(view, main, next.held.clone(), None));
        let before = self.previous.get(name);
        let before =
            before.map(|before| before.served.beside(view, main, None, Some(before.until_ms)));
        let notice = (!notices.is_empty()).then(|| notices.join("; "));
        MetricInfo { notice, newer, before, ..info }
    }

    /// Why a metric that the configuration names is not served.
    pub(super) fn refusal(&self, name: &str) -> Option<String> {
        let section = format!("[metrics.{name}]");
        let refused = self.rejected.iter().find(|refused| refused.file == section)?;
        Some(format!("{section} was refused: {}", refused.reason))
    }
}

impl ServedRevision {
    /// Per partition where it began and which records it skipped, and how far it has counted.
    pub(super) fn coverages(&self, view: &View) -> (BTreeMap<u32, Coverage>, Position) {
        match &self.follower {
            None => {
                let counted = view.read();
                let progress = &counted.metrics[self.id.0];
                (progress.coverages.clone(), progress.position.clone())
            }
            Some(follower) => {
                let followed = follower.read();
                (followed.coverages.clone(), followed.position.clone())
            }
        }
    }

    /// Whether its stored state was read. `refresh`: where engines share a store, reads it first.
    pub(super) fn is_read(&self, view: &View, refresh: bool) -> bool {
        match &self.follower {
            None => view.read().metrics[self.id.0].is_known(),
            Some(follower) => !refresh || follower.refresh(Instant::now()).is_ok(),
        }
    }

    /// Up to where it has to count before its history is complete.
    pub(super) fn target(&self, view: &View) -> Target {
        match &self.follower {
            None => view.read().metrics[self.id.0].target.clone(),
            Some(follower) => follower.read().target.clone(),
        }
    }

    /// Whether its lane waits for the log to say how far it has to count.
    pub(super) fn is_unbounded(&self, view: &View, main: &LaneStatus) -> bool {
        let counts = self.waits_for().is_none() && self.halt(main).is_none();
        counts && self.target(view).is_unknown()
    }

    /// Whether what is stored of it is being loaded; until it is, it holds nothing.
    fn is_loading(&self, view: &View) -> bool {
        self.follower.is_none() && view.read().metrics[self.id.0].in_doubt
    }

    /// A summary of it, shown beside the revision that answers.
    fn beside(
        &self,
        view: &View,
        main: &LaneStatus,
        held: Option<String>,
        until: Option<i64>,
    ) -> Beside {
        let MetricInfo { version, state, since, failed, .. } = self.info(view, main);
        Beside { id: self.number(), version, state, since, failed, held, until }
    }

    /// Its revision as it is shown to people.
    pub(super) fn number(&self) -> String {
        number(&self.revision)
    }

    /// Whether its memory was freed, or is about to be: look the metric up again.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Why it is stopped, if it is.
    pub(super) fn halt(&self, main: &LaneStatus) -> Option<Halt> {
        match &*self.stage.read() {
            Stage::Stopped { halt, .. } | Stage::Leaving { halt: Some(halt), .. } => {
                return Some(halt.clone());
            }
            _ => {}
        }
        self.status(main, |status| status.read(|status| status.halts.get(&self.id).cloned()))
    }

    /// What it waits for before its history is counted, if it does.
    fn waits_for(&self) -> Option<String> {
        match &*self.stage.read() {
            Stage::Waiting(what) => Some(what.to_string()),
            _ => None,
        }
    }

    /// Whether it is stopped in a lane of its own. One that is stopped in the main lane is reported
    /// with that lane.
    pub(super) fn is_halted_beside(&self) -> bool {
        match &*self.stage.read() {
            Stage::Backfill { status, .. } => {
                status.read(|status| status.halts.contains_key(&self.id))
            }
            Stage::Leaving { halt, .. } => halt.is_some(),
            Stage::Stopped { .. } => true,
            Stage::Main | Stage::Waiting(_) => false,
        }
    }

    /// Reads the status of the lane that counts it.
    pub(super) fn status<T>(&self, main: &LaneStatus, look: impl Fn(&LaneStatus) -> T) -> T {
        match &*self.stage.read() {
            Stage::Backfill { status, .. } | Stage::Leaving { status, .. } => look(status),
            Stage::Main | Stage::Waiting(_) | Stage::Stopped { .. } => look(main),
        }
    }

    /// The word for its state, as [`info`](Self::info) has it, without measuring anything.
    pub(super) fn state_word(&self, view: &View, main: &LaneStatus) -> &'static str {
        let behind = match &self.follower {
            None => {
                let counted = view.read();
                let progress = &counted.metrics[self.id.0];
                progress.target.completed(&progress.position, &progress.coverages)
            }
            Some(follower) => {
                let followed = follower.read();
                followed.target.completed(&followed.position, &followed.coverages)
            }
        };
        match (self.halt(main), behind) {
            (Some(_), _) => "quarantined",
            (None, Some(_)) => "backfilling",
            (None, None) => "active",
        }
    }

    /// Everything that is known of it.
    pub(super) fn info(&self, view: &View, main: &LaneStatus) -> MetricInfo {
        let plugin = &self.askable.plugin;
        let tables = &self.description.tables;
        let (history, state, since, cost, limited, failed) = self.summarize(view, main);
        let limited = limited.iter().map(|limited| match limited.more.get("column") {
            None => "keys_limited: some keys count together under __other__".to_owned(),
            Some(_) => "keys_limited: some event types count together under __other__".to_owned(),
        });
        let left_out = (failed > 0)
            .then(|| format!("events_failed: {}", events_failed(plugin.name(), failed)));
        let loads = matches!(state, MetricState::Backfilling { .. }) && self.is_loading(view);
        let loads = loads.then(|| LOADING.to_owned());
        let notices: Vec<String> =
            self.waits_for().into_iter().chain(loads).chain(left_out).chain(limited).collect();
        MetricInfo {
            name: plugin.name().to_owned(),
            version: plugin.version().to_owned(),
            plugin: plugin.plugin().to_owned(),
            file: plugin.file().clone(),
            description: self.description.clone(),
            config: plugin.config().clone(),
            state,
            notice: (!notices.is_empty()).then(|| notices.join("; ")),
            failed,
            newer: None,
            before: None,
            since,
            history,
            cost,
            tiers: tables
                .iter()
                .map(|table| table.tiers.clone())
                .max_by_key(Vec::len)
                .unwrap_or_default(),
        }
    }

    fn summarize(
        &self,
        view: &View,
        main: &LaneStatus,
    ) -> (super::History, MetricState, i64, Cost, Vec<Warning>, u64) {
        let halt = self.halt(main);
        let counted = view.read();
        let progress = &counted.metrics[self.id.0];
        let ns_per_event = if progress.events == 0 {
            0.0
        } else {
            progress.spent_ns as f64 / progress.events as f64
        };
        let declares = !self.description.properties.is_empty();
        let unreadable = declares.then(|| progress.unreadable.iter().sum());
        let status = |state: &State,
                      id,
                      position: &Position,
                      target: &Target,
                      coverages: &BTreeMap<u32, Coverage>| {
            let (cells, bytes) = state.size(id);
            let from = state.times(id).map(|(first, _)| first);
            let behind = target.completed(position, coverages);
            let cost = Cost { ns_per_event, cells, bytes, unreadable };
            (behind, from, cost, keys_limited(state, id), Coverage::failed(coverages))
        };
        let (mut behind, from, mut cost, limited, failed) = match &self.follower {
            None => status(
                &counted.state,
                self.id,
                &progress.position,
                &progress.target,
                &progress.coverages,
            ),
            Some(follower) => {
                let followed = follower.read();
                status(
                    &followed.state,
                    FOLLOWED,
                    &followed.position,
                    &followed.target,
                    &followed.coverages,
                )
            }
        };
        if self.follower.is_some() {
            // What its lane has counted and not committed.
            cost.bytes += counted.state.size(self.id).1;
        } else if progress.in_doubt {
            // What is stored of it is being loaded, and until it is, it holds nothing.
            behind = behind.or(Some(0.0));
        }
        let eta_s = match &*self.stage.read() {
            Stage::Backfill { eta_s, .. } => *eta_s,
            _ => None,
        };
        let state = match (halt, behind) {
            (Some(halt), _) => MetricState::Quarantined(halt.to_string()),
            (None, Some(done)) => MetricState::Backfilling { done, eta_s },
            (None, None) => MetricState::Active,
        };
        (
            super::History { complete: behind.is_none(), from },
            state,
            progress.since,
            cost,
            limited,
            failed,
        )
    }
}

/// A revision as it is shown to people: 16 hexadecimal digits.
pub(super) fn number(revision: &RevisionId) -> String {
    format!("{:016x}", revision.fingerprint)
}
