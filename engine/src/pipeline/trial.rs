//! Counts records of a metric into a state of its own, without a lane, a source or a store: for who
//! wants to know what the metric would answer.
//!
//! Verdicts, duplicates, the calls of the plugin with what contains its failures, how a batch is
//! applied, and event types that count together are those of a lane. Nothing is committed, nothing
//! becomes a dead letter, and no pane expires. It ends where its state takes more memory than it
//! may. Not contained is a panic of the engine's own code: it ends the trial, which nobody else
//! needs.

use super::cell_limits::fold_types;
use super::containment::{Containment, PluginInput, PluginOutput, RUN};
use super::lane_status::LaneStatus;
use super::members::LaneMetric;
use super::metric_batch::MetricBatch;
use super::view::{Counted, MetricProgress, View};
use crate::decode::{Decoder, DedupeWindow, PropertyError, Refused};
use crate::event::{EventBatch, Record};
use crate::host;
use crate::state::{MetricId, TypeLimit};
use crate::store::RevisionId;
use parking_lot::RwLockReadGuard;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Records that are counted at a time: what a lane gives a plugin, too.
const BATCH: usize = 2_048;

/// What a trial needs.
pub struct TrialParts {
    /// The metric.
    pub plugin: Arc<host::Metric>,
    /// Turns records into events.
    pub decoder: Decoder,
    /// Number of offsets that a dedupe window spans.
    pub dedupe_window: u64,
    /// Which event types stand for themselves.
    pub types: TypeLimit,
    /// Most bytes of its state.
    pub memory: u64,
}

/// Counts records of a metric.
pub struct Trial {
    metric: LaneMetric,
    decoder: Decoder,
    dedupe_window: u64,
    windows: BTreeMap<u32, DedupeWindow>,
    view: View,
    status: LaneStatus,
    containment: Containment,
    batch: EventBatch,
    refused: Vec<Refused>,
    memory: u64,
    failed: u64,
}

/// Why no more records are counted. The same records end it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TrialEnd {
    /// The plugin fails on one event after the other.
    #[error(
        "its code failed on {RUN} events in a row, from offset {offset} of partition {partition} \
         on; the log says how"
    )]
    Failing {
        /// Where.
        partition: u32,
        /// The first of them.
        offset: u64,
    },
    /// Its state has grown too large.
    #[error("what is counted takes {held} bytes, and may take {most}")]
    Memory {
        /// Bytes that it takes.
        held: u64,
        /// Bytes that it may take.
        most: u64,
    },
}

impl Trial {
    /// One that has counted nothing.
    ///
    /// # Errors
    /// [`PropertyError`]: a property that the metric declares cannot be read.
    pub fn new(parts: TrialParts) -> Result<Trial, PropertyError> {
        let TrialParts { plugin, mut decoder, dedupe_window, types, memory } = parts;
        decoder.read_properties(&plugin.properties())?;
        let view = View::new(types);
        let id = view.add(plugin.description(), MetricProgress::default());
        let revision = RevisionId { metric: plugin.name().to_owned(), fingerprint: 0 };
        let metric = LaneMetric::alone(id, plugin, revision);
        Ok(Trial {
            metric,
            decoder,
            dedupe_window,
            windows: BTreeMap::new(),
            view,
            status: LaneStatus::default(),
            containment: Containment::default(),
            batch: EventBatch::default(),
            refused: Vec::new(),
            memory,
            failed: 0,
        })
    }

    /// Counts records of one partition, which follow those that were counted of it.
    ///
    /// # Errors
    /// [`TrialEnd`]: nothing more is to be counted.
    pub fn count(&mut self, partition: u32, records: &[Record<'_>]) -> Result<(), TrialEnd> {
        for records in records.chunks(BATCH) {
            self.decode(partition, records);
            let output = self.call_plugin(records);
            if let Some((offset, _)) = output.stops {
                return Err(TrialEnd::Failing { partition, offset });
            }
            self.apply(partition, &output)?;
        }
        Ok(())
    }

    /// The metric's number in what was counted.
    #[must_use]
    pub fn id(&self) -> MetricId {
        self.metric.id
    }

    /// What was counted.
    pub fn counted(&self) -> RwLockReadGuard<'_, Counted> {
        self.view.read()
    }

    /// Bytes of its state.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.view.read().state.size(self.metric.id).1
    }

    /// Events that are in none of its numbers: the plugin failed on them.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }

    fn decode(&mut self, partition: u32, records: &[Record<'_>]) {
        let Trial { decoder, dedupe_window, windows, batch, refused, .. } = self;
        let window = windows.entry(partition).or_insert_with(|| DedupeWindow::new(*dedupe_window));
        refused.clear();
        decoder.decode(partition, records, window, 0, batch, refused);
    }

    fn call_plugin(&mut self, records: &[Record<'_>]) -> PluginOutput {
        let Trial { metric, view, status, containment, batch, .. } = self;
        if !metric.plugin.needs_update() {
            return PluginOutput::default();
        }
        // What would become dead letters is dropped, and so is what names their topic.
        let input = PluginInput { batch, records, topic: "", status, view, call_mark: None };
        host::quietly(|| containment.update(metric, &input, 0))
    }

    fn apply(&mut self, partition: u32, output: &PluginOutput) -> Result<(), TrialEnd> {
        let (metric, skip, batch) = (&self.metric, &output.skip, &self.batch);
        let part = MetricBatch { metric, from: 0, output, skip, batch, partition };
        let mut counted = self.view.write();
        let (id, state) = (metric.id, &mut counted.state);
        state.begin(batch);
        // What is sealed is in the panes, and is not to be committed.
        part.apply(state, &mut Vec::new());
        drop(fold_types(id, state));
        self.failed += output.skip.len() as u64;
        let (held, most) = (state.size(id).1, self.memory);
        if held > most { Err(TrialEnd::Memory { held, most }) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
