//! How long a replay keeps its place, and where its listener goes on when it makes way for others.
//!
//! What the listener has received is its own. What still waits for it is taken back, so that it
//! holds no memory meanwhile, and is read again later: each event once, as for a client that
//! connects again with its cursor. Gaps are told at once, for a later replay would not find those
//! that are behind it.

use super::{TURN, WAITING};
use crate::event::Position;
use crate::feed::{FeedItem, ReplayMessage, ReplayMessages};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender};

/// A place among the replays that may be under way, given back when it is dropped.
pub trait ReplayPermit: Send + 'static {
    /// Whether others wait for it.
    fn is_wanted(&self) -> bool;
}

/// See the module's description.
pub(super) struct ReplayTurn {
    /// What the listener receives; gone with it.
    messages: Weak<Mutex<Receiver<ReplayMessage>>>,
    /// When it is over; `None`: nothing was read yet.
    ends: Option<Instant>,
    /// Behind what was sent: from there on the rest is read again, if it has to be.
    sent: Position,
    /// The same before each of the newest messages, of as many as may wait.
    before: VecDeque<Position>,
}

impl ReplayTurn {
    /// One that begins at `from`.
    pub(super) fn new(messages: &ReplayMessages, from: &Position) -> ReplayTurn {
        let (messages, before) = (Arc::downgrade(messages), VecDeque::new());
        ReplayTurn { messages, ends: None, sent: from.clone(), before }
    }

    /// Its replay has read up to `at`. The first time that this is further than where it began, the
    /// time begins: however long that takes, each turn gets on.
    pub(super) fn notes(&mut self, at: &Position) {
        if self.ends.is_none() && *at != self.sent {
            self.goes_on(TURN);
        }
    }

    /// It is not over before so much time has passed.
    pub(super) fn goes_on(&mut self, time: Duration) {
        self.ends = Some(Instant::now() + time);
    }

    pub(super) fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    /// All that was read up to `at` is sent.
    pub(super) fn all_is_sent(&mut self, at: &Position) {
        if self.sent != *at {
            self.sent.clone_from(at);
        }
    }

    /// Partitions that it did not know are read from there on.
    pub(super) fn begins_in(&mut self, at: &Position) {
        for (partition, next) in &at.0 {
            self.sent.0.entry(*partition).or_insert(*next);
        }
    }

    /// The next message has these items.
    pub(super) fn sends(&mut self, items: &[FeedItem]) {
        if self.before.len() == WAITING {
            self.before.pop_front();
        }
        self.before.push_back(self.sent.clone());
        let events = items.iter().rposition(|item| matches!(item, FeedItem::Event(_)));
        if let Some(last) = events
            && let FeedItem::Event(event) = &items[last]
            // It is a position: we wrote it.
            && let Ok(cursor) = event.cursor.parse()
        {
            self.sent = cursor;
        }
        for item in &items[events.map_or(0, |last| last + 1)..] {
            if let FeedItem::Gap { from, to } = item {
                pass(&mut self.sent, from, to);
            }
        }
    }

    /// Takes back what the listener has not received, and tells it where to go on, and what is gone
    /// before that. `read`: up to where its replay has read; `unsent`: what it has not sent.
    pub(super) fn end(
        &mut self,
        sender: &Sender<ReplayMessage>,
        read: &Position,
        unsent: impl Iterator<Item = FeedItem>,
    ) {
        // Else the listener is gone.
        let Some(messages) = self.messages.upgrade() else { return };
        let mut messages = messages.lock();
        let mut back: Vec<FeedItem> = Vec::new();
        let mut count = 0;
        while let Ok(message) = messages.try_recv() {
            count += 1;
            if let ReplayMessage::Items(items, _) = message {
                back.extend(items);
            }
        }
        back.extend(unsent);
        let before = self.before.len().checked_sub(count).and_then(|first| self.before.get(first));
        let mut at = before.unwrap_or(&self.sent).clone();
        // Of one that was added meanwhile everything is to be shown.
        for partition in read.0.keys() {
            at.0.entry(*partition).or_insert(0);
        }
        let told: Vec<FeedItem> =
            back.iter().filter_map(|item| gap_before(&mut at, item)).collect();
        // There is room: nothing waits. A listener that has gone needs no word.
        if !told.is_empty() {
            let _ = sender.try_send(ReplayMessage::Items(told, None));
        }
        let _ = sender.try_send(ReplayMessage::MadeWay(at));
    }
}

/// What a gap says of partitions in which it begins before `at`, which is moved behind it. The others
/// are found again from there.
fn gap_before(at: &mut Position, item: &FeedItem) -> Option<FeedItem> {
    let FeedItem::Gap { from, to } = item else { return None };
    let is_before =
        |(partition, from): &(&u32, &u64)| at.0.get(*partition).is_some_and(|at| *from <= at);
    let from = from.0.iter().filter(is_before).map(|(partition, from)| (*partition, *from));
    let from = Position(from.collect());
    let to = to.0.iter().filter(|(partition, _)| from.0.contains_key(*partition));
    let to = Position(to.map(|(partition, to)| (*partition, *to)).collect());
    pass(at, &from, &to);
    (!from.0.is_empty()).then_some(FeedItem::Gap { from, to })
}

/// Moves a position behind a gap. One that begins beyond the end of the log leads back.
fn pass(at: &mut Position, from: &Position, to: &Position) {
    for (partition, to) in &to.0 {
        let leads_back = from.0.get(partition).is_some_and(|from| from > to);
        let next = at.0.entry(*partition).or_insert(*to);
        *next = if leads_back { *to } else { (*to).max(*next) };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
mod tests {
    use super::*;
    use tokio::sync::mpsc::channel;

    #[test]
    fn the_time_of_a_turn_begins_when_it_gets_on() {
        let (_sender, receiver) = channel(1);
        let (messages, from) = (Arc::new(Mutex::new(receiver)), "0:5".parse().unwrap());
        let mut turn = ReplayTurn::new(&messages, &from);
        turn.notes(&from);
        assert!(turn.ends.is_none() && !turn.is_over());
        turn.notes(&"0:6".parse().unwrap());
        assert!(turn.ends.is_some() && !turn.is_over());
        turn.goes_on(Duration::ZERO);
        assert!(turn.is_over());
    }

    #[test]
    fn gaps_behind_a_listener_are_told_at_once_and_others_are_found_again() {
        let (sender, receiver) = channel(WAITING);
        let messages: ReplayMessages = Arc::new(Mutex::new(receiver));
        let position = |text: &str| -> Position { text.parse().unwrap() };
        let mut turn = ReplayTurn::new(&messages, &position("0:30,1:5,2:99"));
        let gap = FeedItem::Gap { from: position("0:10,1:6,2:99"), to: position("0:50,1:9,2:4") };
        turn.sends(std::slice::from_ref(&gap));
        assert!(sender.try_send(ReplayMessage::Items(vec![gap], None)).is_ok());
        // That one is received, and these are not.
        drop(messages.lock().try_recv());
        turn.all_is_sent(&position("0:60,1:9,2:4"));
        let gap = FeedItem::Gap { from: position("0:40,1:10,2:3"), to: position("0:70,1:12,2:4") };
        turn.sends(std::slice::from_ref(&gap));
        assert!(sender.try_send(ReplayMessage::Items(vec![gap], None)).is_ok());
        turn.end(&sender, &position("0:70,1:12,2:4,3:7"), std::iter::empty());
        let mut messages = messages.lock();
        let Ok(ReplayMessage::Items(items, None)) = messages.try_recv() else { panic!("a gap") };
        let told = FeedItem::Gap { from: position("0:40,2:3"), to: position("0:70,2:4") };
        assert_eq!(items, [told]);
        let Ok(ReplayMessage::MadeWay(at)) = messages.try_recv() else { panic!("the last one") };
        assert_eq!(at.to_string(), "0:70,1:9,2:4,3:0");
    }
}
