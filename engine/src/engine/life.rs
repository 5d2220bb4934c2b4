//! A plugin's life while the engine runs: files that come, change and go; metrics that count history in a lane of their
//! own and then join the main one; code that is replaced.
//!
//! One thread looks at the folders and at the configuration file twice a second (`look`) and decides; `arrivals` has how a
//! metric joins the main lane, `departures` how it leaves one, `versions` what happens while two revisions are there, `purge` how what
//! is stored goes. Counting is not disturbed. The queue of orders is bounded: who finds it full is told so.

use super::answering::Answering;
use super::arrivals::Backfill;
use super::book::Book;
use super::departures::{Departure, Then};
use super::evaluate::now;
use super::lanes::Lanes;
use super::look::{Needed, modified};
use super::recall::Reading;
use super::roster::{Retired, Roster, Served, Stage};
use super::starved::Tried;
use super::system::OfSystem;
use super::watchdog::Watchdog;
use super::{MetricState, Order, Rejected, elsewhere};
use crate::config::MetricConfig;
use crate::database::Database;
use crate::pipeline::{Board, Followers, Handle, Place, Thread, View, guard};
use crate::plugin::{self, Found, Registry};
use crate::store::RevisionId;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// Between two steps while metrics are on their way into a lane or out of one.
const STEP: Duration = Duration::from_millis(100);

/// How long a lane may take to let a metric go before other things are seen to meanwhile.
const PROMPT: Duration = Duration::from_secs(2);

/// How often the believed time is written down.
const REMEMBER: Duration = Duration::from_secs(60);

/// How long the thread's end is waited for.
const PARTING: Duration = Duration::from_secs(5);

/// How long the outcome of an order is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// The thread; it ends when this is dropped.
pub(super) struct Life {
    orders: Option<SyncSender<Asked>>,
    thread: Option<JoinHandle<()>>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
}

/// An order, and where its outcome is waited for.
type Asked = (Order, SyncSender<Result<String, String>>);

/// Orders that may wait.
const ORDERS: usize = 16;

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
    pub(super) answering: Arc<Answering>,
    pub(super) main: Arc<Handle>,
    pub(super) lanes: Lanes,
    /// Metrics that have history to count.
    pub(super) waiting: Vec<Arc<Served>>,
    /// Metrics that read events otherwise than is configured now, and have no lane yet.
    pub(super) beside: Vec<Arc<Served>>,
    /// What outlives the engine.
    pub(super) book: Book,
    /// Where copies of plugin files are.
    pub(super) private: PathBuf,
    /// Where the believed time is written down.
    pub(super) database: Database,
    /// Where what it found is read.
    pub(super) found: Arc<Mutex<OfSystem>>,
}

/// The thread's own.
pub(super) struct Work {
    pub(super) parts: Parts,
    pub(super) backfills: Vec<Backfill>,
    /// Metrics that a lane was told to let go.
    pub(super) leaving: Vec<Departure>,
    /// Lanes of metrics that read events otherwise than is configured now: they never join the main one.
    pub(super) besides: Vec<Backfill>,
    pub(super) stamp: Option<SystemTime>,
    /// What is wrong with the configuration file.
    pub(super) fault: Option<Rejected>,
    /// Metrics that were found and cannot be served yet: file and why.
    pub(super) unserved: BTreeMap<String, (String, String)>,
    watchdog: Watchdog,
    /// By what private copies were last removed that nobody needs.
    pub(super) swept: Option<Needed>,
    looked_elsewhere: Instant,
    /// When the time was last written down.
    remembered: Instant,
    /// Of revisions that stopped for lack of memory.
    pub(super) tried: BTreeMap<RevisionId, Tried>,
}

pub(super) fn start(parts: Parts) -> std::io::Result<Life> {
    let (orders, asked) = sync_channel(ORDERS);
    let stamp = parts.file.as_ref().and_then(modified);
    let board = parts.board.clone();
    let work = Work {
        parts,
        backfills: Vec::new(),
        leaving: Vec::new(),
        besides: Vec::new(),
        stamp,
        fault: None,
        unserved: BTreeMap::new(),
        swept: None,
        watchdog: Watchdog::default(),
        looked_elsewhere: Instant::now(),
        remembered: Instant::now(),
        tried: BTreeMap::new(),
    };
    let (working, ended) = sync_channel(0);
    let run = move || {
        let _working = working;
        guard(&board, Thread::Plugins, || work.run(&asked));
    };
    let thread = std::thread::Builder::new().name(Thread::Plugins.name().into()).spawn(run)?;
    Ok(Life { orders: Some(orders), thread: Some(thread), ended })
}

/// Where orders go. The thread ends once all of these are gone too.
pub(super) struct Orders(SyncSender<Asked>);

fn ended() -> String {
    "nothing was done: the engine is stopping, or what looks after plugins has ended (GET /readyz says which)"
        .to_owned()
}

impl Orders {
    /// Has something done, and waits for its outcome.
    pub(super) fn order(&self, order: Order) -> Result<String, String> {
        self.send(order)?.recv_timeout(ANSWER).map_err(|fault| match fault {
            RecvTimeoutError::Timeout => {
                let seconds = ANSWER.as_secs();
                format!("it is not known whether it was done: no outcome within {seconds} s, for the engine is busy with plugins; it is still to be done; tally plugin list shows what became of it")
            }
            RecvTimeoutError::Disconnected => ended(),
        })?
    }

    /// Has something done; where its outcome comes.
    pub(super) fn send(&self, order: Order) -> Result<Receiver<Result<String, String>>, String> {
        let (answer, outcome) = sync_channel(1);
        self.0.try_send((order, answer)).map_err(|fault| match fault {
            TrySendError::Full(_) => {
                format!(
                    "nothing was done: {ORDERS} orders wait already, for the engine is busy with plugins; try again"
                )
            }
            TrySendError::Disconnected(_) => ended(),
        })?;
        Ok(outcome)
    }
}

impl Life {
    /// The thread's queue, while it works.
    pub(super) fn at_work(&self) -> Result<Orders, String> {
        self.orders.clone().map(Orders).ok_or_else(ended)
    }

    /// Ends the lanes that replay history, and the thread. One that a file system or a plugin holds up is left behind: what it does
    /// is in no state yet.
    pub(super) fn end(&mut self) {
        self.orders = None;
        let Some(thread) = self.thread.take() else { return };
        if self.ended.recv_timeout(PARTING) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the thread that looks after plugins hangs in a file or a plugin; it is not waited for any longer"
            );
            return;
        }
        // Its panic is on the board.
        drop(thread.join());
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

impl Work {
    fn run(mut self, asked: &Receiver<Asked>) {
        self.begin_backfills();
        self.begin_besides();
        self.write_down();
        let mut looked = Instant::now();
        loop {
            let idle = self.backfills.is_empty() && self.leaving.is_empty();
            let pace = if idle { LOOK } else { STEP };
            match asked.recv_timeout(pace.min(LOOK.saturating_sub(looked.elapsed()))) {
                Ok((order, answer)) => {
                    // Who no longer waits finds the outcome in the list of revisions.
                    let _ = answer.send(self.obey(&order));
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                *self.parts.found.lock() = OfSystem::ask(&self.parts.database, &self.parts.private);
                self.look(false);
            }
            self.step();
            self.see_off(Duration::ZERO);
            self.turn();
            self.let_go_on();
            self.begin_backfills();
            self.begin_besides();
            self.watchdog.look(&self.parts.roster.read(), &self.parts.board, &self.parts.answering);
            if self.remembered.elapsed() >= REMEMBER {
                self.remembered = Instant::now();
                if let Err(fault) = self.parts.database.remember_time() {
                    tracing::debug!(
                        "the time is not written down, which only the next start would compare with: {fault}"
                    );
                }
            }
            if self.looked_elsewhere.elapsed() >= elsewhere::LOOK {
                self.looked_elsewhere = Instant::now();
                self.look_elsewhere();
                self.parts.lanes.note_again();
            }
        }
        for backfill in self.backfills.into_iter().chain(self.besides) {
            backfill.handle.stop(Duration::from_secs(1));
        }
    }

    /// Brings what is served in line with what was found.
    pub(super) fn reconcile(&mut self, found: Found) {
        for plugin in &found.metrics {
            self.take_notice(plugin);
        }
        let served = self.parts.roster.read().served.clone();
        for (name, gone) in &served {
            if !found.metrics.iter().any(|metric| metric.name() == name) {
                self.retire(gone);
            }
        }
        let mut roster = self.parts.roster.write();
        let known = std::mem::take(&mut roster.rejected);
        let known: HashMap<(String, String), i64> =
            known.into_iter().map(|known| ((known.file, known.reason), known.since)).collect();
        self.unserved.retain(|name, _| found.metrics.iter().any(|metric| metric.name() == name));
        let files = found.rejected.into_iter().map(|file| (file.file.display().to_string(), file.reason));
        let told = files.chain(self.unserved.values().cloned()).map(|(file, reason)| {
            let since = known.get(&(file.clone(), reason.clone())).copied().unwrap_or_else(now);
            Rejected { file, reason, since }
        });
        roster.rejected = told.chain(self.fault.clone()).collect();
        roster.loaded = self.parts.registry.loaded();
    }

    /// What the folder holds of a metric.
    fn take_notice(&mut self, plugin: &Arc<plugin::Metric>) {
        let name = plugin.name();
        let (served, next, before) = {
            let roster = self.parts.roster.read();
            let next = roster.next.get(name).map(|next| next.served.clone());
            let before = roster.before.get(name).map(|before| before.served.clone());
            (roster.served.get(name).cloned(), next, before)
        };
        let Some(served) = served else { return self.admit(plugin) };
        let is = |other: &Arc<Served>| Arc::ptr_eq(&other.askable.plugin, plugin);
        if next.as_ref().map_or_else(|| is(&served), is) {
            return;
        }
        let (revision, _) = self.parts.lanes.revision(plugin);
        let same = |other: &Option<Arc<Served>>| other.as_ref().is_some_and(|other| other.revision == revision);
        if served.revision == revision {
            self.drop_next(name);
            self.replace(&served, plugin);
        } else if let Some(next) = next.filter(|next| next.revision == revision) {
            self.replace(&next, plugin);
        } else if same(&before) {
            // Its file was dropped in again.
            self.rollback(name);
            self.drop_next(name);
            if let Some(before) = before {
                self.replace(&before, plugin);
            }
        } else {
            self.admit_next(plugin);
        }
    }

    /// A metric that was not served: it counts history first.
    pub(super) fn admit(&mut self, plugin: &Arc<plugin::Metric>) {
        let Some(served) = self.place(&Reading::configured(plugin)) else { return };
        self.follow(&served);
        tracing::info!(metric = plugin.name(), version = plugin.version(), "metric loaded; it counts its history");
        let mut roster = self.parts.roster.write();
        roster.retired.remove(plugin.name());
        roster.served.insert(plugin.name().to_owned(), served.clone());
        drop(roster);
        self.parts.waiting.push(served);
    }

    /// Gives a revision its place in state; it waits for a lane.
    pub(super) fn place(&mut self, reading: &Reading) -> Option<Arc<Served>> {
        let plugin = &reading.plugin;
        let place = Place { since: now(), target: Some(self.ahead()), ..Place::default() };
        match self.parts.lanes.serve(reading, &self.parts.view, place) {
            Ok(served) => {
                self.unserved.remove(plugin.name());
                *served.stage.write() = Stage::Waiting("it waits for a lane".into());
                Some(Arc::new(served))
            }
            Err(reason) => {
                let told = (plugin.file().display().to_string(), reason);
                if self.unserved.get(plugin.name()) != Some(&told) {
                    tracing::error!(metric = plugin.name(), "the metric cannot be served, trying again: {}", told.1);
                    self.unserved.insert(plugin.name().to_owned(), told);
                }
                None
            }
        }
    }

    /// Where engines share a store: its answers come from there.
    pub(super) fn follow(&self, served: &Served) {
        let Some(follower) = &served.follower else { return };
        if let Err(fault) = follower.refresh(Instant::now()) {
            tracing::warn!(metric = served.askable.plugin.name(), "its state cannot be read yet: {fault}");
        }
        follower.aim(&self.parts.followers.furthest());
        self.parts.followers.add(follower.clone());
    }

    /// A metric that is no longer wanted: what it has counted stays stored.
    pub(super) fn retire(&mut self, served: &Arc<Served>) {
        let name = served.askable.plugin.name();
        tracing::info!(metric = name, "metric retired; its state is kept");
        self.parts.lanes.forget_note(name);
        let mut info = served.info(&self.parts.view, &self.parts.board);
        (info.state, info.since) = (MetricState::Retired, now());
        let (next, before) = {
            let mut roster = self.parts.roster.write();
            roster.served.remove(name);
            let (next, before) = (roster.next.remove(name), roster.before.remove(name));
            let beside = next.iter().map(|next| &next.served).chain(before.iter().map(|before| &before.served));
            let revisions = beside.chain([served]).map(|served| served.revision.clone()).collect();
            roster.retired.insert(name.to_owned(), Retired { info, revisions });
            (next, before)
        };
        self.release(served);
        next.iter().for_each(|next| self.release(&next.served));
        before.iter().for_each(|before| self.release(&before.served));
        self.write_down();
    }

    /// Takes a revision that nobody asks any more out of its lane and, once that has let it go, out of memory; what it has counted
    /// stays stored.
    pub(super) fn release(&mut self, served: &Arc<Served>) {
        self.parts.waiting.retain(|waiting| waiting.no != served.no);
        self.parts.beside.retain(|beside| beside.no != served.no);
        served.gone.store(true, Ordering::Release);
        if let Some(follower) = &served.follower {
            self.parts.followers.remove(follower);
            follower.let_go();
        }
        if let Some(leaving) = self.leaving.iter_mut().find(|leaving| leaving.no == served.no) {
            leaving.what.then = Then::Gone;
        } else {
            match self.lane_of(served) {
                Some(lane) => self.take_out(served.clone(), &lane, Then::Gone),
                None => self.empty(served),
            }
        }
        self.see_off(PROMPT);
    }
}
