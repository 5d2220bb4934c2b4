//! Who listens to events: from now on, or from a position on that a listener had before.

use super::Engine;
use crate::event::Position;
use crate::feed::{FeedFilter, FeedListener};
use crate::pipeline::{ReplayParts, replay_feed};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Semaphore;

/// Why nobody can listen from a position on now.
#[derive(Debug, Error)]
pub enum ListenRefused {
    /// As many replays as may be are under way.
    #[error(
        "{0} replays of events are under way, which is [live] replays: try again in a moment, or \
         raise it"
    )]
    TooManyReplays(usize),
    /// The system starts no more threads.
    #[error("a replay of events cannot be started: {0}")]
    NoThread(std::io::Error),
}

impl ListenRefused {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        true
    }
}

/// The replays that may be under way at once.
pub(super) struct ReplayPlaces {
    most: usize,
    free: Arc<Semaphore>,
}

impl ReplayPlaces {
    pub(super) fn new(most: usize) -> ReplayPlaces {
        ReplayPlaces { most, free: Arc::new(Semaphore::new(most)) }
    }
}

impl Engine {
    /// Listens to the events that the filter takes: to new ones, or with `since` to those behind
    /// that position, of partitions that it does not name to new ones. Returns at once: what is
    /// older is read from the log while the listener takes it.
    ///
    /// # Errors
    /// [`ListenRefused`].
    pub fn listen(
        &self,
        filter: FeedFilter,
        since: Option<Position>,
    ) -> Result<FeedListener, ListenRefused> {
        let Some(since) = since else { return Ok(self.feed.listen(filter)) };
        let ReplayPlaces { most, free } = &self.replay_places;
        let place = Arc::clone(free)
            .try_acquire_owned()
            .map_err(|_| ListenRefused::TooManyReplays(*most))?;
        let parts = ReplayParts {
            log: self.log.clone(),
            decoder: self.checker.fresh(),
            window: self.events.dedupe_window,
            share: self.budget.sockets.clone(),
        };
        replay_feed(parts, &self.feed, (since, filter), place).map_err(ListenRefused::NoThread)
    }
}
