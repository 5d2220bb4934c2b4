//! Everything that is served, at one moment, as plain data, from which decisions are made.
//!
//! Contains no lock, clock or thread. `observe` fills it in; `reconcile` reads it.

use crate::engine::catalog::PromotionWish;
use crate::event::Position;
use crate::pipeline::Coverage;
use crate::progress::{Halt, Quarantine, RevisionNo};
use crate::store::RevisionId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which code a revision is counted with. Code that was loaded twice has two of these, even if its
/// text is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeId(pub(super) usize);

/// The metrics of the plugin folders and the configuration, by name.
pub(super) type Folder = BTreeMap<String, FolderMetric>;

/// A metric of the folders.
#[derive(Clone, Debug)]
pub(super) struct FolderMetric {
    pub(super) code: CodeId,
    pub(super) revision: RevisionId,
    /// Whether a person has to promote a newer revision of it.
    pub(super) manual: bool,
}

/// Everything that is served.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) metrics: BTreeMap<String, MetricSnapshot>,
    /// The lanes beside the main one that count something.
    pub(super) lanes: Vec<LaneSnapshot>,
    pub(super) main: MainLane,
    /// Revisions that a lane has not released yet.
    pub(super) leaving: Vec<RevisionId>,
    pub(super) memory: MemorySnapshot,
}

/// A metric.
#[derive(Clone, Debug)]
pub(super) struct MetricSnapshot {
    pub(super) answering: RevisionSnapshot,
    pub(super) newer: Option<NewerSnapshot>,
    pub(super) previous: Option<PreviousSnapshot>,
}

/// A revision.
#[derive(Clone, Debug)]
pub(super) struct RevisionSnapshot {
    pub(super) no: RevisionNo,
    pub(super) revision: RevisionId,
    pub(super) code: CodeId,
    /// It reads events by an earlier `[events]`, so it never joins the main lane.
    pub(super) reads_otherwise: bool,
    pub(super) place: Placement,
    /// Why it is stopped, if it is.
    pub(super) halt: Option<Halt>,
    /// Observed only for decisions that need it.
    pub(super) counted: Option<CountedSnapshot>,
    /// Whether any of it is in memory; observed only if it is stopped for lack of memory.
    pub(super) in_memory: bool,
    /// When it was last restarted for lack of memory, or found not to fit.
    pub(super) tried: Option<Tried>,
}

/// Where a revision is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// In the main lane.
    Main,
    /// Nowhere: it waits for a lane.
    Waiting,
    /// In a lane beside the main one.
    Lane,
    /// In a lane that has not released it yet.
    Leaving,
    /// Nowhere: it has been stopped for so long.
    Stopped(Duration),
}

/// What a revision has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedSnapshot {
    pub(super) load: LoadState,
    /// Of what is loaded.
    pub(super) position: Position,
    /// Whether its history is complete.
    pub(super) is_whole: bool,
    /// Per partition where counting began, and which records were skipped.
    pub(super) coverages: BTreeMap<u32, Coverage>,
    /// Whether other engines count it too.
    pub(super) shared: bool,
}

/// Whether what is stored of a revision is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LoadState {
    /// Not yet: what it has counted is unknown.
    #[default]
    Loading,
    /// It is.
    Loaded,
    /// It will not be as things are: there is no room for it, or the revision is stopped. Nobody
    /// waits for it, and what it has counted stays unknown.
    Refused,
}

/// A newer revision than the one that answers.
#[derive(Clone, Debug)]
pub(super) struct NewerSnapshot {
    pub(super) version: RevisionSnapshot,
    pub(super) wish: PromotionWish,
    /// How far the answering revision had counted at the last pass.
    pub(super) goal: Option<Position>,
    /// Whether it had reached the goal by then.
    pub(super) ready: bool,
}

/// The revision that answered before.
#[derive(Clone, Debug)]
pub(super) struct PreviousSnapshot {
    pub(super) version: RevisionSnapshot,
    /// How long it will still receive events.
    pub(super) left: Duration,
}

/// A lane beside the main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId(pub(super) u32);

/// What a lane beside the main one is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneKind {
    /// It replays history until its metrics join the main lane.
    Backfill,
    /// It counts a revision that never joins.
    Beside,
}

/// A lane beside the main one, and what it counts.
#[derive(Clone, Debug)]
pub(super) struct LaneSnapshot {
    pub(super) id: LaneId,
    pub(super) kind: LaneKind,
    /// Each with the number of records by which it is behind the main lane.
    pub(super) metrics: Vec<(RevisionNo, u64)>,
    /// Partitions.
    pub(super) held: Vec<u32>,
    /// Whether a plugin in it does not return.
    pub(super) stuck: bool,
    /// Why it ended, if it did.
    pub(super) ended: Option<Halt>,
    /// How long ago its metrics last tried to join the main lane.
    pub(super) tried: Option<Duration>,
}

/// The main lane.
#[derive(Clone, Debug, Default)]
pub(super) struct MainLane {
    /// Whether it was ever assigned partitions.
    pub(super) assigned: bool,
    /// Partitions.
    pub(super) held: Vec<u32>,
}

/// How much memory state takes, as of the last measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemorySnapshot {
    /// Bytes.
    pub(super) held: u64,
    /// Bytes.
    pub(super) limit: u64,
    /// Whether a revision that is in memory may continue.
    pub(super) has_room: bool,
    /// Whether a revision of unknown size may be loaded.
    pub(super) has_room_to_load: bool,
}

/// An attempt to restart a revision that stopped for lack of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tried {
    /// How long ago.
    pub(super) ago: Duration,
    /// How long to wait for the next attempt.
    pub(super) pause: Duration,
    /// Bytes that all metrics held at the time.
    pub(super) held: u64,
}

impl Snapshot {
    /// Every revision, in the order of the metrics' names: answering, newer, previous.
    pub(super) fn revisions(&self) -> impl Iterator<Item = &RevisionSnapshot> {
        self.metrics.values().flat_map(MetricSnapshot::revisions)
    }

    /// The revision that has this number in the lanes.
    pub(super) fn find(&self, no: RevisionNo) -> Option<&RevisionSnapshot> {
        self.revisions().find(|revision| revision.no == no)
    }

    /// Lanes of one kind.
    pub(super) fn lanes_of(&self, kind: LaneKind) -> impl Iterator<Item = &LaneSnapshot> {
        self.lanes.iter().filter(move |lane| lane.kind == kind && !lane.metrics.is_empty())
    }

    /// Revisions that wait for a lane of a kind.
    pub(super) fn waiting_for(&self, kind: LaneKind) -> impl Iterator<Item = &RevisionSnapshot> {
        self.revisions()
            .filter(move |revision| revision.place == Placement::Waiting && revision.kind() == kind)
    }

    /// Whether a lane has not released this revision yet.
    pub(super) fn is_leaving(&self, revision: &RevisionId) -> bool {
        self.leaving.contains(revision)
    }
}

impl MetricSnapshot {
    fn revisions(&self) -> impl Iterator<Item = &RevisionSnapshot> {
        let newer = self.newer.iter().map(|newer| &newer.version);
        std::iter::once(&self.answering)
            .chain(newer)
            .chain(self.previous.iter().map(|previous| &previous.version))
    }
}

impl RevisionSnapshot {
    /// The kind of lane of its own that would count it.
    pub(super) fn kind(&self) -> LaneKind {
        if self.reads_otherwise { LaneKind::Beside } else { LaneKind::Backfill }
    }

    /// Whether it has counted its history and continues to count.
    pub(super) fn is_ready(&self) -> bool {
        self.place == Placement::Main && self.halt.is_none()
    }

    /// Whether it is stopped because metrics together hold all the memory they may.
    pub(super) fn is_over_memory(&self) -> bool {
        matches!(self.halt, Some(Halt::Quarantined(Quarantine::OverMemory { .. })))
    }
}
