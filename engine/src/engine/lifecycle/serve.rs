//! Serves metrics, retires them, and releases revisions that are no longer served.
//!
//! Carries out what `reconcile` decided. A metric that cannot be served is listed with the reason,
//! and proposed again by the next pass.

use super::leave::Then;
use super::manager::PluginManager;
use super::roles::Reading;
use crate::engine::MetricState;
use crate::engine::Rejected;
use crate::engine::catalog::{Retired, ServedRevision, Stage};
use crate::engine::evaluate::now;
use crate::host::RejectedFile;
use crate::pipeline::{MetricProgress, Target};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long other work waits for a lane to release a metric.
const PROMPT: Duration = Duration::from_secs(2);

/// Retired metrics that are listed. Of more, those that were retired first are not; what is stored
/// of them can be purged as before.
const MOST_RETIRED: usize = 1_000;

/// The notice of a revision that has just got its place.
const WAITS: &str = "it waits for a lane";

/// A metric that was found and cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unserved {
    /// The plugin file.
    pub(super) file: String,
    /// Why.
    pub(super) reason: String,
}

impl PluginManager {
    /// Begins to serve a metric: it counts its history first.
    pub(super) fn admit(&mut self, name: &str) {
        let Some(served) = self.place_code_of(name, "metric loaded; it counts its history") else {
            return;
        };
        let mut catalog = self.catalog.write();
        catalog.retired.remove(name);
        catalog.answering.insert(name.to_owned(), served);
    }

    /// Gives the folder's code of a metric its place in state, and says `what` that means.
    pub(super) fn place_code_of(&mut self, name: &str, what: &str) -> Option<Arc<ServedRevision>> {
        let plugin = self.scan.code_of(name)?;
        let served = self.place(&Reading::configured(&plugin))?;
        self.follow(&served);
        tracing::info!(metric = name, version = plugin.version(), "{what}");
        Some(served)
    }

    /// Gives a revision its place in state; it waits for a lane.
    pub(super) fn place(&mut self, reading: &Reading) -> Option<Arc<ServedRevision>> {
        let plugin = &reading.plugin;
        let ahead = self.ahead().unwrap_or_default();
        // One that reads otherwise never joins the others: its own lane says how far it has to go.
        let target =
            if reading.reads.is_none() { Target::Others(ahead) } else { Target::Unknown(ahead) };
        let progress = MetricProgress { since: now(), target, ..MetricProgress::default() };
        match self.factory.serve(reading, &self.view, progress) {
            Ok(served) => {
                self.unserved.remove(plugin.name());
                *served.stage.write() = Stage::Waiting(WAITS.into());
                Some(Arc::new(served))
            }
            Err(fault) => {
                let unserved = Unserved {
                    file: plugin.file().display().to_string(),
                    reason: fault.to_string(),
                };
                if self.unserved.get(plugin.name()) != Some(&unserved) {
                    let outlook = if fault.retry_helps() { ", trying again" } else { "" };
                    tracing::error!(
                        metric = plugin.name(),
                        "the metric cannot be served{outlook}: {fault}"
                    );
                    self.unserved.insert(plugin.name().to_owned(), unserved);
                }
                None
            }
        }
    }

    /// Where engines share a store: has its follower read the store, from which it answers.
    pub(super) fn follow(&self, served: &ServedRevision) {
        let Some(follower) = &served.follower else { return };
        if let Err(fault) = follower.refresh(Instant::now()) {
            tracing::warn!(
                metric = served.askable.plugin.name(),
                "its state cannot be read yet: {fault}"
            );
        }
        // Otherwise its lane says how far it has to go.
        if let Some(ahead) = self.followers.ahead() {
            follower.set_target(&ahead);
        }
        self.followers.add(follower.clone());
    }

    /// Stops serving a metric; what it has counted stays stored.
    pub(super) fn retire(&mut self, name: &str) {
        let Some(served) = self.catalog.read().answering.get(name).cloned() else { return };
        tracing::info!(metric = name, "metric retired; its state is kept");
        self.factory.forget_note(name);
        let mut info = served.info(&self.view, &self.status);
        (info.state, info.since) = (MetricState::Retired, now());
        let beside: Vec<Arc<ServedRevision>> = {
            let mut catalog = self.catalog.write();
            catalog.answering.remove(name);
            let (newer, previous) = (catalog.newer.remove(name), catalog.previous.remove(name));
            let newer = newer.map(|newer| newer.served);
            let beside: Vec<_> =
                newer.into_iter().chain(previous.map(|previous| previous.served)).collect();
            let revisions =
                beside.iter().chain([&served]).map(|served| served.revision.clone()).collect();
            catalog.retired.insert(name.to_owned(), Retired { info, revisions });
            keep_latest(&mut catalog.retired, MOST_RETIRED, |retired| retired.info.since);
            beside
        };
        self.release(&served);
        beside.iter().for_each(|served| self.release(served));
        self.note_roles();
    }

    /// Takes a revision that is no longer asked out of its lane and, once the lane has released it,
    /// out of memory; what it has counted stays stored.
    pub(super) fn release(&mut self, served: &Arc<ServedRevision>) {
        served.gone.store(true, Ordering::Release);
        // The same revision may have another place.
        if !self.catalog.read().all().any(|other| other.revision == served.revision) {
            self.tried.remove(&served.revision);
        }
        if let Some(follower) = &served.follower {
            self.followers.remove(follower);
            follower.release();
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

    /// Lists the refused files and sections, and the metrics that were found and cannot be served.
    pub(super) fn list_refusals(&mut self, rejected: Vec<RejectedFile>) {
        self.unserved.retain(|name, _| self.scan.code_of(name).is_some());
        let mut catalog = self.catalog.write();
        let known = std::mem::take(&mut catalog.rejected);
        let known: HashMap<(String, String), i64> =
            known.into_iter().map(|known| ((known.file, known.reason), known.since)).collect();
        let files = rejected.into_iter().map(|file| (file.file.display().to_string(), file.reason));
        let unserved =
            self.unserved.values().cloned().map(|unserved| (unserved.file, unserved.reason));
        let listed = files.chain(unserved).map(|(file, reason)| {
            let since = known.get(&(file.clone(), reason.clone())).copied().unwrap_or_else(now);
            Rejected { file, reason, since }
        });
        catalog.rejected = listed.chain(self.scan.faults().cloned()).collect();
        catalog.loaded = self.scan.loaded();
    }
}

/// Drops those of longest ago while there are more than `most`.
fn keep_latest<T>(all: &mut BTreeMap<String, T>, most: usize, since: impl Fn(&T) -> i64) {
    while all.len() > most {
        let first = all.iter().min_by_key(|(_, one)| since(one)).map(|(name, _)| name.clone());
        first.map(|name| all.remove(&name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_longest_ago_are_dropped() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let mut all: BTreeMap<String, i64> = names.into_iter().zip([3, 1, 2, 4]).collect();
        keep_latest(&mut all, 2, |since| *since);
        assert_eq!(all.into_keys().collect::<Vec<_>>(), ["a", "d"]);
    }
}
