//! The embedded database in the data directory: one per engine, shared by the log, the state and the dead letters.
//!
//! Promises: one process at a time owns the directory; a batch over several keyspaces applies wholly or not at all and
//! survives what its [`Durability`] says; a disk that is nearly full refuses a batch before anything of it is written.
//! It knows nothing of what is stored. After a failed write the database refuses every further one until it is opened
//! again: which of its pages reached the disk is then unknown. Why fjall: `docs/decisions/0001-embedded-database.md`.

use crate::config::Durability;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

pub use fjall::{Guard, Keyspace, Slice};

/// Below this much free space nothing more is written: the database itself needs room to tidy up (a journal file has 64 MiB).
const RESERVE: u64 = 64 << 20;

/// What memory the database may use to keep what it has read, bytes. Little: the log and frames are read once, in long stretches, and
/// values that pass through a large cache only push each other out of the processor's.
const CACHE: u64 = 2 << 20;

/// Journals on disk, bytes; beyond it keyspaces are flushed. What a start after a crash reads again.
const JOURNALS: u64 = 128 << 20;

/// Keyspaces of the data directory. Cloning is cheap and shares one database, which closes with the last clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

/// Fields drop in this order: the directory is unlocked once the database is closed.
struct Inner {
    fjall: fjall::Database,
    path: PathBuf,
    _lock: File,
}

/// Why the database did not do what it was asked: what, where, what to do.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// Another process owns the data directory.
    #[error("the data directory {path} is in use by another process{pid}: stop it, or set another [store] data_dir")]
    InUse {
        /// The directory.
        path: String,
        /// ` (pid N)`, if known.
        pid: String,
    },
    /// Too little disk space; nothing was written, and writing works again once there is room.
    #[error(
        "{path} has only {free} MB free, {needed} MB are needed: free some disk space, or lower [log] retention_bytes"
    )]
    Full {
        /// The directory.
        path: String,
        /// Free, MB.
        free: u64,
        /// Needed, MB.
        needed: u64,
    },
    /// The data directory cannot be prepared.
    #[error("the data directory {path} cannot be used: {reason}: check [store] data_dir and its permissions")]
    Directory {
        /// The directory or file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The database failed. It takes no further writes until it is opened again; what was acknowledged before is safe.
    #[error("the database in {path} failed: {reason}: check the disk, then start again")]
    Failed {
        /// The directory.
        path: String,
        /// What it said.
        reason: String,
    },
}

/// What a keyspace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Small rows, overwritten in place: counters, positions, metadata.
    Rows,
    /// Values of a kilobyte and more, written once and removed later: frames, batches of records. They are kept out of
    /// the tree, so that compaction does not copy them again and again.
    Values,
}

impl Database {
    /// Opens or creates the database below `data_dir` and takes the directory for this process.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn open(data_dir: &Path) -> Result<Database, DatabaseError> {
        std::fs::create_dir_all(data_dir).map_err(|reason| directory(data_dir, &reason))?;
        let lock = lock(data_dir)?;
        let path = data_dir.join("db");
        let fjall = fjall::Database::builder(&path)
            .cache_size(CACHE)
            .journal_compression(CompressionType::None)
            .max_journaling_size(JOURNALS)
            .open()
            .map_err(|reason| failed(&path, &reason))?;
        Ok(Database { inner: Arc::new(Inner { fjall, path, _lock: lock }) })
    }

    /// Opens or creates a keyspace. `name`: 1 to 255 bytes; by convention `PART` or `PART-DETAIL` (`log-00000001`).
    /// The shape matters when it is created.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn keyspace(&self, name: &str, shape: Shape) -> Result<Keyspace, DatabaseError> {
        let options = || match shape {
            Shape::Rows => KeyspaceCreateOptions::default().max_memtable_size(8 << 20),
            Shape::Values => KeyspaceCreateOptions::default()
                .max_memtable_size(16 << 20)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                .with_kv_separation(Some(KvSeparationOptions::default().compression(CompressionType::None))),
        };
        self.inner.fjall.keyspace(name, options).map_err(|reason| self.failed(&reason))
    }

    /// The names of the keyspaces that begin with `prefix`, sorted.
    #[must_use]
    pub fn keyspaces(&self, prefix: &str) -> Vec<String> {
        let names = self.inner.fjall.list_keyspace_names();
        let mut names: Vec<String> =
            names.iter().map(ToString::to_string).filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    /// Deletes a keyspace and frees its disk space once nobody reads it any more. Cheap whatever its size.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn delete(&self, keyspace: Keyspace) -> Result<(), DatabaseError> {
        self.inner.fjall.delete_keyspace(keyspace).map_err(|reason| self.failed(&reason))
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch { writes: self.inner.fjall.batch(), bytes: 0 }
    }

    /// Applies a batch wholly or not at all. When it returns, the batch survives what `durability` says.
    ///
    /// # Errors
    /// [`DatabaseError::Full`]: nothing was written. Otherwise it is unknown whether the batch applied; it never
    /// applied in part.
    pub fn commit(&self, batch: Batch, durability: Durability) -> Result<(), DatabaseError> {
        self.require_room(batch.bytes)?;
        let mode = match durability {
            Durability::Process => PersistMode::Buffer,
            Durability::Power => PersistMode::SyncData,
        };
        batch.writes.durability(Some(mode)).commit().map_err(|reason| self.failed(&reason))
    }

    /// Makes everything committed so far survive a power cut.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn sync(&self) -> Result<(), DatabaseError> {
        self.inner.fjall.persist(PersistMode::SyncData).map_err(|reason| self.failed(&reason))
    }

    /// Bytes it takes on disk, journals included.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn disk_space(&self) -> Result<u64, DatabaseError> {
        self.inner.fjall.disk_space().map_err(|reason| self.failed(&reason))
    }

    /// An error of a read, told like the others.
    #[must_use]
    pub fn failed(&self, reason: &fjall::Error) -> DatabaseError {
        failed(&self.inner.path, reason)
    }

    /// Whether it takes writes: none failed, and there is room. Known before anything is to be written.
    ///
    /// # Errors
    /// [`DatabaseError`]: what the next write would say.
    pub fn writable(&self) -> Result<(), DatabaseError> {
        // Every commit has handed over what it wrote, so this writes nothing.
        self.inner.fjall.persist(PersistMode::Buffer).map_err(|reason| self.failed(&reason))?;
        self.require_room(0)
    }

    fn require_room(&self, bytes: u64) -> Result<(), DatabaseError> {
        let room =
            rustix::fs::statvfs(&self.inner.path).map_err(|reason| directory(&self.inner.path, &reason.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        // written twice: to the journal, then to a table
        let needed = RESERVE.saturating_add(bytes.saturating_mul(2));
        if free >= needed {
            return Ok(());
        }
        Err(DatabaseError::Full { path: self.inner.path.display().to_string(), free: free >> 20, needed: needed >> 20 })
    }
}

/// Writes to any keyspaces of one database, applied together by [`Database::commit`].
pub struct Batch {
    writes: OwnedWriteBatch,
    bytes: u64,
}

impl Batch {
    /// Sets a key (up to 64 KiB) to a value (below 4 GiB).
    pub fn insert(&mut self, keyspace: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += (key.len() + value.len()) as u64;
        self.writes.insert(keyspace, key, value);
    }

    /// Removes a key; one that is not there is no error.
    pub fn remove(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        self.writes.remove(keyspace, key);
    }

    /// Bytes of keys and values in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it holds no writes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Takes the directory: an advisory lock that the kernel releases with the process, however it ends.
fn lock(data_dir: &Path) -> Result<File, DatabaseError> {
    let path = data_dir.join("lock");
    let fault = |reason| directory(&path, &reason);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fault)?;
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

fn directory(path: &Path, reason: &std::io::Error) -> DatabaseError {
    DatabaseError::Directory { path: path.display().to_string(), reason: reason.to_string() }
}

fn failed(path: &Path, reason: &fjall::Error) -> DatabaseError {
    DatabaseError::Failed { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_has_it_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let first = Database::open(folder.path()).unwrap();
        let Err(refused) = Database::open(folder.path()) else { panic!("two owners") };
        let text = refused.to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())) && text.contains("stop it"), "{text}");
        drop(first);
        Database::open(folder.path()).unwrap();
    }

    #[test]
    fn a_batch_over_two_keyspaces_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let (rows, values) =
            (database.keyspace("rows", Shape::Rows).unwrap(), database.keyspace("values", Shape::Values).unwrap());
        let mut batch = database.batch();
        batch.insert(&rows, *b"k", *b"v");
        batch.insert(&values, *b"frame", vec![7; 10_000]);
        assert_eq!(batch.bytes(), 10_007);
        database.commit(batch, Durability::Power).unwrap();
        drop((rows, values, database));

        let database = Database::open(folder.path()).unwrap();
        assert_eq!(database.keyspaces("v"), ["values"]);
        let values = database.keyspace("values", Shape::Values).unwrap();
        assert_eq!(values.get(b"frame").unwrap().unwrap().len(), 10_000);
        assert_eq!(&*database.keyspace("rows", Shape::Rows).unwrap().get(b"k").unwrap().unwrap(), b"v");
        database.delete(values).unwrap();
        assert!(database.keyspaces("v").is_empty());
    }

    #[test]
    fn a_batch_larger_than_the_disk_is_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let refused = database.require_room(1 << 60).unwrap_err();
        assert!(matches!(refused, DatabaseError::Full { .. }), "{refused}");
        let rows = database.keyspace("rows", Shape::Rows).unwrap();
        let mut batch = database.batch();
        batch.insert(&rows, *b"k", *b"v");
        database.commit(batch, Durability::Process).unwrap(); // and it goes on
    }
}
