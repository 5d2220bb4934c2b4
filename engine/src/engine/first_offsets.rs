//! Where the first metrics of a store begin if the log begins at its end (`[kafka] start =
//! "latest"`): after the records that the log held when the first of them was added.
//!
//! The offsets are found once and written into the store before anything is counted, so that a
//! crash in between neither finds other offsets nor loses what was appended since. Partitions that
//! are added later begin with their first record. A metric that is added later follows its
//! `history`, and so does every metric of a store that held state before.

use crate::log::{Log, LogError};
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// The stored form.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// Per partition the offset after the last record at that time.
    starts: BTreeMap<u32, u64>,
    /// The metrics that begin there, by name.
    metrics: Vec<String>,
}

/// It is unknown where a metric begins.
#[derive(Debug, Error)]
pub(super) enum FirstOffsetsError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What the store holds is not what was written.
    #[error("the stored offsets at which counting begins cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl FirstOffsetsError {
    /// Whether the same call may succeed later, without a change by a person.
    pub(super) fn retry_helps(&self) -> bool {
        match self {
            FirstOffsetsError::Store(fault) => fault.retry_helps(),
            FirstOffsetsError::Log(fault) => fault.retry_helps(),
            FirstOffsetsError::Unreadable(_) => false,
        }
    }
}

/// Where a metric begins, by partition, or `None` if its `history` decides. `first`: the metrics
/// that were found when the engine started. Blocks while a broker is asked.
///
/// # Errors
/// [`FirstOffsetsError`].
pub(super) fn first_offsets(
    store: &dyn Store,
    log: &dyn Log,
    first: &[String],
    metric: &str,
) -> Result<Option<BTreeMap<u32, u64>>, FirstOffsetsError> {
    if !log.begins_at_end() {
        return Ok(None);
    }
    let written = match store.begun()? {
        Some(written) => written,
        None if store.metrics()?.is_empty() => {
            let starts = log.starts(i64::MAX)?;
            let mut metrics = first.to_vec();
            metrics.push(metric.to_owned());
            metrics.sort();
            metrics.dedup();
            tracing::info!(
                ?starts,
                ?metrics,
                "counting begins after what the topic holds now ([kafka] start)"
            );
            store.begin(&serde_json::to_vec(&Begun { starts, metrics })?)?
        }
        None => return Ok(None),
    };
    let begun: Begun = serde_json::from_slice(&written)?;
    Ok(begun.metrics.iter().any(|name| name == metric).then_some(begun.starts))
}
