//! The lanes beside the main one: starts them, measures them, joins their metrics with the main
//! lane, and ends them.
//!
//! The main lane pauses only for the moment in which a metric joins it, so that both are at the
//! same record. Progress is not decided here: a metric joins at its stored position, and a main
//! lane that is ahead of it reads the difference again. `reconcile` decides which metrics get a
//! lane or leave one.

use super::leave::{LaneHandle, Then};
use super::manager::{CHECK_EVERY, PluginManager};
use super::snapshot::{LaneId, LaneKind};
use crate::engine::catalog::{ServedRevision, Stage};
use crate::engine::counted_records::judged_before;
use crate::event::Position;
use crate::pipeline::{Command, CommandError, Handle, LaneStatus, MetricProgress, View};
use crate::progress::{Halt, RevisionNo};
use crate::state::MetricId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How long the main lane pauses at most.
const PAUSE: Duration = Duration::from_secs(3);

/// The lanes beside the main one.
#[derive(Default)]
pub(super) struct LanePool {
    pub(super) lanes: Vec<RunningLane>,
    /// The number of the next one.
    next: u32,
}

/// A lane beside the main one.
pub(super) struct RunningLane {
    pub(super) id: LaneId,
    pub(super) kind: LaneKind,
    pub(super) handle: Arc<Handle>,
    pub(super) status: Arc<LaneStatus>,
    pub(super) metrics: Vec<Arc<ServedRevision>>,
    /// How many records each misses of what the main lane has counted, as of the last measurement.
    pub(super) missing: BTreeMap<RevisionNo, u64>,
    /// When its metrics last tried to join.
    pub(super) tried: Option<Instant>,
    /// When its rate was last measured, and how many records it had counted by then.
    seen: (Instant, u64),
    /// Records per second.
    rate: f64,
}

impl LanePool {
    /// Whether any lane replays history.
    pub(super) fn has_backfills(&self) -> bool {
        self.lanes.iter().any(|lane| lane.kind == LaneKind::Backfill)
    }

    /// Ends lanes that count no metric any more.
    pub(super) fn drop_empty(&mut self) {
        self.lanes.retain(|lane| !lane.metrics.is_empty());
    }

    /// The lane that counts a revision.
    pub(super) fn lane_of(&self, no: RevisionNo) -> Option<&RunningLane> {
        self.lanes.iter().find(|lane| lane.metrics.iter().any(|metric| metric.no == no))
    }

    /// Takes a revision out.
    pub(super) fn remove(&mut self, no: RevisionNo) {
        self.lanes.iter_mut().for_each(|lane| lane.metrics.retain(|metric| metric.no != no));
    }

    /// Ends all of them.
    pub(super) fn stop(self) {
        for lane in self.lanes {
            lane.handle.stop(Duration::from_secs(1));
        }
    }

    fn add(
        &mut self,
        kind: LaneKind,
        (handle, status): (Handle, Arc<LaneStatus>),
        metrics: Vec<Arc<ServedRevision>>,
        counted: u64,
    ) {
        let id = LaneId(self.next);
        self.next += 1;
        for served in &metrics {
            *served.stage.write() = Stage::Backfill { status: status.clone(), eta_s: None };
        }
        let (handle, seen, missing) =
            (Arc::new(handle), (Instant::now(), counted), BTreeMap::new());
        self.lanes.push(RunningLane {
            id,
            kind,
            handle,
            status,
            metrics,
            missing,
            tried: None,
            seen,
            rate: 0.0,
        });
    }
}

impl RunningLane {
    /// Measures how fast it counts; smoothed over some seconds.
    fn measure_rate(&mut self, counted: u64) {
        let took = self.seen.0.elapsed();
        if took >= CHECK_EVERY {
            let rate = counted.saturating_sub(self.seen.1) as f64 / took.as_secs_f64();
            self.rate = if self.rate == 0.0 { rate } else { self.rate * 0.8 + rate * 0.2 };
            self.seen = (Instant::now(), counted);
        }
    }
}

impl PluginManager {
    /// Per partition how far the main lane has counted: a metric that is there has all of its
    /// history. `None`: unknown, because all of its metrics are being loaded again.
    pub(super) fn ahead(&self) -> Option<Position> {
        let served: Vec<Arc<ServedRevision>> =
            self.catalog.read().answering.values().cloned().collect();
        let main = served.iter().filter(|served| matches!(&*served.stage.read(), Stage::Main));
        let main: Vec<(MetricId, bool)> =
            main.map(|served| (served.id, served.halt(&self.status).is_some())).collect();
        let counted = self.view.read();
        furthest_known(main.iter().map(|(id, is_stopped)| (&counted.metrics[id.0], *is_stopped)))
    }

    /// Measures the progress of the lanes that replay history.
    pub(super) fn measure_lanes(&mut self) {
        let Some(ahead) = self.ahead() else { return };
        for lane in self.pool.lanes.iter_mut().filter(|lane| lane.kind == LaneKind::Backfill) {
            lane.measure_rate(counted(&self.view, &lane.metrics));
            let held = lane.status.read(|status| status.held.clone());
            for served in &lane.metrics {
                let left = self.view.set_target(served.id, &ahead, &held);
                lane.missing.insert(served.no, left);
                let eta_s = (lane.rate > 0.0).then(|| (left as f64 / lane.rate).ceil() as u64);
                *served.stage.write() = Stage::Backfill { status: lane.status.clone(), eta_s };
            }
        }
    }

    /// Starts a lane of this kind for these metrics; if that fails, they continue to wait.
    pub(super) fn start_lane(&mut self, kind: LaneKind, metrics: Vec<Arc<ServedRevision>>) {
        if metrics.is_empty() {
            return;
        }
        let started = match (kind, metrics.as_slice()) {
            (LaneKind::Beside, [metric]) => self.factory.beside(metric),
            _ => self
                .factory
                .backfill(&metrics, judged_before(&self.catalog, &self.view, &*self.factory.store)),
        };
        match started {
            Ok(lane) => {
                let counted = counted(&self.view, &metrics);
                self.pool.add(kind, lane, metrics, counted);
            }
            Err(fault) => {
                let why =
                    format!("it waits for a lane, which cannot be started; trying again: {fault}");
                let mut is_new = false;
                metrics.iter().for_each(|served| is_new |= note_wait(served, &why));
                if is_new {
                    tracing::error!("a lane cannot be started, trying again: {fault}");
                }
            }
        }
    }

    /// Takes a stopped revision out of its lane.
    pub(super) fn leave_lane(&mut self, no: RevisionNo, halt: Halt) {
        let Some(lane) = self.pool.lane_of(no) else { return };
        let Some(served) = lane.metrics.iter().find(|metric| metric.no == no).cloned() else {
            return;
        };
        let lane = LaneHandle { handle: lane.handle.clone(), status: lane.status.clone() };
        tracing::warn!(
            metric = served.askable.plugin.name(),
            "it releases its lane because it is stopped: {halt}"
        );
        self.take_out(served, &lane, Then::Stops(halt));
    }

    /// Has the metrics of a lane join the main one, all at the record where the main lane pauses.
    pub(super) fn join(&mut self, id: LaneId) {
        let Some(lane) = self.pool.lanes.iter_mut().find(|lane| lane.id == id) else { return };
        lane.tried = Some(Instant::now());
        let metrics = lane.metrics.clone();
        let lane = LaneHandle { handle: lane.handle.clone(), status: lane.status.clone() };
        let (answer, at) = sync_channel(1);
        if self.main.send(Command::Pause(PAUSE, answer)).is_err() {
            return;
        }
        if let Ok(position) = at.recv_timeout(PAUSE) {
            let deadline = Instant::now() + PAUSE - PAUSE / 6;
            let held = lane.status.read(|status| status.held.clone());
            let position = Position(
                position.0.into_iter().filter(|(partition, _)| held.contains(partition)).collect(),
            );
            let has_arrived = |served: &Arc<ServedRevision>| {
                let left = deadline.saturating_duration_since(Instant::now());
                served.halt(&self.status).is_none()
                    && self.view.wait_for(served.id, &position, left)
            };
            let joining: Vec<Arc<ServedRevision>> =
                metrics.into_iter().filter(has_arrived).collect();
            for served in joining {
                self.take_out(served, &lane, Then::Joins);
            }
            // A metric that is released later joins behind the main lane, which then reads the
            // difference again.
            self.see_off(deadline.saturating_duration_since(Instant::now()));
        }
        // If this command does not arrive, the main lane resumes by itself.
        let _ = self.main.send(Command::Resume);
    }

    /// Has every lane in which a partition is stopped at this offset continue without the records
    /// there. Whether any was stopped there; `None`: a lane has not answered in time.
    pub(super) fn skip(&self, partition: u32, offset: u64) -> Option<bool> {
        let beside = self.pool.lanes.iter().map(|lane| &lane.handle);
        let (mut stopped, mut unknown) = (false, false);
        let mut asked = Vec::new();
        for lane in beside.chain([&self.main]) {
            let (answer, answered) = sync_channel(1);
            match lane.send(Command::Skip(partition, offset, answer)) {
                Ok(()) => asked.push(answered),
                Err(CommandError::Busy) => unknown = true,
                // A lane that has ended is stopped nowhere.
                Err(CommandError::Ended) => {}
            }
        }
        let limit = Instant::now() + PAUSE;
        for answered in asked {
            match answered.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(here) => stopped |= here,
                Err(_) => unknown = true,
            }
        }
        (!unknown).then_some(stopped)
    }
}

/// Notes what a metric waits for; whether that differs from what was noted.
pub(super) fn note_wait(served: &ServedRevision, what: &str) -> bool {
    let mut stage = served.stage.write();
    let is_new = !matches!(&*stage, Stage::Waiting(known) if &**known == what);
    if is_new {
        *stage = Stage::Waiting(what.into());
    }
    is_new
}

/// The furthest position of these metrics, some of which are stopped. `None`: all are in doubt, and
/// one of them is being loaded; a stopped one may never be loaded.
fn furthest_known<'a>(
    metrics: impl Iterator<Item = (&'a MetricProgress, bool)>,
) -> Option<Position> {
    let (mut known, mut is_loading) = (Vec::new(), false);
    for (progress, is_stopped) in metrics {
        match progress.in_doubt {
            false => known.push(progress.position.clone()),
            true => is_loading |= !is_stopped,
        }
    }
    (!known.is_empty() || !is_loading).then(|| Position::furthest(known.into_iter()))
}

/// Records that the metrics of a lane have counted.
fn counted(view: &View, metrics: &[Arc<ServedRevision>]) -> u64 {
    let counted = view.read();
    metrics.iter().map(|served| counted.metrics[served.id.0].events).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_lane_is_as_far_as_the_metrics_that_are_not_being_loaded() {
        let at = |offset| MetricProgress {
            position: Position([(0, offset)].into()),
            ..MetricProgress::default()
        };
        let in_doubt = MetricProgress { in_doubt: true, ..MetricProgress::default() };
        let furthest =
            |metrics: &[(&MetricProgress, bool)]| furthest_known(metrics.iter().copied());
        assert_eq!(furthest(&[]), Some(Position::default()), "nothing is counted there");
        assert_eq!(
            furthest(&[(&at(3), false), (&at(5), true), (&in_doubt, false)]),
            Some(Position([(0, 5)].into()))
        );
        assert_eq!(
            furthest(&[(&in_doubt, false), (&in_doubt, true)]),
            None,
            "history is not complete at nothing"
        );
        assert_eq!(
            furthest(&[(&in_doubt, true)]),
            Some(Position::default()),
            "it may never be loaded"
        );
    }
}
