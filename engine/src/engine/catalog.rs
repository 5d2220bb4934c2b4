//! Which metrics are served now: those that answer, those that take their place once they have counted as far, those that
//! are gone, and what was refused. Data behind one lock that is held briefly; only the plugin manager changes it (`lifecycle`).

use super::notices::{another_revision_is_current, events_failed, keys_limited};
use super::{Beside, Cost, MetricInfo, MetricState, Rejected, watchdog};
use crate::config::EventsConfig;
use crate::event::Position;
use crate::pipeline::{Board, FOLLOWED, Follower, Origin, View, done};
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
    /// How records become events in it, where that is not what is configured now.
    pub(super) reads: Option<Arc<EventsConfig>>,
    /// What its tables are, as stored.
    pub(super) meta: Vec<u8>,
    /// Where it is answered from if engines share the store; else from the lane's view.
    pub(super) follower: Option<Arc<Follower>>,
    /// With the time params in its params schema.
    pub(super) description: Arc<Description>,
    pub(super) result_schema: Arc<serde_json::Value>,
    /// Which lane counts it; shared by all code of this revision.
    pub(super) stage: Arc<RwLock<Stage>>,
    /// Set before what is held of it is dropped; shared likewise.
    pub(super) gone: Arc<AtomicBool>,
}

/// Which lane counts a metric.
#[derive(Clone, Default)]
pub(super) enum Stage {
    /// The main one.
    #[default]
    Main,
    /// It waits for a lane of its own; the sentence says for what.
    Waiting(Arc<str>),
    /// One that replays history for it.
    Backfill {
        /// How that lane stands.
        board: Arc<Board>,
        /// Seconds to go, if known.
        eta_s: Option<u64>,
    },
    /// The lane that counts it was told to let it go, and has not said yet that it has.
    Leaving {
        /// How that lane stands.
        board: Arc<Board>,
        /// Why it stands still, if it does.
        halt: Option<Halt>,
    },
    /// It stood still while it counted history, and gave its lane up to others.
    Stopped {
        /// Why.
        halt: Halt,
        /// Since when.
        since: Instant,
    },
}

/// What a person wants of a newer revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PromotionWish {
    /// A person has to promote it.
    pub(super) waits: bool,
    /// It shall answer although its history is shorter, and so many events failed in it when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<u64>,
}

/// A newer revision than the one that answers.
#[derive(Clone)]
pub(super) struct NewerRevision {
    pub(super) served: Arc<ServedRevision>,
    /// What a person wants of it.
    pub(super) wish: PromotionWish,
    /// Why it does not take its place by itself, as of the last look.
    pub(super) held: Option<String>,
    /// How far the one that answers had counted at the last look.
    pub(super) goal: Option<Position>,
    /// Whether it had counted as far as that one, at the last look.
    pub(super) ready: bool,
}

impl NewerRevision {
    pub(super) fn new(served: Arc<ServedRevision>, wish: PromotionWish) -> NewerRevision {
        NewerRevision { served, wish, held: None, goal: None, ready: false }
    }
}

/// The revision that answered before: fed on for a while.
#[derive(Clone)]
pub(super) struct PreviousRevision {
    pub(super) served: Arc<ServedRevision>,
    /// A clock that is set meanwhile changes nothing.
    pub(super) until: Instant,
    /// The same, Unix milliseconds: what outlives the engine.
    pub(super) until_ms: i64,
}

/// A metric that is no longer served.
#[derive(Clone)]
pub(super) struct Retired {
    pub(super) info: MetricInfo,
    /// Those of it that were counted.
    pub(super) revisions: Vec<RevisionId>,
}

/// All of it.
#[derive(Default)]
pub(super) struct MetricCatalog {
    pub(super) answering: BTreeMap<String, Arc<ServedRevision>>,
    pub(super) newer: BTreeMap<String, NewerRevision>,
    pub(super) previous: BTreeMap<String, PreviousRevision>,
    pub(super) retired: BTreeMap<String, Retired>,
    /// Metrics of which another engine's revision is the current one.
    pub(super) foreign: BTreeMap<String, u64>,
    pub(super) rejected: Vec<Rejected>,
    /// Plugin contents in memory.
    pub(super) loaded: usize,
}

impl MetricCatalog {
    /// Every revision that is counted, or waits to be.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ServedRevision>> {
        let next = self.newer.values().map(|next| &next.served);
        self.answering.values().chain(next).chain(self.previous.values().map(|before| &before.served))
    }

    /// The revision that has this number in the lanes.
    pub(super) fn find(&self, no: RevisionNo) -> Option<Arc<ServedRevision>> {
        self.all().find(|served| served.no == no).cloned()
    }

    /// Gives a revision's role to another lane's count of it.
    pub(super) fn put_in_place_of(&mut self, before: &Arc<ServedRevision>, served: &Arc<ServedRevision>) {
        let name = served.askable.plugin.name();
        let is = |other: &Arc<ServedRevision>| Arc::ptr_eq(other, before);
        if let Some(next) = self.newer.get_mut(name).filter(|next| is(&next.served)) {
            // What was found out at the last look was found out of the other.
            *next = NewerRevision::new(served.clone(), next.wish);
        }
        let fed = self.previous.get_mut(name).map(|fed| &mut fed.served);
        fed.into_iter()
            .chain(self.answering.get_mut(name))
            .filter(|place| is(place))
            .for_each(|place| *place = served.clone());
    }

    /// Everything that is known of a metric that is served.
    pub(super) fn info(&self, served: &ServedRevision, view: &View, main: &Board) -> MetricInfo {
        let name = served.askable.plugin.name();
        let stalled = watchdog::stalled(self, served, main);
        let stalled =
            stalled.map(|why| format!("counting_stalled: {why}, and nothing is counted meanwhile; see /readyz"));
        let other = self.foreign.get(name).map(|other| another_revision_is_current(*other));
        let info = served.info(view, main);
        let notices: Vec<String> = stalled.into_iter().chain(other).chain(info.notice.clone()).collect();
        let newer = self.newer.get(name);
        let newer = newer.map(|next| next.served.beside(view, main, next.held.clone(), None));
        let before = self.previous.get(name);
        let before = before.map(|before| before.served.beside(view, main, None, Some(before.until_ms)));
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
    /// Per partition where it began and what it passed over, and how far it has counted.
    pub(super) fn origins(&self, view: &View) -> (BTreeMap<u32, Origin>, Position) {
        match &self.follower {
            None => {
                let counted = view.read();
                let place = &counted.metrics[self.id.0];
                (place.origins.clone(), place.position.clone())
            }
            Some(follower) => {
                let followed = follower.read();
                (followed.origins.clone(), followed.position.clone())
            }
        }
    }

    /// Whether what is stored of it is in memory; of what there is no room for that is nothing. `refresh`: as it is at this moment, where
    /// engines share a store.
    pub(super) fn is_known(&self, view: &View, refresh: bool) -> bool {
        match &self.follower {
            None => view.read().metrics[self.id.0].is_known(),
            Some(follower) => !refresh || follower.refresh(Instant::now()).is_ok() || follower.refused().is_some(),
        }
    }

    /// What is known of it, short, where another revision answers.
    fn beside(&self, view: &View, main: &Board, held: Option<String>, until: Option<i64>) -> Beside {
        let MetricInfo { version, state, since, failed, .. } = self.info(view, main);
        Beside { id: self.number(), version, state, since, failed, held, until }
    }

    /// Its revision as people see it.
    pub(super) fn number(&self) -> String {
        number(&self.revision)
    }

    /// Whether what is held of it was dropped, or is about to be: look it up again.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Why it stands still, if it does.
    pub(super) fn halt(&self, main: &Board) -> Option<Halt> {
        match &*self.stage.read() {
            Stage::Stopped { halt, .. } | Stage::Leaving { halt: Some(halt), .. } => return Some(halt.clone()),
            _ => {}
        }
        self.board(main, |board| board.look(|standing| standing.halts.get(&self.id).cloned()))
    }

    /// What it waits for before its history is counted, if it does.
    fn waits_for(&self) -> Option<String> {
        match &*self.stage.read() {
            Stage::Waiting(what) => Some(what.to_string()),
            _ => None,
        }
    }

    /// Whether it stands still in a lane of its own: what stands still in the main one is told with all of it.
    pub(super) fn is_halted_beside(&self) -> bool {
        match &*self.stage.read() {
            Stage::Backfill { board, .. } => board.look(|standing| standing.halts.contains_key(&self.id)),
            Stage::Leaving { halt, .. } => halt.is_some(),
            Stage::Stopped { .. } => true,
            Stage::Main | Stage::Waiting(_) => false,
        }
    }

    /// Looks at the board of the lane that counts it.
    pub(super) fn board<T>(&self, main: &Board, look: impl Fn(&Board) -> T) -> T {
        match &*self.stage.read() {
            Stage::Backfill { board, .. } | Stage::Leaving { board, .. } => look(board),
            Stage::Main | Stage::Waiting(_) | Stage::Stopped { .. } => look(main),
        }
    }

    /// Everything that is known of it.
    pub(super) fn info(&self, view: &View, main: &Board) -> MetricInfo {
        let plugin = &self.askable.plugin;
        let tables = &self.description.tables;
        let (history, state, since, cost, limited, failed) = self.stands(view, main);
        let limited = limited.iter().map(|limited| match limited.more.get("column") {
            None => "keys_limited: some keys count together under __other__".to_owned(),
            Some(_) => "keys_limited: some event types count together under __other__".to_owned(),
        });
        let left_out = (failed > 0).then(|| format!("events_failed: {}", events_failed(plugin.name(), failed)));
        let notices: Vec<String> = self.waits_for().into_iter().chain(left_out).chain(limited).collect();
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
            tiers: tables.iter().map(|table| table.tiers.clone()).max_by_key(Vec::len).unwrap_or_default(),
        }
    }

    fn stands(&self, view: &View, main: &Board) -> (super::History, MetricState, i64, Cost, Vec<Warning>, u64) {
        let halt = self.halt(main);
        let counted = view.read();
        let place = &counted.metrics[self.id.0];
        let ns_per_event = if place.events == 0 { 0.0 } else { place.spent_ns as f64 / place.events as f64 };
        let declares = !self.description.properties.is_empty();
        let unreadable = declares.then(|| place.unreadable.iter().sum());
        let stands =
            |state: &State, id, position: &Position, target: &Option<Position>, origins: &BTreeMap<u32, Origin>| {
                let (cells, bytes) = state.size(id);
                let from = state.times(id).map(|(first, _)| first);
                let behind = target.as_ref().map(|target| done(position, target, origins));
                let cost = Cost { ns_per_event, cells, bytes, unreadable };
                (behind, from, cost, keys_limited(state, id), Origin::failed(origins))
            };
        let (behind, from, mut cost, limited, failed) = match &self.follower {
            None => stands(&counted.state, self.id, &place.position, &place.target, &place.origins),
            Some(follower) => {
                let followed = follower.read();
                stands(&followed.state, FOLLOWED, &followed.position, &followed.target, &followed.origins)
            }
        };
        if self.follower.is_some() {
            // What its lane counts until it is committed.
            cost.bytes += counted.state.size(self.id).1;
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
        (super::History { complete: behind.is_none(), from }, state, place.since, cost, limited, failed)
    }
}

/// A revision as people see it: 16 hexadecimal digits.
pub(super) fn number(revision: &RevisionId) -> String {
    format!("{:016x}", revision.fingerprint)
}
