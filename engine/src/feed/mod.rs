//! New events, to everybody who listens: one text shared by all, the newest kept in a ring.
//!
//! A listener goes through the ring at its own pace and takes what its filter wants. A slow one
//! loses the oldest events and receives the number lost; it never slows counting. What it has taken
//! is counted until it asks for more; where there is no memory for that, it is given a little at a
//! time, and of a larger event its number. Without listeners no text is made. Who counts wakes
//! nobody (`wake_thread`). Each event carries a cursor, the position of the whole feed. Reads no
//! log: who wants older events has them replayed (`pipeline/replay`), and joins the ring when they
//! end.

mod event;
mod filter;
mod listener;
mod ring;
#[cfg(test)]
mod ring_tests;
mod wake_thread;

pub use event::{CursorText, FeedEvent, NewEvent};
pub use filter::FeedFilter;
pub use listener::{
    FeedListener, ListenerTurn, LiveListener, ReplayAgain, ReplayMessage, ReplayMessages,
};

use crate::event::Position;
use crate::memory::Share;
use parking_lot::Mutex;
use ring::Ring;
use std::sync::Arc;
use wake_thread::WakeThread;

/// Where the pipeline shows new events. One thread shows them.
pub struct Feed {
    ring: Arc<Mutex<Ring>>,
    /// What listeners have taken is counted there.
    takes: Arc<Share>,
    /// Tells listeners that there is something new, or by its end that there is no more.
    wakes: WakeThread,
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// A new event, shared by all listeners.
    Event(Arc<FeedEvent>),
    /// So many events were dropped before the next item, wanted ones and others.
    Skipped(u64),
    /// The log no longer holds the records between these positions, which name the partitions in
    /// which that is so.
    Gap {
        /// Where the listener was.
        from: Position,
        /// Where it goes on.
        to: Position,
    },
}

impl Feed {
    /// A feed whose events take all of the first share, at most; of what listeners have taken of
    /// them and not used yet, all but a little for each is taken from the second.
    #[must_use]
    pub fn new(share: &Arc<Share>, takes: &Arc<Share>) -> Feed {
        let ring = Arc::new(Mutex::new(Ring::new(share)));
        Feed { ring, takes: Arc::clone(takes), wakes: WakeThread::new() }
    }

    /// Whether somebody listens.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.ring.lock().has_listeners()
    }

    /// How far the feed is: what comes before was shown, or is not to be shown.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.ring.lock().position().clone())
    }

    /// The feed will begin at `next` in a partition that it may not know yet; one that it knows
    /// stays where it is.
    pub fn starts(&self, partition: u32, next: u64) {
        self.ring.lock().starts(partition, next);
    }

    /// The same of several partitions.
    pub fn starts_at(&self, at: &Position) {
        let mut ring = self.ring.lock();
        at.0.iter().for_each(|(partition, next)| ring.starts(*partition, *next));
    }

    /// The feed will go on from `at`, if nobody listens; whether that is so.
    pub fn rests(&self, at: &Position) -> bool {
        let mut ring = self.ring.lock();
        if ring.has_listeners() {
            return false;
        }
        at.0.iter().for_each(|(partition, next)| ring.moves(*partition, *next));
        true
    }

    /// Records of a partition up to `to` are to be shown: whether it is worth writing their events
    /// down, for [`Feed::publish`]. If not, the feed is past them now.
    #[must_use]
    pub fn begins(&self, partition: u32, to: u64) -> bool {
        let mut ring = self.ring.lock();
        let worth = ring.has_listeners();
        if !worth {
            ring.moves(partition, to);
        }
        worth
    }

    /// Shows the events among the records of a partition up to `to`, in their order.
    pub fn publish(&self, partition: u32, to: u64, events: Vec<NewEvent>) {
        let around = self.ring.lock().around(partition);
        // Texts are made without the lock.
        let shown: Vec<Arc<FeedEvent>> = events
            .into_iter()
            .map(|event| Arc::new(FeedEvent::new(partition, event, &around)))
            .collect();
        let any = !shown.is_empty();
        let mut ring = self.ring.lock();
        shown.into_iter().for_each(|event| ring.push(event));
        ring.moves(partition, to);
        drop(ring);
        if any {
            self.wakes.tell();
        }
    }

    /// A partition holds no record before `to` that is not shown yet.
    pub fn passed(&self, partition: u32, to: u64) {
        self.ring.lock().moves(partition, to);
    }

    /// Listens to every event from now on that the filter takes.
    #[must_use]
    pub fn listen(&self, filter: FeedFilter) -> FeedListener {
        FeedListener::live(self.join(filter).0)
    }

    /// The same, of events behind `counted`: what is counted already is not new, also if it is shown
    /// a moment later.
    #[must_use]
    pub fn listen_beyond(&self, filter: FeedFilter, counted: Position) -> FeedListener {
        let (mut live, position) = self.join(filter);
        let seen = Position::furthest([position.clone(), counted].into_iter());
        if seen != position {
            live.has_seen(&seen);
        }
        FeedListener::live(live)
    }

    /// The same for a replay that is about to catch up; and how far the feed is at that moment: all
    /// that is shown later comes through the ring.
    #[must_use]
    pub fn join(&self, filter: FeedFilter) -> (LiveListener, Position) {
        LiveListener::join(&self.ring, self.wakes.subscribe(), filter, &self.takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};
    use tally_plugin::read::Id;

    pub(super) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = Context::from_waker(Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// What there is to take now.
    pub(super) fn taken(listener: &mut FeedListener, most: usize) -> Vec<FeedItem> {
        let mut items = Vec::new();
        let _ = ready(listener.next(most, &mut items));
        items
    }

    pub(super) fn new_event(next: u64, bytes: usize) -> NewEvent {
        let event = format!("{{\"x\":\"{}\"}}", "y".repeat(bytes));
        NewEvent { next, event_type: "view".into(), user: None, product: None, event }
    }

    /// Memory for all that anybody takes.
    pub(super) fn plenty() -> Arc<Share> {
        Arc::new(Share::new(1 << 40))
    }

    fn nexts(items: &[FeedItem]) -> Vec<u64> {
        let next = |item: &FeedItem| match item {
            FeedItem::Event(event) => Some(event.next),
            FeedItem::Skipped(_) | FeedItem::Gap { .. } => None,
        };
        items.iter().filter_map(next).collect()
    }

    #[test]
    fn a_slow_listener_is_told_how_many_it_missed() {
        let share = Arc::new(Share::new(64 << 20));
        let feed = Feed::new(&share, &plenty());
        assert!(!feed.has_listeners() && !feed.begins(0, 3));
        let mut listener = feed.listen(FeedFilter::default());
        assert!(feed.begins(0, 4) && &**listener.cursor() == "0:3");
        let events = (0..8_192 + 5).map(|n| new_event(4 + n, 1));
        feed.publish(0, 4 + 8_192 + 4, events.collect());
        let items = taken(&mut listener, 3);
        assert_eq!(items[0], FeedItem::Skipped(5));
        assert_eq!(nexts(&items), [9, 10]);
        assert_eq!(&**listener.cursor(), "0:10");
        assert!(share.used() > 0);
        drop(feed);
        let mut some = || Some(taken(&mut listener, 10_000).len()).filter(|count| *count > 0);
        assert_eq!(std::iter::from_fn(&mut some).sum::<usize>(), 8_190);
        assert_eq!(ready(listener.next(1, &mut Vec::new())), Some(false), "the feed has ended");
        drop(listener);
        assert_eq!(share.used(), 0, "without listeners nothing is kept");
    }

    #[test]
    fn a_filter_takes_what_satisfies_each_part_of_it_and_the_cursor_passes_the_rest() {
        let feed = Feed::new(&Arc::new(Share::new(1 << 20)), &plenty());
        let filter = FeedFilter {
            event_types: vec!["buy".into(), "view".into()],
            user: Some(Id::Integer(7)),
            product: Some(Id::Text("p".into())),
        };
        let (mut all, mut some) = (feed.listen(FeedFilter::default()), feed.listen(filter));
        feed.starts(1, 40);
        let (user, product) = (Some(Id::Integer(7)), Some(Id::Text("p".into())));
        let of = |next, event_type: &str, user: &Option<Id>, product: &Option<Id>| NewEvent {
            event_type: event_type.into(),
            user: user.clone(),
            product: product.clone(),
            ..new_event(next, 1)
        };
        let events = vec![
            of(1, "view", &user, &product),
            of(2, "sell", &user, &product),
            of(3, "view", &Some(Id::Text("7x".into())), &product),
            of(4, "view", &user, &None),
            of(5, "buy", &user, &product),
            of(6, "buy", &None, &product),
        ];
        feed.publish(0, 8, events);
        assert_eq!(nexts(&taken(&mut all, 100)), [1, 2, 3, 4, 5, 6]);
        let items = taken(&mut some, 100);
        assert_eq!(nexts(&items), [1, 5]);
        assert_eq!(&**some.cursor(), "0:6,1:40");
        let FeedItem::Event(last) = &items[1] else { panic!("{items:?}") };
        assert_eq!(
            &*last.body,
            "\"position\":\"0:5\",\"cursor\":\"0:5,1:40\",\"event\":{\"x\":\"y\"}"
        );
        assert_eq!(feed.position().to_string(), "0:8,1:40");
        // A listener that joins now knows that the feed is past records that show nothing.
        assert_eq!(&**feed.listen(FeedFilter::default()).cursor(), "0:8,1:40");
    }

    #[test]
    fn what_a_replay_has_shown_is_not_shown_again_and_cursors_do_not_fall_behind_it() {
        let feed = Feed::new(&Arc::new(Share::new(1 << 20)), &plenty());
        feed.starts_at(&"0:5,1:5".parse().expect("a position"));
        let (mut live, joined) = feed.join(FeedFilter::default());
        assert_eq!(joined.to_string(), "0:5,1:5");
        live.has_seen(&"0:7,1:9".parse().expect("a position"));
        let mut listener = FeedListener::live(live);
        assert_eq!(&**listener.cursor(), "0:7,1:9");
        feed.publish(0, 8, vec![new_event(6, 1), new_event(7, 1), new_event(8, 1)]);
        let items = taken(&mut listener, 9);
        let [FeedItem::Event(event)] = &items[..] else { panic!("{items:?}") };
        assert_eq!(
            (event.next, &*event.body),
            (8, "\"position\":\"0:8\",\"cursor\":\"0:8,1:9\",\"event\":{\"x\":\"y\"}")
        );
        feed.publish(1, 10, vec![new_event(9, 1), new_event(10, 1)]);
        feed.publish(0, 9, vec![new_event(9, 1)]);
        let items = taken(&mut listener, 9);
        assert_eq!(nexts(&items), [10, 9]);
        assert_eq!(&**listener.cursor(), "0:9,1:10");
    }

    #[test]
    fn what_was_counted_before_is_not_new() {
        let feed = Feed::new(&Arc::new(Share::new(1 << 20)), &plenty());
        feed.starts_at(&"0:5,1:5".parse().expect("a position"));
        let counted = "0:7,1:9".parse().expect("a position");
        let mut listener = feed.listen_beyond(FeedFilter::default(), counted);
        assert_eq!(&**listener.cursor(), "0:7,1:9");
        feed.publish(0, 8, vec![new_event(6, 1), new_event(7, 1), new_event(8, 1)]);
        assert_eq!(nexts(&taken(&mut listener, 9)), [8]);
    }

    #[test]
    fn what_was_seen_before_it_was_dropped_is_not_told_as_skipped() {
        // A few events.
        let feed = Feed::new(&Arc::new(Share::new(2 << 10)), &plenty());
        feed.starts_at(&"0:5,1:5".parse().expect("a position"));
        let (mut live, _) = feed.join(FeedFilter::default());
        live.has_seen(&"0:100,1:5".parse().expect("a position"));
        let mut listener = FeedListener::live(live);
        let publish = |partition, nexts: std::ops::RangeInclusive<u64>| {
            let to = *nexts.end();
            feed.publish(partition, to, nexts.map(|next| new_event(next, 1)).collect());
        };
        publish(0, 6..=40);
        assert!(taken(&mut listener, 100).is_empty());
        publish(0, 41..=120);
        let items = taken(&mut listener, 100);
        assert!(matches!(items[..], [FeedItem::Skipped(_), ..]), "{items:?}");
        // Of a partition of which it has seen nothing before.
        publish(1, 6..=40);
        let items = taken(&mut listener, 100);
        assert!(matches!(items[..], [FeedItem::Skipped(_), ..]), "{items:?}");
    }

    #[test]
    fn takes_are_bounded_in_bytes_and_replayed_ones_are_counted_until_they_were_used() {
        let feed = Feed::new(&Arc::new(Share::new(4 << 20)), &plenty());
        let mut live = feed.listen(FeedFilter::default());
        feed.publish(0, 3, (1..=3).map(|next| new_event(next, 200_000)).collect());
        let items = taken(&mut live, 100);
        assert_eq!((nexts(&items), nexts(&taken(&mut live, 100))), (vec![1, 2], vec![3]));

        let share = Arc::new(Share::new(1_000));
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let messages = Arc::new(Mutex::new(receiver));
        let again = Box::new(|_: Position| -> ListenerTurn { Box::pin(std::future::ready(None)) });
        let mut replayed = FeedListener::replaying(messages, &Position::default(), again);
        let held = share.take(100).ok();
        assert!(sender.try_send(ReplayMessage::Items(items, held)).is_ok());
        assert_eq!((taken(&mut replayed, 1).len(), share.used()), (1, 100));
        assert_eq!((taken(&mut replayed, 9).len(), share.used()), (1, 100));
        assert_eq!((taken(&mut replayed, 9).len(), share.used()), (0, 0));
    }

    #[test]
    fn what_is_taken_is_counted_and_what_finds_no_room_is_told() {
        let takes = Arc::new(Share::new(100_000));
        let feed = Feed::new(&Arc::new(Share::new(4 << 20)), &takes);
        let mut listener = feed.listen(FeedFilter::default());
        let sizes = [100, 60_000, 60_000, 100, 200_000, 100];
        let events = (1..).zip(sizes).map(|(next, bytes)| new_event(next, bytes));
        feed.publish(0, 6, events.collect());
        assert_eq!(nexts(&taken(&mut listener, 9)), [1, 2], "there is no room for the third");
        assert!((60_000..100_000).contains(&takes.used()), "{}", takes.used());
        assert_eq!(nexts(&taken(&mut listener, 9)), [3, 4]);
        let items = taken(&mut listener, 9);
        assert_eq!((&items[0], nexts(&items)), (&FeedItem::Skipped(1), vec![6]));
        assert_eq!((takes.used(), &**listener.cursor()), (0, "0:6"), "a little needs no room");

        // Others have taken all: small events come, a little at a time.
        let all = takes.take(takes.limit()).expect("there is room");
        let events = (7..47).map(|next| new_event(next, 300));
        feed.publish(0, 46, events.collect());
        let (mut got, mut times) = (Vec::new(), 0);
        while got.len() < 40 {
            let some = nexts(&taken(&mut listener, 99));
            assert!((1..=8).contains(&some.len()), "{some:?}");
            got.extend(some);
            times += 1;
        }
        assert_eq!(got, (7..47).collect::<Vec<u64>>());
        assert!(times >= 5, "{times}");
        drop(all);
        feed.publish(0, 47, vec![new_event(47, 50_000)]);
        assert_eq!(nexts(&taken(&mut listener, 9)), [47]);
        assert!(takes.used() > 50_000);
        drop(listener);
        assert_eq!(takes.used(), 0);
    }

    #[test]
    fn the_feed_rests_only_while_nobody_listens() {
        let feed = Feed::new(&Arc::new(Share::new(1 << 20)), &plenty());
        let at: Position = "0:5,1:6".parse().expect("a position");
        assert!(feed.rests(&at));
        let listener = feed.listen(FeedFilter::default());
        assert!(!feed.rests(&Position::default()));
        feed.starts(0, 1);
        feed.starts(2, 1);
        feed.passed(1, 9);
        assert_eq!(feed.position().to_string(), "0:5,1:9,2:1");
        drop(listener);
        assert!(!feed.has_listeners() && feed.rests(&at));
        assert_eq!(feed.position().to_string(), "0:5,1:6,2:1");
    }
}
