//! What the store holds of each metric, as `tally state` shows it.
//!
//! Reads bucket by bucket, so that no more than one is in memory. So the result is not one moment
//! while counting continues, and sums may be some commits apart. Everything here only reads, past
//! all views. The tables of revisions that are not served are those that were stored with them, so
//! no plugin is needed.

use super::catalog::ServedRevision;
use super::{Engine, EvaluateError, StartError};
use crate::config::Config;
use crate::progress::Progress;
use crate::revision::described;
use crate::state::{self, KeyRows, MOST_ROWS, StoredRow, buckets_of, facts, key_of, splits};
use crate::store::{
    self, Bucket, BucketRead, Known, RevisionId, Store, StoreError, StoredRevision,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tally_plugin::ask::Fault;
use tally_plugin::description::{Description, Table};

/// A revision of a metric as stored.
#[derive(Clone, Debug, Serialize)]
pub struct StoredMetric {
    /// The metric.
    pub metric: String,
    /// Its number, 16 hexadecimal digits.
    pub revision: String,
    /// Whether this engine counts it; absent where the store was opened without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<bool>,
    /// Whether the store notes it as the one that answers for the metric.
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
    /// Events that are in no cell, because the metric's own code fails on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_failed: Option<u64>,
}

/// The rows of a key as stored.
#[derive(Clone, Debug)]
pub struct StoredRows {
    /// Their table.
    pub table: Table,
    /// The rows.
    pub rows: Vec<StoredRow>,
    /// Events that are in no cell of the metric, because its own code fails on them.
    pub events_failed: u64,
}

/// A table as stored.
#[derive(Clone, Debug, Serialize)]
pub struct StoredTable {
    /// Its name.
    pub table: String,
    /// The number of buckets with which the table begins.
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
    /// Rows in these frames: one for each key and pane, counted again in each frame.
    pub rows: u64,
    /// Updates that the rows account for.
    pub updates: u64,
}

/// A revision whose stored state is shown.
struct Looked {
    revision: RevisionId,
    /// Its tables.
    description: Arc<Description>,
    /// Whether it is counted here; `None`: the store was opened without an engine.
    served: Option<bool>,
}

/// A stored state, opened while no engine runs.
pub struct StoredState {
    store: Arc<dyn Store>,
    place: String,
}

impl StoredState {
    /// Opens the configured store and changes nothing in it. An embedded one is locked until this
    /// is dropped.
    ///
    /// # Errors
    /// [`StartError`]: an engine uses it, it does not exist, or it cannot be read.
    pub fn open(config: &Config) -> Result<StoredState, StartError> {
        let opened = store::open_existing(config)?;
        opened.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(StoredState { store: opened.store, place: opened.place })
    }

    /// Its place, for people; without secrets.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Each metric of which something is stored, and the names of its tables.
    ///
    /// # Errors
    /// [`EvaluateError::StoreUnavailable`].
    pub fn tables(&self) -> Result<BTreeMap<String, BTreeSet<String>>, EvaluateError> {
        let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for looked in self.all().map_err(unavailable)? {
            let names = looked.description.tables.iter().map(|table| table.name.clone());
            tables.entry(looked.revision.metric).or_default().extend(names);
        }
        Ok(tables)
    }

    /// What is stored of every revision. Reads the whole store.
    ///
    /// # Errors
    /// [`EvaluateError::StoreUnavailable`].
    pub fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError> {
        let all = self.all().map_err(unavailable)?;
        all.iter().map(|looked| stored_metric(&*self.store, looked).map_err(unavailable)).collect()
    }

    /// As [`Engine::stored_rows`], of the revision that answers, or of the only one that is stored.
    ///
    /// # Errors
    /// As there.
    pub fn stored_rows(
        &self,
        metric: &str,
        table: &str,
        key: &[String],
    ) -> Result<StoredRows, EvaluateError> {
        let looked = unserved(&*self.store, metric, None)?;
        rows(&*self.store, &looked, table, key)
    }

    fn all(&self) -> Result<Vec<Looked>, StoreError> {
        others(&*self.store, &[], None)
    }
}

/// The stored revisions except `but`, by metric and number.
fn others(
    store: &dyn Store,
    but: &[RevisionId],
    served: Option<bool>,
) -> Result<Vec<Looked>, StoreError> {
    let mut others = Vec::new();
    for metric in store.metrics()? {
        for revision in
            store.revisions(&metric)?.into_iter().filter(|revision| !but.contains(revision))
        {
            // One that is just being created or removed is left out.
            if let Some(stored) = store.stored(&revision)? {
                let description = described(&stored.meta);
                let description = description
                    .map_err(|fault| StoreError::Corrupt(format!("{metric}: {fault}")))?;
                others.push(Looked { revision, description: Arc::new(description), served });
            }
        }
    }
    Ok(others)
}

/// The revision of a metric that is not served here: the one that answered last, or the only one.
fn unserved(
    store: &dyn Store,
    metric: &str,
    served: Option<bool>,
) -> Result<Looked, EvaluateError> {
    let found = || {
        let current = store.current(metric)?;
        let mut found = others(store, &[], served)?;
        found.retain(|looked| looked.revision.metric == metric);
        let at = found.iter().position(|looked| current.as_ref() == Some(&looked.revision));
        Ok(at.or((found.len() == 1).then_some(0)).map(|at| found.swap_remove(at)))
    };
    found().map_err(unavailable)?.ok_or_else(|| EvaluateError::NotFound {
        suggestions: Vec::new(),
        detail: format!("no revision of a metric {metric} that answers is stored"),
    })
}

impl Engine {
    /// What is stored of each served metric, and of all revisions that are not served. Blocks;
    /// reads the whole store.
    ///
    /// # Errors
    /// [`EvaluateError::StoreUnavailable`].
    pub fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError> {
        let mut all: Vec<Looked> = {
            let catalog = self.catalog.read();
            catalog.all().map(|served| looked(served)).collect()
        };
        let served: Vec<RevisionId> = all.iter().map(|looked| looked.revision.clone()).collect();
        all.extend(others(&*self.state_store, &served, Some(false)).map_err(unavailable)?);
        all.sort_by(|a, b| a.revision.cmp(&b.revision));
        all.iter()
            .map(|looked| stored_metric(&*self.state_store, looked).map_err(unavailable))
            .collect()
    }

    /// The stored rows of a metric's table whose keys begin with `key`; it must name the columns of
    /// the group. Blocks.
    ///
    /// # Errors
    /// [`EvaluateError::NotFound`], [`EvaluateError::StoreUnavailable`].
    pub fn stored_rows(
        &self,
        metric: &str,
        table: &str,
        key: &[String],
    ) -> Result<StoredRows, EvaluateError> {
        let looked = match self.served(metric) {
            Ok(served) => looked(&served),
            Err(not_served) => {
                unserved(&*self.state_store, metric, Some(false)).map_err(|fault| match fault {
                    EvaluateError::NotFound { .. } => not_served,
                    other => other,
                })?
            }
        };
        rows(&*self.state_store, &looked, table, key)
    }
}

fn looked(served: &ServedRevision) -> Looked {
    Looked {
        revision: served.revision.clone(),
        description: served.description.clone(),
        served: Some(true),
    }
}

fn stored_metric(store: &dyn Store, looked: &Looked) -> Result<StoredMetric, StoreError> {
    let revision = &looked.revision;
    let stored = store.stored(revision)?;
    let partitions =
        stored.iter().flat_map(|stored| &stored.progress).map(|(partition, progress)| {
            let record = Progress::decode(&progress.bytes).ok();
            let failed = record.as_ref().map(|record| record.failed).filter(|failed| *failed > 0);
            let updates = record.map(|record| record.rows);
            StoredPartition {
                partition: *partition,
                next: progress.next,
                updates,
                events_failed: failed,
            }
        });
    let held = store.buckets(revision)?;
    let tables = looked.description.tables.iter().enumerate().map(|(n, table)| {
        let of = held.iter().filter(|bucket| usize::from(bucket.table) == n);
        let buckets = of.map(|bucket| stored_bucket(store, revision, table, *bucket));
        Ok(StoredTable {
            table: table.name.clone(),
            begun: state::buckets(table),
            buckets: buckets.collect::<Result<_, StoreError>>()?,
        })
    });
    Ok(StoredMetric {
        metric: revision.metric.clone(),
        revision: format!("{:016x}", revision.fingerprint),
        current: store.current(&revision.metric)?.as_ref() == Some(revision),
        served: looked.served,
        life: stored.as_ref().map(|stored| format!("{:032x}", stored.life.0)),
        partitions: partitions.collect(),
        tables: tables.collect::<Result<_, StoreError>>()?,
    })
}

fn frames(
    store: &dyn Store,
    revision: &RevisionId,
    bucket: Bucket,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let reading = store.read(revision, &[Known { bucket, last: None }])?;
    // A bucket that was split meanwhile is gone; the next call shows its halves.
    Ok(match reading.and_then(|reading| reading.buckets.into_iter().next()) {
        Some(BucketRead::Whole(frames) | BucketRead::Tail(frames)) => {
            frames.into_iter().map(|frame| frame.bytes).collect()
        }
        _ => Vec::new(),
    })
}

fn stored_bucket(
    store: &dyn Store,
    revision: &RevisionId,
    table: &Table,
    bucket: Bucket,
) -> Result<StoredBucket, StoreError> {
    let number = bucket.bucket & ((1 << 24) - 1);
    let mut all =
        StoredBucket { bucket: number, splits: splits(bucket.bucket), ..StoredBucket::default() };
    for frame in frames(store, revision, bucket)? {
        let facts = facts(table, &frame).map_err(|fault| damaged(table, &fault))?;
        *if facts.snapshot { &mut all.snapshot } else { &mut all.tail } += frame.len() as u64;
        (all.frames, all.rows, all.updates) =
            (all.frames + 1, all.rows + facts.rows, all.updates + facts.updates);
    }
    Ok(all)
}

fn rows(
    store: &dyn Store,
    looked: &Looked,
    table: &str,
    key: &[String],
) -> Result<StoredRows, EvaluateError> {
    let not_found = |detail: String| EvaluateError::NotFound { suggestions: Vec::new(), detail };
    let (metric, tables) = (&looked.revision.metric, &looked.description.tables);
    let Some(number) = tables.iter().position(|found| found.name == table) else {
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        return Err(not_found(format!(
            "{metric} has no table {table}: it has {}",
            names.join(", ")
        )));
    };
    let table = &tables[number];
    let group = if table.group == 0 { table.key.len() } else { table.group };
    if !(group..=table.key.len()).contains(&key.len()) {
        let columns: Vec<String> = table.key.iter().map(|column| format!("{column:?}")).collect();
        let columns = columns.join(", ");
        let detail =
            format!("a key of table {} is {columns}: name at least {group} of these", table.name);
        return Err(not_found(detail));
    }
    let key = key_of(&looked.description, table, key);
    let mut rows = KeyRows::new(table, &key);
    let mut add = || -> Result<bool, StoreError> {
        let held = store.buckets(&looked.revision)?;
        let of = held
            .iter()
            .filter(|bucket| usize::from(bucket.table) == number)
            .map(|bucket| bucket.bucket);
        let fault = |fault| damaged(table, &fault);
        for bucket in buckets_of(table, &of.collect::<Vec<_>>(), &key).map_err(fault)? {
            for frame in frames(store, &looked.revision, Bucket { table: number as u16, bucket })? {
                if !rows.add(&frame).map_err(fault)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    };
    if !add().map_err(unavailable)? {
        let detail =
            format!("more than {MOST_ROWS} rows begin with this key: name more of its columns");
        let fault = Fault { pointer: "/key".into(), detail };
        return Err(EvaluateError::Invalid { code: "invalid_params".into(), errors: vec![fault] });
    }
    let stored = store.stored(&looked.revision).map_err(unavailable)?;
    let events_failed = stored.as_ref().map_or(0, events_failed);
    Ok(StoredRows { table: table.clone(), rows: rows.rows(), events_failed })
}

/// Events that are in no cell of a revision, according to its progress records.
pub(super) fn events_failed(stored: &StoredRevision) -> u64 {
    let records =
        stored.progress.values().filter_map(|progress| Progress::decode(&progress.bytes).ok());
    records.fold(0, |sum, record| sum.saturating_add(record.failed))
}

fn damaged(table: &Table, fault: &state::FrameError) -> StoreError {
    StoreError::Corrupt(format!("table {}: {fault}", table.name))
}

fn unavailable(fault: StoreError) -> EvaluateError {
    EvaluateError::StoreUnavailable(fault.into())
}
