//! Reading a log in batches, from positions that *we* keep: what counts and what replays drive.
//!
//! A source hands over records of one partition in offset order, starts each partition exactly
//! where its sink says, and never skips in silence: what it cannot deliver it reports as a gap. It
//! stores no progress of ours.

use super::error::LogError;
use super::survey::Bounds;
use std::time::Duration;
use tally_event::Record;

/// A reader of a log that can start at any retained offset. Driven by one thread; `poll` blocks no
/// longer than its `wait`.
pub trait Source: Send {
    /// Waits up to `wait` for records and hands them to `sink`, at most `max_records`. Rebalances
    /// happen inside.
    ///
    /// # Errors
    /// [`LogError::Fatal`] ends the source; [`LogError::Transient`] has been logged and is retried
    /// by the next poll.
    fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), LogError>;

    /// Stops delivery of a partition until `resume`; polling still serves the group. Unknown
    /// partitions are ignored.
    fn pause(&mut self, partition: u32);

    /// Continues a paused partition where it was, or where it was rewound to meanwhile. Unknown
    /// partitions are ignored.
    ///
    /// # Errors
    /// As `poll`; then nothing of the partition is delivered until it is resumed or rewound again,
    /// or the source recovers by itself.
    fn resume(&mut self, partition: u32) -> Result<(), LogError>;

    /// Continues a partition at `offset` and drops what was fetched. A paused partition stays
    /// paused; one that is not held is ignored.
    ///
    /// # Errors
    /// As `poll`; then the partition's offset is not known until another rewind succeeds.
    fn rewind(&mut self, partition: u32, offset: u64) -> Result<(), LogError>;

    /// Learns what the log holds ([`Survey::ask`](super::Survey::ask)): restarts partitions that
    /// deliver nothing though there is more, and reports gaps. Asks no broker.
    ///
    /// # Errors
    /// As `poll`.
    fn surveyed(&mut self, bounds: &[Bounds], sink: &mut dyn Sink) -> Result<(), LogError> {
        let (_, _) = (bounds, sink);
        Ok(())
    }

    /// Whether it waits for [`Source::surveyed`].
    fn wants_survey(&self) -> bool {
        false
    }

    /// Partitions that were restarted because they deliver nothing though there is more, as of the
    /// last `surveyed`.
    fn stalled(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Writes offsets where lag tools look for them; never read back, failures are only logged.
    fn publish_progress(&mut self, offsets: &[(u32, u64)]);

    /// Leaves the group and closes within `limit`; state is safe either way.
    fn close(self: Box<Self>, limit: Duration);
}

/// What a source calls while it is polled, on the polling thread.
pub trait Sink {
    /// These partitions are now ours; returns where each starts. Called before any record of
    /// theirs.
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start>;

    /// These partitions are being taken from us: last chance to commit. `lost`: another member has
    /// them already, do not commit.
    fn revoked(&mut self, partitions: &[u32], lost: bool);

    /// Records of one partition in offset order. Payloads are valid only during the call.
    fn records(&mut self, partition: u32, records: &[Record<'_>]);

    /// Every offset before `to` that was not handed over holds no record: markers of transactions,
    /// aborted or compacted records.
    fn passed(&mut self, partition: u32, to: u64);

    /// Records `[from, to)` are gone from the log before they were read; `to` is the first offset
    /// held. Delivery continues only after `rewind`. `to <= from`: the log ends before `from`, so
    /// it was truncated or created again.
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
