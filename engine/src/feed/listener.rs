//! Who listens: through the ring, or first to what a replay reads from the log, once it is its
//! turn, and then through the ring without a gap.
//!
//! A listener takes at its own pace and holds up nobody. One that is behind the ring is told how
//! many events it missed; one whose replay waits for it makes that wait. What was taken is counted
//! as memory until more is asked for: the ring may have dropped it by then.

use super::ring::Ring;
use super::{FeedEvent, FeedFilter, FeedItem};
use crate::event::Position;
use crate::memory::{Held, Share};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Events that are copied out of the ring at a time: that is all that its lock is held for.
const COPIED: usize = 1_024;

/// Bytes of events that are taken at a time, and at most an event more.
const TAKEN: u64 = 256 << 10;

/// Bytes of them for which no memory has to be found: nobody is kept from small events by others.
const LITTLE: u64 = 4 << 10;

/// Memory for more of them is taken by so many bytes.
const STEP: u64 = 16 << 10;

/// A listener; dropping it ends it.
pub struct FeedListener(ListenerState);

enum ListenerState {
    Live(LiveListener),
    Replaying(ReplayReceiver),
    Waiting(WaitingListener),
    /// An internal error has ended it; where it was.
    Failed(Arc<str>),
}

/// The listener that another becomes when it is its turn; `None`: the engine has stopped.
pub type ListenerTurn = Pin<Box<dyn Future<Output = Option<FeedListener>> + Send>>;

/// What a replay sends to its listener. The replay may take back what the listener has not received.
pub type ReplayMessages = Arc<Mutex<mpsc::Receiver<ReplayMessage>>>;

/// Gives a listener whose replay made way for others another turn, from there on.
pub type ReplayAgain = Box<dyn FnOnce(Position) -> ListenerTurn + Send>;

/// What a listener holds until its replay begins.
struct WaitingListener {
    turn: ListenerTurn,
    cursor: Arc<str>,
}

/// A message of a replay to its listener.
pub enum ReplayMessage {
    /// Items, and the memory that is taken for them while they wait.
    Items(Vec<FeedItem>, Option<Held>),
    /// It has caught up: from here on the listener goes through the ring. The last message.
    Live(LiveListener),
    /// It has made way for others: the listener goes on from there when it is its turn again. The
    /// last message.
    MadeWay(Position),
    /// An internal error has ended it. The last message.
    Failed,
}

/// What a listener holds while it is replayed to.
struct ReplayReceiver {
    messages: ReplayMessages,
    again: Option<ReplayAgain>,
    /// Items that were received and not taken yet.
    left: VecDeque<FeedItem>,
    /// The memory of what was received last, until more is asked for.
    held: Option<Held>,
    cursor: Arc<str>,
}

/// A listener that goes through the ring.
pub struct LiveListener {
    ring: Arc<Mutex<Ring>>,
    moved: watch::Receiver<()>,
    /// Number of the next event.
    next: u64,
    filter: FeedFilter,
    cursor: Arc<str>,
    /// Per partition up to where it has seen events before they came through the ring; partitions
    /// that the ring has brought that far are not in it any more.
    seen: BTreeMap<u32, u64>,
    /// The memory of what was taken last, until more is asked for.
    held: Held,
}

impl FeedListener {
    /// One that goes through the ring.
    pub(super) fn live(listener: LiveListener) -> FeedListener {
        FeedListener(ListenerState::Live(listener))
    }

    /// One that gets what a replay sends, which begins at `from`; `again`: where it goes on if that
    /// makes way for others.
    #[must_use]
    pub fn replaying(
        messages: ReplayMessages,
        from: &Position,
        again: ReplayAgain,
    ) -> FeedListener {
        let (left, held, cursor) = (VecDeque::new(), None, from.to_string().into());
        let again = Some(again);
        let receiver = ReplayReceiver { messages, again, left, held, cursor };
        FeedListener(ListenerState::Replaying(receiver))
    }

    /// One that listens from `from` on when it is its turn.
    #[must_use]
    pub fn waiting(turn: ListenerTurn, from: &Position) -> FeedListener {
        let cursor = from.to_string().into();
        FeedListener(ListenerState::Waiting(WaitingListener { turn, cursor }))
    }

    /// One that an internal error has ended where it was.
    #[must_use]
    pub fn failed(at: &Position) -> FeedListener {
        FeedListener(ListenerState::Failed(at.to_string().into()))
    }

    /// Whether an internal error has ended it, and not the engine's stop.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.0, ListenerState::Failed(_))
    }

    /// Waits for at least one item and adds at most `most` to `out`. Returns whether there was one;
    /// if not, the engine has stopped, or [`FeedListener::has_failed`]. A call that is given up has
    /// taken nothing.
    pub async fn next(&mut self, most: usize, out: &mut Vec<FeedItem>) -> bool {
        loop {
            let receiver = match &mut self.0 {
                ListenerState::Live(live) => return live.next(most, out).await,
                ListenerState::Replaying(receiver) => receiver,
                ListenerState::Waiting(waiting) => {
                    let turned = waiting.turn.as_mut().await;
                    let Some(listener) = turned else { return false };
                    self.0 = listener.0;
                    continue;
                }
                ListenerState::Failed(_) => return false,
            };
            if receiver.take(most, out) {
                return true;
            }
            // What was taken of it was used, or no more would be asked for.
            receiver.held = None;
            match poll_fn(|cx| receiver.messages.lock().poll_recv(cx)).await {
                Some(ReplayMessage::Items(items, held)) => {
                    receiver.left.extend(items);
                    receiver.held = held;
                }
                Some(ReplayMessage::Live(live)) => self.0 = ListenerState::Live(live),
                Some(ReplayMessage::MadeWay(at)) => {
                    let Some(again) = receiver.again.take() else { return false };
                    let turn = again(at.clone());
                    *self = FeedListener::waiting(turn, &at);
                }
                Some(ReplayMessage::Failed) => {
                    let cursor = receiver.cursor.clone();
                    self.0 = ListenerState::Failed(cursor);
                }
                None => return false,
            }
        }
    }

    /// The position of the feed up to which this listener has seen it.
    #[must_use]
    pub fn cursor(&self) -> &Arc<str> {
        match &self.0 {
            ListenerState::Live(live) => &live.cursor,
            ListenerState::Replaying(receiver) => &receiver.cursor,
            ListenerState::Waiting(waiting) => &waiting.cursor,
            ListenerState::Failed(cursor) => cursor,
        }
    }
}

impl ReplayReceiver {
    fn take(&mut self, most: usize, out: &mut Vec<FeedItem>) -> bool {
        let (before, mut bytes) = (out.len(), 0);
        while out.len() - before < most.max(1) && bytes < TAKEN {
            let Some(item) = self.left.pop_front() else { break };
            if let FeedItem::Event(event) = &item {
                self.cursor = event.cursor.clone();
                bytes += event.bytes();
            }
            out.push(item);
        }
        out.len() > before
    }
}

impl LiveListener {
    /// One that joins a ring now. `moved` tells when there is something new; what it takes is
    /// counted in `takes`.
    pub(super) fn join(
        ring: &Arc<Mutex<Ring>>,
        moved: watch::Receiver<()>,
        filter: FeedFilter,
        takes: &Arc<Share>,
    ) -> (LiveListener, Position) {
        let held = takes.take(0).unwrap_or_else(|_| unreachable!("nothing always fits"));
        let mut joined = ring.lock();
        joined.joins();
        let (next, position) = (joined.end(), Position(joined.position().clone()));
        drop(joined);
        let (ring, cursor, seen) = (ring.clone(), position.to_string().into(), BTreeMap::new());
        (LiveListener { ring, moved, next, filter, cursor, seen, held }, position)
    }

    /// Whether events that it has not seen were dropped.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.ring.lock().first() > self.next
    }

    /// It has seen everything up to `seen`: that is not shown to it again, and its cursors do not
    /// fall behind that.
    pub fn has_seen(&mut self, seen: &Position) {
        self.cursor = seen.to_string().into();
        self.seen = seen.0.clone();
    }

    async fn next(&mut self, most: usize, out: &mut Vec<FeedItem>) -> bool {
        loop {
            // Before the ring is read, so that nothing is missed that comes after.
            self.moved.mark_unchanged();
            if self.take(most, out) {
                return true;
            }
            if self.moved.changed().await.is_err() {
                return self.take(most, out);
            }
        }
    }

    fn take(&mut self, most: usize, out: &mut Vec<FeedItem>) -> bool {
        let (before, most, mut bytes) = (out.len(), most.max(1), 0);
        // What was taken before was used, or no more would be asked for; nothing always fits.
        let _ = self.held.resize(0);
        // Who wants all takes what it copies; others have to look at more.
        let mut copied = self.copy(most, out);
        while !copied.is_empty() {
            for event in copied {
                if out.len() - before >= most || bytes >= TAKEN {
                    return true;
                }
                let is_wanted = self.filter.takes(&event) && !is_seen(&self.seen, &event);
                let fits = !is_wanted || self.holds(bytes + event.bytes());
                if !fits && out.len() > before {
                    // Next time, when what is taken now is given back.
                    return true;
                }
                self.next += 1;
                let Some(event) = unseen(&mut self.seen, event) else { continue };
                self.cursor = event.cursor.clone();
                if !fits {
                    out.push(FeedItem::Skipped(1));
                } else if is_wanted {
                    bytes += event.bytes();
                    out.push(FeedItem::Event(event));
                }
            }
            if out.len() - before >= most || bytes >= TAKEN {
                break;
            }
            copied = self.copy(COPIED, out);
        }
        out.len() > before
    }

    /// Whether there is memory for so many bytes of events.
    fn holds(&mut self, bytes: u64) -> bool {
        bytes <= self.held.bytes().max(LITTLE)
            || self.held.resize(bytes.next_multiple_of(STEP)).is_ok()
            || self.held.resize(bytes).is_ok()
    }

    /// Copies events from the next one on, at most so many. Tells how many were missed before them,
    /// if it had not seen all of these.
    fn copy(&mut self, most: usize, out: &mut Vec<FeedItem>) -> Vec<Arc<FeedEvent>> {
        let ring = self.ring.lock();
        let missed = ring.first().saturating_sub(self.next);
        let is_new = |(partition, next): (u32, u64)| {
            self.seen.get(&partition).is_none_or(|seen| next > *seen)
        };
        if missed > 0 && ring.dropped_since(self.next).any(is_new) {
            out.push(FeedItem::Skipped(missed));
        }
        self.next = ring.first().max(self.next);
        ring.rest_from(self.next).take(most.min(COPIED)).cloned().collect()
    }
}

fn is_seen(seen: &BTreeMap<u32, u64>, event: &FeedEvent) -> bool {
    seen.get(&event.partition).is_some_and(|seen| event.next <= *seen)
}

/// An event of the ring as it is shown to a listener that has seen more than that; `None`: not at
/// all.
fn unseen(seen: &mut BTreeMap<u32, u64>, event: Arc<FeedEvent>) -> Option<Arc<FeedEvent>> {
    if seen.is_empty() {
        return Some(event);
    }
    if is_seen(seen, &event) {
        return None;
    }
    // It is a position: we wrote it.
    let mut position: Position = event.cursor.parse().unwrap_or_default();
    seen.retain(|partition, seen| position.0.get(partition).is_none_or(|at| *at < *seen));
    if seen.is_empty() {
        return Some(event);
    }
    position.0.extend(seen.iter().map(|(partition, seen)| (*partition, *seen)));
    Some(Arc::new(event.with_cursor(&position.to_string())))
}

impl Drop for LiveListener {
    fn drop(&mut self) {
        self.ring.lock().leaves();
    }
}
