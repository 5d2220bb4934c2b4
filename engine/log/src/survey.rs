//! Which log this is and what it holds, asked beside those who read it.

use super::error::LogError;
use std::time::Duration;

/// Tells which log this is and what it holds. Any thread may ask; the caller waits for the answer.
pub trait Survey: Send + Sync {
    /// The log's name and, where it has one, the id of its incarnation (`NAME/ID`), as it is at
    /// some moment during the call; waits about `wait` at most. A topic that was deleted and
    /// created again is another one of the same name. `None`: a log that cannot be replaced by
    /// another.
    ///
    /// # Errors
    /// [`LogError::Transient`]: the log does not answer in time, or does not exist.
    fn topic(&self, wait: Duration) -> Result<Option<String>, LogError>;

    /// The same, and what it holds of each partition.
    ///
    /// # Errors
    /// As `topic`.
    fn ask(&self, wait: Duration) -> Result<Surveyed, LogError>;
}

/// What a log is and holds, as of a moment during the question.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// As [`Survey::topic`] says.
    pub topic: Option<String>,
    /// Of each partition.
    pub bounds: Vec<Bounds>,
}

/// What the log holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The partition.
    pub partition: u32,
    /// First offset held.
    pub start: u64,
    /// Offset after the last record that can be read: where transactions are open, the last stable
    /// offset.
    pub end: u64,
    /// Offsets behind `end` that wait for the end of an open transaction.
    pub open: u64,
}
