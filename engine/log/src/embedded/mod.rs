//! The embedded log: a partitioned, durable log in the data directory, for one engine.
//!
//! Twin of `kafka`. [`SegmentLog`] appends and drops, `group` is what is committed together,
//! `lookup` is what readers ask, `segment` a part of the log that is dropped as a whole, `value`
//! the form in which a batch of records is stored. `source`, `tail` and `reader` read it. It has no
//! group: every reader reads all partitions.

mod error;
mod group;
mod log;
mod lookup;
mod reader;
mod segment;
mod source;
mod tail;
mod value;

pub use error::SegmentLogError;
pub use log::{CopiedPart, CopiedRecord, Part, SegmentLog};
pub use source::EmbeddedSource;
pub use value::MAX_RECORD;

use super::kind::LogKind;
use super::{
    AppendError, AppendOutcome, Bounds, Log, LogError, LogReader, RecordCopy, Source, Survey, Tail,
    Wanted,
};
use reader::EmbeddedReader;
use std::collections::BTreeMap;
use std::sync::Arc;
use tail::EmbeddedTail;
use tally_config::{LogConfig, SourceKind};
use tally_database::Database;
use tally_progress::Position;

pub(super) const KIND: LogKind = LogKind {
    kind: SourceKind::Embedded,
    open: |config, database| Ok(Arc::new(EmbeddedLog::open(database, &config.log)?)),
    open_producer: |_| Ok(None),
    check_settings: |_| Vec::new(),
};

/// The log in the data directory, as the engine sees it.
pub struct EmbeddedLog(Arc<SegmentLog>);

impl EmbeddedLog {
    /// Opens the log in `database`, or creates it with `[log] partitions`.
    ///
    /// # Errors
    /// [`LogError`]: a setting of `[log]` cannot be used, or the database fails.
    pub fn open(database: &Database, config: &LogConfig) -> Result<EmbeddedLog, LogError> {
        Ok(EmbeddedLog(SegmentLog::open(database, config)?))
    }
}

impl Log for EmbeddedLog {
    fn kind(&self) -> &'static str {
        "log"
    }

    fn name(&self) -> &str {
        "log"
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn begins_at_end(&self) -> bool {
        false
    }

    fn source(&self) -> Result<Box<dyn Source>, LogError> {
        Ok(Box::new(EmbeddedSource::new(self.0.clone())))
    }

    fn replay(&self, _: Wanted) -> Result<Box<dyn Source>, LogError> {
        self.source()
    }

    fn tail(&self, from: &Position) -> Result<Box<dyn Tail>, LogError> {
        Ok(Box::new(EmbeddedTail::new(&self.0, from)))
    }

    fn range(&self, partition: u32, from: u64, to: u64) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(self.0.clone(), partition, from, to)))
    }

    fn bounds(&self) -> Result<Vec<Bounds>, LogError> {
        Ok(self.0.bounds())
    }

    fn starts(&self, since_ms: i64) -> Result<BTreeMap<u32, u64>, LogError> {
        Ok(self.0.starts(since_ms)?)
    }

    fn append(
        &self,
        records: &[(&[u8], &[u8])],
        now_ms: i64,
    ) -> Result<AppendOutcome, AppendError> {
        let mut parts: BTreeMap<u32, Vec<(&[u8], i64)>> = BTreeMap::new();
        let mut too_large = Vec::new();
        for (index, (key, payload)) in records.iter().enumerate() {
            if payload.len() > MAX_RECORD {
                too_large.push(index);
            } else {
                parts.entry(self.0.partition_of(key)).or_default().push((*payload, now_ms));
            }
        }
        let slices: Vec<Part<'_>> =
            parts.iter().map(|(partition, records)| (*partition, records.as_slice())).collect();
        let ends = self.0.append_all(&slices)?;
        let position = Position(parts.into_keys().zip(ends).collect());
        Ok(AppendOutcome { position, too_large })
    }

    fn append_copies(
        &self,
        records: &[RecordCopy<'_>],
        now_ms: i64,
    ) -> Result<AppendOutcome, AppendError> {
        let mut parts: BTreeMap<u32, Vec<CopiedRecord<'_>>> = BTreeMap::new();
        let mut too_large = Vec::new();
        for (index, copy) in records.iter().enumerate() {
            let RecordCopy { key, payload, origin } = *copy;
            if payload.len() > MAX_RECORD {
                too_large.push(index);
            } else {
                let part = parts.entry(self.0.partition_of(key)).or_default();
                part.push(CopiedRecord { payload, timestamp_ms: now_ms, origin });
            }
        }
        let slices: Vec<CopiedPart<'_>> =
            parts.iter().map(|(partition, records)| (*partition, records.as_slice())).collect();
        let ends = self.0.append_copies(&slices)?;
        let position = Position(parts.into_keys().zip(ends).collect());
        Ok(AppendOutcome { position, too_large })
    }

    fn writing(&self) -> Result<String, String> {
        self.0.writable().map(|()| String::new()).map_err(|fault| fault.to_string())
    }

    fn survey(&self) -> Arc<dyn Survey> {
        self.0.clone()
    }
}
