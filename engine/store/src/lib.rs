//! Where state and progress survive: frames appended to buckets, and the offsets they were computed
//! from, in one atomic step.
//!
//! A store knows nothing of what a frame means. It promises: a commit applies wholly, and only if
//! the stored life and progress records are those it states; a read is one moment; a compaction
//! replaces exactly the prefix it was made from. It never folds, never decides what a refused
//! commit leads to (that is `tally-progress`), never creates on commit.

#[cfg(any(test, feature = "contract"))]
#[doc(hidden)]
pub mod contract;
pub mod embedded;
mod kinds;
pub mod redis;

pub use kinds::{OpenError, Opened, judge, open, open_existing};

use std::collections::BTreeMap;
use thiserror::Error;

/// Identifies a revision of a metric: its name and the hash of everything that gives its state
/// meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId {
    /// Name of the metric.
    pub metric: String,
    /// Hash over author's revision, tables, merges, config, `[events]`, dedupe window and the
    /// engine's semantics.
    pub fingerprint: u64,
}

/// A random id written when a revision's state is created: state rebuilt from nothing is another
/// life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life(pub u128);

/// Buckets numbered below this are begun by the first commit that touches them; those from here on
/// only by a split.
pub const BEGUN: u32 = 1 << 24;

/// A bucket of a table of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    /// Index of the table in the metric's description.
    pub table: u16,
    /// Number of the bucket: which it may be is the writer's to say, but for [`BEGUN`].
    pub bucket: u32,
}

/// Id of a frame's execution: unique for each time a commit or compaction ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId(pub u128);

/// Progress of one revision on one partition. `bytes` is the record beside the fence (watermark,
/// anchor, rows, gaps …, `progress::Progress` encoded); the store compares it byte by byte and
/// never reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProgress {
    /// The offset after the last record whose deltas are in the state.
    pub next: u64,
    /// What else is known, opaque here.
    pub bytes: Vec<u8>,
}

/// What a store holds of a revision besides its buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevision {
    /// Its life.
    pub life: Life,
    /// The table meta it was created with (merges, hash id, layout, retention), opaque here.
    pub meta: Vec<u8>,
    /// Per partition.
    pub progress: BTreeMap<u32, StoredProgress>,
}

/// `[from, to)` of one partition. It applies only where `from` and `base` are what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub partition: u32,
    /// What `next` must be for the commit to apply; 0 where nothing is stored yet.
    pub from: u64,
    /// What `bytes` must be; `None`: nothing may be stored yet. Offsets alone do not tell two
    /// histories apart that lost different records on the way (docs/decisions/0003-fence.md).
    pub base: Option<Vec<u8>>,
    /// What it then becomes, with its record. `to.next == from` is a heartbeat.
    pub to: StoredProgress,
}

/// A step of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose.
    pub revision: RevisionId,
    /// The life it was computed on.
    pub life: Life,
    /// The partitions it moves; all must match or nothing happens.
    pub advances: Vec<Advance>,
    /// What is appended where; at most one frame a bucket.
    pub frames: Vec<(Bucket, Vec<u8>)>,
}

/// What became of a commit. What each leads to is decided in `progress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// Applied; the bytes appended to each touched bucket since its last snapshot, and the
    /// snapshot's, to decide about compaction.
    Applied(Vec<BucketSize>),
    /// Not applied: a stored offset or record differs. The offset stored for each partition that
    /// was named (0: nothing); where all of them are the ones expected, it is a record that
    /// differs.
    Mismatch(BTreeMap<u32, u64>),
    /// Not applied: the revision is not there, or lives another life.
    OtherLife(Option<Life>),
    /// Not applied: a bucket would pass its size limit; compact it, then retry.
    Full(Bucket),
    /// Not applied: this is no bucket any more, because it was split; or not yet again, because the
    /// store went back to before it was made by a split. Ask which buckets there are, and send the
    /// same range in these.
    Layout(Bucket),
    /// Not applied: what stands under this revision's keys is not its state. What, and what to do;
    /// other commits have their own answers.
    Broken(String),
}

/// How large a bucket is, with what the store keeps around each frame. Where several engines share
/// a store, how much of it is snapshot may be older than the sum, except where by it the bucket
/// would have to be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSize {
    /// Which.
    pub bucket: Bucket,
    /// Bytes of its snapshot, 0 without one.
    pub snapshot: u64,
    /// Bytes of the frames after it.
    pub tail: u64,
}

/// One frame as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its id.
    pub id: FrameId,
    /// Logical end: bytes ever appended to the bucket up to and including this frame, with what the
    /// store keeps around each; a snapshot keeps that of the last frame it folded.
    pub end: u64,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// What a reader already folded of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which bucket.
    pub bucket: Bucket,
    /// The last frame folded and its logical end; `None`: nothing.
    pub last: Option<(FrameId, u64)>,
}

/// What a read returns of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketRead {
    /// Frames after the one the reader folded; its view stays valid.
    Tail(Vec<StoredFrame>),
    /// That frame no longer stands there: the whole bucket, the view is to be dropped.
    Whole(Vec<StoredFrame>),
    /// It was split. No frame is returned of its halves: they begin where it ended.
    Split {
        /// Frames after the one the reader folded, up to the end; its view stays valid. `None`:
        /// that is not known any more.
        tail: Option<Vec<StoredFrame>>,
        /// Id and logical end of what each half begins with: a snapshot of its share of all frames.
        begin: (FrameId, u64),
    },
    /// There is no such bucket, and a commit could not begin it: the store went back to before a
    /// split.
    None,
}

/// One moment of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its life and progress at this moment.
    pub revision: StoredRevision,
    /// The buckets asked for, in that order.
    pub buckets: Vec<BucketRead>,
}

/// Replaces the prefix of a bucket by one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Whose bucket.
    pub revision: RevisionId,
    /// The life it was made on.
    pub life: Life,
    /// Which bucket.
    pub bucket: Bucket,
    /// The last frame that the snapshot folds, and its logical end.
    pub last: (FrameId, u64),
    /// The snapshot frame.
    pub snapshot: Vec<u8>,
}

/// What became of a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactAnswer {
    /// The prefix is now the snapshot.
    Done,
    /// The prefix no longer stands (compacted by another, or the store went back): nothing
    /// happened.
    Stale,
}

/// Replaces a bucket by two, each with a snapshot of its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Whose bucket.
    pub revision: RevisionId,
    /// The life it was made on.
    pub life: Life,
    /// Which bucket.
    pub bucket: Bucket,
    /// The last frame of the bucket, and its logical end; the snapshots fold all frames up to it.
    pub last: (FrameId, u64),
    /// The buckets in its place, none of which is there, and their snapshots.
    pub halves: [(Bucket, Vec<u8>); 2],
    /// A logical end. Where readers have views of their own, frames after it stay readable for a
    /// while.
    pub kept: u64,
}

/// What became of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitAnswer {
    /// The bucket is two now. The id of both snapshots; their logical end is that of the last
    /// frame.
    Done(FrameId),
    /// Its last frame is another one (appended, compacted or split by another, or the store went
    /// back): nothing happened.
    Stale,
}

/// State and progress of metrics.
pub trait Store: Send + Sync {
    /// Creates the empty state of a revision with a new life; what was there under this id is gone.
    ///
    /// # Errors
    /// [`StoreError`]; nothing happened then.
    fn create(&self, revision: &RevisionId, meta: &[u8]) -> Result<Life, StoreError>;

    /// What is stored of a revision, without its buckets.
    ///
    /// # Errors
    /// [`StoreError`].
    fn stored(&self, revision: &RevisionId) -> Result<Option<StoredRevision>, StoreError>;

    /// Which revision answers for a metric.
    ///
    /// # Errors
    /// [`StoreError`].
    fn current(&self, metric: &str) -> Result<Option<RevisionId>, StoreError>;

    /// Makes `revision` the one that answers for its metric, iff `expected` does now. Whether it
    /// was set.
    ///
    /// # Errors
    /// [`StoreError`]; nothing happened then.
    fn point(
        &self,
        expected: Option<&RevisionId>,
        revision: &RevisionId,
    ) -> Result<bool, StoreError>;

    /// What [`Store::begin`] has written; `None`: nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn begun(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes down once how counting begins here, before anything is counted: who comes first
    /// writes. What is written then.
    ///
    /// # Errors
    /// [`StoreError`]; may be sent again.
    fn begin(&self, how: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// The names of the metrics of which something is stored; one that is just being created or
    /// removed may be among them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn metrics(&self) -> Result<Vec<String>, StoreError>;

    /// The revisions of a metric of which something is stored; one that is just being created or
    /// removed may be among them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn revisions(&self, metric: &str) -> Result<Vec<RevisionId>, StoreError>;

    /// Removes the state of a revision, its progress and its life, and the pointer of its metric if
    /// that is this one. Whether there was any. What was computed on that life answers
    /// [`CommitAnswer::OtherLife`] and `Stale` from then on.
    ///
    /// # Errors
    /// [`StoreError`]; may be sent again.
    fn remove(&self, revision: &RevisionId) -> Result<bool, StoreError>;

    /// Applies steps of several revisions together where the store can; each is answered on its
    /// own, and each is applied wholly or not at all.
    ///
    /// # Errors
    /// [`StoreError`]: unknown whether applied; the same ranges may be sent again.
    fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitAnswer>, StoreError>;

    /// One moment of the named buckets. A reader that knows nothing of a bucket gets it whole.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&self, revision: &RevisionId, known: &[Known]) -> Result<Option<Reading>, StoreError>;

    /// The buckets of a revision that hold anything; of one that was split the halves.
    ///
    /// # Errors
    /// [`StoreError`].
    fn buckets(&self, revision: &RevisionId) -> Result<Vec<Bucket>, StoreError>;

    /// The same buckets with how large each is: of a bucket that others write to, at some moment of
    /// late.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sizes(&self, revision: &RevisionId) -> Result<Vec<BucketSize>, StoreError>;

    /// Replaces a prefix by a snapshot, iff it still stands.
    ///
    /// # Errors
    /// [`StoreError`]; may be sent again.
    fn compact(&self, compaction: &Compaction) -> Result<CompactAnswer, StoreError>;

    /// Replaces a bucket by two, iff the frame that is folded last is still its last one.
    ///
    /// # Errors
    /// [`StoreError`]; may be sent again.
    fn split(&self, split: &Split) -> Result<SplitAnswer, StoreError>;
}

/// The store did not do what it was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// It may again later: pause and retry.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It holds something that this engine cannot read: refused, never skipped.
    #[error("the store holds data that this engine cannot read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the same request may succeed later, without a change by a person.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}
