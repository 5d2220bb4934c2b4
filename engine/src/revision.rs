//! The revision of a metric: one number for everything that gives its state meaning.
//!
//! Equal: code may be swapped, state stays. Different: another state, counted anew. A rebuild of the same source is the
//! same revision, on every machine.

use crate::config::EventsConfig;
use crate::plugin;
use crate::store::RevisionId;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tally_plugin::description::{Cell, Description, Key, Pane, Property, Table, Tier};

/// Raised when this engine begins to count differently.
const SEMANTICS: u32 = 1;

/// The revision of a metric under these events, and the table meta that is stored with it.
pub(crate) fn revision(metric: &plugin::Metric, events: &EventsConfig) -> (RevisionId, Vec<u8>) {
    // Retention is not part of it: floors are state and move by themselves.
    let tables: Vec<_> = metric
        .description()
        .tables
        .iter()
        .map(|table| {
            let tiers: Vec<_> = table.tiers.iter().map(|tier| tier.pane).collect();
            json!([table.name, table.key, table.group, table.only, table.cells, tiers, crate::state::buckets(table)])
        })
        .collect();
    let mut meta = json!({
        "semantics": SEMANTICS,
        "plugin": metric.plugin(),
        "revision": metric.revision(),
        "config": canonical(metric.config()),
        "tables": tables,
        "events": events,
        "hash": "siphash13",
        "layout": 0,
    });
    // Tables name them; what they are is said here alone.
    let description = metric.description();
    if !description.properties.is_empty() || !description.computed.is_empty() {
        meta["columns"] = json!([description.properties, description.computed]);
    }
    let meta = canonical(&meta).to_string().into_bytes();
    let digest = Sha256::digest(&meta);
    let fingerprint = digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (RevisionId { metric: metric.name().to_owned(), fingerprint }, meta)
}

/// What the meta of a revision says of its tables, as far as it is part of the revision: without retention.
///
/// # Errors
/// A sentence: it is none.
pub(crate) fn described(meta: &[u8]) -> Result<Description, String> {
    type Laid = (String, Vec<Key>, usize, Vec<String>, Vec<Cell>, Vec<Pane>, u32);
    #[derive(Deserialize)]
    struct Meta {
        tables: Vec<Laid>,
        #[serde(default)]
        columns: (Vec<Property>, Vec<String>),
    }
    let fault = |fault| format!("what is said of its tables cannot be read: {fault}");
    let Meta { tables, columns: (properties, computed) } = serde_json::from_slice(meta).map_err(fault)?;
    let table = |(name, key, group, only, cells, panes, _): Laid| {
        let tiers = panes.into_iter().map(|pane| Tier { pane, keep_ms: None }).collect();
        Table { name, key, group, only, cells, tiers }
    };
    let tables = tables.into_iter().map(table).collect();
    Ok(Description { tables, properties, computed, ..Description::new("") })
}

/// With the keys of every object in order, so that equal values have equal text.
fn canonical(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert_eq!(canonical(&json!({"b": [{"d": 1, "c": 2}], "a": 0})).to_string(), r#"{"a":0,"b":[{"c":2,"d":1}]}"#);
    }
}
