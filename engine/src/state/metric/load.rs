//! Loading stored frames into a metric: their rows are gathered, and added to the tables many at a time.
//!
//! A frame has a handful of rows of each pane. Added frame by frame they would become as many runs, each to be merged with
//! its neighbours soon, and each key would be looked up by itself, one cache miss after the other.

use super::super::{MetricId, State};
use super::MetricState;
use crate::state::block::Block;
use crate::state::floors::PaneId;
use crate::state::frame::{FrameError, FrameReader, KeyValue};
use crate::state::keyspace::Keyspace;
use crate::state::texts::Texts;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows gathered at most: as many as a read can go on from (`loaded`), some megabytes.
const MOST: usize = 1 << 16;

/// What a row with sketches weighs: they may take kilobytes.
const SKETCHES: usize = 64;

/// Frames on their way into a metric; dropping it adds what is gathered.
pub struct Loading<'a> {
    metric: &'a mut MetricState,
    keyspaces: &'a mut Vec<Keyspace>,
    texts: &'a mut Texts,
    gathered: BTreeMap<(usize, PaneId), Rows>,
    weight: usize,
}

/// Rows of one pane of a table: key columns end to end, and cells.
#[derive(Default)]
struct Rows {
    values: Vec<u64>,
    content: Block,
}

impl State {
    /// Frames are to be loaded into a metric; while that is not over, nothing else reads or changes the state.
    pub fn loading(&mut self, metric: MetricId) -> Loading<'_> {
        self.sweep();
        let (metric, keyspaces, texts) = (&mut self.metrics[metric.0], &mut self.keyspaces, &mut self.texts);
        Loading { metric, keyspaces, texts, gathered: BTreeMap::new(), weight: 0 }
    }

    /// Loads one frame.
    ///
    /// # Errors
    /// As [`Loading::frame`].
    pub fn load(&mut self, metric: MetricId, table: usize, frame: &[u8]) -> Result<u64, FrameError> {
        self.loading(metric).frame(table, frame)
    }
}

impl Loading<'_> {
    /// Folds a stored frame of a bucket in; the number of updates it says it holds.
    ///
    /// # Errors
    /// [`FrameError`]: the metric is then half loaded and must be cleared.
    pub fn frame(&mut self, table: usize, frame: &[u8]) -> Result<u64, FrameError> {
        let of = self.metric.tables.get(table).ok_or(FrameError::Damaged("its table does not exist"))?;
        let mut reader = FrameReader::open(frame, of.description.key.len())?;
        let layout = Arc::clone(&of.layout);
        // What it does not keep is folded for good: of such keys nobody knows all.
        self.metric.narrow(table, reader.header.threshold, self.keyspaces, self.texts);
        if let Some(floors) = &reader.header.floors {
            self.metric.tables[table].raise(floors);
        }
        let numbers: Vec<u64> = reader.texts.iter().map(|text| self.texts.intern(text)).collect();
        let weight = if layout.has_sketches() { SKETCHES } else { 1 };
        let (mut key, mut row) = (Vec::new(), Block::neutral(&layout));
        let mut next = reader.next(&layout, &mut key, &mut row)?;
        while let Some(pane) = next {
            let into = self.gathered.entry((table, pane)).or_default();
            while next == Some(pane) {
                into.values.extend(key.iter().map(|value| match value {
                    KeyValue::Integer(n) => *n,
                    KeyValue::Text(n) => numbers[*n],
                }));
                into.content.push(&layout, row.row(&layout, 0));
                self.weight += weight;
                next = reader.next(&layout, &mut key, &mut row)?;
            }
            if let (Some(tier), number) = pane {
                self.metric.first = self.metric.first.min(number * tier.millis());
                self.metric.last = self.metric.last.max(number * tier.millis());
            }
        }
        if self.weight >= MOST {
            self.add();
        }
        Ok(reader.header.rows)
    }

    /// Adds what is gathered to the tables.
    fn add(&mut self) {
        let mut keys = Vec::new();
        for ((table, pane), mut rows) in std::mem::take(&mut self.gathered) {
            let table = &mut self.metric.tables[table];
            let keyspace = &mut self.keyspaces[table.keyspace];
            keyspace.intern_all(&rows.values, rows.content.len(&table.layout), self.texts, &mut keys);
            table.restore(pane, &keys, &mut rows.content, keyspace);
        }
        self.weight = 0;
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.add();
    }
}
