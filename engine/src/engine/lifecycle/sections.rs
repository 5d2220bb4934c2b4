//! The `[metrics.NAME]` sections that are in force: those of the configuration file, and those of
//! the data directory whose names it does not have; and the orders that change the latter.
//!
//! Promises: an order is carried out once its outcome is known, also over a kill at any moment: the
//! file is the one before or the one after. Orders come one after the other. A section that would
//! not be served is not written.

use super::manager::PluginManager;
use super::reconcile::Step;
use super::section_room;
use crate::config::fault::ConfigError;
use crate::config::{
    Config, MetricConfig, SECTIONS_FILE, SectionFault, Sections, pointer_in, section_toml,
};
use crate::engine::{PutSection, SectionChange, SectionError, SectionInfo, SectionPlace};
use crate::failpoint::point;
use crate::file_draft::{FileDraft, PRIVATE, beside};
use crate::files::FileStamp;
use crate::host::{self, KeyFault};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use toml::Table;

/// The sections, by where they stand.
pub(in crate::engine) struct MetricSections {
    file: BTreeMap<String, MetricConfig>,
    /// Those of the data directory.
    own: Sections,
    /// Their file, as it was before it was read for the start.
    own_stamp: Option<FileStamp>,
    all: BTreeMap<String, MetricConfig>,
    /// They changed since somebody took them.
    is_new: bool,
}

impl MetricSections {
    /// Those of a configuration, and of its data directory.
    ///
    /// # Errors
    /// [`ConfigError`]: the data directory's cannot be read, or both are too many.
    pub(in crate::engine) fn open(config: &Config) -> Result<MetricSections, ConfigError> {
        // One that cannot be looked at is refused by who reads it.
        let own_file = config.store.data_dir.join(SECTIONS_FILE);
        let own_stamp = FileStamp::of(&own_file).ok().flatten();
        let own = Sections::open(&config.store.data_dir)?;
        let file = config.metrics.clone();
        own.judge_beside(&file)?;
        for name in own.given().keys().filter(|name| file.contains_key(*name)) {
            tracing::warn!(
                metric = name,
                file = %own.file().display(),
                "its section there is not used: the configuration file has one, too"
            );
        }
        let mut sections =
            MetricSections { file, own, own_stamp, all: BTreeMap::new(), is_new: false };
        sections.join();
        Ok(sections)
    }

    /// All that are in force, by name.
    pub(in crate::engine) fn all(&self) -> &BTreeMap<String, MetricConfig> {
        &self.all
    }

    /// Those of the data directory.
    pub(super) fn own(&self) -> &Sections {
        &self.own
    }

    /// Their file, as it was before it was read for the start; `None`: there was none.
    pub(super) fn own_stamp(&self) -> Option<FileStamp> {
        self.own_stamp
    }

    /// Whether the configuration file has one of this name.
    pub(super) fn is_in_file(&self, name: &str) -> bool {
        self.file.contains_key(name)
    }

    /// Those of the configuration file.
    pub(super) fn file(&self) -> &BTreeMap<String, MetricConfig> {
        &self.file
    }

    /// Replaces those of the configuration file.
    pub(super) fn set_file(&mut self, file: BTreeMap<String, MetricConfig>) {
        self.file = file;
        self.join();
    }

    /// Replaces those of the data directory.
    pub(super) fn set_own(&mut self, own: Sections) {
        self.own = own;
        self.join();
    }

    fn join(&mut self) {
        self.all = self.own.metrics().clone();
        self.all.extend(self.file.clone());
        self.is_new = true;
    }

    /// All of them, if they changed since the last call.
    pub(super) fn take_new(&mut self) -> Option<Arc<Vec<SectionInfo>>> {
        std::mem::take(&mut self.is_new).then(|| self.list())
    }

    /// All of them by name, also those that are not in force.
    pub(super) fn list(&self) -> Arc<Vec<SectionInfo>> {
        let file = self.file.iter().map(|(name, section)| info_in_file(name, section));
        let own = self.own.given().keys().filter_map(|name| self.own_info(name));
        let mut all: Vec<SectionInfo> = file.chain(own).collect();
        // The one that is in force first.
        all.sort_by(|a, b| (&a.name, a.shadowed).cmp(&(&b.name, b.shadowed)));
        Arc::new(all)
    }

    /// The one that is in force under this name.
    pub(super) fn info(&self, name: &str) -> Option<SectionInfo> {
        let in_file = self.file.get(name).map(|section| info_in_file(name, section));
        in_file.or_else(|| self.own_info(name))
    }

    fn own_info(&self, name: &str) -> Option<SectionInfo> {
        info_of(&self.own, name, self.file.contains_key(name))
    }
}

/// One of the sections of a data directory.
pub(super) fn info_of(own: &Sections, name: &str, shadowed: bool) -> Option<SectionInfo> {
    let section = own.given().get(name)?;
    Some(SectionInfo {
        name: name.to_owned(),
        place: SectionPlace::DataDirectory,
        shadowed,
        section: section.clone(),
        toml: section_toml(name, section),
    })
}

fn info_in_file(name: &str, section: &MetricConfig) -> SectionInfo {
    let section = section.given();
    let toml = section_toml(name, &section);
    let place = SectionPlace::File;
    SectionInfo { name: name.to_owned(), place, shadowed: false, section, toml }
}

/// What a plugin has against keys of a section, as pointers into the section.
pub(super) fn as_section_faults(faults: &[KeyFault]) -> Vec<SectionFault> {
    let fault = |KeyFault { key, reason }: &KeyFault| {
        // In a section whose name says nothing.
        let pointer = pointer_in("x", &format!("metrics.x.{key}"));
        // Where in the configuration it is, is said by the pointer.
        let inside = pointer.strip_prefix("/config").unwrap_or_default();
        let said = reason.strip_prefix(inside).and_then(|said| said.strip_prefix(": "));
        let detail = said.unwrap_or(reason).to_owned();
        SectionFault { pointer, detail }
    };
    faults.iter().map(fault).collect()
}

/// The file is in place, and it is unknown whether it survives a power cut.
#[derive(Debug)]
pub(super) struct Unsettled(pub(super) io::Error);

/// Writes the file anew, beside the present one.
///
/// # Errors
/// What the system says.
pub(super) fn draft(own: &Sections) -> io::Result<FileDraft> {
    let draft = FileDraft::write(beside(own.file()), own.text().as_bytes(), PRIVATE)?;
    point("sections.written");
    Ok(draft)
}

/// Moves the new file into place, so that the file is never incomplete; then it survives a power
/// cut.
///
/// # Errors
/// The file is as it was. Inside: it is the new one.
pub(super) fn place(draft: FileDraft, file: &Path) -> io::Result<Result<(), Unsettled>> {
    place_with(draft, file, |folder| File::open(folder)?.sync_all())
}

/// `settle`: has the system store what a folder holds.
fn place_with(
    draft: FileDraft,
    file: &Path,
    settle: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<Result<(), Unsettled>> {
    draft.place(file)?;
    point("sections.renamed");
    Ok(file.parent().map_or(Ok(()), settle).map_err(Unsettled))
}

impl PluginManager {
    /// Adds or changes a section of the data directory; the metric begins to count at once.
    pub(super) fn put_section(
        &mut self,
        name: &str,
        section: Table,
    ) -> Result<PutSection, SectionError> {
        let (catalog, factory) = (&self.catalog, &self.factory);
        let room = |metric: &host::Metric| section_room::require(metric, catalog, factory);
        let change = self.scan.put_section(name, section, room)?;
        if change != SectionChange::Unchanged {
            tracing::info!(metric = name, "its section in the data directory was written");
            self.apply_sections();
        }
        let section =
            self.scan.section(name).ok_or_else(|| SectionError::NotFound(name.to_owned()))?;
        Ok(PutSection { change, section })
    }

    /// Takes a section of the data directory away; the sentence says what becomes of the metric.
    pub(super) fn delete_section(&mut self, name: &str) -> Result<String, SectionError> {
        let was_served = self.catalog.read().answering.contains_key(name);
        self.scan.delete_section(name)?;
        tracing::info!(metric = name, "its section in the data directory was taken away");
        self.apply_sections();
        let is_served = self.catalog.read().answering.contains_key(name);
        Ok(match (was_served, is_served) {
            (_, true) => {
                format!("{name}: its section is gone; it is served as its plugin does without one")
            }
            (true, false) => format!(
                "{name} is retired; what it counted stays stored: tally plugin purge {name} \
                 removes it, and the same section goes on from there"
            ),
            (false, false) => format!("{name}: its section is gone; it was not served"),
        })
    }

    fn apply_sections(&mut self) {
        self.check_folders(false);
        self.pass(Step::LaneStarts);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
    use super::*;
    use crate::config::StoreConfig;
    use std::fs;

    fn config(data_dir: &std::path::Path, named: &[&str]) -> Config {
        let metric = |name: &&str| ((*name).to_owned(), MetricConfig::default());
        let store = StoreConfig { data_dir: data_dir.to_owned(), ..StoreConfig::default() };
        Config { store, metrics: named.iter().map(metric).collect(), ..Config::default() }
    }

    #[test]
    fn the_file_goes_first_and_both_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &["a"]);
        let text = "[metrics.a]\nhistory = \"none\"\n[metrics.b]\nkeep_old = \"2h\"\n";
        fs::write(folder.path().join(SECTIONS_FILE), text).unwrap();
        let mut sections = MetricSections::open(&config).unwrap();
        let listed = |sections: &MetricSections| {
            let one = |info: &SectionInfo| (info.name.clone(), info.place, info.shadowed);
            sections.list().iter().map(one).collect::<Vec<_>>()
        };
        let of = |name: &str, place, shadowed| (name.to_owned(), place, shadowed);
        let own = SectionPlace::DataDirectory;
        assert_eq!(
            listed(&sections),
            [of("a", SectionPlace::File, false), of("a", own, true), of("b", own, false)]
        );
        assert_eq!(sections.all()["a"].history, "all");
        assert_eq!(sections.info("b").unwrap().toml, "[metrics.b]\nkeep_old = \"2h\"\n");
        assert!(sections.take_new().is_some() && sections.take_new().is_none());
        sections.set_file(BTreeMap::new());
        assert_eq!(listed(&sections), [of("a", own, false), of("b", own, false)]);
        assert_eq!(sections.all()["a"].history, "none");
        assert!(sections.take_new().is_some());
    }

    #[test]
    fn what_is_written_replaces_the_file_and_what_an_end_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[]);
        let left = folder.path().join("sections.toml.new");
        fs::write(&left, "x".repeat(10_000)).unwrap();
        let none = MetricSections::open(&config).unwrap();
        let one = none.own().with("a", Table::new()).unwrap();
        place(draft(&one).unwrap(), one.file()).unwrap().unwrap();
        let read = MetricSections::open(&config).unwrap();
        assert_eq!(read.own().given(), one.given());
        assert_eq!(fs::read_to_string(one.file()).unwrap(), one.text());
        assert!(!left.exists());
        fs::remove_dir_all(folder.path()).unwrap();
        assert!(draft(&one).is_err());
    }

    #[test]
    fn a_fault_after_the_file_is_in_place_is_another_than_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let none = MetricSections::open(&config(folder.path(), &[])).unwrap();
        let one = none.own().with("a", Table::new()).unwrap();
        let new = draft(&one).unwrap();
        let failed = place_with(new, one.file(), |_| Err(io::Error::other("no")));
        assert!(matches!(failed, Ok(Err(Unsettled(_)))), "{failed:?}");
        assert_eq!(fs::read_to_string(one.file()).unwrap(), one.text());
    }

    #[test]
    fn both_files_together_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let named: Vec<String> = (0..1_000).map(|n| format!("m{n}")).collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let open = |text: &str| {
            fs::write(folder.path().join(SECTIONS_FILE), text).unwrap();
            MetricSections::open(&config(folder.path(), &named))
        };
        assert!(open("[metrics.m1]\n").is_ok());
        let told = open("[metrics.other]\n").err().unwrap().to_string();
        assert!(told.contains("at most 1000 are served"), "{told}");
    }

    #[test]
    fn faults_of_a_plugin_point_into_the_section() {
        let fault = |key: &str, reason: &str| {
            let faults = [KeyFault { key: key.to_owned(), reason: reason.to_owned() }];
            let SectionFault { pointer, detail } = as_section_faults(&faults).remove(0);
            (pointer, detail)
        };
        let told = |pointer: &str, detail: &str| (pointer.to_owned(), detail.to_owned());
        assert_eq!(fault("", "no"), told("", "no"));
        assert_eq!(fault("plugin", "a: b"), told("/plugin", "a: b"));
        assert_eq!(fault("config", "a: b"), told("/config", "a: b"));
        assert_eq!(fault("config.by.0", "/by/0: no"), told("/config/by/0", "no"));
    }
}
