//! Metrics that count history in a lane of their own, and how they join the main one.
//!
//! The main lane stands still only for the moment in which a metric joins it, so that both stand at the same record.
//! Nothing is decided here about progress: a metric joins at what is stored, wherever that is, and a main lane that is
//! ahead of it reads again. Lanes are few: a metric that stands still gives its lane up, and who waits says for what.

use super::departures::{Counted, Then};
use super::life::{LOOK, Work};
use super::roster::{Served, Stage};
use super::watchdog::STUCK;
use crate::event::Position;
use crate::pipeline::{Board, Command, Handle, Untold};
use crate::progress::{Halt, Quarantine};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Lanes that replay history at the same time; who comes later waits.
const LANES: usize = 2;

/// The same with those in which a plugin does not return: they make no progress, and cost what they cost.
const MOST: usize = 4;

/// A metric joins when at most so many records are missing: the main lane waits while they are counted.
const NEAR: u64 = 20_000;

/// How long the main lane may be asked to wait for that.
const STAND: Duration = Duration::from_secs(3);

/// After how long that is tried again.
const JOIN_AGAIN: Duration = Duration::from_secs(2);

/// After how long a metric that stands still for something that may be mended outside counts history again, if a lane is free.
const COUNT_AGAIN: Duration = Duration::from_secs(120);

/// A lane that replays history.
pub(super) struct Backfill {
    pub(super) handle: Arc<Handle>,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Vec<Arc<Served>>,
    /// When it was last looked at, and how many records it had counted.
    seen: (Instant, u64),
    /// Records per second.
    rate: f64,
    /// When a metric of it last tried to join.
    tried: Option<Instant>,
}

/// What is said of one that is still counted for somebody else.
const LETS_GO: &str = "it waits until the lane that counted it before has let it go";

impl Work {
    /// Per partition how far the main lane has counted: where history is complete.
    pub(super) fn ahead(&self) -> Position {
        let served: Vec<Arc<Served>> = self.parts.roster.read().served.values().cloned().collect();
        let main = served.iter().filter(|served| matches!(&*served.stage.read(), Stage::Main));
        let counted = self.parts.view.read();
        Position::furthest(main.map(|served| counted.metrics[served.id.0].position.clone()))
    }

    /// Gives those that wait a lane, if one is free; else they say what they wait for.
    pub(super) fn begin_backfills(&mut self) {
        self.backfills.retain(|backfill| !backfill.metrics.is_empty());
        self.count_again();
        let waiting = std::mem::take(&mut self.parts.waiting);
        let (held_back, metrics): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|served| self.is_leaving(served));
        wait(&held_back, LETS_GO);
        self.parts.waiting = held_back;
        if metrics.is_empty() {
            return;
        }
        if let Some(busy) = self.lanes_taken() {
            wait(&metrics, &busy);
            return self.parts.waiting.extend(metrics);
        }
        match self.parts.lanes.backfill(&metrics) {
            Ok((handle, board)) => {
                for served in &metrics {
                    *served.stage.write() = Stage::Backfill { board: board.clone(), eta_s: None };
                }
                let seen = (Instant::now(), self.counted(&metrics));
                let handle = Arc::new(handle);
                self.backfills.push(Backfill { handle, board, metrics, seen, rate: 0.0, tried: None });
            }
            Err(reason) => {
                let why = format!("it waits for a lane: none can be started, which is tried again: {reason}");
                if wait(&metrics, &why) {
                    tracing::error!("history cannot be counted, trying again: {reason}");
                }
                self.parts.waiting.extend(metrics);
            }
        }
    }

    /// Who has the lanes, if none is free.
    pub(super) fn lanes_taken(&self) -> Option<String> {
        let moving = self.backfills.iter().filter(|lane| lane.board.stuck(STUCK).is_none()).count();
        if moving < LANES && self.backfills.len() < MOST {
            return None;
        }
        let metrics = self.backfills.iter().flat_map(|backfill| &backfill.metrics);
        let names: Vec<&str> = metrics.map(|served| served.askable.plugin.name()).collect();
        let lanes = self.backfills.len();
        Some(format!("it waits for a lane: {lanes} replay history at the same time, now of {}", names.join(", ")))
    }

    /// Those that gave their lane up for something that may have been mended meanwhile wait for one again.
    fn count_again(&mut self) {
        if self.backfills.len() >= LANES || !self.parts.waiting.is_empty() {
            return;
        }
        let due = |served: &Arc<Served>| match &*served.stage.read() {
            // A plugin, or a limit: another file or section is another revision or brings it here by itself. Memory: it goes on when
            // there is some.
            Stage::Stopped {
                halt:
                    Halt::Quarantined(
                        Quarantine::Failing(_) | Quarantine::OverMaxCells { .. } | Quarantine::OverMemory { .. },
                    ),
                ..
            } => false,
            Stage::Stopped { since, .. } => since.elapsed() >= COUNT_AGAIN,
            _ => false,
        };
        let again = self.parts.roster.read().all().filter(|served| due(served)).cloned().collect::<Vec<Arc<Served>>>();
        let (beside, again): (Vec<_>, Vec<_>) = again.into_iter().partition(|served| served.reads.is_some());
        wait(&beside, "it waits for a lane");
        self.parts.beside.extend(beside);
        wait(&again, "it waits for a lane");
        self.parts.waiting.extend(again);
    }

    /// Gives metrics that read events otherwise than is configured now a lane each: it follows the log as the main one does.
    pub(super) fn begin_besides(&mut self) {
        self.besides.retain(|beside| !beside.metrics.is_empty());
        let waiting = std::mem::take(&mut self.parts.beside);
        let (held_back, metrics): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|served| self.is_leaving(served));
        wait(&held_back, LETS_GO);
        self.parts.beside = held_back;
        for served in metrics {
            match self.parts.lanes.beside(&served) {
                Ok((handle, board)) => {
                    *served.stage.write() = Stage::Backfill { board: board.clone(), eta_s: None };
                    let (handle, seen) = (Arc::new(handle), (Instant::now(), 0));
                    self.besides.push(Backfill { handle, board, metrics: vec![served], seen, rate: 0.0, tried: None });
                }
                Err(reason) => {
                    tracing::error!(
                        metric = served.askable.plugin.name(),
                        "it cannot be counted, trying again: {reason}"
                    );
                    self.parts.beside.push(served);
                }
            }
        }
    }

    /// Looks how far the backfills are, has those give their lane up that stand still, and lets those join that have arrived.
    pub(super) fn step(&mut self) {
        self.give_up();
        let ahead = self.ahead();
        for n in 0..self.backfills.len() {
            let counted = self.counted(&self.backfills[n].metrics);
            let backfill = &mut self.backfills[n];
            let took = backfill.seen.0.elapsed();
            if took >= LOOK {
                let rate = counted.saturating_sub(backfill.seen.1) as f64 / took.as_secs_f64();
                // Smoothed over some seconds.
                backfill.rate = if backfill.rate == 0.0 { rate } else { backfill.rate * 0.8 + rate * 0.2 };
                backfill.seen = (Instant::now(), counted);
            }
            let mut missing = 0;
            let held = backfill.board.look(|standing| standing.held.clone());
            for served in &backfill.metrics {
                let left = self.parts.view.aim(served.id, &ahead, &held);
                let eta_s = (backfill.rate > 0.0).then(|| (left as f64 / backfill.rate).ceil() as u64);
                *served.stage.write() = Stage::Backfill { board: backfill.board.clone(), eta_s };
                missing = left.max(missing);
            }
            let lately = backfill.tried.is_some_and(|tried| tried.elapsed() < JOIN_AGAIN);
            // Where nothing is assigned yet nobody knows how much is missing.
            let holds = |main: &crate::pipeline::Standing| main.assigned && main.held.iter().all(|p| held.contains(p));
            if missing <= NEAR && !backfill.metrics.is_empty() && !lately && self.parts.board.look(holds) {
                self.join(n);
            }
        }
    }

    /// Metrics that stand still, or whose lane has ended, make no progress in it: others may.
    fn give_up(&mut self) {
        let main = &self.parts.board;
        let mut stopped = Vec::new();
        for backfill in self.backfills.iter().chain(&self.besides) {
            let ended = backfill.board.look(|standing| standing.ended.then(|| ending(standing)));
            for served in &backfill.metrics {
                if let Some(halt) = served.halt(main).or_else(|| ended.clone()) {
                    let lane = Counted { handle: backfill.handle.clone(), board: backfill.board.clone() };
                    stopped.push((served.clone(), lane, halt));
                }
            }
        }
        for (served, lane, halt) in stopped {
            tracing::warn!(metric = served.askable.plugin.name(), "it gives its lane up, for it stands still: {halt}");
            self.take_out(served, &lane, Then::Stands(halt));
        }
    }

    /// Records counted by metrics, together.
    fn counted(&self, metrics: &[Arc<Served>]) -> u64 {
        let counted = self.parts.view.read();
        metrics.iter().map(|served| counted.metrics[served.id.0].events).max().unwrap_or(0)
    }

    /// Lets the metrics of a backfill join the main lane, all at the record where it stands.
    fn join(&mut self, n: usize) {
        self.backfills[n].tried = Some(Instant::now());
        let (answer, at) = sync_channel(1);
        if self.parts.main.tell(Command::Stand(STAND, answer)).is_err() {
            return;
        }
        if let Ok(position) = at.recv_timeout(STAND) {
            let deadline = Instant::now() + STAND - STAND / 6;
            let Backfill { handle, board, metrics, .. } = &self.backfills[n];
            let lane = Counted { handle: handle.clone(), board: board.clone() };
            let held = board.look(|standing| standing.held.clone());
            let position = Position(position.0.into_iter().filter(|(partition, _)| held.contains(partition)).collect());
            let ready = |served: &&Arc<Served>| {
                let left = deadline.saturating_duration_since(Instant::now());
                served.halt(&self.parts.board).is_none() && self.parts.view.wait_for(served.id, &position, left)
            };
            let joining: Vec<Arc<Served>> = metrics.iter().filter(ready).cloned().collect();
            for served in joining {
                self.take_out(served, &lane, Then::Joins);
            }
            // Who is let go later joins behind the main lane, which then reads the difference again.
            self.see_off(deadline.saturating_duration_since(Instant::now()));
        }
        // One that is not told goes on by itself.
        let _ = self.parts.main.tell(Command::Go);
    }

    /// Every lane in which a partition stands at this offset goes on without the records there.
    pub(super) fn skip(&self, partition: u32, offset: u64) -> Result<String, String> {
        let beside = self.backfills.iter().chain(&self.besides).map(|backfill| &backfill.handle);
        let (mut stood, mut unknown) = (false, false);
        let mut asked = Vec::new();
        for lane in beside.chain([&self.parts.main]) {
            let (answer, answered) = sync_channel(1);
            match lane.tell(Command::Skip(partition, offset, answer)) {
                Ok(()) => asked.push(answered),
                Err(Untold::Busy) => unknown = true,
                // Nothing stands there.
                Err(Untold::Ended) => {}
            }
        }
        let limit = Instant::now() + STAND;
        for answered in asked {
            match answered.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(here) => stood |= here,
                Err(_) => unknown = true,
            }
        }
        match (unknown, stood) {
            (true, _) => Err(
                "a lane has not answered in time: whether it goes on is not known; look at /readyz?verbose, and try again".into(),
            ),
            (false, true) => {
                Ok(format!("partition {partition} goes on without the records at offset {offset}; the gap is noted"))
            }
            (false, false) => Err(format!(
                "partition {partition} does not stand at offset {offset}: /readyz?verbose says where and why something stands still"
            )),
        }
    }
}

/// Notes what metrics wait for; whether that is new to any.
fn wait(metrics: &[Arc<Served>], what: &str) -> bool {
    let mut new = false;
    for served in metrics {
        let mut stage = served.stage.write();
        if !matches!(&*stage, Stage::Waiting(known) if &**known == what) {
            *stage = Stage::Waiting(what.into());
            new = true;
        }
    }
    new
}

/// Why a lane ended that nobody told to.
fn ending(standing: &crate::pipeline::Standing) -> Halt {
    let failed = standing.failed.as_ref().map(ToString::to_string);
    let why = failed.or_else(|| standing.source_trouble.clone()).unwrap_or_else(|| "its lane ended".to_owned());
    Halt::Quarantined(Quarantine::Ended(why))
}
