//! A batch as one metric counts it: its rows into the metric's tables, sealed where a table is full; at once, or one by one where a
//! panic is looked for.
//!
//! After a panic the metric's state is in doubt, and the caller drops it. Knows no progress and no store.

use super::containment::PluginOutput;
use super::members::LaneMetric;
use super::panicking_records::{PanickingRecords, contained};
use crate::dead_letter::DeadLetter;
use crate::event::{EventBatch, Record};
use crate::failpoint::poisoned;
use crate::state::{Sealed, State};
use std::ops::Range;

/// The reason of dead letters of events on which the engine's own work for a metric panicked.
const INTERNAL_ERROR: &str = "internal_error";

/// What is counted.
pub(super) struct MetricBatch<'a> {
    pub(super) metric: &'a LaneMetric,
    /// Offset from which on rows count.
    pub(super) from: u64,
    /// What the plugin made of the batch.
    pub(super) output: &'a PluginOutput,
    /// Rows that do not count, ascending.
    pub(super) skip: &'a [u32],
    pub(super) batch: &'a EventBatch,
    pub(super) partition: u32,
}

/// Counting panicked.
pub(super) struct Panicked {
    /// Offsets of which one is to blame.
    pub(super) at: Range<u64>,
    /// What it said.
    pub(super) what: String,
}

impl MetricBatch<'_> {
    /// Counts all of it. How many table updates that were; what had to be sealed before is added to `open`.
    ///
    /// # Errors
    /// Somewhere it panicked.
    pub(super) fn at_once(&self, state: &mut State, open: &mut Vec<Sealed>) -> Result<u64, Panicked> {
        let done = contained(|| {
            if state.must_seal(self.metric.id, self.partition, self.batch.len()) {
                open.push(state.seal(self.metric.id, self.partition));
            }
            self.compute(state);
            self.poisoned(self.first()..self.batch.len());
            state.apply_without(self.metric.id, self.batch, self.from, &self.output.updates, self.skip)
        });
        done.map_err(|what| Panicked { at: self.from..self.batch.to.max(self.from + 1), what })
    }

    /// Counts, seals and writes it row by row, for a value may be what a seal or a frame cannot take.
    ///
    /// # Errors
    /// Of the first row on which it panicked.
    pub(super) fn one_by_one(&self, state: &mut State, open: &mut Vec<Sealed>) -> Result<u64, Panicked> {
        let at = |row: usize| self.batch.offsets.get(row).copied().unwrap_or(self.from);
        let mut counted = 0;
        let computed = contained(|| self.compute(state));
        computed.map_err(|what| Panicked { at: at(self.first())..at(self.first()) + 1, what })?;
        for row in self.first()..self.batch.len() {
            if self.skip.binary_search(&(row as u32)).is_ok() {
                continue;
            }
            let rows = contained(|| {
                self.poisoned(row..row + 1);
                let rows = state.apply_rows(self.metric.id, self.batch, row..row + 1, &self.output.updates);
                let sealed = state.seal(self.metric.id, self.partition);
                drop(state.frames(self.metric.id, &[&sealed]));
                open.push(sealed);
                rows
            });
            counted += rows.map_err(|what| Panicked { at: at(row)..at(row) + 1, what })?;
        }
        Ok(counted)
    }

    /// Dead letters of the rows that are left out because counting panicked on them.
    pub(super) fn letters<'a>(
        &'a self,
        records: &'a [Record<'a>],
        topic: &'a str,
        panicking: &'a PanickingRecords,
    ) -> impl Iterator<Item = DeadLetter> + 'a {
        let offsets = self.skip.iter().map(|row| self.batch.offsets[*row as usize]);
        let mine =
            move |offset: &u64| *offset >= self.from && panicking.leaves_out(self.metric.no, self.partition, *offset);
        offsets.filter(mine).map(move |offset| {
            let record = records.binary_search_by_key(&offset, |record| record.offset).map(|at| records[at]);
            let (time, payload) = record.map_or((0, None), |record| (record.timestamp_ms, record.payload));
            DeadLetter::new(INTERNAL_ERROR, topic, self.partition, offset, time, payload)
        })
    }

    /// The first row that counts.
    fn first(&self) -> usize {
        self.batch.offsets.partition_point(|offset| *offset < self.from)
    }

    /// Also if it handed over none: what is there is another metric's.
    fn compute(&self, state: &mut State) {
        if !self.metric.plugin.description().computed.is_empty() {
            state.compute(self.metric.id, self.batch, &self.output.computed);
        }
    }

    fn poisoned(&self, rows: Range<usize>) {
        poisoned(self.metric.plugin.name(), self.partition, self.batch.offsets[rows].iter().copied());
    }
}
