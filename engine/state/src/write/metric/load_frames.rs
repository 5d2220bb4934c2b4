//! Loads stored frames into a metric: gathers their rows and adds them to the tables many at a
//! time.
//!
//! A frame has a handful of rows of each pane. Added frame by frame they would become as many runs,
//! each soon merged with its neighbours, and each key would be looked up alone, one cache miss
//! after the other.

use super::MetricState;
use crate::rows::block::Block;
use crate::rows::floors::PaneId;
use crate::write::frame::{FrameError, FrameReader, KeyValue};
use crate::write::names::Names;
use crate::write::type_limit::TypeLimit;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows gathered at most: as many as a read can continue from (`loaded_rows`), some megabytes.
const MOST: usize = 1 << 16;

/// Weight of a row with sketches, which may take kilobytes; other rows weigh 1.
const SKETCHES: usize = 64;

/// Frames on their way into a metric. Dropping it adds what is gathered.
pub struct Loading<'a> {
    metric: &'a mut MetricState,
    names: &'a RwLock<Names>,
    types: &'a TypeLimit,
    gathered: BTreeMap<(usize, PaneId), PaneRows>,
    weight: usize,
}

/// Rows of one pane of a table: key columns end to end, and cells.
#[derive(Default)]
struct PaneRows {
    values: Vec<u64>,
    content: Block,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(
        metric: &'a mut MetricState,
        names: &'a RwLock<Names>,
        types: &'a TypeLimit,
    ) -> Loading<'a> {
        metric.is_empty = false;
        Loading { metric, names, types, gathered: BTreeMap::new(), weight: 0 }
    }

    /// Adds a stored frame of a bucket. Returns the number of updates that it says it holds.
    ///
    /// # Errors
    /// [`FrameError`]: the metric is then partly loaded and must be cleared.
    pub fn frame(&mut self, table: usize, frame: &[u8]) -> Result<u64, FrameError> {
        let of =
            self.metric.tables.get(table).ok_or(FrameError::Damaged("its table does not exist"))?;
        let (columns, layout) = {
            let of = of.read();
            (of.description.key.len(), Arc::clone(&of.layout))
        };
        let mut reader = FrameReader::open(frame, columns)?;
        let numbers: Vec<u64> = {
            let mut names = self.names.write();
            let Names { texts, keyspaces } = &mut *names;
            // Keys that the frame does not keep are folded for good: nothing holds all that was
            // counted of them.
            self.metric.narrow(table, reader.header.threshold, keyspaces, texts, self.types);
            reader.texts.iter().map(|text| texts.intern(text)).collect()
        };
        if let Some(floors) = &reader.header.floors {
            self.metric.tables[table].write().raise(floors);
        }
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
            let mut names = self.names.write();
            let Names { texts, keyspaces } = &mut *names;
            let table = &mut *self.metric.tables[table].write();
            let keyspace = &mut keyspaces[table.keyspace];
            keyspace.intern_all(&rows.values, rows.content.len(&table.layout), texts, &mut keys);
            table.restore(pane, &keys, &mut rows.content, keyspace);
        }
        self.weight = 0;
        // Keys that were folded may still be whole in older frames, and several engines together
        // may bring too many types.
        let mut names = self.names.write();
        let Names { texts, keyspaces } = &mut *names;
        if let Some(to) = self.metric.thresholds_for_types(keyspaces, texts, self.types) {
            for (table, threshold) in to.into_iter().enumerate() {
                self.metric.narrow(table, threshold, keyspaces, texts, self.types);
            }
        }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.add();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DumpCell, MetricId, State};
    use tally_event::EventBatch;
    use tally_plugin::description::{Cell, Description, From, Key, Merge, Pane, Table, Tier};

    /// A count by user, in hours.
    fn description() -> Description {
        let table = Table {
            name: "t".into(),
            key: vec![Key::UserId],
            group: 0,
            only: Vec::new(),
            cells: vec![Cell { name: "n".into(), merge: Merge::Sum, from: From::One }],
            tiers: vec![Tier { pane: Pane::Hour, keep_ms: None }],
        };
        Description {
            summary: String::new(),
            tables: vec![table],
            properties: Vec::new(),
            computed: Vec::new(),
            time: false,
            params_schema: serde_json::json!({}),
            result_schema: serde_json::json!({}),
            examples: Vec::new(),
        }
    }

    /// What each key has in the totals and in each pane, however many rows that is in.
    fn held(state: &State, metric: MetricId) -> BTreeMap<String, i128> {
        let dump = state.dump(metric);
        let mut held = BTreeMap::new();
        for row in dump.rows().chain(dump.pane_rows()) {
            let DumpCell::Number(n) = row.cells[0] else { panic!("{row:?}") };
            *held.entry(format!("{:?} {:?}", row.pane, row.key)).or_default() += n;
        }
        held
    }

    /// One event of each of these times, at the offsets from 0 on.
    fn events(times: &[i64]) -> EventBatch {
        let to = times.len() as u64;
        EventBatch {
            to,
            offsets: (0..to).collect(),
            users: vec![1; times.len()],
            products: vec![7; times.len()],
            kinds: vec![0; times.len()],
            times: times.to_vec(),
            kind_names: vec!["view".into()],
            ..EventBatch::default()
        }
    }

    #[test]
    fn frames_say_the_panes_of_the_first_and_last_event_and_what_was_recorded_says_when() {
        const HOUR: i64 = 3_600_000;
        let (mut state, mut loaded) = (State::default(), State::default());
        let (metric, into) = (state.add(&description()), loaded.add(&description()));
        let (first, last) = (2 * HOUR + 5, 4 * HOUR + 7);
        let batch = events(&[3 * HOUR, first, last]);
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        assert_eq!(state.times(metric), Some((first, last)));
        let sealed = state.seal(metric, 0);
        for frame in state.frames(metric, &[&sealed]) {
            loaded.load(into, usize::from(frame.table), &frame.bytes).expect("it is a frame");
        }
        assert_eq!(loaded.times(into), Some((2 * HOUR, 4 * HOUR)));
        loaded.set_times(into, None, Some(last));
        assert_eq!(loaded.times(into), Some((2 * HOUR, last)), "the first is not recorded");
        loaded.set_times(into, Some(first), Some(last));
        let held = loaded.held(into);
        assert_eq!((held.first, held.last), (Some(first), Some(last)));
        let earlier = events(&[HOUR + 1]);
        loaded.begin(&earlier);
        loaded.apply(into, &earlier, earlier.from, &[]);
        assert_eq!(loaded.times(into), Some((HOUR + 1, last)));
        loaded.clear(into);
        assert_eq!(loaded.times(into), None);
    }

    #[test]
    fn more_than_is_gathered_at_a_time_adds_up_to_what_was_sealed() {
        const BATCH: u64 = 5_000;
        let events = 3 * MOST as u64;
        // Most users twice, in frames far apart.
        let users = events * 2 / 3;
        let (mut state, mut loaded) = (State::default(), State::default());
        let (metric, into) = (state.add(&description()), loaded.add(&description()));
        let mut loading = loaded.loading(into);
        for from in (0..events).step_by(BATCH as usize) {
            let rows = BATCH as usize;
            let batch = EventBatch {
                from,
                to: from + BATCH,
                offsets: (from..from + BATCH).collect(),
                users: (from..from + BATCH).map(|n| n % users).collect(),
                products: vec![7; rows],
                kinds: vec![0; rows],
                times: (from..from + BATCH).map(|n| (n % 5) as i64 * 3_600_000).collect(),
                kind_names: vec!["view".into()],
                ..EventBatch::default()
            };
            state.begin(&batch);
            state.apply(metric, &batch, batch.from, &[]);
            let sealed = state.seal(metric, 0);
            for frame in state.frames(metric, &[&sealed]) {
                loading.frame(usize::from(frame.table), &frame.bytes).expect("it is a frame");
            }
        }
        drop(loading);
        let expected = held(&state, metric);
        assert!(expected.len() as u64 > 2 * users && held(&loaded, into) == expected);
    }
}
