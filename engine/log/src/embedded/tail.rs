//! Showing what is appended: an [`EmbeddedSource`] that starts where its caller says and skips what
//! the log dropped.

use super::log::SegmentLog;
use super::source::EmbeddedSource;
use crate::{LogError, Sink, Source, Start, Tail};
use std::sync::Arc;
use std::time::Duration;
use tally_event::Record;
use tally_progress::Position;

/// Reads all partitions from given offsets on.
pub(super) struct EmbeddedTail {
    source: EmbeddedSource,
    /// Where each partition starts, by its number.
    starts: Vec<u64>,
}

impl EmbeddedTail {
    /// A reader from `from` on; partitions that it does not name start at the end they have now.
    pub(super) fn new(log: &Arc<SegmentLog>, from: &Position) -> EmbeddedTail {
        let bounds = log.bounds().into_iter();
        let starts =
            bounds.map(|held| from.0.get(&held.partition).copied().unwrap_or(held.end)).collect();
        EmbeddedTail { source: EmbeddedSource::new(log.clone()), starts }
    }
}

impl Tail for EmbeddedTail {
    fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        each: &mut dyn FnMut(u32, &[Record<'_>]),
    ) -> Result<(), LogError> {
        let mut shown = Shown { starts: &self.starts, each, gaps: Vec::new() };
        let polled = self.source.poll(wait, max_records, &mut shown);
        for (partition, offset) in shown.gaps {
            self.source.rewind(partition, offset)?;
        }
        polled
    }
}

/// Hands records on, and notes where to go on behind a gap.
struct Shown<'a> {
    starts: &'a [u64],
    each: &'a mut dyn FnMut(u32, &[Record<'_>]),
    gaps: Vec<(u32, u64)>,
}

impl Sink for Shown<'_> {
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start> {
        let start = |partition: &u32| {
            self.starts.get(*partition as usize).map_or(Start::Earliest, |at| Start::At(*at))
        };
        partitions.iter().map(start).collect()
    }

    fn revoked(&mut self, _: &[u32], _: bool) {}

    fn records(&mut self, partition: u32, records: &[Record<'_>]) {
        (self.each)(partition, records);
    }

    fn passed(&mut self, _: u32, _: u64) {}

    fn gap(&mut self, partition: u32, _: u64, to: u64) {
        self.gaps.push((partition, to));
    }
}
