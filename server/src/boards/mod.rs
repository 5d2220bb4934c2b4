//! Which boards are served from a folder, and what is wrong with the files that are not.
//!
//! A board is a file `NAME.json` of `[server] boards`. The folder is the truth: it is looked at when
//! somebody asks. Kept is what was said of each file, for as long as the file is the same. Files are
//! only read, never outside of the folder, and of a bounded number and size; each is judged before
//! it is served. Everything here blocks.

mod document;
mod kept_verdicts;

pub(crate) use document::{DocumentFault, schema};

use document::{Judge, Summary};
use kept_verdicts::{FileState, KeptVerdicts};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tally_engine::files::{self, ReadError};
use thiserror::Error;

/// Bytes of a board.
const LARGEST: u64 = 256 << 10;

/// Boards of a folder.
const MOST: usize = 1_000;

/// Files of a folder that are looked at.
const LOOKED_AT: usize = 10_000;

/// Characters of a name.
const LONGEST_NAME: usize = 64;

/// What the file of a board ends with.
const ENDING: &str = ".json";

/// The key that names the folder.
const KEY: &str = "[server] boards";

/// The boards of a folder.
pub(crate) struct Boards {
    /// `None`: no folder is configured.
    folder: Option<PathBuf>,
    judge: Judge,
    kept: KeptVerdicts,
}

/// The boards that are served, and the files that are not.
#[derive(Debug, Default, Serialize)]
pub(crate) struct BoardList {
    pub(crate) boards: Vec<BoardEntry>,
    pub(crate) rejected: Vec<RefusedBoard>,
}

/// A board that is served.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BoardEntry {
    name: String,
    title: String,
    items: usize,
}

/// A file that is not.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RefusedBoard {
    /// Its name in the folder, or the key that names the folder.
    pub(crate) file: String,
    /// Why: the predicate of a sentence about it.
    pub(crate) reason: String,
}

/// Why a board is not served: the predicate of a sentence about its file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BoardFault {
    /// There is no such file.
    #[error("is not there")]
    Missing,
    /// Its name is not one that a board has.
    #[error(
        "has a name that no board has: a-z or 0-9 first, then also _ and -, at most 64, then .json"
    )]
    Name,
    /// It is a link to nothing.
    #[error("is a link to a file that is not there")]
    Dangling,
    /// It is a link to another folder.
    #[error("is a link that leads out of the folder")]
    Outside,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is no board.
    #[error(transparent)]
    Document(#[from] DocumentFault),
}

impl From<ReadError> for BoardFault {
    fn from(fault: ReadError) -> BoardFault {
        match fault {
            ReadError::Missing => BoardFault::Missing,
            other => BoardFault::Unreadable(other.to_string()),
        }
    }
}

impl From<io::Error> for BoardFault {
    fn from(fault: io::Error) -> BoardFault {
        ReadError::from(fault).into()
    }
}

impl Boards {
    /// Those of a folder; an empty path means that none is configured.
    pub(crate) fn of(folder: &Path) -> Boards {
        let folder = (!folder.as_os_str().is_empty()).then(|| folder.to_owned());
        Boards { folder, judge: Judge::new(), kept: KeptVerdicts::default() }
    }

    /// Whether a folder is configured.
    pub(crate) fn is_configured(&self) -> bool {
        self.folder.is_some()
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> BoardList {
        let Some(folder) = &self.folder else { return BoardList::default() };
        let mut list = BoardList::default();
        let of_folder = |reason| RefusedBoard { file: KEY.to_owned(), reason };
        let files = match found(folder) {
            Ok((files, left_out)) => {
                list.rejected.extend(left_out.map(of_folder));
                files
            }
            Err(fault) => {
                list.rejected
                    .push(of_folder(format!("names a folder that cannot be read: {fault}")));
                return list;
            }
        };
        self.kept.retain(&files);
        for file in files {
            let name = file.strip_suffix(ENDING).unwrap_or(&file);
            let outcome =
                if is_name(name) { self.summary(folder, &file) } else { Err(BoardFault::Name) };
            match outcome {
                Ok(Summary { title, items }) => {
                    list.boards.push(BoardEntry { name: name.to_owned(), title, items });
                }
                // It has gone since.
                Err(BoardFault::Missing) => {}
                Err(fault) => list.rejected.push(RefusedBoard { reason: fault.to_string(), file }),
            }
        }
        list
    }

    /// The document of this name.
    ///
    /// # Errors
    /// [`BoardFault`].
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, BoardFault> {
        let folder = self.folder.as_ref().filter(|_| is_name(name)).ok_or(BoardFault::Missing)?;
        let text = files::read_open(&open(folder, &format!("{name}{ENDING}"))?, LARGEST)?;
        self.judge.judge(&text)?;
        Ok(text)
    }

    /// What is said of a board: what was said before, if the file is the same.
    fn summary(&self, folder: &Path, name: &str) -> Result<Summary, BoardFault> {
        let file = open(folder, name)?;
        let state = FileState::of(&file)?;
        if let Some(verdict) = self.kept.get(name, &state) {
            return Ok(verdict?);
        }
        let verdict = self.judge.judge(&files::read_open(&file, LARGEST)?);
        self.kept.put(name, state, &verdict);
        Ok(verdict?)
    }
}

/// The files of a folder that may be boards, sorted; and what is left out of them, if anything is.
fn found(folder: &Path) -> io::Result<(Vec<String>, Option<String>)> {
    let mut files = Vec::new();
    let mut left_out = None;
    for (n, entry) in std::fs::read_dir(folder)?.enumerate() {
        if n == LOOKED_AT {
            left_out = Some(format!(
                "names a folder of more than {LOOKED_AT} files; not all are looked at"
            ));
            break;
        }
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(ENDING) && !name.starts_with('.') {
            files.push(name);
        }
    }
    files.sort();
    if files.len() > MOST {
        let more = files.len() - MOST;
        left_out = Some(format!(
            "names a folder of more than {MOST} boards; the last {more} are not served"
        ));
        files.truncate(MOST);
    }
    Ok((files, left_out))
}

/// Opens a file of the folder. A link may lead to another file of it, as where a cluster mounts a
/// folder of configuration, and nowhere else.
fn open(folder: &Path, file: &str) -> Result<File, BoardFault> {
    let path = folder.join(file);
    let real = match path.canonicalize() {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(BoardFault::Dangling);
        }
        other => other?,
    };
    if !real.starts_with(folder.canonicalize()?) {
        return Err(BoardFault::Outside);
    }
    // What it is has been found out: a link that is put there since is not followed.
    Ok(files::open_with(&real, rustix::fs::OFlags::NOFOLLOW.bits() as i32)?)
}

/// Whether a board may have this name: `^[a-z0-9][a-z0-9_-]{0,63}$`.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(fits)
        && name.bytes().all(|byte| fits(byte) || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests;
