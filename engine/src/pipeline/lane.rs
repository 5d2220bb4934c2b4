//! A lane: one thread that polls a source, counts, and drives the commit protocol. The main lane
//! follows the end of the log; others replay history for metrics that were added later.
//!
//! Only the lane knows all of its parts. Records of the source go through [`Batches`] into state;
//! the resulting events go into the [`Ledger`]; the [`Executor`] carries out its actions, whose
//! answers are events again. The machine in the ledger makes every decision about progress, and
//! knows of everything that is counted.
//!
//! Over 480 lines: the one place where all parts meet.

use super::batch::{BatchParts, Batches, find_anchors};
use super::call_marks::CallMark;
use super::cell_limits::find_oversized;
use super::command::Command;
use super::executor::{Executor, LogAnswer, Waited};
use super::judged_ranges::JudgedRanges;
use super::lane_status::{FirstBounds, LaneStatus, LaneTotals};
use super::ledger::{Ledger, LedgerAction, Rejoin};
use super::members::{LaneMetric, LaneRole, Members};
use super::memory_share::MemoryShare;
use super::steering::Steering;
use super::target::LogEnds;
use super::view::View;
use crate::dead_letter::DeadLetters;
use crate::decode::{Decoder, MAX_RECORDS};
use crate::event::{Position, Record};
use crate::failpoint::point;
use crate::feed::Feed;
use crate::log::{Bounds, LogError, Sink, Source, Start, Survey};
use crate::outage::{LogThrottle, Pauses};
use crate::progress::{self, Answer, Event, Quarantine, RevisionNo, Settings};
use crate::store::Store;
use crate::telemetry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Records handled before the lane turns to anything else; a batch of about this size is best for
/// the caches.
const BATCH: usize = 2_048;

/// The same in a lane that replays history: the main lane waits while a batch of it is counted.
const SHORT: usize = 512;

/// Longest wait for records: how late a checkpoint or an answer of the store is noticed on a quiet
/// log.
const WAIT: Duration = Duration::from_millis(20);

/// The same while the log does not answer.
const WAIT_LONGER: Duration = Duration::from_millis(100);

/// Shortest time between two heartbeats, which also commit quiet partitions, so that a store that
/// went back is noticed.
const BEAT: Duration = Duration::from_millis(900);

/// How often the log is asked for its ends; a broker may have to answer.
const LAG: Duration = Duration::from_secs(2);

/// Before a store that does not answer is asked again.
const STORE_AGAIN: Pauses =
    Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(3) };

/// Longest wait for the last commits when partitions are revoked.
const FLUSH: Duration = Duration::from_secs(4);

/// How long to wait for an answer of the store before what is due is sent again, while partitions
/// are being revoked.
const RETRY: Duration = Duration::from_millis(100);

/// How long the end of a lane may take that was not asked to stop.
const UNASKED: Duration = Duration::from_secs(2);

/// What a lane is made of.
pub struct LaneParts {
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// Answers which log it is, and what it holds.
    pub survey: Arc<dyn Survey>,
    /// Where state is stored.
    pub store: Arc<dyn Store>,
    /// Whether other engines use the store too.
    pub shared: bool,
    /// What readers see.
    pub view: Arc<View>,
    /// The lane's published status.
    pub status: Arc<LaneStatus>,
    /// How much memory state may take.
    pub memory_share: Arc<MemoryShare>,
    /// What the lane is for.
    pub role: LaneRole,
    /// The metrics; their ids are those of the view's state.
    pub metrics: Vec<LaneMetric>,
    /// The protocol's settings.
    pub settings: Settings,
    /// Turns records into events.
    pub decoder: Decoder,
    /// Where refused records go.
    pub dead_letters: Arc<DeadLetters>,
    /// Records whose letters are written.
    pub judged: JudgedRanges,
    /// Where new events are published; `None`: not by this lane.
    pub feed: Option<Arc<Feed>>,
    /// How often state is committed.
    pub checkpoint: Duration,
    /// Name of the topic, for dead letters.
    pub topic: String,
    /// Where calls of plugins are marked; `None`: nowhere.
    pub call_mark: Option<Arc<CallMark>>,
}

/// The lane's thread.
pub(super) struct Lane {
    pub(super) members: Members,
    pub(super) ledger: Ledger,
    pub(super) batches: Batches,
    pub(super) executor: Executor,
    steering: Steering,
    view: Arc<View>,
    status: Arc<LaneStatus>,
    memory_share: Arc<MemoryShare>,
    role: LaneRole,
    pub(super) commands: Receiver<Command>,
    /// Set while the lane is paused: when it resumes by itself.
    pub(super) paused_until: Option<Instant>,
    /// 0 while the lane runs; to stop it, how long its end may take, milliseconds.
    stop: Arc<AtomicU64>,
    checkpoint: Duration,
    /// Records handled at once.
    batch: usize,
    /// Whether the status shows trouble of the source.
    troubled: bool,
    /// Limits how often faults of the source are logged.
    throttle: LogThrottle,
    /// Why the source cannot be used any more, if so: then the lane ends.
    unusable: Option<String>,
    /// Partitions whose log ended before what was counted of them, according to its last answer.
    short: BTreeSet<u32>,
    /// Revisions whose state in memory is in doubt, to be loaded again after the present action;
    /// and why they must then stop, if they must.
    doubtful: Vec<(RevisionNo, Option<Quarantine>)>,
}

impl Lane {
    /// Prepares a lane and starts its worker threads.
    pub(super) fn new(
        parts: LaneParts,
        commands: Receiver<Command>,
        stop: Arc<AtomicU64>,
    ) -> std::io::Result<(Lane, Box<dyn Source>)> {
        let (view, status, memory_share) = (parts.view, parts.status, parts.memory_share);
        let members = Members::new(parts.metrics);
        let batches = BatchParts {
            decoder: parts.decoder,
            role: parts.role,
            dedupe_window: parts.settings.dedupe_window,
            dead_letters: parts.dead_letters,
            judged: parts.judged,
            feed: parts.feed,
            topic: parts.topic,
            call_mark: parts.call_mark,
            view: view.clone(),
            status: status.clone(),
            memory_share: memory_share.clone(),
        };
        let shared = (view.clone(), status.clone(), memory_share.clone());
        let lane = Lane {
            batches: Batches::new(batches, &members),
            executor: Executor::start(parts.store, parts.survey, shared, parts.shared, parts.role)?,
            ledger: Ledger::new(parts.settings),
            steering: Steering::default(),
            members,
            view,
            status,
            memory_share,
            role: parts.role,
            commands,
            paused_until: None,
            stop,
            checkpoint: parts.checkpoint,
            batch: if parts.role == LaneRole::Backfill { SHORT } else { BATCH },
            troubled: false,
            throttle: LogThrottle::default(),
            unusable: None,
            short: BTreeSet::new(),
            doubtful: Vec::new(),
        };
        Ok((lane, parts.source))
    }

    /// Counts until it is stopped or the source cannot be used any more. Returns its totals.
    pub(super) fn run(mut self, mut source: Box<dyn Source>) -> LaneTotals {
        let joined: Vec<Event> = self
            .members
            .iter()
            .map(|metric| Event::Joined(metric.no, metric.history.clone(), None))
            .collect();
        for event in joined {
            let Event::Joined(no, ..) = event else { continue };
            self.handle(event);
            self.stop_if_barred(no);
        }
        let mut due = Instant::now() + self.checkpoint;
        let (mut asked, mut beat, mut tries) = (Instant::now(), Instant::now(), 0);
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
                    self.handle(Event::CheckpointDue);
                }
            }
            let due = asked.elapsed() >= LAG;
            if due {
                asked = Instant::now();
            }
            // Also without partitions it has to be known how much there is to count.
            let is_first = self.status.read(|status| status.assigned && status.partitions == 0);
            self.ask_log(due || is_first || source.wants_survey());
            if let Some(answer) = self.executor.log_answer() {
                self.surveyed(&mut *source, answer);
            }
        }
        if let Some(thread) = self.executor.ended() {
            tracing::error!("counting stops: {thread} has ended");
        }
        self.finish(source)
    }

    /// Polls the source, or carries out commands while paused. Returns whether the source can still
    /// be used.
    fn poll(&mut self, source: &mut Box<dyn Source>, due: Instant) -> bool {
        let longest = if self.troubled { WAIT_LONGER } else { WAIT };
        let wait = due.saturating_duration_since(Instant::now()).min(longest);
        let polled = match self.unusable.take() {
            Some(what) => Err(LogError::Fatal(what)),
            None if self.run_commands(wait) => Ok(()),
            None => source.poll(wait, self.batch, self),
        };
        match polled {
            Ok(()) => true,
            Err(LogError::Transient(_, what)) => {
                self.set_trouble(what);
                true
            }
            Err(LogError::Fatal(what)) => {
                tracing::error!("counting stopped: {what}");
                self.status.update(|status| status.source_trouble = Some(what));
                false
            }
        }
    }

    // Events → ledger → actions → executor → events.

    /// Applies an event to the ledger and carries out its actions, and so on with their events,
    /// until nothing is left to do.
    pub(super) fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.ledger.apply(event) {
                events.extend(self.ledger.record(effect).and_then(|action| self.carry_out(action)));
            }
        }
        for (no, why) in std::mem::take(&mut self.doubtful) {
            self.load_again(no, why);
        }
        if self.ledger.has_halted() {
            self.show_stop_reasons();
        }
    }

    fn carry_out(&mut self, action: LedgerAction) -> Option<Event> {
        if matches!(action, LedgerAction::Commit { .. }) {
            // Refused records are written before the offsets at which they were refused are
            // committed.
            point("commit.due");
            self.batches.write_dead_letters();
            point("commit.letters");
        }
        let ran = self.executor.run(action, &self.members, &mut self.ledger.pending);
        if let Some((no, at)) = ran.panicked {
            // Next time its records are counted and sealed one by one, which finds the one that
            // panics.
            let why = self.batches.panicking.note(no, &at).err();
            self.doubtful.push((no, why));
        }
        ran.event
    }

    /// Loads a revision whose state in memory is in doubt again from the store; it counts on from
    /// there, unless `why` says why it must stop.
    fn load_again(&mut self, no: RevisionNo, why: Option<Quarantine>) {
        let Some(metric) = self.members.get(no) else { return };
        let Rejoin { leave, join } = Ledger::rejoin(metric, why);
        self.handle(leave);
        self.executor.forget(no);
        self.ledger.pending.drop_revision(no);
        join.into_iter().for_each(|event| self.handle(event));
    }

    /// Stops a metric if its plugin must not be called.
    pub(super) fn stop_if_barred(&mut self, no: RevisionNo) {
        if let Some(event) = self.members.barring_event(no) {
            self.handle(event);
        }
    }

    /// Handles the answers of the worker threads.
    fn take_answers(&mut self) {
        while let Some(events) = self.executor.poll(&self.members) {
            self.settle(events);
        }
    }

    fn settle(&mut self, events: Vec<Event>) {
        for event in events {
            let committed = matches!(event, Event::Answered(..));
            let applied = matches!(event, Event::Answered(_, _, Answer::Applied));
            self.handle(event);
            if applied {
                self.show_totals();
            }
            if committed {
                point("commit.settled");
            }
        }
    }

    /// Waits until everything counted of these partitions is committed, at most `limit`. A timeout
    /// is safe: the engine that counts them next counts the rest again from the log.
    pub(super) fn flush(&mut self, partitions: &[u32], limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.ledger.flushed(partitions) {
            if Instant::now() >= deadline {
                tracing::warn!(
                    "the last records were not committed in time; they will be counted again"
                );
                return;
            }
            match self.executor.wait_for_commit(&self.members, RETRY) {
                Waited::Answered(events) => self.settle(events),
                Waited::Ended => return,
                // No commit is under way, or the store does not answer: what is due is sent
                // (again).
                Waited::Nothing => self.handle(Event::CheckpointDue),
            }
        }
    }

    /// Waits for the compactions of a revision that are under way, at most `limit`: the floors that
    /// they raise belong to its views. Returns whether all were answered.
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

    /// Counts records of one partition, at most a batch, in offset order; at a record that cannot
    /// be decoded, metrics pass or stop.
    fn count(&mut self, partition: u32, records: &[Record<'_>]) {
        let mut rest = records;
        while let (Some(first), Some(last)) = (rest.first(), rest.last()) {
            let Some(offset) =
                self.batches.first_undecodable(partition, first.offset..last.offset + 1)
            else {
                break;
            };
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
            self.handle(Event::Anchor(partition, epoch, anchor));
        }
        // After the anchors: one may stop a metric.
        let due = self.ledger.due(partition, epoch, to);
        let outcome =
            self.batches.count(&self.members, &mut self.ledger.pending, partition, records, &due);
        outcome.events.into_iter().for_each(|event| self.handle(event));
        for (no, why) in outcome.discarded {
            self.load_again(no, why);
        }
        if outcome.read_again {
            self.read_again(&[partition]);
        }
    }

    /// Whether all metrics have passed a record that cannot be decoded. Stops those that have
    /// counted up to it.
    fn passes(&mut self, partition: u32, offset: u64) -> bool {
        let Some(epoch) = self.ledger.epoch(partition) else { return false };
        if self.ledger.due(partition, epoch, offset + 1).metrics.is_empty() {
            return true;
        }
        // There is no record between what was counted and this one.
        self.pass(partition, offset);
        self.handle(Event::Undecodable(partition, epoch, offset));
        false
    }

    /// Moves positions up to `to`: the offsets before it that were not delivered hold no record.
    fn pass(&mut self, partition: u32, to: u64) {
        let Some(epoch) = self.ledger.epoch(partition) else { return };
        let due = self.ledger.due(partition, epoch, to);
        let passed = self.batches.pass(&self.members, partition, to, &due);
        self.handle(passed);
    }

    /// Loads partitions from the store and compares them with the log, as if they were assigned
    /// again.
    fn read_again(&mut self, partitions: &[u32]) {
        if !partitions.is_empty() {
            self.steering.forget_starts(partitions);
            self.handle(Event::Lost(partitions.to_vec()));
            self.begin(partitions);
            self.handle(Event::Assigned(partitions.to_vec()));
        }
    }

    /// Begins partitions again: their records are dropped until the machine says where to read.
    fn begin(&mut self, partitions: &[u32]) {
        self.ledger.begin(partitions);
        self.batches.begin(partitions);
        self.show_held();
    }

    fn steer(&mut self, source: &mut dyn Source) {
        let steered = self.steering.steer(&mut self.ledger, source);
        for partition in steered.fresh {
            self.batches.renew_window(partition);
            if let Some(next) = self.ledger.next_due(partition) {
                self.batches.shows_from(partition, next);
            }
        }
        steered.faults.iter().for_each(|fault| self.report_source_fault(fault));
    }

    // Periodic work.

    fn wants_checkpoint(&self) -> bool {
        self.ledger.wants_checkpoint() || self.batches.has_letters_due()
    }

    fn heartbeat(&mut self, source: &mut dyn Source) {
        self.handle(Event::HeartbeatDue);
        self.executor.publish_revisions(&self.members);
        let committed: Vec<(u32, u64)> = self.ledger.committed(&self.members).into_iter().collect();
        source.publish_progress(&committed);
        point("publish.done");
    }

    /// Stops metrics that hold too many cells or too much memory.
    fn stop_oversized(&mut self) {
        for (no, why) in
            find_oversized(&self.members, &self.view, &self.memory_share, &mut self.ledger.pending)
        {
            if !self.ledger.is_stopped(no) {
                self.handle(Event::Quarantined(no, why));
            }
        }
    }

    fn ask_log(&mut self, due: bool) {
        self.executor.ask_log(due, || self.ledger.position(&self.members));
    }

    /// Handles an answer of the log: whether it still holds what was counted, which partitions
    /// stall, whether it answers at all.
    fn surveyed(&mut self, source: &mut dyn Source, answer: LogAnswer) {
        if let Ok((bounds, _)) = &answer.held {
            // Before anything is counted: that begins with the same bounds.
            self.show_ends(bounds);
            self.show_lag(bounds);
        }
        answer.events.into_iter().for_each(|event| self.handle(event));
        let noted = |(bounds, counted): (Vec<Bounds>, Position)| {
            source.surveyed(&bounds, self).map(|()| (bounds, counted))
        };
        match answer.held.and_then(noted) {
            Ok((bounds, counted)) => {
                self.note_stalls(source.stalled());
                self.note_ends(&bounds, &counted);
                // Without partitions the source itself says why.
                if !self.ledger.held().is_empty() {
                    self.troubled = true; // others than this flag may have set the status
                    self.clear_trouble();
                }
            }
            Err(LogError::Transient(_, what)) => self.set_trouble(what),
            Err(fault) => self.report_source_fault(&fault),
        }
    }

    fn note_stalls(&self, stalled: Vec<u32>) {
        let new = self
            .status
            .read(|status| stalled.iter().filter(|p| !status.stalled.contains(p)).count());
        telemetry::stalled(new as u64);
        self.status.update(|status| status.stalled = stalled);
    }

    /// A log that ends twice before what was counted when it was asked was truncated.
    fn note_ends(&mut self, bounds: &[Bounds], counted: &Position) {
        let short: BTreeSet<u32> = self.ledger.beyond(bounds, counted).into_iter().collect();
        let again: Vec<u32> = short.intersection(&self.short).copied().collect();
        self.short = short;
        self.read_again(&again);
    }

    // Status.

    fn show_held(&self) {
        let held = self.ledger.held();
        self.status.update(|status| {
            status.held = held;
            status.assigned = true;
        });
    }

    /// Tells metrics of which not all history is counted how far the log goes.
    fn show_ends(&self, bounds: &[Bounds]) {
        for metric in self.members.iter() {
            let log = || LogEnds::new(bounds, &metric.history);
            match &metric.follower {
                Some(follower) => follower.set_bounds(log(), &self.ledger.failing(metric.no)),
                None => self.view.set_bounds(metric.id, log),
            }
        }
    }

    fn show_lag(&self, bounds: &[Bounds]) {
        let position = self.ledger.position(&self.members);
        let lag = |b: &Bounds| {
            let counted = position.0.get(&b.partition).copied().unwrap_or(b.start).max(b.start);
            (b.partition, b.end.saturating_sub(counted))
        };
        let lag: BTreeMap<u32, u64> = bounds.iter().map(lag).collect();
        let open: BTreeMap<u32, u64> =
            bounds.iter().map(|bounds| (bounds.partition, bounds.open)).collect();
        if self.role == LaneRole::Main {
            telemetry::lag(&lag, &open);
        }
        self.status.update(|status| {
            status.partitions = bounds.len();
            status.bounds = bounds.to_vec();
            if status.assigned && status.first_bounds.is_none() {
                status.first_bounds =
                    Some(FirstBounds { since: Instant::now(), bounds: bounds.to_vec() });
            }
            status.lag = lag;
            status.open = open.values().sum();
        });
    }

    /// Shows the totals, so that they are known even of a lane that is abandoned.
    fn show_totals(&self) {
        let totals = self.ledger.totals(&self.members, self.batches.processed());
        self.status.update(|status| status.totals = totals);
    }

    fn show_stop_reasons(&self) {
        let shown = self.status.read(|status| status.halts.clone());
        let now = self.ledger.stop_reasons(&self.members, &shown);
        if now != shown {
            self.status.update(|status| status.halts = now);
        }
    }

    fn report_source_fault(&mut self, fault: &LogError) {
        match fault {
            LogError::Transient(_, what) if self.throttle.due("source") => tracing::warn!("{what}"),
            LogError::Transient(..) => {}
            LogError::Fatal(what) => self.unusable = Some(what.clone()),
        }
        self.status.update(|status| status.source_trouble = Some(fault.to_string()));
    }

    /// Shows trouble until the log answers again: a poll without records does not prove that it
    /// does.
    fn set_trouble(&mut self, what: String) {
        self.troubled = true;
        self.status.update(|status| status.source_trouble = Some(what));
    }

    fn clear_trouble(&mut self) {
        if std::mem::take(&mut self.troubled) {
            self.status.update(|status| status.source_trouble = None);
        }
    }

    fn finish(mut self, source: Box<dyn Source>) -> LaneTotals {
        // 0: the lane ends by itself.
        let limit = match self.stop.load(Ordering::Relaxed) {
            0 => UNASKED,
            millis => Duration::from_millis(millis),
        };
        let begun = Instant::now();
        self.status.update(|status| status.stopping = true);
        let held = self.ledger.held();
        self.handle(Event::Revoked(held.clone()));
        self.flush(&held, limit / 2);
        point("stop.flushed");
        let totals = self.ledger.totals(&self.members, self.batches.processed());
        source.close(limit.saturating_sub(begun.elapsed()));
        totals
    }
}

/// The pause before a store is asked again that has not answered `tries` times.
fn pause(tries: u32) -> Duration {
    tries.checked_sub(1).map_or(Duration::ZERO, |before| STORE_AGAIN.doubled(before))
}

impl Sink for Lane {
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start> {
        tracing::info!(?partitions, "partitions assigned");
        point("assign.begin");
        // The source holds them anew: earlier pauses and reads are void.
        self.ledger.end(partitions);
        self.begin(partitions);
        self.handle(Event::Assigned(partitions.to_vec()));
        point("assign.answered");
        let start = |partition: &u32| {
            let start = self.ledger.start(*partition);
            self.steering.starts_at(*partition, start);
            start
        };
        partitions.iter().map(start).collect()
    }

    fn revoked(&mut self, partitions: &[u32], lost: bool) {
        tracing::info!(?partitions, lost, "partitions revoked");
        point("revoke.begin");
        if !lost {
            self.handle(Event::Revoked(partitions.to_vec()));
            self.flush(partitions, FLUSH);
            point("revoke.flushed");
        }
        self.handle(Event::Lost(partitions.to_vec()));
        self.ledger.end(partitions);
        self.batches.end(partitions);
        self.show_held();
        point("revoke.end");
    }

    fn records(&mut self, partition: u32, records: &[Record<'_>]) {
        self.clear_trouble();
        for batch in records.chunks(self.batch.min(MAX_RECORDS)) {
            self.count(partition, batch);
        }
    }

    fn passed(&mut self, partition: u32, to: u64) {
        self.clear_trouble();
        self.pass(partition, to);
    }

    fn gap(&mut self, partition: u32, from: u64, to: u64) {
        if to <= from {
            tracing::error!(
                partition,
                from,
                "the log no longer holds this offset, and nothing after it either"
            );
            return self.read_again(&[partition]);
        }
        tracing::error!(
            partition,
            from,
            to,
            "records were gone from the log before they were read"
        );
        let Some(epoch) = self.ledger.epoch(partition) else { return };
        self.handle(Event::Gap(partition, epoch, progress::Span { from, to }));
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
