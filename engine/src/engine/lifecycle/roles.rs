//! Which revisions of a metric a start serves: the one that answered when the engine ended goes on answering, whatever the folder
//! or the configuration hold by now; what they hold is newer and takes its turn. So no restart puts the few days that the log still
//! holds in the place of years.
//!
//! Which one is looked for, and what it is to the metric, is decided by `reconcile::roles`. It is found again by its code (the private
//! copy, its section) and by how it read events, which is stored with its state.
//! Where either is gone, the folder's revision answers.

use super::notebook::{Notebook, NotedCode};
use super::reconcile::roles::{Sought, roles, sought, sought_previous};
use crate::config::{EventsConfig, Promote};
use crate::engine::catalog::PromotionWish;
use crate::engine::lanes::Lanes;
use crate::plugin::{self, Registry};
use crate::revision::events_of;
use crate::store::{RevisionId, StoreError};
use std::sync::Arc;

/// Code, and how it reads events where that is not what is configured now.
#[derive(Clone)]
pub(in crate::engine) struct Reading {
    pub(in crate::engine) plugin: Arc<plugin::Metric>,
    pub(in crate::engine) reads: Option<Arc<EventsConfig>>,
}

impl Reading {
    /// As is configured now.
    pub(in crate::engine) fn configured(plugin: &Arc<plugin::Metric>) -> Reading {
        Reading { plugin: plugin.clone(), reads: None }
    }
}

/// What is served of a metric.
pub(in crate::engine) struct Roles {
    pub(in crate::engine) answering: Reading,
    pub(in crate::engine) newer: Option<(Reading, PromotionWish)>,
    /// And how long it is fed, Unix milliseconds.
    pub(in crate::engine) before: Option<(Reading, i64)>,
}

/// What there is to find revisions by.
pub(in crate::engine) struct Recall<'a> {
    pub(in crate::engine) notebook: &'a Notebook,
    pub(in crate::engine) registry: &'a mut Registry,
    pub(in crate::engine) lanes: &'a Lanes,
    /// Unix milliseconds.
    pub(in crate::engine) now: i64,
}

impl Recall<'_> {
    /// What is served of the metric of which the folder holds `found`.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be asked.
    pub(in crate::engine) fn roles(&mut self, found: &Arc<plugin::Metric>) -> Result<Roles, StoreError> {
        let name = found.name();
        let noted = self.notebook.get(name).cloned();
        let own = self.lanes.revision(found).0;
        let waits = found.section().promote == Promote::Manual;
        let found = Reading::configured(found);
        let current = if noted.is_none() { self.lanes.store.current(name)? } else { None };
        let answered = match sought(&own, noted.as_ref(), current.as_ref()) {
            Sought::Folder => None,
            Sought::Stored(current) => self.reading(&found.plugin, current)?,
            Sought::Noted(code) => self.answered(&found, code)?,
        };
        // Other code of the folder's revision: the folder's counts on.
        let answered = answered.filter(|reading| self.lanes.revision_of(reading) != own);
        let answering = answered.unwrap_or_else(|| found.clone());
        let previous = match sought_previous(noted.as_ref(), self.now) {
            Some(previous) => self.revive(name, &previous.code)?.map(|reading| (reading, previous.until)),
            None => None,
        };
        let revision = self.lanes.revision_of(&answering);
        let of_previous = previous.as_ref().map(|(reading, _)| self.lanes.revision_of(reading));
        let are = roles(&own, waits, noted.as_ref(), &revision, of_previous.as_ref());
        let newer = are.newer.map(|wish| (found, wish));
        Ok(Roles { answering, newer, before: previous.filter(|_| are.previous) })
    }

    /// The revision that answered, by its code.
    fn answered(&mut self, found: &Reading, code: &NotedCode) -> Result<Option<Reading>, StoreError> {
        let name = found.plugin.name();
        let revived = self.revive(name, code)?;
        let revived = match (revived, revision_of(name, code)) {
            // Its file is gone, or was not noted; it may be the folder's, which reads events otherwise now.
            (None, Some(wanted)) => self.reading(&found.plugin, &wanted)?,
            (revived, _) => revived,
        };
        if revived.is_none() {
            tracing::warn!(
                metric = name,
                "the revision that answered cannot be counted any further; the one in the plugin folder answers once it has counted"
            );
        }
        Ok(revived)
    }

    /// The revision of a code whose file may be gone.
    fn revive(&mut self, name: &str, code: &NotedCode) -> Result<Option<Reading>, StoreError> {
        let plugin = match self.registry.revive(name, &code.sha256, &code.section) {
            Ok(plugin) => plugin,
            Err(reason) => {
                tracing::warn!(metric = name, "an earlier revision cannot be loaded again: {reason}");
                return Ok(None);
            }
        };
        match revision_of(name, code) {
            Some(wanted) => self.reading(&plugin, &wanted),
            None => Ok(Some(Reading { plugin, reads: None })),
        }
    }

    /// How this code has to read events to be this revision, of which something must be stored.
    fn reading(&self, plugin: &Arc<plugin::Metric>, wanted: &RevisionId) -> Result<Option<Reading>, StoreError> {
        let stored = match self.lanes.store.stored(wanted) {
            Ok(Some(stored)) => stored,
            // What cannot be read answers nothing; the lane says so if it is the folder's.
            Ok(None) | Err(StoreError::Corrupt(_)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let then = events_of(&stored.meta).map(Arc::new);
        let readings = [None].into_iter().chain(then.map(Some));
        let mut readings = readings.map(|reads| Reading { plugin: plugin.clone(), reads });
        Ok(readings.find(|reading| self.lanes.revision_of(reading) == *wanted))
    }
}

/// The revision that this code was, if that was noted.
fn revision_of(metric: &str, code: &NotedCode) -> Option<RevisionId> {
    let fingerprint = u64::from_str_radix(code.revision.as_deref()?, 16).ok()?;
    Some(RevisionId { metric: metric.to_owned(), fingerprint })
}
