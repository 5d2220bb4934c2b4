//! Which revisions of a metric a start serves: the one that answered when the engine ended goes on answering, whatever the folder
//! or the configuration hold by now; what they hold is newer and takes its turn. So no restart puts the few days that the log still
//! holds in the place of years.
//!
//! A revision is found again by its code (the private copy, its section) and by how it read events, which is stored with its state.
//! Where either is gone, the folder's revision answers.

use super::book::{Book, Code, Entry};
use super::lanes::Lanes;
use super::versions::Will;
use crate::config::{EventsConfig, Promote};
use crate::plugin::{self, Registry};
use crate::revision::events_of;
use crate::store::{RevisionId, StoreError};
use std::sync::Arc;

/// Code, and how it reads events where that is not what is configured now.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) plugin: Arc<plugin::Metric>,
    pub(super) reads: Option<Arc<EventsConfig>>,
}

impl Reading {
    /// As is configured now.
    pub(super) fn configured(plugin: &Arc<plugin::Metric>) -> Reading {
        Reading { plugin: plugin.clone(), reads: None }
    }
}

/// What is served of a metric.
pub(super) struct Roles {
    pub(super) answering: Reading,
    pub(super) newer: Option<(Reading, Will)>,
    /// And how long it is fed, Unix milliseconds.
    pub(super) before: Option<(Reading, i64)>,
}

/// What there is to find revisions by.
pub(super) struct Recall<'a> {
    pub(super) book: &'a Book,
    pub(super) registry: &'a mut Registry,
    pub(super) lanes: &'a Lanes,
    /// Unix milliseconds.
    pub(super) now: i64,
}

impl Recall<'_> {
    /// What is served of the metric of which the folder holds `found`.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be asked.
    pub(super) fn roles(&mut self, found: &Arc<plugin::Metric>) -> Result<Roles, StoreError> {
        let name = found.name();
        let entry = self.book.get(name).cloned();
        let own = self.lanes.revision(found).0;
        let found = Reading::configured(found);
        let answered = self.answered(&found, &own, entry.as_ref())?;
        let newer = answered.as_ref().map(|_| (found.clone(), will(&found.plugin, &own, entry.as_ref())));
        let answering = answered.unwrap_or(found);
        let before = match entry.and_then(|entry| entry.before).filter(|kept| kept.until > self.now) {
            Some(kept) => self.revive(name, &kept.code)?.map(|reading| (reading, kept.until)),
            None => None,
        };
        let taken = |reading: &Reading| {
            let revision = self.lanes.revision_of(reading);
            revision == own || revision == self.lanes.revision_of(&answering)
        };
        let before = before.filter(|(reading, _)| !taken(reading));
        Ok(Roles { answering, newer, before })
    }

    /// The revision that answered, if it is another than `own`, the folder's.
    fn answered(
        &mut self,
        found: &Reading,
        own: &RevisionId,
        entry: Option<&Entry>,
    ) -> Result<Option<Reading>, StoreError> {
        let name = own.metric.as_str();
        let Some(entry) = entry else {
            // Nobody noted its code; where only the configuration of events changed, it is the folder's.
            let Some(current) = self.lanes.store.current(name)?.filter(|current| current != own) else {
                return Ok(None);
            };
            return self.reading(&found.plugin, &current);
        };
        if entry.answering.revision.as_ref() == Some(&number(own)) {
            return Ok(None);
        }
        let revived = self.revive(name, &entry.answering)?;
        let revived = match (revived, wanted(name, &entry.answering)) {
            // Its file is gone, or was not noted; again it may be the folder's.
            (None, Some(wanted)) => self.reading(&found.plugin, &wanted)?,
            (revived, _) => revived,
        };
        if revived.is_none() {
            tracing::warn!(
                metric = name,
                "the revision that answered cannot be counted any further; the one in the plugin folder answers once it has counted"
            );
        }
        Ok(revived.filter(|reading| self.lanes.revision_of(reading) != *own))
    }

    /// The revision of a code whose file may be gone.
    fn revive(&mut self, name: &str, code: &Code) -> Result<Option<Reading>, StoreError> {
        let plugin = match self.registry.revive(name, &code.sha256, &code.section) {
            Ok(plugin) => plugin,
            Err(reason) => {
                tracing::warn!(metric = name, "an earlier revision cannot be loaded again: {reason}");
                return Ok(None);
            }
        };
        match wanted(name, code) {
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

/// What a person wants of the folder's revision.
fn will(found: &plugin::Metric, own: &RevisionId, entry: Option<&Entry>) -> Will {
    let waits = found.section().promote == Promote::Manual;
    match entry {
        Some(Entry { newer: Some(newer), .. }) if newer.revision == number(own) => newer.will,
        // Of an engine that noted no revisions.
        Some(Entry { newer: None, held: true, .. }) => Will { waits: true, accepted: None },
        _ => Will { waits, accepted: None },
    }
}

fn wanted(metric: &str, code: &Code) -> Option<RevisionId> {
    let fingerprint = u64::from_str_radix(code.revision.as_deref()?, 16).ok()?;
    Some(RevisionId { metric: metric.to_owned(), fingerprint })
}

/// A revision as people see it.
pub(super) fn number(revision: &RevisionId) -> String {
    format!("{:016x}", revision.fingerprint)
}
