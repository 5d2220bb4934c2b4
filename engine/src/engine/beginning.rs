//! Where the first metrics of a store begin with `[kafka] start = "latest"`: behind what the topic held when the first of them was
//! made.
//!
//! Found once and written into the store before anything is counted, so that a crash in between neither finds another place nor
//! loses what came since. Partitions that are added later begin with their first record. A metric that comes later follows its
//! `history`, and so does every metric of a store that held state before.

use crate::config::{KafkaConfig, StartAt};
use crate::source::kafka::Tail;
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// As it is written into the store.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// By partition the offset after the last record there was.
    starts: BTreeMap<u32, u64>,
    /// The metrics that begin there, by name.
    metrics: Vec<String>,
}

/// Where a metric begins, by partition, if that is not for its `history` to say. `first`: those that were found when the engine
/// started. Blocks while a broker is asked.
///
/// # Errors
/// A sentence: store or topic do not answer.
pub(super) fn starts(
    store: &dyn Store,
    config: &KafkaConfig,
    first: &[String],
    metric: &str,
) -> Result<Option<BTreeMap<u32, u64>>, String> {
    if config.start != StartAt::Latest {
        return Ok(None);
    }
    let written = match store.begun().map_err(|fault| fault.to_string())? {
        Some(written) => written,
        None if store.metrics().map_err(|fault| fault.to_string())?.is_empty() => {
            let starts = Tail::starts(config, i64::MAX).map_err(|fault| fault.to_string())?;
            let mut metrics = first.to_vec();
            metrics.push(metric.to_owned());
            metrics.sort();
            metrics.dedup();
            tracing::info!(?starts, ?metrics, "counting begins behind what the topic holds now ([kafka] start)");
            let begun = serde_json::to_vec(&Begun { starts, metrics }).map_err(|fault| fault.to_string())?;
            store.begin(&begun).map_err(|fault| fault.to_string())?
        }
        None => return Ok(None),
    };
    let begun: Begun =
        serde_json::from_slice(&written).map_err(|fault| format!("how counting begins cannot be read: {fault}"))?;
    Ok(begun.metrics.iter().any(|name| name == metric).then_some(begun.starts))
}
