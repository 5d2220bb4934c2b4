//! Which records the metrics have counted from the log, of those that the log no longer holds.
//!
//! A record that a metric began before and has not come to is neither: the metric may have read it
//! ahead, so it counts or is recorded as gone once the metric has passed its place. Only metrics
//! that read events as configured now are asked. Nothing is read from the log here.

use super::{Engine, StateUnavailable};
use crate::event::Position;
use crate::pipeline::Origin;
use crate::progress::{Progress, Span};
use crate::store::{StoreError, StoredRevision};
use std::collections::BTreeMap;

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

/// Where each metric began, what it found gone, and how far it has come.
#[derive(Default)]
pub(super) struct CountedRecords(pub(super) Vec<(BTreeMap<u32, Origin>, Position)>);

impl CountedRecords {
    /// Of a record at this place, which the log no longer holds.
    pub(super) fn fate(&self, partition: u32, offset: u64) -> CountedFate {
        let of = |(origins, position): &(BTreeMap<u32, Origin>, Position)| {
            let Some(origin) = origins.get(&partition) else { return CountedFate::Never };
            let gone = |gap: &Span| (gap.from..gap.to).contains(&offset);
            if offset < origin.start || origin.gaps.iter().any(gone) {
                return CountedFate::Never;
            }
            let next = position.0.get(&partition).copied().unwrap_or(0);
            if offset < next { CountedFate::Counted } else { CountedFate::Undecided }
        };
        self.0.iter().map(of).max().unwrap_or(CountedFate::Never)
    }
}

/// What is stored of a revision.
fn stored_records(
    stored: &StoredRevision,
) -> Result<(BTreeMap<u32, Origin>, Position), StoreError> {
    let (mut origins, mut position) = (BTreeMap::new(), Position::default());
    for (partition, progress) in &stored.progress {
        let record = Progress::decode(&progress.bytes)
            .map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
        position.0.insert(*partition, record.next);
        let Progress { start, gaps, .. } = record;
        origins.insert(*partition, Origin { start, gaps, ..Origin::default() });
    }
    Ok((origins, position))
}

impl Engine {
    /// What the metrics have counted by now.
    pub(super) fn counted_records(&self) -> Result<CountedRecords, StateUnavailable> {
        let served: Vec<_> = {
            let catalog = self.catalog.read();
            catalog.all().filter(|served| served.reads.is_none()).cloned().collect()
        };
        let mut counted = CountedRecords::default();
        for served in served {
            // What is in memory is never behind what is stored.
            if served.follower.is_none() && served.is_read(&self.view, false) {
                counted.0.push(served.origins(&self.view));
            } else if let Some(stored) = self.state_store.stored(&served.revision)? {
                counted.0.push(stored_records(&stored)?);
            }
        }
        Ok(counted)
    }
}
