//! Opening the database, and opening it again after a write failed.
//!
//! What fails a write passes: a full disk, no descriptor, no memory, a limit. The database itself
//! refuses every write from then on, and its own threads may have ended; reading the journal again
//! mends both. Tried by whoever asks for something, at most so often as [`Mending`] lets it, and
//! only where there are room and descriptors.

use super::keyspace::Slot;
use super::{Database, DatabaseError, failed};
use fjall::{CompressionType, PersistMode};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What memory the database may use to keep what it has read, bytes. Little: the log and frames are
/// read once, in long stretches, and values that pass through a large cache only push each other
/// out of the processor's.
const CACHE: u64 = 2 << 20;

/// Journals on disk, bytes; beyond it keyspaces are flushed. What a start after a crash reads
/// again.
const JOURNALS: u64 = 128 << 20;

/// Tables kept open, at most. Part of what [`tally_system::descriptors`] keeps back for the engine.
const FILES: usize = 96;

/// Between two tries: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long reads and writes that are under way are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How opening again stands.
#[derive(Default)]
pub(super) struct Mending {
    /// When it may be tried again, the pause after the next failure, and what the last try said.
    again: Option<(Instant, Duration, String)>,
}

pub(super) fn open(path: &Path) -> fjall::Result<fjall::Database> {
    fjall::Database::builder(path)
        .cache_size(CACHE)
        .max_cached_files(Some(FILES))
        .journal_compression(CompressionType::None)
        .max_journaling_size(JOURNALS)
        .open()
}

impl Database {
    /// Opens it again, unless another caller has done so meanwhile or the last try was just now.
    pub(super) fn mend(&self) -> Result<(), DatabaseError> {
        let mut mending = self.inner.mending.lock();
        if !self.inner.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        let pause = match &mending.again {
            Some((at, _, reason)) if Instant::now() < *at => {
                return Err(DatabaseError::Failed { reason: reason.clone() });
            }
            Some((_, pause, _)) => *pause,
            None => PAUSE.0,
        };
        let done = self
            .require_room(0)
            .and_then(|()| self.require_descriptors())
            .and_then(|()| self.reopen());
        match &done {
            Ok(()) => {
                mending.again = None;
                self.inner.broken.store(false, Ordering::Release);
                tracing::info!(
                    path = %self.inner.path.display(),
                    "the database is open again; writing continues"
                );
            }
            Err(fault) => {
                let reason = match fault {
                    DatabaseError::Failed { reason } => reason.clone(),
                    fault => fault.to_string(),
                };
                mending.again = Some((Instant::now() + pause, (pause * 2).min(PAUSE.1), reason));
            }
        }
        done
    }

    fn reopen(&self) -> Result<(), DatabaseError> {
        let Some(mut open) = self.inner.open.try_write_for(PATIENCE) else {
            let reason = "reads or writes that ran when it failed have not ended yet".into();
            return Err(DatabaseError::Failed { reason });
        };
        let mut slots = self.inner.slots.lock();
        slots.retain(|_, slot| slot.strong_count() > 0);
        let held: Vec<Arc<Slot>> = slots.values().filter_map(Weak::upgrade).collect();
        let mut places: Vec<_> = held.iter().map(|slot| slot.hold()).collect();
        places.iter_mut().for_each(|place| **place = None);
        // Closes it: nobody else has a part of it any more but iterators, which hold none of its
        // files for writing.
        drop(open.take());
        let told = |reason: fjall::Error| failed(&reason);
        let fresh = self::open(&self.inner.path).map_err(told)?;
        let found = held
            .iter()
            .map(|slot| slot.of(&fresh))
            .collect::<fjall::Result<Vec<_>>>()
            .map_err(told)?;
        let probed = found.first().map_or(Ok(()), |keyspace| probe(&fresh, keyspace));
        for (place, keyspace) in places.iter_mut().zip(found) {
            **place = Some(keyspace);
        }
        // Also where it takes no writes yet: what is known can be read.
        *open = Some(fresh);
        probed.map_err(told)
    }
}

/// Writes something that changes nothing: removes a key that nobody has.
fn probe(database: &fjall::Database, keyspace: &fjall::Keyspace) -> fjall::Result<()> {
    let mut nothing = database.batch().durability(Some(PersistMode::Buffer));
    nothing.remove(keyspace, [0]);
    nothing.commit()
}
