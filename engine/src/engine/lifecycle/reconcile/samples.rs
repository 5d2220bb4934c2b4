//! Data for the tables of decisions: as little as a row needs to say.

use crate::engine::catalog::PromotionWish;
use crate::engine::lifecycle::snapshot::{
    CodeId, CountedSnapshot, Folder, FolderMetric, LoadState, MetricSnapshot, NewerSnapshot,
    Placement, PreviousSnapshot, RevisionSnapshot, Snapshot,
};
use crate::event::Position;
use crate::progress::{Halt, Quarantine, RevisionNo};
use crate::store::RevisionId;
use std::time::Duration;

pub(super) fn id(fingerprint: u64) -> RevisionId {
    RevisionId { metric: "orders".into(), fingerprint }
}

/// A revision that counts in the main lane.
pub(super) fn revision(no: u32, fingerprint: u64, code: usize) -> RevisionSnapshot {
    RevisionSnapshot {
        no: RevisionNo(no),
        revision: id(fingerprint),
        code: CodeId(code),
        reads_otherwise: false,
        place: Placement::Main,
        halt: None,
        counted: None,
        in_memory: false,
        tried: None,
    }
}

pub(super) fn at(place: Placement, revision: RevisionSnapshot) -> RevisionSnapshot {
    RevisionSnapshot { place, ..revision }
}

pub(super) fn halted(why: Quarantine, revision: RevisionSnapshot) -> RevisionSnapshot {
    RevisionSnapshot { halt: Some(Halt::Quarantined(why)), ..revision }
}

pub(super) fn failing(revision: RevisionSnapshot) -> RevisionSnapshot {
    halted(Quarantine::Failing("it fails".into()), revision)
}

pub(super) fn over_max_cells(revision: RevisionSnapshot) -> RevisionSnapshot {
    halted(Quarantine::OverMaxCells { table: "t".into(), cells: 2, max: 1 }, revision)
}

pub(super) fn over_memory(revision: RevisionSnapshot) -> RevisionSnapshot {
    halted(Quarantine::OverMemory { held: 2, share: 1 }, revision)
}

/// A revision that has counted all history, and partition 0 up to an offset.
pub(super) fn counted(to: u64, revision: RevisionSnapshot) -> RevisionSnapshot {
    let position = Position([(0, to)].into());
    let load = LoadState::Loaded;
    let counted = CountedSnapshot { load, position, is_whole: true, ..CountedSnapshot::default() };
    RevisionSnapshot { counted: Some(counted), ..revision }
}

pub(super) fn newer(version: RevisionSnapshot) -> NewerSnapshot {
    NewerSnapshot { version, wish: PromotionWish::default(), goal: None, ready: false }
}

pub(super) fn previous(version: RevisionSnapshot, seconds: u64) -> PreviousSnapshot {
    PreviousSnapshot { version, left: Duration::from_secs(seconds) }
}

pub(super) fn metric(answering: RevisionSnapshot) -> MetricSnapshot {
    MetricSnapshot { answering, newer: None, previous: None }
}

pub(super) fn snapshot<'a>(
    metrics: impl IntoIterator<Item = (&'a str, MetricSnapshot)>,
) -> Snapshot {
    let metrics = metrics.into_iter().map(|(name, metric)| (name.to_owned(), metric)).collect();
    Snapshot { metrics, ..Snapshot::default() }
}

pub(super) fn folder(name: &str, fingerprint: u64, code: usize) -> Folder {
    [(
        name.to_owned(),
        FolderMetric { code: CodeId(code), revision: id(fingerprint), manual: false },
    )]
    .into()
}
