//! A file whose changes are applied while the engine runs.
//!
//! Known by a stamp that is taken before it is read, so that no change is missed. What is refused
//! of it changes nothing: what it said before stays in force. The refusal is listed, and the file
//! is read again until it can be applied or is gone: the cause may be no change of it. A file that
//! is missing is as it was.

use crate::config::fault::ConfigError;
use crate::engine::Rejected;
use crate::engine::evaluate::now;
use crate::files::FileStamp;
use std::path::{Path, PathBuf};

/// A file, as it was last read.
pub(super) struct WatchedFile {
    path: PathBuf,
    /// Before it was last read; `None`: there was none.
    stamp: Option<FileStamp>,
    /// What is wrong with it.
    fault: Option<Rejected>,
    /// Whether it changed, or is read because somebody asked: then what is wrong is logged, although
    /// that may be known.
    is_news: bool,
}

impl WatchedFile {
    /// One that was read after it had this stamp.
    pub(super) fn new(path: PathBuf, stamp: Option<FileStamp>) -> WatchedFile {
        WatchedFile { path, stamp, fault: None, is_news: false }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&Rejected> {
        self.fault.as_ref()
    }

    /// Whether it has to be read: it changed, could not be applied, or is to be read `anew`.
    pub(super) fn is_due(&mut self, anew: bool) -> bool {
        self.is_news = anew;
        match FileStamp::of(&self.path) {
            Ok(None) => {
                // With it goes what was wrong with it.
                (self.stamp, self.fault) = (None, None);
                false
            }
            Ok(stamp) => {
                self.is_news |= stamp != self.stamp;
                self.stamp = stamp;
                self.is_news || self.fault.is_some()
            }
            // Who reads it finds out why.
            Err(_) => true,
        }
    }

    /// Whether it is another one than was last read or written.
    pub(super) fn has_changed(&self) -> bool {
        !FileStamp::of(&self.path).is_ok_and(|stamp| stamp == self.stamp)
    }

    /// The engine itself has written it.
    pub(super) fn note_written(&mut self, stamp: FileStamp) {
        (self.stamp, self.fault) = (Some(stamp), None);
    }

    /// What was read of it; a refusal is listed, and logged where that is news.
    pub(super) fn accept<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        let fault = match read {
            Ok(read) => {
                self.fault = None;
                return Some(read);
            }
            Err(fault) => fault,
        };
        // Always one line.
        let faults = fault.short();
        let reason = format!("is not applied: {faults} (fix it; what was served stays in force)");
        let is_new = self.fault.as_ref().is_none_or(|known| known.reason != reason);
        if is_new || self.is_news {
            tracing::warn!(
                file = %self.path.display(),
                "the configuration is not applied: {faults}"
            );
        }
        if is_new {
            let file = self.path.display().to_string();
            self.fault = Some(Rejected { file, reason, since: now() });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
    use super::*;
    use crate::config::fault::{Fault, Place};
    use std::fs;

    fn refused(message: &str) -> Result<(), ConfigError> {
        let place = Place::Default;
        Err(ConfigError::of(Fault { place, message: message.into(), excerpt: None, key: None }))
    }

    #[test]
    fn what_changed_since_its_stamp_was_taken_is_due_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let mut absent = WatchedFile::new(path.clone(), None);
        assert!(!absent.is_due(false) && !absent.is_due(true) && !absent.has_changed());
        fs::write(&path, "a").unwrap();
        assert!(absent.has_changed() && absent.is_due(false));
        assert!(!absent.has_changed() && !absent.is_due(false) && absent.is_due(true));
        // Written between its first reading and the first look.
        let stamp = FileStamp::of(&path).unwrap();
        fs::write(&path, "longer").unwrap();
        let mut watched = WatchedFile::new(path.clone(), stamp);
        assert!(watched.is_due(false) && watched.accept(Ok(())).is_some());
        assert!(!watched.is_due(false));
        fs::write(&path, "our own").unwrap();
        watched.note_written(FileStamp::of(&path).unwrap().unwrap());
        assert!(!watched.has_changed() && !watched.is_due(false));
    }

    #[test]
    fn what_could_not_be_applied_is_read_until_it_can_be_or_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "a").unwrap();
        let mut watched = WatchedFile::new(path.clone(), FileStamp::of(&path).unwrap());
        assert!(!watched.is_due(false));
        assert!(watched.is_due(true) && watched.accept(refused("too many open files")).is_none());
        // It has not changed.
        assert!(watched.is_due(false) && watched.accept(refused("no memory")).is_none());
        assert!(watched.fault().unwrap().reason.contains("no memory"));
        assert!(watched.is_due(false) && watched.accept(Ok(())).is_some());
        assert!(watched.fault().is_none() && !watched.is_due(false));

        fs::write(&path, "broken").unwrap();
        assert!(watched.is_due(false) && watched.accept(refused("broken")).is_none());
        fs::rename(&path, folder.path().join("damaged")).unwrap();
        assert!(!watched.is_due(false) && watched.fault().is_none());
        // What comes back is read, whatever it is.
        fs::rename(folder.path().join("damaged"), &path).unwrap();
        assert!(watched.is_due(false));
    }
}
