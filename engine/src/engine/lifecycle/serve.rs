//! What becomes of metrics: served, retired, and what is held of a revision that is served no more.
//!
//! Carries out what `reconcile` decided. What cannot be served yet is listed with the reason, and proposed again by the next look.

use super::leave::Then;
use super::manager::PluginManager;
use super::roles::Reading;
use crate::engine::MetricState;
use crate::engine::Rejected;
use crate::engine::catalog::{Retired, ServedRevision, Stage};
use crate::engine::evaluate::now;
use crate::pipeline::Place;
use crate::plugin::RejectedFile;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a lane may take to let a metric go before other work is done meanwhile.
const PROMPT: Duration = Duration::from_secs(2);

/// What is said of a revision that has just been given its place.
const WAITS: &str = "it waits for a lane";

impl PluginManager {
    /// Serves a metric that was not served: it counts its history first.
    pub(super) fn admit(&mut self, name: &str) {
        let Some(plugin) = self.scan.code_of(name) else { return };
        let Some(served) = self.place(&Reading::configured(&plugin)) else { return };
        self.follow(&served);
        tracing::info!(metric = name, version = plugin.version(), "metric loaded; it counts its history");
        let mut catalog = self.catalog.write();
        catalog.retired.remove(name);
        catalog.answering.insert(name.to_owned(), served);
    }

    /// Gives a revision its place in state; it waits for a lane.
    pub(super) fn place(&mut self, reading: &Reading) -> Option<Arc<ServedRevision>> {
        let plugin = &reading.plugin;
        let place = Place { since: now(), target: Some(self.ahead().unwrap_or_default()), ..Place::default() };
        match self.factory.serve(reading, &self.view, place) {
            Ok(served) => {
                self.unserved.remove(plugin.name());
                *served.stage.write() = Stage::Waiting(WAITS.into());
                Some(Arc::new(served))
            }
            Err(reason) => {
                let refused = (plugin.file().display().to_string(), reason);
                if self.unserved.get(plugin.name()) != Some(&refused) {
                    tracing::error!(metric = plugin.name(), "the metric cannot be served, trying again: {}", refused.1);
                    self.unserved.insert(plugin.name().to_owned(), refused);
                }
                None
            }
        }
    }

    /// Where engines share a store: its answers come from there.
    pub(super) fn follow(&self, served: &ServedRevision) {
        let Some(follower) = &served.follower else { return };
        if let Err(fault) = follower.refresh(Instant::now()) {
            tracing::warn!(metric = served.askable.plugin.name(), "its state cannot be read yet: {fault}");
        }
        follower.aim(&self.followers.furthest());
        self.followers.add(follower.clone());
    }

    /// Stops serving a metric: what it has counted stays stored.
    pub(super) fn retire(&mut self, name: &str) {
        let Some(served) = self.catalog.read().answering.get(name).cloned() else { return };
        tracing::info!(metric = name, "metric retired; its state is kept");
        self.factory.forget_note(name);
        let mut info = served.info(&self.view, &self.board);
        (info.state, info.since) = (MetricState::Retired, now());
        let beside: Vec<Arc<ServedRevision>> = {
            let mut catalog = self.catalog.write();
            catalog.answering.remove(name);
            let (newer, previous) = (catalog.newer.remove(name), catalog.previous.remove(name));
            let newer = newer.map(|newer| newer.served);
            let beside: Vec<_> = newer.into_iter().chain(previous.map(|previous| previous.served)).collect();
            let revisions = beside.iter().chain([&served]).map(|served| served.revision.clone()).collect();
            catalog.retired.insert(name.to_owned(), Retired { info, revisions });
            beside
        };
        self.release(&served);
        beside.iter().for_each(|served| self.release(served));
        self.note_roles();
    }

    /// Takes a revision that nothing asks any more out of its lane and, once that has let it go, out of memory; what it has counted
    /// stays stored.
    pub(super) fn release(&mut self, served: &Arc<ServedRevision>) {
        served.gone.store(true, Ordering::Release);
        if let Some(follower) = &served.follower {
            self.followers.remove(follower);
            follower.let_go();
        }
        if let Some(leaving) = self.leaving.iter_mut().find(|leaving| leaving.no == served.no) {
            leaving.what.then = Then::Gone;
        } else {
            match self.lane_of(served) {
                Some(lane) => self.take_out(served.clone(), &lane, Then::Gone),
                None => self.empty(served),
            }
        }
        self.see_off(PROMPT);
    }

    /// Lists what is refused, and what was found and cannot be served yet.
    pub(super) fn list_refusals(&mut self, rejected: Vec<RejectedFile>) {
        self.unserved.retain(|name, _| self.scan.code_of(name).is_some());
        let mut catalog = self.catalog.write();
        let known = std::mem::take(&mut catalog.rejected);
        let known: HashMap<(String, String), i64> =
            known.into_iter().map(|known| ((known.file, known.reason), known.since)).collect();
        let files = rejected.into_iter().map(|file| (file.file.display().to_string(), file.reason));
        let listed = files.chain(self.unserved.values().cloned()).map(|(file, reason)| {
            let since = known.get(&(file.clone(), reason.clone())).copied().unwrap_or_else(now);
            Rejected { file, reason, since }
        });
        catalog.rejected = listed.chain(self.scan.fault().cloned()).collect();
        catalog.loaded = self.scan.loaded();
    }
}
