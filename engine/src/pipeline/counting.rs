//! A batch's way through the engine: verdicts, plugins, state, feed; and the bookkeeping around it.
//!
//! Over 400 lines: one way, read from its begin to its end, with what it needs at each step.

use super::board::Board;
use super::contain::{Containment, Given, Made};
use super::deaths::{Deaths, contained};
use super::effects::Driver;
use super::follower::Follower;
use super::letters::Letters;
use super::mark::Mark;
use super::room::Room;
use super::share::{Panicked, Share};
use super::show::show;
use super::view::View;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::decode::{Decoder, DedupeWindow, Hint, Refused, in_seconds};
use crate::event::{EventBatch, Record};
use crate::failpoint::{point, poisoned};
use crate::feed::Feed;
use crate::plugin;
use crate::progress::{Anchor, Count, Deliveries, Event, History, Machine, Quarantine, ReadFrom, RevisionNo, Settings};
use crate::state::{MetricId, Sealed};
use crate::store::RevisionId;
use crate::telemetry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A metric as the lane knows it.
pub struct Metric {
    /// Its number in the machine.
    pub no: RevisionNo,
    /// Its number in the state.
    pub id: MetricId,
    /// Its revision in the store.
    pub revision: RevisionId,
    /// Written with a new life: what the tables are.
    pub meta: Vec<u8>,
    /// The plugin.
    pub plugin: Arc<plugin::Metric>,
    /// Where it begins on partitions that it never counted.
    pub history: History,
    /// Where its cells are held if engines share the store; else in the lane's view.
    pub follower: Option<Arc<Follower>>,
    /// First half of the SHA-256 of its plugin's file, as hexadecimal digits.
    pub code: String,
    /// Why its plugin is not called, from the first moment on.
    pub blamed: Option<Quarantine>,
    /// Per partition the offsets that its plugin is given one by one: the process ended among them before.
    pub suspected: Vec<(u32, Range<u64>)>,
}

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows the log: what it reads is new, and counted in the figures.
    Main,
    /// It replays history: others have seen and judged these records before.
    Backfill,
    /// It follows the log for a metric that reads events as they were read before: others see and judge these records too.
    Beside,
}

/// Where a lane puts what is not counted.
pub(super) struct Outlets {
    /// Refused records.
    pub(super) dead_letters: Arc<DeadLetters>,
    /// New events, for whoever listens.
    pub(super) feed: Option<Arc<Feed>>,
    /// Name of the topic, for dead letters.
    pub(super) topic: String,
    /// Where calls of plugins leave a mark.
    pub(super) mark: Option<Arc<Mark>>,
}

/// What one partition added to a revision and is not stored yet.
#[derive(Default)]
pub(super) struct Unstored {
    /// Counted since the last commit was sent.
    pub(super) open: Vec<Sealed>,
    /// Sent, up to this offset; kept until the store said yes.
    pub(super) sent: Option<(u64, Vec<Sealed>)>,
}

/// The lane's own state.
pub(super) struct Counting {
    pub(super) machine: Machine,
    pub(super) view: Arc<View>,
    pub(super) board: Arc<Board>,
    pub(super) room: Arc<Room>,
    pub(super) role: Role,
    pub(super) metrics: Vec<Metric>,
    pub(super) unstored: HashMap<(RevisionNo, u32), Unstored>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) decoder: Decoder,
    pub(super) dedupe_window: u64,
    max_pending_rows: u64,
    /// What the source delivers, and under which stamps.
    pub(super) deliveries: Deliveries,
    /// Per partition held.
    windows: BTreeMap<u32, DedupeWindow>,
    pub(super) batch: EventBatch,
    refused: Vec<Refused>,
    pub(super) letters: Letters,
    contained: Containment,
    pub(super) deaths: Deaths,
    feed: Option<Arc<Feed>>,
    topic: String,
    mark: Option<Arc<Mark>>,
    pub(super) processed: u64,
}

/// What became of a batch.
#[derive(Default)]
struct Applied {
    /// What the machine is told before the batch is counted.
    before: Vec<Event>,
    counts: Vec<Count>,
    /// What plugins, or the engine's own work for a metric, failed on.
    letters: Vec<DeadLetter>,
    /// Metrics that stop, with what they have counted of the batch.
    stopped: Vec<(RevisionNo, Quarantine)>,
    /// Metrics whose work panicked: nothing of them is in the state any more.
    died: Vec<(RevisionNo, Option<Quarantine>)>,
    /// Set where finding the keys of the batch panicked: nothing of it is counted.
    no_keys: Option<String>,
}

impl Counting {
    pub(super) fn new(
        settings: Settings,
        view: Arc<View>,
        (board, room): (Arc<Board>, Arc<Room>),
        role: Role,
        metrics: Vec<Metric>,
        decoder: Decoder,
        outlets: Outlets,
    ) -> Counting {
        let Outlets { dead_letters, feed, topic, mark } = outlets;
        let mut counting = Counting {
            dedupe_window: settings.dedupe_window,
            max_pending_rows: settings.max_pending_rows,
            machine: Machine::new(settings),
            view,
            board,
            room,
            role,
            metrics,
            unstored: HashMap::new(),
            dead_letters,
            decoder,
            deliveries: Deliveries::default(),
            windows: BTreeMap::new(),
            batch: EventBatch::default(),
            refused: Vec::new(),
            letters: Letters::default(),
            contained: Containment::default(),
            deaths: Deaths::default(),
            feed,
            topic,
            mark,
            processed: 0,
        };
        counting.read_properties();
        counting
    }

    pub(super) fn metric(&self, no: RevisionNo) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.no == no)
    }

    /// What the machine is told of a metric whose plugin is not to be called.
    pub(super) fn blame(&self, no: RevisionNo) -> Option<Event> {
        let why = self.metric(no)?.blamed.clone()?;
        Some(Event::Quarantined(no, why))
    }

    /// From the next batch on what these metrics declare is read, for all of them. A metric that were counted without would
    /// find nothing but nulls.
    pub(super) fn read_properties(&mut self) {
        let properties: Vec<_> = self.metrics.iter().flat_map(|metric| metric.plugin.properties()).collect();
        if let Err(fault) = self.decoder.read_properties(&properties) {
            // Pointers are checked when a plugin is loaded.
            tracing::error!("properties cannot be read, those of before are: {fault}");
        }
    }

    /// Lets go of a metric: nothing of it is waited for any more.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.metrics.retain(|metric| metric.no != no);
        self.read_properties();
        self.unstored.retain(|(of, _), _| *of != no);
        self.contained.forget(no);
        self.deaths.forget(no);
    }

    /// These partitions begin anew: what comes of them is thrown away until the machine says where to read.
    pub(super) fn assigned(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.deliveries.begin(*partition);
            self.windows.insert(*partition, DedupeWindow::new(self.dedupe_window));
            self.contained.forget_partition(*partition);
        }
        self.note_held();
    }

    pub(super) fn revoked(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.deliveries.end(*partition);
            self.windows.remove(partition);
            self.contained.forget_partition(*partition);
        }
        self.note_held();
    }

    fn note_held(&self) {
        let held = self.held();
        self.board.stand(|standing| {
            standing.held = held;
            standing.assigned = true;
        });
    }

    pub(super) fn held(&self) -> Vec<u32> {
        self.deliveries.held().collect()
    }

    /// The source stands where a read begins: what comes now counts under its stamp.
    pub(super) fn took_over(&mut self, partition: u32, read: ReadFrom) {
        if self.deliveries.took_over(partition, read.epoch) && read.fresh {
            self.windows.insert(partition, DedupeWindow::new(self.dedupe_window));
        }
    }

    pub(super) fn wants_checkpoint(&self) -> bool {
        self.machine.pending_rows() >= self.max_pending_rows / 2 || self.letters.are_due()
    }

    /// Counts at most a batch of records of one partition, in offset order.
    pub(super) fn count(&mut self, partition: u32, records: &[Record<'_>], driver: &mut Driver) {
        let mut rest = records;
        while let (Some(first), Some(last)) = (rest.first(), rest.last()) {
            let Some(offset) = self.deaths.first_undecodable(partition, first.offset..last.offset + 1) else { break };
            let at = rest.partition_point(|record| record.offset < offset);
            self.count_decodable(partition, &rest[..at], driver);
            if !self.passes(partition, offset, driver) {
                return;
            }
            rest = &rest[at + 1..];
        }
        self.count_decodable(partition, rest, driver);
    }

    fn count_decodable(&mut self, partition: u32, records: &[Record<'_>], driver: &mut Driver) {
        let Some(last) = records.last() else { return };
        let Some(epoch) = self.deliveries.comes(partition) else { return };
        let to = last.offset + 1;
        let anchors: Vec<u64> = self.machine.anchors(partition, to).collect();
        for record in records.iter().filter(|record| anchors.contains(&record.offset)) {
            driver.tell(self, Event::Anchor(partition, epoch, anchor(record)));
        }
        let due: Vec<(RevisionNo, u64)> = self.machine.due(partition, epoch, to).collect();
        let Some(count_from) = due.iter().map(|(_, from)| *from).min() else {
            if let Err(what) = self.warm_up(partition, records) {
                return self.decode_panicked(partition, records, &what, driver);
            }
            // Told all the same: whoever has to count these goes on from where they are read again.
            let counted =
                crate::progress::Counted { partition, epoch, to, last: Some(anchor(last)), counts: Vec::new() };
            return driver.tell(self, Event::Counted(counted));
        };
        if let Err(what) = self.decode(partition, records, count_from) {
            return self.decode_panicked(partition, records, &what, driver);
        }
        point("count.decoded");
        let applied = self.apply(partition, records, &due);
        if let Some(what) = &applied.no_keys {
            return self.keys_panicked(partition, what, driver);
        }
        self.refuse(applied.letters);
        for event in applied.before {
            driver.tell(self, event);
        }
        point("count.counted");
        self.processed += self.batch.records;
        let processed = self.processed;
        self.board.stand(|standing| standing.done.processed = processed);
        self.show(records, count_from);
        let counts = applied.counts;
        let counted = crate::progress::Counted { partition, epoch, to, last: Some(anchor(last)), counts };
        driver.tell(self, Event::Counted(counted));
        for (no, why) in applied.stopped {
            // What it has counted stays; nothing is skipped: mended it goes on from there.
            driver.tell(self, Event::Quarantined(no, why));
        }
        for (no, why) in applied.died {
            driver.load_afresh(self, no, why);
        }
    }

    /// Offsets before `to` that were not handed over hold no record: positions move, and nothing is counted.
    pub(super) fn pass(&mut self, partition: u32, to: u64, driver: &mut Driver) {
        let Some(epoch) = self.deliveries.comes(partition) else { return };
        let due: Vec<(RevisionNo, u64)> = self.machine.due(partition, epoch, to).collect();
        let mut counted = self.view.write();
        for (no, from) in &due {
            let Some(metric) = self.metrics.iter().find(|metric| metric.no == *no) else { continue };
            let place = &mut counted.metrics[metric.id.0];
            place.advance(partition, *from, to);
            place.version += 1;
        }
        drop(counted);
        self.view.announce();
        let counts = due.iter().map(|(no, _)| Count { revision: *no, rows: 0, watermark: None, failed: 0 }).collect();
        driver.tell(self, Event::Counted(crate::progress::Counted { partition, epoch, to, last: None, counts }));
    }

    /// Nobody counts these records, but the window must know them.
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
        let (decoder, batch, refused) = (&mut self.decoder, &mut self.batch, &mut self.refused);
        contained(|| {
            poisoned("decode", partition, records.iter().map(|record| record.offset));
            decoder.decode(partition, records, window, count_from, batch, refused);
        })
    }

    fn decode(&mut self, partition: u32, records: &[Record<'_>], count_from: u64) -> Result<(), String> {
        self.decode_into_batch(partition, records, count_from)?;
        if self.role != Role::Main {
            return Ok(());
        }
        telemetry::counted(self.batch.len() as u64, self.batch.duplicates, self.batch.conflicts);
        let in_seconds = self.batch.times.iter().filter(|time| in_seconds(**time)).count();
        telemetry::hint(Hint::Seconds.name(), in_seconds as u64);
        let refused = std::mem::take(&mut self.refused);
        for refused in &refused {
            let record = &records[refused.index];
            if let Some(hint) = self.decoder.hint(refused.reason, record.payload.unwrap_or_default()) {
                telemetry::hint(hint.name(), 1);
            }
            let reason = refused.reason.to_string();
            let (offset, time) = (record.offset, record.timestamp_ms);
            self.refuse([DeadLetter::new(&reason, &self.topic, partition, offset, time, record.payload)]);
        }
        self.refused = refused;
        Ok(())
    }

    fn apply(&mut self, partition: u32, records: &[Record<'_>], due: &[(RevisionNo, u64)]) -> Applied {
        let mut applied = Applied::default();
        let mut made: Vec<(RevisionNo, Made)> = Vec::new();
        for (no, from) in due {
            let Some(metric) = self.metrics.iter().find(|metric| metric.no == *no) else { continue };
            if metric.plugin.needs_update() {
                self.contained.go_on(*no, partition, self.machine.held_at(*no, partition));
                let (view, board) = (&*self.view, &*self.board);
                let mark = self.mark.as_deref();
                let given = Given { batch: &self.batch, records, topic: &self.topic, board, view, mark };
                made.push((*no, self.contained.update(metric, &given, *from)));
            }
        }
        let mut counted = self.view.write();
        let counted = &mut *counted;
        if self.metrics.iter().all(|metric| metric.follower.is_none()) {
            self.metrics.iter().take(1).for_each(|metric| self.room.look(metric.id, || counted.state.sizes()));
        }
        let metrics = &self.metrics;
        let mut counting: Vec<(&Metric, u64)> = Vec::with_capacity(due.len());
        for (no, from) in due {
            let Some(metric) = metrics.iter().find(|metric| metric.no == *no) else { continue };
            // It was so when it was loaded, or may hold less since: it stands where it stopped, or is made smaller before keys
            // are resolved.
            let (folded, over) = metric.bound(&mut counted.state, &mut self.unstored, &self.room);
            counted.metrics[metric.id.0].version += u64::from(folded);
            match over {
                Some(why) => applied.before.push(Event::Quarantined(*no, why)),
                None => counting.push((metric, *from)),
            }
        }
        let keys = contained(|| {
            poisoned("keys", partition, self.batch.offsets.iter().copied());
            counted.state.begin_for(&self.batch, counting.iter().map(|(metric, _)| metric.id));
        });
        if let Err(what) = keys {
            applied.no_keys = Some(what);
            return applied;
        }
        for (metric, from) in counting {
            let no = &metric.no;
            let begun = Instant::now();
            let at = made.iter().position(|(of, _)| of == no);
            let mut made = at.map(|at| made.swap_remove(at).1).unwrap_or_default();
            let skip = self.deaths.skipped(*no, &self.batch, &made.skip);
            let share = Share { metric, from, made: &made, skip: &skip, batch: &self.batch, partition };
            let open = &mut self.unstored.entry((*no, partition)).or_default().open;
            let done = match self.deaths.is_suspect(*no, partition, from, self.batch.to) {
                true => share.one_by_one(&mut counted.state, open),
                false => share.at_once(&mut counted.state, open),
            };
            let rows = match done {
                Ok(rows) => rows,
                Err(Panicked { at, what }) => {
                    let name = metric.plugin.name();
                    tracing::error!(
                        metric = name,
                        partition,
                        from = at.start,
                        to = at.end,
                        "counting panicked: {what}"
                    );
                    let why = self.deaths.note(*no, &[(partition, at)]).err();
                    counted.let_go(metric.id);
                    applied.died.push((*no, why));
                    continue;
                }
            };
            let mut letters: Vec<DeadLetter> = share.letters(records, &self.topic, &self.deaths).collect();
            // Only now: of one that does not count the batch nothing is to be said.
            letters.append(&mut made.letters);
            applied.before.append(&mut made.before);
            let failed = letters.len() as u64;
            applied.letters.append(&mut letters);
            point("count.one_metric");
            let place = &mut counted.metrics[metric.id.0];
            place.advance(partition, from, self.batch.to);
            let left_out = self.machine.failed(*no, partition) + failed + self.contained.pending(*no, partition);
            place.leave_out(partition, left_out);
            place.version += 1;
            place.events += self.batch.len() as u64;
            place.read(&metric.plugin, &self.batch, from, &made.skip);
            place.spent_ns += (begun.elapsed() + made.spent).as_nanos() as u64;
            if let Some((at, why)) = &made.stops {
                place.end_at(partition, *at);
                applied.stopped.push((*no, why.clone()));
            } else if let (_, Some(why)) = metric.bound(&mut counted.state, &mut self.unstored, &self.room) {
                applied.stopped.push((*no, why));
            }
            let watermark = self.batch.watermark(from, &skip);
            applied.counts.push(Count { revision: *no, rows, watermark, failed });
        }
        applied
    }

    /// Shows new events to whoever listens, unless others count too: then a relay shows those of all.
    fn show(&mut self, records: &[Record<'_>], count_from: u64) {
        self.view.announce();
        if let Some(feed) = self.feed.as_deref().filter(|feed| feed.has_listeners()) {
            show(feed, &self.decoder, &self.batch, records, count_from);
        }
    }
}

fn anchor(record: &Record<'_>) -> Anchor {
    let crc32 = record.payload.map_or(0, crc32fast::hash);
    Anchor { offset: record.offset, timestamp_ms: record.timestamp_ms, crc32 }
}
