//! Which revisions of a metric a start serves. The one that answered when the engine ended still
//! answers, whatever the folder or the configuration hold by now; their revision is newer and takes
//! its turn. So no restart replaces years of history by the few days that the log still holds.
//!
//! `reconcile::roles` decides which revision is looked for, and its role. A revision is found again
//! by its code (the private copy and its section) and by how it read events, which is stored with
//! its state. If either is gone, the folder's revision answers.

use super::notebook::{Notebook, NotedCode};
use super::reconcile::roles::{Sought, roles, sought, sought_previous};
use crate::config::{EventsConfig, Promote};
use crate::engine::catalog::PromotionWish;
use crate::engine::lane_factory::LaneFactory;
use crate::host::{self, Registry};
use crate::revision::events_of;
use crate::store::{RevisionId, StoreError};
use std::sync::Arc;

/// Code, and how it reads events if that is not as configured now.
#[derive(Clone)]
pub(in crate::engine) struct Reading {
    pub(in crate::engine) plugin: Arc<host::Metric>,
    pub(in crate::engine) reads: Option<Arc<EventsConfig>>,
}

impl Reading {
    /// Reads events as configured now.
    pub(in crate::engine) fn configured(plugin: &Arc<host::Metric>) -> Reading {
        Reading { plugin: plugin.clone(), reads: None }
    }
}

/// The revisions of a metric that are served.
pub(in crate::engine) struct Roles {
    pub(in crate::engine) answering: Reading,
    pub(in crate::engine) newer: Option<(Reading, PromotionWish)>,
    /// And until when it receives events, Unix milliseconds.
    pub(in crate::engine) before: Option<(Reading, i64)>,
}

/// Finds revisions again.
pub(in crate::engine) struct Recall<'a> {
    pub(in crate::engine) notebook: &'a Notebook,
    pub(in crate::engine) registry: &'a mut Registry,
    pub(in crate::engine) factory: &'a LaneFactory,
    /// Unix milliseconds.
    pub(in crate::engine) now: i64,
}

impl Recall<'_> {
    /// The revisions to serve of the metric of which the folder holds `found`.
    ///
    /// # Errors
    /// [`StoreError`]: the store does not answer.
    pub(in crate::engine) fn roles(
        &mut self,
        found: &Arc<host::Metric>,
    ) -> Result<Roles, StoreError> {
        let name = found.name();
        let noted = self.notebook.get(name).cloned();
        let own = self.factory.revision(found).0;
        let waits = found.section().promote == Promote::Manual;
        let found = Reading::configured(found);
        let current = if noted.is_none() { self.factory.store.current(name)? } else { None };
        let answered = match sought(&own, noted.as_ref(), current.as_ref()) {
            Sought::Folder => None,
            Sought::Stored(current) => self.reading(&found.plugin, current)?,
            Sought::Noted(code) => self.answered(&found, code)?,
        };
        // It is other code of the folder's revision: the folder's code continues it.
        let answered = answered.filter(|reading| self.factory.revision_of(reading) != own);
        let answering = answered.unwrap_or_else(|| found.clone());
        let previous = match sought_previous(noted.as_ref(), self.now) {
            Some(previous) => {
                self.revive(name, &previous.code)?.map(|reading| (reading, previous.until))
            }
            None => None,
        };
        let revision = self.factory.revision_of(&answering);
        let of_previous = previous.as_ref().map(|(reading, _)| self.factory.revision_of(reading));
        let are = roles(&own, waits, noted.as_ref(), &revision, of_previous.as_ref());
        let newer = are.newer.map(|wish| (found, wish));
        Ok(Roles { answering, newer, before: previous.filter(|_| are.previous) })
    }

    /// The revision that answered, by its code.
    fn answered(
        &mut self,
        found: &Reading,
        code: &NotedCode,
    ) -> Result<Option<Reading>, StoreError> {
        let name = found.plugin.name();
        let revived = self.revive(name, code)?;
        let revived = match (revived, revision_of(name, code)) {
            // Its file is gone, or was not noted; it may be the folder's code, which now reads
            // events otherwise.
            (None, Some(wanted)) => self.reading(&found.plugin, &wanted)?,
            (revived, _) => revived,
        };
        if revived.is_none() {
            tracing::warn!(
                metric = name,
                "the revision that answered cannot be continued (its file is gone, or [events] \
                 reads events otherwise now); the one in the plugin folder answers once it has \
                 counted its history"
            );
        }
        Ok(revived)
    }

    /// The revision of a code whose file may be gone.
    fn revive(&mut self, name: &str, code: &NotedCode) -> Result<Option<Reading>, StoreError> {
        let plugin = match self.registry.revive(name, &code.sha256, &code.section) {
            Ok(plugin) => plugin,
            Err(reason) => {
                tracing::warn!(
                    metric = name,
                    "an earlier revision cannot be loaded again: {reason}"
                );
                return Ok(None);
            }
        };
        match revision_of(name, code) {
            Some(wanted) => self.reading(&plugin, &wanted),
            None => Ok(Some(Reading { plugin, reads: None })),
        }
    }

    /// How this code has to read events to be this revision; `None` if nothing is stored of it.
    fn reading(
        &self,
        plugin: &Arc<host::Metric>,
        wanted: &RevisionId,
    ) -> Result<Option<Reading>, StoreError> {
        let stored = match self.factory.store.stored(wanted) {
            Ok(Some(stored)) => stored,
            // State that cannot be read answers nothing; if it is the folder's, the lane reports
            // it.
            Ok(None) | Err(StoreError::Corrupt(_)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let then = events_of(&stored.meta).map(Arc::new);
        let readings = [None].into_iter().chain(then.map(Some));
        let mut readings = readings.map(|reads| Reading { plugin: plugin.clone(), reads });
        Ok(readings.find(|reading| self.factory.revision_of(reading) == *wanted))
    }
}

/// The revision that this code was, if that was noted.
fn revision_of(metric: &str, code: &NotedCode) -> Option<RevisionId> {
    let fingerprint = u64::from_str_radix(code.revision.as_deref()?, 16).ok()?;
    Some(RevisionId { metric: metric.to_owned(), fingerprint })
}
