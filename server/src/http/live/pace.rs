//! The updates of one subscription: not more often than it wants, the newest of several, and none
//! that says what the subscriber has.
//!
//! Holds no queue: while it is not asked, or waits for its time, newer answers take the place of
//! older ones.

use super::{LiveBody, LiveHandle};
use crate::http::problem::Problem;
use axum::http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a subscriber is told.
pub(crate) enum PacedUpdate {
    /// An answer, with its number from 1 on.
    Answer { seq: u64, body: LiveBody },
    /// Why there is none now; told again only if there is another reason.
    Refused(Arc<Problem>),
}

/// See the module's description.
pub(crate) struct PacedUpdates {
    handle: LiveHandle,
    min_interval: Duration,
    /// When the next one may be told.
    due: Instant,
    /// The tag of what the subscriber has.
    known: Option<HeaderValue>,
    /// What was told last, if it was no answer.
    refused: Option<Arc<Problem>>,
    seq: u64,
}

impl PacedUpdates {
    /// Of a subscriber that has nothing yet.
    pub(crate) fn new(handle: LiveHandle, min_interval: Duration) -> PacedUpdates {
        let due = Instant::now();
        PacedUpdates { handle, min_interval, due, known: None, refused: None, seq: 0 }
    }

    /// The same for one that has an answer.
    pub(crate) fn knowing(self, tag: Option<HeaderValue>) -> PacedUpdates {
        PacedUpdates { known: tag, ..self }
    }

    /// What the subscriber is to be told next; `None`: the engine has stopped.
    pub(crate) async fn next(&mut self) -> Option<PacedUpdate> {
        loop {
            drop(self.handle.changed().await?);
            sleep_until(self.due).await;
            let update = match self.handle.newest() {
                Some(Ok(body)) => self.answer(body),
                Some(Err(problem)) => self.refusal(problem),
                // It has made room for the next one.
                None => None,
            };
            if update.is_some() {
                self.due = Instant::now() + self.min_interval;
                return update;
            }
        }
    }

    fn answer(&mut self, body: LiveBody) -> Option<PacedUpdate> {
        if self.known.as_ref() == Some(body.tag()) {
            return None;
        }
        (self.known, self.refused) = (Some(body.tag().clone()), None);
        self.seq += 1;
        Some(PacedUpdate::Answer { seq: self.seq, body })
    }

    fn refusal(&mut self, problem: Arc<Problem>) -> Option<PacedUpdate> {
        if self.refused.as_ref().is_some_and(|told| told.code() == problem.code()) {
            return None;
        }
        // The next answer says that there is one again, also if it is the one before.
        (self.known, self.refused) = (None, Some(Arc::clone(&problem)));
        Some(PacedUpdate::Refused(problem))
    }
}
