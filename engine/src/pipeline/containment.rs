//! Calls a plugin's `update`, and isolates the events on which it fails.
//!
//! A batch on which a plugin fails is halved until the failing events are found, from left to
//! right. Such an event does not count in that metric; the rest of the batch does. A run of
//! failures is not committed before an event succeeds; then its events become dead letters of the
//! plugin. At [`RUN`] failures in a row the metric is quarantined before the first of them, and
//! they become no dead letters: a fixed plugin counts them. Memory that a plugin corrupts, and a
//! call that does not return, cannot be contained here; the lane status shows which metric is being
//! called, and since when.

use super::call_marks::{CallMark, MarkedCall};
use super::lane_status::LaneStatus;
use super::members::LaneMetric;
use super::view::View;
use crate::dead_letter::{DeadLetter, PLUGIN_FAILED};
use crate::event::{EventBatch, Record};
use crate::host;
use crate::progress::{Event, Quarantine, RevisionNo};
use crate::state::{CellUpdate, ComputedKeys};
use crate::telemetry;
use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Failures in a row, of one metric in one partition, at which the metric is quarantined. Few
/// enough that a plugin that always fails stops at once and that the events fit in memory; more
/// than a burst of odd events of one user.
pub(super) const RUN: usize = 100;

/// A call that takes longer is logged: 2,048 events are counted in well under a millisecond.
const SLOW: Duration = Duration::from_millis(50);

/// Shortest time between two equal log lines about one metric.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// Protects a lane from failures of its plugins.
#[derive(Default)]
pub(super) struct Containment {
    runs: Runs,
    calls: Calls,
    logged: HashMap<RevisionNo, Instant>,
}

/// The runs of failures, by metric and partition.
type Runs = HashMap<(RevisionNo, u32), Run>;

/// Failures since the last success; fewer than [`RUN`].
struct Run {
    /// Offset of the first failure.
    from: u64,
    letters: Vec<DeadLetter>,
}

/// A batch, with what calls of plugins need.
pub(super) struct PluginInput<'a> {
    pub(super) batch: &'a EventBatch,
    /// The records it was decoded from.
    pub(super) records: &'a [Record<'a>],
    pub(super) topic: &'a str,
    pub(super) status: &'a LaneStatus,
    pub(super) view: &'a View,
    pub(super) call_mark: Option<&'a CallMark>,
}

/// The output of a plugin for a batch.
#[derive(Default)]
pub(super) struct PluginOutput {
    pub(super) updates: Vec<CellUpdate>,
    /// The key columns that the plugin computed; rows that do not count have no key.
    pub(super) computed: Vec<ComputedKeys>,
    /// Rows that do not count, ascending.
    pub(super) skip: Vec<u32>,
    /// Events for the ledger that precede the count of the batch.
    pub(super) before: Vec<Event>,
    /// Set if the metric must stop: the offset from which on nothing counts, and why.
    pub(super) stops: Option<(u64, Quarantine)>,
    /// Events that have become dead letters.
    pub(super) letters: Vec<DeadLetter>,
    /// Time spent in the plugin.
    pub(super) spent: Duration,
    /// Offset of the first failing event, and why it fails.
    first: Option<(u64, String)>,
}

/// What a plugin returns for some rows.
#[derive(Default)]
struct PluginReply {
    updates: Vec<CellUpdate>,
    computed: Vec<ComputedKeys>,
}

impl PluginOutput {
    /// Adds the reply for the rows from `start` on, of a batch of `rows` rows.
    fn add(&mut self, reply: PluginReply, start: usize, rows: usize) {
        let shifted = |update: CellUpdate| CellUpdate { row: update.row + start as u32, ..update };
        self.updates.extend(reply.updates.into_iter().map(shifted));
        let columns = self.computed.len().max(reply.computed.len());
        self.computed.resize_with(columns, || ComputedKeys {
            rows: vec![u32::MAX; rows],
            ..ComputedKeys::default()
        });
        for (all, some) in self.computed.iter_mut().zip(reply.computed) {
            let (texts, bytes) = (all.ends.len() as u32, all.bytes.len() as u32);
            for (row, number) in all.rows.iter_mut().skip(start).zip(some.rows) {
                *row = if number == u32::MAX { number } else { texts + number };
            }
            all.bytes.extend(some.bytes);
            all.ends.extend(some.ends.iter().map(|end| bytes + end));
        }
    }
}

impl Containment {
    /// Forgets a metric.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.runs.retain(|(of, _), _| *of != no);
        self.calls.logged_slow.remove(&no);
        self.logged.remove(&no);
    }

    /// Forgets the runs of a partition: it will be read again from before them.
    pub(super) fn forget_partition(&mut self, partition: u32) {
        self.runs.retain(|(_, of), _| *of != partition);
    }

    /// Number of failures since the last success of a metric in a partition: events that are left
    /// out unless the metric stops before them.
    pub(super) fn open_failures(&self, no: RevisionNo, partition: u32) -> u64 {
        self.runs.get(&(no, partition)).map_or(0, |run| run.letters.len() as u64)
    }

    /// Forgets a run unless it begins at `held_at`, where commits are held up: otherwise the
    /// partition was loaded since, and is counted from another offset.
    pub(super) fn forget_stale_run(
        &mut self,
        no: RevisionNo,
        partition: u32,
        held_at: Option<u64>,
    ) {
        if self.runs.get(&(no, partition)).is_some_and(|run| Some(run.from) != held_at) {
            self.runs.remove(&(no, partition));
        }
    }

    /// Calls a metric's plugin with the rows of a batch from offset `from` on.
    pub(super) fn update(
        &mut self,
        metric: &LaneMetric,
        input: &PluginInput<'_>,
        from: u64,
    ) -> PluginOutput {
        let (name, calls) = (metric.plugin.name(), &mut self.calls);
        let mut spent = Duration::ZERO;
        let call = &mut |batch: &EventBatch, again: bool| {
            calls.call(metric, input, batch, again, &mut spent)
        };
        let (batch, records, topic) = (input.batch, input.records, input.topic);
        let mut among =
            metric.suspected.iter().filter(|(partition, _)| *partition == batch.partition);
        let one_by_one = among.any(|(_, offsets)| from < offsets.end && offsets.start < batch.to);
        let search = Search {
            no: metric.no,
            name,
            batch,
            records,
            topic,
            runs: &mut self.runs,
            one_by_one,
            call,
        };
        let mut output = search.update(from);
        output.spent = spent;
        if let Some((offset, fault)) = output.first.take()
            && due(&mut self.logged, metric.no)
        {
            let partition = batch.partition;
            tracing::warn!(
                metric = name,
                partition,
                offset,
                "the plugin failed on an event, which does not count in it: {fault}"
            );
        }
        output
    }
}

/// Calls a plugin with a batch; the flag says whether these rows were in an earlier call.
type PluginCall<'a> = &'a mut dyn FnMut(&EventBatch, bool) -> Result<PluginReply, String>;

/// The search for the failing events of a batch.
struct Search<'a> {
    no: RevisionNo,
    name: &'a str,
    batch: &'a EventBatch,
    records: &'a [Record<'a>],
    topic: &'a str,
    runs: &'a mut Runs,
    /// Whether each call has a single event from the start.
    one_by_one: bool,
    call: PluginCall<'a>,
}

impl Search<'_> {
    fn update(mut self, from: u64) -> PluginOutput {
        let (batch, key) = (self.batch, (self.no, self.batch.partition));
        // Its events are read again, and will fail again.
        if self.runs.get(&key).is_some_and(|run| run.from >= from) {
            self.runs.remove(&key);
        }
        let start = batch.offsets.partition_point(|offset| *offset < from);
        let mut output = PluginOutput::default();
        if self.one_by_one {
            for row in start..batch.len() {
                if !self.isolate(row..row + 1, &mut output) {
                    break;
                }
            }
            return self.report_run(output);
        }
        match (self.call)(batch, false) {
            Ok(reply) => {
                (output.updates, output.computed) = (reply.updates, reply.computed);
                if start < batch.len() {
                    self.end_run(&mut output);
                }
            }
            Err(fault) if start == 0 => drop(self.split(0..batch.len(), &fault, &mut output)),
            Err(_) => drop(self.isolate(start..batch.len(), &mut output)),
        }
        self.report_run(output)
    }

    /// Reports the open run, if there is one: nothing beyond its begin may be committed.
    fn report_run(&self, mut output: PluginOutput) -> PluginOutput {
        if let Some(run) = self.runs.get(&(self.no, self.batch.partition)) {
            output.before.push(Event::Held(self.no, self.batch.partition, run.from));
        }
        output
    }

    /// Calls the plugin with some rows and finds those that fail. Returns whether to continue with
    /// the rows after them.
    fn isolate(&mut self, rows: Range<usize>, output: &mut PluginOutput) -> bool {
        if rows.is_empty() {
            return true;
        }
        match (self.call)(&self.batch.rows(rows.clone()), true) {
            Ok(reply) => {
                output.add(reply, rows.start, self.batch.len());
                self.end_run(output);
                true
            }
            Err(fault) => self.split(rows, &fault, output),
        }
    }

    /// Finds the failing ones of rows on which a call failed with `fault`. Returns whether to
    /// continue with the rows after them.
    fn split(&mut self, rows: Range<usize>, fault: &str, output: &mut PluginOutput) -> bool {
        match rows.len() {
            0 => true,
            1 => self.add_failure(rows.start, fault, output),
            len => {
                let middle = rows.start + len / 2;
                self.isolate(rows.start..middle, output) && self.isolate(middle..rows.end, output)
            }
        }
    }

    /// Ends the open run: its events become dead letters.
    fn end_run(&mut self, output: &mut PluginOutput) {
        let key = (self.no, self.batch.partition);
        if let Some(run) = self.runs.remove(&key) {
            output.letters.extend(run.letters);
            output.before.push(Event::Released(key.0, key.1));
        }
    }

    /// Adds a failure to the run. Returns whether to continue; `false`: the metric stops.
    fn add_failure(&mut self, row: usize, fault: &str, output: &mut PluginOutput) -> bool {
        let (batch, records, key) = (self.batch, self.records, (self.no, self.batch.partition));
        let offset = batch.offsets[row];
        let record =
            records.binary_search_by_key(&offset, |record| record.offset).map(|at| records[at]);
        let record = record.unwrap_or(Record::new(offset, 0, None));
        let reason = format!("{PLUGIN_FAILED}{}", self.name);
        let run = self.runs.entry(key).or_insert_with(|| Run { from: offset, letters: Vec::new() });
        run.letters.push(DeadLetter::of(&reason, self.topic, key.1, &record));
        let (from, failures) = (run.from, run.letters.len());
        output.skip.push(row as u32);
        output.first.get_or_insert_with(|| (offset, fault.to_owned()));
        if failures < RUN {
            return true;
        }
        self.runs.remove(&key);
        // Rows of the run, and all after them: a fixed plugin counts them.
        let end = batch.offsets.partition_point(|offset| *offset < from);
        output.skip.retain(|row| (*row as usize) < end);
        output.skip.extend(end as u32..batch.len() as u32);
        output.before.push(Event::Held(self.no, key.1, from));
        let why = format!(
            "the plugin failed on {RUN} events in a row, from offset {from} of partition {} on: \
             {fault} (fix it and put its file into the plugin folder: it continues from there)",
            key.1
        );
        output.stops = Some((from, Quarantine::Failing(why)));
        false
    }
}

/// The calls themselves, which the lane status shows.
#[derive(Default)]
struct Calls {
    logged_slow: HashMap<RevisionNo, Instant>,
    deltas: Vec<host::Delta>,
}

impl Calls {
    /// Calls the plugin. `again`: these rows were in an earlier call, so the plugin's messages
    /// about them were logged already.
    fn call(
        &mut self,
        metric: &LaneMetric,
        input: &PluginInput<'_>,
        batch: &EventBatch,
        again: bool,
        spent: &mut Duration,
    ) -> Result<PluginReply, String> {
        if let Some(mark) = input.call_mark {
            mark.begin(&metric.marked_call(batch));
        }
        let begun = Instant::now();
        input.status.update(|status| status.calling = Some((metric.id, begun)));
        self.deltas.clear();
        let update = |deltas: &mut Vec<host::Delta>| metric.plugin.update(batch, deltas);
        let done = if again {
            host::quietly(|| update(&mut self.deltas))
        } else {
            update(&mut self.deltas)
        };
        // At once, so that the next call is not taken for this one.
        input.status.update(|status| status.calling = None);
        if let Some(mark) = input.call_mark {
            mark.end();
        }
        let took = begun.elapsed();
        *spent += took;
        if took > SLOW {
            let name = metric.plugin.name();
            telemetry::slow_batch(name);
            if due(&mut self.logged_slow, metric.no) {
                let (events, took) = (batch.len(), took.as_millis());
                tracing::warn!(
                    metric = name,
                    "the plugin took {took} ms for a batch of {events} events"
                );
            }
        }
        let keys = |host::Computed { rows, bytes, ends }| ComputedKeys { rows, bytes, ends };
        let computed = done?.into_iter().map(keys).collect();
        let update = |d: &host::Delta| CellUpdate {
            row: d.row,
            table: d.table,
            cell: d.cell,
            value: d.value,
        };
        let updates: Vec<CellUpdate> = self.deltas.iter().map(update).collect();
        if !input.view.read().state.accepts(metric.id, batch, &updates) {
            return Err("it returned a value that its table cannot hold".into());
        }
        Ok(PluginReply { updates, computed })
    }
}

impl LaneMetric {
    /// The mark of a call with this batch.
    fn marked_call(&self, batch: &EventBatch) -> MarkedCall {
        let (first, last) = (batch.offsets.first(), batch.offsets.last());
        let (from, to) =
            (first.copied().unwrap_or(batch.from), last.map_or(batch.to, |last| last + 1));
        MarkedCall {
            revision: self.revision.clone(),
            code: self.code.clone(),
            partition: batch.partition,
            from,
            to,
        }
    }
}

/// Whether something about a metric is to be logged again; then that is remembered.
fn due(logged: &mut HashMap<RevisionNo, Instant>, no: RevisionNo) -> bool {
    let due = logged.get(&no).is_none_or(|logged| logged.elapsed() >= LOG_AGAIN);
    if due {
        logged.insert(no, Instant::now());
    }
    due
}

#[cfg(test)]
#[path = "containment_tests.rs"]
mod tests;
