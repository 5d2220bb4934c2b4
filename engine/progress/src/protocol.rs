//! The words between the commit protocol and its driver: what happens, what is to be done about it,
//! and why something stands still.
//!
//! Data only; the rules are in `machine`. Nothing here names a store or a source: the driver
//! translates.

use super::record::{Anchor, Progress, RECOUNT, Span};
use std::collections::BTreeMap;
use thiserror::Error;

/// The driver's number for a revision of a lane; not reused while the machine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionNo(pub u32);

/// Names one request, so that a late answer to an abandoned one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the machine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dedupe window in offsets: so many are read again before the first one counted.
    pub dedupe_window: u64,
    /// What a gap leads to.
    pub on_gap: OnGap,
    /// What it leads to that the state of a revision is gone while it is being counted.
    pub on_state_loss: OnStateLoss,
    /// Where the folded cells live.
    pub memory: Memory,
    /// Updates of all revisions that may wait for their commits; at this many the intake pauses
    /// until one is answered.
    pub max_pending_rows: u64,
    /// Id of the topic's incarnation; empty where the source has none, and until [`Event::Topic`]
    /// says it.
    pub topic: String,
}

/// What records that are gone lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// The partition stops for the revisions that miss them, until [`Event::GapAccepted`]. The
    /// default.
    Halt,
    /// The gap is recorded with the progress, and counting goes on behind it.
    Continue,
}

/// What a vanished state leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStateLoss {
    /// An empty state is created and the log counted again.
    Rebuild,
    /// The revision stops.
    Halt,
}

/// Where answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Whole views in this process, ahead of the store (embedded store): dropping uncommitted
    /// deltas means rebuilding.
    Resident,
    /// Views hold only what is committed (Redis): uncommitted deltas can be dropped by partition.
    Apart,
}

/// Where a revision begins on a partition that it never counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// With the first record held.
    #[default]
    Whole,
    /// At this offset of each partition; with the first record held of one that is not named, for
    /// it came later.
    From(BTreeMap<u32, u64>),
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The source gave us these partitions. Nothing of theirs is counted before [`Effect::Read`].
    Assigned(Vec<u32>),
    /// The source is taking these away: nothing more is counted, what is counted is committed. Ends
    /// with `Lost`.
    Revoked(Vec<u32>),
    /// These are gone: everything of theirs in memory is dropped at once.
    Lost(Vec<u32>),
    /// The id of the log as it is now. Asked before bounds, and from time to time.
    Topic(String),
    /// The lane shall feed this revision. Per partition how far its view goes, where it holds
    /// exactly what is stored; `None`: nothing of a view can be relied on.
    Joined(RevisionNo, History, Option<BTreeMap<u32, u64>>),
    /// The lane no longer feeds it; what is not committed is dropped.
    Left(RevisionNo),
    /// Answer to [`Effect::Load`]: what is stored, at one moment, of all partitions.
    Loaded(RevisionNo, Ticket, Result<Option<Found>, Trouble>),
    /// Answer to [`Effect::Create`].
    Created(RevisionNo, Ticket, Result<(), Trouble>),
    /// Answer to [`Effect::Bounds`]. A failure needs no event: it is asked again when the next
    /// checkpoint is due.
    Bounds(Ticket, Vec<Bounds>),
    /// A batch has been counted: its deltas are in memory.
    Counted(Counted),
    /// The record that [`super::Machine::anchors`] asked for, as the log holds it now.
    Anchor(u32, u64, Anchor),
    /// Partition, epoch, span: the log no longer holds these records, which were to be read.
    Gap(u32, u64, Span),
    /// Partition, epoch, offset: decoding this record panics, so nobody can say what it is. Told
    /// once the batch before it is counted up to this offset.
    Undecodable(u32, u64, u64),
    /// A person accepts that this partition goes on without the records at which it stands: a gap,
    /// or one that cannot be decoded.
    GapAccepted(u32),
    /// Revision, partition, offset: the revision's update has been failing since that offset. Until
    /// `Released` no commit goes beyond it; the failed records must have left no deltas.
    Held(RevisionNo, u32, u64),
    /// The run of failures ended with a success.
    Released(RevisionNo, u32),
    /// The revision stops, with a reason for people; what it has counted (up to a hold) is still
    /// committed.
    Quarantined(RevisionNo, Quarantine),
    /// It is time to commit what was counted, and to retry what the store did not answer.
    CheckpointDue,
    /// As `CheckpointDue`, and quiet partitions commit `[o, o)`: so a store that went back is
    /// noticed.
    HeartbeatDue,
    /// Answer to [`Effect::Commit`].
    Answered(RevisionNo, Ticket, Answer),
    /// Answer to [`Effect::Compact`], whether or not the compaction found its prefix.
    Compacted(RevisionNo, Ticket, Result<(), Trouble>),
}

/// A counted batch.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The partition.
    pub partition: u32,
    /// The epoch under which it was read; others are ignored.
    pub epoch: u64,
    /// Offset after the last record read.
    pub to: u64,
    /// The last record read; `None` if there was none (holes only).
    pub last: Option<Anchor>,
    /// What each revision of [`super::Machine::due`] made of it. One that is left out did not count
    /// it: it is read again.
    pub counts: Vec<Count>,
}

/// A revision's share of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Which.
    pub revision: RevisionNo,
    /// Updates made, before folding.
    pub rows: u64,
    /// Smallest and largest event time among the rows counted.
    pub times: Option<(i64, i64)>,
    /// Events that are in no cell because the metric's own code fails on them, and that stay so: of
    /// runs of failures that have ended, those in batches before this one included.
    pub failed: u64,
}

/// What is stored of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its life.
    pub life: u128,
    /// Partition and progress, ascending.
    pub progress: Vec<(u32, Progress)>,
}

/// What the log holds of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The partition.
    pub partition: u32,
    /// First offset held.
    pub start: u64,
    /// Offset after the last record.
    pub end: u64,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is stored.
    Applied,
    /// Partition and stored offset of each partition named; nothing was stored.
    Mismatch(Vec<(u32, u64)>),
    /// The revision is not there, or lives another life; nothing was stored.
    OtherLife,
    /// This bucket (table, bucket) would pass its limit; nothing was stored.
    Full(u16, u32),
    /// It names a bucket that is none (any more); nothing was stored. Which there are has been
    /// looked up.
    Layout,
    /// Not known.
    Failed(Trouble),
}

/// The store did not do what it was asked. A retry helps with [`Trouble::Unavailable`] only.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Trouble {
    /// It may later; whether it did is unknown.
    #[error("the store is unavailable")]
    Unavailable,
    /// It holds what cannot be read.
    #[error("{0}")]
    Corrupt(String),
    /// It holds what this process has no room for.
    #[error("{0}")]
    Stopped(Quarantine),
}

/// What a commit's answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied: the fence moves, the deltas are forgotten.
    Advance,
    /// Mismatch: the partitions that differ load what is stored. There, stored = `to`: an earlier
    /// try or another engine committed the same range, advance; stored = `from`: send again;
    /// anything else: drop the memory, resume there.
    Reload,
    /// Other life: the state is not the one that was counted for; everything of the revision is
    /// dropped and loaded.
    Restart,
    /// Full: the bucket is compacted, then the same range is sent again.
    Compact,
    /// Layout: the same range is sent again in the buckets that there are.
    Regroup,
    /// Unknown whether applied: the intake pauses, the same range is sent again when the next
    /// checkpoint is due.
    SendAgain,
    /// The store holds what cannot be read: the revision stops, for a person to look.
    Stop,
}

impl Answer {
    /// What it leads to: the table of the protocol.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Applied => Outcome::Advance,
            Self::Mismatch(_) => Outcome::Reload,
            Self::OtherLife => Outcome::Restart,
            Self::Full(..) => Outcome::Compact,
            Self::Layout => Outcome::Regroup,
            Self::Failed(Trouble::Unavailable) => Outcome::SendAgain,
            Self::Failed(Trouble::Corrupt(_) | Trouble::Stopped(_)) => Outcome::Stop,
        }
    }
}

/// Something is to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Load life and progress at one moment. `rebuild`: drop view and deltas of the revision, fold
    /// them afresh from the store at that same moment.
    Load {
        /// Whose.
        revision: RevisionNo,
        /// To be given back.
        ticket: Ticket,
        /// Whether the view is made anew.
        rebuild: bool,
    },
    /// Create the revision's empty state.
    Create(RevisionNo, Ticket),
    /// Ask the log for the bounds of these partitions, now (not from a cache: the stored offsets
    /// may be newer).
    Bounds(Ticket, Vec<u32>),
    /// Deliver the partition from `from` on: as the assignment's start, else by a rewind.
    Read {
        /// The partition.
        partition: u32,
        /// First offset.
        from: u64,
        /// Stamp for every batch read from here on; batches of older epochs are to be thrown away.
        epoch: u64,
        /// Whether the partition's dedupe window starts empty (else it goes on: a gap was jumped).
        fresh: bool,
    },
    /// Stop delivery of a partition.
    Pause(u32),
    /// Go on with it.
    Resume(u32),
    /// Commit. The deltas of each `[from, to)` are those counted since the last commit of that
    /// partition up to `to`; keep them until `Forget` or `Drop`, the same range may be sent again
    /// (it is then the same `to`).
    Commit {
        /// Whose.
        revision: RevisionNo,
        /// To be given back.
        ticket: Ticket,
        /// The life it was computed on.
        life: u128,
        /// The ranges; `from == to.next` is a heartbeat.
        advances: Vec<Advance>,
    },
    /// Revision, partition, offset: all before it needs no counting, though no record was counted
    /// up to it. It began here, or what was before it is gone.
    Stands(RevisionNo, u32, u64),
    /// The deltas up to this offset are stored.
    Forget(RevisionNo, u32, u64),
    /// All uncommitted deltas of the revision on this partition are void.
    Drop(RevisionNo, u32),
    /// Compact this bucket (table, bucket): a commit waits for it.
    Compact(RevisionNo, Ticket, u16, u32),
    /// Something stands still, for people; of one partition or (`None`) the whole revision.
    Halted(RevisionNo, Option<u32>, Halt),
}

/// One partition's step in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub partition: u32,
    /// The stored offset that it rests on.
    pub from: u64,
    /// The stored record that it rests on; `None`: nothing is stored yet.
    pub base: Option<Progress>,
    /// The record it leads to.
    pub to: Progress,
}

/// Why counting is stopped, for most reasons until a person acts.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Halt {
    /// The log deleted records before they were counted.
    #[error(
        "offsets {} to {} of partition {partition} were deleted from the log before they were \
         counted: to continue without them, set [source] on_gap = \"continue\" and start again",
        gap.from,
        gap.to
    )]
    Gap {
        /// The partition.
        partition: u32,
        /// What is missing.
        gap: Span,
    },
    /// Decoding a record panics.
    #[error(
        "the record at offset {offset} of partition {partition} cannot be decoded; this is a bug \
         in Tally, please report it with the record: `tally skip {partition} {offset}` continues \
         without it"
    )]
    Undecodable {
        /// The partition.
        partition: u32,
        /// Where the record is.
        offset: u64,
    },
    /// The log ends before the state.
    #[error(
        "partition {partition} is counted up to offset {next}, but the log ends at {end}: it was \
         truncated or recreated; restore it, or {RECOUNT}"
    )]
    BeyondEnd {
        /// The partition.
        partition: u32,
        /// The stored offset.
        next: u64,
        /// The log's end.
        end: u64,
    },
    /// The log holds another record at the offset of the last counted one.
    #[error(
        "the record at offset {offset} of partition {partition} is not the one that was counted: \
         the log was truncated or recreated; restore it, or {RECOUNT}"
    )]
    LogChanged {
        /// The partition.
        partition: u32,
        /// Where.
        offset: u64,
    },
    /// The topic has another id.
    #[error(
        "partition {partition} was counted from topic {stored}, but the log is now {found}: the \
         topic was deleted and recreated; {RECOUNT}"
    )]
    OtherTopic {
        /// The partition.
        partition: u32,
        /// Id in the progress.
        stored: String,
        /// Id of the log.
        found: String,
    },
    /// The store is damaged.
    #[error("the stored state cannot be read: {0}")]
    Corrupt(String),
    /// The state is gone.
    #[error(
        "the stored state is gone: restore it and start again, or start again without it to \
         recount the log"
    )]
    StateLost,
    /// Compaction does not make room.
    #[error(
        "bucket {bucket} of table {table} exceeds its size limit even after compaction: count by \
         fewer keys, lower the retention of the table, or raise [redis] max_bucket_bytes"
    )]
    Full {
        /// The table.
        table: u16,
        /// The bucket.
        bucket: u32,
    },
    /// Stopped from outside.
    #[error("{0}")]
    Quarantined(Quarantine),
}

impl Halt {
    /// Whether it may end although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        matches!(self, Halt::Quarantined(Quarantine::Ended(_) | Quarantine::OverMemory { .. }))
    }
}

/// Why a revision is stopped from outside.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Quarantine {
    /// Its plugin fails; the sentence says on what.
    #[error("{0}")]
    Failing(String),
    /// It holds more than it may. What it has counted is exact.
    #[error(
        "over_max_cells: table {table} holds {cells} cells, more than max_cells = {max}: raise \
         max_cells in its [metrics.NAME] section, or count less in it; counting then continues \
         from there"
    )]
    OverMaxCells {
        /// The table.
        table: String,
        /// What it holds.
        cells: u64,
        /// What it may hold.
        max: u64,
    },
    /// The lane that counted its history ended; the sentence says why.
    #[error("{0}; its history will be counted again later")]
    Ended(String),
    /// All metrics together hold what they may, in this process. What it has counted is exact; it
    /// goes on when there is room.
    #[error(
        "over_memory: metrics hold {held} bytes, and the share of state in [limits] memory is \
         {share}: give it more memory, keep panes for a shorter time (retention), or count less; \
         counting continues from there automatically when there is room"
    )]
    OverMemory {
        /// Bytes held.
        held: u64,
        /// Bytes that may be.
        share: u64,
    },
}

/// Why a partition is not being delivered, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Progress or bounds are being loaded.
    Loading,
    /// The store does not answer.
    StoreAway,
    /// Too many updates wait for their commit.
    Pending,
    /// No revision counts it.
    Idle,
    /// It is being taken from us.
    Revoked,
}
