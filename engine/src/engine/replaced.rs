//! Other code of a revision that is counted: it takes the place of the code before, and the state stays as it is.
//!
//! What the state lacks it lacks on, which is said. It decides nothing about revisions.

use super::life::Work;
use super::recall::Reading;
use super::roster::{Served, Stage, events_failed};
use super::watchdog;
use crate::pipeline::{Command, Origin, Untold};
use crate::plugin;
use crate::telemetry;
use std::sync::Arc;

impl Work {
    /// Other code of a revision that is counted.
    pub(super) fn replace(&mut self, before: &Arc<Served>, plugin: &Arc<plugin::Metric>) {
        let (name, failed) = (plugin.name(), Origin::failed(&before.origins(&self.parts.view).0));
        if failed > 0 {
            tracing::warn!(
                metric = name,
                "the state stays with the new code, and so does what it lacks: {}",
                events_failed(name, failed)
            );
        }
        if before.halt(&self.parts.board).is_some() {
            return self.begin_again(before, plugin);
        }
        match before.with_code(plugin) {
            Ok(served) => self.swap(before, Arc::new(served)),
            Err(reason) => tracing::error!(metric = plugin.name(), "the new code cannot be served: {reason}"),
        }
    }

    /// Has a revision that stands still go on from where it is stored, with this code: in another lane, in the role that it has, and reading
    /// events as it did.
    pub(super) fn begin_again(&mut self, before: &Arc<Served>, plugin: &Arc<plugin::Metric>) {
        let Some(served) = self.place(&Reading { plugin: plugin.clone(), reads: before.reads.clone() }) else { return };
        tracing::info!(metric = plugin.name(), version = plugin.version(), "it goes on from where it is stored");
        // Before anybody can ask it, and so have it loaded: it may become as large as what it takes the place of.
        let room = &self.parts.lanes.room;
        room.hand_over(before.id, served.id, room.held(before.id));
        self.parts.roster.write().put_in_place_of(before, &served);
        // Not both at once: what is held of the other goes first.
        self.release(before);
        self.follow(&served);
        match served.reads {
            Some(_) => self.parts.beside.push(served),
            None => self.parts.waiting.push(served),
        }
        self.write_down();
    }

    fn swap(&mut self, before: &Arc<Served>, served: Arc<Served>) {
        let plugin = &served.askable.plugin;
        let is = |metric: &Arc<Served>| metric.no == before.no;
        let lane = match &*served.stage.read() {
            Stage::Main => Some(&self.parts.main),
            _ => {
                let mut lanes = self.backfills.iter().chain(&self.besides);
                lanes.find(|lane| lane.metrics.iter().any(is)).map(|lane| &lane.handle)
            }
        };
        // One that has ended calls nobody any more.
        let told = lane.map(|lane| lane.tell(Command::Swap(Box::new(self.parts.lanes.metric(&served)))));
        if told == Some(Err(Untold::Busy)) {
            // What is found in the folder is still another: the next look comes here again.
            return tracing::warn!(metric = plugin.name(), "its lane takes no commands; its code is replaced later");
        }
        let stalled = watchdog::stalled(&self.parts.roster.read(), before, &self.parts.board);
        match stalled {
            None => tracing::info!(metric = plugin.name(), version = plugin.version(), "code replaced, state stays"),
            Some(why) => tracing::warn!(
                metric = plugin.name(),
                "the new code is not called yet, for {why}: end the engine and start it again, and it counts on from what is stored"
            ),
        }
        if told != Some(Ok(())) {
            // Else its lane says so, once it calls the new code.
            telemetry::swapped(plugin.name());
        }
        let lanes = self.backfills.iter_mut().chain(&mut self.besides);
        let counted = lanes.flat_map(|lane| &mut lane.metrics);
        let leaving = self.leaving.iter_mut().map(|leaving| &mut leaving.what.served);
        let everywhere = counted.chain(leaving).chain(&mut self.parts.waiting).chain(&mut self.parts.beside);
        everywhere.filter(|metric| is(metric)).for_each(|metric| *metric = served.clone());
        let mut roster = self.parts.roster.write();
        match roster.next.get_mut(plugin.name()).filter(|next| Arc::ptr_eq(&next.served, before)) {
            Some(next) => next.served = served.clone(),
            None => drop(roster.served.insert(plugin.name().to_owned(), served.clone())),
        }
    }
}
