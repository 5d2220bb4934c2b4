//! What was said of the files of boards, kept while a file is the same: by its time, length and
//! number, all taken of the file that was opened.
//!
//! Nothing is kept of a file that was changed a moment ago, as it may change again without another
//! time. As many are kept as a list has.

use super::document::{DocumentFault, Summary};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// A file that has not changed for so long has another time when it changes.
const SETTLED: Duration = Duration::from_secs(2);

/// What a file is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileState {
    changed: SystemTime,
    length: u64,
    /// Device and inode.
    number: (u64, u64),
}

impl FileState {
    /// Of an open file.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn of(file: &File) -> io::Result<FileState> {
        let meta = file.metadata()?;
        let number = (meta.dev(), meta.ino());
        Ok(FileState { changed: meta.modified()?, length: meta.len(), number })
    }

    /// Whether it will be another one once the file changes. Not of a time that is to come.
    fn is_settled(&self) -> bool {
        self.changed.elapsed().is_ok_and(|age| age >= SETTLED)
    }
}

type FileVerdict = Result<Summary, DocumentFault>;

/// By the name of the file.
#[derive(Default)]
pub(super) struct KeptVerdicts(Mutex<HashMap<String, (FileState, FileVerdict)>>);

impl KeptVerdicts {
    /// What was said of a file in this state.
    pub(super) fn get(&self, name: &str, state: &FileState) -> Option<FileVerdict> {
        let kept = self.0.lock();
        kept.get(name).filter(|(known, _)| known == state).map(|(_, verdict)| verdict.clone())
    }

    /// Keeps what is said of a file in this state.
    pub(super) fn put(&self, name: &str, state: FileState, verdict: &FileVerdict) {
        if state.is_settled() {
            self.0.lock().insert(name.to_owned(), (state, verdict.clone()));
        }
    }

    /// Forgets all but these, which are sorted.
    pub(super) fn retain(&self, names: &[String]) {
        self.0.lock().retain(|name, _| names.binary_search(name).is_ok());
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }
}
