//! A lane: one thread that polls a source, counts, and drives the commit protocol. The main one follows the log's end; others
//! replay history for metrics that came later.
//!
//! Only the lane knows all of its parts: what comes from the source goes through [`Batches`] into state, what happened is entered into the
//! [`Ledger`], whose actions the [`Executor`] carries out; their answers are entered again. Every decision about progress is made by the
//! machine in the ledger; nothing is counted that it does not know of.
//!
//! Over 400 lines: the one place where everything meets.

use super::batch::{BatchParts, Batches, find_anchors};
use super::board::{Board, Done};
use super::cell_limits::find_oversized;
use super::command::Command;
use super::executor::{Executor, LogAnswer, Waited};
use super::ledger::{Action, Ledger};
use super::mark::Mark;
use super::members::{LaneMetric, Members, Role};
use super::room::Room;
use super::steering::Steering;
use super::view::View;
use crate::dead_letter::DeadLetters;
use crate::decode::{Decoder, MAX_RECORDS};
use crate::event::{Position, Record};
use crate::failpoint::point;
use crate::feed::Feed;
use crate::outage::Said;
use crate::progress::{Answer, Event, Quarantine, RevisionNo, Settings};
use crate::source::{Bounds, Sink, Source, SourceError, Start, Survey};
use crate::store::Store;
use crate::telemetry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Records handled between two looks at anything else; a batch of about this size is best for the caches.
const BATCH: usize = 2_048;

/// The same in a lane that replays history: the main lane waits while a batch is counted.
const SHORT: usize = 512;

/// Longest wait for news: how late a checkpoint or an answer from the store is noticed on a quiet log.
const WAIT: Duration = Duration::from_millis(20);

/// The same while the log is away: nothing comes that has to be noticed soon.
const WAIT_LONGER: Duration = Duration::from_millis(100);

/// How often quiet partitions are committed too, so that a store that went back is noticed; at most.
const BEAT: Duration = Duration::from_millis(900);

/// How often the log is asked for its ends: it may have to ask a broker.
const LAG: Duration = Duration::from_secs(2);

/// A store that does not answer is asked again after twice as long each time, from this on.
const STORE_AGAIN: Duration = Duration::from_millis(50);

/// Longest pause before it is.
const STORE_AGAIN_AT_MOST: Duration = Duration::from_secs(3);

/// Longest wait for the last commits when partitions are taken from us.
const FLUSH: Duration = Duration::from_secs(4);

/// How long an answer of the store is waited for before what is due is sent again, while partitions are given up.
const RETRY: Duration = Duration::from_millis(100);

/// How long the end of a lane may take that ends by itself.
const UNASKED: Duration = Duration::from_secs(2);

/// What a lane is made of.
pub struct Parts {
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// Tells which log it is, and what it holds.
    pub survey: Arc<dyn Survey>,
    /// Where state goes.
    pub store: Arc<dyn Store>,
    /// Whether other engines use the store too.
    pub shared: bool,
    /// What is shown to readers.
    pub view: Arc<View>,
    /// Where the lane says how it stands.
    pub board: Arc<Board>,
    /// How much memory state may take.
    pub room: Arc<Room>,
    /// What it is for.
    pub role: Role,
    /// The metrics; their ids are those of the view's state.
    pub metrics: Vec<LaneMetric>,
    /// The protocol's settings.
    pub settings: Settings,
    /// Turns records into events.
    pub decoder: Decoder,
    /// Where refused records go.
    pub dead_letters: Arc<DeadLetters>,
    /// Where new events are shown; `None`: elsewhere.
    pub feed: Option<Arc<Feed>>,
    /// How often state is made durable.
    pub checkpoint: Duration,
    /// Name of the topic, for dead letters.
    pub topic: String,
    /// Where calls of plugins leave a mark; `None`: nowhere.
    pub mark: Option<Arc<Mark>>,
}

/// The lane's thread.
pub(super) struct Lane {
    pub(super) members: Members,
    pub(super) ledger: Ledger,
    pub(super) batches: Batches,
    pub(super) executor: Executor,
    steering: Steering,
    view: Arc<View>,
    board: Arc<Board>,
    room: Arc<Room>,
    role: Role,
    pub(super) commands: Receiver<Command>,
    /// Set while it takes no records.
    pub(super) stands_until: Option<Instant>,
    /// 0 while the lane is to run; then how long its end may take, milliseconds.
    stop: Arc<AtomicU64>,
    checkpoint: Duration,
    /// Records handled at once.
    batch: usize,
    /// Whether the source is shown to be in trouble.
    troubled: bool,
    /// Faults of the source that were just reported.
    said: Said,
    /// Why the source is of no more use, once it is not: then the lane ends.
    unusable: Option<String>,
    /// Partitions whose log ended before what was counted of them, at the last look.
    short: BTreeSet<u32>,
    /// Revisions whose state in memory is in doubt: loaded again after what is being carried out; and why they then stop, if they do.
    doubtful: Vec<(RevisionNo, Option<Quarantine>)>,
}

impl Lane {
    /// Prepares a lane; the threads beside it start here.
    pub(super) fn new(
        parts: Parts,
        commands: Receiver<Command>,
        stop: Arc<AtomicU64>,
    ) -> std::io::Result<(Lane, Box<dyn Source>)> {
        let (view, board, room) = (parts.view, parts.board, parts.room);
        let members = Members::new(parts.metrics);
        let batches = BatchParts {
            decoder: parts.decoder,
            role: parts.role,
            dedupe_window: parts.settings.dedupe_window,
            dead_letters: parts.dead_letters,
            feed: parts.feed,
            topic: parts.topic,
            mark: parts.mark,
            view: view.clone(),
            board: board.clone(),
            room: room.clone(),
        };
        let shown = (view.clone(), board.clone(), room.clone());
        let lane = Lane {
            batches: Batches::new(batches, &members),
            executor: Executor::start(parts.store, parts.survey, shown, parts.shared)?,
            ledger: Ledger::new(parts.settings),
            steering: Steering::default(),
            members,
            view,
            board,
            room,
            role: parts.role,
            commands,
            stands_until: None,
            stop,
            checkpoint: parts.checkpoint,
            batch: if parts.role == Role::Backfill { SHORT } else { BATCH },
            troubled: false,
            said: Said::default(),
            unusable: None,
            short: BTreeSet::new(),
            doubtful: Vec::new(),
        };
        Ok((lane, parts.source))
    }

    /// Counts until told to stop or the source is of no more use.
    pub(super) fn run(mut self, mut source: Box<dyn Source>) -> Done {
        let joined: Vec<Event> =
            self.members.iter().map(|metric| Event::Joined(metric.no, metric.history.clone(), None)).collect();
        for event in joined {
            let Event::Joined(no, ..) = event else { continue };
            self.tell(event);
            self.blame(no);
        }
        let mut due = Instant::now() + self.checkpoint;
        let (mut looked, mut beat, mut tries) = (Instant::now(), Instant::now(), 0);
        while self.stop.load(Ordering::Relaxed) == 0 && self.executor.ended().is_none() {
            self.steer(&mut *source);
            self.ask_log(false);
            if !self.poll(&mut source, due) {
                break;
            }
            self.take_answers();
            self.executor.tidy_up(&self.members);
            let away = self.ledger.store_away();
            if Instant::now() >= due || (!away && self.wants_checkpoint()) {
                tries = if away { tries + 1 } else { 0 };
                due = Instant::now() + self.checkpoint.max(pause(tries));
                self.stop_oversized();
                if beat.elapsed() >= BEAT {
                    beat = Instant::now();
                    self.heartbeat(&mut *source);
                } else {
                    self.tell(Event::CheckpointDue);
                }
            }
            let due = looked.elapsed() >= LAG;
            if due {
                looked = Instant::now();
            }
            self.ask_log(due || source.wants_survey());
            if let Some(answer) = self.executor.log_answer() {
                self.surveyed(&mut *source, answer);
            }
        }
        if let Some(thread) = self.executor.ended() {
            tracing::error!("counting stops: {thread} has ended");
        }
        self.finish(source)
    }

    /// Takes what the source has, or obeys commands. Whether the source is of use.
    fn poll(&mut self, source: &mut Box<dyn Source>, due: Instant) -> bool {
        let longest = if self.troubled { WAIT_LONGER } else { WAIT };
        let wait = due.saturating_duration_since(Instant::now()).min(longest);
        let polled = match self.unusable.take() {
            Some(what) => Err(SourceError::Fatal(what)),
            None if self.obey(wait) => Ok(()),
            None => source.poll(wait, self.batch, self),
        };
        match polled {
            Ok(()) => true,
            Err(SourceError::Transient(_, what)) => {
                self.trouble(what);
                true
            }
            Err(SourceError::Fatal(what)) => {
                tracing::error!("counting stopped: {what}");
                self.board.stand(|standing| standing.source_trouble = Some(what));
                false
            }
        }
    }

    // Events → ledger → actions → executor → events.

    /// Enters an event into the ledger and carries out what it says, until nothing is left to do.
    pub(super) fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.ledger.on(event) {
                events.extend(self.ledger.keep(effect).and_then(|action| self.carry_out(action)));
            }
        }
        for (no, why) in std::mem::take(&mut self.doubtful) {
            self.load_again(no, why);
        }
        if self.ledger.has_halted() {
            self.show_stop_reasons();
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        if matches!(action, Action::Commit { .. }) {
            // What was refused is written down before the offsets that it was refused at.
            point("commit.due");
            self.batches.write_dead_letters();
            point("commit.letters");
        }
        let ran = self.executor.run(action, &self.members, &mut self.ledger.pending);
        if let Some((no, at)) = ran.panicked {
            // Counted one by one it is sealed one by one: so the record is found.
            let why = self.batches.panicking.note(no, &at).err();
            self.doubtful.push((no, why));
        }
        ran.event
    }

    /// What is in memory of a revision is in doubt: it is loaded from the store and counted on from there, unless `why` says why it
    /// must stop.
    fn load_again(&mut self, no: RevisionNo, why: Option<Quarantine>) {
        let Some(metric) = self.members.get(no) else { return };
        let (left, joined) = Ledger::rejoin(metric, why);
        self.tell(left);
        self.executor.forget(no);
        self.ledger.pending.drop_revision(no);
        joined.into_iter().for_each(|event| self.tell(event));
    }

    /// Stops a metric whose plugin must not be called.
    pub(super) fn blame(&mut self, no: RevisionNo) {
        if let Some(event) = self.members.blame(no) {
            self.tell(event);
        }
    }

    /// Enters what the threads beside the lane have answered.
    fn take_answers(&mut self) {
        while let Some(events) = self.executor.poll(&self.members) {
            self.settle(events);
        }
    }

    fn settle(&mut self, events: Vec<Event>) {
        for event in events {
            let committed = matches!(event, Event::Answered(..));
            let applied = matches!(event, Event::Answered(_, _, Answer::Applied));
            self.tell(event);
            if applied {
                self.show_done();
            }
            if committed {
                point("commit.settled");
            }
        }
    }

    /// Waits until nothing of these partitions is uncommitted, at most `limit`. A miss is safe: the rest is counted again from the log
    /// by the engine that comes next.
    pub(super) fn flush(&mut self, partitions: &[u32], limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.ledger.flushed(partitions) {
            if Instant::now() >= deadline {
                tracing::warn!("the last records were not committed in time; they will be counted again");
                return;
            }
            match self.executor.wait_for_commit(&self.members, RETRY) {
                Waited::Answered(events) => self.settle(events),
                Waited::Ended => return,
                // Nothing is on its way, or the store does not answer: what is due is sent (again).
                Waited::Nothing => self.tell(Event::CheckpointDue),
            }
        }
    }

    /// Waits for the compactions of a revision that are under way: what they raise belongs to its views. Whether all are answered.
    pub(super) fn settle_compactions(&mut self, no: RevisionNo, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.executor.still_compacts(no) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.executor.wait_for_compaction(&self.members, left) {
                Waited::Answered(events) => self.settle(events),
                Waited::Nothing | Waited::Ended => return false,
            }
        }
        true
    }

    // Records → batches.

    /// Counts at most a batch of records of one partition, in offset order; a record that cannot be decoded is passed or stopped at.
    fn count(&mut self, partition: u32, records: &[Record<'_>]) {
        let mut rest = records;
        while let (Some(first), Some(last)) = (rest.first(), rest.last()) {
            let Some(offset) = self.batches.first_undecodable(partition, first.offset..last.offset + 1) else { break };
            let at = rest.partition_point(|record| record.offset < offset);
            self.count_decodable(partition, &rest[..at]);
            if !self.passes(partition, offset) {
                return;
            }
            rest = &rest[at + 1..];
        }
        self.count_decodable(partition, rest);
    }

    fn count_decodable(&mut self, partition: u32, records: &[Record<'_>]) {
        let Some(last) = records.last() else { return };
        let Some(epoch) = self.ledger.epoch(partition) else { return };
        let to = last.offset + 1;
        for anchor in find_anchors(records, &self.ledger.anchors(partition, to)) {
            self.tell(Event::Anchor(partition, epoch, anchor));
        }
        // Only now: an anchor may stop a metric.
        let due = self.ledger.due(partition, epoch, to);
        let outcome = self.batches.count(&self.members, &mut self.ledger.pending, partition, records, &due);
        outcome.events.into_iter().for_each(|event| self.tell(event));
        for (no, why) in outcome.died {
            self.load_again(no, why);
        }
        if outcome.read_again {
            self.read_again(&[partition]);
        }
    }

    /// Whether all metrics have passed a record that cannot be decoded. One that has counted up to it is stopped before it.
    fn passes(&mut self, partition: u32, offset: u64) -> bool {
        let Some(epoch) = self.ledger.epoch(partition) else { return false };
        if self.ledger.due(partition, epoch, offset + 1).metrics.is_empty() {
            return true;
        }
        // No record lies between what was counted and this one.
        self.pass(partition, offset);
        self.tell(Event::Undecodable(partition, epoch, offset));
        false
    }

    /// Offsets before `to` that were not delivered hold no record: positions move, and nothing is counted.
    fn pass(&mut self, partition: u32, to: u64) {
        let Some(epoch) = self.ledger.epoch(partition) else { return };
        let due = self.ledger.due(partition, epoch, to);
        let passed = self.batches.pass(&self.members, partition, to, &due);
        self.tell(passed);
    }

    /// Loads what is stored of partitions and compares it with the log, as at their assignment.
    fn read_again(&mut self, partitions: &[u32]) {
        if !partitions.is_empty() {
            self.steering.begin_again(partitions);
            self.tell(Event::Lost(partitions.to_vec()));
            self.begin(partitions);
            self.tell(Event::Assigned(partitions.to_vec()));
        }
    }

    /// Partitions begin anew: what comes of them is thrown away until the machine says where to read.
    fn begin(&mut self, partitions: &[u32]) {
        self.ledger.begin(partitions);
        self.batches.begin(partitions);
        self.show_held();
    }

    fn steer(&mut self, source: &mut dyn Source) {
        let steered = self.steering.steer(&mut self.ledger, source);
        steered.fresh.into_iter().for_each(|partition| self.batches.renew_window(partition));
        steered.faults.iter().for_each(|fault| self.source_trouble(fault));
    }

    // What is due from time to time.

    fn wants_checkpoint(&self) -> bool {
        self.ledger.wants_checkpoint() || self.batches.has_letters_due()
    }

    fn heartbeat(&mut self, source: &mut dyn Source) {
        self.tell(Event::HeartbeatDue);
        self.executor.point_out(&self.members);
        let committed: Vec<(u32, u64)> = self.ledger.committed(&self.members).into_iter().collect();
        source.publish_progress(&committed);
        point("publish.done");
    }

    /// Stops metrics that hold too many cells or too much memory.
    fn stop_oversized(&mut self) {
        for (no, why) in find_oversized(&self.members, &self.view, &self.room, &mut self.ledger.pending) {
            if !self.ledger.is_stopped(no) {
                self.tell(Event::Quarantined(no, why));
            }
        }
    }

    fn ask_log(&mut self, due: bool) {
        self.executor.ask_log(due, || self.ledger.position(&self.members));
    }

    /// Notes what the log answered: whether it still holds what was counted, what stalls, whether it answers at all.
    fn surveyed(&mut self, source: &mut dyn Source, answer: LogAnswer) {
        if let Ok((bounds, _)) = &answer.held {
            self.show_lag(bounds);
        }
        answer.events.into_iter().for_each(|event| self.tell(event));
        let noted =
            |(bounds, counted): (Vec<Bounds>, Position)| source.surveyed(&bounds, self).map(|()| (bounds, counted));
        match answer.held.and_then(noted) {
            Ok((bounds, counted)) => {
                self.note_stalls(source.stalled());
                self.note_ends(&bounds, &counted);
                // Of a log that holds nothing the source itself says why.
                if !self.ledger.held().is_empty() {
                    self.troubled = true; // other places may have shown it too
                    self.no_trouble();
                }
            }
            Err(SourceError::Transient(_, what)) => self.trouble(what),
            Err(fault) => self.source_trouble(&fault),
        }
    }

    fn note_stalls(&self, stalled: Vec<u32>) {
        let new = self.board.look(|standing| stalled.iter().filter(|p| !standing.stalled.contains(p)).count());
        telemetry::stalled(new as u64);
        self.board.stand(|standing| standing.stalled = stalled);
    }

    /// A log that twice ends before what was counted when it was asked was truncated.
    fn note_ends(&mut self, bounds: &[Bounds], counted: &Position) {
        let short: BTreeSet<u32> = self.ledger.beyond(bounds, counted).into_iter().collect();
        let again: Vec<u32> = short.intersection(&self.short).copied().collect();
        self.short = short;
        self.read_again(&again);
    }

    // What is shown.

    fn show_held(&self) {
        let held = self.ledger.held();
        self.board.stand(|standing| {
            standing.held = held;
            standing.assigned = true;
        });
    }

    fn show_lag(&self, bounds: &[Bounds]) {
        let position = self.ledger.position(&self.members);
        let lag = |b: &Bounds| {
            let counted = position.0.get(&b.partition).copied().unwrap_or(b.start).max(b.start);
            (b.partition, b.end.saturating_sub(counted))
        };
        let lag: BTreeMap<u32, u64> = bounds.iter().map(lag).collect();
        let open: BTreeMap<u32, u64> = bounds.iter().map(|bounds| (bounds.partition, bounds.open)).collect();
        if self.role == Role::Main {
            telemetry::lag(&lag, &open);
        }
        self.board.stand(|standing| {
            standing.partitions = bounds.len();
            standing.lag = lag;
            standing.open = open.values().sum();
        });
    }

    /// Shows what was done, so that it is known even of a lane that never ends orderly.
    fn show_done(&self) {
        let done = self.ledger.done(&self.members, self.batches.processed());
        self.board.stand(|standing| standing.done = done);
    }

    fn show_stop_reasons(&self) {
        let shown = self.board.look(|standing| standing.halts.clone());
        let now = self.ledger.stop_reasons(&self.members, &shown);
        if now != shown {
            self.board.stand(|standing| standing.halts = now);
        }
    }

    fn source_trouble(&mut self, fault: &SourceError) {
        match fault {
            SourceError::Transient(_, what) if self.said.due("source") => tracing::warn!("{what}"),
            SourceError::Transient(..) => {}
            SourceError::Fatal(what) => self.unusable = Some(what.clone()),
        }
        self.board.stand(|standing| standing.source_trouble = Some(fault.to_string()));
    }

    /// Shown until the log answers again: a quiet poll says nothing about a log that is away.
    fn trouble(&mut self, what: String) {
        self.troubled = true;
        self.board.stand(|standing| standing.source_trouble = Some(what));
    }

    fn no_trouble(&mut self) {
        if std::mem::take(&mut self.troubled) {
            self.board.stand(|standing| standing.source_trouble = None);
        }
    }

    fn finish(mut self, source: Box<dyn Source>) -> Done {
        // A lane that ends by itself was not told how long that may take.
        let limit = match self.stop.load(Ordering::Relaxed) {
            0 => UNASKED,
            millis => Duration::from_millis(millis),
        };
        let begun = Instant::now();
        self.board.stand(|standing| standing.stopping = true);
        let held = self.ledger.held();
        self.tell(Event::Revoked(held.clone()));
        self.flush(&held, limit / 2);
        point("stop.flushed");
        let done = self.ledger.done(&self.members, self.batches.processed());
        source.close(limit.saturating_sub(begun.elapsed()));
        done
    }
}

/// How long a store is left alone that did not answer so often.
fn pause(tries: u32) -> Duration {
    if tries == 0 { Duration::ZERO } else { STORE_AGAIN.saturating_mul(1 << tries.min(10)).min(STORE_AGAIN_AT_MOST) }
}

impl Sink for Lane {
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start> {
        tracing::info!(?partitions, "partitions assigned");
        point("assign.begin");
        // The source holds them anew, and delivers whatever it was told before.
        self.ledger.end(partitions);
        self.begin(partitions);
        self.tell(Event::Assigned(partitions.to_vec()));
        point("assign.told");
        let start = |partition: &u32| {
            let start = self.ledger.start(*partition);
            self.steering.starts_at(*partition, start);
            start
        };
        partitions.iter().map(start).collect()
    }

    fn revoked(&mut self, partitions: &[u32], lost: bool) {
        tracing::info!(?partitions, lost, "partitions taken away");
        point("revoke.begin");
        if !lost {
            self.tell(Event::Revoked(partitions.to_vec()));
            self.flush(partitions, FLUSH);
            point("revoke.flushed");
        }
        self.tell(Event::Lost(partitions.to_vec()));
        self.ledger.end(partitions);
        self.batches.end(partitions);
        self.show_held();
        point("revoke.end");
    }

    fn records(&mut self, partition: u32, records: &[Record<'_>]) {
        self.no_trouble();
        for batch in records.chunks(self.batch.min(MAX_RECORDS)) {
            self.count(partition, batch);
        }
    }

    fn passed(&mut self, partition: u32, to: u64) {
        self.no_trouble();
        self.pass(partition, to);
    }

    fn gap(&mut self, partition: u32, from: u64, to: u64) {
        if to <= from {
            tracing::error!(partition, from, "the log no longer holds this offset, and nothing after it either");
            return self.read_again(&[partition]);
        }
        tracing::error!(partition, from, to, "records are gone from the log before they were read");
        let Some(epoch) = self.ledger.epoch(partition) else { return };
        self.tell(Event::Gap(partition, epoch, crate::progress::Span { from, to }));
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
