//! How far a lane is: what it has counted, what of that is durable, how much the log holds beyond it.

use super::counting::{Counting, Role};
use crate::event::Position;
use crate::source::Bounds;
use crate::telemetry;
use std::collections::BTreeMap;

impl Counting {
    pub(super) fn note_lag(&mut self, bounds: &[Bounds]) {
        let position = self.position();
        let lag: BTreeMap<u32, u64> = bounds
            .iter()
            .map(|b| {
                (
                    b.partition,
                    b.end.saturating_sub(position.0.get(&b.partition).copied().unwrap_or(b.start).max(b.start)),
                )
            })
            .collect();
        let open: BTreeMap<u32, u64> = bounds.iter().map(|bounds| (bounds.partition, bounds.open)).collect();
        if self.role == Role::Main {
            telemetry::lag(&lag, &open);
        }
        self.board.stand(|standing| {
            standing.partitions = bounds.len();
            standing.lag = lag;
            standing.open = open.values().sum();
        });
    }

    /// The partitions that the log says to end before what was counted of them (`position`), and that do not stand still for it yet.
    pub(super) fn beyond(&self, bounds: &[Bounds], position: &Position) -> impl Iterator<Item = u32> {
        let halted: Vec<Option<u32>> = self.machine.halts().map(|(_, partition, _)| partition).collect();
        let beyond = |b: &&Bounds| position.0.get(&b.partition).is_some_and(|next| *next > b.end);
        let beyond = bounds.iter().filter(beyond).map(|b| b.partition);
        beyond.filter(move |p| !halted.contains(&Some(*p))).collect::<Vec<_>>().into_iter()
    }

    /// The furthest that any metric has counted, per partition.
    pub(super) fn position(&self) -> Position {
        let mut all = Position::default();
        for metric in &self.metrics {
            for (partition, offset) in self.machine.position(metric.no).0 {
                let furthest = all.0.entry(partition).or_default();
                *furthest = offset.max(*furthest);
            }
        }
        all
    }

    /// Per partition the smallest offset that any metric has stored.
    pub(super) fn committed_offsets(&self) -> Vec<(u32, u64)> {
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        for metric in &self.metrics {
            for (partition, offset) in self.machine.committed(metric.no).0 {
                let least = all.entry(partition).or_insert(offset);
                *least = offset.min(*least);
            }
        }
        all.into_iter().collect()
    }

    pub(super) fn done(&self) -> super::Done {
        let committed: BTreeMap<u32, u64> = self.committed_offsets().into_iter().collect();
        let behind: u64 = self
            .position()
            .0
            .iter()
            .map(|(partition, counted)| counted - committed.get(partition).copied().unwrap_or(0).min(*counted))
            .sum();
        let committed = self.processed.saturating_sub(behind);
        super::Done { processed: self.processed, committed, unfinished: false }
    }

    /// Shows what was done, so that it is known even of a lane that never says so itself.
    pub(super) fn show_done(&self) {
        let done = self.done();
        self.board.stand(|standing| standing.done = done);
    }
}
