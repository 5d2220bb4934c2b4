//! Why the embedded log does not do what it was asked.

use super::value::MAX_RECORD;
use crate::{AppendError, LogError};
use tally_database::DatabaseError;
use tally_system::outage::Cause;
use thiserror::Error;

/// Why nothing can be appended, or read.
#[derive(Clone, Debug, Error)]
pub enum SegmentLogError {
    /// A record is larger than [`MAX_RECORD`]; nothing of the call was written.
    #[error("a record of {0} bytes is larger than the log's limit of {MAX_RECORD}: split it")]
    TooLarge(usize),
    /// There is no such partition; nothing of the call was written.
    #[error("the log has partitions 0 to {last}, not {partition}")]
    NoPartition {
        /// The one asked for.
        partition: u32,
        /// The last one.
        last: u32,
    },
    /// A setting of `[log]` cannot be used.
    #[error("[log] {0}")]
    Config(String),
    /// The disk is nearly full, or descriptors are; nothing was written, appending works again once
    /// there is room.
    #[error("{0}")]
    Full(String),
    /// The database failed; whether this append is there is known once it is open again.
    #[error("{0}")]
    Failed(String),
    /// Stored bytes are not what was written; only a copy of the data directory helps.
    #[error("{0}")]
    Damaged(String),
}

impl From<DatabaseError> for SegmentLogError {
    fn from(fault: DatabaseError) -> Self {
        match fault {
            fault if fault.wrote_nothing() => SegmentLogError::Full(fault.to_string()),
            fault => SegmentLogError::Failed(fault.to_string()),
        }
    }
}

impl From<SegmentLogError> for AppendError {
    fn from(fault: SegmentLogError) -> AppendError {
        let what = fault.to_string();
        match fault {
            SegmentLogError::TooLarge(_)
            | SegmentLogError::NoPartition { .. }
            | SegmentLogError::Config(_) => AppendError::Refused(what),
            SegmentLogError::Full(_) => AppendError::Unavailable(what),
            SegmentLogError::Failed(_) | SegmentLogError::Damaged(_) => AppendError::InDoubt(what),
        }
    }
}

impl From<SegmentLogError> for LogError {
    fn from(fault: SegmentLogError) -> LogError {
        let what = fault.to_string();
        match fault {
            // A full disk, or a database that is being opened again: what fails a read passes.
            SegmentLogError::Full(_) | SegmentLogError::Failed(_) => {
                LogError::Transient(Cause::Passing, what)
            }
            _ => LogError::Fatal(what),
        }
    }
}
