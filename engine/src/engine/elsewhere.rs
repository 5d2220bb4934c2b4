//! What other engines answer: where they share a store, the one whose plugin, configuration or `[events]` differs counts a
//! revision of its own, and the store notes which one is current. Who is not says so. It only looks, and mends nothing.

use super::life::Work;
use super::roster::Served;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_secs(2);

impl Work {
    /// Compares what is answered here with what the store says is current. A store that is away is said elsewhere.
    pub(super) fn look_elsewhere(&self) {
        if !self.parts.lanes.shared || self.parts.board.look(|standing| standing.follow_trouble.is_some()) {
            return;
        }
        let served: Vec<Arc<Served>> = self.parts.roster.read().served.values().cloned().collect();
        let mut others = BTreeMap::new();
        for served in served {
            let revision = &served.revision;
            match self.parts.lanes.store.current(&revision.metric) {
                Ok(Some(current)) if current != *revision => {
                    others.insert(revision.metric.clone(), current.fingerprint);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
        let mut roster = self.parts.roster.write();
        for (name, other) in others.iter().filter(|(name, _)| !roster.others.contains_key(*name)) {
            tracing::warn!(metric = name, "{}", sentence(*other));
        }
        roster.others = others;
    }
}

/// Said of a metric while another revision is the current one.
pub(super) fn sentence(other: u64) -> String {
    format!(
        "the current revision of this metric in the store is {other:016x}: another engine has another plugin, configuration or \
         [events], and answers with that; give all engines the same"
    )
}
