//! The Kafka source: one member of a consumer group, whose offsets are kept with the state and never in Kafka.
//!
//! Promises: a partition starts at the offset its sink gives, in the assignment itself; what the broker no longer holds
//! is a gap, never a skip; records come in offset order, none twice, none of a partition after it was revoked. Errors of the
//! network are told and waited out; a client that librdkafka declares dead is replaced. Polling asks no broker anything but records. It knows nothing of events; the payloads it hands out are librdkafka's own buffers.
//!
//! Queue: librdkafka's, bounded by `queued.min.messages` and `queued.max.messages.kbytes` (16 MiB); when it is full the
//! fetcher waits, and a partition that is paused is not fetched.
//!
//! Over 400 lines: one client's life in the group, and where each partition of it stands.

mod holes;
mod judge;
mod producer;
mod raw;
mod replay;
mod sender;
mod settings;
mod stall;
mod tail;
mod told;
mod topic;

pub use judge::judge;
pub use producer::{Outbox, ProduceError, Producer};
pub use replay::Wanted;
pub use tail::Tail;
pub use topic::{TopicInfo, TopicSurvey, inspect};

use super::{Bounds, Sink, Source, SourceError, Start};
use crate::config::KafkaConfig;
use crate::event::Record;
use crate::outage::{Cause, Said};
use holes::Believed;
use raw::{Client, Fault, Kind};
use stall::{Seen, Watchdog};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use told::{told, worse};

/// How long a broker may take to say what it holds.
const ANSWER: Duration = Duration::from_secs(5);

/// How often joining a group is looked at until something is assigned.
const NUDGE: Duration = Duration::from_millis(20);

/// Where it has taken longer than this, somebody is away: then it is looked at less often.
const JOINS_WITHIN: Duration = Duration::from_secs(5);

/// How often then.
const NUDGE_LATER: Duration = Duration::from_millis(500);

/// A client that died is made anew after so long, twice as long each time that it dies without having held a partition.
const ANEW: Duration = Duration::from_millis(500);

/// Longest pause before that.
const ANEW_AT_MOST: Duration = Duration::from_secs(30);

/// How long a dead client is waited for.
const CLOSE: Duration = Duration::from_millis(200);

/// A fault of a connection is told by librdkafka no oftener than every 30 s; so long it stands for what is seen of it.
const HEARD: Duration = Duration::from_secs(45);

/// How often the client is asked how far it has come, while records come.
const HOLES: Duration = Duration::from_millis(50);

/// A partition that has more, and of which nothing came for so long, is restarted.
const STALL: Duration = Duration::from_secs(30);

/// A member of the group of `[kafka]`.
pub struct KafkaSource {
    config: KafkaConfig,
    consumer: raw::Consumer,
    /// The topic was found fit and the group joined.
    joined: bool,
    /// Set where no group assigns partitions.
    wanted: Option<Wanted>,
    held: BTreeMap<u32, Place>,
    /// Revoked while paused: librdkafka keeps the pause for when they come back, we do not.
    left_paused: BTreeSet<u32>,
    said: Said,
    /// What was told of the connection that says most, and when.
    heard: Option<(SourceError, Instant)>,
    /// Whether the topic is fit, while that is being asked.
    inspected: Option<Receiver<Result<(), SourceError>>>,
    /// When a partition was last held, or the group joined; and when joining was last looked at.
    idle_since: Instant,
    nudged: Instant,
    /// When a client that died is made anew, and how many died in a row.
    anew: Option<Instant>,
    deaths: u32,
    watchdog: Watchdog,
    /// When the client was last asked how far it has come.
    compared: Instant,
}

/// Where a partition that is held stands.
#[derive(Debug, Default)]
struct Place {
    /// Offsets below it were handed over, or hold no record.
    next: u64,
    believed: Believed,
    /// librdkafka finds its start by itself and has not told yet: `next` is not where it stands.
    unresolved: bool,
    paused: bool,
    /// The broker said that `next` is out of range; to be reported as a gap.
    out_of_range: bool,
    /// A gap was reported: nothing until `rewind`.
    halted: bool,
    /// The client has not gone to `next` yet: what it delivers is of another place, and dropped.
    astray: bool,
}

impl KafkaSource {
    /// A client of the brokers; the group is joined by polling, once the topic answers.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<KafkaSource, SourceError> {
        KafkaSource::new(config, None)
    }

    fn new(config: &KafkaConfig, wanted: Option<Wanted>) -> Result<KafkaSource, SourceError> {
        let now = Instant::now();
        Ok(KafkaSource {
            config: config.clone(),
            consumer: client(config, wanted.is_some())?,
            joined: wanted.is_some(),
            wanted,
            held: BTreeMap::new(),
            left_paused: BTreeSet::new(),
            said: Said::default(),
            heard: None,
            inspected: None,
            idle_since: now,
            nudged: now,
            anew: None,
            deaths: 0,
            watchdog: Watchdog::new(STALL),
            compared: now,
        })
    }

    /// Restarts a partition of which nothing comes after another time than the 30 s it otherwise takes.
    pub fn set_patience(&mut self, patience: Duration) {
        self.watchdog = Watchdog::new(patience);
    }

    /// While nothing is assigned, has the client go on with joining; how long to wait until that is due again.
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

    /// Joins the group once the topic is fit for it; waits for that up to `wait`. Whether the group is joined.
    fn join(&mut self, wait: Duration) -> Result<bool, SourceError> {
        let inspected = match &self.inspected {
            Some(inspected) => inspected,
            None => self.inspected.insert(topic::until_fit(&self.config)?),
        };
        match inspected.recv_timeout(wait) {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(self.say(fault)),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                self.inspected = None;
                return Ok(false);
            }
        }
        self.inspected = None;
        self.consumer.subscribe().map_err(|fault| told(&self.config, &fault))?;
        (self.joined, self.idle_since) = (true, Instant::now());
        Ok(true)
    }

    /// Replaces a client that librdkafka declares dead, after a pause; what it held is lost with it. Whether there is one that lives.
    fn revive(&mut self, wait: Duration, sink: &mut dyn Sink) -> Result<bool, SourceError> {
        if let Some(due) = self.anew {
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left.min(wait));
                return Ok(false);
            }
            let dead = std::mem::replace(&mut self.consumer, client(&self.config, self.wanted.is_some())?);
            // It may hang; then it is left behind, like one that is closed.
            dead.close(CLOSE);
            self.anew = None;
            return Ok(true);
        }
        let Some(why) = self.consumer.client().fatal() else { return Ok(true) };
        let pause = ANEW.saturating_mul(1 << self.deaths.min(10)).min(ANEW_AT_MOST);
        (self.anew, self.deaths) = (Some(Instant::now() + pause), self.deaths + 1);
        let held: Vec<u32> = std::mem::take(&mut self.held).into_keys().collect();
        self.left_paused.clear();
        self.joined = self.wanted.is_some();
        if !held.is_empty() {
            sink.revoked(&held, true);
        }
        Err(self.say(SourceError::Transient(
            Cause::Unclear,
            format!(
                "the Kafka client cannot go on: {why}: it is made anew in {pause:?}; with [kafka] instance_id set, each engine needs its own"
            ),
        )))
    }

    /// Of what was told of the connection lately what says most: a refused password is soon only seen as no answer.
    fn telling(&mut self, fault: SourceError) -> SourceError {
        let (SourceError::Transient(cause, text), heard) = (&fault, self.heard.as_ref()) else { return fault };
        if let Some((SourceError::Transient(before, said), when)) = heard
            && when.elapsed() < HEARD
            && before.tells_more_than(*cause)
        {
            return SourceError::Transient(*before, said.clone());
        }
        self.heard = Some((SourceError::Transient(*cause, text.clone()), Instant::now()));
        fault
    }

    /// Logs a fault, unless one of its kind was just said.
    fn say(&mut self, fault: SourceError) -> SourceError {
        let about = match &fault {
            SourceError::Transient(cause, _) => cause.to_string(),
            SourceError::Fatal(text) => text.clone(),
        };
        if self.said.due(&about) {
            tracing::warn!("{fault}");
        }
        fault
    }

    /// Has a partition go on at `offset`: now, or, where it is paused, when it is resumed.
    fn restart(&mut self, partition: u32, offset: u64) -> Result<(), SourceError> {
        let Some(place) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        *place = Place { next: offset, paused: place.paused, astray: !place.paused, ..Place::default() };
        let restarted = if place.paused { Ok(()) } else { self.consumer.restart(partition, offset as i64) };
        place.astray = restarted.is_err();
        // Mostly its place is reset by now.
        place.believed = self.consumer.client().place(partition);
        restarted.map_err(|fault| told(&self.config, &fault))
    }

    /// Sends `moved` partitions, and those that went astray, to where they are to be; what went wrong is tried again by the next poll.
    fn put_right(&mut self, moved: &[u32]) -> Vec<SourceError> {
        let wrong = |(partition, place): &(&u32, &Place)| place.astray || moved.contains(partition);
        let wrong: Vec<(u32, u64)> = self.held.iter().filter(wrong).map(|(p, place)| (*p, place.next)).collect();
        wrong.into_iter().filter_map(|(partition, next)| self.restart(partition, next).err()).collect()
    }

    /// Ends the client's pause of a partition and has it fetched at once. Resuming alone does not wake the client's thread
    /// that fetches: where all it fetches was paused, it sleeps on for up to a second. Taking the partition up anew does, and
    /// loses nothing: what was fetched ahead is dropped by a pause in any case.
    fn unpause(&mut self, partition: u32) -> Result<(), SourceError> {
        self.consumer.resume(partition).map_err(|fault| told(&self.config, &fault))?;
        let Some(place) = self.held.get_mut(&partition) else { return Ok(()) };
        place.paused = false;
        let next = place.next;
        if place.unresolved || place.out_of_range || place.halted {
            return Ok(());
        }
        self.restart(partition, next)
    }

    /// Restarts partitions that deliver nothing though the log has more.
    fn watch(&mut self, bounds: &[Bounds]) -> Result<(), SourceError> {
        let end = |partition| bounds.iter().find(|bounds| bounds.partition == partition).map(|bounds| bounds.end);
        let seen = |(partition, place): (&u32, &Place)| {
            let flowing = !place.paused && !place.halted && !place.out_of_range && !place.unresolved;
            Some(Seen { partition: *partition, next: place.next, end: end(*partition)?, flowing })
        };
        let seen: Vec<Seen> = self.held.iter().filter_map(seen).collect();
        for partition in self.watchdog.look(Instant::now(), &seen) {
            let Some(Seen { next, end, .. }) = seen.iter().find(|seen| seen.partition == partition) else { continue };
            tracing::warn!(partition, next, end, "nothing came of a partition that has more; it is fetched anew");
            self.restart(partition, *next)?;
        }
        Ok(())
    }

    /// Reports partitions whose next offset the broker did not hold before it said what it holds.
    fn report_gaps(&mut self, bounds: &[Bounds], sink: &mut dyn Sink) {
        for (partition, place) in self.held.iter_mut().filter(|(_, place)| place.out_of_range && !place.halted) {
            let Some(bounds) = bounds.iter().find(|bounds| bounds.partition == *partition) else { continue };
            // Within what is held now: it was asked before, and is asked again.
            if (bounds.start..=bounds.end).contains(&place.next) {
                continue;
            }
            place.halted = true;
            sink.gap(*partition, place.next, bounds.start);
        }
    }

    /// Takes note of places that were reset, before anything more is taken: what is seen afterwards is new.
    fn note_resets(&mut self) {
        let stale = self.held.iter().filter(|(_, place)| place.believed.is_stale()).map(|(partition, _)| *partition);
        let stale: Vec<u32> = stale.collect();
        if stale.is_empty() {
            return;
        }
        for (partition, _) in
            self.consumer.client().reached(stale.into_iter()).iter().filter(|(_, reached)| *reached == 0)
        {
            if let Some(place) = self.held.get_mut(partition) {
                place.believed = Believed::default();
            }
        }
    }

    /// Tells of offsets that hold no record, as far as the client has come. All that it took before is handed over.
    fn report_holes(&mut self, sink: &mut dyn Sink) {
        let reached = self.consumer.client().reached(self.held.keys().copied());
        self.compared = Instant::now();
        for (partition, reached) in reached {
            let Some(place) = self.held.get_mut(&partition) else { continue };
            let believed = place.believed.place(reached);
            // What came of one that is paused or stands at a gap was thrown away.
            if place.paused || place.halted || place.out_of_range || place.astray {
                continue;
            }
            if let Some(to) = believed.filter(|to| *to > place.next) {
                (place.next, place.unresolved) = (to, false);
                sink.passed(partition, to);
            }
        }
    }
}

/// A client of the brokers, in the group or outside of any.
fn client(config: &KafkaConfig, alone: bool) -> Result<raw::Consumer, SourceError> {
    let settings = if alone { settings::replay(config)? } else { settings::consumer(config)? };
    raw::Consumer::new(&settings, &config.topic).map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))
}

/// What a rebalance does to the places, and asks of the sink.
struct Callback<'a> {
    sink: &'a mut dyn Sink,
    held: &'a mut BTreeMap<u32, Place>,
    left_paused: &'a mut BTreeSet<u32>,
    fault: Option<String>,
}

impl raw::Rebalance for Callback<'_> {
    fn assigned(&mut self, client: Client<'_>, partitions: &[u32]) -> Vec<i64> {
        let mut starts = self.sink.assigned(partitions);
        if starts.len() != partitions.len() {
            self.fault = Some(format!("{} starts were given for {} partitions", starts.len(), partitions.len()));
            starts.resize(partitions.len(), Start::Earliest);
        }
        tracing::info!(?partitions, "partitions assigned");
        let mut offsets = Vec::with_capacity(partitions.len());
        for (partition, start) in partitions.iter().zip(starts) {
            let offset = match start {
                Start::At(offset) => offset as i64,
                // librdkafka finds it; a first record later than what the log began with is no gap.
                Start::Earliest => -2,
            };
            let believed = client.place(*partition);
            let place = Place { next: offset.max(0) as u64, unresolved: offset < 0, believed, ..Place::default() };
            self.held.insert(*partition, place);
            offsets.push(offset);
        }
        offsets
    }

    fn revoked(&mut self, partitions: &[u32], lost: bool) {
        tracing::info!(?partitions, lost, "partitions revoked");
        self.sink.revoked(partitions, lost);
        for partition in partitions {
            if self.held.remove(partition).is_some_and(|place| place.paused) {
                self.left_paused.insert(*partition);
            }
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, wait: Duration, max_records: usize, sink: &mut dyn Sink) -> Result<(), SourceError> {
        if !self.revive(wait, sink)? || (!self.joined && !self.join(wait)?) {
            return Ok(());
        }
        self.follow(sink)?;
        self.note_resets();
        let wait = self.nudge(wait);
        let mut callback = Callback { sink, held: &mut self.held, left_paused: &mut self.left_paused, fault: None };
        let (batch, revoked, mut faults) = self.consumer.poll(wait, max_records, &mut callback);
        let broken = callback.fault;

        let doubted = hand_over(&batch, &revoked, &mut self.held, sink, &mut faults);
        let quiet = batch.is_empty();
        drop(batch);

        // Given up and taken on again within this one poll: what came of it may be of either time.
        let mut troubles = self.put_right(&revoked);
        // Of what the sink has paused meanwhile the client's pause stays.
        let held = |partition: &u32| self.held.get(partition).is_some_and(|place| !place.paused);
        let back: Vec<u32> = self.left_paused.iter().copied().filter(held).collect();
        for partition in back {
            self.unpause(partition)?;
            self.left_paused.remove(&partition);
        }
        if let Some(reason) = broken {
            return Err(SourceError::Fatal(reason));
        }
        if doubted || quiet || self.compared.elapsed() >= HOLES {
            self.report_holes(sink);
        }
        if !quiet && !doubted {
            // Something came: whatever was told of the connection is over.
            (self.heard, self.deaths) = (None, 0);
        }
        troubles.extend(faults.iter().map(|fault| told(&self.config, fault)));
        match troubles.into_iter().reduce(worse) {
            Some(fault) => {
                let fault = self.telling(fault);
                Err(self.say(fault))
            }
            None => Ok(()),
        }
    }

    fn pause(&mut self, partition: u32) {
        if let Some(place) = self.held.get_mut(&partition)
            && !std::mem::replace(&mut place.paused, true)
            && let Err(fault) = self.consumer.pause(partition)
        {
            tracing::warn!(
                partition,
                fault = fault.text,
                "the partition is not paused in the client; its records are dropped and fetched again"
            );
        }
    }

    fn resume(&mut self, partition: u32) -> Result<(), SourceError> {
        if self.held.get(&partition).is_none_or(|place| !place.paused) {
            return Ok(());
        }
        self.unpause(partition)?;
        self.left_paused.remove(&partition);
        Ok(())
    }

    fn rewind(&mut self, partition: u32, offset: u64) -> Result<(), SourceError> {
        self.restart(partition, offset)
    }

    fn surveyed(&mut self, bounds: &[Bounds], sink: &mut dyn Sink) -> Result<(), SourceError> {
        self.report_gaps(bounds, sink);
        self.watch(bounds)
    }

    fn wants_survey(&self) -> bool {
        self.held.values().any(|place| place.out_of_range && !place.halted)
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
                "the Kafka client did not close in time and is left behind; the group takes its partitions back after the session timeout"
            );
        }
    }
}

impl From<raw::Extent> for Bounds {
    fn from(extent: raw::Extent) -> Bounds {
        let raw::Extent { partition, start, stable, end } = extent;
        Bounds { partition, start, end: stable, open: end - stable }
    }
}

/// Hands a batch to the sink, partition by partition, without copying payloads. Whether a fault of a partition was among it.
fn hand_over(
    batch: &raw::Batch<'_>,
    revoked: &[u32],
    held: &mut BTreeMap<u32, Place>,
    sink: &mut dyn Sink,
    faults: &mut Vec<Fault>,
) -> bool {
    let mut doubted = false;
    let mut messages: Vec<raw::Message<'_>> = batch.iter().collect();
    // librdkafka interleaves partitions; the sort is stable, so each keeps its order, and fast where there is one run
    messages.sort_by_key(|message| message.partition());
    let mut records: Vec<Record<'_>> = Vec::with_capacity(messages.len());
    for run in messages.chunk_by(|left, right| left.partition() == right.partition()) {
        let partition = run[0].partition();
        if revoked.contains(&partition) {
            continue;
        }
        let Some(place) = held.get_mut(&partition) else {
            // errors of the whole topic have no partition of ours
            faults.extend(run.iter().filter_map(|message| message.fault()));
            continue;
        };
        records.clear();
        for message in run {
            if let Some(fault) = message.fault() {
                place.believed.doubt();
                doubted = true;
                match fault.kind {
                    Kind::OutOfRange => place.out_of_range = true,
                    _ => faults.push(fault),
                }
                continue;
            }
            // librdkafka may deliver a record again after a change of leader
            if place.halted || place.out_of_range || place.astray || message.offset() < place.next {
                continue;
            }
            if place.paused {
                // fetched again when it is resumed; that it came tells where a start is that the client found
                if std::mem::take(&mut place.unresolved) {
                    place.next = message.offset();
                }
                continue;
            }
            place.next = message.offset() + 1;
            place.unresolved = false;
            records.push(Record {
                offset: message.offset(),
                timestamp_ms: message.timestamp_ms(),
                payload: message.payload(),
            });
        }
        if !records.is_empty() {
            sink.records(partition, &records);
        }
    }
    doubted
}
