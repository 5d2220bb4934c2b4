//! Metrics that count history in a lane of their own, and how they join the main one.
//!
//! The main lane stands still only for the moment in which a metric joins it, so that both stand at the same record.
//! Nothing is decided here about progress: a metric joins at what is stored, wherever that is, and a main lane that is
//! ahead of it reads again.

use super::life::{Work, leave, now};
use super::roster::{Served, Stage};
use crate::event::Position;
use crate::pipeline::{Board, Command, Handle};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Lanes that replay history at the same time; who comes later waits.
const LANES: usize = 2;

/// A metric joins when at most so many records are missing: the main lane waits while they are counted.
const NEAR: u64 = 20_000;

/// How long the main lane may be asked to wait for that.
const STAND: Duration = Duration::from_secs(3);

/// A lane that replays history.
pub(super) struct Backfill {
    pub(super) handle: Handle,
    board: Arc<Board>,
    pub(super) metrics: Vec<Arc<Served>>,
    /// When it was last looked at, and how many records it had counted.
    seen: (Instant, u64),
    /// Records per second.
    rate: f64,
}

impl Work {
    /// Per partition how far the main lane has counted: where history is complete.
    pub(super) fn ahead(&self) -> Position {
        let served: Vec<Arc<Served>> = self.parts.roster.read().served.values().cloned().collect();
        let main = served.iter().filter(|served| matches!(&*served.stage.read(), Stage::Main));
        let counted = self.parts.view.read();
        Position::furthest(main.map(|served| counted.metrics[served.id.0].position.clone()))
    }

    /// Gives those that wait a lane.
    pub(super) fn begin_backfills(&mut self) {
        self.backfills.retain(|backfill| !backfill.metrics.is_empty());
        if self.parts.waiting.is_empty() || self.backfills.len() >= LANES {
            return;
        }
        let metrics = std::mem::take(&mut self.parts.waiting);
        match self.parts.lanes.backfill(&metrics) {
            Ok((handle, board)) => {
                for served in &metrics {
                    *served.stage.write() = Stage::Backfill { board: board.clone(), eta_s: None };
                }
                let seen = (Instant::now(), self.counted(&metrics));
                self.backfills.push(Backfill { handle, board, metrics, seen, rate: 0.0 });
            }
            Err(reason) => {
                tracing::error!("history cannot be counted, trying again: {reason}");
                self.parts.waiting = metrics;
            }
        }
    }

    /// Looks how far the backfills are, and lets those join that have arrived.
    pub(super) fn step(&mut self) {
        let ahead = self.ahead();
        for n in 0..self.backfills.len() {
            let counted = self.counted(&self.backfills[n].metrics);
            let backfill = &mut self.backfills[n];
            let took = backfill.seen.0.elapsed().as_secs_f64();
            let rate = counted.saturating_sub(backfill.seen.1) as f64 / took.max(0.001);
            // Smoothed over some seconds.
            backfill.rate = if backfill.rate == 0.0 { rate } else { backfill.rate * 0.8 + rate * 0.2 };
            backfill.seen = (Instant::now(), counted);
            let (mut missing, mut halted) = (0, 0);
            let held = backfill.board.look(|standing| standing.held.clone());
            for served in &backfill.metrics {
                let left = self.parts.view.aim(served.id, &ahead, &held);
                let eta_s = (backfill.rate > 0.0).then(|| (left as f64 / backfill.rate).ceil() as u64);
                *served.stage.write() = Stage::Backfill { board: backfill.board.clone(), eta_s };
                match served.halt(&self.parts.board) {
                    Some(_) => halted += 1,
                    None => missing = left.max(missing),
                }
            }
            let all_held = self.parts.board.look(|standing| standing.held.iter().all(|p| held.contains(p)));
            if missing <= NEAR && all_held && halted < self.backfills[n].metrics.len() {
                self.join(n);
            }
        }
    }

    /// Records counted by metrics, together.
    fn counted(&self, metrics: &[Arc<Served>]) -> u64 {
        let counted = self.parts.view.read();
        metrics.iter().map(|served| counted.metrics[served.id.0].events).max().unwrap_or(0)
    }

    /// Lets the metrics of a backfill join the main lane, all at the record where it stands.
    fn join(&mut self, n: usize) {
        let (answer, at) = sync_channel(1);
        if !self.parts.main.tell(Command::Stand(STAND, answer)) {
            return;
        }
        if let Ok(position) = at.recv_timeout(STAND) {
            let deadline = Instant::now() + STAND - STAND / 6;
            let held = self.backfills[n].board.look(|standing| standing.held.clone());
            let position = Position(position.0.into_iter().filter(|(partition, _)| held.contains(partition)).collect());
            let ready = |served: &Arc<Served>| {
                served.halt(&self.parts.board).is_none()
                    && self.parts.view.wait_for(
                        served.id,
                        &position,
                        deadline.saturating_duration_since(Instant::now()),
                    )
            };
            let (joining, staying): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.backfills[n].metrics).into_iter().partition(ready);
            for served in joining {
                self.take_over(n, served);
            }
            self.backfills[n].metrics = staying;
        }
        self.parts.main.tell(Command::Go);
    }

    fn take_over(&mut self, n: usize, served: Arc<Served>) {
        let left = leave(&self.backfills[n].handle, &served);
        let metric = self.parts.lanes.metric(&served);
        *served.stage.write() = Stage::Main;
        self.parts.main.tell(Command::Join { metric, shown: left.shown });
        self.parts.view.arrived(served.id, now());
        let name = served.askable.plugin.name();
        if self.parts.roster.read().served.get(name).is_some_and(|answering| Arc::ptr_eq(answering, &served)) {
            self.parts.lanes.answers_now(&served.revision);
        }
        tracing::info!(metric = served.askable.plugin.name(), "history is counted; the metric is active");
    }
}
