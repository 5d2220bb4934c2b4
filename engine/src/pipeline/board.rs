//! How a lane stands, besides what it has counted: what it holds, what is wrong, why something stands still.
//!
//! Each lane writes its own board; whoever wants to know looks, briefly. Nothing here decides or waits.

use super::fatal::Fatal;
use super::mark::Mark;
use crate::progress::Halt;
use crate::state::MetricId;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lane's board.
#[derive(Debug, Default)]
pub struct Board(RwLock<Standing>);

/// What stands on it.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Partitions held.
    pub held: Vec<u32>,
    /// Partitions of the topic; 0 until known.
    pub partitions: usize,
    /// What is wrong with the source now.
    pub source_trouble: Option<String>,
    /// Partitions that deliver nothing though the log has more.
    pub stalled: Vec<u32>,
    /// What is wrong with the store now.
    pub store_trouble: Option<String>,
    /// What is wrong with reading what others stored.
    pub follow_trouble: Option<String>,
    /// Whether the source ever delivered an assignment.
    pub assigned: bool,
    /// Per metric why it, or a partition of it, stands still.
    pub halts: BTreeMap<MetricId, Halt>,
    /// The metric whose plugin is being called, and since when.
    pub calling: Option<(MetricId, Instant)>,
    /// Where calls leave a mark.
    pub mark: Option<Arc<Mark>>,
    /// Per partition the end of the log and the position, for lag.
    pub lag: BTreeMap<u32, u64>,
    /// Offsets of all partitions that wait for the end of an open transaction.
    pub open: u64,
    /// Unix milliseconds of the last commit.
    pub last_commit: Option<i64>,
    /// What it did so far: as of the last batch, and what was durable at the last commit.
    pub done: Done,
    /// Set once a thread has ended by an internal error.
    pub failed: Option<Fatal>,
    /// Whether the lane has ended, for whatever reason.
    pub ended: bool,
    /// Whether the lane is stopping.
    pub stopping: bool,
}

/// What a lane did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Records counted since start.
    pub processed: u64,
    /// Of these, how many are durable.
    pub committed: u64,
    /// Whether it was left behind before it ended: then this is what was known of it.
    pub unfinished: bool,
}

impl Board {
    /// A copy.
    pub fn standing(&self) -> Standing {
        self.0.read().clone()
    }

    /// Looks without a copy; the lane changes nothing meanwhile, so look briefly.
    pub fn look<T>(&self, look: impl FnOnce(&Standing) -> T) -> T {
        look(&self.0.read())
    }

    /// The metric whose plugin has not returned from a call for so long, and for how long.
    pub fn stuck(&self, limit: Duration) -> Option<(MetricId, Duration)> {
        let (metric, since) = self.look(|standing| standing.calling)?;
        Some((metric, since.elapsed())).filter(|(_, passed)| *passed >= limit)
    }

    /// A thread ended by an internal error. The first one stands: others follow from it.
    pub(super) fn fail(&self, fatal: Fatal) {
        tracing::error!("{fatal}");
        self.stand(|standing| {
            standing.failed.get_or_insert(fatal);
        });
    }

    /// Notes with its mark that the present call has not returned for so long, for the next start to know.
    pub fn mark_stuck(&self, limit: Duration) {
        // While somebody looks the lane does not go on to another call.
        self.look(|standing| {
            if let (Some((_, since)), Some(mark)) = (standing.calling, &standing.mark)
                && since.elapsed() >= limit
            {
                mark.hangs();
            }
        });
    }

    pub(super) fn stand(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.0.write());
    }
}
