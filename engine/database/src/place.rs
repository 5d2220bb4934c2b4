//! The data directory as a place: whose it is, who may look into it, and the lock that makes it one
//! process's.
//!
//! The directory itself may be anything that not everybody can write to: a mounted volume belongs
//! to another user and to a group that may write there. What the engine keeps in it is its own
//! user's alone: folders of mode 0700, made so again at each start, for a mount may have widened
//! them. What belongs to another user is refused: who owns a state, or the folder of code, decides
//! what is counted and run.

use super::DatabaseError;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What an engine keeps there.
const OWN: [&str; 6] =
    ["lock", "db", "plugin-copies", "sections.toml", "catalogue.sqlite", "catalogue.sqlite-wal"];

/// Makes the directory and the database's folder in it, judges both, and takes the lock. Where the
/// database is, and the lock.
pub(super) fn take(data_dir: &Path) -> Result<(PathBuf, File), DatabaseError> {
    prepare(data_dir)?;
    let lock = lock(data_dir)?;
    let database = data_dir.join("db");
    own(&database)?;
    Ok((database, lock))
}

/// Makes the data directory if it is not there, for its user alone, and judges one that is.
///
/// # Errors
/// [`DatabaseError::Directory`].
pub fn prepare(data_dir: &Path) -> Result<(), DatabaseError> {
    let make = || DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    make().map_err(|reason| unusable(data_dir, &reason))?;
    let mode = fs::metadata(data_dir).map_err(|reason| unusable(data_dir, &reason))?.mode();
    if mode & 0o002 != 0 {
        let reason = format!(
            "everybody may write to it (mode {:04o}), and so plant events and code there: run \
             chmod o-w on it, or set another [store] data_dir",
            mode & 0o7777
        );
        return Err(DatabaseError::Directory { path: data_dir.display().to_string(), reason });
    }
    let own = rustix::process::geteuid().as_raw();
    for name in OWN {
        let path = data_dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.uid() != own => {
                let reason = format!(
                    "it belongs to user {}, and this process runs as user {own}: run it as that \
                     user, give it to this one (chown -R), or set another [store] data_dir",
                    found.uid()
                );
                return Err(DatabaseError::Directory { path: path.display().to_string(), reason });
            }
            Ok(_) => {}
            Err(reason) if reason.kind() == ErrorKind::NotFound => {}
            Err(reason) => return Err(unusable(&path, &reason)),
        }
    }
    Ok(())
}

/// Makes a folder for its user alone; one that is there is made so.
fn own(folder: &Path) -> Result<(), DatabaseError> {
    let fault = |reason| unusable(folder, &reason);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
    if fs::metadata(folder).map_err(fault)?.mode() & 0o7777 != 0o700 {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(fault)?;
    }
    Ok(())
}

/// Takes the directory: an advisory lock that the kernel releases with the process, however it
/// ends.
fn lock(data_dir: &Path) -> Result<File, DatabaseError> {
    let path = data_dir.join("lock");
    let fault = |reason| unusable(&path, &reason);
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // who owns it is only told; not knowing is no fault
            let pid = match file.read_to_string(&mut owner) {
                Ok(_) if !owner.trim().is_empty() => format!(" (pid {})", owner.trim()),
                _ => String::new(),
            };
            return Err(DatabaseError::InUse { path: data_dir.display().to_string(), pid });
        }
        Err(TryLockError::Error(reason)) => return Err(fault(reason)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(fault)?;
    Ok(file)
}

fn unusable(path: &Path, reason: &std::io::Error) -> DatabaseError {
    let reason = format!("{reason}: check [store] data_dir and its permissions");
    DatabaseError::Directory { path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_kept_is_its_users_alone_wherever_the_directory_lies() {
        let folder = tempfile::tempdir().unwrap();
        // As a volume of Kubernetes: the group may write, and so may whoever else is in it.
        for before in [0o700, 0o755, 0o770, 0o2775] {
            let data = folder.path().join(format!("{before:o}"));
            fs::create_dir(&data).unwrap();
            fs::set_permissions(&data, Permissions::from_mode(before)).unwrap();
            let (database, lock) = take(&data).unwrap();
            assert_eq!(
                (mode(&data), mode(&database), mode(&data.join("lock"))),
                (before, 0o700, 0o600)
            );
            drop(lock);
            // What a mount widened is made narrow again.
            fs::set_permissions(&database, Permissions::from_mode(0o2770)).unwrap();
            take(&data).unwrap();
            assert_eq!(mode(&database), 0o700);
        }
        let fresh = folder.path().join("a/b");
        take(&fresh).unwrap();
        assert_eq!((mode(&fresh), mode(&fresh.join("db"))), (0o700, 0o700));
    }

    #[test]
    fn what_everybody_may_write_to_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o1777, 0o702] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            let told = take(folder.path()).unwrap_err().to_string();
            assert!(told.contains("everybody may write") && told.contains("chmod o-w"), "{told}");
            assert!(!folder.path().join("lock").exists(), "nothing was made");
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_with_whose_it_is() {
        // Only root can give something away; for others there is nothing to try.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for name in OWN {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            File::create(&path).unwrap();
            std::os::unix::fs::lchown(&path, Some(65_534), None).unwrap();
            let told = take(folder.path()).unwrap_err().to_string();
            assert!(
                told.contains(name) && told.contains("user 65534") && told.contains("chown"),
                "{told}"
            );
        }
    }
}
