//! Calls of a plugin's `update`, and what becomes of events on which it fails.
//!
//! A batch on which a plugin fails is halved until the failing events are found, left to right. Such an event does not count
//! in that metric, everything else of the batch does. A run of failures is not committed before an event succeeds; then its
//! events become dead letters of the plugin. At [`RUN`] in a row the metric is quarantined before the first of them, and they
//! are no dead letters: a mended plugin counts them. What a plugin breaks in memory, and a call that does not return, cannot
//! be contained here: the board says who is being called, and since when.

use super::board::Board;
use super::mark::{Called, Mark};
use super::members::LaneMetric;
use super::view::View;
use crate::dead_letter::DeadLetter;
use crate::event::{EventBatch, Record};
use crate::plugin;
use crate::progress::{Event, Quarantine, RevisionNo};
use crate::state::{CellUpdate, ComputedKeys};
use crate::telemetry;
use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Failures in a row, of a metric on a partition, at which it is quarantined. Few enough that a plugin that always fails
/// stops at once and that their bytes may wait in memory; more than a burst of odd events of one user.
pub(super) const RUN: usize = 100;

/// A batch that takes a plugin longer is named: 2,048 events are counted in well under a millisecond.
const SLOW: Duration = Duration::from_millis(50);

/// What the reasons of dead letters of plugins begin with; the metric's name follows.
const PLUGIN_FAILED: &str = "plugin_failed:";

/// How often the log says the same of a metric, at most.
const SAY: Duration = Duration::from_secs(60);

/// Keeps a lane apart from what its plugins do wrong.
#[derive(Default)]
pub(super) struct Containment {
    runs: Runs,
    calls: Calls,
    said: HashMap<RevisionNo, Instant>,
}

/// Failures since the last success, by metric and partition, where there are any.
type Runs = HashMap<(RevisionNo, u32), Run>;

/// Failures in a row; fewer than [`RUN`].
struct Run {
    /// Offset of the first.
    from: u64,
    letters: Vec<DeadLetter>,
}

/// A batch, and what is needed around it.
pub(super) struct PluginInput<'a> {
    pub(super) batch: &'a EventBatch,
    /// What it was decoded from.
    pub(super) records: &'a [Record<'a>],
    pub(super) topic: &'a str,
    pub(super) board: &'a Board,
    pub(super) view: &'a View,
    pub(super) mark: Option<&'a Mark>,
}

/// What a plugin made of a batch.
#[derive(Default)]
pub(super) struct PluginOutput {
    pub(super) updates: Vec<CellUpdate>,
    /// The key columns that it computed; rows that do not count have no key.
    pub(super) computed: Vec<ComputedKeys>,
    /// Rows that do not count, ascending.
    pub(super) skip: Vec<u32>,
    /// What the machine is told before the batch is counted.
    pub(super) before: Vec<Event>,
    /// Set where the metric stops: from this offset on nothing counts.
    pub(super) stops: Option<(u64, Quarantine)>,
    /// Events that are dead letters now.
    pub(super) letters: Vec<DeadLetter>,
    /// Time in the plugin.
    pub(super) spent: Duration,
    /// Offset of the first failing event, and why it fails.
    first: Option<(u64, String)>,
}

/// What a plugin hands over for some rows.
#[derive(Default)]
struct PluginReply {
    updates: Vec<CellUpdate>,
    computed: Vec<ComputedKeys>,
}

impl PluginOutput {
    /// Adds what it handed over for the rows from `start` on of a batch of so many.
    fn add(&mut self, handed: PluginReply, start: usize, rows: usize) {
        let shifted = |update: CellUpdate| CellUpdate { row: update.row + start as u32, ..update };
        self.updates.extend(handed.updates.into_iter().map(shifted));
        let columns = self.computed.len().max(handed.computed.len());
        self.computed.resize_with(columns, || ComputedKeys { rows: vec![u32::MAX; rows], ..ComputedKeys::default() });
        for (all, some) in self.computed.iter_mut().zip(handed.computed) {
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
        self.calls.said_slow.remove(&no);
        self.said.remove(&no);
    }

    /// Forgets the runs on a partition: whoever counts it next reads it again from before them.
    pub(super) fn forget_partition(&mut self, partition: u32) {
        self.runs.retain(|(_, of), _| *of != partition);
    }

    /// Failures since the last success, of a metric on a partition: events that are left out unless the metric stops before them.
    pub(super) fn open_failures(&self, no: RevisionNo, partition: u32) -> u64 {
        self.runs.get(&(no, partition)).map_or(0, |run| run.letters.len() as u64)
    }

    /// Forgets a run that is not the one for which commits are held up: the partition was loaded since, and is counted on from
    /// elsewhere, or read again.
    pub(super) fn forget_stale_run(&mut self, no: RevisionNo, partition: u32, held_at: Option<u64>) {
        if self.runs.get(&(no, partition)).is_some_and(|run| Some(run.from) != held_at) {
            self.runs.remove(&(no, partition));
        }
    }

    /// Has a plugin count the rows of a batch from offset `from` on.
    pub(super) fn update(&mut self, metric: &LaneMetric, given: &PluginInput<'_>, from: u64) -> PluginOutput {
        let (name, calls) = (metric.plugin.name(), &mut self.calls);
        let mut spent = Duration::ZERO;
        let call = &mut |batch: &EventBatch, again: bool| calls.call(metric, given, batch, again, &mut spent);
        let (batch, records, topic) = (given.batch, given.records, given.topic);
        let mut among = metric.suspected.iter().filter(|(partition, _)| *partition == batch.partition);
        let one_by_one = among.any(|(_, offsets)| from < offsets.end && offsets.start < batch.to);
        let search = Search { no: metric.no, name, batch, records, topic, runs: &mut self.runs, one_by_one, call };
        let mut made = search.update(from);
        made.spent = spent;
        if let Some((offset, fault)) = made.first.take()
            && due(&mut self.said, metric.no)
        {
            let partition = batch.partition;
            tracing::warn!(
                metric = name,
                partition,
                offset,
                "the plugin failed on an event, which does not count in it: {fault}"
            );
        }
        made
    }
}

/// Calls a plugin with a batch; whether it has seen these rows before.
type PluginCall<'a> = &'a mut dyn FnMut(&EventBatch, bool) -> Result<PluginReply, String>;

/// A batch on its way through a plugin.
struct Search<'a> {
    no: RevisionNo,
    name: &'a str,
    batch: &'a EventBatch,
    records: &'a [Record<'a>],
    topic: &'a str,
    runs: &'a mut Runs,
    /// Whether the plugin is given one event at a time from the first call on.
    one_by_one: bool,
    call: PluginCall<'a>,
}

impl Search<'_> {
    fn update(mut self, from: u64) -> PluginOutput {
        let (batch, key) = (self.batch, (self.no, self.batch.partition));
        // What is read again fails again.
        if self.runs.get(&key).is_some_and(|run| run.from >= from) {
            self.runs.remove(&key);
        }
        let start = batch.offsets.partition_point(|offset| *offset < from);
        let mut made = PluginOutput::default();
        if self.one_by_one {
            for row in start..batch.len() {
                if !self.isolate(row..row + 1, &mut made) {
                    break;
                }
            }
            return self.held(made);
        }
        match (self.call)(batch, false) {
            Ok(handed) => {
                (made.updates, made.computed) = (handed.updates, handed.computed);
                if start < batch.len() {
                    self.succeeded(&mut made);
                }
            }
            Err(fault) if start == 0 => drop(self.split(0..batch.len(), &fault, &mut made)),
            Err(_) => drop(self.isolate(start..batch.len(), &mut made)),
        }
        self.held(made)
    }

    fn held(&self, mut made: PluginOutput) -> PluginOutput {
        if let Some(run) = self.runs.get(&(self.no, self.batch.partition)) {
            made.before.push(Event::Held(self.no, self.batch.partition, run.from));
        }
        made
    }

    /// Finds the failing events of some rows. Whether to go on with those after them.
    fn isolate(&mut self, rows: Range<usize>, made: &mut PluginOutput) -> bool {
        if rows.is_empty() {
            return true;
        }
        match (self.call)(&self.batch.rows(rows.clone()), true) {
            Ok(handed) => {
                made.add(handed, rows.start, self.batch.len());
                self.succeeded(made);
                true
            }
            Err(fault) => self.split(rows, &fault, made),
        }
    }

    /// Rows on which the plugin fails together, with `fault`.
    fn split(&mut self, rows: Range<usize>, fault: &str, made: &mut PluginOutput) -> bool {
        match rows.len() {
            0 => true,
            1 => self.failed(rows.start, fault, made),
            len => {
                let middle = rows.start + len / 2;
                self.isolate(rows.start..middle, made) && self.isolate(middle..rows.end, made)
            }
        }
    }

    fn succeeded(&mut self, made: &mut PluginOutput) {
        let key = (self.no, self.batch.partition);
        if let Some(run) = self.runs.remove(&key) {
            made.letters.extend(run.letters);
            made.before.push(Event::Released(key.0, key.1));
        }
    }

    fn failed(&mut self, row: usize, fault: &str, made: &mut PluginOutput) -> bool {
        let (batch, records, key) = (self.batch, self.records, (self.no, self.batch.partition));
        let offset = batch.offsets[row];
        let record = records.binary_search_by_key(&offset, |record| record.offset).map(|at| records[at]);
        let (time, payload) = record.map_or((0, None), |record| (record.timestamp_ms, record.payload));
        let reason = format!("{PLUGIN_FAILED}{}", self.name);
        let run = self.runs.entry(key).or_insert_with(|| Run { from: offset, letters: Vec::new() });
        run.letters.push(DeadLetter::new(&reason, self.topic, key.1, offset, time, payload));
        let (from, failures) = (run.from, run.letters.len());
        made.skip.push(row as u32);
        made.first.get_or_insert_with(|| (offset, fault.to_owned()));
        if failures < RUN {
            return true;
        }
        self.runs.remove(&key);
        // Rows of the run and those behind it: a mended plugin counts them.
        let end = batch.offsets.partition_point(|offset| *offset < from);
        made.skip.retain(|row| (*row as usize) < end);
        made.skip.extend(end as u32..batch.len() as u32);
        made.before.push(Event::Held(self.no, key.1, from));
        let why = format!(
            "the plugin failed on {RUN} events in a row, from offset {from} of partition {} on: {fault} (fix it and put its file into the plugin folder: it continues from there)",
            key.1
        );
        made.stops = Some((from, Quarantine::Failing(why)));
        false
    }
}

/// The calls themselves, seen by whoever looks at the board.
#[derive(Default)]
struct Calls {
    said_slow: HashMap<RevisionNo, Instant>,
    deltas: Vec<plugin::Delta>,
}

impl Calls {
    /// `again`: these rows were in a batch before, and what the plugin had to say about them was logged.
    fn call(
        &mut self,
        metric: &LaneMetric,
        given: &PluginInput<'_>,
        batch: &EventBatch,
        again: bool,
        spent: &mut Duration,
    ) -> Result<PluginReply, String> {
        if let Some(mark) = given.mark {
            mark.enter(&metric.called(batch));
        }
        let begun = Instant::now();
        given.board.stand(|standing| standing.calling = Some((metric.id, begun)));
        self.deltas.clear();
        let update = |deltas: &mut Vec<plugin::Delta>| metric.plugin.update(batch, deltas);
        let done = if again { plugin::quietly(|| update(&mut self.deltas)) } else { update(&mut self.deltas) };
        // First, so that nobody takes the next call for this one.
        given.board.stand(|standing| standing.calling = None);
        if let Some(mark) = given.mark {
            mark.leave();
        }
        let took = begun.elapsed();
        *spent += took;
        if took > SLOW {
            let name = metric.plugin.name();
            telemetry::slow_batch(name);
            if due(&mut self.said_slow, metric.no) {
                let (events, took) = (batch.len(), took.as_millis());
                tracing::warn!(metric = name, "the plugin took {took} ms for a batch of {events} events");
            }
        }
        let keys = |plugin::Computed { rows, bytes, ends }| ComputedKeys { rows, bytes, ends };
        let computed = done?.into_iter().map(keys).collect();
        let update = |d: &plugin::Delta| CellUpdate { row: d.row, table: d.table, cell: d.cell, value: d.value };
        let updates: Vec<CellUpdate> = self.deltas.iter().map(update).collect();
        if !given.view.read().state.accepts(metric.id, batch, &updates) {
            return Err("it handed over a value that its table cannot take".into());
        }
        Ok(PluginReply { updates, computed })
    }
}

impl LaneMetric {
    /// What a mark says of a call with this batch.
    fn called(&self, batch: &EventBatch) -> Called {
        let (first, last) = (batch.offsets.first(), batch.offsets.last());
        let (from, to) = (first.copied().unwrap_or(batch.from), last.map_or(batch.to, |last| last + 1));
        Called { revision: self.revision.clone(), code: self.code.clone(), partition: batch.partition, from, to }
    }
}

/// Whether it is time to say something of a metric again; then it is noted.
fn due(said: &mut HashMap<RevisionNo, Instant>, no: RevisionNo) -> bool {
    let due = said.get(&no).is_none_or(|said| said.elapsed() >= SAY);
    if due {
        said.insert(no, Instant::now());
    }
    due
}

#[cfg(test)]
#[path = "containment_tests.rs"]
mod tests;
