//! Removing what is stored of a metric that is no longer served: all its revisions, one after the other, each in one step.
//!
//! Where engines share a store, this one cannot know whether another serves the metric. It looks whether what is stored
//! moves; a metric to which no events come does not. An engine that still counts it finds its state gone, and does
//! what `on_state_loss` says: nothing is ever half there.

use super::manager::PluginManager;
use super::notebook::NotedMetrics;
use crate::engine::OrderError;
use crate::engine::catalog::{MetricCatalog, Retired};
use crate::store::{RevisionId, Store, StoreError};
use std::collections::BTreeSet;

impl PluginManager {
    /// Removes what is stored of a metric; a sentence on what was done.
    pub(super) fn purge(&mut self, name: &str) -> Result<String, OrderError> {
        let retired = {
            let catalog = self.catalog.read();
            unserved(&catalog, name)?;
            catalog.retired.get(name).cloned()
        };
        if let Some((file, reason)) = self.unserved.get(name) {
            return Err(not_possible(format!(
                "{name} is about to be served from {file} ({reason}): take its file or its section away first"
            )));
        }
        if self.leaving.iter().any(|leaving| leaving.what.served.revision.metric == name) {
            return Err(OrderError::Failed(format!(
                "a lane still counts {name} and has not let it go yet, so nothing was removed; try again"
            )));
        }
        let store = &*self.factory.store;
        let fault = |fault: StoreError| {
            OrderError::Failed(format!("what is stored of {name} is not removed, or not wholly: {fault}"))
        };
        let stored = stored(store, name, retired.as_ref()).map_err(fault)?;
        if stored.is_empty() && retired.is_none() {
            return Err(not_possible(format!(
                "nothing is stored of {name}; tally plugin list shows which metrics there are"
            )));
        }
        let mut removed = 0;
        for revision in &stored {
            removed += u32::from(store.remove(revision).map_err(fault)?);
        }
        self.catalog.write().retired.remove(name);
        self.notebook.note(NotedMetrics::new(), &[name]);
        tracing::info!(metric = name, revisions = removed, "what was stored of the metric is removed");
        Ok(format!("{name}: everything stored of it is removed, {removed} revisions"))
    }
}

fn not_possible(why: String) -> OrderError {
    OrderError::NotPossible(why)
}

/// Refuses what is served: what to do first.
pub(in crate::engine) fn unserved(catalog: &MetricCatalog, name: &str) -> Result<(), OrderError> {
    if !catalog.answering.contains_key(name) {
        return Ok(());
    }
    Err(not_possible(format!(
        "{name} is served: take its file out of the plugin folder, or its section out of the configuration, and purge it once \
         tally plugin list says that it is retired (within a second or two)"
    )))
}

/// The revisions of a metric that are stored, as far as the store or this engine knows of them.
pub(in crate::engine) fn stored(
    store: &dyn Store,
    name: &str,
    retired: Option<&Retired>,
) -> Result<BTreeSet<RevisionId>, StoreError> {
    let mut known: BTreeSet<RevisionId> = store.revisions(name)?.into_iter().collect();
    known.extend(store.current(name)?);
    known.extend(retired.iter().flat_map(|retired| retired.revisions.iter().cloned()));
    Ok(known)
}
