//! What an engine does now, in one object: for operators, and for programs that show it to them.
//!
//! Asks neither the log nor the store: what the log holds is as of the last survey (some seconds
//! old at most), sizes of states are as of [`SIZES`] ago at most. What is shown is read part by
//! part, not at one moment.

use super::event_rate::{EventRate, RateSamples};
use super::{Check, Cost, Engine, MetricInfo, MetricState};
use crate::clock::wall_ms;
use crate::config::StoreKind;
use crate::event::Position;
use crate::log::Bounds;
use crate::memory::Share;
use crate::pipeline::StatusSnapshot;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old the sizes of states may be: finding them out costs counting some time.
const SIZES: Duration = Duration::from_secs(1);

/// What an engine does now.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// When it was started, Unix milliseconds.
    pub started: i64,
    /// How long it has run.
    pub uptime: Duration,
    /// The clock when this was put together, Unix milliseconds.
    pub as_of: i64,
    /// Records counted a second.
    pub rate: EventRate,
    /// The kind of log, as readiness names it, and its name.
    pub log: (&'static str, String),
    /// The kind of store.
    pub store: StoreKind,
    /// Each partition that the log had when it was last asked.
    pub partitions: Vec<PartitionStatus>,
    /// What is durable.
    pub commits: CommitStatus,
    /// Whether it can answer questions, part by part.
    pub readiness: Vec<Check>,
    /// The metrics that are served, by name.
    pub metrics: Vec<MetricStatus>,
    /// Use of its memory.
    pub memory: MemoryStatus,
}

/// A partition of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: u32,
    /// Who counts it; `None`: it is not known yet.
    pub owner: Option<PartitionOwner>,
    /// The next offset to read, by the metric that is furthest ahead; `None`: it is not known.
    pub position: Option<u64>,
    /// First offset that the log holds.
    pub start: u64,
    /// Offset after the last record that can be read, or the position where that is further.
    pub end: u64,
    /// Offsets from the position to the end; `None`: the position is not known.
    pub lag: Option<u64>,
    /// Offsets behind the end that wait for the end of an open transaction.
    pub open: u64,
    /// Whether it delivers nothing although the log holds more; it was restarted.
    pub stalled: bool,
}

/// Who counts a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionOwner {
    /// This engine.
    This,
    /// Another engine of the group, or nobody for the moment.
    Other,
}

/// What is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStatus {
    /// When the store last applied a commit, Unix milliseconds.
    pub last: Option<i64>,
    /// Records counted since the start.
    pub processed: u64,
    /// Of these, how many were durable at the last commit.
    pub committed: u64,
}

/// A metric that is served.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricStatus {
    /// Its name.
    pub name: String,
    /// Version of the plugin's code.
    pub version: String,
    /// `active`, `backfilling` …; one that is quarantined says why.
    pub state: MetricState,
    /// A notice for everybody who looks at the metric.
    pub notice: Option<String>,
    /// What it costs.
    pub cost: Cost,
    /// Events that are in none of its numbers, because its own code fails on them.
    pub events_failed: u64,
    /// Answers that have not come back from its plugin by their deadline.
    pub answers_stuck: usize,
}

/// Use of the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStatus {
    /// All of it.
    pub limit: u64,
    /// What was counted.
    pub state: MemoryUse,
    /// Answers under way.
    pub answers: MemoryUse,
    /// What waits for WebSockets and other listeners.
    pub sockets: MemoryUse,
}

/// Use of a share of the memory budget, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Taken.
    pub used: u64,
    /// What there is.
    pub limit: u64,
}

/// What an engine keeps for its status.
pub(super) struct StatusBasis {
    /// When it was started, also in Unix milliseconds.
    begun: (Instant, i64),
    store: StoreKind,
    rate: Arc<RateSamples>,
    /// The metrics with their sizes, and when these were found out.
    sized: Mutex<Option<(Instant, Vec<MetricStatus>)>>,
}

impl StatusBasis {
    /// Of an engine with this store that starts now.
    pub(super) fn starting(store: StoreKind) -> StatusBasis {
        let begun = (Instant::now(), wall_ms());
        let rate = Arc::new(RateSamples::starting(begun.0));
        StatusBasis { begun, store, rate, sized: Mutex::default() }
    }

    /// Where the number of records counted is noted.
    pub(super) fn rate(&self) -> Arc<RateSamples> {
        Arc::clone(&self.rate)
    }
}

impl Engine {
    /// What it does now. Waits for no log and no store.
    pub fn status(&self) -> EngineStatus {
        let (now, status) = (Instant::now(), self.status.snapshot());
        let (basis, totals) = (&self.status_basis, status.totals);
        EngineStatus {
            started: basis.begun.1,
            uptime: now.duration_since(basis.begun.0),
            as_of: wall_ms(),
            rate: basis.rate.rate(now, totals.processed),
            log: (self.log.kind(), self.log.name().to_owned()),
            store: basis.store,
            partitions: partitions(&status, &self.position(), self.log.is_shared()),
            commits: CommitStatus {
                last: status.last_commit,
                processed: totals.processed,
                committed: totals.committed,
            },
            readiness: self.readiness(),
            metrics: self.sized_metrics(now),
            memory: self.memory_status(),
        }
    }

    /// The served metrics; their sizes are found out at most once in [`SIZES`], whoever asks.
    fn sized_metrics(&self, now: Instant) -> Vec<MetricStatus> {
        let mut kept = self.status_basis.sized.lock();
        if let Some((at, metrics)) = &*kept
            && now.duration_since(*at) < SIZES
        {
            return metrics.clone();
        }
        let stuck = self.answering.stuck();
        let served = self.metrics().into_iter().filter(|info| info.state != MetricState::Retired);
        let metrics: Vec<MetricStatus> = served
            .map(|info| {
                let stuck = stuck.get(&info.name).copied().unwrap_or(0);
                MetricStatus::of(info, stuck)
            })
            .collect();
        *kept = Some((now, metrics.clone()));
        metrics
    }

    fn memory_status(&self) -> MemoryStatus {
        let (used, limit) = self.memory_share.used();
        let sockets = self.budget.for_sockets();
        MemoryStatus {
            limit: self.budget.total(),
            state: MemoryUse { used, limit },
            answers: MemoryUse::of(&self.budget.answers),
            sockets: MemoryUse { used: sockets.0, limit: sockets.1 },
        }
    }
}

impl MetricStatus {
    fn of(info: MetricInfo, answers_stuck: usize) -> MetricStatus {
        let MetricInfo { name, version, state, notice, failed, cost, .. } = info;
        MetricStatus { name, version, state, notice, cost, events_failed: failed, answers_stuck }
    }
}

impl MemoryUse {
    fn of(share: &Share) -> MemoryUse {
        MemoryUse { used: share.used(), limit: share.limit() }
    }
}

/// The partitions as the log described them last, with what is counted of them. `shared`: whether
/// other engines may count some.
fn partitions(status: &StatusSnapshot, position: &Position, shared: bool) -> Vec<PartitionStatus> {
    let of = |bounds: &Bounds| {
        let Bounds { partition, start, end, open } = *bounds;
        let held = status.held.contains(&partition);
        let owner = match (held, shared && status.assigned) {
            (true, _) => Some(PartitionOwner::This),
            (false, true) => Some(PartitionOwner::Other),
            (false, false) => None,
        };
        // One that is held and was never counted begins with the first record held.
        let counted = position.0.get(&partition).copied().or(held.then_some(start));
        // The log may have grown since it was asked.
        let end = end.max(counted.unwrap_or(0));
        PartitionStatus {
            partition,
            owner,
            position: counted,
            start,
            end,
            lag: counted.map(|counted| end.saturating_sub(counted.max(start))),
            open,
            stalled: status.stalled.contains(&partition),
        }
    };
    let mut all: Vec<PartitionStatus> = status.bounds.iter().map(of).collect();
    all.sort_by_key(|partition| partition.partition);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn shown(held: Vec<u32>, assigned: bool, shared: bool) -> Vec<PartitionStatus> {
        let bounds = |partition, start, end, open| Bounds { partition, start, end, open };
        let status = StatusSnapshot {
            held,
            assigned,
            stalled: vec![1],
            bounds: vec![bounds(2, 5, 9, 0), bounds(0, 3, 1_210, 2), bounds(1, 0, 10, 0)],
            ..StatusSnapshot::default()
        };
        let position = Position(BTreeMap::from([(0, 1_204), (1, 12)]));
        partitions(&status, &position, shared)
    }

    #[test]
    fn partitions_are_shown_with_what_is_counted_and_what_is_not() {
        let all = shown(vec![0, 1, 2], true, false);
        assert_eq!(
            all[0],
            PartitionStatus {
                partition: 0,
                owner: Some(PartitionOwner::This),
                position: Some(1_204),
                start: 3,
                end: 1_210,
                lag: Some(6),
                open: 2,
                stalled: false,
            }
        );
        // Counted beyond what the log held when it was asked: it holds at least that.
        assert_eq!((all[1].end, all[1].lag, all[1].stalled), (12, Some(0), true));
        // Never counted: from its first record on.
        assert_eq!((all[2].position, all[2].lag), (Some(5), Some(4)));
    }

    #[test]
    fn of_partitions_that_others_count_only_what_is_known_is_shown() {
        let owners = |all: &[PartitionStatus]| -> Vec<Option<PartitionOwner>> {
            all.iter().map(|partition| partition.owner).collect()
        };
        let all = shown(vec![0], true, true);
        let (this, other) = (Some(PartitionOwner::This), Some(PartitionOwner::Other));
        assert_eq!(owners(&all), [this, other, other]);
        assert_eq!((all[2].position, all[2].lag), (None, None));
        assert_eq!(owners(&shown(Vec::new(), false, true)), [None, None, None]);
        assert_eq!(owners(&shown(Vec::new(), false, false)), [None, None, None]);
    }
}
