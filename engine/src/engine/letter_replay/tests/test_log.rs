//! An embedded log that is shared, or not, and whose appends fail when they are told to.

use super::*;
use crate::event::Position;
use crate::log::{AppendOutcome, LogReader, Source, Survey, Surveyed, Tail, Wanted};
use parking_lot::Mutex;
use std::sync::Arc;

/// How an append of copies fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    /// After they were written.
    Written,
    /// Before.
    Lost,
    /// All but the first are too large.
    TooLarge,
}

/// A log that is shared, or not, and whose appends fail when they are told to.
pub(super) struct TestLog {
    pub(super) inner: Arc<dyn Log>,
    pub(super) shared: bool,
    pub(super) fails: Mutex<Option<Failure>>,
    /// Offsets behind the end of each partition that wait for a transaction.
    pub(super) open: Mutex<u64>,
    /// What lies before this offset, of each partition, was dropped.
    pub(super) start: Mutex<u64>,
}

impl Survey for TestLog {
    fn topic(&self, wait: Duration) -> Result<Option<String>, LogError> {
        self.inner.survey().topic(wait)
    }

    fn ask(&self, _: Duration) -> Result<Surveyed, LogError> {
        Ok(Surveyed { topic: None, bounds: self.bounds()? })
    }
}

/// The log and what surveys it.
pub(super) struct Shared(pub(super) Arc<TestLog>);

impl Log for Shared {
    fn kind(&self) -> &'static str {
        "log"
    }

    fn name(&self) -> &str {
        "log"
    }

    fn is_shared(&self) -> bool {
        self.0.shared
    }

    fn begins_at_end(&self) -> bool {
        false
    }

    fn source(&self) -> Result<Box<dyn Source>, LogError> {
        self.0.inner.source()
    }

    fn replay(&self, wanted: Wanted) -> Result<Box<dyn Source>, LogError> {
        self.0.inner.replay(wanted)
    }

    fn tail(&self, from: &Position) -> Result<Box<dyn Tail>, LogError> {
        self.0.inner.tail(from)
    }

    fn range(&self, partition: u32, from: u64, to: u64) -> Result<Box<dyn LogReader>, LogError> {
        self.0.inner.range(partition, from, to)
    }

    fn bounds(&self) -> Result<Vec<Bounds>, LogError> {
        self.0.bounds()
    }

    fn starts(&self, since_ms: i64) -> Result<BTreeMap<u32, u64>, LogError> {
        self.0.inner.starts(since_ms)
    }

    fn append(&self, records: &[(&[u8], &[u8])], now: i64) -> Result<AppendOutcome, AppendError> {
        self.0.inner.append(records, now)
    }

    fn append_copies(
        &self,
        records: &[RecordCopy<'_>],
        now: i64,
    ) -> Result<AppendOutcome, AppendError> {
        match self.0.fails.lock().take() {
            None => self.0.inner.append_copies(records, now),
            Some(Failure::Lost) => Err(AppendError::InDoubt("it may be there".into())),
            Some(Failure::Written) => {
                self.0.inner.append_copies(records, now)?;
                Err(AppendError::InDoubt("it may be there".into()))
            }
            Some(Failure::TooLarge) => {
                let outcome = self.0.inner.append_copies(&records[..1], now)?;
                Ok(AppendOutcome { too_large: (1..records.len()).collect(), ..outcome })
            }
        }
    }

    fn writing(&self) -> Result<String, String> {
        self.0.inner.writing()
    }

    fn survey(&self) -> Arc<dyn Survey> {
        self.0.clone()
    }
}

impl TestLog {
    fn bounds(&self) -> Result<Vec<Bounds>, LogError> {
        let (open, first) = (*self.open.lock(), *self.start.lock());
        let now = |held: Bounds| {
            let start = held.start.max(first);
            Bounds { start, end: (held.end - open.min(held.end)).max(start), open, ..held }
        };
        Ok(self.inner.bounds()?.into_iter().map(now).collect())
    }
}
