//! Replacing a file as a whole: the new one is written beside it, given to the disk, and moved into
//! its place.
//!
//! Promises: who reads the file finds the one before or the one after, also over the end of the
//! process or of the machine at any moment. What has the draft's name is removed first: a link is
//! not followed, and a pipe not waited for. A draft that does not take its place is removed. That
//! the move itself outlives a power cut is up to the caller, who syncs the folder. One writer at a
//! time.

use super::files::FileStamp;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of a file that is its user's alone.
pub const PRIVATE: u32 = 0o600;

/// A whole file that has not taken its place yet.
#[derive(Debug)]
pub struct FileDraft {
    file: File,
    path: PathBuf,
    is_placed: bool,
}

impl FileDraft {
    /// Writes a draft with this content and mode, and waits until the disk has it.
    ///
    /// # Errors
    /// What the system says; no draft is left.
    pub fn write(path: PathBuf, content: &[u8], mode: u32) -> io::Result<FileDraft> {
        if let Err(fault) = fs::remove_file(&path)
            && fault.kind() != ErrorKind::NotFound
        {
            return Err(fault);
        }
        let mut options = File::options();
        let options =
            options.write(true).create_new(true).mode(PRIVATE).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path)?;
        let mut draft = FileDraft { file, path, is_placed: false };
        draft.file.write_all(content)?;
        draft.file.set_permissions(Permissions::from_mode(mode))?;
        draft.file.sync_all()?;
        Ok(draft)
    }

    /// Its stamp, which it keeps in its place.
    ///
    /// # Errors
    /// What the system says.
    pub fn stamp(&self) -> io::Result<FileStamp> {
        FileStamp::of_open(&self.file)
    }

    /// Moves it into the place of `file`.
    ///
    /// # Errors
    /// What the system says; `file` is as it was, and no draft is left.
    pub fn place(mut self, file: &Path) -> io::Result<()> {
        fs::rename(&self.path, file)?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for FileDraft {
    fn drop(&mut self) {
        if !self.is_placed {
            // Best effort: the next draft of this name removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The usual name of a draft of this file.
#[must_use]
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Replaces a file by one of its user alone.
///
/// # Errors
/// What the system says; the file is as it was.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    FileDraft::write(beside(file), content, PRIVATE)?.place(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot make its files has failed")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    #[test]
    fn what_has_the_name_of_the_draft_is_neither_waited_for_nor_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a.toml"), folder.path().join("other"));
        fs::write(&other, "kept").unwrap();
        let pipe = |draft: &Path| {
            assert!(Command::new("mkfifo").arg(draft).status().unwrap().success());
        };
        let link = |draft: &Path| symlink(&other, draft).unwrap();
        let left = |draft: &Path| fs::write(draft, "x".repeat(10_000)).unwrap();
        let before: [&dyn Fn(&Path); 3] = [&pipe, &link, &left];
        for make in before {
            make(&beside(&file));
            let (told, outcome) = sync_channel(1);
            let place = file.clone();
            std::thread::spawn(move || told.send(replace(&place, b"new")));
            let limit = Duration::from_secs(20);
            outcome.recv_timeout(limit).expect("writing waits for something").unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"new");
            assert!(fs::symlink_metadata(&file).unwrap().is_file());
            assert!(fs::symlink_metadata(beside(&file)).is_err());
            fs::remove_file(&file).unwrap();
        }
        assert_eq!(fs::read(&other).unwrap(), b"kept");
    }

    #[test]
    fn a_draft_that_takes_no_place_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        fs::create_dir(&file).unwrap();
        assert!(replace(&file, b"new").is_err());
        drop(FileDraft::write(beside(&file), b"new", PRIVATE).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // What cannot be removed is a fault, and stays.
        fs::create_dir(beside(&file)).unwrap();
        assert!(replace(&file, b"new").is_err() && beside(&file).is_dir());
    }

    #[test]
    fn mode_and_stamp_are_those_of_the_file_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.so");
        let draft = FileDraft::write(folder.path().join("a.7.tmp"), b"new", 0o500).unwrap();
        let stamp = draft.stamp().unwrap();
        draft.place(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o500);
        assert_eq!(FileStamp::of(&file).unwrap(), Some(stamp));
    }
}
