//! Reads the configuration file, the sections of the data directory and the plugin folders again
//! and again, and changes those sections. It compares nothing with what is served.
//!
//! A configuration that is refused changes nothing: the one before stays in force, and the refusal
//! is listed. Private copies of plugin files that no start would load again are removed.

use super::sections::{self, MetricSections, Unsettled};
use super::snapshot::{CodeId, Folder, FolderMetric};
use super::watched_file::WatchedFile;
use crate::config::fault::ConfigError;
use crate::config::load::{FileChoice, Inputs, load};
use crate::config::{MetricConfig, Promote, SECTIONS_FILE, SectionFault, Sections};
use crate::engine::check_start::judge;
use crate::engine::tried_plugin::TriedPlugin;
use crate::engine::{ConfigFile, OrderError, Rejected, SectionChange, SectionError, SectionInfo};
use crate::host::{self, JudgedSection, PluginSet, Registry, RejectedFile};
use crate::store::RevisionId;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Table;

/// After so many loads the log mentions the memory that they take: some hundred KiB each.
const MANY: usize = 200;

/// Contents that are served or may be served again, how many files were copied so far, and how many
/// contents were loaded.
type Needed = (BTreeSet<String>, u64, usize);

/// The folders, the configuration file and the data directory's sections, as they were last seen.
pub(super) struct ChangeScan {
    registry: Registry,
    /// Where the plugins of the last scan are shown to others.
    plugins: Arc<RwLock<PluginSet>>,
    /// Where the plugin is named that judges a section.
    judging: Arc<TriedPlugin>,
    sections: MetricSections,
    /// The configuration file, if there is one.
    file: Option<WatchedFile>,
    /// The sections of the data directory.
    own_file: WatchedFile,
    /// Where copies of plugin files are.
    private: PathBuf,
    /// What was needed when unneeded copies were last removed.
    swept: Option<Needed>,
    found: BTreeMap<String, FoundMetric>,
}

/// A metric of the folders.
struct FoundMetric {
    plugin: Arc<host::Metric>,
    revision: RevisionId,
}

/// A change of the data directory's sections that is possible and not made yet.
pub(super) struct PlannedSection {
    pub(super) change: SectionChange,
    /// The sections with it.
    own: Sections,
    /// What is made of it; `None`: nothing new.
    judged: Option<JudgedSection>,
}

impl PlannedSection {
    /// The metric that it makes.
    pub(super) fn metric(&self) -> Option<Arc<host::Metric>> {
        self.judged.as_ref().and_then(JudgedSection::metric)
    }

    /// The section of this name.
    pub(super) fn info(&self, name: &str) -> Option<SectionInfo> {
        sections::info_of(&self.own, name, false)
    }
}

impl FolderMetric {
    pub(super) fn of(plugin: &Arc<host::Metric>, revision: &RevisionId) -> FolderMetric {
        let manual = plugin.section().promote == Promote::Manual;
        FolderMetric { code: CodeId::of(plugin), revision: revision.clone(), manual }
    }
}

impl ChangeScan {
    /// For a start that has read the configuration.
    pub(super) fn new(
        (registry, plugins): (Registry, Arc<RwLock<PluginSet>>),
        (sections, judging): (MetricSections, Arc<TriedPlugin>),
        file: Option<ConfigFile>,
        private: PathBuf,
    ) -> ChangeScan {
        let file = file.map(|ConfigFile { path, stamp }| WatchedFile::new(path, stamp));
        let own_file = sections.own().file().to_owned();
        let own_file = WatchedFile::new(own_file, sections.own_stamp());
        let found = BTreeMap::new();
        ChangeScan {
            registry,
            plugins,
            judging,
            sections,
            file,
            own_file,
            private,
            swept: None,
            found,
        }
    }

    /// Scans the folders and makes the metrics of the sections; returns the files and sections that
    /// are refused. `revision_of`: the revision of a metric that is new.
    pub(super) fn scan(
        &mut self,
        revision_of: impl Fn(&host::Metric) -> RevisionId,
    ) -> Vec<RejectedFile> {
        let found = self.registry.scan(self.sections.all());
        *self.plugins.write() = self.registry.plugins();
        let mut known = std::mem::take(&mut self.found);
        for plugin in found.metrics {
            let name = plugin.name().to_owned();
            let same = known.remove(&name).filter(|known| Arc::ptr_eq(&known.plugin, &plugin));
            let metric =
                same.unwrap_or_else(|| FoundMetric { revision: revision_of(&plugin), plugin });
            self.found.insert(name, metric);
        }
        found.rejected
    }

    /// What was found, as plain data.
    pub(super) fn folder(&self) -> Folder {
        let metric = |(name, FoundMetric { plugin, revision }): (&String, &FoundMetric)| {
            (name.clone(), FolderMetric::of(plugin, revision))
        };
        self.found.iter().map(metric).collect()
    }

    /// The folder's code of a metric.
    pub(super) fn code_of(&self, name: &str) -> Option<Arc<host::Metric>> {
        self.found.get(name).map(|found| found.plugin.clone())
    }

    /// What is wrong with the configuration file, and with the sections of the data directory.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Rejected> {
        self.file.iter().chain([&self.own_file]).filter_map(WatchedFile::fault)
    }

    /// Plugin contents in memory.
    pub(super) fn loaded(&self) -> usize {
        self.registry.loaded()
    }

    /// Where copies of plugin files are.
    pub(super) fn private(&self) -> &Path {
        &self.private
    }

    /// Applies the `[metrics]` sections of the configuration file, and those of the data directory:
    /// of a file that changed, or of both if they are to be read `anew`.
    pub(super) fn read_configuration(&mut self, anew: bool) {
        if let Some(file) = &mut self.file
            && file.is_due(anew)
        {
            let own = self.sections.own();
            let read = read_metrics(file.path())
                .and_then(|metrics| own.judge_beside(&metrics).map(|()| metrics));
            if let Some(metrics) = file.accept(read) {
                self.sections.set_file(metrics);
                tracing::info!(
                    file = %file.path().display(),
                    "[metrics] read again; other sections take effect with the next start"
                );
            }
        }
        if self.own_file.is_due(anew) {
            let file = self.sections.file();
            let read = self.sections.own().again();
            let read = read.and_then(|own| own.judge_beside(file).map(|()| own));
            if let Some(own) = self.own_file.accept(read) {
                self.sections.set_own(own);
            }
        }
    }

    /// All sections, if they changed since the last call.
    pub(super) fn new_sections(&mut self) -> Option<Arc<Vec<SectionInfo>>> {
        self.sections.take_new()
    }

    /// Adds or changes a section of the data directory, if it would be served. `room`: refuses the
    /// metric that it makes where there is no room for it.
    pub(super) fn put_section(
        &mut self,
        name: &str,
        section: Table,
        room: impl FnOnce(&host::Metric) -> Result<(), SectionError>,
    ) -> Result<SectionChange, SectionError> {
        let PlannedSection { change, own, judged } = self.plan_section(name, section, room)?;
        if change == SectionChange::Unchanged {
            return Ok(change);
        }
        self.write_own(own)?;
        if let Some(judged) = judged {
            self.registry.keep(judged);
        }
        Ok(change)
    }

    /// Judges a section that is to be added or changed in the data directory; changes nothing.
    /// `room`: as for [`ChangeScan::put_section`].
    pub(super) fn plan_section(
        &mut self,
        name: &str,
        section: Table,
        room: impl FnOnce(&host::Metric) -> Result<(), SectionError>,
    ) -> Result<PlannedSection, SectionError> {
        self.require_own(name)?;
        let change = match self.sections.own().given().get(name) {
            Some(before) if *before == section => {
                let own = self.sections.own().clone();
                return Ok(PlannedSection { change: SectionChange::Unchanged, own, judged: None });
            }
            Some(_) => SectionChange::Changed,
            None => SectionChange::Added,
        };
        if self.registry.is_disabled(name) {
            return Err(not_possible(format!(
                "{name} is disabled by the command line of this engine (--disable)"
            )));
        }
        let own = self.sections.own().with(name, section).map_err(SectionError::Invalid)?;
        own.judge_beside(self.sections.file()).map_err(|error| {
            let fault = SectionFault { pointer: String::new(), detail: error.short() };
            SectionError::Invalid(vec![fault])
        })?;
        let wanted = own.metrics().get(name).filter(|section| section.enabled);
        let judged = match wanted {
            Some(section) => {
                let plugin = section.plugin.as_deref().unwrap_or(name);
                // Only this thread takes that place.
                let _trying = self.judging.enter(plugin).ok();
                self.registry.judge(name, section).map(Some)
            }
            None => Ok(None),
        };
        let judged =
            judged.map_err(|faults| SectionError::Invalid(sections::as_section_faults(&faults)))?;
        let planned = PlannedSection { change, own, judged };
        if let Some(metric) = planned.metric() {
            room(&metric)?;
        }
        Ok(planned)
    }

    /// Takes a section of the data directory away.
    pub(super) fn delete_section(&mut self, name: &str) -> Result<(), SectionError> {
        let own = self.own_without(name)?;
        self.write_own(own)
    }

    /// The metric that would be found of a name without its section in the data directory; changes
    /// nothing.
    pub(super) fn plan_removal(
        &mut self,
        name: &str,
    ) -> Result<Option<Arc<host::Metric>>, SectionError> {
        self.own_without(name)?;
        // Only this thread takes that place.
        let _trying = self.judging.enter(name).ok();
        Ok(self.registry.without_section(name))
    }

    /// The sections of the data directory without one that is there.
    fn own_without(&mut self, name: &str) -> Result<Sections, SectionError> {
        self.require_own(name)?;
        if !self.sections.own().given().contains_key(name) {
            return Err(SectionError::NotFound(name.to_owned()));
        }
        let own = self.sections.own().without(name);
        own.map_err(|error| not_possible(error.short()))
    }

    /// One of all sections.
    pub(super) fn section(&self, name: &str) -> Option<SectionInfo> {
        self.sections.info(name)
    }

    /// Refuses a name that the configuration file has, and any while the data directory's own file
    /// cannot be read.
    fn require_own(&mut self, name: &str) -> Result<(), SectionError> {
        self.read_configuration(false);
        if self.sections.is_in_file(name) {
            let file = self.file.as_ref().and_then(|file| file.path().file_name());
            let file = file.map(|file| file.to_string_lossy().into_owned());
            let file = file.unwrap_or_else(|| "the configuration".to_owned());
            return Err(SectionError::InFile { name: name.to_owned(), file });
        }
        match self.own_file.fault() {
            Some(fault) => Err(not_possible(format!("{SECTIONS_FILE} {}", fault.reason))),
            None => Ok(()),
        }
    }

    fn write_own(&mut self, own: Sections) -> Result<(), SectionError> {
        let unwritten = |fault: std::io::Error| {
            OrderError::Failed(format!(
                "{SECTIONS_FILE} of the data directory cannot be written, so nothing has changed: \
                 {fault}; free some disk space, or check the directory's permissions"
            ))
        };
        let draft = sections::draft(&own).map_err(unwritten)?;
        // It takes a while to judge a section.
        if self.own_file.has_changed() {
            return Err(not_possible(format!(
                "{SECTIONS_FILE} of the data directory was changed by hand meanwhile, so nothing \
                 was written: see what it has (GET /api/sections), and send this again"
            )));
        }
        // Of the draft: what is changed behind it is read.
        let stamp = draft.stamp().map_err(unwritten)?;
        let settled = sections::place(draft, own.file()).map_err(unwritten)?;
        self.own_file.note_written(stamp);
        self.sections.set_own(own);
        settled.map_err(|Unsettled(fault)| {
            SectionError::Order(OrderError::InDoubt(format!(
                "{SECTIONS_FILE} of the data directory is written and in force, but it is unknown \
                 whether it outlives a power cut: {fault}; check the disk. After a power cut \
                 GET /api/sections says which it is"
            )))
        })
    }

    /// Removes private copies of plugin files that no start would load again; `also` are those that
    /// are served or noted.
    pub(super) fn sweep(&mut self, also: impl IntoIterator<Item = String>) {
        let mut needed = self.registry.present();
        needed.extend(also);
        let loaded = self.registry.loaded();
        let now = (needed, self.registry.copied(), loaded);
        if self.swept.as_ref() == Some(&now) {
            return;
        }
        if let Err(fault) = host::sweep(&self.private, &now.0) {
            tracing::warn!(
                folder = %self.private.display(),
                "old copies of plugin files cannot be removed: {fault}"
            );
        }
        if self.swept.as_ref().is_some_and(|before| before.2 / MANY != loaded / MANY) {
            tracing::warn!(
                loaded,
                "many contents of plugin files are in memory; only a restart of the engine frees it"
            );
        }
        self.swept = Some(now);
    }
}

fn not_possible(why: String) -> SectionError {
    SectionError::Order(OrderError::NotPossible(why))
}

/// The sections of the configuration file.
fn read_metrics(file: &Path) -> Result<BTreeMap<String, MetricConfig>, ConfigError> {
    let inputs =
        Inputs { file: FileChoice::Given(file.to_owned()), env: &|_| None, flags: Vec::new() };
    let loaded = load(inputs)?;
    // By the rules of a start: it must not refuse later what is applied now.
    match ConfigError::listing(judge(&loaded)) {
        None => Ok(loaded.config.metrics),
        Some(faults) => Err(faults),
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
