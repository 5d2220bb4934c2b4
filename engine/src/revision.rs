//! The revision of a metric: one number for everything that gives its state meaning.
//!
//! Equal: code may be replaced, state stays. Different: another state, counted anew. A rebuild of
//! the same source is the same revision, on every machine.

use crate::config::EventsConfig;
use crate::host;
use crate::store::RevisionId;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use tally_plugin::description::{Cell, Description, Key, Pane, Property, Table, Tier};
use thiserror::Error;

/// Raised when this engine begins to count differently.
const SEMANTICS: u32 = 1;

/// The revision of a metric under these events, and the table meta that is stored with it.
pub(crate) fn revision(metric: &host::Metric, events: &EventsConfig) -> (RevisionId, Vec<u8>) {
    let about = json!({
        "plugin": metric.plugin(),
        "revision": metric.revision(),
        "config": canonical(metric.config()),
    });
    let meta = meta(about, metric.description(), events);
    let digest = Sha256::digest(&meta);
    let fingerprint = digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (RevisionId { metric: metric.name().to_owned(), fingerprint }, meta)
}

/// Everything that gives state its meaning, `about` the plugin included. How answers look is no
/// part of it.
fn meta(about: Value, description: &Description, events: &EventsConfig) -> Vec<u8> {
    // Retention is not part of it: floors are state and move by themselves.
    let tables: Vec<_> = description
        .tables
        .iter()
        .map(|table| {
            let tiers: Vec<_> = table.tiers.iter().map(|tier| tier.pane).collect();
            json!([
                table.name,
                table.key,
                table.group,
                table.only,
                table.cells,
                tiers,
                crate::state::buckets(table)
            ])
        })
        .collect();
    let mut meta = about;
    meta["semantics"] = SEMANTICS.into();
    meta["tables"] = tables.into();
    meta["events"] = described_events(events);
    meta["hash"] = "siphash13".into();
    meta["layout"] = 0.into();
    // Tables name them; what they are is said here alone.
    if !description.properties.is_empty() || !description.computed.is_empty() {
        meta["columns"] = json!([description.properties, description.computed]);
    }
    canonical(&meta).to_string().into_bytes()
}

/// `[events]` as part of a revision: keys that came later are left out while they have their
/// defaults, so that what was counted before them counts on; they stand there by what they mean,
/// not by how they are written.
fn described_events(events: &EventsConfig) -> Value {
    let mut described = json!(events);
    let Some(keys) = described.as_object_mut() else { return described };
    let default = EventsConfig::default();
    let later = [
        ("earliest", json!(events.earliest_ms().ok()), json!(default.earliest_ms().ok())),
        ("max_ahead", json!(events.max_ahead_ms().ok()), json!(default.max_ahead_ms().ok())),
        ("max_types", json!(events.max_types), json!(default.max_types)),
        ("keep", json!(BTreeSet::from_iter(&events.keep)), json!(default.keep)),
    ];
    for (key, value, by_default) in later {
        keys.remove(key);
        if value != by_default {
            keys.insert(key.into(), value);
        }
    }
    described
}

/// What is stored of a revision does not say what its tables are. No retry helps: its state has to
/// be restored, or purged.
#[derive(Debug, Error)]
#[error("its description of tables cannot be read: {0}")]
pub(crate) struct MetaError(#[from] serde_json::Error);

/// What the meta of a revision says of its tables, as far as it is part of the revision: without
/// retention.
///
/// # Errors
/// [`MetaError`]: it is none.
pub(crate) fn described(meta: &[u8]) -> Result<Description, MetaError> {
    type Laid = (String, Vec<Key>, usize, Vec<String>, Vec<Cell>, Vec<Pane>, u32);
    #[derive(Deserialize)]
    struct Meta {
        tables: Vec<Laid>,
        #[serde(default)]
        columns: (Vec<Property>, Vec<String>),
    }
    let Meta { tables, columns: (properties, computed) } = serde_json::from_slice(meta)?;
    let table = |(name, key, group, only, cells, panes, _): Laid| {
        let tiers = panes.into_iter().map(|pane| Tier { pane, keep_ms: None }).collect();
        Table { name, key, group, only, cells, tiers }
    };
    let tables = tables.into_iter().map(table).collect();
    Ok(Description { tables, properties, computed, ..Description::new("") })
}

/// How events were read that were counted into a revision, as its meta says; `None`: this engine
/// does not understand it.
pub(crate) fn events_of(meta: &[u8]) -> Option<EventsConfig> {
    #[derive(Deserialize)]
    struct Meta {
        events: EventsConfig,
    }
    serde_json::from_slice::<Meta>(meta).ok().map(|meta| meta.events)
}

/// With the keys of every object in order, so that equal values have equal text.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> =
                object.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
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

    /// What a revision of before these keys said of `[events]`: its hash must not change.
    #[test]
    fn keys_that_came_later_are_left_out_while_they_have_their_defaults() {
        let mut events = EventsConfig::default();
        let before = json!({
            "fields": {"event_id": "/event_id", "user_id": "/user_id", "product_id": "/product_id",
                "event_type": "/event_type", "timestamp": "/timestamp"},
            "aliases": {}, "types": [], "required": ["user_id", "product_id", "event_type"], "dedupe_window": 65_536,
        });
        assert_eq!(described_events(&events), before);
        (events.earliest, events.max_ahead) = ("1990-01-01T00:00:00Z".into(), "300s".into());
        assert_eq!(described_events(&events), before, "the same, written otherwise");
        for change in [
            |events: &mut EventsConfig| events.earliest = "1990-01-02".into(),
            |events: &mut EventsConfig| events.max_ahead = "off".into(),
            |events: &mut EventsConfig| events.max_types = 999,
            |events: &mut EventsConfig| events.keep = vec!["buy".into()],
        ] {
            let mut changed = events.clone();
            change(&mut changed);
            assert_ne!(described_events(&changed), before);
        }
    }

    #[test]
    fn how_an_answer_looks_is_no_part_of_it() {
        let cell = tally_plugin::describe::sum(tally_plugin::describe::ONE);
        let table = tally_plugin::describe::table("t").cell("n", cell);
        let description = Description::new("Counts").table(table.clone());
        let of = |description: &Description| {
            meta(json!({"plugin": "p"}), description, &EventsConfig::default())
        };
        let hint = json!({"properties": {"n": {"x-tally-view": {"as": "figure"}}}});
        let looks = Description {
            summary: "Counts events".into(),
            result_schema: hint,
            params_schema: json!({"type": "object"}),
            ..description.clone()
        };
        assert_eq!(of(&looks), of(&description));
        assert_ne!(of(&description.clone().table(table)), of(&description));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert_eq!(
            canonical(&json!({"b": [{"d": 1, "c": 2}], "a": 0})).to_string(),
            r#"{"a":0,"b":[{"c":2,"d":1}]}"#
        );
    }
}
