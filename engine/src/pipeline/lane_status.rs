//! A lane's published status: the partitions it holds, what is wrong with its source or store, and
//! which metrics are stopped and why.
//!
//! Only the lane and its worker threads write it; any thread reads it, briefly. Nothing here
//! decides or waits. What was counted is not here but in the view.

use super::call_marks::CallMark;
use super::fatal::Fatal;
use crate::log::Bounds;
use crate::progress::Halt;
use crate::state::MetricId;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The status of one lane, shared between threads.
#[derive(Debug, Default)]
pub struct LaneStatus(RwLock<StatusSnapshot>);

/// The status of a lane at one moment.
#[derive(Clone, Debug, Default)]
pub struct StatusSnapshot {
    /// Partitions held.
    pub held: Vec<u32>,
    /// Partitions of the topic; 0 until known.
    pub partitions: usize,
    /// What is wrong with the source now; `None`: nothing is known to be.
    pub source_trouble: Option<String>,
    /// Partitions that deliver nothing although the log has more.
    pub stalled: Vec<u32>,
    /// What is wrong with the store now; `None`: nothing is known to be.
    pub store_trouble: Option<String>,
    /// Why what other engines stored cannot be read now.
    pub follow_trouble: Option<String>,
    /// Whether the source ever delivered an assignment.
    pub assigned: bool,
    /// Per metric why it, or a partition of it, is stopped.
    pub halts: BTreeMap<MetricId, Halt>,
    /// The metric whose plugin is being called, and since when.
    pub calling: Option<(MetricId, Instant)>,
    /// Where the lane marks calls of plugins; `None`: nowhere.
    pub call_mark: Option<Arc<CallMark>>,
    /// What the log held of each partition when it was last asked.
    pub bounds: Vec<Bounds>,
    /// What the log held when the first partitions were assigned; `None`: it has not answered yet.
    pub first_bounds: Option<FirstBounds>,
    /// Per partition the records between the position and the end of the log.
    pub lag: BTreeMap<u32, u64>,
    /// Records of all partitions that wait for the end of an open transaction.
    pub open: u64,
    /// When the store last applied a commit, Unix milliseconds.
    pub last_commit: Option<i64>,
    /// What was processed up to the last batch, and committed up to the last commit.
    pub totals: LaneTotals,
    /// Set once a thread of the lane has ended by an internal error.
    pub failed: Option<Fatal>,
    /// Whether the lane has ended, for any reason.
    pub ended: bool,
    /// Whether the lane is stopping.
    pub stopping: bool,
}

/// What a lane found in the log when it began to count.
#[derive(Clone, Debug)]
pub struct FirstBounds {
    /// When the log answered.
    pub since: Instant,
    /// What it held.
    pub bounds: Vec<Bounds>,
}

/// How many records a lane has counted since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneTotals {
    /// Records counted since start.
    pub processed: u64,
    /// Of these, how many are durable.
    pub committed: u64,
    /// Whether the lane was abandoned before it ended: then the numbers are those last known.
    pub unfinished: bool,
}

impl LaneStatus {
    /// A copy of the whole status.
    pub fn snapshot(&self) -> StatusSnapshot {
        self.0.read().clone()
    }

    /// Reads without a copy. The lane cannot write meanwhile, so `read` must be brief.
    pub fn read<T>(&self, read: impl FnOnce(&StatusSnapshot) -> T) -> T {
        read(&self.0.read())
    }

    /// The metric whose plugin has not returned from its present call for at least `limit`, and for
    /// how long.
    pub fn stuck(&self, limit: Duration) -> Option<(MetricId, Duration)> {
        let (metric, since) = self.read(|status| status.calling)?;
        Some((metric, since.elapsed())).filter(|(_, passed)| *passed >= limit)
    }

    /// Records that a thread ended by an internal error. The first one is kept, because others
    /// follow from it.
    pub(super) fn fail(&self, fatal: Fatal) {
        tracing::error!("{fatal}");
        self.update(|status| {
            status.failed.get_or_insert(fatal);
        });
    }

    /// Records in the call's mark, for the next start, that the call has not returned for at least
    /// `limit`.
    pub fn mark_stuck(&self, limit: Duration) {
        // The lock is held: the lane cannot begin another call meanwhile.
        self.read(|status| {
            if let (Some((_, since)), Some(mark)) = (status.calling, &status.call_mark)
                && since.elapsed() >= limit
            {
                mark.set_hung();
            }
        });
    }

    /// Changes the status.
    pub(super) fn update(&self, change: impl FnOnce(&mut StatusSnapshot)) {
        change(&mut self.0.write());
    }
}
