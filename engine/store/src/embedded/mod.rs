//! The store in the data directory: one process owns it, every commit is one transaction of the
//! embedded database.
//!
//! Rows are keyed (revision, table, bucket, sequence), one per frame; frames, progress and life
//! change together. Sizes of buckets and progress are kept in memory, so that a commit reads
//! nothing from disk. Each row's checksum is verified when it is read, opening reads progress and
//! the heads of all frames: what is damaged or of an unknown format refuses the store. Writers wait
//! for each other; readers see one moment, between two commits.
//!
//! Over 480 lines: every operation of one store, each a transaction over the same rows and sizes.

mod held;
mod keys;

use crate::kinds::Opener;
use crate::*;
use held::{Held, Revision, Sizes};
use keys::{FrameRow, Kind, Number};
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tally_config::{Config, Durability};
use tally_database::{Batch, Database, DatabaseError, Keyspace, Shape};
use tally_failpoint::point;

/// The kind `embedded`: in the data directory, for one engine.
pub(crate) const KIND: Opener = Opener { find, open: open_configured, judge: |_| Vec::new() };

/// Largest bucket. A large one only makes its compaction longer, so this is far above what
/// compaction leaves.
const MAX_BUCKET: u64 = 1 << 30;

/// A state is there once its database has been opened.
fn find(config: &Config) -> Result<(), OpenError> {
    let folder: &Path = &config.store.data_dir;
    if folder.join("db").is_dir() {
        Ok(())
    } else {
        Err(OpenError::Nothing(folder.display().to_string()))
    }
}

fn open_configured(config: &Config, database: Option<&Database>) -> Result<Opened, OpenError> {
    let database = match database {
        Some(database) => database.clone(),
        None => Database::open(&config.store.data_dir)?,
    };
    let store = EmbeddedStore::open(database, Durability::Process, MAX_BUCKET)?;
    Ok(Opened {
        store: Arc::new(store),
        shared: false,
        commit_interval: Duration::from_millis(config.store.checkpoint_interval_ms),
        place: config.store.data_dir.display().to_string(),
        says: "open".into(),
        warnings: Vec::new(),
    })
}

/// State in the embedded database.
pub struct EmbeddedStore {
    pub(super) database: Database,
    pub(super) frames: Keyspace,
    pub(super) rows: Keyspace,
    durability: Durability,
    max_bucket_bytes: u64,
    held: RwLock<Held>,
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl EmbeddedStore {
    /// Opens the state in `database`. `max_bucket_bytes`: a commit that would bring a bucket
    /// (snapshot and tail) above it is answered [`CommitAnswer::Full`], if the bucket holds more
    /// than a quarter of that.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it holds what cannot be read, [`StoreError::Unavailable`] when
    /// the database fails.
    pub fn open(
        database: Database,
        durability: Durability,
        max_bucket_bytes: u64,
    ) -> Result<Self, StoreError> {
        let frames = database.keyspace("state-frames", Shape::Values)?;
        let rows = database.keyspace("state-rows", Shape::Rows)?;
        let store =
            Self { database, frames, rows, durability, max_bucket_bytes, held: RwLock::default() };
        store.reload(&mut store.held.write())?;
        Ok(store)
    }

    /// The held state for writing, read again first if a write had failed.
    fn writable(&self) -> Result<parking_lot::RwLockWriteGuard<'_, Held>, StoreError> {
        let mut held = self.held.write();
        self.database.mended()?;
        if held.stale {
            self.reload(&mut held)?;
        }
        Ok(held)
    }

    fn readable(&self) -> Result<parking_lot::RwLockReadGuard<'_, Held>, StoreError> {
        let held = self.held.read();
        if !held.stale {
            return Ok(held);
        }
        drop(held);
        Ok(parking_lot::RwLockWriteGuard::downgrade(self.writable()?))
    }

    fn write(&self, held: &mut Held, batch: Batch) -> Result<(), StoreError> {
        point("embedded.write");
        let done = self.database.commit(batch, self.durability).map_err(|error| {
            // What was refused before anything was written leaves nothing in doubt.
            held.stale = !error.wrote_nothing();
            error.into()
        });
        point("embedded.written");
        done
    }

    /// Applies one commit whose fence holds to `revision` and adds its rows to `batch`, or says why
    /// not; then neither is changed.
    fn apply(
        &self,
        batch: &mut Batch,
        revision: &mut Revision,
        commit: &Commit,
        mut id: impl FnMut() -> FrameId,
    ) -> CommitAnswer {
        for (bucket, frame) in &commit.frames {
            if !revision.is_bucket(*bucket) {
                return CommitAnswer::Layout(*bucket);
            }
            let sizes = revision.buckets.get(bucket).copied().unwrap_or_default();
            let (held, most) = (sizes.snapshot + sizes.tail, self.max_bucket_bytes);
            // One that holds little takes any frame: neither a compaction nor a split would make
            // room for it.
            if held + frame.len() as u64 > most && held * 4 > most {
                return CommitAnswer::Full(*bucket);
            }
        }
        let mut touched = Vec::with_capacity(commit.frames.len());
        for (bucket, frame) in &commit.frames {
            let sizes = revision.buckets.entry(*bucket).or_default();
            sizes.end += frame.len() as u64;
            sizes.tail += frame.len() as u64;
            let row = FrameRow { kind: Kind::Frame, id: id(), end: sizes.end, bytes: &frame[..] };
            self.put_frame(batch, (revision.number, *bucket, sizes.sequence), &row);
            sizes.sequence += 1;
            touched.push(BucketSize {
                bucket: *bucket,
                snapshot: sizes.snapshot,
                tail: sizes.tail,
            });
        }
        for advance in &commit.advances {
            let unchanged = revision.progress.get(&advance.partition) == Some(&advance.to);
            if !unchanged {
                let key = keys::progress_key(revision.number, advance.partition);
                batch.insert(
                    &self.rows,
                    key.clone(),
                    keys::progress_value(&key, advance.to.next, &advance.to.bytes),
                );
                revision.progress.insert(advance.partition, advance.to.clone());
            }
        }
        CommitAnswer::Applied(touched)
    }

    /// Adds a frame at this place to `batch`: revision, bucket, sequence.
    fn put_frame(
        &self,
        batch: &mut Batch,
        (number, bucket, sequence): (Number, Bucket, u64),
        row: &FrameRow<&[u8]>,
    ) {
        let key = keys::frame_key(number, bucket, sequence);
        let value = keys::frame_value(&key, row);
        batch.insert(&self.frames, key, value);
    }

    /// Removes these frames of a bucket with `batch`.
    fn remove_frames(
        &self,
        batch: &mut Batch,
        (number, bucket): (Number, Bucket),
        frames: &[(u64, FrameRow)],
    ) {
        for (sequence, _) in frames {
            batch.remove(&self.frames, keys::frame_key(number, bucket, *sequence));
        }
    }

    fn bucket_frames(
        &self,
        number: Number,
        bucket: Bucket,
    ) -> Result<Vec<(u64, FrameRow)>, StoreError> {
        let mut frames = Vec::new();
        for (key, value) in self.scan(&self.frames, &keys::bucket_prefix(number, bucket))? {
            frames.push((keys::frame_place(&key)?.2, keys::frame_row(&key, &value)?));
        }
        Ok(frames)
    }

    /// Frames after the last one known, without reading those before it where it still stands.
    fn bucket_read(&self, revision: &Revision, known: &Known) -> Result<BucketRead, StoreError> {
        if !revision.is_bucket(known.bucket) && !revision.split.contains(&known.bucket) {
            return Ok(BucketRead::None);
        }
        // The newest first: what the reader knows is not read again.
        let mut frames: Vec<FrameRow> = Vec::new();
        let mut stands = false;
        for row in self.frames.prefix(keys::bucket_prefix(revision.number, known.bucket))?.rev() {
            let (key, value) = row.into_inner().map_err(|error| self.database.failed(&error))?;
            let frame = keys::frame_row(&key, &value)?;
            stands = frame.kind != Kind::Split && known.last == Some((frame.id, frame.end));
            if stands {
                break;
            }
            frames.push(frame);
        }
        frames.reverse();
        if let ([split @ FrameRow { kind: Kind::Split, .. }], false) = (&frames[..], stands) {
            let all = known
                .last
                .is_some_and(|(id, end)| end == split.end && id.0.to_le_bytes()[..] == split.bytes);
            return Ok(BucketRead::Split {
                tail: all.then(Vec::new),
                begin: (split.id, split.end),
            });
        }
        let stored = frames
            .into_iter()
            .map(|row| StoredFrame { id: row.id, end: row.end, bytes: row.bytes })
            .collect();
        Ok(if stands { BucketRead::Tail(stored) } else { BucketRead::Whole(stored) })
    }
}

/// Ids of executions: microseconds, the store's nonce, a counter.
fn frame_id(nonce: u64, count: &mut u64) -> FrameId {
    *count += 1;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    FrameId((now << 64) | u128::from(nonce & !0xffff_ffff) | u128::from(*count & 0xffff_ffff))
}

impl Store for EmbeddedStore {
    fn create(&self, revision: &RevisionId, meta: &[u8]) -> Result<Life, StoreError> {
        let mut held = self.writable()?;
        let number = Number(held.next_number);
        let life = Life(tally_system::clock::unique());
        let mut batch = self.database.batch();
        if let Some(old) = held.revisions.get(revision) {
            self.clear(&mut batch, old)?;
        }
        let key = keys::revision_key(revision);
        batch.insert(&self.rows, key.clone(), keys::revision_value(&key, number, life, meta));
        self.write(&mut held, batch)?;
        held.next_number += 1;
        held.revisions.insert(revision.clone(), Revision::new(number, life, meta.to_vec()));
        Ok(life)
    }

    fn stored(&self, revision: &RevisionId) -> Result<Option<StoredRevision>, StoreError> {
        let held = self.readable()?;
        Ok(held.revisions.get(revision).map(|found| StoredRevision {
            life: found.life,
            meta: found.meta.clone(),
            progress: found.progress.clone(),
        }))
    }

    fn current(&self, metric: &str) -> Result<Option<RevisionId>, StoreError> {
        let held = self.readable()?;
        Ok(held
            .current
            .get(metric)
            .map(|fingerprint| RevisionId { metric: metric.to_owned(), fingerprint: *fingerprint }))
    }

    fn point(
        &self,
        expected: Option<&RevisionId>,
        revision: &RevisionId,
    ) -> Result<bool, StoreError> {
        let mut held = self.writable()?;
        let now = held.current.get(&revision.metric).copied();
        let expects = expected
            .filter(|expected| expected.metric == revision.metric)
            .map(|expected| expected.fingerprint);
        if now != expects || expected.is_some() != expects.is_some() {
            return Ok(false);
        }
        let mut batch = self.database.batch();
        let key = keys::current_key(&revision.metric);
        batch.insert(&self.rows, key.clone(), keys::current_value(&key, revision.fingerprint));
        self.write(&mut held, batch)?;
        held.current.insert(revision.metric.clone(), revision.fingerprint);
        Ok(true)
    }

    fn begun(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.readable()?.begun.clone())
    }

    fn begin(&self, how: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut held = self.writable()?;
        if let Some(begun) = &held.begun {
            return Ok(begun.clone());
        }
        let mut batch = self.database.batch();
        batch.insert(&self.rows, keys::BEGUN_KEY.to_vec(), keys::begun_value(how));
        self.write(&mut held, batch)?;
        held.begun = Some(how.to_vec());
        Ok(how.to_vec())
    }

    fn metrics(&self) -> Result<Vec<String>, StoreError> {
        let held = self.readable()?;
        let names: BTreeSet<&String> = held.revisions.keys().map(|id| &id.metric).collect();
        Ok(names.into_iter().cloned().collect())
    }

    fn revisions(&self, metric: &str) -> Result<Vec<RevisionId>, StoreError> {
        let held = self.readable()?;
        let mut found: Vec<RevisionId> =
            held.revisions.keys().filter(|id| id.metric == metric).cloned().collect();
        found.sort();
        Ok(found)
    }

    fn remove(&self, revision: &RevisionId) -> Result<bool, StoreError> {
        let mut held = self.writable()?;
        let mut batch = self.database.batch();
        let stored = held.revisions.get(revision);
        if let Some(stored) = stored {
            // In one transaction: numbers begin again after the largest that is left, and find no
            // frames of another.
            self.clear(&mut batch, stored)?;
            batch.remove(&self.rows, keys::revision_key(revision));
        }
        let (there, current) =
            (stored.is_some(), held.current.get(&revision.metric) == Some(&revision.fingerprint));
        if current {
            batch.remove(&self.rows, keys::current_key(&revision.metric));
        }
        if !batch.is_empty() {
            self.write(&mut held, batch)?;
        }
        held.revisions.remove(revision);
        if current {
            held.current.remove(&revision.metric);
        }
        Ok(there)
    }

    fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitAnswer>, StoreError> {
        let mut held = self.writable()?;
        let mut batch = self.database.batch();
        let mut count = held.frame_count;
        let nonce = held.nonce;
        // Changed copies, put in place once the transaction is through.
        let mut changed: HashMap<RevisionId, Revision> = HashMap::new();
        let answers = commits.iter().map(|commit| {
            let Some(revision) =
                changed.get(&commit.revision).or_else(|| held.revisions.get(&commit.revision))
            else {
                return CommitAnswer::OtherLife(None);
            };
            if let Some(refused) = revision.refused(commit) {
                return refused;
            }
            if revision.moves_nothing(commit) {
                return CommitAnswer::Applied(Vec::new());
            }
            let mut revision = revision.clone();
            let answer =
                self.apply(&mut batch, &mut revision, commit, || frame_id(nonce, &mut count));
            if matches!(answer, CommitAnswer::Applied(_)) {
                changed.insert(commit.revision.clone(), revision);
            }
            answer
        });
        let answers = answers.collect();
        if !batch.is_empty() {
            self.write(&mut held, batch)?;
        }
        held.frame_count = count;
        held.revisions.extend(changed);
        Ok(answers)
    }

    fn read(&self, revision: &RevisionId, known: &[Known]) -> Result<Option<Reading>, StoreError> {
        let held = self.readable()?;
        let Some(found) = held.revisions.get(revision) else { return Ok(None) };
        let buckets =
            known.iter().map(|known| self.bucket_read(found, known)).collect::<Result<_, _>>()?;
        let revision = StoredRevision {
            life: found.life,
            meta: found.meta.clone(),
            progress: found.progress.clone(),
        };
        Ok(Some(Reading { revision, buckets }))
    }

    fn buckets(&self, revision: &RevisionId) -> Result<Vec<Bucket>, StoreError> {
        let held = self.readable()?;
        Ok(held
            .revisions
            .get(revision)
            .map(|found| found.buckets.keys().copied().collect())
            .unwrap_or_default())
    }

    fn sizes(&self, revision: &RevisionId) -> Result<Vec<BucketSize>, StoreError> {
        let held = self.readable()?;
        let buckets = held.revisions.get(revision).map(|found| &found.buckets);
        let size = |(bucket, sizes): (&Bucket, &Sizes)| BucketSize {
            bucket: *bucket,
            snapshot: sizes.snapshot,
            tail: sizes.tail,
        };
        Ok(buckets.into_iter().flatten().map(size).collect())
    }

    fn compact(&self, compaction: &Compaction) -> Result<CompactAnswer, StoreError> {
        let mut held = self.writable()?;
        let (nonce, mut count) = (held.nonce, held.frame_count);
        let Some(revision) =
            held.revisions.get(&compaction.revision).filter(|found| found.life == compaction.life)
        else {
            return Ok(CompactAnswer::Stale);
        };
        let frames = self.bucket_frames(revision.number, compaction.bucket)?;
        let stands = |(_, row): &(u64, FrameRow)| {
            (row.id, row.end) == compaction.last && row.kind != Kind::Split
        };
        let Some(at) = frames.iter().position(stands) else { return Ok(CompactAnswer::Stale) };
        let mut batch = self.database.batch();
        self.remove_frames(&mut batch, (revision.number, compaction.bucket), &frames[..at]);
        // The snapshot takes the place of the last frame it folds, so it stands before those that
        // came meanwhile.
        let (sequence, last) = &frames[at];
        let row = FrameRow {
            kind: Kind::Snapshot,
            id: frame_id(nonce, &mut count),
            end: last.end,
            bytes: &compaction.snapshot[..],
        };
        self.put_frame(&mut batch, (revision.number, compaction.bucket, *sequence), &row);
        let tail = frames[at + 1..].iter().map(|(_, row)| row.bytes.len() as u64).sum();
        self.write(&mut held, batch)?;
        held.frame_count = count;
        if let Some(sizes) = held
            .revisions
            .get_mut(&compaction.revision)
            .and_then(|found| found.buckets.get_mut(&compaction.bucket))
        {
            (sizes.snapshot, sizes.tail) = (compaction.snapshot.len() as u64, tail);
        }
        Ok(CompactAnswer::Done)
    }

    fn split(&self, split: &Split) -> Result<SplitAnswer, StoreError> {
        let mut held = self.writable()?;
        let (nonce, mut count) = (held.nonce, held.frame_count);
        let Some(revision) =
            held.revisions.get(&split.revision).filter(|found| found.life == split.life)
        else {
            return Ok(SplitAnswer::Stale);
        };
        let frames = self.bucket_frames(revision.number, split.bucket)?;
        let last = frames
            .last()
            .filter(|(_, row)| (row.id, row.end) == split.last && row.kind != Kind::Split);
        let Some((sequence, _)) = last else { return Ok(SplitAnswer::Stale) };
        let mut revision = revision.clone();
        let mut batch = self.database.batch();
        let place = (revision.number, split.bucket);
        self.remove_frames(&mut batch, place, &frames[..frames.len() - 1]);
        let (id, (last, end)) = (frame_id(nonce, &mut count), split.last);
        let mut insert = |bucket: Bucket, sequence: u64, kind: Kind, bytes: &[u8]| {
            let row = FrameRow { kind, id, end, bytes };
            self.put_frame(&mut batch, (revision.number, bucket, sequence), &row);
        };
        insert(split.bucket, *sequence, Kind::Split, &last.0.to_le_bytes());
        for (bucket, snapshot) in &split.halves {
            if revision.buckets.contains_key(bucket) || revision.split.contains(bucket) {
                let what = format!(
                    "bucket {} of table {} of {}",
                    bucket.bucket, bucket.table, split.revision.metric
                );
                return Err(keys::corrupt(&what, "it is there before it is made"));
            }
            insert(*bucket, 0, Kind::Snapshot, snapshot);
        }
        for (bucket, snapshot) in &split.halves {
            revision.buckets.insert(
                *bucket,
                Sizes { snapshot: snapshot.len() as u64, tail: 0, sequence: 1, end },
            );
        }
        revision.buckets.remove(&split.bucket);
        revision.split.insert(split.bucket);
        self.write(&mut held, batch)?;
        held.frame_count = count;
        held.revisions.insert(split.revision.clone(), revision);
        Ok(SplitAnswer::Done(id))
    }
}

#[cfg(test)]
mod tests;
