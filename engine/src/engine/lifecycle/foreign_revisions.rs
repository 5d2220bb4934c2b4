//! Revisions of other engines. Where engines share a store, one whose plugin, configuration or
//! `[events]` differs counts a revision of its own, and the store notes which one is current. An
//! engine whose revision is not current reports it; nothing is changed.

use super::manager::PluginManager;
use crate::engine::catalog::ServedRevision;
use crate::engine::notices::another_revision_is_current;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two comparisons.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(2);

impl PluginManager {
    /// Compares the revisions that answer here with those that the store says are current. A store
    /// that does not answer is reported elsewhere.
    pub(super) fn find_foreign_revisions(&self) {
        if !self.factory.shared || self.status.read(|status| status.follow_trouble.is_some()) {
            return;
        }
        let served: Vec<Arc<ServedRevision>> =
            self.catalog.read().answering.values().cloned().collect();
        let mut others = BTreeMap::new();
        for served in served {
            let revision = &served.revision;
            match self.factory.store.current(&revision.metric) {
                Ok(Some(current)) if current != *revision => {
                    others.insert(revision.metric.clone(), current.fingerprint);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
        let mut catalog = self.catalog.write();
        for (name, other) in others.iter().filter(|(name, _)| !catalog.foreign.contains_key(*name))
        {
            tracing::warn!(metric = name, "{}", another_revision_is_current(*other));
        }
        catalog.foreign = others;
    }
}
