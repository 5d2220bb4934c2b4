//! Which plugin files lie in the folders now, and what became of each: scanned again and again,
//! read only when changed.
//!
//! The folder is the truth, whatever was seen before: a file that appeared is read, checked and
//! loaded; one that changed is read again; while the new content is refused, the previous one
//! stays; one that is missing in two scans is forgotten (a copy over a file may remove it first). A
//! content that was ever loaded is never loaded again.
//!
//! A folder may be full of other things: so many files are looked at, so many bytes are read in one
//! scan, so many refusals are listed; what was good stays among them, and what is left out is said.

use super::call_observer::{CallObserver, ObservedCall};
use super::checksums;
use super::load::{Plugin, candidate, load};
use super::plugin_file::{self, Stamp};
use super::refusal::{LoadError, LoadErrorKind, RejectedFile};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tally_config::Checksums;
use tally_system::terminal::tame;

/// Files of a folder that are looked at.
const MOST_FILES: usize = 1_000;

/// Refusals of a folder that are listed one by one.
const LISTED: usize = 100;

/// Bytes of new files that are read in one scan; the others have their turn in the next one.
const PER_SCAN: u64 = 1 << 30;

/// The folders, and what was found in them so far.
pub(super) struct FolderScan {
    /// The first one is the configured one.
    dirs: Vec<PathBuf>,
    private: PathBuf,
    checksums: Checksums,
    seen: BTreeMap<PathBuf, SeenFile>,
    /// Every content that was loaded, for as long as the process lives.
    loaded: Vec<Arc<Plugin>>,
    copied: u64,
    observer: Option<Arc<dyn CallObserver>>,
}

/// What is known of a file.
#[derive(Default)]
struct SeenFile {
    /// Of the file, and of the list of contents that may be loaded.
    stamp: Option<(Stamp, Option<Stamp>)>,
    /// The last content that was good.
    good: Option<Arc<Plugin>>,
    /// Why the present content is not loaded.
    refused: Option<LoadError>,
    /// It was not there in the last scan.
    absent: bool,
}

impl FolderScan {
    pub(super) fn new(dirs: &[PathBuf], private: &Path, checksums: Checksums) -> FolderScan {
        let mut all: Vec<PathBuf> = Vec::new();
        for dir in dirs {
            if !all.contains(dir) {
                all.push(dir.clone());
            }
        }
        let (seen, loaded) = (BTreeMap::new(), Vec::new());
        let private = private.to_owned();
        FolderScan { dirs: all, private, checksums, seen, loaded, copied: 0, observer: None }
    }

    /// Has somebody told of calls of plugins from now on.
    pub(super) fn observe(&mut self, observer: Arc<dyn CallObserver>) {
        self.observer = Some(observer);
    }

    /// Tells that code of this plugin is called, until the call is dropped.
    pub(super) fn call(&self, plugin: &str) -> ObservedCall {
        ObservedCall::begin(self.observer.as_ref(), plugin)
    }

    /// The plugins that lie in the folders, the first of each name; and what was refused.
    pub(super) fn scan(&mut self) -> (Vec<(PathBuf, Arc<Plugin>)>, Vec<RejectedFile>) {
        let mut rejected = Vec::new();
        let mut found: Vec<(PathBuf, Arc<Plugin>)> = Vec::new();
        let mut there = BTreeSet::new();
        let mut budget = PER_SCAN;
        for (number, dir) in self.dirs.clone().into_iter().enumerate() {
            let configured = number == 0;
            let before = rejected.len();
            let names = self.list(&dir, &mut there, &mut rejected);
            let names = self.first(names, &dir, &mut rejected);
            let mut files: Vec<PathBuf> = {
                let there: BTreeSet<&PathBuf> = names.iter().collect();
                self.seen
                    .keys()
                    .filter(|file| file.parent() == Some(&dir) && !there.contains(file))
                    .cloned()
                    .collect()
            };
            let list = plugin_file::stamp(&dir.join(checksums::LIST));
            for file in names {
                self.examine(&file, configured, list.as_ref(), &mut budget);
                there.insert(file.clone());
                files.push(file);
            }
            files.sort();
            for file in &files {
                self.judge(file, configured, &mut found, &mut rejected);
            }
            let more = (rejected.len() - before).saturating_sub(LISTED);
            if more > 0 {
                rejected.truncate(before + LISTED);
                rejected
                    .push(RejectedFile::file(dir, format!("{more} more of its files are refused")));
            }
        }
        self.forget_absent(&there);
        (found, rejected)
    }

    /// The plugin files of a folder; of one that cannot be read, those that were seen in it.
    fn list(
        &self,
        dir: &Path,
        there: &mut BTreeSet<PathBuf>,
        rejected: &mut Vec<RejectedFile>,
    ) -> Vec<PathBuf> {
        match plugin_file::names(dir) {
            Ok(names) => names,
            Err(reason) => {
                // What was good in it stays: a folder that cannot be read says nothing about its
                // files.
                there.extend(self.seen.keys().filter(|file| file.parent() == Some(dir)).cloned());
                rejected.push(RejectedFile::file(dir.to_owned(), reason.to_string()));
                self.seen.keys().filter(|file| file.parent() == Some(dir)).cloned().collect()
            }
        }
    }

    /// Of very many files those that are looked at: what was good before, then by name.
    fn first(
        &self,
        mut names: Vec<PathBuf>,
        dir: &Path,
        rejected: &mut Vec<RejectedFile>,
    ) -> Vec<PathBuf> {
        if names.len() > MOST_FILES {
            let good = |file: &PathBuf| self.seen.get(file).is_some_and(|seen| seen.good.is_some());
            names.sort_by_key(|file| !good(file));
            let left = names.len() - MOST_FILES;
            names.truncate(MOST_FILES);
            names.sort();
            rejected.push(RejectedFile::file(
                dir.to_owned(),
                format!(
                    "{left} of its .so files are not looked at, only {MOST_FILES} are (leave only \
                     plugins in it)"
                ),
            ));
        }
        names
    }

    /// Adds what is good in a file, unless another one of that name was found, and why it is
    /// refused.
    fn judge(
        &self,
        file: &Path,
        configured: bool,
        found: &mut Vec<(PathBuf, Arc<Plugin>)>,
        rejected: &mut Vec<RejectedFile>,
    ) {
        let Some(seen) = self.seen.get(file) else { return };
        let name = file_name(file);
        let mut refuse = |reason: &dyn std::fmt::Display| {
            rejected.push(RejectedFile::file(file.to_owned(), format!("{} {reason}", tame(&name))));
        };
        if let Some(reason) = &seen.refused {
            refuse(reason);
        }
        let Some(good) = &seen.good else { return };
        match found.iter().find(|(_, first)| first.about.name == good.about.name) {
            None => found.push((file.to_owned(), good.clone())),
            Some((_, first)) if first.sha256 == good.sha256 && !configured => {}
            Some((at, first)) if first.sha256 == good.sha256 => {
                refuse(&format_args!(
                    "has the same content as {} (remove one of them)",
                    at.display()
                ));
            }
            Some((at, _)) => refuse(&format_args!(
                "is another plugin named {}: {} came first (remove one of them)",
                good.about.name,
                at.display()
            )),
        }
    }

    fn forget_absent(&mut self, there: &BTreeSet<PathBuf>) {
        self.seen.retain(|file, seen| {
            there.contains(file) || !std::mem::replace(&mut seen.absent, true)
        });
    }

    /// Loads a content that was loaded before, from its private copy.
    pub(super) fn revive(&mut self, sha256: &str) -> Result<(PathBuf, Arc<Plugin>), LoadError> {
        let copy = self.private.join(format!("{sha256}.so"));
        if let Some(known) = self.loaded.iter().find(|plugin| plugin.sha256 == sha256) {
            return Ok((copy, known.clone()));
        }
        let (candidate, handshake) = candidate(&copy)?;
        if candidate.sha256 != sha256 {
            let what = "has another content than its name says";
            return Err(LoadError::new(LoadErrorKind::Damaged, what, "remove it"));
        }
        let plugin = {
            let _call = self.call(&file_name(&copy));
            Arc::new(load(&copy, &candidate, &handshake, &self.private)?)
        };
        self.loaded.push(plugin.clone());
        Ok((copy, plugin))
    }

    /// The contents that lie in the folders now.
    pub(super) fn present(&self) -> BTreeSet<String> {
        self.seen
            .values()
            .filter_map(|seen| seen.good.as_ref())
            .map(|plugin| plugin.sha256.clone())
            .collect()
    }

    /// How many private copies were made or looked at so far, those of files that were refused too.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Whether a file lies in the folder that holds nothing but metrics.
    pub(super) fn is_configured(&self, file: &Path) -> bool {
        file.parent() == self.dirs.first().map(PathBuf::as_path)
    }

    /// Number of contents that are loaded.
    pub(super) fn loaded(&self) -> usize {
        self.loaded.len()
    }

    /// Reads a file that is new or changed.
    fn examine(&mut self, file: &Path, configured: bool, list: Option<&Stamp>, budget: &mut u64) {
        let stamp = plugin_file::stamp(file).map(|stamp| (stamp, list.cloned()));
        let seen = self.seen.entry(file.to_owned()).or_default();
        seen.absent = false;
        if stamp.is_some() && seen.stamp == stamp {
            return;
        }
        if *budget == 0 {
            return;
        }
        *budget = budget.saturating_sub(plugin_file::cost(file));
        let (candidate, handshake) = match candidate(file) {
            Ok(read) => read,
            Err(reason) => {
                if configured || seen.good.is_some() {
                    seen.refused = Some(reason);
                } else {
                    tracing::debug!(file = %file.display(), "not looked at: {reason}");
                }
                seen.stamp = stamp;
                return;
            }
        };
        let known = self.loaded.iter().find(|plugin| plugin.sha256 == candidate.sha256).cloned();
        let allowed = checksums::allowed(self.checksums, file, &candidate.sha256);
        let loaded = allowed.and_then(|warning| {
            if let Some(warning) = warning {
                tracing::warn!(file = %file.display(), "this plugin file {warning}");
            }
            let Some(known) = known else {
                let _call = ObservedCall::begin(self.observer.as_ref(), &file_name(file));
                return load(file, &candidate, &handshake, &self.private).map(Arc::new);
            };
            // Its copy may have been removed since: a start may have to load it without this file.
            if let Err(reason) = plugin_file::keep(&self.private, &candidate) {
                tracing::warn!(
                    file = %file.display(),
                    "this plugin file, which is loaded, {reason}"
                );
            }
            Ok(known)
        });
        self.copied += 1;
        match loaded {
            Ok(plugin) => {
                if !self.loaded.iter().any(|known| Arc::ptr_eq(known, &plugin)) {
                    self.loaded.push(plugin.clone());
                }
                seen.good = Some(plugin);
                seen.refused = None;
            }
            Err(reason) => seen.refused = Some(reason),
        }
        seen.stamp = stamp;
    }
}

/// Without its folder.
fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
