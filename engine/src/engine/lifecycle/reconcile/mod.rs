//! Decides what to do with metrics, from what the folders hold and what is served.
//!
//! Pure functions over a [`Snapshot`]: equal data gives equal actions. Nothing is remembered here;
//! an action that fails is proposed again by the next pass, because its reason has not changed. The
//! manager carries the actions out.

mod folder;
mod lanes;
mod memory;
pub(super) mod orders;
pub(super) mod roles;
#[cfg(test)]
mod samples;
mod versions;

use super::snapshot::{Folder, LaneId, Snapshot};
use crate::event::Position;
use crate::progress::{Halt, RevisionNo};
use crate::store::RevisionId;
use std::fmt;
use std::time::Duration;

pub(super) use versions::HeldBack;

/// The steps of a pass, in their order. Each is decided on a snapshot of its own, so it sees what
/// the step before has done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// Compares what the folders and the configuration hold with what is served. Not in each pass.
    Folder(&'a Folder),
    /// Metrics release their lanes, or leave them for the main one.
    LaneExits,
    /// Revisions take turns.
    Versions,
    /// Revisions that stopped for lack of memory continue.
    Memory,
    /// Metrics that wait get lanes.
    LaneStarts,
}

/// An action of the manager.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Serve a metric that was not served.
    Admit(String),
    /// Count the folder's revision of a metric beside the one that answers.
    AdmitNewer {
        metric: String,
        /// It waits for a person's promote.
        waits: bool,
    },
    /// Stop counting the newer revision.
    DropNewer(String),
    /// Call the folder's code for a revision that counts.
    ReplaceCode(String, RevisionNo),
    /// Restart a stopped revision from where it is stored, with the folder's code.
    RestartWithCode(String, RevisionNo),
    /// The same, with the code that it has.
    Restart(RevisionNo),
    /// Stop serving a metric; its state stays stored.
    Retire(String),
    /// The newer revision answers from now on.
    Promote(String),
    /// The previous revision answers again; the one that answers is its newer one.
    Rollback(String),
    /// Stop feeding the previous revision.
    ReleasePrevious(String),
    /// Note what was found of the newer revision.
    NoteNewer {
        metric: String,
        /// How far the one that answers has counted.
        goal: Position,
        /// Whether it has reached the goal before that.
        ready: bool,
        /// Why it is not promoted.
        held: Option<HeldBack>,
    },
    /// Note that a revision was restarted for lack of memory, or found not to fit: the next try
    /// waits so long.
    NoteTry(RevisionId, Duration),
    /// Note what a revision waits for before it gets a lane.
    Wait(RevisionNo, WaitsFor),
    /// Start a lane in which these replay history.
    StartBackfill(Vec<RevisionNo>),
    /// Start a lane for a revision that reads events by an earlier `[events]`.
    StartBeside(RevisionNo),
    /// Take a stopped revision out of the lane of its own in which it makes no progress.
    LeaveLane(RevisionNo, Halt),
    /// Let the metrics of a lane join the main one.
    JoinMain(LaneId),
}

/// What a revision waits for before its history is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// A lane that still counts it has to release it.
    Release,
    /// All lanes that may replay history do: so many, of these metrics.
    Lanes(usize, Vec<String>),
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitsFor::Release => {
                out.write_str("it waits until the lane that counted it before has released it")
            }
            WaitsFor::Lanes(lanes, metrics) => {
                let names = metrics.join(", ");
                write!(
                    out,
                    "it waits for a lane: {lanes} replay history at the same time, now of {names}"
                )
            }
        }
    }
}

/// What is to be done in a step.
pub(super) fn reconcile(step: Step<'_>, now: &Snapshot) -> Vec<Action> {
    match step {
        Step::Folder(folder) => folder::compare(folder, now),
        Step::LaneExits => lanes::exits(now),
        Step::Versions => versions::turns(now),
        Step::Memory => memory::restarts(now),
        Step::LaneStarts => lanes::starts(now),
    }
}
