//! Counts batches: records → verdicts → plugins → state → feed.
//!
//! What a batch is due to comes from the ledger, and what happened goes back as events: nothing here knows the commit protocol, a source
//! or a store. The order within a batch: decode and verdicts, the plugins' updates (no lock is held), then state and positions under the
//! lock, then the feed. What panics on the way stops nothing: see [`PanickingRecords`].
//!
//! Over 400 lines: one way, read from its begin to its end, with what it needs at each step.

use super::board::Board;
use super::cell_limits::limit_cells;
use super::containment::{Containment, PluginInput, PluginOutput};
use super::dead_letter_buffer::DeadLetterBuffer;
use super::ledger::{DueBatch, DueMetric};
use super::mark::Mark;
use super::members::{LaneMetric, Members, Role};
use super::metric_batch::{MetricBatch, Panicked};
use super::panicking_records::{PanickingRecords, contained};
use super::pending::Pending;
use super::publish_events::publish_events;
use super::room::Room;
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
    pub(super) role: Role,
    /// Offsets that a dedupe window spans.
    pub(super) dedupe_window: u64,
    /// Where refused records go.
    pub(super) dead_letters: Arc<DeadLetters>,
    /// Where new events are published; `None`: elsewhere.
    pub(super) feed: Option<Arc<Feed>>,
    /// Name of the topic, for dead letters.
    pub(super) topic: String,
    /// Where calls of plugins leave a mark; `None`: nowhere.
    pub(super) mark: Option<Arc<Mark>>,
    /// What is counted into.
    pub(super) view: Arc<View>,
    /// Where calls of plugins are shown.
    pub(super) board: Arc<Board>,
    /// How much memory state may take.
    pub(super) room: Arc<Room>,
}

/// Counts batches.
pub(super) struct Batches {
    parts: BatchParts,
    dead_letters: DeadLetterBuffer,
    /// Per partition held.
    windows: BTreeMap<u32, DedupeWindow>,
    /// The batch that is counted now, or was last.
    batch: EventBatch,
    refused: Vec<Refused>,
    containment: Containment,
    pub(super) panicking: PanickingRecords,
    processed: u64,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What the machine is told, in this order.
    pub(super) events: Vec<Event>,
    /// Metrics whose work panicked: nothing of them is in the state any more, and they are to be loaded again, or to stop.
    pub(super) died: Vec<(RevisionNo, Option<Quarantine>)>,
    /// The dedupe window is in doubt: nothing of the batch counts, and the partition is to be read again from what is stored.
    pub(super) read_again: bool,
}

impl Outcome {
    fn read_again() -> Outcome {
        Outcome { read_again: true, ..Outcome::default() }
    }
}

/// What the metrics made of a batch.
#[derive(Default)]
struct Applied {
    /// What the machine is told before the batch is counted.
    before: Vec<Event>,
    counts: Vec<Count>,
    /// Events on which plugins, or the engine's own work for a metric, failed.
    letters: Vec<DeadLetter>,
    /// Metrics that stop; what they have counted of the batch stays.
    stopped: Vec<(RevisionNo, Quarantine)>,
    died: Vec<(RevisionNo, Option<Quarantine>)>,
}

impl Batches {
    pub(super) fn new(parts: BatchParts, members: &Members) -> Batches {
        let mut batches = Batches {
            dead_letters: DeadLetterBuffer::new(parts.dead_letters.clone(), parts.board.clone()),
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

    /// Reads from the next batch on what these metrics declare, for all of them: a metric without its properties would find nulls.
    pub(super) fn read_properties(&mut self, members: &Members) {
        if let Err(fault) = self.parts.decoder.read_properties(&members.properties()) {
            // Pointers are checked when a plugin is loaded.
            tracing::error!("properties cannot be read, those of before are: {fault}");
        }
    }

    /// Forgets a metric.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.containment.forget(no);
        self.panicking.forget(no);
    }

    /// These partitions begin anew.
    pub(super) fn begin(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.renew_window(*partition);
            self.containment.forget_partition(*partition);
        }
    }

    /// These partitions are held no more.
    pub(super) fn end(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.windows.remove(partition);
            self.containment.forget_partition(*partition);
        }
    }

    /// The dedupe window of a partition starts empty.
    pub(super) fn renew_window(&mut self, partition: u32) {
        self.windows.insert(partition, DedupeWindow::new(self.parts.dedupe_window));
    }

    /// Records counted since the start.
    pub(super) fn processed(&self) -> u64 {
        self.processed
    }

    /// Whether dead letters have to be written before more come.
    pub(super) fn has_letters_due(&self) -> bool {
        self.dead_letters.is_due()
    }

    /// Writes down the dead letters that wait.
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
    ) -> Outcome {
        let Some(last) = records.last() else { return Outcome::default() };
        let (epoch, to, anchored) = (due.epoch, last.offset + 1, Some(anchor(last)));
        let counted = |counts| Event::Counted(progress::Counted { partition, epoch, to, last: anchored, counts });
        let Some(count_from) = due.count_from() else {
            if let Err(what) = self.warm_up(partition, records) {
                return self.decode_panicked(members, partition, records, &what);
            }
            // An event all the same: a metric that has to count these continues where they are read again.
            return Outcome { events: vec![counted(Vec::new())], ..Outcome::default() };
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
        self.parts.board.stand(|standing| standing.done.processed = processed);
        self.publish(records, count_from);
        let mut events = applied.before;
        events.push(counted(applied.counts));
        // What a metric that stops has counted stays; nothing is skipped: once fixed it continues there.
        events.extend(applied.stopped.into_iter().map(|(no, why)| Event::Quarantined(no, why)));
        Outcome { events, died: applied.died, read_again: false }
    }

    /// Moves positions past offsets before `to` that hold no record. Counts nothing.
    pub(super) fn pass(&mut self, members: &Members, partition: u32, to: u64, due: &DueBatch) -> Event {
        let mut counted = self.parts.view.write();
        for DueMetric { no, from, .. } in &due.metrics {
            let Some(metric) = members.get(*no) else { continue };
            let place = &mut counted.metrics[metric.id.0];
            place.advance(partition, *from, to);
            place.version += 1;
        }
        drop(counted);
        self.parts.view.announce();
        let count = |due: &DueMetric| Count { revision: due.no, rows: 0, watermark: None, failed: 0 };
        let counts = due.metrics.iter().map(count).collect();
        Event::Counted(progress::Counted { partition, epoch: due.epoch, to, last: None, counts })
    }

    // Records → events.

    /// Nobody counts these records, but the dedupe window must contain them.
    fn warm_up(&mut self, partition: u32, records: &[Record<'_>]) -> Result<(), String> {
        point("count.warm_up");
        let beyond = records.last().map_or(0, |record| record.offset + 1);
        self.decode_into_batch(partition, records, beyond)?;
        self.refused.clear();
        Ok(())
    }

    fn decode_into_batch(&mut self, partition: u32, records: &[Record<'_>], count_from: u64) -> Result<(), String> {
        let Some(window) = self.windows.get_mut(&partition) else { return Ok(()) };
        self.refused.clear();
        let (decoder, batch, refused) = (&mut self.parts.decoder, &mut self.batch, &mut self.refused);
        contained(|| {
            poisoned("decode", partition, records.iter().map(|record| record.offset));
            decoder.decode(partition, records, window, count_from, batch, refused);
        })
    }

    fn decode(&mut self, partition: u32, records: &[Record<'_>], count_from: u64) -> Result<(), String> {
        self.decode_into_batch(partition, records, count_from)?;
        if self.parts.role != Role::Main {
            return Ok(());
        }
        telemetry::counted(self.batch.len() as u64, self.batch.duplicates, self.batch.conflicts);
        let in_seconds = self.batch.times.iter().filter(|time| in_seconds(**time)).count();
        telemetry::hint(Hint::Seconds.name(), in_seconds as u64);
        for refused in &self.refused {
            let record = &records[refused.index];
            if let Some(hint) = self.parts.decoder.hint(refused.reason, record.payload.unwrap_or_default()) {
                telemetry::hint(hint.name(), 1);
            }
            let (reason, topic) = (refused.reason.to_string(), &self.parts.topic);
            let (offset, time) = (record.offset, record.timestamp_ms);
            self.dead_letters.add([DeadLetter::new(&reason, topic, partition, offset, time, record.payload)]);
        }
        Ok(())
    }

    /// Finds the record that cannot be decoded, and begins with a decoder that nothing was broken in.
    fn decode_panicked(&mut self, members: &Members, partition: u32, records: &[Record<'_>], what: &str) -> Outcome {
        let mut decoder = self.parts.decoder.fresh();
        let panics = |record: &&Record<'_>| {
            let (mut window, mut batch, mut refused) = (DedupeWindow::new(0), EventBatch::default(), Vec::new());
            let alone = std::slice::from_ref(*record);
            contained(|| {
                poisoned("decode", partition, [record.offset].into_iter());
                decoder.decode(partition, alone, &mut window, 0, &mut batch, &mut refused);
            })
            .is_err()
        };
        // If none panics alone, it is taken to be the first.
        let found = records.iter().find(panics).or(records.first()).map(|record| record.offset);
        self.parts.decoder = self.parts.decoder.fresh();
        self.read_properties(members);
        self.note_undecodable(partition, found, what)
    }

    fn note_undecodable(&mut self, partition: u32, found: Option<u64>, what: &str) -> Outcome {
        if let Some(offset) = found {
            tracing::error!(partition, offset, "decoding a record panicked: {what}");
            self.panicking.cannot_decode(partition, offset);
        }
        Outcome::read_again()
    }

    // Events → plugins.

    fn call_plugins(
        &mut self,
        members: &Members,
        partition: u32,
        records: &[Record<'_>],
        due: &DueBatch,
    ) -> Vec<(RevisionNo, PluginOutput)> {
        let BatchParts { topic, board, view, mark, .. } = &self.parts;
        let input = PluginInput { batch: &self.batch, records, topic, board, view, mark: mark.as_deref() };
        let mut outputs = Vec::new();
        for due in &due.metrics {
            let Some(metric) = members.get(due.no).filter(|metric| metric.plugin.needs_update()) else { continue };
            self.containment.forget_stale_run(due.no, partition, due.held_at);
            outputs.push((due.no, self.containment.update(metric, &input, due.from)));
        }
        outputs
    }

    // Plugins → state.

    /// # Errors
    /// Finding the keys of the batch panicked: nothing of it is counted.
    fn apply(
        &mut self,
        members: &Members,
        pending: &mut Pending,
        partition: u32,
        records: &[Record<'_>],
        (due, mut outputs): (&DueBatch, Vec<(RevisionNo, PluginOutput)>),
    ) -> Result<Applied, String> {
        let view = self.parts.view.clone();
        let mut counted = view.write();
        let counted = &mut *counted;
        let mut applied = Applied::default();
        self.look_for_room(members, counted);
        let counting = self.limit_metrics(members, pending, counted, due, &mut applied);
        contained(|| {
            poisoned("keys", partition, self.batch.offsets.iter().copied());
            counted.state.begin_for(&self.batch, counting.iter().map(|(metric, _)| metric.id));
        })?;
        for (metric, due) in counting {
            let at = outputs.iter().position(|(of, _)| *of == due.no);
            let output = at.map(|at| outputs.swap_remove(at).1).unwrap_or_default();
            self.count_metric(metric, due, (partition, records, output), counted, pending, &mut applied);
        }
        Ok(applied)
    }

    /// Where no metric is followed, what is held is in the lane's own state.
    fn look_for_room(&self, members: &Members, counted: &Counted) {
        if let Some(first) = members.iter().next()
            && members.iter().all(|metric| metric.follower.is_none())
        {
            self.parts.room.look(first.id, || counted.state.sizes());
        }
    }

    /// The metrics that count the batch. One whose tables were too large when it was loaded, or of which fewer cells are allowed since,
    /// stops where it is, or is made smaller before keys are resolved.
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
            let limited = limit_cells(metric, &mut counted.state, pending, &self.parts.room);
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
        let share = MetricBatch { metric, from, output: &output, skip: &skip, batch: &self.batch, partition };
        let open = pending.open(no, partition);
        let done = match self.panicking.is_suspect(no, partition, from, self.batch.to) {
            true => share.one_by_one(&mut counted.state, open),
            false => share.at_once(&mut counted.state, open),
        };
        let rows = match done {
            Ok(rows) => rows,
            Err(Panicked { at, what }) => {
                let (name, to) = (metric.plugin.name(), at.end);
                tracing::error!(metric = name, partition, from = at.start, to, "counting panicked: {what}");
                let why = self.panicking.note(no, &[(partition, at)]).err();
                counted.let_go(metric.id);
                applied.died.push((no, why));
                return;
            }
        };
        let mut letters: Vec<DeadLetter> = share.letters(records, &self.parts.topic, &self.panicking).collect();
        // Only now: of a metric that does not count the batch nothing is reported.
        letters.append(&mut output.letters);
        applied.before.append(&mut output.before);
        let failed = letters.len() as u64;
        applied.letters.append(&mut letters);
        point("count.one_metric");
        let place = &mut counted.metrics[metric.id.0];
        place.advance(partition, from, self.batch.to);
        place.leave_out(partition, due.failed + failed + self.containment.open_failures(no, partition));
        place.version += 1;
        place.events += self.batch.len() as u64;
        place.read(&metric.plugin, &self.batch, from, &output.skip);
        place.spent_ns += (begun.elapsed() + output.spent).as_nanos() as u64;
        if let Some((at, why)) = &output.stops {
            place.end_at(partition, *at);
            applied.stopped.push((no, why.clone()));
        } else if let Some(why) = limit_cells(metric, &mut counted.state, pending, &self.parts.room).over {
            applied.stopped.push((no, why));
        }
        let watermark = self.batch.watermark(from, &skip);
        applied.counts.push(Count { revision: no, rows, watermark, failed });
    }

    /// Finds the record whose keys cannot be found.
    fn keys_panicked(&mut self, members: &Members, partition: u32, due: &DueBatch, what: &str) -> Outcome {
        let panics = |row: &usize| {
            let one = self.batch.rows(*row..row + 1);
            let metrics = due.metrics.iter().filter_map(|due| members.get(due.no)).map(|metric| metric.id);
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

    /// Wakes those who wait for a position, and publishes new events; where engines share a store a relay publishes those of all.
    fn publish(&self, records: &[Record<'_>], count_from: u64) {
        self.parts.view.announce();
        if let Some(feed) = self.parts.feed.as_deref().filter(|feed| feed.has_listeners()) {
            publish_events(feed, &self.parts.decoder, &self.batch, records, count_from);
        }
    }
}

/// The anchors among some records: those at the offsets that are wanted.
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
