//! The updates of one subscription: not more often than it wants, the newest of several, and none
//! that says what the subscriber has.
//!
//! The least time between two updates is counted from evaluation to evaluation, so that who watches
//! at the pace at which a question is evaluated gets each answer at once. An answer that follows
//! earlier than that waits as long after the last update as the subscription says; until then a newer
//! one that is due takes its place. Holds no queue.

use super::{LiveBody, LiveHandle, LiveUpdate};
use crate::http::problem::Problem;
use axum::http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

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
    last: Option<LastUpdate>,
    /// The tag of what the subscriber has.
    known: Option<HeaderValue>,
    /// What was told last, if it was no answer.
    refused: Option<Arc<Problem>>,
    seq: u64,
}

/// When the last update was evaluated, and when it was told.
#[derive(Clone, Copy)]
struct LastUpdate {
    begun: Instant,
    told: Instant,
}

impl PacedUpdates {
    /// Of a subscriber that has nothing yet.
    pub(crate) fn new(handle: LiveHandle, min_interval: Duration) -> PacedUpdates {
        PacedUpdates { handle, min_interval, last: None, known: None, refused: None, seq: 0 }
    }

    /// The same for one that has an answer.
    pub(crate) fn knowing(self, tag: Option<HeaderValue>) -> PacedUpdates {
        PacedUpdates { known: tag, ..self }
    }

    /// What the subscriber is to be told next; `None`: the engine has stopped.
    pub(crate) async fn next(&mut self) -> Option<PacedUpdate> {
        loop {
            let newest = self.handle.changed().await?;
            let Some(newest) = self.due(newest).await else { continue };
            let told = Instant::now();
            let begun = newest.as_ref().map_or(told, LiveBody::begun);
            let update = match newest {
                Ok(body) => self.answer(body),
                Err(problem) => self.refusal(problem),
            };
            if update.is_some() {
                self.last = Some(LastUpdate { begun, told });
                return update;
            }
        }
    }

    /// Waits until an update is due, which may be a newer one then; `None`: it has made room for the
    /// next one.
    async fn due(&mut self, update: LiveUpdate) -> Option<LiveUpdate> {
        let Some(LastUpdate { begun, told }) = self.last else { return Some(update) };
        let due = begun + self.min_interval;
        if update.as_ref().map_or_else(|_| Instant::now(), LiveBody::begun) >= due {
            return Some(update);
        }
        // It is not held while it waits: the next one may need its room.
        drop(update);
        sleep_until(due).await;
        match timeout_at(told + self.min_interval, self.handle.changed()).await {
            Ok(newer) => newer,
            Err(_) => self.handle.newest(),
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
