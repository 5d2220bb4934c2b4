//! Replays the log to a listener of the feed that gave a position, until it goes through the feed's
//! ring like any other.
//!
//! A thread for each such listener reads what counting reads, with the same verdicts, and shows
//! what the listener wants. Promises: each event from the position on once, in the order of its
//! partition, without a gap where the ring takes over; what the log no longer holds is told
//! (`gaps`). It waits for its listener, with a bounded number of messages in between. While the log
//! does not answer it is silent and tries again; readiness says why.
//!
//! A listener may take a little at a time for ever: after [`TURN`] a replay makes way for those who
//! wait for its place (`turn`), and its listener goes on later from behind what it has received.
//!
//! Close to the feed it joins the ring and reads on up to where the feed was at that moment: what
//! comes later is in the ring. If the ring drops something of that first, it leaves and reads on.

mod gaps;
#[cfg(test)]
mod tests;
mod turn;

pub use turn::ReplayPermit;

use super::fatal::message;
use super::judged_tail::{JudgedRecords, JudgedTail};
use super::publish_events::events_of;
use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::{
    CursorText, Feed, FeedEvent, FeedFilter, FeedItem, FeedListener, LiveListener, ReplayAgain,
    ReplayMessage,
};
use crate::log::{Log, LogError};
use crate::memory::Share;
use gaps::GapWatch;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};
use turn::ReplayTurn;

/// Messages that may wait for the listener.
const WAITING: usize = 8;

/// Bytes of a message, and at most an event more.
const CHUNK: u64 = 256 << 10;

/// Items of a message.
const ITEMS: usize = 256;

/// Records that are read at a time: at most so many wait to be made into messages.
const RECORDS: usize = 128;

/// Longest wait for records.
const WAIT: Duration = Duration::from_millis(20);

/// Pause while the listener, or others, have to give something back first.
const PACE: Duration = Duration::from_millis(5);

/// Pause while the log does not answer.
const RETRY: Duration = Duration::from_millis(100);

/// Pause before a reader that failed is replaced.
const AGAIN: Duration = Duration::from_secs(2);

/// Records behind the feed at which a replay joins the ring.
const NEAR: u64 = 2_048;

/// Polls without a record of a partition that lacks some after which what is left before the feed's
/// position is looked up by itself: there may be no record.
const QUIET: u32 = 25;

/// How long a replay keeps its place while others wait for it, from when it first gets on.
const TURN: Duration = Duration::from_secs(30);

/// What a replay is made of.
pub struct ReplayParts {
    /// The log to read.
    pub log: Arc<dyn Log>,
    /// Turns records into events.
    pub decoder: Decoder,
    /// The dedupe window, offsets.
    pub window: u64,
    /// Where the memory of messages is taken.
    pub share: Arc<Share>,
    /// Whether it was told that replays end by internal errors.
    pub told: Arc<AtomicBool>,
}

impl ReplayParts {
    /// The same for another replay.
    #[must_use]
    pub fn again(&self) -> ReplayParts {
        let ReplayParts { log, decoder, window, share, told } = self;
        ReplayParts {
            log: log.clone(),
            decoder: decoder.fresh(),
            window: *window,
            share: share.clone(),
            told: told.clone(),
        }
    }
}

/// Listens to the events that the filter takes from `since` on; in partitions that it does not
/// name, from now on. `permit` is given back when the replay has ended; if it is wanted before, the
/// listener goes on with `again`. An internal error ends the listener as one.
///
/// # Errors
/// The system starts no more threads.
pub fn replay_feed(
    parts: ReplayParts,
    feed: &Arc<Feed>,
    (since, filter): (Position, FeedFilter),
    (permit, again): (impl ReplayPermit, ReplayAgain),
) -> std::io::Result<FeedListener> {
    let (mut replay, listener) = Replay::new(parts, feed, (since, filter), again);
    let feed = Arc::downgrade(feed);
    let run = move || {
        let (told, sender) = (replay.parts.told.clone(), replay.sender.clone());
        let held = &permit;
        let ended = catch_unwind(AssertUnwindSafe(move || replay.run(&feed, held)));
        // The word below may have to wait for the listener.
        drop(permit);
        if let Err(panic) = ended {
            // Who listens will try again, and often meet the same record.
            if !told.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "a replay of events has ended by an internal error ({}), as may others: please \
                     report it; counting goes on, and new events are shown",
                    message(&*panic)
                );
            }
            // Dropping the payload may panic in turn.
            std::mem::forget(panic);
            // A listener that has gone needs no word.
            let _ = sender.blocking_send(ReplayMessage::Failed);
        }
    };
    std::thread::Builder::new().name("tally-replay".into()).spawn(run)?;
    Ok(listener)
}

/// A replay under way.
struct Replay {
    parts: ReplayParts,
    filter: FeedFilter,
    sender: Sender<ReplayMessage>,
    /// How far it has read.
    at: Position,
    tail: Option<JudgedTail>,
    joined: Option<RingPlace>,
    /// What reads partitions by themselves, while it does.
    looking: Option<JudgedTail>,
    /// Items that are to be sent.
    ready: VecDeque<FeedItem>,
    /// Polls that brought nothing of the partitions that lack something, since there were as many
    /// of these as there are.
    quiet: u32,
    /// Partitions that lacked something when that was counted last.
    lacking: usize,
    gaps: GapWatch,
    turn: ReplayTurn,
}

/// A place in the ring, to be handed over once the replay has read up to the goal.
struct RingPlace {
    live: LiveListener,
    goal: Position,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterStep {
    Another,
    AnotherIn(Duration),
    End,
}

impl Replay {
    fn new(
        parts: ReplayParts,
        feed: &Feed,
        (since, filter): (Position, FeedFilter),
        again: ReplayAgain,
    ) -> (Replay, FeedListener) {
        let mut at = since;
        for (partition, next) in feed.position().0 {
            at.0.entry(partition).or_insert(next);
        }
        let (sender, receiver) = channel(WAITING);
        let messages = Arc::new(Mutex::new(receiver));
        let turn = ReplayTurn::new(&messages, &at);
        let listener = FeedListener::replaying(messages, &at, again);
        let (ready, gaps) = (VecDeque::new(), GapWatch::default());
        let (tail, looking, joined, quiet, lacking) = (None, None, None, 0, 0);
        let replay = Replay {
            parts,
            filter,
            sender,
            at,
            tail,
            joined,
            looking,
            ready,
            quiet,
            lacking,
            gaps,
            turn,
        };
        (replay, listener)
    }

    fn run(&mut self, feed: &Weak<Feed>, permit: &impl ReplayPermit) {
        loop {
            let Some(feed) = feed.upgrade() else { return };
            let after = self.step(&feed);
            drop(feed);
            match after {
                AfterStep::Another => {}
                AfterStep::AnotherIn(pause) => std::thread::sleep(pause),
                AfterStep::End => return,
            }
            if self.turn.is_over() && permit.is_wanted() && self.make_way() {
                return;
            }
        }
    }

    /// Sends what is ready, or reads a little more.
    fn step(&mut self, feed: &Feed) -> AfterStep {
        if self.sender.is_closed() {
            return AfterStep::End;
        }
        self.turn.notes(&self.at);
        if !self.ready.is_empty() {
            return self.hand_over();
        }
        self.turn.all_is_sent(&self.at);
        let read = match self.joined.take() {
            None => self.approach(feed).map(|()| AfterStep::Another),
            Some(joined) => self.catch_up(feed, joined),
        };
        match read {
            Ok(after) => after,
            Err(LogError::Transient(_, what)) => {
                tracing::debug!("a replay of events waits for the log: {what}");
                AfterStep::AnotherIn(RETRY)
            }
            Err(fault) => {
                tracing::warn!("events cannot be replayed: {fault}; trying again");
                self.tail = None;
                AfterStep::AnotherIn(AGAIN)
            }
        }
    }

    // Log → ready → listener.

    /// Joins the ring if the feed is near and the listener has taken everything, else reads on.
    fn approach(&mut self, feed: &Feed) -> Result<(), LogError> {
        self.looking = None;
        let taken = self.sender.capacity() == self.sender.max_capacity();
        if taken && self.tail.is_some() && self.is_near(&feed.position()) {
            let (live, goal) = feed.join(self.filter.clone());
            self.joined = Some(RingPlace { live, goal });
            self.quiet = 0;
            return Ok(());
        }
        self.read_on()
    }

    fn is_near(&self, feed: &Position) -> bool {
        let behind =
            |(partition, next): (&u32, &u64)| next.saturating_sub(self.read_to(*partition));
        let behind = feed.0.iter().map(behind).fold(0, u64::saturating_add);
        !feed.0.is_empty() && behind <= NEAR
    }

    /// Reads up to the goal, and then hands the place in the ring over. Gives the place up if the
    /// ring has dropped something behind it, or on an error.
    fn catch_up(&mut self, feed: &Feed, mut joined: RingPlace) -> Result<AfterStep, LogError> {
        if joined.live.is_behind() {
            return Ok(AfterStep::Another);
        }
        // A relay learns of a partition when somebody listens; what it shows from then on is in the
        // ring, as is what is shown of the others.
        for (partition, next) in feed.position().0 {
            joined.goal.0.entry(partition).or_insert(next);
        }
        let lacking: Vec<(u32, u64)> = joined
            .goal
            .0
            .iter()
            .filter(|(partition, next)| self.read_to(**partition) < **next)
            .map(|(partition, next)| (*partition, *next))
            .collect();
        let named = self.at.0.keys().all(|partition| joined.goal.0.contains_key(partition));
        if named && lacking.is_empty() {
            if !self.gaps.is_in_doubt() {
                return Ok(self.go_live(joined));
            }
            self.ready.extend(self.gaps.ask(&*self.parts.log, &mut self.at)?);
        } else if lacking.is_empty() || self.quiet < QUIET {
            self.read_towards(&lacking)?;
        } else {
            self.look_up(&lacking)?;
        }
        self.joined = Some(joined);
        Ok(AfterStep::Another)
    }

    fn go_live(&mut self, mut joined: RingPlace) -> AfterStep {
        match self.sender.try_reserve() {
            Ok(place) => {
                joined.live.has_seen(&self.at);
                place.send(ReplayMessage::Live(joined.live));
                AfterStep::End
            }
            Err(TrySendError::Full(())) => {
                self.joined = Some(joined);
                AfterStep::AnotherIn(PACE)
            }
            Err(TrySendError::Closed(())) => AfterStep::End,
        }
    }

    /// The next offset of a partition that it has not read.
    fn read_to(&self, partition: u32) -> u64 {
        self.at.0.get(&partition).copied().unwrap_or(0)
    }

    /// Reads a few records, and counts whether any was of the partitions that lack some: others may
    /// be busy for ever, while these end in offsets without a record.
    fn read_towards(&mut self, lacking: &[(u32, u64)]) -> Result<(), LogError> {
        let read = |tail: &Option<JudgedTail>| -> u64 {
            let read = |(partition, _): &(u32, u64)| tail.as_ref()?.read(*partition);
            lacking.iter().filter_map(read).fold(0, u64::saturating_add)
        };
        if lacking.len() != self.lacking {
            (self.lacking, self.quiet) = (lacking.len(), 0);
        }
        let before = read(&self.tail);
        self.read_on()?;
        if read(&self.tail) == before {
            self.quiet = self.quiet.saturating_add(1);
        }
        Ok(())
    }

    /// Reads a few records.
    fn read_on(&mut self) -> Result<(), LogError> {
        let Replay { parts, filter, at, tail, ready, gaps, turn, .. } = self;
        if gaps.is_due(parts.log.is_shared()) {
            ready.extend(gaps.ask(&*parts.log, at)?);
            turn.begins_in(at);
        }
        if tail.is_none() {
            let decoder = parts.decoder.fresh();
            *tail = Some(JudgedTail::open(&*parts.log, decoder, parts.window, at)?);
        }
        let Some(tail) = tail else { return Ok(()) };
        tail.poll(WAIT, RECORDS, at, &mut |judged| show(judged, filter, gaps, ready))
    }

    /// Reads these partitions up to these offsets, each by itself, or a message's worth of it:
    /// then it is called again. Another reader goes on from there, if that is necessary.
    fn look_up(&mut self, lacking: &[(u32, u64)]) -> Result<(), LogError> {
        if let Some(mut tail) = self.looking.take().or_else(|| self.tail.take()) {
            let Replay { parts, filter, at, ready, gaps, .. } = self;
            for (partition, to) in lacking.iter().copied() {
                let from = at.0.get(&partition).copied().unwrap_or(0);
                let mut each = |judged: &JudgedRecords<'_>| show(judged, filter, gaps, ready);
                let lack = (partition, to, CHUNK);
                let is_read = tail.read_to(&*parts.log, lack, at, &mut each)?;
                let read = at.0.get(&partition).copied().unwrap_or(from);
                gaps.note_range(partition, from, read);
                if !is_read {
                    self.looking = Some(tail);
                    return Ok(());
                }
            }
        }
        self.quiet = 0;
        Ok(())
    }

    /// Sends a message of what is ready.
    fn hand_over(&mut self) -> AfterStep {
        let (count, bytes) = chunk(&self.ready);
        let nothing_waits = self.sender.capacity() == self.sender.max_capacity();
        let held = self.parts.share.take(bytes).ok();
        // Where others take all the memory it goes on all the same, a message at a time.
        if held.is_none() && !nothing_waits {
            return AfterStep::AnotherIn(PACE);
        }
        match self.sender.try_reserve() {
            Ok(place) => {
                let items: Vec<FeedItem> = self.ready.drain(..count).collect();
                self.turn.sends(&items);
                place.send(ReplayMessage::Items(items, held));
                AfterStep::Another
            }
            Err(TrySendError::Full(())) => AfterStep::AnotherIn(PACE),
            Err(TrySendError::Closed(())) => AfterStep::End,
        }
    }

    /// Ends the turn of its listener, which waits for another one then: what it has not received is
    /// read again. Whether that is done; it is not while the log does not say what it has dropped.
    fn make_way(&mut self) -> bool {
        if self.ready.is_empty() {
            self.turn.all_is_sent(&self.at);
        }
        if self.gaps.is_in_doubt() {
            match self.gaps.ask(&*self.parts.log, &mut self.at) {
                Ok(gap) => self.ready.extend(gap),
                Err(fault) => {
                    tracing::debug!("a replay of events keeps its place for now: {fault}");
                    self.turn.goes_on(AGAIN);
                    return false;
                }
            }
        }
        self.joined = None;
        self.turn.end(&self.sender, &self.at, self.ready.drain(..));
        true
    }
}

/// Makes the events among some records ready that the filter takes.
fn show(
    judged: &JudgedRecords<'_>,
    filter: &FeedFilter,
    gaps: &mut GapWatch,
    ready: &mut VecDeque<FeedItem>,
) {
    gaps.note(judged);
    let partition = judged.batch.partition;
    let around = CursorText::around(&judged.position.0, partition);
    for new in events_of(judged.decoder, judged.batch, judged.records, judged.from) {
        let event = FeedEvent::new(partition, new, &around);
        if filter.takes(&event) {
            ready.push_back(FeedItem::Event(Arc::new(event)));
        }
    }
}

/// How many items make the next message, and their bytes.
fn chunk(ready: &VecDeque<FeedItem>) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    for item in ready.iter().take(ITEMS) {
        count += 1;
        bytes += match item {
            FeedItem::Event(event) => event.bytes(),
            FeedItem::Skipped(_) | FeedItem::Gap { .. } => 0,
        };
        if bytes >= CHUNK {
            break;
        }
    }
    (count, bytes)
}
