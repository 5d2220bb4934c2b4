//! Puts everything that is served into plain data, from which a step of a pass is decided.
//!
//! It reads locks, lane statuses and clocks and, where engines share a store, that store; it
//! changes nothing but measurements. What is costly to observe is observed only for the step that
//! needs it.

use super::lane_pool::RunningLane;
use super::manager::PluginManager;
use super::reconcile::Step;
use super::snapshot::{
    CodeId, CountedSnapshot, LaneSnapshot, LoadState, MainLane, MemorySnapshot, MetricSnapshot,
    NewerSnapshot, Placement, PreviousSnapshot, RevisionSnapshot, Snapshot,
};
use crate::engine::catalog::{
    MetricCatalog, NewerRevision, PreviousRevision, ServedRevision, Stage,
};
use crate::engine::watchdog::STUCK;
use crate::host;
use crate::pipeline::{FOLLOWED, StatusSnapshot, Target};
use crate::progress::{Halt, Quarantine};
use std::sync::Arc;
use std::time::Instant;

/// The revisions of a metric, as they are in the catalogue.
struct MetricRevisions {
    name: String,
    answering: Arc<ServedRevision>,
    newer: Option<NewerRevision>,
    previous: Option<PreviousRevision>,
}

impl CodeId {
    /// Each load of a plugin's code has its own.
    pub(super) fn of(plugin: &Arc<host::Metric>) -> CodeId {
        CodeId(Arc::as_ptr(plugin) as usize)
    }
}

impl PluginManager {
    /// Everything that is served, as far as this step needs it.
    pub(super) fn observe(&self, step: Step<'_>) -> Snapshot {
        let roles = all_revisions(&self.catalog.read());
        let turns = matches!(step, Step::Versions);
        let mut metrics: Vec<(String, MetricSnapshot)> = roles
            .iter()
            .map(|roles| (roles.name.clone(), self.observe_metric(roles, turns, true)))
            .collect();
        let mut memory = MemorySnapshot::default();
        if matches!(step, Step::Memory) {
            let all =
                roles.iter().zip(&mut metrics).flat_map(|(roles, (_, metric))| roles.pair(metric));
            let stopped: Vec<_> = all.filter(|(_, revision)| revision.halt.is_some()).collect();
            stopped.iter().for_each(|(served, _)| self.release_moments(served));
            let starved: Vec<_> =
                stopped.into_iter().filter(|(_, revision)| revision.is_over_memory()).collect();
            if !starved.is_empty() {
                for (served, revision) in starved {
                    self.measure_memory(served);
                    revision.in_memory = self.holds_some(served);
                }
                let memory_share = &self.factory.memory_share;
                let (held, limit) = memory_share.used();
                memory = MemorySnapshot {
                    held,
                    limit,
                    has_room: memory_share.has_room(true),
                    has_room_to_load: memory_share.has_room(false),
                };
            }
        }
        let main =
            self.status.read(|main| MainLane { assigned: main.assigned, held: main.held.clone() });
        Snapshot {
            metrics: metrics.into_iter().collect(),
            lanes: self.pool.lanes.iter().map(observe_lane).collect(),
            main,
            leaving: self
                .leaving
                .iter()
                .map(|leaving| leaving.what.served.revision.clone())
                .collect(),
            memory,
        }
    }

    /// One metric, as an order needs it: what it has counted, as of the last read.
    pub(super) fn observe_one(&self, name: &str) -> Option<MetricSnapshot> {
        let roles = revisions_of(&self.catalog.read(), name)?;
        Some(self.observe_metric(&roles, true, false))
    }

    /// `turns`: with what the revisions have counted, if there is a newer one. `refresh`: reads
    /// that from a shared store first; otherwise it is as of the last read.
    fn observe_metric(
        &self,
        roles: &MetricRevisions,
        turns: bool,
        refresh: bool,
    ) -> MetricSnapshot {
        let MetricRevisions { answering, newer, previous, .. } = roles;
        let counted = turns && newer.is_some();
        MetricSnapshot {
            answering: self.observe_revision(answering, counted.then_some(refresh)),
            newer: newer.as_ref().map(|newer| NewerSnapshot {
                version: self.observe_revision(&newer.served, counted.then_some(refresh)),
                wish: newer.wish,
                goal: newer.goal.clone(),
                ready: newer.ready,
            }),
            previous: previous.as_ref().map(|previous| PreviousSnapshot {
                version: self.observe_revision(&previous.served, None),
                left: previous.until.saturating_duration_since(Instant::now()),
            }),
        }
    }

    fn observe_revision(&self, served: &ServedRevision, counted: Option<bool>) -> RevisionSnapshot {
        RevisionSnapshot {
            no: served.no,
            revision: served.revision.clone(),
            code: CodeId::of(&served.askable.plugin),
            reads_otherwise: served.reads.is_some(),
            place: place(&served.stage.read()),
            halt: served.halt(&self.status),
            counted: counted.map(|refresh| self.observe_counted(served, refresh)),
            in_memory: false,
            tried: self.tried.get(&served.revision).map(|tried| tried.now()),
        }
    }

    fn observe_counted(&self, served: &ServedRevision, refresh: bool) -> CountedSnapshot {
        let is_read = served.is_read(&self.view, refresh);
        // The read may have found that there is no room.
        let has_room = served.follower.as_ref().is_none_or(|follower| follower.refused().is_none());
        let load = match (has_room, is_read) {
            (true, true) => LoadState::Loaded,
            // One that is stopped may never be loaded: no other waits for that.
            (true, false) if served.halt(&self.status).is_none() => LoadState::Loading,
            _ => LoadState::Refused,
        };
        let (coverages, position) = served.coverages(&self.view);
        let is_whole = served.target(&self.view) == Target::Reached;
        CountedSnapshot { load, position, is_whole, coverages, shared: served.follower.is_some() }
    }

    /// Frees what a revision that is stopped keeps for reads that have ended: it counts nothing
    /// that would free it.
    fn release_moments(&self, served: &ServedRevision) {
        match &served.follower {
            Some(follower) => follower.read().state.release_moments(FOLLOWED),
            None => self.view.read().state.release_moments(served.id),
        }
    }

    /// Measures the memory of a revision that is stopped: its lane no longer does.
    fn measure_memory(&self, served: &ServedRevision) {
        match &served.follower {
            Some(follower) => follower.record_memory(),
            None => self.factory.memory_share.measure(served.id, || self.view.read().state.sizes()),
        }
    }

    fn holds_some(&self, served: &ServedRevision) -> bool {
        match &served.follower {
            None => !self.view.read().metrics[served.id.0].position.0.is_empty(),
            Some(follower) => !follower.read().position.0.is_empty(),
        }
    }
}

impl MetricRevisions {
    /// Each revision with its observation.
    fn pair<'a>(
        &'a self,
        metric: &'a mut MetricSnapshot,
    ) -> impl Iterator<Item = (&'a ServedRevision, &'a mut RevisionSnapshot)> {
        let newer = self.newer.as_ref().zip(metric.newer.as_mut());
        let newer = newer.map(|(newer, seen)| (&*newer.served, &mut seen.version));
        let previous = self.previous.as_ref().zip(metric.previous.as_mut());
        let previous = previous.map(|(previous, seen)| (&*previous.served, &mut seen.version));
        std::iter::once((&*self.answering, &mut metric.answering)).chain(newer).chain(previous)
    }
}

fn all_revisions(catalog: &MetricCatalog) -> Vec<MetricRevisions> {
    catalog.answering.keys().filter_map(|name| revisions_of(catalog, name)).collect()
}

fn revisions_of(catalog: &MetricCatalog, name: &str) -> Option<MetricRevisions> {
    Some(MetricRevisions {
        name: name.to_owned(),
        answering: catalog.answering.get(name)?.clone(),
        newer: catalog.newer.get(name).cloned(),
        previous: catalog.previous.get(name).cloned(),
    })
}

fn place(stage: &Stage) -> Placement {
    match stage {
        Stage::Main => Placement::Main,
        Stage::Waiting(_) => Placement::Waiting,
        Stage::Backfill { .. } => Placement::Lane,
        Stage::Leaving { .. } => Placement::Leaving,
        Stage::Stopped { since, .. } => Placement::Stopped(since.elapsed()),
    }
}

fn observe_lane(lane: &RunningLane) -> LaneSnapshot {
    let (held, ended) = lane
        .status
        .read(|status| (status.held.clone(), status.ended.then(|| why_it_ended(status))));
    let metrics = lane
        .metrics
        .iter()
        .map(|served| (served.no, lane.missing.get(&served.no).copied().unwrap_or(u64::MAX)));
    LaneSnapshot {
        id: lane.id,
        kind: lane.kind,
        metrics: metrics.collect(),
        held,
        stuck: lane.status.stuck(STUCK).is_some(),
        ended,
        tried: lane.tried.map(|tried| tried.elapsed()),
    }
}

/// Why a lane ended by itself.
fn why_it_ended(status: &StatusSnapshot) -> Halt {
    let failed = status.failed.as_ref().map(ToString::to_string);
    let why = failed
        .or_else(|| status.source_trouble.clone())
        .unwrap_or_else(|| "its lane ended".to_owned());
    Halt::Quarantined(Quarantine::Ended(why))
}
