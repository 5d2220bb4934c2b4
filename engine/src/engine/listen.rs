//! Who listens to events: from now on, or from a position on that a listener had before.
//!
//! Who gives a position waits for its turn, in the order in which it was asked for: so many replays
//! are under way at once, and of one connection only a few. A bounded number waits. A replay that
//! takes long makes way for those who wait, and its listener waits for another turn.

use super::Engine;
use crate::event::Position;
use crate::feed::{Feed, FeedFilter, FeedListener, ListenerTurn, ReplayAgain};
use crate::pipeline::{ReplayParts, ReplayPermit, replay_feed};
use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use thiserror::Error;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Replays of one connection that may be under way at once.
const OF_CONNECTION: usize = 2;

/// Listeners that may wait for their turn.
const WAITING: usize = 1_024;

/// Why nobody can listen from a position on now.
#[derive(Debug, Error)]
pub enum ListenRefused {
    /// As many as may wait do.
    #[error(
        "{0} listeners wait until older events are replayed for them, [live] replays at a time: \
         try again in a moment, or raise it"
    )]
    TooManyWait(usize),
}

impl ListenRefused {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        true
    }
}

/// The replays of one connection: a few at once, the others when these have ended.
#[derive(Clone, Debug)]
pub struct ReplayTurns(Arc<PlaceQueue>);

impl Default for ReplayTurns {
    fn default() -> ReplayTurns {
        ReplayTurns(Arc::new(PlaceQueue::new(OF_CONNECTION)))
    }
}

/// Places that are given in the order in which they are asked for.
#[derive(Debug)]
struct PlaceQueue {
    free: Arc<Semaphore>,
    /// How many wait for one.
    waiting: AtomicUsize,
}

/// One who waits for a place, until it is dropped.
struct PlaceWait<'a>(&'a AtomicUsize);

/// The replays that may be under way at once, and who waits.
#[derive(Clone)]
pub(super) struct ReplayPlaces {
    free: Arc<PlaceQueue>,
    waiting: Arc<Semaphore>,
    /// Whether it was told that they end by internal errors.
    told: Arc<AtomicBool>,
}

/// A place among the replays of a connection and among all, given back when it is dropped.
struct ReplayPlace {
    queues: [Arc<PlaceQueue>; 2],
    _permits: [OwnedSemaphorePermit; 2],
}

/// Waits for a place.
type PlaceTurn = Pin<Box<dyn Future<Output = Option<ReplayPlace>> + Send>>;

impl PlaceQueue {
    fn new(places: usize) -> PlaceQueue {
        PlaceQueue { free: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0) }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let _wait = PlaceWait::new(&self.waiting);
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

impl PlaceWait<'_> {
    fn new(waiting: &AtomicUsize) -> PlaceWait<'_> {
        waiting.fetch_add(1, Ordering::Relaxed);
        PlaceWait(waiting)
    }
}

impl Drop for PlaceWait<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReplayPermit for ReplayPlace {
    fn is_wanted(&self) -> bool {
        self.queues.iter().any(|queue| queue.waiting.load(Ordering::Relaxed) > 0)
    }
}

impl ReplayPlaces {
    pub(super) fn new(most: usize) -> ReplayPlaces {
        ReplayPlaces {
            free: Arc::new(PlaceQueue::new(most)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            told: Arc::default(),
        }
    }

    /// A place when there is one, first for those who asked first.
    fn turn(&self, turns: &ReplayTurns) -> Result<PlaceTurn, ListenRefused> {
        let waits = Arc::clone(&self.waiting).try_acquire_owned();
        let waits = waits.map_err(|_| ListenRefused::TooManyWait(WAITING))?;
        Ok(self.place(turns, ready(Ok(waits))))
    }

    /// Another place for a listener whose replay has made way for others: it is not refused, and
    /// waits until it may wait.
    fn turn_again(&self, turns: &ReplayTurns) -> PlaceTurn {
        self.place(turns, Arc::clone(&self.waiting).acquire_owned())
    }

    /// A place for who is among those that wait.
    fn place(
        &self,
        turns: &ReplayTurns,
        waits: impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + 'static,
    ) -> PlaceTurn {
        let queues = [Arc::clone(&turns.0), Arc::clone(&self.free)];
        Box::pin(async move {
            let waits = waits.await.ok()?;
            let own = queues[0].place().await?;
            let free = queues[1].place().await?;
            drop(waits);
            Some(ReplayPlace { queues, _permits: [own, free] })
        })
    }
}

/// What the replays of one listener are made of, one after the other.
struct ListenerReplays {
    parts: ReplayParts,
    feed: Weak<Feed>,
    filter: FeedFilter,
    places: ReplayPlaces,
    turns: ReplayTurns,
}

impl ListenerReplays {
    /// The listener that is replayed to from `since` on, once it has a place.
    fn begin(self, place: PlaceTurn, since: Position) -> ListenerTurn {
        Box::pin(async move {
            let place = place.await?;
            let feed = self.feed.upgrade()?;
            let (parts, chosen) = (self.parts.again(), (since.clone(), self.filter.clone()));
            let again: ReplayAgain = Box::new(move |at| {
                let place = self.places.turn_again(&self.turns);
                self.begin(place, at)
            });
            let begun = replay_feed(parts, &feed, chosen, (place, again));
            Some(begun.unwrap_or_else(|why| {
                tracing::error!("a replay of events cannot be started: {why}");
                FeedListener::failed(&since)
            }))
        })
    }
}

impl Engine {
    /// Listens to the events that the filter takes: to new ones, or with `since` to those behind
    /// that position, of partitions that it does not name to new ones. Returns at once: what is
    /// older is read from the log while the listener takes it, when it is its turn among all and
    /// among those of its connection (`turns`). A turn that takes long, by the listener or by what
    /// there is to read, ends after half a minute if others wait; the listener goes on with another.
    ///
    /// # Errors
    /// [`ListenRefused`].
    pub fn listen(
        &self,
        filter: FeedFilter,
        since: Option<Position>,
        turns: &ReplayTurns,
    ) -> Result<FeedListener, ListenRefused> {
        let Some(mut since) = since else {
            return Ok(self.feed.listen_beyond(filter, self.position()));
        };
        let turn = self.replay_places.turn(turns)?;
        for (partition, next) in self.feed.position().0 {
            since.0.entry(partition).or_insert(next);
        }
        let parts = ReplayParts {
            log: self.log.clone(),
            decoder: self.checker.fresh(),
            window: self.events.dedupe_window,
            share: self.budget.replays.clone(),
            told: self.replay_places.told.clone(),
        };
        let (feed, from) = (Arc::downgrade(&self.feed), since.clone());
        let (places, turns) = (self.replay_places.clone(), turns.clone());
        let replays = ListenerReplays { parts, feed, filter, places, turns };
        Ok(FeedListener::waiting(replays.begin(turn, since), &from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn poll(turn: &mut PlaceTurn) -> Option<ReplayPlace> {
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place.expect("there will be places")),
            Poll::Pending => None,
        }
    }

    #[test]
    fn replays_begin_in_order_and_of_one_connection_two_at_once() {
        let places = ReplayPlaces::new(3);
        let (greedy, other) = (ReplayTurns::default(), ReplayTurns::default());
        let turn = |of: &ReplayTurns| places.turn(of).expect("few wait");
        let mut greedy: Vec<PlaceTurn> = (0..4).map(|_| turn(&greedy)).collect();
        let mut held: Vec<Option<ReplayPlace>> = greedy.iter_mut().map(poll).collect();
        let under_way: Vec<bool> = held.iter().map(Option::is_some).collect();
        assert_eq!(under_way, [true, true, false, false]);
        let (mut first, mut second) = (turn(&other), turn(&other));
        let third = poll(&mut first);
        assert!(third.is_some() && poll(&mut second).is_none(), "there are three places");
        // The one of another connection has waited longer for a place of all.
        held[0] = None;
        assert!(poll(&mut greedy[3]).is_none() && poll(&mut greedy[2]).is_none());
        assert!(poll(&mut second).is_some(), "and it is given back at once");
        assert!(poll(&mut greedy[2]).is_some());
    }

    #[test]
    fn a_place_is_wanted_while_another_waits_for_it_and_who_made_way_waits_behind_those() {
        let places = ReplayPlaces::new(3);
        let (greedy, other) = (ReplayTurns::default(), ReplayTurns::default());
        let turn = |of: &ReplayTurns| places.turn(of).expect("few wait");
        let (mut one, mut two, mut three) = (turn(&greedy), turn(&greedy), turn(&other));
        let [one, two, three] = [&mut one, &mut two, &mut three].map(poll);
        let (one, two, three) = (one.expect("1"), two.expect("2"), three.expect("3"));
        let wanted = || [&one, &two, &three].map(ReplayPermit::is_wanted);
        assert_eq!(wanted(), [false; 3]);
        // It waits for a place of its connection, and of these only.
        let mut next = turn(&greedy);
        assert!(poll(&mut next).is_none());
        assert_eq!(wanted(), [true, true, false]);
        drop(next);
        assert_eq!(wanted(), [false; 3]);
        let mut first = turn(&other);
        assert!(poll(&mut first).is_none());
        assert_eq!(wanted(), [true; 3]);
        // One makes way; who waited is first.
        let mut again = places.turn_again(&greedy);
        assert!(poll(&mut again).is_none());
        drop(one);
        assert!(poll(&mut again).is_none());
        let first = poll(&mut first);
        assert!(first.is_some());
        drop(two);
        assert!(poll(&mut again).is_some());
    }

    #[test]
    fn a_bounded_number_waits() {
        let (places, turns) = (ReplayPlaces::new(1), ReplayTurns::default());
        let mut waiting: Vec<PlaceTurn> =
            (0..WAITING).map(|_| places.turn(&turns).expect("few wait")).collect();
        let refused = places.turn(&turns).err().map(|refused| refused.to_string());
        assert!(refused.is_some_and(|refused| refused.contains("[live] replays")));
        // Who has made way waits until it may.
        let mut again = places.turn_again(&turns);
        assert!(poll(&mut again).is_none());
        let place = poll(&mut waiting[0]).expect("a place is free");
        let refused = places.turn(&turns).is_err();
        assert!(refused, "it waits now, and there is no room for one more");
        drop((place, again));
        assert!(places.turn(&turns).is_ok(), "who has begun does not wait");
    }
}
