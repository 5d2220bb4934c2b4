//! Counts batches: records → events → plugins → state → feed.
//!
//! The ledger says which metrics count a batch, and the results go back to it as events: nothing
//! here knows the commit protocol, a source or a store. The order within a batch is: decode, call
//! plugins (without a lock), change state and positions under the lock, publish. A panic on the way
//! stops no other metric: see [`PanickingRecords`].
//!
//! Over 480 lines: one path, read from beginning to end, with what each step needs.

use super::call_marks::CallMark;
use super::cell_limits::limit_cells;
use super::containment::{Containment, PluginInput, PluginOutput};
use super::dead_letter_buffer::DeadLetterBuffer;
use super::judged_ranges::JudgedRanges;
use super::lane_status::LaneStatus;
use super::ledger::{DueBatch, DueMetric};
use super::members::{LaneMetric, LaneRole, Members};
use super::memory_share::MemoryShare;
use super::metric_batch::{MetricBatch, Panicked};
use super::panicking_records::{CaughtPanic, PanickingRecords, contained};
use super::pending::Pending;
use super::publish_events::publish_events;
use super::view::{Counted, View};
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::decode::{Decoder, DedupeWindow, Hint, Refused, in_seconds};
use crate::event::{EventBatch, Record};
use crate::failpoint::{point, poisoned};
use crate::feed::Feed;
use crate::progress::{self, Anchor, Count, Event, Quarantine, RevisionNo};
use crate::telemetry;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// What counting a batch needs besides the metrics.
pub(super) struct BatchParts {
    /// Turns records into events.
    pub(super) decoder: Decoder,
    /// What the lane is for.
    pub(super) role: LaneRole,
    /// Number of offsets that a dedupe window spans.
    pub(super) dedupe_window: u64,
    /// Where refused records go.
    pub(super) dead_letters: Arc<DeadLetters>,
    /// Records whose letters are written.
    pub(super) judged: JudgedRanges,
    /// Where new events are published; `None`: not by this lane.
    pub(super) feed: Option<Arc<Feed>>,
    /// Name of the topic, for dead letters.
    pub(super) topic: String,
    /// Where calls of plugins are marked; `None`: nowhere.
    pub(super) call_mark: Option<Arc<CallMark>>,
    /// The state that is counted into.
    pub(super) view: Arc<View>,
    /// The lane's published status.
    pub(super) status: Arc<LaneStatus>,
    /// How much memory state may take.
    pub(super) memory_share: Arc<MemoryShare>,
}

/// Counts batches.
pub(super) struct Batches {
    parts: BatchParts,
    dead_letters: DeadLetterBuffer,
    /// The dedupe window of each partition held.
    windows: BTreeMap<u32, DedupeWindow>,
    /// The present or last batch; its memory is reused.
    batch: EventBatch,
    refused: Vec<Refused>,
    containment: Containment,
    pub(super) panicking: PanickingRecords,
    processed: u64,
}

/// The result of counting a batch.
#[derive(Debug, Default)]
pub(super) struct BatchOutcome {
    /// Events for the ledger, in this order.
    pub(super) events: Vec<Event>,
    /// Metrics on which the engine's code panicked: their state was discarded. They must be loaded
    /// again, or stop for the given reason.
    pub(super) discarded: Vec<(RevisionNo, Option<Quarantine>)>,
    /// Whether the dedupe window is in doubt: then nothing of the batch counts, and the partition
    /// must be read again from what is stored.
    pub(super) read_again: bool,
}

impl BatchOutcome {
    fn read_again() -> BatchOutcome {
        BatchOutcome { read_again: true, ..BatchOutcome::default() }
    }
}

/// The result of applying a batch to the metrics.
#[derive(Default)]
struct Applied {
    /// Events for the ledger that precede the count of the batch.
    before: Vec<Event>,
    counts: Vec<Count>,
    /// Events on which plugins, or the engine's own code for a metric, failed.
    letters: Vec<DeadLetter>,
    /// Metrics that stop; what they have counted of the batch stays.
    stopped: Vec<(RevisionNo, Quarantine)>,
    discarded: Vec<(RevisionNo, Option<Quarantine>)>,
}

impl Batches {
    pub(super) fn new(parts: BatchParts, members: &Members) -> Batches {
        let mut batches = Batches {
            dead_letters: DeadLetterBuffer::new(parts.dead_letters.clone(), parts.status.clone()),
            parts,
            windows: BTreeMap::new(),
            batch: EventBatch::default(),
            refused: Vec::new(),
            containment: Containment::default(),
            panicking: PanickingRecords::default(),
            processed: 0,
        };
        batches.read_properties(members);
        batches
    }

    /// Has the decoder read the properties that these metrics declare, from the next batch on.
    /// Otherwise a metric would read only nulls.
    pub(super) fn read_properties(&mut self, members: &Members) {
        if let Err(fault) = self.parts.decoder.read_properties(&members.properties()) {
            // Not expected: pointers are checked when a plugin is loaded.
            tracing::error!(
                "the declared properties cannot be set, the earlier ones are kept: {fault}"
            );
        }
    }

    /// Forgets a metric.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.containment.forget(no);
        self.panicking.forget(no);
    }

    /// Begins partitions again.
    pub(super) fn begin(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.renew_window(*partition);
            self.containment.forget_partition(*partition);
        }
    }

    /// Forgets partitions that are no longer held.
    pub(super) fn end(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.windows.remove(partition);
            self.containment.forget_partition(*partition);
        }
    }

    /// The first record of a partition that will count is at `next`: the feed begins there, so that
    /// its cursors name the partition before an event of it comes.
    pub(super) fn shows_from(&self, partition: u32, next: u64) {
        if let Some(feed) = &self.parts.feed {
            feed.starts(partition, next);
        }
    }

    /// Empties the dedupe window of a partition.
    pub(super) fn renew_window(&mut self, partition: u32) {
        self.windows.insert(partition, DedupeWindow::new(self.parts.dedupe_window));
    }

    /// Number of records counted since the start.
    pub(super) fn processed(&self) -> u64 {
        self.processed
    }

    /// Whether so many dead letters wait that they are to be written.
    pub(super) fn has_letters_due(&self) -> bool {
        self.dead_letters.is_due()
    }

    /// Writes the dead letters that wait.
    pub(super) fn write_dead_letters(&mut self) {
        self.dead_letters.write();
    }

    /// The first of these offsets of a partition whose record cannot be decoded.
    pub(super) fn first_undecodable(&self, partition: u32, offsets: Range<u64>) -> Option<u64> {
        self.panicking.first_undecodable(partition, offsets)
    }

    /// Counts records of one partition, in offset order and at most a batch.
    pub(super) fn count(
        &mut self,
        members: &Members,
        pending: &mut Pending,
        partition: u32,
        records: &[Record<'_>],
        due: &DueBatch,
    ) -> BatchOutcome {
        let Some(last) = records.last() else { return BatchOutcome::default() };
        let (epoch, to, anchored) = (due.epoch, last.offset + 1, Some(anchor(last)));
        let counted = |counts| {
            Event::Counted(progress::Counted { partition, epoch, to, last: anchored, counts })
        };
        let Some(count_from) = due.count_from() else {
            if let Err(what) = self.warm_up(partition, records) {
                return self.decode_panicked(members, partition, records, &what);
            }
            // The ledger must know of them: revisions that still need these records will read them
            // again.
            return BatchOutcome { events: vec![counted(Vec::new())], ..BatchOutcome::default() };
        };
        if let Err(what) = self.decode(partition, records, count_from) {
            return self.decode_panicked(members, partition, records, &what);
        }
        point("count.decoded");
        let outputs = self.call_plugins(members, partition, records, due);
        let applied = match self.apply(members, pending, partition, records, (due, outputs)) {
            Ok(applied) => applied,
            Err(what) => return self.keys_panicked(members, partition, due, &what),
        };
        self.dead_letters.add(applied.letters);
        point("count.counted");
        self.processed += self.batch.records;
        let processed = self.processed;
        self.parts.status.update(|status| status.totals.processed = processed);
        self.publish(records, count_from);
        let mut events = applied.before;
        events.push(counted(applied.counts));
        // After the count: what a stopped metric has counted stays, and a fixed plugin resumes
        // there.
        events.extend(applied.stopped.into_iter().map(|(no, why)| Event::Quarantined(no, why)));
        BatchOutcome { events, discarded: applied.discarded, read_again: false }
    }

    /// Moves positions past offsets before `to` that hold no record. Counts nothing.
    pub(super) fn pass(
        &mut self,
        members: &Members,
        partition: u32,
        to: u64,
        due: &DueBatch,
    ) -> Event {
        let mut counted = self.parts.view.write();
        for DueMetric { no, from, .. } in &due.metrics {
            let Some(metric) = members.get(*no) else { continue };
            let progress = &mut counted.metrics[metric.id.0];
            progress.advance(partition, *from, to);
            progress.version += 1;
        }
        drop(counted);
        self.parts.view.notify();
        // Otherwise the feed is past them already.
        if let Some(feed) = self.parts.feed.as_ref().filter(|_| due.count_from().is_some()) {
            feed.passed(partition, to);
        }
        let count = |due: &DueMetric| Count { revision: due.no, rows: 0, times: None, failed: 0 };
        let counts = due.metrics.iter().map(count).collect();
        Event::Counted(progress::Counted { partition, epoch: due.epoch, to, last: None, counts })
    }

    // Records → events.

    /// Adds records to the dedupe window that no metric counts.
    fn warm_up(&mut self, partition: u32, records: &[Record<'_>]) -> Result<(), CaughtPanic> {
        point("count.warm_up");
        let beyond = records.last().map_or(0, |record| record.offset + 1);
        self.decode_into_batch(partition, records, beyond)?;
        self.refused.clear();
        Ok(())
    }

    fn decode_into_batch(
        &mut self,
        partition: u32,
        records: &[Record<'_>],
        count_from: u64,
    ) -> Result<(), CaughtPanic> {
        let Some(window) = self.windows.get_mut(&partition) else { return Ok(()) };
        self.refused.clear();
        let (decoder, batch, refused) =
            (&mut self.parts.decoder, &mut self.batch, &mut self.refused);
        contained(|| {
            poisoned("decode", partition, records.iter().map(|record| record.offset));
            decoder.decode(partition, records, window, count_from, batch, refused);
        })
    }

    fn decode(
        &mut self,
        partition: u32,
        records: &[Record<'_>],
        count_from: u64,
    ) -> Result<(), CaughtPanic> {
        self.decode_into_batch(partition, records, count_from)?;
        if self.parts.role == LaneRole::Main {
            self.measure(records);
        }
        // Whatever the lane is for: what it refuses may never be judged so again.
        for refused in &self.refused {
            let record = &records[refused.index];
            if !self.parts.judged.contains(partition, record.offset) {
                let (reason, topic) = (refused.reason.to_string(), &self.parts.topic);
                self.dead_letters.add([DeadLetter::of(&reason, topic, partition, record)]);
            }
        }
        Ok(())
    }

    /// Measures what was decoded.
    fn measure(&self, records: &[Record<'_>]) {
        telemetry::counted(self.batch.len() as u64, self.batch.duplicates, self.batch.conflicts);
        let in_seconds = self.batch.times.iter().filter(|time| in_seconds(**time)).count();
        telemetry::hint(Hint::Seconds.name(), in_seconds as u64);
        for refused in &self.refused {
            let payload = records[refused.index].payload.unwrap_or_default();
            if let Some(hint) = self.parts.decoder.hint(refused.reason, payload) {
                telemetry::hint(hint.name(), 1);
            }
        }
    }

    /// Finds the record that cannot be decoded, and replaces the decoder, whose state is in doubt.
    fn decode_panicked(
        &mut self,
        members: &Members,
        partition: u32,
        records: &[Record<'_>],
        what: &CaughtPanic,
    ) -> BatchOutcome {
        let mut decoder = self.parts.decoder.fresh();
        let panics = |record: &&Record<'_>| {
            let (mut window, mut batch, mut refused) =
                (DedupeWindow::new(0), EventBatch::default(), Vec::new());
            let alone = std::slice::from_ref(*record);
            contained(|| {
                poisoned("decode", partition, [record.offset].into_iter());
                decoder.decode(partition, alone, &mut window, 0, &mut batch, &mut refused);
            })
            .is_err()
        };
        // If none panics alone, the first one is taken.
        let found = records.iter().find(panics).or(records.first()).map(|record| record.offset);
        self.parts.decoder = self.parts.decoder.fresh();
        self.read_properties(members);
        self.note_undecodable(partition, found, what)
    }

    fn note_undecodable(
        &mut self,
        partition: u32,
        found: Option<u64>,
        what: &CaughtPanic,
    ) -> BatchOutcome {
        if let Some(offset) = found {
            tracing::error!(partition, offset, "decoding a record panicked: {what}");
            self.panicking.add_undecodable(partition, offset);
        }
        BatchOutcome::read_again()
    }

    // Events → plugins.

    fn call_plugins(
        &mut self,
        members: &Members,
        partition: u32,
        records: &[Record<'_>],
        due: &DueBatch,
    ) -> Vec<(RevisionNo, PluginOutput)> {
        let BatchParts { topic, status, view, call_mark, .. } = &self.parts;
        let input = PluginInput {
            batch: &self.batch,
            records,
            topic,
            status,
            view,
            call_mark: call_mark.as_deref(),
        };
        let mut outputs = Vec::new();
        for due in &due.metrics {
            let Some(metric) = members.get(due.no).filter(|metric| metric.plugin.needs_update())
            else {
                continue;
            };
            self.containment.forget_stale_run(due.no, partition, due.held_at);
            outputs.push((due.no, self.containment.update(metric, &input, due.from)));
        }
        outputs
    }

    // Plugins → state.

    /// Applies the plugins' outputs to the state, under its lock.
    ///
    /// # Errors
    /// [`CaughtPanic`] while the keys of the batch were resolved: nothing of it is counted.
    fn apply(
        &mut self,
        members: &Members,
        pending: &mut Pending,
        partition: u32,
        records: &[Record<'_>],
        (due, mut outputs): (&DueBatch, Vec<(RevisionNo, PluginOutput)>),
    ) -> Result<Applied, CaughtPanic> {
        let view = self.parts.view.clone();
        let mut counted = view.write();
        let counted = &mut *counted;
        let mut applied = Applied::default();
        self.measure_memory(members, counted);
        let counting = self.limit_metrics(members, pending, counted, due, &mut applied);
        contained(|| {
            poisoned("keys", partition, self.batch.offsets.iter().copied());
            counted.state.begin_for(&self.batch, counting.iter().map(|(metric, _)| metric.id));
        })?;
        for (metric, due) in counting {
            let at = outputs.iter().position(|(of, _)| *of == due.no);
            let output = at.map(|at| outputs.swap_remove(at).1).unwrap_or_default();
            self.count_metric(
                metric,
                due,
                (partition, records, output),
                counted,
                pending,
                &mut applied,
            );
        }
        Ok(applied)
    }

    /// Measures the lane's own state, if no metric has a follower that holds its cells.
    fn measure_memory(&self, members: &Members, counted: &Counted) {
        if let Some(first) = members.iter().next()
            && members.iter().all(|metric| metric.follower.is_none())
        {
            self.parts.memory_share.measure(first.id, || counted.state.sizes());
        }
    }

    /// The metrics that count the batch. A metric whose tables exceed their limits, because they
    /// were loaded so or the limit was lowered, is stopped or narrowed first, before keys are
    /// resolved.
    fn limit_metrics<'a>(
        &self,
        members: &'a Members,
        pending: &mut Pending,
        counted: &mut Counted,
        due: &DueBatch,
        applied: &mut Applied,
    ) -> Vec<(&'a LaneMetric, DueMetric)> {
        let mut counting = Vec::with_capacity(due.metrics.len());
        for due in &due.metrics {
            let Some(metric) = members.get(due.no) else { continue };
            let limited =
                limit_cells(metric, &mut counted.state, pending, &self.parts.memory_share);
            counted.metrics[metric.id.0].version += u64::from(limited.folded);
            match limited.over {
                Some(why) => applied.before.push(Event::Quarantined(due.no, why)),
                None => counting.push((metric, *due)),
            }
        }
        counting
    }

    fn count_metric(
        &mut self,
        metric: &LaneMetric,
        due: DueMetric,
        (partition, records, mut output): (u32, &[Record<'_>], PluginOutput),
        counted: &mut Counted,
        pending: &mut Pending,
        applied: &mut Applied,
    ) {
        let (no, from, begun) = (due.no, due.from, Instant::now());
        let skip = self.panicking.skipped(no, &self.batch, &output.skip);
        let part = MetricBatch {
            metric,
            from,
            output: &output,
            skip: &skip,
            batch: &self.batch,
            partition,
        };
        let open = pending.open(no, partition);
        let counting = match self.panicking.is_suspect(no, partition, from, self.batch.to) {
            true => part.one_by_one(&mut counted.state, open),
            false => part.at_once(&mut counted.state, open),
        };
        let rows = match counting {
            Ok(rows) => rows,
            Err(Panicked { at, what }) => {
                let (name, to) = (metric.plugin.name(), at.end);
                tracing::error!(
                    metric = name,
                    partition,
                    from = at.start,
                    to,
                    "counting panicked: {what}"
                );
                let why = self.panicking.note(no, &[(partition, at)]).err();
                counted.discard(metric.id);
                applied.discarded.push((no, why));
                return;
            }
        };
        let mut letters: Vec<DeadLetter> =
            part.letters(records, &self.parts.topic, &self.panicking).collect();
        // Only here: a metric that does not count the batch reports nothing.
        letters.append(&mut output.letters);
        applied.before.append(&mut output.before);
        let failed = letters.len() as u64;
        applied.letters.append(&mut letters);
        point("count.one_metric");
        let progress = &mut counted.metrics[metric.id.0];
        progress.advance(partition, from, self.batch.to);
        progress.set_failed(
            partition,
            due.failed + failed + self.containment.open_failures(no, partition),
        );
        progress.version += 1;
        progress.events += self.batch.len() as u64;
        progress.count_unreadable(&metric.plugin, &self.batch, from, &output.skip);
        progress.spent_ns += (begun.elapsed() + output.spent).as_nanos() as u64;
        if let Some((at, why)) = &output.stops {
            progress.end_at(partition, *at);
            applied.stopped.push((no, why.clone()));
        } else if let Some(why) =
            limit_cells(metric, &mut counted.state, pending, &self.parts.memory_share).over
        {
            applied.stopped.push((no, why));
        }
        let times = self.batch.times_counted(from, &skip);
        applied.counts.push(Count { revision: no, rows, times, failed });
    }

    /// Finds the record whose keys cannot be resolved.
    fn keys_panicked(
        &mut self,
        members: &Members,
        partition: u32,
        due: &DueBatch,
        what: &CaughtPanic,
    ) -> BatchOutcome {
        let panics = |row: &usize| {
            let one = self.batch.rows(*row..row + 1);
            let metrics =
                due.metrics.iter().filter_map(|due| members.get(due.no)).map(|metric| metric.id);
            contained(|| {
                poisoned("keys", partition, one.offsets.iter().copied());
                self.parts.view.write().state.begin_for(&one, metrics);
            })
            .is_err()
        };
        let found = (0..self.batch.len()).find(panics).or((!self.batch.is_empty()).then_some(0));
        self.parts.view.write().state.abandon_batch();
        let found = found.map(|row| self.batch.offsets[row]);
        self.note_undecodable(partition, found, what)
    }

    /// Wakes the threads that wait for a position, and shows new events, unless a relay shows those
    /// of all engines.
    fn publish(&self, records: &[Record<'_>], count_from: u64) {
        self.parts.view.notify();
        if let Some(feed) = &self.parts.feed {
            publish_events(feed, &self.parts.decoder, &self.batch, records, count_from);
        }
    }
}

/// The anchors of the records at the wanted offsets.
pub(super) fn find_anchors(records: &[Record<'_>], wanted: &[u64]) -> Vec<Anchor> {
    records.iter().filter(|record| wanted.contains(&record.offset)).map(anchor).collect()
}

fn anchor(record: &Record<'_>) -> Anchor {
    let crc32 = record.payload.map_or(0, crc32fast::hash);
    Anchor { offset: record.offset, timestamp_ms: record.timestamp_ms, crc32 }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
