//! A plugin's life while the engine runs: files that come, change and go; metrics that count history in a lane of their
//! own and then join the main one; code that is replaced.
//!
//! One thread looks at the folders and at the configuration file twice a second and decides. Counting is not disturbed:
//! the main lane stands still only for the moment in which a metric joins it, so that both stand at the same record.
//! Nothing is decided here about progress: a metric joins at what is stored, wherever that is, and a main lane that is
//! ahead of it reads again. The channel carries nothing, so it is bounded by its silence: its end is the signal to stop.

use super::lanes::Lanes;
use super::roster::{Retired, Roster, Served, Stage};
use super::watchdog::Watchdog;
use super::{MetricState, Rejected};
use crate::config::MetricConfig;
use crate::config::load::{FileChoice, Inputs, load};
use crate::event::Position;
use crate::pipeline::{Board, Command, Followers, Handle, Left, Place, View};
use crate::plugin::{self, Found, Registry};
use crate::progress::History;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Lanes that replay history at the same time; who comes later waits.
const LANES: usize = 2;

/// A metric joins when at most so many records are missing: the main lane waits while they are counted.
const NEAR: u64 = 20_000;

/// How long the main lane may be asked to wait for that.
const STAND: Duration = Duration::from_secs(3);

/// How long an answer of a lane is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// The thread; it ends when this is dropped.
pub(super) struct Life {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
pub(super) struct Parts {
    pub(super) registry: Registry,
    pub(super) sections: BTreeMap<String, MetricConfig>,
    /// The configuration file, if there is one.
    pub(super) file: Option<PathBuf>,
    pub(super) roster: Arc<RwLock<Roster>>,
    pub(super) view: Arc<View>,
    pub(super) board: Arc<Board>,
    pub(super) followers: Arc<Followers>,
    pub(super) main: Arc<Handle>,
    pub(super) lanes: Lanes,
    /// Metrics that have history to count.
    pub(super) waiting: Vec<Arc<Served>>,
}

/// A lane that replays history.
struct Backfill {
    handle: Handle,
    board: Arc<Board>,
    metrics: Vec<Arc<Served>>,
    /// When it was last looked at, and how many records it had counted.
    seen: (Instant, u64),
    /// Records per second.
    rate: f64,
}

struct Work {
    parts: Parts,
    backfills: Vec<Backfill>,
    stamp: Option<std::time::SystemTime>,
    /// What is wrong with the configuration file.
    fault: Option<Rejected>,
    watchdog: Watchdog,
}

pub(super) fn start(parts: Parts) -> std::io::Result<Life> {
    // Nothing is ever sent: its end is the message.
    let (stop, stopped) = sync_channel(0);
    let stamp = parts.file.as_ref().and_then(modified);
    let work = Work { parts, backfills: Vec::new(), stamp, fault: None, watchdog: Watchdog::default() };
    let thread = std::thread::Builder::new().name("tally-plugins".into()).spawn(move || work.run(&stopped))?;
    Ok(Life { stop: Some(stop), thread: Some(thread) })
}

impl Life {
    /// Ends the lanes that replay history, and the thread.
    pub(super) fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after plugins panicked");
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

fn modified(file: &PathBuf) -> Option<std::time::SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

impl Work {
    fn run(mut self, stopped: &Receiver<()>) {
        self.begin_backfills();
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            self.look_at_configuration();
            let found = self.parts.registry.look(&self.parts.sections);
            self.reconcile(found);
            self.step();
            self.begin_backfills();
            self.watchdog.look(&self.parts.roster.read(), &self.parts.board);
        }
        for backfill in self.backfills {
            backfill.handle.stop(Duration::from_secs(1));
        }
    }

    /// Takes over sections of the configuration file that changed.
    fn look_at_configuration(&mut self) {
        let Some(file) = &self.parts.file else { return };
        let stamp = modified(file);
        if stamp == self.stamp || stamp.is_none() {
            return;
        }
        self.stamp = stamp;
        let inputs = Inputs { file: FileChoice::Given(file.clone()), env: &|_| None, flags: Vec::new() };
        match load(inputs) {
            Ok(loaded) => {
                self.fault = None;
                self.parts.sections = loaded.config.metrics;
                tracing::info!(file = %file.display(), "[metrics] read again; other sections take effect with the next start");
            }
            Err(fault) => {
                tracing::warn!(file = %file.display(), "the configuration was changed and is not taken over: {fault}");
                let reason = format!("is not taken over: {fault} (mend it; what was served goes on)");
                self.fault = Some(Rejected { file: file.display().to_string(), reason, since: now() });
            }
        }
    }

    /// Brings what is served in line with what was found.
    fn reconcile(&mut self, found: Found) {
        let served = self.parts.roster.read().served.clone();
        for plugin in &found.metrics {
            match served.get(plugin.name()) {
                None => self.admit(plugin),
                Some(before) if Arc::ptr_eq(&before.askable.plugin, plugin) => {}
                Some(before) => self.replace(before, plugin),
            }
        }
        for (name, gone) in &served {
            if !found.metrics.iter().any(|metric| metric.name() == name) {
                self.retire(gone);
            }
        }
        let mut roster = self.parts.roster.write();
        let known = std::mem::take(&mut roster.rejected);
        let told = found.rejected.into_iter().map(|file| {
            let (file, reason) = (file.file.display().to_string(), file.reason);
            let before = known.iter().find(|known| known.file == file && known.reason == reason);
            let since = before.map_or_else(now, |before| before.since);
            Rejected { file, reason, since }
        });
        roster.rejected = told.chain(self.fault.clone()).collect();
        roster.loaded = self.parts.registry.loaded();
    }

    /// A metric that was not served: it counts history first.
    fn admit(&mut self, plugin: &Arc<plugin::Metric>) {
        let place = Place { since: now(), target: Some(self.ahead()), ..Place::default() };
        match self.parts.lanes.serve(plugin, &self.parts.view, place) {
            Ok(served) => {
                tracing::info!(
                    metric = plugin.name(),
                    version = plugin.version(),
                    "metric loaded; it counts its history"
                );
                *served.stage.write() = Stage::Waiting;
                let served = Arc::new(served);
                self.follow(&served);
                let mut roster = self.parts.roster.write();
                roster.retired.remove(plugin.name());
                roster.served.insert(plugin.name().to_owned(), served.clone());
                drop(roster);
                self.parts.waiting.push(served);
            }
            Err(reason) => tracing::error!(metric = plugin.name(), "the metric cannot be served: {reason}"),
        }
    }

    /// Where engines share a store: its answers come from there.
    fn follow(&self, served: &Served) {
        let Some(follower) = &served.follower else { return };
        if let Err(fault) = follower.refresh(Instant::now()) {
            tracing::warn!(metric = served.askable.plugin.name(), "its state cannot be read yet: {fault}");
        }
        follower.aim(&self.parts.followers.furthest());
        self.parts.followers.add(follower.clone());
    }

    /// Other code, or another configuration, of a metric that is served.
    fn replace(&mut self, before: &Arc<Served>, plugin: &Arc<plugin::Metric>) {
        let (revision, _) = self.parts.lanes.revision(plugin);
        if revision == before.revision && before.halt(&self.parts.board).is_none() {
            match before.with_code(plugin) {
                Ok(served) => self.swap(before, Arc::new(served)),
                Err(reason) => tracing::error!(metric = plugin.name(), "the new code cannot be served: {reason}"),
            }
        } else {
            // It stands still and may now go on; or it means something else: its own state, counted anew.
            self.retire(before);
            self.admit(plugin);
        }
    }

    fn swap(&mut self, before: &Arc<Served>, served: Arc<Served>) {
        let plugin = &served.askable.plugin;
        tracing::info!(metric = plugin.name(), version = plugin.version(), "code replaced, state stays");
        for backfill in &mut self.backfills {
            for metric in backfill.metrics.iter_mut().filter(|metric| Arc::ptr_eq(metric, before)) {
                *metric = served.clone();
                backfill.handle.tell(Command::Swap(served.no, plugin.clone()));
            }
        }
        for metric in self.parts.waiting.iter_mut().filter(|metric| Arc::ptr_eq(metric, before)) {
            *metric = served.clone();
        }
        if matches!(&*served.stage.read(), Stage::Main) {
            self.parts.main.tell(Command::Swap(served.no, plugin.clone()));
        }
        self.parts.roster.write().served.insert(plugin.name().to_owned(), served.clone());
    }

    /// A metric that is no longer wanted: what it has counted stays stored.
    fn retire(&mut self, served: &Arc<Served>) {
        let name = served.askable.plugin.name();
        tracing::info!(metric = name, "metric retired; its state is kept");
        let mut info = served.info(&self.parts.view, &self.parts.board);
        (info.state, info.since) = (MetricState::Retired, now());
        {
            let mut roster = self.parts.roster.write();
            roster.served.remove(name);
            roster.retired.insert(name.to_owned(), Retired { info });
        }
        self.parts.waiting.retain(|waiting| !Arc::ptr_eq(waiting, served));
        for backfill in &mut self.backfills {
            if backfill.metrics.iter().any(|metric| Arc::ptr_eq(metric, served)) {
                leave(&backfill.handle, served);
                backfill.metrics.retain(|metric| !Arc::ptr_eq(metric, served));
            }
        }
        if matches!(&*served.stage.read(), Stage::Main) {
            leave(&self.parts.main, served);
        }
        if let Some(follower) = &served.follower {
            self.parts.followers.remove(follower);
        }
        served.gone.store(true, Ordering::Release);
        self.parts.view.empty(served.id);
    }

    /// Per partition how far the main lane has counted: where history is complete.
    fn ahead(&self) -> Position {
        let served: Vec<Arc<Served>> = self.parts.roster.read().served.values().cloned().collect();
        let main = served.iter().filter(|served| matches!(&*served.stage.read(), Stage::Main));
        let counted = self.parts.view.read();
        Position::furthest(main.map(|served| counted.metrics[served.id.0].position.clone()))
    }

    /// Gives those that wait a lane.
    fn begin_backfills(&mut self) {
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
    fn step(&mut self) {
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
        self.parts.main.tell(Command::Join { metric, history: History::Whole, shown: left.shown });
        self.parts.view.arrived(served.id, now());
        self.parts.lanes.answers_now(&served.revision);
        tracing::info!(metric = served.askable.plugin.name(), "history is counted; the metric is active");
    }
}

/// Takes a metric out of a lane, everything stored that it has counted.
fn leave(lane: &Handle, served: &Served) -> Left {
    let (answer, left) = sync_channel(1);
    if !lane.tell(Command::Leave(served.no, answer)) {
        return Left::default();
    }
    left.recv_timeout(ANSWER).unwrap_or_default()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
