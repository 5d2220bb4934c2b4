//! Removing what is stored of a metric that is no longer served: all its revisions, one after the
//! other, each in one step.
//!
//! Where engines share a store, this one cannot know whether another serves the metric. It checks
//! whether the stored state changes, which it does only while events come. An engine that still
//! counts the metric finds its state gone, and does what `on_state_loss` says: no state is ever
//! there in part.

use super::foreseen;
use super::manager::PluginManager;
use super::notebook::NotedMetrics;
use super::serve::Unserved;
use crate::engine::OrderError;
use crate::engine::catalog::{MetricCatalog, Retired};
use crate::store::{RevisionId, Store, StoreError};
use std::collections::BTreeSet;

impl PluginManager {
    /// Removes what is stored of a metric; the sentence says what was done, or of a dry run what
    /// would be.
    pub(super) fn purge(&mut self, name: &str, dry_run: bool) -> Result<String, OrderError> {
        let retired = {
            let catalog = self.catalog.read();
            unserved(&catalog, name)?;
            catalog.retired.get(name).cloned()
        };
        if let Some(Unserved { file, reason }) = self.unserved.get(name) {
            return Err(not_possible(format!(
                "{name} is about to be served from {file} ({reason}): remove its file or its \
                 section first"
            )));
        }
        if self.leaving.iter().any(|leaving| leaving.what.served.revision.metric == name) {
            return Err(OrderError::Failed(format!(
                "a lane still counts {name} and has not released it yet, so nothing was removed; \
                 try again"
            )));
        }
        let store = &*self.factory.store;
        let fault = |fault: StoreError| OrderError::Store {
            what: format!("what is stored of {name} was not removed, or only in part"),
            fault,
        };
        let stored = stored(store, name, retired.as_ref()).map_err(fault)?;
        if stored.is_empty() && retired.is_none() {
            return Err(not_possible(format!(
                "nothing is stored of {name}; tally plugin list shows which metrics exist"
            )));
        }
        if dry_run {
            return Ok(foreseen::purged(name, stored.len()));
        }
        let mut removed = 0;
        for revision in &stored {
            removed += u32::from(store.remove(revision).map_err(fault)?);
        }
        self.catalog.write().retired.remove(name);
        self.notebook.note(NotedMetrics::new(), &[name]);
        tracing::info!(
            metric = name,
            revisions = removed,
            "what was stored of the metric is removed"
        );
        Ok(format!("{name}: everything stored of it is removed, {removed} revisions"))
    }
}

fn not_possible(why: String) -> OrderError {
    OrderError::NotPossible(why)
}

/// Refuses a metric that is served; the error says what to do first.
pub(in crate::engine) fn unserved(catalog: &MetricCatalog, name: &str) -> Result<(), OrderError> {
    if !catalog.answering.contains_key(name) {
        return Ok(());
    }
    Err(not_possible(format!(
        "{name} is served: take its file out of the plugin folder, or its section out of the \
         configuration, and purge it once tally plugin list says that it is retired (within a \
         second or two)"
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
