//! Reads the configuration file and the plugin folders again and again. It compares nothing with
//! what is served.
//!
//! A configuration that is refused changes nothing: the one before stays in force, and the refusal
//! is listed. Private copies of plugin files that no start would load again are removed.

use super::snapshot::{CodeId, Folder, FolderMetric};
use crate::config::fault::ConfigError;
use crate::config::load::{FileChoice, Inputs, load};
use crate::config::{MetricConfig, Promote};
use crate::engine::Rejected;
use crate::engine::check_start::judge;
use crate::engine::evaluate::now;
use crate::host::{self, Registry, RejectedFile};
use crate::store::RevisionId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// After so many loads the log mentions the memory that they take: some hundred KiB each.
const MANY: usize = 200;

/// Contents that are served or may be served again, how many files were copied so far, and how many
/// contents were loaded.
type Needed = (BTreeSet<String>, u64, usize);

/// The folders and the configuration file, as they were last seen.
pub(super) struct ChangeScan {
    registry: Registry,
    sections: BTreeMap<String, MetricConfig>,
    /// The configuration file, if there is one.
    file: Option<PathBuf>,
    /// When it was last changed.
    stamp: Option<SystemTime>,
    /// What is wrong with it.
    fault: Option<Rejected>,
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

impl ChangeScan {
    /// For a start that has just read the configuration.
    pub(super) fn new(
        registry: Registry,
        sections: BTreeMap<String, MetricConfig>,
        file: Option<PathBuf>,
        private: PathBuf,
    ) -> ChangeScan {
        let stamp = file.as_deref().and_then(modified);
        let found = BTreeMap::new();
        ChangeScan { registry, sections, file, stamp, fault: None, private, swept: None, found }
    }

    /// Scans the folders and makes the metrics of the sections; returns the files and sections that
    /// are refused. `revision_of`: the revision of a metric that is new.
    pub(super) fn scan(
        &mut self,
        revision_of: impl Fn(&host::Metric) -> RevisionId,
    ) -> Vec<RejectedFile> {
        let found = self.registry.scan(&self.sections);
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
            let manual = plugin.section().promote == Promote::Manual;
            (
                name.clone(),
                FolderMetric { code: CodeId::of(plugin), revision: revision.clone(), manual },
            )
        };
        self.found.iter().map(metric).collect()
    }

    /// The folder's code of a metric.
    pub(super) fn code_of(&self, name: &str) -> Option<Arc<host::Metric>> {
        self.found.get(name).map(|found| found.plugin.clone())
    }

    /// What is wrong with the configuration file.
    pub(super) fn fault(&self) -> Option<&Rejected> {
        self.fault.as_ref()
    }

    /// Plugin contents in memory.
    pub(super) fn loaded(&self) -> usize {
        self.registry.loaded()
    }

    /// Where copies of plugin files are.
    pub(super) fn private(&self) -> &Path {
        &self.private
    }

    /// Applies the `[metrics]` sections of the configuration file, if it changed or is to be read
    /// `anew`.
    pub(super) fn read_configuration(&mut self, anew: bool) {
        let Some(file) = &self.file else { return };
        let stamp = modified(file);
        if stamp.is_none() || stamp == self.stamp && !anew {
            return;
        }
        self.stamp = stamp;
        let inputs =
            Inputs { file: FileChoice::Given(file.clone()), env: &|_| None, flags: Vec::new() };
        // By the rules of a start: it must not refuse later what is applied now.
        let judged = load(inputs).and_then(|loaded| match ConfigError::listing(judge(&loaded)) {
            None => Ok(loaded),
            Some(faults) => Err(faults),
        });
        match judged {
            Ok(loaded) => {
                self.fault = None;
                self.sections = loaded.config.metrics;
                tracing::info!(
                    file = %file.display(),
                    "[metrics] read again; other sections take effect with the next start"
                );
            }
            Err(fault) => {
                // Always one line.
                let faults = fault.short();
                tracing::warn!(
                    file = %file.display(),
                    "the configuration is not applied: {faults}"
                );
                let reason =
                    format!("is not applied: {faults} (fix it; what was served stays in force)");
                self.fault =
                    Some(Rejected { file: file.display().to_string(), reason, since: now() });
            }
        }
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

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}
