//! Which records the metrics have counted from the log, of those that the log no longer holds, and
//! of those whose letters a lane need not write.
//!
//! It is not known of a record that a metric began before and has not come to: the metric may have
//! read it ahead, so it counts or is recorded as gone once the metric has passed its place. The same
//! holds of all records of a partition in which a metric has counted nothing yet, while what is
//! stored of it is loaded or its history is counted. Only metrics that read events as configured now
//! are asked. Nothing is read from the log here.

use super::catalog::{MetricCatalog, ServedRevision, Stage};
use super::{Engine, StateUnavailable};
use crate::event::Position;
use crate::pipeline::{Coverage, JudgedRanges, MetricProgress, Target, View};
use crate::progress::{Progress, Span};
use crate::store::{Store, StoreError, StoredRevision};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of a record that the log no longer holds. The greater of two metrics' is that of
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CountedFate {
    /// No metric counted it, and none will.
    Never,
    /// A metric has not come to it, and may still have it.
    Undecided,
    /// A metric counted it.
    Counted,
}

/// What one metric has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedMetric {
    /// By partition, where it began and what it found gone.
    pub(super) coverages: BTreeMap<u32, Coverage>,
    /// How far it has come.
    pub(super) position: Position,
    /// Whether it is being loaded, or has not counted all of its history: it may have read records
    /// of partitions ahead that it has no coverage of yet.
    pub(super) is_behind: bool,
}

impl CountedMetric {
    /// What is in memory, which is never behind what is stored.
    fn in_memory(progress: &MetricProgress) -> CountedMetric {
        CountedMetric {
            coverages: progress.coverages.clone(),
            position: progress.position.clone(),
            is_behind: progress.target != Target::Reached,
        }
    }

    fn stored(stored: &StoredRevision, is_behind: bool) -> Result<CountedMetric, StoreError> {
        let mut counted = CountedMetric { is_behind, ..CountedMetric::default() };
        for (partition, progress) in &stored.progress {
            let record = Progress::decode(&progress.bytes)
                .map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
            counted.position.0.insert(*partition, record.next);
            let Progress { start, gaps, .. } = record;
            counted.coverages.insert(*partition, Coverage { start, gaps, ..Coverage::default() });
        }
        Ok(counted)
    }

    fn fate(&self, partition: u32, offset: u64) -> CountedFate {
        let Some(coverage) = self.coverages.get(&partition) else {
            return if self.is_behind { CountedFate::Undecided } else { CountedFate::Never };
        };
        let gone = |gap: &Span| (gap.from..gap.to).contains(&offset);
        if offset < coverage.start || coverage.gaps.iter().any(gone) {
            return CountedFate::Never;
        }
        let next = self.position.0.get(&partition).copied().unwrap_or(0);
        if offset < next { CountedFate::Counted } else { CountedFate::Undecided }
    }
}

/// What each metric has counted.
pub(super) struct CountedRecords(pub(super) Vec<CountedMetric>);

impl CountedRecords {
    /// Of a record at this place, which the log no longer holds.
    pub(super) fn fate(&self, partition: u32, offset: u64) -> CountedFate {
        let fates = self.0.iter().map(|metric| metric.fate(partition, offset));
        fates.max().unwrap_or(CountedFate::Never)
    }
}

impl Engine {
    /// What the metrics have counted by now.
    pub(super) fn counted_records(&self) -> Result<CountedRecords, StateUnavailable> {
        let served = reading_as_configured(&self.catalog);
        let counted =
            served.iter().map(|served| counted_by(served, &self.view, &*self.state_store));
        Ok(CountedRecords(counted.collect::<Result<_, StoreError>>()?))
    }
}

/// What was judged as events are read now, because a metric has counted it. What is not known of a
/// metric because its state cannot be read is judged again: letters that are kept are not written
/// twice.
pub(super) fn judged_before(
    catalog: &RwLock<MetricCatalog>,
    view: &View,
    store: &dyn Store,
) -> JudgedRanges {
    let mut judged = JudgedRanges::default();
    for served in reading_as_configured(catalog) {
        match counted_by(&served, view, store) {
            Ok(counted) => judged.add(&counted.coverages, &counted.position),
            Err(fault) => tracing::debug!(
                metric = served.revision.metric,
                "it is not known what it has counted: {fault}"
            ),
        }
    }
    judged
}

/// The metrics that read events as configured now.
fn reading_as_configured(catalog: &RwLock<MetricCatalog>) -> Vec<Arc<ServedRevision>> {
    catalog.read().all().filter(|served| served.reads.is_none()).cloned().collect()
}

/// What a metric has counted.
fn counted_by(
    served: &ServedRevision,
    view: &View,
    store: &dyn Store,
) -> Result<CountedMetric, StoreError> {
    // Without a lane it reads nothing: it will begin with what the log holds then.
    let has_lane = !matches!(&*served.stage.read(), Stage::Waiting(_) | Stage::Stopped { .. });
    // Asked before the store is: of one that is not behind, all that it counted is stored then.
    let is_behind = match &served.follower {
        None => {
            let counted = view.read();
            let progress = &counted.metrics[served.id.0];
            if progress.is_known() {
                return Ok(CountedMetric::in_memory(progress));
            }
            has_lane
        }
        // Other engines may count it, whether this one does or not.
        Some(follower) => follower.read().target != Target::Reached,
    };
    match store.stored(&served.revision)? {
        Some(stored) => CountedMetric::stored(&stored, is_behind),
        None => Ok(CountedMetric { is_behind, ..CountedMetric::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metric that counted partition 0 from 5 up to 10, but for two records that were gone.
    fn progress(target: Target) -> MetricProgress {
        let coverage =
            Coverage { start: 5, gaps: vec![Span { from: 6, to: 8 }], ..Coverage::default() };
        MetricProgress {
            coverages: BTreeMap::from([(0, coverage)]),
            position: Position(BTreeMap::from([(0, 10)])),
            target,
            ..MetricProgress::default()
        }
    }

    #[test]
    fn where_a_metric_has_counted_its_place_decides() {
        use CountedFate::{Counted, Never, Undecided};
        let fate = |target, offset| CountedMetric::in_memory(&progress(target)).fate(0, offset);
        for target in [Target::Reached, Target::Unknown(Position::default())] {
            let fates = [4, 5, 7, 9, 10].map(|offset| fate(target.clone(), offset));
            assert_eq!(fates, [Never, Counted, Never, Counted, Undecided]);
        }
    }

    #[test]
    fn where_a_metric_has_counted_nothing_yet_it_may_have_read_ahead_while_it_is_behind() {
        let fate = |target| CountedMetric::in_memory(&progress(target)).fate(1, 3);
        let end = Position(BTreeMap::from([(1, 20)]));
        for behind in [Target::Unknown(end.clone()), Target::End(end.clone()), Target::Others(end)]
        {
            assert_eq!(fate(behind.clone()), CountedFate::Undecided, "{behind:?}");
        }
        assert_eq!(fate(Target::Reached), CountedFate::Never);
        // What one metric counted stays counted, whatever others still load.
        let loading = CountedMetric { is_behind: true, ..CountedMetric::default() };
        let counted = CountedMetric::in_memory(&progress(Target::Reached));
        let both = CountedRecords(vec![loading, counted]);
        assert_eq!(both.fate(0, 5), CountedFate::Counted);
        assert_eq!(both.fate(0, 4), CountedFate::Undecided);
    }
}
