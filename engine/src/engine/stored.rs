//! What the store holds of each metric, for people who look at it: `tally state`.
//!
//! Bucket by bucket, so that no more than one is in memory; so it is not one moment where counting goes on, and sums may be
//! some commits apart. Everything here only reads, past all views.

use super::{Engine, EvaluateError, Served};
use crate::progress::Progress;
use crate::state::{self, StoredRow, bucket_of, facts, key_of, rows_of, splits};
use crate::store::{Bucket, BucketRead, Known, StoreError};
use serde::Serialize;
use std::sync::Arc;
use tally_plugin::description::Table;

/// A revision of a metric as stored.
#[derive(Clone, Debug, Serialize)]
pub struct StoredMetric {
    /// The metric.
    pub metric: String,
    /// The revision that this engine counts, 16 hexadecimal digits.
    pub revision: String,
    /// Whether it is the one that answers for the metric in the store.
    pub current: bool,
    /// Its life, 32 hexadecimal digits; `None`: nothing is stored of it.
    pub life: Option<String>,
    /// How far it has counted, by partition.
    pub partitions: Vec<StoredPartition>,
    /// Its tables.
    pub tables: Vec<StoredTable>,
}

/// How far a partition is counted.
#[derive(Clone, Debug, Serialize)]
pub struct StoredPartition {
    /// Which.
    pub partition: u32,
    /// The offset after the last record counted.
    pub next: u64,
    /// Updates made, over all tables.
    pub updates: Option<u64>,
}

/// A table as stored.
#[derive(Clone, Debug, Serialize)]
pub struct StoredTable {
    /// Its name.
    pub table: String,
    /// Buckets that a table of this kind begins with.
    pub begun: u32,
    /// The buckets that hold something.
    pub buckets: Vec<StoredBucket>,
}

/// A bucket as stored.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoredBucket {
    /// Its number among those that were split as often.
    pub bucket: u32,
    /// How often it was split.
    pub splits: u32,
    /// Bytes of its snapshot; 0 without one.
    pub snapshot: u64,
    /// Bytes of the frames after it.
    pub tail: u64,
    /// Frames, a snapshot counted as one.
    pub frames: u64,
    /// Rows in these: a key in a pane, in two frames twice.
    pub rows: u64,
    /// Updates that they account for.
    pub updates: u64,
}

impl Engine {
    /// What is stored of each metric that is served. Blocks; reads everything there is.
    ///
    /// # Errors
    /// [`EvaluateError::StoreUnavailable`].
    pub fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError> {
        let served: Vec<Arc<Served>> = self.roster.read().served.values().cloned().collect();
        served.iter().map(|served| self.stored_metric(served).map_err(unavailable)).collect()
    }

    fn stored_metric(&self, served: &Served) -> Result<StoredMetric, StoreError> {
        let revision = &served.revision;
        let stored = self.state_store.stored(revision)?;
        let partitions = stored.iter().flat_map(|stored| &stored.progress).map(|(partition, progress)| {
            let record = Progress::decode(&progress.bytes).ok();
            StoredPartition { partition: *partition, next: progress.next, updates: record.map(|record| record.rows) }
        });
        let held = self.state_store.buckets(revision)?;
        let tables = served.description.tables.iter().enumerate().map(|(n, table)| {
            let of = held.iter().filter(|bucket| usize::from(bucket.table) == n);
            let buckets = of.map(|bucket| self.stored_bucket(served, table, *bucket));
            Ok(StoredTable {
                table: table.name.clone(),
                begun: state::buckets(table),
                buckets: buckets.collect::<Result<_, StoreError>>()?,
            })
        });
        Ok(StoredMetric {
            metric: revision.metric.clone(),
            revision: format!("{:016x}", revision.fingerprint),
            current: self.state_store.current(&revision.metric)?.as_ref() == Some(revision),
            life: stored.as_ref().map(|stored| format!("{:032x}", stored.life.0)),
            partitions: partitions.collect(),
            tables: tables.collect::<Result<_, StoreError>>()?,
        })
    }

    fn frames(&self, served: &Served, bucket: Bucket) -> Result<Vec<Vec<u8>>, StoreError> {
        let reading = self.state_store.read(&served.revision, &[Known { bucket, last: None }])?;
        // One that was split since is nothing any more; its halves are shown the next time.
        Ok(match reading.and_then(|reading| reading.buckets.into_iter().next()) {
            Some(BucketRead::Whole(frames) | BucketRead::Tail(frames)) => {
                frames.into_iter().map(|frame| frame.bytes).collect()
            }
            _ => Vec::new(),
        })
    }

    fn stored_bucket(&self, served: &Served, table: &Table, bucket: Bucket) -> Result<StoredBucket, StoreError> {
        let number = bucket.bucket & ((1 << 24) - 1);
        let mut all = StoredBucket { bucket: number, splits: splits(bucket.bucket), ..StoredBucket::default() };
        for frame in self.frames(served, bucket)? {
            let facts = facts(table, &frame).map_err(|fault| damaged(table, &fault))?;
            *if facts.snapshot { &mut all.snapshot } else { &mut all.tail } += frame.len() as u64;
            (all.frames, all.rows, all.updates) = (all.frames + 1, all.rows + facts.rows, all.updates + facts.updates);
        }
        Ok(all)
    }

    /// The stored rows of a metric's table whose keys begin with `key`; it must name the columns of the group. Blocks.
    ///
    /// # Errors
    /// [`EvaluateError::NotFound`], [`EvaluateError::StoreUnavailable`].
    pub fn stored_rows(
        &self,
        metric: &str,
        table: &str,
        key: &[String],
    ) -> Result<(Table, Vec<StoredRow>), EvaluateError> {
        let served = self.served(metric)?;
        let not_found = |detail: String| EvaluateError::NotFound { suggestions: Vec::new(), detail };
        let tables = &served.description.tables;
        let Some(number) = tables.iter().position(|found| found.name == table) else {
            let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            return Err(not_found(format!("{metric} has no table {table}: it has {}", names.join(", "))));
        };
        let table = &tables[number];
        let group = if table.group == 0 { table.key.len() } else { table.group };
        if !(group..=table.key.len()).contains(&key.len()) {
            let columns: Vec<String> = table.key.iter().map(|column| format!("{column:?}")).collect();
            let columns = columns.join(", ");
            let detail = format!("a key of table {} is {columns}: name at least {group} of these", table.name);
            return Err(not_found(detail));
        }
        let key = key_of(&served.description, table, key);
        let rows = || {
            let held = self.state_store.buckets(&served.revision)?;
            let of = held.iter().filter(|bucket| usize::from(bucket.table) == number).map(|bucket| bucket.bucket);
            let fault = |fault| damaged(table, &fault);
            let bucket = bucket_of(table, &of.collect::<Vec<_>>(), &key).map_err(fault)?;
            let frames = self.frames(&served, Bucket { table: number as u16, bucket })?;
            rows_of(table, &frames, &key).map_err(fault)
        };
        Ok((table.clone(), rows().map_err(unavailable)?))
    }
}

fn damaged(table: &Table, fault: &state::FrameError) -> StoreError {
    StoreError::Corrupt(format!("table {}: {fault}", table.name))
}

fn unavailable(fault: StoreError) -> EvaluateError {
    EvaluateError::StoreUnavailable(fault.to_string())
}
