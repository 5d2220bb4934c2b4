//! The believed time as the database remembers it, so that a start has something to compare its
//! clock with.

use super::{Database, DatabaseError, Durability, Shape};

/// The keyspace that holds [`BELIEVED`].
const CLOCK: &str = "clock";

/// The newest believed time, Unix milliseconds, 8 bytes big-endian.
const BELIEVED: &[u8] = b"believed";

pub(super) fn believed(fjall: &fjall::Database) -> Result<Option<i64>, fjall::Error> {
    if !fjall.list_keyspace_names().iter().any(|name| &**name == CLOCK) {
        return Ok(None);
    }
    let stored = fjall.keyspace(CLOCK, fjall::KeyspaceCreateOptions::default)?.get(BELIEVED)?;
    Ok(stored.and_then(|bytes| bytes[..].try_into().ok()).map(i64::from_be_bytes))
}

impl Database {
    /// Writes the believed time down, with which the next start compares its clock.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn remember_time(&self) -> Result<(), DatabaseError> {
        let now = self.inner.clock.now();
        let rows = self.keyspace(CLOCK, Shape::Rows)?;
        let mut batch = self.batch();
        batch.insert(&rows, BELIEVED, now.to_be_bytes());
        self.commit(batch, Durability::Process)
    }
}
