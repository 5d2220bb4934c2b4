//! Two revisions of a metric: the newer one counts its history beside the one that answers and
//! replaces it in one step; the previous one receives events for a while longer, so that a rollback
//! is one step too.
//!
//! Carries out what `reconcile` decided, and notes it: which revision answers, and what a person
//! decided on a newer one, outlives the engine (`notebook`).

use super::manager::PluginManager;
use super::notebook::{NotedCode, NotedMetric, NotedMetrics, NotedNewer, NotedPrevious};
use super::reconcile::HeldBack;
use crate::engine::catalog::{NewerRevision, PreviousRevision, PromotionWish, ServedRevision};
use crate::engine::evaluate::now;
use crate::event::Position;
use std::sync::Arc;
use std::time::Instant;

impl PluginManager {
    /// Counts the folder's revision beside the one that answers.
    pub(super) fn admit_newer(&mut self, name: &str, waits: bool) {
        let what = "another revision: it counts its history while the present one answers";
        let Some(served) = self.place_code_of(name, what) else { return };
        let newer = NewerRevision::new(served, PromotionWish { waits, accepted: None });
        self.catalog.write().newer.insert(name.to_owned(), newer);
        self.note_roles();
    }

    /// Stops counting the newer revision.
    pub(super) fn drop_newer(&mut self, name: &str) {
        let newer = self.catalog.write().newer.remove(name);
        if let Some(newer) = newer {
            self.release(&newer.served);
            self.note_roles();
        }
    }

    /// Stops feeding the previous revision.
    pub(super) fn release_previous(&mut self, name: &str) {
        let previous = self.catalog.write().previous.remove(name);
        if let Some(previous) = previous {
            tracing::info!(metric = name, "the previous revision no longer receives events");
            self.release(&previous.served);
        }
    }

    /// Notes what this pass found of the newer revision.
    pub(super) fn note_newer(
        &self,
        name: &str,
        goal: Position,
        ready: bool,
        held: Option<&HeldBack>,
    ) {
        let held = held.map(|held| held.describe(name));
        let mut catalog = self.catalog.write();
        let Some(newer) = catalog.newer.get_mut(name) else { return };
        if let (None, Some(why)) = (&newer.held, &held) {
            tracing::warn!(metric = name, "the newer revision is not promoted by itself: {why}");
        }
        (newer.goal, newer.ready, newer.held) = (Some(goal), ready, held);
    }

    /// Notes that a person promotes the newer revision although its code failed on so many events:
    /// it answers once it has counted.
    pub(super) fn accept(&mut self, name: &str, failed: u64) {
        if let Some(newer) = self.catalog.write().newer.get_mut(name) {
            (newer.wish, newer.held) =
                (PromotionWish { waits: false, accepted: Some(failed) }, None);
        }
        self.note_roles();
    }

    /// Has the newer revision answer.
    pub(super) fn promote(&mut self, name: &str) {
        let (served, older) = {
            let mut catalog = self.catalog.write();
            let Some(newer) = catalog.newer.remove(name) else { return };
            let served = newer.served;
            let keep = served.askable.plugin.keep_old();
            let until = Instant::now() + keep;
            let until_ms =
                now().saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
            let old = catalog.answering.insert(name.to_owned(), served.clone());
            let previous = |served| PreviousRevision { served, until, until_ms };
            let older = old.and_then(|old| catalog.previous.insert(name.to_owned(), previous(old)));
            (served, older)
        };
        let released = older.map(|older| older.served);
        self.take_over(name, &served, released, "the new revision answers");
    }

    /// Has the previous revision answer again; the one that answered becomes the newer one, and
    /// waits for a promote.
    pub(super) fn rollback(&mut self, name: &str) {
        let (served, dropped) = {
            let mut catalog = self.catalog.write();
            let Some(previous) = catalog.previous.remove(name) else { return };
            let current = catalog.answering.insert(name.to_owned(), previous.served.clone());
            let wish = PromotionWish { waits: true, accepted: None };
            let dropped = current.and_then(|served| {
                catalog.newer.insert(name.to_owned(), NewerRevision::new(served, wish))
            });
            (previous.served, dropped)
        };
        let released = dropped.map(|newer| newer.served);
        self.take_over(name, &served, released, "the previous revision answers again");
    }

    /// Notes that this revision answers from now on, says `what` that is, and releases the one that
    /// has no role any more.
    fn take_over(
        &mut self,
        name: &str,
        served: &ServedRevision,
        released: Option<Arc<ServedRevision>>,
        what: &str,
    ) {
        self.factory.answers_now(&served.revision);
        tracing::info!(metric = name, version = served.askable.plugin.version(), "{what}");
        if let Some(released) = released {
            self.release(&released);
        }
        self.note_roles();
    }

    /// Notes what outlives the engine, if it is not noted yet.
    pub(super) fn note_roles(&mut self) {
        let catalog = self.catalog.read();
        let code = |served: &ServedRevision| {
            let plugin = &served.askable.plugin;
            let (sha256, section) = (plugin.sha256().to_owned(), plugin.section().clone());
            NotedCode { sha256, section, revision: Some(served.number()) }
        };
        let noted = |(name, served): (&String, &Arc<ServedRevision>)| {
            let newer = catalog.newer.get(name);
            let previous = catalog.previous.get(name);
            let noted = NotedMetric {
                answering: code(served),
                held: newer.is_some_and(|newer| newer.wish.waits),
                newer: newer
                    .map(|newer| NotedNewer { revision: newer.served.number(), will: newer.wish }),
                before: previous.map(|previous| NotedPrevious {
                    code: code(&previous.served),
                    until: previous.until_ms,
                }),
            };
            (name.clone(), noted)
        };
        let all: NotedMetrics = catalog.answering.iter().map(noted).collect();
        // A metric that is not served, because its file is refused or missing today, may be served
        // tomorrow.
        let retired: Vec<&str> = catalog.retired.keys().map(String::as_str).collect();
        self.notebook.note(all, &retired);
    }
}
