//! Which plugin files lie in the folders now, and what became of each: looked at again and again, read only when changed.
//!
//! The folder is the truth, whatever was seen before: a file that appeared is read, checked and loaded; one that changed
//! is read anew, and while its new content is no good the one that was good stays; one that is gone for two looks is
//! forgotten (a copy over a file may remove it first). A content that was ever loaded is never loaded again.

use super::checksums;
use super::folder::{self, Stamp};
use super::registry::{Plugin, RejectedFile, candidate, load_file};
use crate::config::Checksums;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folders, and what was found in them so far.
pub(super) struct Files {
    /// The first one is the configured one.
    dirs: Vec<PathBuf>,
    private: PathBuf,
    checksums: Checksums,
    seen: BTreeMap<PathBuf, Seen>,
    /// Every content that was loaded, for as long as the process lives.
    loaded: Vec<Arc<Plugin>>,
    copied: u64,
}

/// What is known of a file.
#[derive(Default)]
struct Seen {
    /// Of the file, and of the list of contents that may be loaded.
    stamp: Option<(Stamp, Option<Stamp>)>,
    /// The last content that was good.
    good: Option<Arc<Plugin>>,
    /// Half a sentence on the present content, if it is no good.
    refused: Option<String>,
    /// It was not there at the last look.
    absent: bool,
}

impl Files {
    pub(super) fn new(dirs: &[PathBuf], private: &Path, checksums: Checksums) -> Files {
        let mut all: Vec<PathBuf> = Vec::new();
        for dir in dirs {
            if !all.contains(dir) {
                all.push(dir.clone());
            }
        }
        let (seen, loaded) = (BTreeMap::new(), Vec::new());
        Files { dirs: all, private: private.to_owned(), checksums, seen, loaded, copied: 0 }
    }

    /// The plugins that lie in the folders, the first of each name; and what was refused.
    pub(super) fn look(&mut self) -> (Vec<(PathBuf, Arc<Plugin>)>, Vec<RejectedFile>) {
        let mut rejected = Vec::new();
        let mut found: Vec<(PathBuf, Arc<Plugin>)> = Vec::new();
        let mut there = BTreeSet::new();
        for (number, dir) in self.dirs.clone().into_iter().enumerate() {
            let configured = number == 0;
            let names = match folder::names(&dir) {
                Ok(names) => names,
                Err(reason) => {
                    // What was good in it stays: a folder that cannot be read says nothing about its files.
                    there.extend(self.seen.keys().filter(|file| file.parent() == Some(&dir)).cloned());
                    rejected.push(RejectedFile { file: dir.clone(), reason });
                    self.seen.keys().filter(|file| file.parent() == Some(&dir)).cloned().collect()
                }
            };
            let kept = self.seen.keys().filter(|file| file.parent() == Some(&dir) && !names.contains(file)).cloned();
            let mut files: Vec<PathBuf> = kept.collect();
            for file in names {
                self.examine(&file, configured);
                there.insert(file.clone());
                files.push(file);
            }
            files.sort();
            for file in files {
                let Some(seen) = self.seen.get(&file) else { continue };
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut refuse = |reason: &str| {
                    rejected.push(RejectedFile { file: file.clone(), reason: format!("{name} {reason}") });
                };
                if let Some(reason) = &seen.refused {
                    refuse(reason);
                }
                let Some(good) = &seen.good else { continue };
                match found.iter().find(|(_, first)| first.about.name == good.about.name) {
                    None => found.push((file.clone(), good.clone())),
                    Some((_, first)) if first.sha256 == good.sha256 && !configured => {}
                    Some((at, first)) if first.sha256 == good.sha256 => {
                        refuse(&format!("has the same content as {} (remove one of them)", at.display()));
                    }
                    Some((at, _)) => refuse(&format!(
                        "is another plugin named {}: {} came first (remove one of them)",
                        good.about.name,
                        at.display()
                    )),
                }
            }
        }
        self.seen.retain(|file, seen| there.contains(file) || !std::mem::replace(&mut seen.absent, true));
        (found, rejected)
    }

    /// Loads a content that was loaded before, from its private copy.
    pub(super) fn revive(&mut self, sha256: &str) -> Result<(PathBuf, Arc<Plugin>), String> {
        let copy = self.private.join(format!("{sha256}.so"));
        if let Some(known) = self.loaded.iter().find(|plugin| plugin.sha256 == sha256) {
            return Ok((copy, known.clone()));
        }
        let (candidate, handshake) = candidate(&copy)?;
        if candidate.sha256 != sha256 {
            return Err("is not what its name says".into());
        }
        let plugin = Arc::new(load_file(&copy, &candidate, &handshake, &self.private)?);
        self.loaded.push(plugin.clone());
        Ok((copy, plugin))
    }

    /// The contents that lie in the folders now.
    pub(super) fn present(&self) -> BTreeSet<String> {
        self.seen.values().filter_map(|seen| seen.good.as_ref()).map(|plugin| plugin.sha256.clone()).collect()
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
    fn examine(&mut self, file: &Path, configured: bool) {
        let list = folder::stamp(&file.with_file_name(checksums::LIST));
        let stamp = folder::stamp(file).map(|stamp| (stamp, list));
        let seen = self.seen.entry(file.to_owned()).or_default();
        seen.absent = false;
        if stamp.is_some() && seen.stamp == stamp {
            return;
        }
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
                return load_file(file, &candidate, &handshake, &self.private).map(Arc::new);
            };
            // Its copy may have been removed since: a start may have to load it without this file.
            if let Err(reason) = folder::keep(&self.private, &candidate) {
                tracing::warn!(file = %file.display(), "this plugin file, which is loaded, {reason}");
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
