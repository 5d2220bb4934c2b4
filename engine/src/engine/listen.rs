//! Who listens to events: from now on, or from a position on that a listener had before.
//!
//! Who gives a position waits for its turn, in the order in which it was asked for: so many replays
//! are under way at once, and of one connection only a few. A bounded number waits.

use super::Engine;
use crate::event::Position;
use crate::feed::{FeedFilter, FeedListener};
use crate::pipeline::{ReplayParts, replay_feed};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
pub struct ReplayTurns(Arc<Semaphore>);

impl Default for ReplayTurns {
    fn default() -> ReplayTurns {
        ReplayTurns(Arc::new(Semaphore::new(OF_CONNECTION)))
    }
}

/// The replays that may be under way at once, and who waits.
pub(super) struct ReplayPlaces {
    free: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Whether it was told that they end by internal errors.
    told: Arc<AtomicBool>,
}

/// A place among the replays of a connection and among all, given back when it is dropped.
type ReplayPlace = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Waits for a place.
type PlaceTurn = Pin<Box<dyn Future<Output = Option<ReplayPlace>> + Send>>;

impl ReplayPlaces {
    pub(super) fn new(most: usize) -> ReplayPlaces {
        ReplayPlaces {
            free: Arc::new(Semaphore::new(most)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            told: Arc::default(),
        }
    }

    /// A place when there is one, first for those who asked first.
    fn turn(&self, turns: &ReplayTurns) -> Result<PlaceTurn, ListenRefused> {
        let waits = Arc::clone(&self.waiting).try_acquire_owned();
        let waits = waits.map_err(|_| ListenRefused::TooManyWait(WAITING))?;
        let (own, free) = (Arc::clone(&turns.0), Arc::clone(&self.free));
        Ok(Box::pin(async move {
            let own = own.acquire_owned().await.ok()?;
            let free = free.acquire_owned().await.ok()?;
            drop(waits);
            Some((own, free))
        }))
    }
}

impl Engine {
    /// Listens to the events that the filter takes: to new ones, or with `since` to those behind
    /// that position, of partitions that it does not name to new ones. Returns at once: what is
    /// older is read from the log while the listener takes it, when it is its turn among all and
    /// among those of its connection (`turns`).
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
        let begins = async move {
            let place = turn.await?;
            let feed = feed.upgrade()?;
            Some(replay_feed(parts, &feed, (since.clone(), filter), place).unwrap_or_else(|why| {
                tracing::error!("a replay of events cannot be started: {why}");
                FeedListener::failed(&since)
            }))
        };
        Ok(FeedListener::waiting(Box::pin(begins), &from))
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
    fn a_bounded_number_waits() {
        let (places, turns) = (ReplayPlaces::new(1), ReplayTurns::default());
        let mut waiting: Vec<PlaceTurn> =
            (0..WAITING).map(|_| places.turn(&turns).expect("few wait")).collect();
        let refused = places.turn(&turns).err().map(|refused| refused.to_string());
        assert!(refused.is_some_and(|refused| refused.contains("[live] replays")));
        let _place = poll(&mut waiting[0]).expect("a place is free");
        assert!(places.turn(&turns).is_ok(), "who has begun does not wait");
    }
}
