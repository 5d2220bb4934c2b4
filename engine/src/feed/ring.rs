//! The newest events of the feed, bounded in number and in bytes, and how far the feed is.
//!
//! What does not fit drops the oldest; who has not taken them yet sees from their numbers how many
//! it missed. Its bytes are taken from the share of memory that it is given. Waits for nobody.

use super::{CursorText, FeedEvent};
use crate::memory::{Held, Share};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most events that are kept.
const EVENTS: usize = 8_192;

/// See the module's description.
pub(super) struct Ring {
    events: VecDeque<Arc<FeedEvent>>,
    /// The number of the first one kept; events are numbered since the start.
    first: u64,
    /// Per partition the newest event that was dropped: its number, and the offset after its
    /// record.
    dropped: BTreeMap<u32, (u64, u64)>,
    /// Bytes of the events kept.
    held: Held,
    /// Per partition the offset after the last record that was shown, or is not to be shown.
    position: BTreeMap<u32, u64>,
    /// Who listens now.
    listeners: usize,
}

impl Ring {
    /// An empty ring whose events take what a share has.
    pub(super) fn new(share: &Arc<Share>) -> Ring {
        let held = share.take(0).unwrap_or_else(|_| unreachable!("nothing always fits"));
        let (events, dropped, position) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Ring { events, first: 0, dropped, held, position, listeners: 0 }
    }

    /// The number of the first event that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next event.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The events kept, from this number on.
    pub(super) fn rest_from(&self, number: u64) -> impl Iterator<Item = &Arc<FeedEvent>> {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(skipped.min(self.events.len())..)
    }

    /// Adds an event; the oldest make room. For one that finds none there is no room at all: it is
    /// dropped like them.
    pub(super) fn push(&mut self, event: Arc<FeedEvent>) {
        while self.events.len() >= EVENTS || !self.holds(event.bytes()) {
            if !self.drop_oldest() {
                self.drops(&event);
                return;
            }
        }
        self.events.push_back(event);
    }

    /// Takes so many bytes more; whether there are as many.
    fn holds(&mut self, more: u64) -> bool {
        self.held.resize(self.held.bytes().saturating_add(more)).is_ok()
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.events.pop_front() else { return false };
        self.drops(&oldest);
        // Fewer bytes than before always fit.
        let _ = self.held.resize(self.held.bytes().saturating_sub(oldest.bytes()));
        true
    }

    /// The first event is dropped.
    fn drops(&mut self, event: &FeedEvent) {
        self.dropped.insert(event.partition, (self.first, event.next));
        self.first += 1;
    }

    /// Partitions of which events from this number on were dropped, with the offset after the
    /// newest of them.
    pub(super) fn dropped_since(&self, number: u64) -> impl Iterator<Item = (u32, u64)> {
        let dropped = self.dropped.iter().filter(move |(_, (newest, _))| *newest >= number);
        dropped.map(|(partition, (_, next))| (*partition, *next))
    }

    // How far the feed is.

    pub(super) fn position(&self) -> &BTreeMap<u32, u64> {
        &self.position
    }

    /// The feed is at `next` in this partition.
    pub(super) fn moves(&mut self, partition: u32, next: u64) {
        self.position.insert(partition, next);
    }

    /// The feed begins with `next` in a partition of which it knew nothing.
    pub(super) fn starts(&mut self, partition: u32, next: u64) {
        self.position.entry(partition).or_insert(next);
    }

    /// The text of cursors in this partition.
    pub(super) fn around(&self, partition: u32) -> CursorText {
        CursorText::around(&self.position, partition)
    }

    // Who listens.

    pub(super) fn has_listeners(&self) -> bool {
        self.listeners > 0
    }

    pub(super) fn joins(&mut self) {
        self.listeners += 1;
    }

    /// A listener leaves; the last one takes what is kept along, for nobody can ask for it any
    /// more.
    pub(super) fn leaves(&mut self) {
        self.listeners = self.listeners.saturating_sub(1);
        if self.listeners == 0 {
            while self.drop_oldest() {}
            self.events.shrink_to_fit();
        }
    }
}
