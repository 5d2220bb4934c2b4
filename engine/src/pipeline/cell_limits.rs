//! Keeps the tables of metrics within `max_cells` and `[events] max_types`, and state within its
//! share of memory.
//!
//! A metric that holds more cells is stopped, or counts some of its keys together, as its section
//! says; one that holds more event types counts some of them together. `state` decides which keys
//! and moves them; `memory_share` decides which metrics stop for lack of memory.

use super::follower::FOLLOWED;
use super::members::{LaneMetric, Members};
use super::memory_share::MemoryShare;
use super::pending::Pending;
use super::view::View;
use crate::progress::{Quarantine, RevisionNo};
use crate::state::{MetricId, Sealed, State, Threshold};

/// The result of limiting a metric's tables.
pub(super) struct Limited {
    /// Whether keys were counted together.
    pub(super) folded: bool,
    /// Why the metric must stop, if it must.
    pub(super) over: Option<Quarantine>,
}

/// Counts some of a metric's event types together, if they are too many. Returns what was sealed for
/// it, by partition.
pub(super) fn fold_types(metric: MetricId, state: &mut State) -> Option<Vec<(u32, Sealed)>> {
    let to = state.thresholds_for_types(metric)?;
    Some(state.narrow(metric, &to))
}

/// Keeps a metric's tables in the lane's own state within their limits, by counting keys together
/// where that is allowed.
pub(super) fn limit_cells(
    metric: &LaneMetric,
    state: &mut State,
    pending: &mut Pending,
    memory_share: &MemoryShare,
) -> Limited {
    let types = fold_types(metric.id, state);
    let folds_types = types.is_some();
    if let Some(sealed) = types {
        pending.add(metric.no, sealed);
    }
    let over = over_max_cells(metric, state, metric.id);
    if over.is_none() || !metric.plugin.folds_overflow() {
        return Limited {
            folded: folds_types,
            over: over.or_else(|| memory_share.limit_exceeded(metric.id)),
        };
    }
    let to = state.thresholds_for(metric.id, metric.plugin.max_cells());
    let sealed = state.narrow(metric.id, &to);
    report_overflow(metric, &to);
    pending.add(metric.no, sealed);
    let over = over_max_cells(metric, state, metric.id);
    Limited { folded: true, over: over.or_else(|| memory_share.limit_exceeded(metric.id)) }
}

/// The metrics that hold too many cells or too much memory and must stop, and why; also those for
/// which no events come.
///
/// Where engines share a store, the cells are in the followers: a metric that holds too many there
/// stops or counts keys together, and what the lane counts is then folded in the same way.
pub(super) fn find_oversized(
    members: &Members,
    view: &View,
    memory_share: &MemoryShare,
    pending: &mut Pending,
) -> Vec<(RevisionNo, Quarantine)> {
    measure(members, view, memory_share);
    let mut oversized = Vec::new();
    for metric in members.iter() {
        let refused = metric.follower.as_ref().and_then(|follower| follower.refused());
        if let Some(why) = refused.or_else(|| memory_share.limit_exceeded(metric.id)) {
            // Otherwise what other engines commit would fill memory all the same.
            metric.follower.iter().for_each(|follower| follower.stop(&why));
            oversized.push((metric.no, why));
        }
    }
    for metric in members.iter() {
        let Some(follower) = &metric.follower else { continue };
        let mut over = over_max_cells(metric, &follower.read().state, FOLLOWED);
        if over.is_some() && metric.plugin.folds_overflow() {
            report_overflow(metric, &follower.narrow(metric.plugin.max_cells()));
            over = over_max_cells(metric, &follower.read().state, FOLLOWED);
        }
        oversized.extend(over.map(|why| (metric.no, why)));
        let there: Vec<Threshold> = follower.read().state.thresholds(FOLLOWED);
        if view
            .read()
            .state
            .thresholds(metric.id)
            .iter()
            .zip(&there)
            .any(|(here, there)| !here.covers(*there))
        {
            let sealed = view.write().state.narrow(metric.id, &there);
            pending.add(metric.no, sealed);
        }
    }
    oversized
}

/// Measures what metrics hold, if that is due.
fn measure(members: &Members, view: &View, memory_share: &MemoryShare) {
    let Some(first) = members.iter().next().map(|metric| metric.id) else { return };
    let of = |metric: &LaneMetric| {
        let followed =
            metric.follower.iter().map(|follower| follower.read().state.size(FOLLOWED).1);
        followed.for_each(|there| memory_share.record_followed(metric.id, there));
        (metric.id, view.read().state.size(metric.id).1)
    };
    match members.iter().any(|metric| metric.follower.is_some()) {
        true => memory_share.measure(first, || members.iter().map(of).collect::<Vec<_>>()),
        false => memory_share.measure(first, || view.read().state.sizes()),
    }
}

/// Why a metric must stop, if one of its tables has become too large.
fn over_max_cells(metric: &LaneMetric, state: &State, id: MetricId) -> Option<Quarantine> {
    let max = metric.plugin.max_cells();
    let (table, cells) = state.over(id, max)?;
    Some(Quarantine::OverMaxCells { table, cells, max })
}

fn report_overflow(metric: &LaneMetric, to: &[Threshold]) {
    let tables = metric.plugin.description().tables.iter().zip(to);
    for (table, threshold) in tables.filter(|(_, threshold)| threshold.bits() > 0) {
        let (name, max, bits) = (metric.plugin.name(), metric.plugin.max_cells(), threshold.bits());
        tracing::warn!(
            metric = name,
            "table {} has more than max_cells = {max} cells: it keeps one key in 2^{bits}, chosen \
             by hash; the others count under __other__ (overflow = \"other\")",
            table.name
        );
    }
}
