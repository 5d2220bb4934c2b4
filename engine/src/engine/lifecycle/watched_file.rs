//! A file whose changes are applied while the engine runs.
//!
//! Known by the time of its last change. What is refused of it changes nothing: what it said before
//! stays in force, and the refusal is listed until the file can be read. A file that is missing is
//! as it was.

use crate::config::fault::ConfigError;
use crate::engine::Rejected;
use crate::engine::evaluate::now;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file, as it was last read.
pub(super) struct WatchedFile {
    path: PathBuf,
    /// When it was last changed.
    stamp: Option<SystemTime>,
    /// What is wrong with it.
    fault: Option<Rejected>,
}

impl WatchedFile {
    /// One that has just been read.
    pub(super) fn new(path: PathBuf) -> WatchedFile {
        let stamp = modified(&path);
        WatchedFile { path, stamp, fault: None }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&Rejected> {
        self.fault.as_ref()
    }

    /// Whether it has to be read: it changed, or is to be read `anew`.
    pub(super) fn is_due(&mut self, anew: bool) -> bool {
        let stamp = modified(&self.path);
        let due = stamp.is_some() && (stamp != self.stamp || anew);
        if due {
            self.stamp = stamp;
        }
        due
    }

    /// The engine itself has written it.
    pub(super) fn note_written(&mut self) {
        (self.stamp, self.fault) = (modified(&self.path), None);
    }

    /// What was read of it; a refusal is listed and logged.
    pub(super) fn accept<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        match read {
            Ok(read) => {
                self.fault = None;
                Some(read)
            }
            Err(fault) => {
                // Always one line.
                let faults = fault.short();
                tracing::warn!(
                    file = %self.path.display(),
                    "the configuration is not applied: {faults}"
                );
                let reason =
                    format!("is not applied: {faults} (fix it; what was served stays in force)");
                self.fault =
                    Some(Rejected { file: self.path.display().to_string(), reason, since: now() });
                None
            }
        }
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}
