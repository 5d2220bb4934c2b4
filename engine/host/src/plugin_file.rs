//! Files in plugin folders: which are candidates, what they contain, and the private copies that
//! are loaded.
//!
//! A candidate is read once; everything later uses these bytes, so that a file that changes
//! meanwhile changes nothing.

use super::elf;
use super::refusal::{LoadError, LoadErrorKind};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tally_system::file_draft::FileDraft;
use tally_system::files::{self, ReadError};

/// Larger files are refused. A stripped plugin is about half a MiB, one with debug information some
/// tens.
const LARGEST: u64 = 256 << 20;

/// Larger lists of contents are refused: it is some hundred bytes a plugin.
const LARGEST_LIST: u64 = 1 << 20;

/// A file that was read.
pub(super) struct Candidate {
    /// What it contains.
    pub(super) bytes: Vec<u8>,
    /// Hash of that, in hexadecimal.
    pub(super) sha256: String,
    /// Whether its group can change it: worth a warning once it turns out to be a plugin.
    pub(super) group_writable: bool,
}

/// Entries of a folder that are looked at; it is looked at twice a second.
const MOST_ENTRIES: usize = 20_000;

/// The `*.so` names of a folder in order of their names. A folder that does not exist has none.
///
/// # Errors
/// [`LoadErrorKind::Unreadable`]: the folder cannot be read, or holds far too much. Its text names
/// the folder.
pub(super) fn names(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |fault: io::Error| {
        let what = format!("the folder {} cannot be read: {fault}", folder.display());
        LoadError::new(LoadErrorKind::Unreadable, what, "make it a folder that this user may list")
    };
    let entries = match fs::read_dir(folder) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for (n, entry) in entries.enumerate() {
        if n == MOST_ENTRIES {
            let what = format!(
                "the folder {} holds more than {MOST_ENTRIES} files and is not looked at",
                folder.display()
            );
            return Err(LoadError::new(
                LoadErrorKind::Unreadable,
                what,
                "leave only plugins in it",
            ));
        }
        let name = entry.map_err(unreadable)?.path();
        if name.extension().is_some_and(|extension| extension == "so") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What tells whether a file changed without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Type, permissions and owner.
    mode: (u32, u32),
}

/// The stamp of a file; `None` where it cannot be looked at.
pub(super) fn stamp(file: &Path) -> Option<Stamp> {
    let meta = fs::metadata(file).ok()?;
    Some(Stamp {
        inode: (meta.dev(), meta.ino()),
        length: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
        mode: (meta.mode(), meta.uid()),
    })
}

/// Reads a candidate whose first bytes are those of a shared object.
///
/// # Errors
/// [`LoadError`]: it is not trusted, cannot be read, or is not a shared object.
pub(super) fn read(file: &Path) -> Result<Candidate, LoadError> {
    read_as(file, LARGEST, |first| {
        if first.starts_with(b"\x7fELF") { Ok(()) } else { elf::inspect(first).map(drop) }
    })
}

/// Bytes that reading a candidate takes; none where its first ones, or its size, say that it is
/// none.
pub(super) fn cost(file: &Path) -> u64 {
    let opened = || {
        let opened = files::open(file).ok()?;
        let (length, mut first) = (opened.metadata().ok()?.len(), [0; 4]);
        opened.read_exact_at(&mut first, 0).ok()?;
        (length <= LARGEST && first == *b"\x7fELF").then_some(length)
    };
    opened().unwrap_or_default()
}

/// Reads a list that says what may be loaded: trusted as little as what it lists.
///
/// # Errors
/// As [`read`].
pub(super) fn read_list(file: &Path) -> Result<Candidate, LoadError> {
    read_as(file, LARGEST_LIST, |_| Ok(()))
}

fn read_as(
    file: &Path,
    most: u64,
    begins: fn(&[u8]) -> Result<(), LoadError>,
) -> Result<Candidate, LoadError> {
    let unreadable = |fault: io::Error| {
        let what = format!("cannot be read: {fault}");
        LoadError::new(LoadErrorKind::Unreadable, what, "let this user read it, or remove it")
    };
    let untrusted = |what: String, fix: &str| LoadError::new(LoadErrorKind::Untrusted, what, fix);
    let folder = file
        .parent()
        .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
        .ok_or_else(|| {
            let fix = "give the plugin folder by its whole path";
            LoadError::new(LoadErrorKind::Unreadable, "has no folder", fix)
        })?
        .canonicalize()
        .map_err(unreadable)?;
    let real = file.canonicalize().map_err(unreadable)?;
    if real.parent() != Some(&folder) {
        return Err(untrusted("is a link to another folder".into(), "copy the file itself"));
    }
    let told = |fault: ReadError| match fault {
        ReadError::Io(fault) => unreadable(fault),
        ReadError::TooLarge(_) => LoadError::new(
            LoadErrorKind::NotAPlugin,
            fault.to_string(),
            "strip its debug information",
        ),
        ReadError::NotAFile => LoadError::new(LoadErrorKind::NotAPlugin, fault.to_string(), ""),
        fault => LoadError::new(LoadErrorKind::Unreadable, fault.to_string(), ""),
    };
    let opened = files::open_with(&real, libc::O_NOFOLLOW).map_err(told)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(untrusted(
            "can be written by everybody: its code would not be trusted".into(),
            "chmod o-w it",
        ));
    }
    let us = owner_of_this_process().map_err(unreadable)?;
    if metadata.uid() != 0 && metadata.uid() != us {
        let what =
            format!("belongs to user {}, neither to this one ({us}) nor to root", metadata.uid());
        return Err(untrusted(what, "chown it"));
    }
    // What is no candidate by its size or its first bytes is not read on.
    if metadata.len() <= most {
        let mut first = [0; 64];
        let length = opened.read_at(&mut first, 0).map_err(unreadable)?;
        begins(&first[..length])?;
    }
    let bytes = files::read_open(&opened, most).map_err(told)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Candidate { bytes, sha256, group_writable: mode & 0o020 != 0 })
}

/// The effective user, as the owner of the process' entry in `/proc`.
fn owner_of_this_process() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// Writes the private copy of a candidate, unless it is there: `<private>/<sha256>.so`, mode 0500,
/// in a folder of mode
/// 0700. Returns its absolute path.
///
/// # Errors
/// [`LoadErrorKind::Unreadable`]: it cannot be written.
pub(super) fn keep(private: &Path, candidate: &Candidate) -> Result<PathBuf, LoadError> {
    let failed = |fault: io::Error| {
        let what = format!("has no private copy: {} cannot be written: {fault}", private.display());
        LoadError::new(
            LoadErrorKind::Unreadable,
            what,
            "fix the disk or its permissions, start again",
        )
    };
    DirBuilder::new().recursive(true).mode(0o700).create(private).map_err(failed)?;
    fs::set_permissions(private, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let private_folder = private.canonicalize().map_err(failed)?;
    let copy = private_folder.join(format!("{}.so", candidate.sha256));
    if files::read(&copy, LARGEST).is_ok_and(|bytes| bytes == candidate.bytes) {
        return Ok(copy);
    }
    let unfinished =
        private_folder.join(format!("{}.{}.tmp", candidate.sha256, std::process::id()));
    // A name that is never loaded.
    let draft = FileDraft::write(unfinished, &candidate.bytes, 0o500);
    draft.and_then(|draft| draft.place(&copy)).map_err(failed)?;
    File::open(&private_folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(copy)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that cannot make its files has failed
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// As much as is looked at before a file is read.
    const CONTENT: &[u8] = b"\x7fELF, or so it says";

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, CONTENT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        read(path).err().map(String::from).unwrap_or_default()
    }

    #[test]
    fn only_so_files_are_candidates_and_a_missing_folder_has_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.so", "a.so", "a.so.tmp", "notes.txt"] {
            file(folder.path(), name, 0o644);
        }
        let found = names(folder.path()).unwrap();
        assert_eq!(found, [folder.path().join("a.so"), folder.path().join("b.so")]);
        assert_eq!(names(&folder.path().join("absent")), Ok(vec![]));
        assert!(
            names(&folder.path().join("a.so")).unwrap_err().to_string().contains("cannot be read")
        );
    }

    #[test]
    fn files_that_others_can_change_are_refused() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(
            read(&file(folder.path(), "good.so", 0o644)).is_ok_and(|file| !file.group_writable)
        );
        assert!(read(&file(folder.path(), "group.so", 0o664)).unwrap().group_writable);
        assert!(refusal(&file(folder.path(), "world.so", 0o666)).contains("everybody"));

        symlink(file(elsewhere.path(), "other.so", 0o644), folder.path().join("out.so")).unwrap();
        assert!(refusal(&folder.path().join("out.so")).contains("link"));
        symlink("good.so", folder.path().join("in.so")).unwrap();
        assert!(read(&folder.path().join("in.so")).is_ok());
        fs::create_dir(folder.path().join("dir.so")).unwrap();
        assert!(refusal(&folder.path().join("dir.so")).contains("regular"));
        assert!(refusal(&folder.path().join("absent.so")).contains("cannot be read"));
        for name in ["world.so", "out.so", "dir.so", "absent.so"] {
            assert!(refusal(&folder.path().join(name)).ends_with(')'), "{name}: no cure");
        }
    }

    #[test]
    fn copies_are_named_after_their_content_and_healed() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("private");
        let candidate = read(&file(folder.path(), "a.so", 0o644)).unwrap();
        let copy = keep(&private, &candidate).unwrap();
        assert_eq!(copy.file_stem().unwrap().to_str().unwrap(), candidate.sha256);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o500);
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);

        fs::remove_file(&copy).unwrap();
        fs::write(&copy, b"\x7fELF").unwrap();
        assert_eq!(keep(&private, &candidate), Ok(copy.clone()));
        assert_eq!(fs::read(&copy).unwrap(), CONTENT);
        assert_eq!(fs::read_dir(&private).unwrap().count(), 1, "nothing unfinished is left");
    }
}
