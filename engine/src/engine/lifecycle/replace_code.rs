//! Replaces the code of a revision that is counted, and restarts revisions. The state stays as it
//! is.
//!
//! Events that the state lacks stay missing, which is logged. `reconcile` decides which of the two
//! happens, and when.

use super::manager::PluginManager;
use super::roles::Reading;
use crate::engine::catalog::{ServedRevision, Stage};
use crate::engine::notices::events_failed;
use crate::engine::watchdog;
use crate::host;
use crate::pipeline::{Command, CommandError, Coverage, Handle};
use crate::progress::RevisionNo;
use crate::telemetry;
use std::sync::Arc;

impl PluginManager {
    /// Has a revision that counts call the folder's code.
    pub(super) fn replace_code(&mut self, name: &str, no: RevisionNo) {
        let Some((before, plugin)) = self.other_code(name, no) else { return };
        match before.with_code(&plugin) {
            Ok(served) => self.put_code(&before, Arc::new(served)),
            Err(fault) => tracing::error!(metric = name, "the new code cannot be served: {fault}"),
        }
    }

    /// Restarts a revision that is stopped, with the folder's code.
    pub(super) fn restart_with_code(&mut self, name: &str, no: RevisionNo) {
        let Some((before, plugin)) = self.other_code(name, no) else { return };
        self.restart_as(&before, &plugin);
    }

    /// Restarts a revision for which there is memory again.
    pub(super) fn restart(&mut self, no: RevisionNo) {
        let Some(served) = self.catalog.read().find(no) else { return };
        tracing::info!(metric = served.askable.plugin.name(), "there is memory again");
        self.restart_as(&served, &served.askable.plugin.clone());
    }

    /// A revision, and the code that replaces its own; logs which events it lacks.
    fn other_code(
        &self,
        name: &str,
        no: RevisionNo,
    ) -> Option<(Arc<ServedRevision>, Arc<host::Metric>)> {
        let before = self.catalog.read().find(no)?;
        let failed = Coverage::failed(&before.coverages(&self.view).0);
        if failed > 0 {
            tracing::warn!(
                metric = name,
                "the new code continues with the state as it is, so missing events stay missing: \
                 {}",
                events_failed(name, failed)
            );
        }
        Some((before, self.scan.code_of(name)?))
    }

    /// Has a revision continue from where it is stored, with this code: in another lane, in its
    /// present role, and reading events as before.
    fn restart_as(&mut self, before: &Arc<ServedRevision>, plugin: &Arc<host::Metric>) {
        let reading = Reading { plugin: plugin.clone(), reads: before.reads.clone() };
        let Some(served) = self.place(&reading) else { return };
        tracing::info!(
            metric = plugin.name(),
            version = plugin.version(),
            "it continues from where it is stored"
        );
        // Before a question can have it loaded: it may become as large as the one that it replaces.
        let memory_share = &self.factory.memory_share;
        memory_share.hand_over(before.id, served.id, memory_share.held(before.id));
        self.catalog.write().put_in_place_of(before, &served);
        // Both must not be in memory at once: the other is released first.
        self.release(before);
        self.follow(&served);
        self.note_roles();
    }

    fn put_code(&mut self, before: &Arc<ServedRevision>, served: Arc<ServedRevision>) {
        let plugin = &served.askable.plugin;
        // A lane that has ended calls no code any more.
        let sent = self
            .handle_of(&served)
            .map(|lane| lane.send(Command::ReplaceCode(Box::new(self.factory.metric(&served)))));
        if sent == Some(Err(CommandError::Busy)) {
            // The folder's code is still not the one that is called, so the next pass tries again.
            return tracing::warn!(
                metric = plugin.name(),
                "its lane takes no commands; its code is replaced later"
            );
        }
        let stalled = watchdog::stalled(&self.catalog.read(), before, &self.status);
        match stalled {
            None => tracing::info!(
                metric = plugin.name(),
                version = plugin.version(),
                "code replaced, state stays"
            ),
            Some(why) => tracing::warn!(
                metric = plugin.name(),
                "the new code is not called yet, because {why}: restart the engine, and it \
                 continues from what is stored"
            ),
        }
        if sent != Some(Ok(())) {
            // Otherwise its lane reports it, once it calls the new code.
            telemetry::code_replaced(plugin.name());
        }
        let is = |metric: &Arc<ServedRevision>| metric.no == before.no;
        let in_lanes = self.pool.lanes.iter_mut().flat_map(|lane| &mut lane.metrics);
        let leaving = self.leaving.iter_mut().map(|leaving| &mut leaving.what.served);
        in_lanes
            .chain(leaving)
            .filter(|metric| is(metric))
            .for_each(|metric| *metric = served.clone());
        let mut catalog = self.catalog.write();
        match catalog
            .newer
            .get_mut(plugin.name())
            .filter(|newer| Arc::ptr_eq(&newer.served, before))
        {
            Some(newer) => newer.served = served.clone(),
            None => drop(catalog.answering.insert(plugin.name().to_owned(), served.clone())),
        }
    }

    /// The lane that calls a revision's code.
    fn handle_of(&self, served: &ServedRevision) -> Option<&Arc<Handle>> {
        match &*served.stage.read() {
            Stage::Main => Some(&self.main),
            _ => self.pool.lane_of(served.no).map(|lane| &lane.handle),
        }
    }
}
