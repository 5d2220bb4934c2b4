//! The Kafka source: one member of a consumer group, whose offsets are kept with the state and
//! never in Kafka.
//!
//! Promises: a partition starts at the offset its sink gives, in the assignment itself; what the
//! broker no longer holds is a gap, never a skip; records arrive in offset order, none twice, none
//! of a partition after it was revoked. Errors of the network are reported and waited out; a client
//! that librdkafka declares dead is replaced. Polling asks brokers for records only. It knows
//! nothing of events; the payloads it hands out are librdkafka's own buffers.
//!
//! Queue: librdkafka's, bounded by `queued.min.messages` and `queued.max.messages.kbytes` (16 MiB);
//! when it is full the fetcher waits. A partition that is paused is not fetched.
//!
//! Over 480 lines: one client in the group, and the position of each partition that it holds.

use super::batch_limit::BatchLimit;
use super::connection_report;
use super::errors::{describe, describe_death, refused, worse};
use super::raw::{self, Client, Fault, Kind};
use super::skipped_offsets::ClientPosition;
use super::stall::{PartitionProgress, Watchdog};
use super::{origin_headers, settings, topic};
use crate::{Bounds, LogError, Sink, Source, Start, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_event::Record;
use tally_system::outage::{LogThrottle, Pauses};

/// How often the client is woken to join the group until something is assigned.
const NUDGE: Duration = Duration::from_millis(20);

/// Joining that takes longer than this waits for a broker or for another member: then the client is
/// woken less often.
const JOINS_WITHIN: Duration = Duration::from_secs(5);

/// How often then.
const NUDGE_LATER: Duration = Duration::from_millis(500);

/// A client that died is replaced after the first pause, after the next ones where its successor
/// dies without a record.
const REPLACE: Pauses =
    Pauses { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

/// How long a dead client is waited for.
const CLOSE: Duration = Duration::from_millis(200);

/// How often the client's positions are read while records arrive.
const POSITIONS: Duration = Duration::from_millis(50);

/// A partition that has more records and delivers none for so long is restarted.
const STALL: Duration = Duration::from_secs(30);

/// A member of the group of `[kafka]`.
pub struct KafkaSource {
    pub(super) config: KafkaConfig,
    pub(super) consumer: raw::Consumer,
    /// The topic can be counted and the group was joined.
    joined: bool,
    /// `None`: a group assigns partitions.
    pub(super) wanted: Option<Wanted>,
    pub(super) held: BTreeMap<u32, Partition>,
    /// Revoked while paused: librdkafka keeps the pause for their return, we do not.
    pub(super) left_paused: BTreeSet<u32>,
    said: LogThrottle,
    /// What was reported of the connection that says most, and when.
    reported: Option<(LogError, Instant)>,
    /// Whether the topic can be counted, while that is being asked.
    inspected: Option<Receiver<Result<(), LogError>>>,
    /// Set by whoever asks that, for those who write.
    limit: Arc<BatchLimit>,
    /// When a partition was last held, or the group joined; and when the client was last woken.
    idle_since: Instant,
    nudged: Instant,
    /// When a client that died is replaced, and how many died in a row.
    replaced_at: Option<Instant>,
    deaths: u32,
    watchdog: Watchdog,
    /// When the client's positions were last read.
    compared: Instant,
}

/// A partition that is held.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Offsets below it were handed over, or hold no record.
    next: u64,
    client: ClientPosition,
    /// librdkafka finds the start by itself and has not delivered yet: `next` is not known.
    unresolved: bool,
    paused: bool,
    /// The broker said that `next` is out of range; to be reported as a gap.
    out_of_range: bool,
    /// A gap was reported: nothing until `rewind`.
    halted: bool,
    /// The client has not moved to `next` yet: what it delivers is from elsewhere, and dropped.
    pub(super) astray: bool,
}

impl KafkaSource {
    /// A client of the brokers; the group is joined by polling, once the topic answers.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting of `[kafka]` cannot be used.
    pub fn open(config: &KafkaConfig) -> Result<KafkaSource, LogError> {
        KafkaSource::new(config, None, Arc::default())
    }

    pub(super) fn new(
        config: &KafkaConfig,
        wanted: Option<Wanted>,
        limit: Arc<BatchLimit>,
    ) -> Result<KafkaSource, LogError> {
        let now = Instant::now();
        Ok(KafkaSource {
            config: config.clone(),
            consumer: client(config, wanted.is_some())?,
            joined: wanted.is_some(),
            wanted,
            held: BTreeMap::new(),
            left_paused: BTreeSet::new(),
            said: LogThrottle::default(),
            reported: None,
            inspected: None,
            limit,
            idle_since: now,
            nudged: now,
            replaced_at: None,
            deaths: 0,
            watchdog: Watchdog::new(STALL),
            compared: now,
        })
    }

    /// Restarts a partition that delivers nothing after `patience` instead of 30 s.
    pub fn set_patience(&mut self, patience: Duration) {
        self.watchdog = Watchdog::new(patience);
    }

    /// While nothing is assigned, wakes the client to go on joining; returns how long to wait until
    /// that is due again.
    fn nudge(&mut self, wait: Duration) -> Duration {
        let now = Instant::now();
        if self.wanted.is_some() || !self.held.is_empty() {
            self.idle_since = now;
            return wait;
        }
        let long = now.duration_since(self.idle_since) > JOINS_WITHIN;
        if !long || now.duration_since(self.nudged) >= NUDGE_LATER {
            self.nudged = now;
            self.consumer.nudge();
        }
        if long { wait } else { wait.min(NUDGE) }
    }

    /// Joins the group once the topic can be counted; waits for that up to `wait`. Whether the
    /// group was joined.
    fn join(&mut self, wait: Duration) -> Result<bool, LogError> {
        let inspected = match &self.inspected {
            Some(inspected) => inspected,
            None => {
                let asked = topic::wait_until_fit(&self.config, Arc::clone(&self.limit))?;
                self.inspected.insert(asked)
            }
        };
        match inspected.recv_timeout(wait) {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(self.log_once(fault)),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                self.inspected = None;
                return Ok(false);
            }
        }
        self.inspected = None;
        self.consumer.subscribe().map_err(|fault| describe(&self.config, &fault))?;
        (self.joined, self.idle_since) = (true, Instant::now());
        Ok(true)
    }

    /// Replaces a client that librdkafka declared dead, after a pause; what it held is lost with
    /// it. Whether there is one that works.
    fn replace_dead(&mut self, wait: Duration, sink: &mut dyn Sink) -> Result<bool, LogError> {
        if let Some(due) = self.replaced_at {
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left.min(wait));
                return Ok(false);
            }
            let dead =
                std::mem::replace(&mut self.consumer, client(&self.config, self.wanted.is_some())?);
            // It may hang; then it is left behind, as in `close`.
            dead.close(CLOSE);
            self.replaced_at = None;
            return Ok(true);
        }
        let Some(why) = self.consumer.client().fatal() else { return Ok(true) };
        let pause = REPLACE.doubled(self.deaths);
        (self.replaced_at, self.deaths) = (Some(Instant::now() + pause), self.deaths + 1);
        let held: Vec<u32> = std::mem::take(&mut self.held).into_keys().collect();
        self.left_paused.clear();
        self.joined = self.wanted.is_some();
        if !held.is_empty() {
            sink.revoked(&held, true);
        }
        Err(self.log_once(describe_death(&why, &format!("it is replaced in {pause:?}"))))
    }

    /// Of this fault and what was reported of the connection lately the one that says most.
    fn most_telling(&mut self, fault: LogError) -> LogError {
        let (LogError::Transient(cause, text), reported) = (&fault, self.reported.as_ref()) else {
            return fault;
        };
        if let Some((LogError::Transient(before, said), when)) = reported
            && when.elapsed() < connection_report::LASTS
            && before.tells_more_than(*cause)
        {
            return LogError::Transient(*before, said.clone());
        }
        self.reported = Some((LogError::Transient(*cause, text.clone()), Instant::now()));
        fault
    }

    /// Logs a fault, unless one of its kind was logged in the last minute.
    fn log_once(&mut self, fault: LogError) -> LogError {
        let about = match &fault {
            LogError::Transient(cause, _) => cause.to_string(),
            LogError::Fatal(text) => text.clone(),
        };
        if self.said.due(&about) {
            tracing::warn!("{fault}");
        }
        fault
    }

    /// Continues a partition at `offset`: now, or, where it is paused, when it is resumed.
    fn restart(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        *held = Partition {
            next: offset,
            paused: held.paused,
            astray: !held.paused,
            ..Partition::default()
        };
        let restarted =
            if held.paused { Ok(()) } else { self.consumer.restart(partition, offset as i64) };
        held.astray = restarted.is_err();
        // Mostly the client's position was reset by now.
        held.client = self.consumer.client().position_of_taken_up(partition);
        restarted.map_err(|fault| describe(&self.config, &fault))
    }

    /// Restarts `moved` partitions, and those that went astray, at their next offset; the next poll
    /// retries what fails.
    fn restart_astray(&mut self, moved: &[u32]) -> Vec<LogError> {
        let astray =
            |(partition, held): &(&u32, &Partition)| held.astray || moved.contains(partition);
        let astray: Vec<(u32, u64)> =
            self.held.iter().filter(astray).map(|(no, held)| (*no, held.next)).collect();
        astray
            .into_iter()
            .filter_map(|(partition, next)| self.restart(partition, next).err())
            .collect()
    }

    /// Ends the client's pause of a partition and has it fetched at once. Resuming alone does not
    /// wake the client's fetching thread: where all it fetches was paused, it sleeps on for up to a
    /// second. Taking the partition up again does, and loses nothing: a pause drops what was
    /// fetched ahead in any case.
    fn unpause(&mut self, partition: u32) -> Result<(), LogError> {
        self.consumer.resume(partition).map_err(|fault| describe(&self.config, &fault))?;
        let Some(held) = self.held.get_mut(&partition) else { return Ok(()) };
        held.paused = false;
        let next = held.next;
        if held.unresolved || held.out_of_range || held.halted {
            return Ok(());
        }
        self.restart(partition, next)
    }

    /// Restarts partitions that deliver nothing though the log has more.
    fn restart_stalled(&mut self, bounds: &[Bounds]) -> Result<(), LogError> {
        let end = |partition| {
            bounds.iter().find(|bounds| bounds.partition == partition).map(|bounds| bounds.end)
        };
        let progress = |(partition, held): (&u32, &Partition)| {
            let flowing = !held.paused && !held.halted && !held.out_of_range && !held.unresolved;
            Some(PartitionProgress {
                partition: *partition,
                next: held.next,
                end: end(*partition)?,
                flowing,
            })
        };
        let all: Vec<PartitionProgress> = self.held.iter().filter_map(progress).collect();
        for partition in self.watchdog.stalled_now(Instant::now(), &all) {
            let Some(PartitionProgress { next, end, .. }) =
                all.iter().find(|one| one.partition == partition)
            else {
                continue;
            };
            tracing::warn!(
                partition,
                next,
                end,
                "a partition delivers no records though it has more; its fetch is restarted"
            );
            self.restart(partition, *next)?;
        }
        Ok(())
    }

    /// Reports partitions whose next offset the broker refused and does not hold.
    fn report_gaps(&mut self, bounds: &[Bounds], sink: &mut dyn Sink) {
        for (partition, held) in
            self.held.iter_mut().filter(|(_, held)| held.out_of_range && !held.halted)
        {
            let Some(bounds) = bounds.iter().find(|bounds| bounds.partition == *partition) else {
                continue;
            };
            // Within what is held now: these bounds are older than the refusal, and are asked for
            // again.
            if (bounds.start..=bounds.end).contains(&held.next) {
                continue;
            }
            held.halted = true;
            sink.gap(*partition, held.next, bounds.start);
        }
    }

    /// Notes which of the client's positions were reset, before more messages are taken: later
    /// positions are current.
    fn note_resets(&mut self) {
        let stale = self
            .held
            .iter()
            .filter(|(_, held)| held.client.is_stale())
            .map(|(partition, _)| *partition);
        let stale: Vec<u32> = stale.collect();
        if stale.is_empty() {
            return;
        }
        for (partition, _) in self
            .consumer
            .client()
            .reached(stale.into_iter())
            .iter()
            .filter(|(_, reached)| *reached == 0)
        {
            if let Some(held) = self.held.get_mut(partition) {
                held.client = ClientPosition::default();
            }
        }
    }

    /// Reports offsets that hold no record, up to the client's positions. All its messages were
    /// handed over before.
    fn report_skipped(&mut self, sink: &mut dyn Sink) {
        let reached = self.consumer.client().reached(self.held.keys().copied());
        self.compared = Instant::now();
        for (partition, reached) in reached {
            let Some(held) = self.held.get_mut(&partition) else { continue };
            let position = held.client.observe(reached);
            // Messages of a partition that is paused or at a gap were dropped.
            if held.paused || held.halted || held.out_of_range || held.astray {
                continue;
            }
            if let Some(to) = position.filter(|to| *to > held.next) {
                (held.next, held.unresolved) = (to, false);
                sink.passed(partition, to);
            }
        }
    }
}

/// A client of the brokers, in the group or outside of any.
fn client(config: &KafkaConfig, alone: bool) -> Result<raw::Consumer, LogError> {
    let settings = if alone { settings::replay(config)? } else { settings::consumer(config)? };
    raw::Consumer::new(&settings, &config.topic).map_err(|reason| refused(&reason))
}

/// What a rebalance changes, and asks the sink.
pub(super) struct RebalanceHandler<'a> {
    pub(super) sink: &'a mut dyn Sink,
    pub(super) held: &'a mut BTreeMap<u32, Partition>,
    pub(super) left_paused: &'a mut BTreeSet<u32>,
    pub(super) fault: Option<String>,
}

impl raw::Rebalance for RebalanceHandler<'_> {
    fn assigned(&mut self, client: Client<'_>, partitions: &[u32]) -> Vec<i64> {
        let mut starts = self.sink.assigned(partitions);
        if starts.len() != partitions.len() {
            self.fault = Some(format!(
                "the sink gave {} starts for {} partitions",
                starts.len(),
                partitions.len()
            ));
            starts.resize(partitions.len(), Start::Earliest);
        }
        tracing::info!(?partitions, "partitions assigned");
        let mut offsets = Vec::with_capacity(partitions.len());
        for (partition, start) in partitions.iter().zip(starts) {
            let offset = match start {
                Start::At(offset) => offset as i64,
                // librdkafka finds it; a first record later than the log's first offset is not a
                // gap.
                Start::Earliest => -2,
            };
            let (next, client) = (offset.max(0) as u64, client.position_of_taken_up(*partition));
            self.held.insert(
                *partition,
                Partition { next, client, unresolved: offset < 0, ..Partition::default() },
            );
            offsets.push(offset);
        }
        offsets
    }

    fn revoked(&mut self, partitions: &[u32], lost: bool) {
        tracing::info!(?partitions, lost, "partitions revoked");
        self.sink.revoked(partitions, lost);
        for partition in partitions {
            if self.held.remove(partition).is_some_and(|held| held.paused) {
                self.left_paused.insert(*partition);
            }
        }
    }
}

impl Source for KafkaSource {
    fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), LogError> {
        if !self.replace_dead(wait, sink)? || (!self.joined && !self.join(wait)?) {
            return Ok(());
        }
        self.follow_wanted(sink)?;
        self.note_resets();
        let wait = self.nudge(wait);
        let mut handler = RebalanceHandler {
            sink,
            held: &mut self.held,
            left_paused: &mut self.left_paused,
            fault: None,
        };
        let (batch, revoked, mut faults) = self.consumer.poll(wait, max_records, &mut handler);
        let broken = handler.fault;

        let doubted = deliver(&batch, &revoked, &mut self.held, sink, &mut faults);
        let quiet = batch.is_empty();
        drop(batch);

        // Given up and assigned again within this one poll: its messages may be of either time.
        let mut troubles = self.restart_astray(&revoked);
        // The client's pause stays where the sink has paused the partition meanwhile.
        let flowing = |partition: &u32| self.held.get(partition).is_some_and(|held| !held.paused);
        let returned: Vec<u32> = self.left_paused.iter().copied().filter(flowing).collect();
        for partition in returned {
            self.unpause(partition)?;
            self.left_paused.remove(&partition);
        }
        if let Some(reason) = broken {
            return Err(LogError::Fatal(reason));
        }
        if doubted || quiet || self.compared.elapsed() >= POSITIONS {
            self.report_skipped(sink);
        }
        if !quiet && !doubted {
            // Records arrived: what was reported of the connection is over.
            (self.reported, self.deaths) = (None, 0);
        }
        troubles.extend(faults.iter().map(|fault| describe(&self.config, fault)));
        match troubles.into_iter().reduce(worse) {
            Some(fault) => {
                let fault = self.most_telling(fault);
                Err(self.log_once(fault))
            }
            None => Ok(()),
        }
    }

    fn pause(&mut self, partition: u32) {
        if let Some(held) = self.held.get_mut(&partition)
            && !std::mem::replace(&mut held.paused, true)
            && let Err(fault) = self.consumer.pause(partition)
        {
            tracing::warn!(
                partition,
                fault = fault.text,
                "the client did not pause the partition; its records are dropped, and fetched \
                 again later"
            );
        }
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        if self.held.get(&partition).is_none_or(|held| !held.paused) {
            return Ok(());
        }
        self.unpause(partition)?;
        self.left_paused.remove(&partition);
        Ok(())
    }

    fn rewind(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.restart(partition, offset)
    }

    fn surveyed(&mut self, bounds: &[Bounds], sink: &mut dyn Sink) -> Result<(), LogError> {
        self.report_gaps(bounds, sink);
        self.restart_stalled(bounds)
    }

    fn wants_survey(&self) -> bool {
        self.held.values().any(|held| held.out_of_range && !held.halted)
    }

    fn stalled(&self) -> Vec<u32> {
        self.watchdog.stalled()
    }

    fn publish_progress(&mut self, offsets: &[(u32, u64)]) {
        let offsets: Vec<(u32, i64)> = offsets
            .iter()
            .filter(|(partition, _)| self.wanted.is_none() && self.held.contains_key(partition))
            .map(|(partition, offset)| (*partition, *offset as i64))
            .collect();
        if !offsets.is_empty()
            && let Err(fault) = self.consumer.commit(&offsets)
        {
            tracing::debug!(fault = fault.text, "offsets for lag tools were not written");
        }
    }

    fn close(self: Box<Self>, limit: Duration) {
        if !self.consumer.close(limit) {
            tracing::warn!(
                ?limit,
                "the Kafka client did not close in time and was abandoned; the group takes back \
                 its partitions after the session timeout"
            );
        }
    }
}

/// Hands a batch to the sink, partition by partition, without copying payloads. Whether it had a
/// fault of a partition.
fn deliver(
    batch: &raw::Batch<'_>,
    revoked: &[u32],
    partitions: &mut BTreeMap<u32, Partition>,
    sink: &mut dyn Sink,
    faults: &mut Vec<Fault>,
) -> bool {
    let mut doubted = false;
    let mut messages: Vec<raw::Message<'_>> = batch.iter().collect();
    // librdkafka interleaves partitions; the sort is stable, so each keeps its order, and fast
    // where there is one run only
    messages.sort_by_key(|message| message.partition());
    let mut records: Vec<Record<'_>> = Vec::with_capacity(messages.len());
    for run in messages.chunk_by(|left, right| left.partition() == right.partition()) {
        let partition = run[0].partition();
        if revoked.contains(&partition) {
            continue;
        }
        let Some(held) = partitions.get_mut(&partition) else {
            // faults of the whole topic name no partition that is held
            faults.extend(run.iter().filter_map(|message| message.fault()));
            continue;
        };
        records.clear();
        for message in run {
            if let Some(fault) = message.fault() {
                held.client.doubt();
                doubted = true;
                match fault.kind {
                    Kind::OutOfRange => held.out_of_range = true,
                    _ => faults.push(fault),
                }
                continue;
            }
            // librdkafka may deliver a record again after a change of leader
            if held.halted || held.out_of_range || held.astray || message.offset() < held.next {
                continue;
            }
            if held.paused {
                // fetched again when it is resumed; its offset is the start that the client found
                if std::mem::take(&mut held.unresolved) {
                    held.next = message.offset();
                }
                continue;
            }
            held.next = message.offset() + 1;
            held.unresolved = false;
            records.push(origin_headers::record(*message));
        }
        if !records.is_empty() {
            sink.records(partition, &records);
        }
    }
    doubted
}
