//! What the embedded store holds in memory, read once when it is opened: lives, progress, sizes of
//! buckets; and the fence, which is judged by it. Frames themselves stay on disk.

use super::EmbeddedStore;
use super::keys::{self, Kind, Number, corrupt};
use crate::*;
use std::collections::{BTreeSet, HashMap};
use tally_database::{Batch, Keyspace};

/// What is held in memory; always what the database holds, except after an unknown write (then
/// `stale`).
#[derive(Default)]
pub(super) struct Held {
    pub(super) revisions: HashMap<RevisionId, Revision>,
    pub(super) current: HashMap<String, u64>,
    /// How counting begins, if that was written.
    pub(super) begun: Option<Vec<u8>>,
    pub(super) next_number: u64,
    pub(super) frame_count: u64,
    pub(super) nonce: u64,
    /// A write failed and may have been applied: nothing here is to be believed before it is read
    /// again.
    pub(super) stale: bool,
}

/// A revision without its frames.
#[derive(Clone)]
pub(super) struct Revision {
    pub(super) number: Number,
    pub(super) life: Life,
    pub(super) meta: Vec<u8>,
    pub(super) progress: BTreeMap<u32, StoredProgress>,
    pub(super) buckets: BTreeMap<Bucket, Sizes>,
    /// Buckets that were split.
    pub(super) split: BTreeSet<Bucket>,
}

/// Of one bucket: bytes of snapshot and tail, the next sequence, the logical end.
#[derive(Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) snapshot: u64,
    pub(super) tail: u64,
    pub(super) sequence: u64,
    pub(super) end: u64,
}

impl Revision {
    pub(super) fn new(number: Number, life: Life, meta: Vec<u8>) -> Revision {
        let (progress, buckets, split) = Default::default();
        Revision { number, life, meta, progress, buckets, split }
    }

    /// Whether frames may be appended there: it holds some, or may begin.
    pub(super) fn is_bucket(&self, bucket: Bucket) -> bool {
        self.buckets.contains_key(&bucket) || bucket.bucket < BEGUN && !self.split.contains(&bucket)
    }

    /// The fence: life, offset and record must be those that the commit states.
    pub(super) fn refused(&self, commit: &Commit) -> Option<CommitAnswer> {
        if self.life != commit.life {
            return Some(CommitAnswer::OtherLife(Some(self.life)));
        }
        let next =
            |partition: u32| self.progress.get(&partition).map_or(0, |progress| progress.next);
        let holds = |advance: &Advance| {
            let record = self.progress.get(&advance.partition).map(|progress| &progress.bytes);
            next(advance.partition) == advance.from && record == advance.base.as_ref()
        };
        if commit.advances.iter().all(holds) {
            return None;
        }
        let stored =
            commit.advances.iter().map(|advance| (advance.partition, next(advance.partition)));
        Some(CommitAnswer::Mismatch(stored.collect()))
    }

    /// Heartbeats only: the fence holds, and there is nothing to write.
    pub(super) fn moves_nothing(&self, commit: &Commit) -> bool {
        let stands = |advance: &Advance| self.progress.get(&advance.partition) == Some(&advance.to);
        commit.frames.is_empty() && commit.advances.iter().all(stands)
    }
}

impl EmbeddedStore {
    /// Reads the database into memory. Frames of revisions that are gone (an interrupted clean-up)
    /// are ignored.
    pub(super) fn reload(&self, held: &mut Held) -> Result<(), StoreError> {
        let nonce = tally_system::clock::unique() as u64;
        let mut fresh = Held { next_number: 1, nonce, ..Held::default() };
        let mut by_number: HashMap<u64, (RevisionId, Revision)> = HashMap::new();
        for (key, value) in self.scan(&self.rows, b"r")? {
            let name = key.get(1..).and_then(|rest| rest.split_last_chunk::<8>());
            let (metric, fingerprint) =
                name.ok_or_else(|| corrupt("a revision's key", "it is too short"))?;
            let metric = std::str::from_utf8(metric)
                .map_err(|_| corrupt("a revision's key", "it is not UTF-8"))?
                .to_owned();
            let id = RevisionId { metric, fingerprint: u64::from_be_bytes(*fingerprint) };
            let (number, life, meta) = keys::revision_row(&key, &value)?;
            fresh.next_number = fresh.next_number.max(number.0 + 1);
            by_number.insert(number.0, (id, Revision::new(number, life, meta)));
        }
        for (revision_id, revision) in by_number.values_mut() {
            for (key, value) in self.scan(&self.rows, &keys::progress_prefix(revision.number))? {
                let (next, bytes) = keys::progress_row(&key, &value)?;
                revision.progress.insert(keys::partition_of(&key)?, StoredProgress { next, bytes });
            }
            // One after the other: together they may be more than fits into memory.
            for row in self.frames.prefix(revision.number.0.to_be_bytes())? {
                let (key, value) =
                    row.into_inner().map_err(|error| self.database.failed(&error))?;
                let (_, bucket, sequence) = keys::frame_place(&key)?;
                let frame = keys::frame_row(&key, &value)?;
                if frame.kind == Kind::Split {
                    revision.split.insert(bucket);
                    continue;
                }
                let sizes = revision.buckets.entry(bucket).or_default();
                let length = frame.bytes.len() as u64;
                if frame.kind == Kind::Snapshot && sizes.sequence > 0 {
                    return Err(corrupt(
                        &format!(
                            "bucket {} of table {} of {}",
                            bucket.bucket, bucket.table, revision_id.metric
                        ),
                        "a snapshot follows frames",
                    ));
                }
                *if frame.kind == Kind::Snapshot {
                    &mut sizes.snapshot
                } else {
                    &mut sizes.tail
                } += length;
                (sizes.sequence, sizes.end) = (sequence + 1, frame.end);
            }
        }
        for (key, value) in self.scan(&self.rows, b"c")? {
            let metric = std::str::from_utf8(&key[1..])
                .map_err(|_| corrupt("a metric's pointer", "its key is not UTF-8"))?;
            fresh.current.insert(metric.to_owned(), keys::current_row(&key, &value)?);
        }
        if let Some((_, value)) = self.scan(&self.rows, keys::BEGUN_KEY)?.first() {
            fresh.begun = Some(keys::begun_row(value)?);
        }
        fresh.revisions = by_number.into_values().collect();
        *held = fresh;
        Ok(())
    }

    /// Removes the frames and the progress of a revision.
    pub(super) fn clear(&self, batch: &mut Batch, revision: &Revision) -> Result<(), StoreError> {
        for row in self.frames.prefix(revision.number.0.to_be_bytes())? {
            // Keys only: the frames may be more than fits into memory.
            batch.remove(&self.frames, row.key().map_err(|error| self.database.failed(&error))?);
        }
        for partition in revision.progress.keys() {
            batch.remove(&self.rows, keys::progress_key(revision.number, *partition));
        }
        Ok(())
    }

    /// All rows whose keys begin with `prefix`, in order.
    pub(super) fn scan(
        &self,
        keyspace: &Keyspace,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let rows = keyspace
            .prefix(prefix)?
            .map(|row| row.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec())));
        rows.collect::<Result<_, _>>().map_err(|error| self.database.failed(&error).into())
    }
}
