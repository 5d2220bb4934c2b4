//! Counts a batch in one metric: applies its rows to the metric's tables and seals them where they
//! are full, all at once, or one by one to find the row that panics. A lane and a trial count by it.
//!
//! After a panic the metric's state is in doubt, and the caller discards it. Knows no progress and
//! no store.

use super::containment::PluginOutput;
use super::members::LaneMetric;
use super::panicking_records::{CaughtPanic, PanickingRecords, contained};
use crate::dead_letter::{DeadLetter, INTERNAL_ERROR};
use crate::event::{EventBatch, Record};
use crate::failpoint::poisoned;
use crate::state::{Sealed, State};
use std::ops::Range;

/// One metric's part of a batch.
pub(super) struct MetricBatch<'a> {
    pub(super) metric: &'a LaneMetric,
    /// The first offset that counts.
    pub(super) from: u64,
    /// The plugin's output for the batch.
    pub(super) output: &'a PluginOutput,
    /// Rows that do not count, ascending.
    pub(super) skip: &'a [u32],
    pub(super) batch: &'a EventBatch,
    pub(super) partition: u32,
}

/// A panic while a batch was counted.
pub(super) struct Panicked {
    /// Offsets, one of which caused it.
    pub(super) at: Range<u64>,
    /// What it said.
    pub(super) what: CaughtPanic,
}

impl MetricBatch<'_> {
    /// Counts all rows at once. Returns the number of table updates; deltas that were sealed are
    /// added to `open`.
    ///
    /// # Errors
    /// [`Panicked`] with all offsets that count: any of them may be the cause.
    pub(super) fn at_once(
        &self,
        state: &mut State,
        open: &mut Vec<Sealed>,
    ) -> Result<u64, Panicked> {
        let counted = contained(|| {
            self.poisoned(self.first()..self.batch.len());
            self.apply(state, open)
        });
        counted.map_err(|what| Panicked { at: self.from..self.batch.to.max(self.from + 1), what })
    }

    /// The same without containing a panic: a trial, which nobody else needs, ends by one.
    pub(super) fn apply(&self, state: &mut State, open: &mut Vec<Sealed>) -> u64 {
        let MetricBatch { metric, from, output, skip, batch, partition } = *self;
        if state.must_seal(metric.id, partition, batch.len()) {
            open.push(state.seal(metric.id, partition));
        }
        self.compute(state);
        state.apply_without(metric.id, batch, from, &output.updates, skip)
    }

    /// Counts, seals and writes row by row, because a value may panic only in a seal or a frame.
    /// Returns the number of table updates.
    ///
    /// # Errors
    /// [`Panicked`] with the offset of the first row that panics.
    pub(super) fn one_by_one(
        &self,
        state: &mut State,
        open: &mut Vec<Sealed>,
    ) -> Result<u64, Panicked> {
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
                let rows = state.apply_rows(
                    self.metric.id,
                    self.batch,
                    row..row + 1,
                    &self.output.updates,
                );
                let sealed = state.seal(self.metric.id, self.partition);
                drop(state.frames(self.metric.id, &[&sealed]));
                open.push(sealed);
                rows
            });
            counted += rows.map_err(|what| Panicked { at: at(row)..at(row) + 1, what })?;
        }
        Ok(counted)
    }

    /// Dead letters for the rows that are left out because counting panicked on them.
    pub(super) fn letters<'a>(
        &'a self,
        records: &'a [Record<'a>],
        topic: &'a str,
        panicking: &'a PanickingRecords,
    ) -> impl Iterator<Item = DeadLetter> + 'a {
        let offsets = self.skip.iter().map(|row| self.batch.offsets[*row as usize]);
        let left_out = move |offset: &u64| {
            *offset >= self.from && panicking.leaves_out(self.metric.no, self.partition, *offset)
        };
        offsets.filter(left_out).map(move |offset| {
            let record =
                records.binary_search_by_key(&offset, |record| record.offset).map(|at| records[at]);
            let record = record.unwrap_or(Record::new(offset, 0, None));
            DeadLetter::of(INTERNAL_ERROR, topic, self.partition, &record)
        })
    }

    /// The first row that counts.
    fn first(&self) -> usize {
        self.batch.offsets.partition_point(|offset| *offset < self.from)
    }

    /// Sets the computed keys, also if there are none: those of the metric before must not remain.
    fn compute(&self, state: &mut State) {
        if !self.metric.plugin.description().computed.is_empty() {
            state.compute(self.metric.id, self.batch, &self.output.computed);
        }
    }

    fn poisoned(&self, rows: Range<usize>) {
        poisoned(
            self.metric.plugin.name(),
            self.partition,
            self.batch.offsets[rows].iter().copied(),
        );
    }
}
