//! The metrics that a lane counts, and what it knows of each.
//!
//! Only the lane changes them: metrics join, leave, and receive other code. The rest of the
//! pipeline reads them. Holds no state of a metric and decides nothing.

use super::follower::Follower;
use crate::event::PropertySource;
use crate::host;
use crate::progress::{Event, History, Quarantine, RevisionNo};
use crate::state::MetricId;
use crate::store::RevisionId;
use crate::telemetry;
use std::ops::Range;
use std::sync::Arc;

/// A metric as a lane knows it.
pub struct LaneMetric {
    /// Its number in the machine.
    pub no: RevisionNo,
    /// Its number in the state.
    pub id: MetricId,
    /// Its revision in the store.
    pub revision: RevisionId,
    /// Written when its state is created: what the tables are.
    pub meta: Vec<u8>,
    /// The plugin.
    pub plugin: Arc<host::Metric>,
    /// Where it begins in partitions that it has never counted.
    pub history: History,
    /// Holds its cells where engines share the store; `None`: they are in the lane's view.
    pub follower: Option<Arc<Follower>>,
    /// First half of the SHA-256 of its plugin's file, in hexadecimal digits.
    pub code: String,
    /// Why its plugin must not be called; the metric is stopped when it joins.
    pub barred: Option<Quarantine>,
    /// Per partition the offsets that its plugin receives one by one, because the process ended
    /// among them before.
    pub suspected: Vec<(u32, Range<u64>)>,
}

impl LaneMetric {
    /// One that begins with the first record, alone: nothing is stored of it, and no other engine
    /// counts it.
    pub(super) fn alone(
        id: MetricId,
        plugin: Arc<host::Metric>,
        revision: RevisionId,
    ) -> LaneMetric {
        LaneMetric {
            no: RevisionNo(0),
            id,
            revision,
            meta: Vec::new(),
            plugin,
            history: History::Whole,
            follower: None,
            code: String::new(),
            barred: None,
            suspected: Vec::new(),
        }
    }
}

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneRole {
    /// It follows the end of the log: its records are new, and count in the engine's own metrics.
    Main,
    /// It replays history: its records are not new, and most were judged before.
    Backfill,
    /// It follows the log for a metric that reads events as `[events]` was configured before: the
    /// main lane reads the same records and judges them otherwise.
    Beside,
}

/// The metrics of a lane, in the order in which they joined.
#[derive(Default)]
pub(super) struct Members(Vec<LaneMetric>);

impl Members {
    pub(super) fn new(metrics: Vec<LaneMetric>) -> Members {
        Members(metrics)
    }

    pub(super) fn get(&self, no: RevisionNo) -> Option<&LaneMetric> {
        self.0.iter().find(|metric| metric.no == no)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LaneMetric> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, metric: LaneMetric) {
        self.0.push(metric);
    }

    pub(super) fn remove(&mut self, no: RevisionNo) {
        self.0.retain(|metric| metric.no != no);
    }

    /// Replaces a metric's code by that of another of the same revision, with what is known against
    /// it.
    pub(super) fn replace_code(&mut self, with: LaneMetric) {
        if let Some(metric) = self.0.iter_mut().find(|metric| metric.no == with.no) {
            telemetry::code_replaced(with.plugin.name());
            (metric.plugin, metric.code) = (with.plugin, with.code);
            (metric.barred, metric.suspected) = (with.barred, with.suspected);
        }
    }

    /// The properties of an event that the metrics declare.
    pub(super) fn properties(&self) -> Vec<PropertySource> {
        self.0.iter().flat_map(|metric| metric.plugin.properties()).collect()
    }

    /// The event that stops a metric whose plugin must not be called; `None`: it may be called.
    pub(super) fn barring_event(&self, no: RevisionNo) -> Option<Event> {
        let why = self.get(no)?.barred.clone()?;
        Some(Event::Quarantined(no, why))
    }
}
