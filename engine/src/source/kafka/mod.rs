//! The Kafka source: one member of a consumer group, whose offsets are kept with the state and never in Kafka.
//!
//! Promises: a partition starts at the offset its sink gives, in the assignment itself; what the broker no longer holds
//! is a gap, never a skip; records come in offset order, none twice, none of a partition after it was revoked. Errors of the
//! network are told and waited out. It knows nothing of events; the payloads it hands out are librdkafka's own buffers.
//!
//! Queue: librdkafka's, bounded by `queued.min.messages` and `queued.max.messages.kbytes` (16 MiB); when it is full the
//! fetcher waits, and a partition that is paused is not fetched.

mod producer;
mod raw;
mod replay;
mod settings;
mod stall;
mod tail;
mod told;
mod topic;

pub use producer::{Outbox, ProduceError, Producer};
pub use replay::Wanted;
pub use tail::Tail;
pub use topic::{TopicIdentity, TopicInfo, inspect};

use super::{Bounds, Sink, Source, SourceError, Start};
use crate::config::KafkaConfig;
use crate::event::Record;
use raw::{Client, Fault, Kind};
use stall::{Seen, Watchdog};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use told::{told, worse};

/// How long a broker may take to say what it holds of a partition.
const ANSWER: Duration = Duration::from_secs(5);

/// The same fault is logged once in this time.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// How often joining a group is looked at until something is assigned.
const NUDGE: Duration = Duration::from_millis(20);

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
    said: Option<(String, Instant)>,
    watchdog: Watchdog,
}

/// Where a partition that is held stands.
#[derive(Debug, Default)]
struct Place {
    /// Offsets below it were handed over.
    next: u64,
    /// librdkafka finds its start by itself and has not told yet: `next` is not where it stands.
    unresolved: bool,
    paused: bool,
    /// The broker said that `next` is out of range; to be reported as a gap.
    out_of_range: bool,
    /// A gap was reported: nothing until `rewind`.
    halted: bool,
}

impl KafkaSource {
    /// A client of the brokers; the group is joined by polling, once the topic answers.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<KafkaSource, SourceError> {
        let settings = settings::consumer(config)?;
        let consumer = raw::Consumer::new(&settings, &config.topic)
            .map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
        Ok(KafkaSource {
            config: config.clone(),
            consumer,
            joined: false,
            wanted: None,
            held: BTreeMap::new(),
            left_paused: BTreeSet::new(),
            said: None,
            watchdog: Watchdog::new(STALL),
        })
    }

    /// Restarts a partition of which nothing comes after another time than the 30 s it otherwise takes.
    pub fn set_patience(&mut self, patience: Duration) {
        self.watchdog = Watchdog::new(patience);
    }

    /// While nothing is assigned, has the client go on with joining; how long to wait until that is due again.
    fn nudged(&self, wait: Duration) -> Duration {
        if self.wanted.is_some() || !self.held.is_empty() {
            return wait;
        }
        self.consumer.nudge();
        wait.min(NUDGE)
    }

    fn join(&mut self) -> Result<(), SourceError> {
        let info = match topic::inspect(&self.config) {
            Err(fault @ SourceError::Transient(_)) => return Err(self.say(fault)),
            other => other?,
        };
        if info.compacted && !self.config.allow_compacted {
            return Err(SourceError::Fatal(format!(
                "topic \"{}\" is compacted, so Kafka removes events that were counted: use a topic with cleanup.policy=delete, or set [kafka] allow_compacted = true",
                self.config.topic
            )));
        }
        self.consumer.subscribe().map_err(|fault| told(&self.config, &fault))?;
        self.joined = true;
        Ok(())
    }

    /// Logs a fault, unless it was just said.
    fn say(&mut self, fault: SourceError) -> SourceError {
        let text = fault.to_string();
        if self.said.as_ref().is_none_or(|(said, when)| *said != text || when.elapsed() > SAY_AGAIN) {
            tracing::warn!("{text}");
            self.said = Some((text, Instant::now()));
        }
        fault
    }

    /// Has a partition go on at `offset`: now, or, where it is paused, when it is resumed.
    fn restart(&mut self, partition: u32, offset: u64) -> Result<(), SourceError> {
        let Some(place) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        *place = Place { next: offset, paused: place.paused, ..Place::default() };
        if place.paused {
            return Ok(());
        }
        self.consumer.restart(partition, offset as i64).map_err(|fault| told(&self.config, &fault))
    }

    /// Ends the client's pause of a partition and has it fetched at once. Resuming alone does not wake the client's thread
    /// that fetches: where all it fetches was paused, it sleeps on for up to a second. Taking the partition up anew does, and
    /// loses nothing: what was fetched ahead is dropped by a pause in any case.
    fn unpause(&mut self, partition: u32) -> Result<(), SourceError> {
        self.consumer.resume(partition).map_err(|fault| told(&self.config, &fault))?;
        match self.held.get(&partition) {
            Some(place) if !place.unresolved && !place.out_of_range && !place.halted => {
                self.restart(partition, place.next)
            }
            _ => Ok(()),
        }
    }

    /// Restarts partitions that deliver nothing though the log has more.
    fn watch(&mut self, bounds: &[Bounds]) -> Result<(), SourceError> {
        let reached = self.consumer.reached(self.held.keys().copied());
        let end = |partition| bounds.iter().find(|bounds| bounds.partition == partition).map(|bounds| bounds.end);
        let seen = |(partition, place): (&u32, &Place)| {
            let flowing = !place.paused && !place.halted && !place.out_of_range && !place.unresolved;
            let (partition, next) = (*partition, place.next);
            let reached = reached.iter().find(|(held, _)| *held == partition).map_or(0, |(_, reached)| *reached);
            Some(Seen { partition, next, reached, end: end(partition)?, flowing })
        };
        let seen: Vec<Seen> = self.held.iter().filter_map(seen).collect();
        for partition in self.watchdog.look(Instant::now(), &seen) {
            let Some(Seen { next, end, .. }) = seen.iter().find(|seen| seen.partition == partition) else { continue };
            tracing::warn!(partition, next, end, "nothing came of a partition that has more; it is fetched anew");
            self.restart(partition, *next)?;
        }
        Ok(())
    }

    /// Reports partitions whose next offset the broker does not hold.
    fn report_gaps(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError> {
        for (partition, place) in self.held.iter_mut().filter(|(_, place)| place.out_of_range && !place.halted) {
            let (low, _) =
                self.consumer.client().watermarks(*partition, ANSWER).map_err(|fault| told(&self.config, &fault))?;
            place.halted = true;
            sink.gap(*partition, place.next, low);
        }
        Ok(())
    }
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
            starts.resize(partitions.len(), Start::Latest);
        }
        tracing::info!(?partitions, "partitions assigned");
        let mut offsets = Vec::with_capacity(partitions.len());
        for (partition, start) in partitions.iter().zip(starts) {
            // Where a start is resolved here, a first record later than it is no gap. If the broker does not answer now,
            // librdkafka resolves it by itself as soon as it does.
            let offset = match start {
                Start::At(offset) => offset as i64,
                Start::Earliest => client.watermarks(*partition, ANSWER).map_or(-2, |(low, _)| low as i64),
                Start::Latest => client.watermarks(*partition, ANSWER).map_or(-1, |(_, high)| high as i64),
            };
            let place = Place { next: offset.max(0) as u64, unresolved: offset < 0, ..Place::default() };
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
        if !self.joined {
            self.join()?;
        }
        self.follow(sink)?;
        let wait = self.nudged(wait);
        let mut callback = Callback { sink, held: &mut self.held, left_paused: &mut self.left_paused, fault: None };
        let (batch, revoked, mut faults) = self.consumer.poll(wait, max_records, &mut callback);
        let broken = callback.fault;

        hand_over(&batch, &revoked, &mut self.held, sink, &mut faults);
        drop(batch);

        // Given up and taken on again within this one poll: what came of it may be of either time.
        for partition in revoked {
            if let Some(next) = self.held.get(&partition).map(|place| place.next) {
                self.restart(partition, next)?;
            }
        }
        let back: Vec<u32> = self.left_paused.extract_if(.., |partition| self.held.contains_key(partition)).collect();
        for partition in back {
            self.unpause(partition)?;
        }
        if let Some(reason) = broken {
            return Err(SourceError::Fatal(reason));
        }
        self.report_gaps(sink)?;
        match faults.into_iter().map(|fault| told(&self.config, &fault)).reduce(worse) {
            Some(fault @ SourceError::Fatal(_)) => Err(fault),
            Some(fault) => Err(self.say(fault)),
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

    fn resume(&mut self, partition: u32) {
        let Some(place) = self.held.get_mut(&partition) else {
            return;
        };
        if !std::mem::replace(&mut place.paused, false) {
            return;
        }
        if let Err(fault) = self.unpause(partition) {
            tracing::warn!(partition, %fault, "the partition could not be resumed");
        }
    }

    fn rewind(&mut self, partition: u32, offset: u64) -> Result<(), SourceError> {
        self.restart(partition, offset)
    }

    fn bounds(&mut self) -> Result<Vec<Bounds>, SourceError> {
        let fault = |fault: Fault| told(&self.config, &fault);
        let partitions = self.consumer.partitions(ANSWER).map_err(fault)?;
        let bounds = |partition| {
            let (start, end) = self.consumer.client().watermarks(partition, ANSWER).map_err(fault)?;
            Ok(Bounds { partition, start, end })
        };
        let bounds = (0..partitions).map(bounds).collect::<Result<Vec<Bounds>, SourceError>>()?;
        self.watch(&bounds)?;
        Ok(bounds)
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

/// Hands a batch to the sink, partition by partition, without copying payloads.
fn hand_over(
    batch: &raw::Batch<'_>,
    revoked: &[u32],
    held: &mut BTreeMap<u32, Place>,
    sink: &mut dyn Sink,
    faults: &mut Vec<Fault>,
) {
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
                match fault.kind {
                    Kind::OutOfRange => place.out_of_range = true,
                    _ => faults.push(fault),
                }
                continue;
            }
            // librdkafka may deliver a record again after a change of leader
            if place.halted || place.out_of_range || message.offset() < place.next {
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
}
