//! A keyspace as its holders see it: it stays valid when the database is closed and opened again
//! beneath it.
//!
//! Iterators read one moment of the database that was open when they were made; one that goes on
//! after it was opened again may end with an error, and its holder asks again.

use super::{Database, DatabaseError, closed};
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Iter, KeyspaceCreateOptions, KvSeparationOptions, Slice};
use parking_lot::{RwLock, RwLockWriteGuard};
use std::ops::RangeBounds;
use std::sync::Arc;

/// What a keyspace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Small rows, overwritten in place: counters, positions, metadata.
    Rows,
    /// Values of a kilobyte and more, written once and removed later: frames, batches of records.
    /// They are kept out of the tree, so that compaction does not copy them again and again.
    Values,
}

impl Shape {
    pub(super) fn options(self) -> KeyspaceCreateOptions {
        match self {
            Shape::Rows => KeyspaceCreateOptions::default().max_memtable_size(8 << 20),
            Shape::Values => KeyspaceCreateOptions::default()
                .max_memtable_size(16 << 20)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                .with_kv_separation(Some(
                    KvSeparationOptions::default().compression(CompressionType::None),
                )),
        }
    }
}

/// Where the keyspace of the open database is found; `None` while it is closed.
pub(super) struct Slot {
    name: String,
    shape: Shape,
    now: RwLock<Option<fjall::Keyspace>>,
}

impl Slot {
    pub(super) fn new(name: &str, shape: Shape, found: fjall::Keyspace) -> Arc<Slot> {
        Arc::new(Slot { name: name.to_owned(), shape, now: RwLock::new(Some(found)) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn now(&self) -> Option<fjall::Keyspace> {
        self.now.read().clone()
    }

    /// Has readers wait while the database is closed and opened again.
    pub(super) fn hold(&self) -> RwLockWriteGuard<'_, Option<fjall::Keyspace>> {
        self.now.write()
    }

    /// The same of a database that was just opened.
    pub(super) fn of(&self, database: &fjall::Database) -> fjall::Result<fjall::Keyspace> {
        database.keyspace(&self.name, || self.shape.options())
    }
}

/// A keyspace of the database. Cloning is cheap; holds the database open.
#[derive(Clone)]
pub struct Keyspace {
    // Dropped before the database that it belongs to.
    slot: Arc<Slot>,
    database: Database,
}

impl Keyspace {
    pub(super) fn new(database: Database, slot: Arc<Slot>) -> Keyspace {
        Keyspace { slot, database }
    }

    pub(super) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    pub(super) fn into_slot(self) -> Arc<Slot> {
        self.slot
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>, DatabaseError> {
        self.read(|found| found.get(key))?.map_err(|reason| self.database.failed(&reason))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool, DatabaseError> {
        self.read(|found| found.contains_key(key))?.map_err(|reason| self.database.failed(&reason))
    }

    /// The rows whose keys begin with `prefix`, in order.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`].
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter, DatabaseError> {
        self.read(|found| found.prefix(prefix))
    }

    /// The rows whose keys lie in `range`, in order.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`].
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Iter, DatabaseError> {
        self.read(|found| found.range(range))
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`].
    pub fn is_empty(&self) -> Result<bool, DatabaseError> {
        self.read(fjall::Keyspace::is_empty)?.map_err(|reason| self.database.failed(&reason))
    }

    /// All rows, in order.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`].
    pub fn iter(&self) -> Result<Iter, DatabaseError> {
        self.read(fjall::Keyspace::iter)
    }

    fn read<T>(&self, work: impl FnOnce(&fjall::Keyspace) -> T) -> Result<T, DatabaseError> {
        // Held meanwhile, so that nobody closes it.
        match &*self.slot.now.read() {
            Some(found) => Ok(work(found)),
            None => Err(closed()),
        }
    }
}
