//! Keeps tables within `max_cells` and `[events] max_types`: one that holds more cells stops its metric, or counts some of its keys
//! together, as the metric's section says; one that holds more event types counts some of them together. Which those are, and
//! how they are moved, is `state`'s. And keeps state within its share of memory, where it stops metrics as `room` says.

use super::counting::{Counting, Metric, Unstored};
use super::effects::Driver;
use super::follower::FOLLOWED;
use super::room::Room;
use crate::progress::{Event, Quarantine, RevisionNo};
use crate::state::{MetricId, Sealed, State, Threshold};
use std::collections::HashMap;

impl Metric {
    /// Why it must not count on, if a table has become too large.
    fn over(&self, state: &State, id: MetricId) -> Option<Quarantine> {
        let max = self.plugin.max_cells();
        let (table, cells) = state.over(id, max)?;
        Some(Quarantine::OverMaxCells { table, cells, max })
    }

    /// The same of the lane's own state, once keys were counted together where that is allowed; and whether they were.
    pub(super) fn bound(
        &self,
        state: &mut State,
        unstored: &mut HashMap<(RevisionNo, u32), Unstored>,
        room: &Room,
    ) -> (bool, Option<Quarantine>) {
        let types = state.thresholds_for_types(self.id);
        if let Some(to) = &types {
            let sealed = state.narrow(self.id, to);
            keep(unstored, self.no, sealed);
        }
        let over = self.over(state, self.id);
        if over.is_none() || !self.plugin.folds_overflow() {
            return (types.is_some(), over.or_else(|| room.over(self.id)));
        }
        let to = state.thresholds_for(self.id, self.plugin.max_cells());
        let sealed = state.narrow(self.id, &to);
        self.say(&to);
        keep(unstored, self.no, sealed);
        (true, self.over(state, self.id).or_else(|| room.over(self.id)))
    }

    fn say(&self, to: &[Threshold]) {
        let tables = self.plugin.description().tables.iter().zip(to);
        for (table, threshold) in tables.filter(|(_, threshold)| threshold.bits() > 0) {
            let (metric, max) = (self.plugin.name(), self.plugin.max_cells());
            tracing::warn!(
                metric,
                "table {}: more than max_cells = {max}: it keeps one key in 2^{} by hash; the others count under __other__ (overflow = \"other\")",
                table.name,
                threshold.bits()
            );
        }
    }
}

impl Counting {
    /// Looks whether metrics hold too much, also where nothing comes. Where engines share a store, the cells are in what is followed: a
    /// metric that holds too many there stops or counts keys together, and what the lane counts is folded as it is there.
    pub(super) fn look_at_followers(&mut self, driver: &mut Driver) {
        let mut stopped = Vec::new();
        let of = |metric: &Metric| {
            let followed = metric.follower.iter().map(|follower| follower.read().state.size(FOLLOWED).1);
            followed.for_each(|there| self.room.note_followed(metric.id, there));
            (metric.id, self.view.read().state.size(metric.id).1)
        };
        let Some(who) = self.metrics.first().map(|metric| metric.id) else { return };
        match self.metrics.iter().any(|metric| metric.follower.is_some()) {
            true => self.room.look(who, || self.metrics.iter().map(of).collect::<Vec<_>>()),
            false => self.room.look(who, || self.view.read().state.sizes()),
        }
        for metric in &self.metrics {
            let refused = metric.follower.as_ref().and_then(|follower| follower.refused());
            if let Some(why) = refused.or_else(|| self.room.over(metric.id)) {
                // It follows no further: what others commit would fill memory all the same.
                metric.follower.iter().for_each(|follower| follower.stop());
                stopped.push((metric.no, why));
            }
        }
        for metric in &self.metrics {
            let Some(follower) = &metric.follower else { continue };
            let mut over = metric.over(&follower.read().state, FOLLOWED);
            if over.is_some() && metric.plugin.folds_overflow() {
                metric.say(&follower.narrow(metric.plugin.max_cells()));
                over = metric.over(&follower.read().state, FOLLOWED);
            }
            stopped.extend(over.map(|why| (metric.no, why)));
            let there: Vec<Threshold> = follower.read().state.thresholds(FOLLOWED);
            if self.view.read().state.thresholds(metric.id).iter().zip(&there).any(|(here, there)| !here.covers(*there))
            {
                let sealed = self.view.write().state.narrow(metric.id, &there);
                keep(&mut self.unstored, metric.no, sealed);
            }
        }
        for (no, why) in stopped {
            let halted = self.machine.halts().any(|(halted, partition, _)| halted == no && partition.is_none());
            if !halted {
                driver.tell(self, Event::Quarantined(no, why));
            }
        }
    }
}

/// What was sealed on the way goes into the next commit.
fn keep(unstored: &mut HashMap<(RevisionNo, u32), Unstored>, no: RevisionNo, sealed: Vec<(u32, Sealed)>) {
    for (partition, sealed) in sealed {
        unstored.entry((no, partition)).or_default().open.push(sealed);
    }
}
