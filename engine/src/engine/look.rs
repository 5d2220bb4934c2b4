//! Looking at the configuration file and at the plugin folders: what changed is taken over, what is no good is said in one
//! line, private copies that nobody needs any more are removed. What becomes of metrics is decided in `life`.

use super::Rejected;
use super::evaluate::now;
use super::judge::judge;
use super::life::Work;
use crate::config::fault::ConfigError;
use crate::config::load::{FileChoice, Inputs, load};
use crate::plugin;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

/// After so many loads the memory that they take is worth a word: some hundred KiB each.
const MANY: usize = 200;

/// Contents that are served or may be again, how many files were copied so far, and how many contents were loaded.
pub(super) type Needed = (BTreeSet<String>, u64, usize);

pub(super) fn modified(file: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

impl Work {
    /// Looks at configuration and folders, and takes over what changed. `anew`: the configuration is read in any case.
    pub(super) fn look(&mut self, anew: bool) {
        self.look_at_configuration(anew);
        let found = self.parts.registry.look(&self.parts.sections);
        self.reconcile(found);
        self.write_down();
        self.sweep();
    }

    /// As [`Work::look`], because a person wants it; what was found.
    pub(super) fn look_now(&mut self) -> String {
        self.look(true);
        self.begin_backfills();
        let roster = self.parts.roster.read();
        let (metrics, refused) = (roster.served.len(), roster.rejected.len());
        tracing::info!(metrics, refused, "configuration and plugin folders were looked at, as asked");
        format!("{metrics} metrics are served, {refused} files or sections are refused")
    }

    /// Takes over sections of the configuration file, if it changed or is to be read `anew`.
    fn look_at_configuration(&mut self, anew: bool) {
        let Some(file) = &self.parts.file else { return };
        let stamp = modified(file);
        if stamp.is_none() || stamp == self.stamp && !anew {
            return;
        }
        self.stamp = stamp;
        let inputs = Inputs { file: FileChoice::Given(file.clone()), env: &|_| None, flags: Vec::new() };
        // By the judge of a start, which would otherwise refuse later what is taken over now.
        let judged = load(inputs).and_then(|loaded| match ConfigError::listing(judge(&loaded)) {
            None => Ok(loaded),
            Some(faults) => Err(faults),
        });
        match judged {
            Ok(loaded) => {
                self.fault = None;
                self.parts.sections = loaded.config.metrics;
                tracing::info!(file = %file.display(), "[metrics] read again; other sections take effect with the next start");
            }
            Err(fault) => {
                // One line, whatever there is to show.
                let faults = fault.short();
                tracing::warn!(file = %file.display(), "the configuration is not taken over: {faults}");
                let reason = format!("is not taken over: {faults} (mend it; what was served goes on)");
                self.fault = Some(Rejected { file: file.display().to_string(), reason, since: now() });
            }
        }
    }

    /// Removes private copies of plugin files that no start would load again.
    fn sweep(&mut self) {
        let mut needed = self.parts.registry.present();
        needed.extend(self.parts.book.contents().cloned());
        {
            let roster = self.parts.roster.read();
            needed.extend(roster.all().map(|served| served.askable.plugin.sha256().to_owned()));
        }
        let loaded = self.parts.registry.loaded();
        let now = (needed, self.parts.registry.copied(), loaded);
        if self.swept.as_ref() == Some(&now) {
            return;
        }
        if let Err(fault) = plugin::sweep(&self.parts.private, &now.0) {
            tracing::warn!(folder = %self.parts.private.display(), "old copies of plugin files are not removed: {fault}");
        }
        if self.swept.as_ref().is_some_and(|before| before.2 / MANY != loaded / MANY) {
            tracing::warn!(
                loaded,
                "many contents of plugin files are in memory; only a restart of the engine gives that back"
            );
        }
        self.swept = Some(now);
    }
}
