//! The embedded database in the data directory: one per engine, shared by the log, the state and
//! the dead letters.
//!
//! Promises: one process at a time owns the directory, whose contents are its user's alone
//! (`place`); a batch over several keyspaces applies wholly or not at all and survives what its
//! [`Durability`] says; a disk that is nearly full, or a process that is short of file descriptors,
//! refuses a batch before anything of it is written. After a failed write the database takes no
//! further ones: which of its pages reached the disk is then unknown. It is closed and opened
//! again, which reads the journal, by whoever asks it for something next, as soon as the cause is
//! gone (`mend`). Whoever had a batch refused with [`DatabaseError::Failed`] reads again what is
//! stored before writing on. It knows nothing of what is stored. Why fjall:
//! `docs/decisions/0001-embedded-database.md`.

mod keyspace;
mod mend;
mod place;
mod remembered;

use fjall::PersistMode;
use keyspace::Slot;
use mend::Mending;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tally_config::Durability;
use tally_system::clock::{Clock, wall_ms};
use tally_system::descriptors::Gauge;
use thiserror::Error;

pub use fjall::{Error as ReadFault, Guard, Slice};
pub use keyspace::{Keyspace, Shape};
pub use place::prepare;

/// Below this much free space nothing more is written: the database itself needs room to tidy up (a
/// journal file has 64 MiB).
const RESERVE: u64 = 64 << 20;

/// Keyspaces of the data directory. Cloning is cheap and shares one database, which closes with the
/// last clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

/// Fields drop in this order: the directory is unlocked once the database is closed.
struct Inner {
    /// `None`: it is closed until it can be opened again. Held for writing while that is done.
    open: RwLock<Option<fjall::Database>>,
    /// A write failed: it has to be opened again before the next one.
    broken: AtomicBool,
    mending: Mutex<Mending>,
    /// The keyspaces that somebody holds, by name; those that were deleted are not among them.
    slots: Mutex<HashMap<String, Weak<Slot>>>,
    descriptors: Gauge,
    path: PathBuf,
    clock: Arc<Clock>,
    _lock: File,
}

/// Why the database did not do what it was asked: what, where, what to do.
#[derive(Clone, Debug, Error)]
pub enum DatabaseError {
    /// Another process owns the data directory.
    #[error(
        "the data directory {path} is in use by another process{pid}: stop it, or set another \
         [store] data_dir"
    )]
    InUse {
        /// The directory.
        path: String,
        /// ` (pid N)`, if known.
        pid: String,
    },
    /// Too little disk space; nothing was written, and writing works again once there is room.
    #[error(
        "the data directory has only {free} MB free, {needed} MB are needed: free some disk space, \
         or lower [log] retention_bytes"
    )]
    Full {
        /// Free, MB.
        free: u64,
        /// Needed, MB.
        needed: u64,
    },
    /// Too few file descriptors are left to write safely; nothing was written, and writing works
    /// again once some are free.
    #[error(
        "only {free} of the {limit} files that this process may have open are left: it continues \
         as connections close; for more, raise its limit (LimitNOFILE= of the unit, ulimit -n)"
    )]
    Descriptors {
        /// Free.
        free: usize,
        /// The limit.
        limit: usize,
    },
    /// The wall clock stands before 1970, which the database cannot write down.
    #[error(
        "the clock of this machine is set before 1970, and no such time can be stored: set the \
         clock and start again"
    )]
    BeforeTime,
    /// The data directory cannot be prepared.
    #[error("the data directory {path} cannot be used: {reason}")]
    Directory {
        /// The directory or file.
        path: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The database failed. What was acknowledged before is safe; it is opened again as soon as
    /// that works.
    #[error(
        "the database failed: {reason}: check disk and limits; it is reopened automatically once \
         they are in order"
    )]
    Failed {
        /// What it said.
        reason: String,
    },
}

impl DatabaseError {
    /// Whether it is certain that nothing was written.
    #[must_use]
    pub fn wrote_nothing(&self) -> bool {
        !matches!(self, DatabaseError::Failed { .. })
    }

    /// Whether the same call may succeed later, once its cause is gone: without a restart, and
    /// without a change of the configuration.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            DatabaseError::InUse { .. }
            | DatabaseError::Full { .. }
            | DatabaseError::Descriptors { .. }
            | DatabaseError::Failed { .. } => true,
            DatabaseError::BeforeTime | DatabaseError::Directory { .. } => false,
        }
    }
}

impl Database {
    /// Opens or creates the database below `data_dir` and takes the directory for this process.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn open(data_dir: &Path) -> Result<Database, DatabaseError> {
        if wall_ms() < 0 {
            return Err(DatabaseError::BeforeTime);
        }
        let (path, lock) = place::take(data_dir)?;
        let fjall = mend::open(&path).map_err(|reason| failed(&reason))?;
        let newest = remembered::believed(&fjall).map_err(|reason| failed(&reason))?;
        let inner = Inner {
            open: RwLock::new(Some(fjall)),
            broken: AtomicBool::new(false),
            mending: Mutex::default(),
            slots: Mutex::default(),
            descriptors: Gauge::default(),
            path,
            clock: Arc::new(Clock::of_machine(newest)),
            _lock: lock,
        };
        let database = Database { inner: Arc::new(inner) };
        // A disk that is full is told by whoever has something to keep.
        let _ = database.remember_time();
        Ok(database)
    }

    /// The time by which what is stored here is given up.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.inner.clock
    }

    /// Opens or creates a keyspace. `name`: 1 to 255 bytes; by convention `PART` or `PART-DETAIL`
    /// (`log-00000001`). The shape matters when it is created.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn keyspace(&self, name: &str, shape: Shape) -> Result<Keyspace, DatabaseError> {
        self.mended()?;
        let open = self.opened()?;
        let mut slots = self.inner.slots.lock();
        let slot = match slots.get(name).and_then(Weak::upgrade) {
            Some(slot) => slot,
            None => {
                if !open.keyspace_exists(name) {
                    self.require_room(0)?;
                    self.require_descriptors()?;
                }
                let found = open
                    .keyspace(name, || shape.options())
                    .map_err(|reason| self.broke(&reason))?;
                let slot = Slot::new(name, shape, found);
                slots.insert(name.to_owned(), Arc::downgrade(&slot));
                slot
            }
        };
        drop((slots, open));
        Ok(Keyspace::new(self.clone(), slot))
    }

    /// The names of the keyspaces that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn keyspaces(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let names = self.opened()?.list_keyspace_names();
        let mut names: Vec<String> =
            names.iter().map(ToString::to_string).filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        Ok(names)
    }

    /// Deletes a keyspace and frees its disk space once nobody reads it any more. Cheap whatever
    /// its size.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn delete(&self, keyspace: Keyspace) -> Result<(), DatabaseError> {
        let open = self.opened()?;
        let slot = keyspace.into_slot();
        self.inner.slots.lock().remove(slot.name());
        match slot.now() {
            Some(found) => open.delete_keyspace(found).map_err(|reason| self.broke(&reason)),
            None => Err(closed()),
        }
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch { writes: Vec::new(), bytes: 0 }
    }

    /// Applies a batch wholly or not at all. When it returns, the batch survives what `durability`
    /// says.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`]: it is unknown whether the batch applied; it never applied in
    /// part. Otherwise nothing was written.
    pub fn commit(&self, batch: Batch, durability: Durability) -> Result<(), DatabaseError> {
        self.require_room(batch.bytes)?;
        self.require_descriptors()?;
        let mode = match durability {
            Durability::Process => PersistMode::Buffer,
            Durability::Power => PersistMode::SyncData,
        };
        let open = self.opened()?;
        let mut writes = open.batch().durability(Some(mode));
        for Write { slot, key, value } in batch.writes {
            let keyspace = slot.now().ok_or_else(closed)?;
            match value {
                Some(value) => writes.insert(&keyspace, key, value),
                None => writes.remove(&keyspace, key),
            }
        }
        writes.commit().map_err(|reason| self.broke(&reason))
    }

    /// Makes everything committed so far survive a power cut.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn sync(&self) -> Result<(), DatabaseError> {
        self.opened()?.persist(PersistMode::SyncData).map_err(|reason| self.broke(&reason))
    }

    /// Bytes it takes on disk, journals included.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn disk_space(&self) -> Result<u64, DatabaseError> {
        self.opened()?.disk_space().map_err(|reason| failed(&reason))
    }

    /// An error of a read, said as the others are.
    #[must_use]
    pub fn failed(&self, reason: &ReadFault) -> DatabaseError {
        failed(reason)
    }

    /// Whether it takes writes: none failed, and there are room and descriptors. Known before
    /// anything is to be written; one that failed is opened again here, if that can be done.
    ///
    /// # Errors
    /// [`DatabaseError`]: what the next write would say.
    pub fn writable(&self) -> Result<(), DatabaseError> {
        self.mended()?;
        self.require_room(0)?;
        self.require_descriptors()
    }

    /// Opens it again if a write failed since it was opened, its own threads' included. Cheap
    /// otherwise.
    ///
    /// # Errors
    /// [`DatabaseError`]: why that does not work yet.
    pub fn mended(&self) -> Result<(), DatabaseError> {
        if !self.inner.broken.load(Ordering::Acquire) {
            let open = self.opened()?;
            // Every commit has handed over what it wrote, so this writes nothing.
            match open.persist(PersistMode::Buffer) {
                Ok(()) => return Ok(()),
                Err(reason) => drop(self.broke(&reason)),
            }
        }
        self.mend()
    }

    /// The database while it is open; nobody closes it as long as this is held.
    fn opened(&self) -> Result<Opened<'_>, DatabaseError> {
        RwLockReadGuard::try_map(self.inner.open.read(), Option::as_ref).map_err(|_| closed())
    }

    /// An error of a write: the database has to be opened again.
    fn broke(&self, reason: &fjall::Error) -> DatabaseError {
        if !self.inner.broken.swap(true, Ordering::AcqRel) {
            let path = self.inner.path.display();
            tracing::error!(
                %path,
                %reason,
                "the database failed; it is reopened as soon as possible"
            );
        }
        failed(reason)
    }

    fn require_room(&self, bytes: u64) -> Result<(), DatabaseError> {
        let room = rustix::fs::statvfs(&self.inner.path)
            .map_err(|reason| failed(&fjall::Error::Io(reason.into())))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        // written twice: to the journal, then to a table
        let needed = RESERVE.saturating_add(bytes.saturating_mul(2));
        if free >= needed {
            return Ok(());
        }
        Err(DatabaseError::Full { free: free >> 20, needed: needed >> 20 })
    }

    /// The database opens files of its own whenever it likes: a write is refused before these may
    /// run out.
    fn require_descriptors(&self) -> Result<(), DatabaseError> {
        match self.inner.descriptors.scarce() {
            None => Ok(()),
            Some((free, limit)) => Err(DatabaseError::Descriptors { free, limit }),
        }
    }
}

/// See [`Database::opened`].
type Opened<'a> = parking_lot::MappedRwLockReadGuard<'a, fjall::Database>;

/// Writes to any keyspaces of one database, applied together by [`Database::commit`].
pub struct Batch {
    writes: Vec<Write>,
    bytes: u64,
}

struct Write {
    slot: Arc<Slot>,
    key: Slice,
    /// `None`: the key is removed.
    value: Option<Slice>,
}

impl Batch {
    /// Sets a key (up to 64 KiB) to a value (below 4 GiB).
    pub fn insert(&mut self, keyspace: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += (key.len() + value.len()) as u64;
        self.writes.push(Write { slot: keyspace.slot(), key, value: Some(value) });
    }

    /// Removes a key; one that is not there is no error.
    pub fn remove(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        self.writes.push(Write { slot: keyspace.slot(), key: key.into(), value: None });
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

/// It is closed, and somebody is about to open it again.
fn closed() -> DatabaseError {
    DatabaseError::Failed {
        reason: "it was closed after a failed write and is not reopened yet".into(),
    }
}

fn failed(reason: &fjall::Error) -> DatabaseError {
    let reason = match reason {
        fjall::Error::Poisoned => "a write failed".to_owned(),
        reason => reason.to_string(),
    };
    DatabaseError::Failed { reason }
}

#[cfg(test)]
mod tests;
