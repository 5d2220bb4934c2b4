//! The seam: what the engine asks of a log, whatever kind of log it is.
//!
//! A [`Log`] is opened once and shared by all threads. It hands out readers, each of which one
//! thread drives: a [`Source`] counts, a [`Tail`] shows what comes, a [`LogReader`] reads a range
//! again. It keeps no reader's progress and knows nothing of events.

use super::error::{AppendError, LogError};
use super::source::Source;
use super::survey::{Bounds, Survey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_event::{Record, RecordOrigin};
use tally_progress::Position;

/// The partitions that a replay reads now; asked at each of its polls.
pub type Wanted = Box<dyn Fn() -> Vec<u32> + Send>;

/// A partitioned, durable log that can be read again from every offset it still holds.
pub trait Log: Send + Sync {
    /// The kind of log, as readiness names it: `log`, `kafka`.
    fn kind(&self) -> &'static str;

    /// Its name: of a topic, the topic's.
    fn name(&self) -> &str;

    /// Whether others read and write it too: several engines may then divide its partitions, and
    /// events need not come through this one.
    fn is_shared(&self) -> bool;

    /// Whether the first metrics of an empty store begin at the end of the log instead of at its
    /// first record.
    fn begins_at_end(&self) -> bool;

    /// The reader that counts. Where the log is shared it is a member of a group that divides the
    /// partitions.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting cannot be used.
    fn source(&self) -> Result<Box<dyn Source>, LogError>;

    /// A reader beside [`Log::source`] that replays history. It reads the partitions that are
    /// `wanted`, or all of a log that no other engine reads.
    ///
    /// # Errors
    /// As `source`.
    fn replay(&self, wanted: Wanted) -> Result<Box<dyn Source>, LogError>;

    /// A reader of all partitions from `from` on; partitions that `from` does not name start at
    /// their end.
    ///
    /// # Errors
    /// As `source`.
    fn tail(&self, from: &Position) -> Result<Box<dyn Tail>, LogError>;

    /// A reader of the offsets `from..to` of one partition. The caller compares them with
    /// [`Log::bounds`] first.
    ///
    /// # Errors
    /// As `source`.
    fn range(&self, partition: u32, from: u64, to: u64) -> Result<Box<dyn LogReader>, LogError>;

    /// What the log holds of each partition, asked now. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the log does not answer.
    fn bounds(&self) -> Result<Vec<Bounds>, LogError>;

    /// By partition the offset of the first record that was appended at `since_ms` (Unix
    /// milliseconds) or later; the end of the partition where there is none, and for `i64::MAX`.
    /// Blocks for some seconds at most.
    ///
    /// # Errors
    /// As `bounds`.
    fn starts(&self, since_ms: i64) -> Result<BTreeMap<u32, u64>, LogError>;

    /// As [`starts`](Log::starts), for who can do without: `None` where a log that is asked partition
    /// by partition has not said it of all until then.
    ///
    /// # Errors
    /// As `bounds`.
    fn starts_until(
        &self,
        since_ms: i64,
        _until: Instant,
    ) -> Result<Option<BTreeMap<u32, u64>>, LogError> {
        self.starts(since_ms).map(Some)
    }

    /// Appends records (key, payload), but for those that are too large, and waits until they are
    /// durable. Records of one key go into one partition, in their order; only those that the log
    /// had to send a second time may follow later ones. `now_ms` is their timestamp where the log
    /// does not take its own, Unix milliseconds.
    ///
    /// # Errors
    /// [`AppendError`].
    fn append(&self, records: &[(&[u8], &[u8])], now_ms: i64)
    -> Result<AppendOutcome, AppendError>;

    /// As [`append`](Log::append), copies of records that may be gone: each states its origin, which
    /// whoever reads it learns ([`Record::origin`]).
    ///
    /// # Errors
    /// [`AppendError`].
    fn append_copies(
        &self,
        records: &[RecordCopy<'_>],
        now_ms: i64,
    ) -> Result<AppendOutcome, AppendError>;

    /// Whether appending works, as far as is known without appending: a line for people.
    ///
    /// # Errors
    /// Why it does not, as a line for people.
    fn writing(&self) -> Result<String, String>;

    /// What tells which log this is and what it holds, beside those who read.
    fn survey(&self) -> Arc<dyn Survey>;
}

/// A copy of a record that is to be appended.
#[derive(Clone, Copy, Debug)]
pub struct RecordCopy<'a> {
    /// What decides on its partition.
    pub key: &'a [u8],
    /// The bytes.
    pub payload: &'a [u8],
    /// Where the record first was.
    pub origin: RecordOrigin<'a>,
}

/// What became of the records of an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendOutcome {
    /// The offset after the last record of each partition written to.
    pub position: Position,
    /// The index of each record that is larger than the log takes, in order: it is not in the log,
    /// and is refused again. All others are.
    pub too_large: Vec<usize>,
}

/// Shows what is appended, without a group: what the log dropped before it was read is skipped.
/// Driven by one thread.
pub trait Tail: Send {
    /// Waits up to `wait` for records (longer the first time, until the log answers) and hands over
    /// at most `max_records`, partition by partition in offset order. Payloads are valid only
    /// during the call.
    ///
    /// # Errors
    /// [`LogError::Transient`]: poll again. [`LogError::Fatal`]: open another.
    fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        each: &mut dyn FnMut(u32, &[Record<'_>]),
    ) -> Result<(), LogError>;
}

/// Reads a range of one partition, a batch of records at a time.
pub trait LogReader: Send {
    /// The next records in offset order; none: the end of the range was reached. Offsets that hold
    /// no record are passed over. Blocks.
    ///
    /// # Errors
    /// [`LogError`]: the log does not answer, or cannot be read.
    fn batch(&mut self) -> Result<Vec<LogRecord>, LogError>;
}

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place in the partition.
    pub offset: u64,
    /// The log's own timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Where it first was, if it is a copy.
    pub origin: Option<OwnedOrigin>,
}

/// Where the record of a copy first was: a [`RecordOrigin`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedOrigin {
    /// Its first place: `topic/partition/offset`.
    pub place: Box<str>,
    /// Its own timestamp there, Unix milliseconds.
    pub timestamp_ms: i64,
}

impl LogRecord {
    /// One that is no copy of another.
    #[must_use]
    pub fn new(offset: u64, timestamp_ms: i64, payload: Option<Vec<u8>>) -> LogRecord {
        LogRecord { offset, timestamp_ms, payload, origin: None }
    }

    /// The same, as sources hand it over.
    #[must_use]
    pub fn borrowed(&self) -> Record<'_> {
        Record {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            payload: self.payload.as_deref(),
            origin: self.origin.as_ref().map(OwnedOrigin::borrowed),
        }
    }
}

impl OwnedOrigin {
    fn borrowed(&self) -> RecordOrigin<'_> {
        RecordOrigin { place: &self.place, timestamp_ms: self.timestamp_ms }
    }
}

impl From<RecordOrigin<'_>> for OwnedOrigin {
    fn from(origin: RecordOrigin<'_>) -> OwnedOrigin {
        OwnedOrigin { place: origin.place.into(), timestamp_ms: origin.timestamp_ms }
    }
}

impl From<&Record<'_>> for LogRecord {
    fn from(record: &Record<'_>) -> LogRecord {
        let Record { offset, timestamp_ms, payload, origin } = *record;
        let payload = payload.map(<[u8]>::to_vec);
        LogRecord { offset, timestamp_ms, payload, origin: origin.map(OwnedOrigin::from) }
    }
}

/// Writes to a log that is shared, without an engine, as fast as the log accepts it: nothing waits
/// for a single record. It judges nothing: what is not an event becomes a dead letter.
pub trait LogProducer: Send {
    /// Accepts an event, keyed by its user; waits while too much is in flight.
    ///
    /// # Errors
    /// [`AppendError`]: the log accepts no more.
    fn send(&mut self, user: &[u8], event: &[u8]) -> Result<(), AppendError>;

    /// What is known so far.
    fn counts(&self) -> DeliveryCounts;

    /// The first few failures since the last call, one text each.
    fn take_failures(&mut self) -> Vec<String>;

    /// Waits until everything was acknowledged or failed.
    fn finish(&mut self);
}

/// What became of the records of a [`LogProducer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Durable in the log.
    pub acknowledged: u64,
    /// Refused, or in doubt.
    pub errors: u64,
}
