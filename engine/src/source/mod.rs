//! Where records come from: a partitioned, replayable log, read in batches from positions that *we* keep.
//!
//! A source hands over records of one partition in offset order, starts each partition exactly where it is told to,
//! and never skips in silence: what it cannot deliver it reports as a gap. It stores no progress of ours.

#[cfg(any(test, feature = "contract"))]
#[doc(hidden)]
pub mod contract;
pub mod embedded;
pub mod kafka;

use crate::event::Record;
use crate::outage::Cause;
use std::time::Duration;
use thiserror::Error;

/// A log that can be read again from any retained offset. Driven by one thread; `poll` never blocks longer than told.
pub trait Source: Send {
    /// Waits up to `wait` for news and hands it to `sink`, at most `max_records` records. Rebalances are served inside.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] ends the source; [`SourceError::Transient`] has been logged and is retried by polling on.
    fn poll(&mut self, wait: Duration, max_records: usize, sink: &mut dyn Sink) -> Result<(), SourceError>;

    /// Stops delivery of a partition until `resume`; polling goes on serving the group. Unknown partitions are ignored.
    fn pause(&mut self, partition: u32);

    /// Continues a paused partition where it stood, or where it was rewound to meanwhile. Unknown partitions are ignored.
    ///
    /// # Errors
    /// As `poll`; nothing of the partition is delivered then before it was resumed or rewound again, or the source has mended it.
    fn resume(&mut self, partition: u32) -> Result<(), SourceError>;

    /// Starts a partition that is held again at `offset`, dropping what was fetched. A paused one stays paused; one that
    /// is not held is ignored.
    ///
    /// # Errors
    /// As `poll`; where the partition stands is then not known until another rewind succeeds.
    fn rewind(&mut self, partition: u32, offset: u64) -> Result<(), SourceError>;

    /// Takes note of what the log was found to hold ([`Survey::ask`]): restarts what hands over nothing though there is more, tells
    /// of gaps. Asks nobody.
    ///
    /// # Errors
    /// As `poll`.
    fn surveyed(&mut self, bounds: &[Bounds], sink: &mut dyn Sink) -> Result<(), SourceError> {
        let (_, _) = (bounds, sink);
        Ok(())
    }

    /// Whether it waits for the log to be surveyed.
    fn wants_survey(&self) -> bool {
        false
    }

    /// Partitions that hand over nothing though they should, as of the last `surveyed`; they were restarted.
    fn stalled(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Writes offsets where lag tools look for them; never read back, failures are only logged.
    fn publish_progress(&mut self, offsets: &[(u32, u64)]);

    /// Leaves the group and closes within `limit`; state is safe either way.
    fn close(self: Box<Self>, limit: Duration);
}

/// Tells what a log is and holds, beside whoever reads it. Any thread may ask; who asks is kept waiting.
pub trait Survey: Send + Sync {
    /// The log's name and, where it has one, the id of its incarnation (`NAME/ID`), as it is at some moment during the
    /// call; waits about `wait` at most. A topic that was deleted and created again is another one of the same name. `None`: a
    /// log that cannot be replaced by another.
    ///
    /// # Errors
    /// [`SourceError::Transient`] when the log does not answer in time, or is not there.
    fn topic(&self, wait: Duration) -> Result<Option<String>, SourceError>;

    /// The same, and what it holds of each partition.
    ///
    /// # Errors
    /// As `topic`.
    fn ask(&self, wait: Duration) -> Result<Surveyed, SourceError>;
}

/// What a log is and holds, as of a moment during the question.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// As [`Survey::topic`] says.
    pub topic: Option<String>,
    /// Of each partition.
    pub bounds: Vec<Bounds>,
}

/// What a source calls back while polled, on the polling thread.
pub trait Sink {
    /// These partitions are now ours; returns where each starts. Called before any record of theirs.
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start>;

    /// These partitions are being taken from us: last chance to commit. `lost`: already another's, do not commit.
    fn revoked(&mut self, partitions: &[u32], lost: bool);

    /// Records of one partition in offset order. Payloads are valid only during the call.
    fn records(&mut self, partition: u32, records: &[Record<'_>]);

    /// Every offset before `to` that was not handed over holds no record: markers of transactions, aborted or compacted records.
    fn passed(&mut self, partition: u32, to: u64);

    /// Records `[from, to)` that we were to read are gone from the log; `to` is the first offset held. Delivery goes on
    /// only after `rewind`. `to <= from`: the log ends before `from`, so it was truncated or made anew.
    fn gap(&mut self, partition: u32, from: u64, to: u64);
}

/// Where a partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this offset exactly; if the log no longer holds it, that is a gap.
    At(u64),
    /// Never read before: at the first record held.
    Earliest,
}

/// What the log holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The partition.
    pub partition: u32,
    /// First offset held.
    pub start: u64,
    /// Offset after the last record that can be read: where transactions are open, the last stable offset.
    pub end: u64,
    /// Offsets behind `end` that wait for the end of an open transaction.
    pub open: u64,
}

/// Why a source cannot go on.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Retried by polling on; why, and a sentence that says what happened, where, and whether waiting mends it.
    #[error("{1}")]
    Transient(Cause, String),
    /// The source is of no more use; says what to do.
    #[error("{0}")]
    Fatal(String),
}
