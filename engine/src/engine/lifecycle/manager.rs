//! The plugin manager: one thread that compares the plugin folders and the configuration with what
//! is served, twice a second, and carries out what follows from that.
//!
//! A pass observes (`observe`), decides (`reconcile`) and acts, one step after the other. An action
//! that fails is proposed again by the next pass. Counting continues meanwhile.

use super::foreign_revisions;
use super::lane_pool::{LanePool, note_wait};
use super::leave::Departure;
use super::notebook::Notebook;
use super::reconcile::{Action, Step, reconcile};
use super::scan::ChangeScan;
use super::sections::MetricSections;
use super::serve::Unserved;
use super::snapshot::{LaneKind, Tried};
use super::thread::{self, Asked, ManagerThread};
use crate::database::Database;
use crate::engine::ConfigFile;
use crate::engine::answer_slots::AnswerSlots;
use crate::engine::catalog::{MetricCatalog, ServedRevision};
use crate::engine::event_rate::RateSamples;
use crate::engine::lane_factory::LaneFactory;
use crate::engine::system_report::SystemReport;
use crate::engine::tried_plugin::TriedPlugins;
use crate::engine::watchdog::CallWatchdog;
use crate::host::{PluginSet, Registry};
use crate::pipeline::{Followers, Handle, LaneStatus, View};
use crate::progress::RevisionNo;
use crate::store::RevisionId;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Between two scans of the folders.
pub(super) const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Between two passes while metrics are on their way into a lane or out of one.
const STEP: Duration = Duration::from_millis(100);

/// How often the believed time is stored.
const REMEMBER: Duration = Duration::from_secs(60);

/// What the manager works with.
pub(in crate::engine) struct ManagerParts {
    pub(in crate::engine) registry: Registry,
    /// Where the plugins of the folders are shown to others.
    pub(in crate::engine) plugins: Arc<RwLock<PluginSet>>,
    /// Where plugins are named that the thread itself calls.
    pub(in crate::engine) tried: Arc<TriedPlugins>,
    pub(in crate::engine) sections: MetricSections,
    /// The configuration file, if there is one.
    pub(in crate::engine) file: Option<ConfigFile>,
    pub(in crate::engine) catalog: Arc<RwLock<MetricCatalog>>,
    pub(in crate::engine) view: Arc<View>,
    /// The main lane's.
    pub(in crate::engine) status: Arc<LaneStatus>,
    pub(in crate::engine) followers: Arc<Followers>,
    pub(in crate::engine) answering: Arc<AnswerSlots>,
    /// The main lane.
    pub(in crate::engine) main: Arc<Handle>,
    /// Makes lanes, and metrics for them.
    pub(in crate::engine) factory: LaneFactory,
    /// What outlives the engine.
    pub(in crate::engine) notebook: Notebook,
    /// Where copies of plugin files are.
    pub(in crate::engine) private: PathBuf,
    /// Where the believed time is stored.
    pub(in crate::engine) database: Database,
    /// Where readiness reads the latest answers of the system.
    pub(in crate::engine) system_report: Arc<Mutex<SystemReport>>,
    /// Where the number of records counted is noted.
    pub(in crate::engine) rate: Arc<RateSamples>,
}

/// What the thread owns.
pub(super) struct PluginManager {
    pub(super) scan: ChangeScan,
    pub(super) catalog: Arc<RwLock<MetricCatalog>>,
    pub(super) view: Arc<View>,
    /// The main lane's.
    pub(super) status: Arc<LaneStatus>,
    pub(super) followers: Arc<Followers>,
    pub(super) main: Arc<Handle>,
    pub(super) factory: LaneFactory,
    pub(super) pool: LanePool,
    /// Metrics that a lane was asked to release.
    pub(super) leaving: Vec<Departure>,
    pub(super) notebook: Notebook,
    /// Metrics that were found and cannot be served, by name.
    pub(super) unserved: BTreeMap<String, Unserved>,
    /// When revisions that stopped for lack of memory were last tried.
    pub(super) tried: BTreeMap<RevisionId, TriedAt>,
    upkeep: Upkeep,
}

/// When a revision was last restarted for lack of memory, or found not to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct TriedAt {
    at: Instant,
    pause: Duration,
    /// Bytes that metrics held then.
    held: u64,
}

/// Regular work beside plugins.
struct Upkeep {
    answering: Arc<AnswerSlots>,
    database: Database,
    system_report: Arc<Mutex<SystemReport>>,
    rate: Arc<RateSamples>,
    watchdog: CallWatchdog,
    /// When the time was last stored.
    remembered: Instant,
    foreign_seen: Instant,
}

/// Starts the manager's thread.
///
/// # Errors
/// The system starts no thread.
pub(in crate::engine) fn start(parts: ManagerParts) -> std::io::Result<ManagerThread> {
    let status = parts.status.clone();
    parts.catalog.write().sections = parts.sections.list();
    let manager = PluginManager {
        scan: ChangeScan::new(
            (parts.registry, parts.plugins),
            (parts.sections, parts.tried.judging.clone()),
            parts.file,
            parts.private,
        ),
        catalog: parts.catalog,
        view: parts.view,
        status: parts.status,
        followers: parts.followers,
        main: parts.main,
        factory: parts.factory,
        pool: LanePool::default(),
        leaving: Vec::new(),
        notebook: parts.notebook,
        unserved: BTreeMap::new(),
        tried: BTreeMap::new(),
        upkeep: Upkeep {
            answering: parts.answering,
            database: parts.database,
            system_report: parts.system_report,
            rate: parts.rate,
            watchdog: CallWatchdog::default(),
            remembered: Instant::now(),
            foreign_seen: Instant::now(),
        },
    };
    thread::start(manager, status, parts.tried)
}

impl PluginManager {
    /// Passes, and orders between them, until the queue is closed.
    pub(super) fn run(mut self, asked: &Receiver<Asked>) {
        self.pass(Step::LaneStarts);
        self.note_roles();
        let mut looked = Instant::now();
        loop {
            let idle = !self.pool.has_backfills() && self.leaving.is_empty();
            let pace = if idle { CHECK_EVERY } else { STEP };
            match asked.recv_timeout(pace.min(CHECK_EVERY.saturating_sub(looked.elapsed()))) {
                Ok(work) => {
                    work(&mut self);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= CHECK_EVERY {
                looked = Instant::now();
                let counted = self.status.read(|status| status.totals.processed);
                self.upkeep.rate.note(looked, counted);
                *self.upkeep.system_report.lock() =
                    SystemReport::ask(&self.upkeep.database, self.scan.private());
                self.check_folders(false);
            }
            self.measure_lanes();
            self.pass(Step::LaneExits);
            self.see_off(Duration::ZERO);
            self.pass(Step::Versions);
            self.note_roles();
            self.pass(Step::Memory);
            self.pass(Step::LaneStarts);
            self.keep_up();
        }
        self.pool.stop();
    }

    /// One step of a pass.
    pub(super) fn pass(&mut self, step: Step<'_>) {
        if matches!(step, Step::LaneStarts) {
            self.pool.drop_empty();
        }
        for action in reconcile(step, &self.observe(step)) {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Admit(name) => self.admit(&name),
            Action::AdmitNewer { metric, waits } => self.admit_newer(&metric, waits),
            Action::DropNewer(name) => self.drop_newer(&name),
            Action::ReplaceCode(name, no) => self.replace_code(&name, no),
            Action::RestartWithCode(name, no) => self.restart_with_code(&name, no),
            Action::Restart(no) => self.restart(no),
            Action::Retire(name) => self.retire(&name),
            Action::Promote(name) => self.promote(&name),
            Action::Rollback(name) => self.rollback(&name),
            Action::ReleasePrevious(name) => self.release_previous(&name),
            Action::NoteNewer { metric, goal, ready, held } => {
                self.note_newer(&metric, goal, ready, held.as_ref())
            }
            Action::NoteTry(revision, pause) => {
                let held = self.factory.memory_share.used().0;
                self.tried.insert(revision, TriedAt { at: Instant::now(), pause, held });
            }
            Action::Wait(no, on) => {
                for served in self.find(&[no]) {
                    note_wait(&served, &on.to_string());
                }
            }
            Action::StartBackfill(nos) => self.start_lane(LaneKind::Backfill, self.find(&nos)),
            Action::StartBeside(no) => self.start_lane(LaneKind::Beside, self.find(&[no])),
            Action::LeaveLane(no, halt) => self.leave_lane(no, halt),
            Action::JoinMain(lane) => self.join(lane),
        }
    }

    fn find(&self, nos: &[RevisionNo]) -> Vec<Arc<ServedRevision>> {
        let catalog = self.catalog.read();
        nos.iter().filter_map(|no| catalog.find(*no)).collect()
    }

    /// Checks configuration and folders, and applies what changed. `anew`: the configuration is
    /// read in any case.
    pub(super) fn check_folders(&mut self, anew: bool) {
        self.scan.read_configuration(anew);
        if let Some(sections) = self.scan.new_sections() {
            self.catalog.write().sections = sections;
        }
        let rejected = self.scan.scan(|plugin| self.factory.revision(plugin).0);
        let folder = self.scan.folder();
        self.pass(Step::Folder(&folder));
        self.list_refusals(rejected);
        self.note_roles();
        let served: Vec<String> = self
            .catalog
            .read()
            .all()
            .map(|served| served.askable.plugin.sha256().to_owned())
            .collect();
        self.scan.sweep(served.into_iter().chain(self.notebook.contents().cloned()));
    }

    fn keep_up(&mut self) {
        let Upkeep { answering, database, watchdog, remembered, foreign_seen, .. } =
            &mut self.upkeep;
        watchdog.check(&self.catalog.read(), &self.status, answering);
        if remembered.elapsed() >= REMEMBER {
            *remembered = Instant::now();
            if let Err(fault) = database.remember_time() {
                tracing::debug!(
                    "the time is not stored, which only the next start would compare with its \
                     clock: {fault}"
                );
            }
        }
        if foreign_seen.elapsed() >= foreign_revisions::CHECK_EVERY {
            *foreign_seen = Instant::now();
            self.find_foreign_revisions();
            self.factory.note_again();
        }
    }
}

impl TriedAt {
    /// As of now.
    pub(super) fn now(&self) -> Tried {
        Tried { ago: self.at.elapsed(), pause: self.pause, held: self.held }
    }
}
