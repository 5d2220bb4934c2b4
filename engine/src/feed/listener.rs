//! Who listens: through the ring, or first to what a replay reads from the log, and then through
//! the ring without a gap.
//!
//! A listener takes at its own pace and holds up nobody. One that is behind the ring is told how
//! many events it missed; one whose replay waits for it makes that wait.

use super::ring::Ring;
use super::{FeedEvent, FeedFilter, FeedItem};
use crate::event::Position;
use crate::memory::Held;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A listener; dropping it ends it.
pub struct FeedListener(ListenerState);

enum ListenerState {
    Live(LiveListener),
    Replaying(ReplayReceiver),
}

/// What a replay sends to its listener.
pub enum ReplayMessage {
    /// Items, and the memory that is taken for them while they wait.
    Items(Vec<FeedItem>, Option<Held>),
    /// It has caught up: from here on the listener goes through the ring. The last message.
    Live(LiveListener),
}

/// What a listener holds while it is replayed to.
struct ReplayReceiver {
    messages: mpsc::Receiver<ReplayMessage>,
    /// Items that were received and not taken yet.
    left: VecDeque<FeedItem>,
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
}

impl FeedListener {
    /// One that goes through the ring.
    pub(super) fn live(listener: LiveListener) -> FeedListener {
        FeedListener(ListenerState::Live(listener))
    }

    /// One that gets what a replay sends, which begins at `from`.
    #[must_use]
    pub fn replaying(messages: mpsc::Receiver<ReplayMessage>, from: &Position) -> FeedListener {
        let (left, cursor) = (VecDeque::new(), from.to_string().into());
        FeedListener(ListenerState::Replaying(ReplayReceiver { messages, left, cursor }))
    }

    /// Waits for at least one item and adds at most `most` to `out`. Returns whether there was one;
    /// if not, the engine has stopped. A call that is given up has taken nothing.
    pub async fn next(&mut self, most: usize, out: &mut Vec<FeedItem>) -> bool {
        loop {
            let receiver = match &mut self.0 {
                ListenerState::Live(live) => return live.next(most, out).await,
                ListenerState::Replaying(receiver) => receiver,
            };
            if receiver.take(most, out) {
                return true;
            }
            match receiver.messages.recv().await {
                Some(ReplayMessage::Items(items, _held)) => receiver.left.extend(items),
                Some(ReplayMessage::Live(live)) => self.0 = ListenerState::Live(live),
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
        }
    }
}

impl ReplayReceiver {
    fn take(&mut self, most: usize, out: &mut Vec<FeedItem>) -> bool {
        let count = self.left.len().min(most.max(1));
        for item in self.left.drain(..count) {
            if let FeedItem::Event(event) = &item {
                self.cursor = event.cursor.clone();
            }
            out.push(item);
        }
        count > 0
    }
}

impl LiveListener {
    /// One that joins a ring now. `moved` tells when there is something new.
    pub(super) fn join(
        ring: &Arc<Mutex<Ring>>,
        moved: watch::Receiver<()>,
        filter: FeedFilter,
    ) -> (LiveListener, Position) {
        let mut joined = ring.lock();
        joined.joins();
        let (next, position) = (joined.end(), Position(joined.position().clone()));
        drop(joined);
        let (ring, cursor, seen) = (ring.clone(), position.to_string().into(), BTreeMap::new());
        (LiveListener { ring, moved, next, filter, cursor, seen }, position)
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
        let (before, ring) = (out.len(), self.ring.lock());
        let missed = ring.first().saturating_sub(self.next);
        if missed > 0 {
            out.push(FeedItem::Skipped(missed));
            self.next = ring.first();
        }
        for event in ring.rest_from(self.next) {
            if out.len() - before >= most.max(1) {
                break;
            }
            self.next += 1;
            let Some(event) = unseen(&mut self.seen, event) else { continue };
            self.cursor = event.cursor.clone();
            if self.filter.takes(&event) {
                out.push(FeedItem::Event(event));
            }
        }
        out.len() > before
    }
}

/// An event of the ring as it is shown to a listener that has seen more than that; `None`: not at
/// all.
fn unseen(seen: &mut BTreeMap<u32, u64>, event: &Arc<FeedEvent>) -> Option<Arc<FeedEvent>> {
    if seen.is_empty() {
        return Some(event.clone());
    }
    if seen.get(&event.partition).is_some_and(|seen| event.next <= *seen) {
        return None;
    }
    // It is a position: we wrote it.
    let mut position: Position = event.cursor.parse().unwrap_or_default();
    seen.retain(|partition, seen| position.0.get(partition).is_none_or(|at| *at < *seen));
    if seen.is_empty() {
        return Some(event.clone());
    }
    position.0.extend(seen.iter().map(|(partition, seen)| (*partition, *seen)));
    Some(Arc::new(event.with_cursor(&position.to_string())))
}

impl Drop for LiveListener {
    fn drop(&mut self) {
        self.ring.lock().leaves();
    }
}
