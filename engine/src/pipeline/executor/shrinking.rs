//! Compacts a bucket: its frames become one snapshot, or, if that would be too large, one for each
//! of its halves.
//!
//! It reads, folds and writes back beside ingestion; if other engines append, compact or split
//! first, nothing happens. It does not decide when a bucket is due.

use crate::failpoint::point;
use crate::state::{self, FrameError};
use crate::store::{
    Bucket, BucketRead, CompactAnswer, Compaction, FrameId, Known, Life, RevisionId, Split,
    SplitAnswer, Store, StoreError, StoredFrame,
};
use tally_plugin::description::Table;

/// How often a split is attempted while others append to the bucket, before it is left to the next
/// compaction. Nothing is appended to a full bucket.
const TRIES: usize = 8;

/// Newest frames that stay readable for a while when a bucket is split.
const KEPT: usize = 64;

/// A bucket to be compacted.
#[derive(Clone, Copy, Debug)]
pub struct Shrink<'a> {
    /// The revision of the bucket.
    pub revision: &'a RevisionId,
    /// The life of the revision; with another one nothing happens.
    pub life: Life,
    /// The bucket.
    pub bucket: Bucket,
    /// Its table.
    pub table: &'a Table,
    /// Time up to which panes may expire, Unix milliseconds.
    pub watermark: i64,
    /// Whether to compact only if panes have expired.
    pub expired: bool,
    /// So many of the newest frames stay unchanged, unless the bucket is split.
    pub unfolded: usize,
    /// A bucket whose snapshot has more bytes is split.
    pub largest: u64,
}

/// The result of a compaction.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// A snapshot that was written, with the new floors.
    pub snapshot: Vec<u8>,
    /// Whether the bucket was split.
    pub split: bool,
}

/// The result of an attempt to split.
enum Halved {
    Done(Shrunk),
    /// Others have appended to it, or it was split.
    Stale,
    /// Its keys cannot be told apart.
    Never,
}

impl Shrink<'_> {
    /// Compacts the bucket. `None`: there was nothing to do, or other engines were faster.
    ///
    /// # Errors
    /// [`StoreError`]; it can be repeated.
    pub fn carry_out(&self, store: &dyn Store) -> Result<Option<Shrunk>, StoreError> {
        let Some(mut frames) = self.frames(store)? else { return Ok(None) };
        point("compact.read");
        if self.expired
            && let Some(first) = frames.first()
            && !state::expires(self.table, &first.bytes, self.watermark)
                .map_err(|fault| self.damaged(self.bucket, &fault))?
        {
            return Ok(None);
        }
        frames.truncate(frames.len().saturating_sub(self.unfolded));
        let Some(last) = frames.last().map(|frame| (frame.id, frame.end)) else { return Ok(None) };
        let bytes: Vec<Vec<u8>> = frames.into_iter().map(|frame| frame.bytes).collect();
        let snapshot = state::compact(self.table, &bytes, self.watermark)
            .map_err(|fault| self.damaged(self.bucket, &fault))?;
        point("compact.folded");
        if snapshot.len() as u64 > self.largest
            && let Halved::Done(shrunk) = self.split(store)?
        {
            point("compact.stored");
            return Ok(Some(shrunk));
        }
        let (revision, life, bucket) = (self.revision.clone(), self.life, self.bucket);
        let compaction = Compaction { revision, life, bucket, last, snapshot: snapshot.clone() };
        let answer = store.compact(&compaction)?;
        point("compact.stored");
        match answer {
            CompactAnswer::Done => Ok(Some(Shrunk { snapshot, split: false })),
            CompactAnswer::Stale => Ok(None),
        }
    }

    /// All frames of the bucket; `None`: it is no bucket any more.
    fn frames(&self, store: &dyn Store) -> Result<Option<Vec<StoredFrame>>, StoreError> {
        let known = [Known { bucket: self.bucket, last: None }];
        let Some(reading) = store.read(self.revision, &known)? else { return Ok(None) };
        match reading.buckets.into_iter().next() {
            Some(BucketRead::Whole(frames) | BucketRead::Tail(frames)) => Ok(Some(frames)),
            _ => Ok(None),
        }
    }

    fn damaged(&self, bucket: Bucket, fault: &FrameError) -> StoreError {
        StoreError::Corrupt(format!("table {} bucket {}: {fault}", self.table.name, bucket.bucket))
    }

    /// Splits the bucket, and its halves, until none is too large.
    fn split(&self, store: &dyn Store) -> Result<Halved, StoreError> {
        for _ in 0..TRIES {
            let Some(frames) = self.frames(store)? else { return Ok(Halved::Stale) };
            let Some(last) = frames.last().map(|frame| (frame.id, frame.end)) else {
                return Ok(Halved::Stale);
            };
            let kept = frames
                .iter()
                .rev()
                .skip(1)
                .take(KEPT)
                .next_back()
                .map_or(last.1, |frame| frame.end);
            let bytes: Vec<Vec<u8>> = frames.into_iter().map(|frame| frame.bytes).collect();
            match self.halve(store, self.bucket, (&bytes, last, kept))? {
                Halved::Stale => {}
                other => return Ok(other),
            }
        }
        Ok(Halved::Stale)
    }

    /// Splits `bucket`, which holds these frames.
    fn halve(
        &self,
        store: &dyn Store,
        bucket: Bucket,
        (frames, last, kept): (&[Vec<u8>], (FrameId, u64), u64),
    ) -> Result<Halved, StoreError> {
        let halves = state::split(self.table, bucket.bucket, frames, self.watermark);
        let Some(halves) = halves.map_err(|fault| self.damaged(bucket, &fault))? else {
            return Ok(Halved::Never);
        };
        let halves =
            halves.map(|(number, snapshot)| (Bucket { bucket: number, ..bucket }, snapshot));
        let (revision, life) = (self.revision.clone(), self.life);
        let SplitAnswer::Done(id) =
            store.split(&Split { revision, life, bucket, last, halves: halves.clone(), kept })?
        else {
            return Ok(Halved::Stale);
        };
        for (half, snapshot) in
            halves.iter().filter(|(_, snapshot)| snapshot.len() as u64 > self.largest)
        {
            // If other engines are faster, the next compaction continues.
            self.halve(store, *half, (std::slice::from_ref(snapshot), (id, last.1), last.1))?;
        }
        let [(_, snapshot), _] = halves;
        Ok(Halved::Done(Shrunk { snapshot, split: true }))
    }
}
