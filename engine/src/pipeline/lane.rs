//! A lane: one thread that polls a source, counts, and drives the commit protocol. The main one follows the log's end; others
//! replay history for metrics that came later.
//!
//! It does what the machine in `progress` says and tells it what happened; every decision about progress is made there.
//! Here is the order of things within a batch: decode and verdicts, the plugins' updates (no lock held), then state and
//! positions under the lock, then the feed. Nothing is counted that the machine does not know of.

use super::board::Board;
use super::command::Command;
use super::counting::{Counting, Metric, Outlets, Role};
use super::effects::Driver;
use super::mark::Mark;
use super::room::Room;
use super::view::View;
use crate::dead_letter::DeadLetters;
use crate::decode::{Decoder, MAX_RECORDS};
use crate::event::{Position, Record};
use crate::failpoint::point;
use crate::feed::Feed;
use crate::progress::{Event, History, RevisionNo, Settings};
use crate::source::{Bounds, Sink, Source, SourceError, Start, Survey};
use crate::store::Store;
use crate::telemetry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Records handled between two looks at anything else; a batch of about this size is best for the caches.
const BATCH: usize = 2_048;

/// Likewise in a lane that replays history: the main lane waits while a batch is counted.
const SHORT: usize = 512;

/// Longest wait for news: how late a checkpoint or an answer from the store is noticed on a quiet log.
const WAIT: Duration = Duration::from_millis(20);

/// Likewise while the log is away: nobody has anything to be noticed soon.
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
    pub metrics: Vec<Metric>,
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

/// What a lane did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Records counted since start.
    pub processed: u64,
    /// Of these, how many are durable.
    pub committed: u64,
    /// Whether it was left behind before it ended: then this is what was known of it.
    pub unfinished: bool,
}

/// The lane's thread.
pub(super) struct Lane {
    pub(super) driver: Driver,
    pub(super) counting: Counting,
    pub(super) commands: Receiver<Command>,
    /// Set while it takes no records.
    pub(super) stands_until: Option<Instant>,
    /// 0 while the lane is to run; then how long its end may take, milliseconds.
    stop: Arc<AtomicU64>,
    checkpoint: Duration,
    /// Records handled at once.
    batch: usize,
    /// Whether the source is said to be in trouble.
    troubled: bool,
    /// Partitions whose log ended before what was counted of them, at the last look.
    short: BTreeSet<u32>,
}

impl Lane {
    /// Prepares a lane; the threads beside it start here.
    pub(super) fn new(
        parts: Parts,
        commands: Receiver<Command>,
        stop: Arc<AtomicU64>,
    ) -> std::io::Result<(Lane, Box<dyn Source>)> {
        let batch = if parts.role == Role::Backfill { SHORT } else { BATCH };
        let counting = Counting::new(
            parts.settings,
            parts.view.clone(),
            (parts.board.clone(), parts.room.clone()),
            parts.role,
            parts.metrics,
            parts.decoder,
            Outlets { dead_letters: parts.dead_letters, feed: parts.feed, topic: parts.topic, mark: parts.mark },
        );
        let shown = (parts.view, parts.board, parts.room);
        let driver = Driver::new(parts.store, parts.survey, shown, parts.shared)?;
        let lane = Lane {
            driver,
            counting,
            commands,
            stands_until: None,
            stop,
            checkpoint: parts.checkpoint,
            batch,
            troubled: false,
            short: BTreeSet::new(),
        };
        Ok((lane, parts.source))
    }

    /// Counts until told to stop or the source is of no more use.
    pub(super) fn run(mut self, mut source: Box<dyn Source>) -> Done {
        let joined: Vec<(RevisionNo, History)> =
            self.counting.metrics.iter().map(|metric| (metric.no, metric.history.clone())).collect();
        for (no, history) in joined {
            self.tell(Event::Joined(no, history, None));
            self.counting.blame(no).into_iter().for_each(|event| self.tell(event));
        }
        let mut due = Instant::now() + self.checkpoint;
        let (mut looked, mut beat, mut tries) = (Instant::now(), Instant::now(), 0);
        while self.stop.load(Ordering::Relaxed) == 0 && self.driver.ended.is_none() {
            self.driver.steer(&mut self.counting, &mut *source);
            self.driver.ask_log(&self.counting, false);
            let longest = if self.troubled { WAIT_LONGER } else { WAIT };
            let wait = due.saturating_duration_since(Instant::now()).min(longest);
            let polled = match self.driver.unusable.take() {
                Some(what) => Err(SourceError::Fatal(what)),
                None if self.obey(wait) => Ok(()),
                None => source.poll(wait, self.batch, &mut self),
            };
            match polled {
                Ok(()) => {}
                Err(SourceError::Transient(_, what)) => self.trouble(what),
                Err(SourceError::Fatal(what)) => {
                    tracing::error!("counting stopped: {what}");
                    self.counting.board.stand(|standing| standing.source_trouble = Some(what));
                    break;
                }
            }
            self.driver.answers(&mut self.counting);
            self.driver.roll(&self.counting);
            let away = self.counting.machine.store_away();
            if Instant::now() >= due || (!away && self.counting.wants_checkpoint()) {
                tries = if away { tries + 1 } else { 0 };
                due = Instant::now() + self.checkpoint.max(pause(tries));
                self.counting.look_at_followers(&mut self.driver);
                if beat.elapsed() >= BEAT {
                    beat = Instant::now();
                    self.tell(Event::HeartbeatDue);
                    self.driver.point_out(&self.counting);
                    source.publish_progress(&self.counting.committed_offsets());
                    point("publish.done");
                } else {
                    self.tell(Event::CheckpointDue);
                }
            }
            let due = looked.elapsed() >= LAG;
            if due {
                looked = Instant::now();
            }
            self.driver.ask_log(&self.counting, due || source.wants_survey());
            if let Some(answer) = self.driver.log_answered(&mut self.counting) {
                self.surveyed(&mut *source, answer);
            }
        }
        if let Some(thread) = self.driver.ended {
            tracing::error!("counting stops, for {thread} has ended");
        }
        self.finish(source)
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.driver.tell(&mut self.counting, event);
    }

    /// Notes what the log answered: whether it still holds what was counted, what stalls, whether it answers at all.
    fn surveyed(&mut self, source: &mut dyn Source, answer: Result<(Vec<Bounds>, Position), SourceError>) {
        let noted =
            |(bounds, counted): (Vec<Bounds>, Position)| source.surveyed(&bounds, self).map(|()| (bounds, counted));
        let surveyed = answer.and_then(noted);
        match surveyed {
            Ok((bounds, counted)) => {
                self.note_stalls(source.stalled());
                self.note_ends(&bounds, &counted);
                // Of one that holds nothing the source itself says why.
                if !self.counting.held().is_empty() {
                    self.troubled = true; // said elsewhere too
                    self.no_trouble();
                }
            }
            Err(SourceError::Transient(_, what)) => self.trouble(what),
            Err(fault) => self.driver.source_trouble(&fault),
        }
    }

    fn note_stalls(&self, stalled: Vec<u32>) {
        let new = self.counting.board.look(|standing| stalled.iter().filter(|p| !standing.stalled.contains(p)).count());
        telemetry::stalled(new as u64);
        self.counting.board.stand(|standing| standing.stalled = stalled);
    }

    /// A log that twice ends before what was counted when it was asked was truncated.
    fn note_ends(&mut self, bounds: &[Bounds], counted: &Position) {
        let short: BTreeSet<u32> = self.counting.beyond(bounds, counted).collect();
        let again: Vec<u32> = short.intersection(&self.short).copied().collect();
        self.short = short;
        self.compare(&again);
    }

    /// Loads what is stored of partitions and compares it with the log, as at their assignment.
    fn compare(&mut self, partitions: &[u32]) {
        if !partitions.is_empty() {
            // The source stands elsewhere than where it was told to start.
            self.driver.starts.retain(|partition, _| !partitions.contains(partition));
            self.tell(Event::Lost(partitions.to_vec()));
            self.counting.assigned(partitions);
            self.tell(Event::Assigned(partitions.to_vec()));
        }
    }

    /// Stands until the log answers again: a quiet poll says nothing about a log that is away.
    fn trouble(&mut self, what: String) {
        self.troubled = true;
        self.counting.board.stand(|standing| standing.source_trouble = Some(what));
    }

    fn no_trouble(&mut self) {
        if std::mem::take(&mut self.troubled) {
            self.counting.board.stand(|standing| standing.source_trouble = None);
        }
    }

    fn finish(mut self, source: Box<dyn Source>) -> Done {
        // Nobody said how long an end may take that nobody asked for.
        let limit = match self.stop.load(Ordering::Relaxed) {
            0 => UNASKED,
            millis => Duration::from_millis(millis),
        };
        let begun = Instant::now();
        self.counting.board.stand(|standing| standing.stopping = true);
        let held = self.counting.held();
        self.tell(Event::Revoked(held.clone()));
        self.driver.flush(&mut self.counting, &held, limit / 2);
        point("stop.flushed");
        let done = self.counting.done();
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
        partitions.iter().for_each(|partition| self.counting.deliveries.end(*partition));
        self.counting.assigned(partitions);
        self.tell(Event::Assigned(partitions.to_vec()));
        point("assign.told");
        partitions.iter().map(|partition| self.driver.start_of(&self.counting, *partition)).collect()
    }

    fn revoked(&mut self, partitions: &[u32], lost: bool) {
        tracing::info!(?partitions, lost, "partitions taken away");
        point("revoke.begin");
        if !lost {
            self.tell(Event::Revoked(partitions.to_vec()));
            self.driver.flush(&mut self.counting, partitions, FLUSH);
            point("revoke.flushed");
        }
        self.tell(Event::Lost(partitions.to_vec()));
        self.counting.revoked(partitions);
        point("revoke.end");
    }

    fn records(&mut self, partition: u32, records: &[Record<'_>]) {
        self.no_trouble();
        for batch in records.chunks(self.batch.min(MAX_RECORDS)) {
            self.counting.count(partition, batch, &mut self.driver);
        }
    }

    fn passed(&mut self, partition: u32, to: u64) {
        self.no_trouble();
        self.counting.pass(partition, to, &mut self.driver);
    }

    fn gap(&mut self, partition: u32, from: u64, to: u64) {
        if to <= from {
            tracing::error!(partition, from, "the log no longer holds this offset, and nothing after it either");
            return self.compare(&[partition]);
        }
        tracing::error!(partition, from, to, "records are gone from the log before they were read");
        let Some(epoch) = self.counting.deliveries.comes(partition) else { return };
        self.tell(Event::Gap(partition, epoch, crate::progress::Span { from, to }));
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
