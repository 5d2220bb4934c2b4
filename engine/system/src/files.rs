//! Reading files that others may change while we look: configuration, plugins, lists, certificates,
//! tables to import.
//!
//! Promises: opening never waits (a pipe without a writer, a device), only regular files are read,
//! and never more than was allowed: the size is judged first, so that a sparse file costs nothing.
//! A file system that hangs can hold up whoever reads; who must end in time waits for such a thread
//! with a limit.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use thiserror::Error;

/// Why a file was not read: the predicate of a sentence about the file. A retry may help with
/// [`ReadError::Io`] only.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is none.
    #[error("cannot be read: the file does not exist")]
    Missing,
    /// A pipe, a device, a folder, a socket.
    #[error("is not a regular file (move it away, or put a file in its place)")]
    NotAFile,
    /// More bytes than are read.
    #[error("is larger than {}", size(*.0))]
    TooLarge(u64),
    /// What the system says.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// Not text. Offset of the first byte that is not UTF-8.
    #[error("is not UTF-8 from byte {0} on")]
    NotText(usize),
}

impl From<io::Error> for ReadError {
    fn from(fault: io::Error) -> ReadError {
        match fault.kind() {
            ErrorKind::NotFound => ReadError::Missing,
            // A socket has no reader; so has a pipe's other kind.
            ErrorKind::IsADirectory => ReadError::NotAFile,
            _ if fault.raw_os_error() == Some(libc::ENXIO) => ReadError::NotAFile,
            _ => ReadError::Io(fault),
        }
    }
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

/// What tells whether a file changed, without reading it. A file that is moved keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

impl FileStamp {
    /// The stamp of a file, following links; `None`: there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(path: &Path) -> io::Result<Option<FileStamp>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(FileStamp::new(&metadata))),
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The stamp of an open file.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_open(file: &File) -> io::Result<FileStamp> {
        Ok(FileStamp::new(&file.metadata()?))
    }

    fn new(metadata: &Metadata) -> FileStamp {
        FileStamp {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Opens a regular file for reading, following links. Never waits for another process.
///
/// # Errors
/// [`ReadError`].
pub fn open(path: &Path) -> Result<File, ReadError> {
    open_with(path, 0)
}

/// As [`open`], with further flags of `open(2)`.
///
/// # Errors
/// [`ReadError`].
pub fn open_with(path: &Path, flags: i32) -> Result<File, ReadError> {
    // Looked at before it is opened too: opening a device can do something.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags)
        .open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ReadError::NotAFile) }
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`ReadError`].
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    read_open(&open(path)?, most)
}

/// Reads an open file, of which at most `most` bytes follow.
///
/// # Errors
/// [`ReadError`].
pub fn read_open(file: &File, most: u64) -> Result<Vec<u8>, ReadError> {
    let length = file.metadata()?.len();
    if length > most {
        return Err(ReadError::TooLarge(most));
    }
    let mut bytes =
        Vec::with_capacity(usize::try_from(length).unwrap_or_default().saturating_add(1));
    // It may grow meanwhile.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(ReadError::TooLarge(most)) } else { Ok(bytes) }
}

/// Reads a text of at most `most` bytes.
///
/// # Errors
/// [`ReadError`].
pub fn read_text(path: &Path, most: u64) -> Result<String, ReadError> {
    let bytes = read(path, most)?;
    String::from_utf8(bytes).map_err(|fault| ReadError::NotText(fault.utf8_error().valid_up_to()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot make its files has failed")]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    /// Within a limit that a blocking open would pass.
    fn at_once(path: &Path) -> Result<Vec<u8>, ReadError> {
        let (told, outcome) = sync_channel(1);
        let path = path.to_owned();
        std::thread::spawn(move || told.send(read(&path, 1 << 10)));
        outcome.recv_timeout(Duration::from_secs(20)).expect("reading waits for something")
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [
            &pipe,
            &socket,
            &link,
            &folder.path().to_owned(),
            &"/dev/zero".into(),
            &"/dev/tty".into(),
        ] {
            assert!(
                matches!(at_once(path), Err(ReadError::NotAFile)),
                "{}: {:?}",
                path.display(),
                at_once(path)
            );
        }
        assert!(matches!(at_once(&folder.path().join("absent")), Err(ReadError::Missing)));
    }

    #[test]
    fn size_is_judged_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(at_once(&path), Err(ReadError::TooLarge(1_024))));
        std::fs::write(&path, [b'x'; 1_024]).unwrap();
        assert_eq!(at_once(&path).unwrap().len(), 1_024);
        std::fs::write(&path, [b'x'; 1_025]).unwrap();
        assert!(at_once(&path).unwrap_err().to_string().contains("larger than 1 KiB"));
        // What says that it is empty and goes on for ever, or is longer than it says.
        assert!(!at_once(Path::new("/proc/self/stat")).unwrap().is_empty());
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(matches!(read_text(&path, 10), Err(ReadError::NotText(2))));
    }
}
