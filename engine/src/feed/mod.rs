//! New events, to everybody who listens: one text shared by all, the newest kept.
//!
//! A slow listener loses the oldest events and receives the number lost; it never slows counting.
//! Without listeners no text is made.

use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// Events kept for listeners that are behind; beyond it the oldest are dropped and announced as
/// skipped.
const KEEP: usize = 1_024;

/// Where the pipeline shows new events.
pub struct Feed {
    sender: Sender<Arc<str>>,
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// A new event: the JSON text `{"type":"event","position":"0:17","event":{…}}`, shared by all
    /// listeners.
    Event(Arc<str>),
    /// So many were dropped before the next item.
    Skipped(u64),
}

/// A listener; dropping it ends it.
pub struct Subscription {
    receiver: Receiver<Arc<str>>,
}

impl Default for Feed {
    fn default() -> Self {
        Feed { sender: channel(KEEP).0 }
    }
}

impl Feed {
    /// Whether it is worth writing events down.
    pub fn has_listeners(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Shows an event.
    pub fn show(&self, text: String) {
        // An error says that the last listener has just left.
        let _ = self.sender.send(text.into());
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.sender.subscribe() }
    }
}

impl Subscription {
    /// The next item; `None` when the engine has stopped.
    pub async fn next(&mut self) -> Option<FeedItem> {
        match self.receiver.recv().await {
            Ok(text) => Some(FeedItem::Event(text)),
            Err(RecvError::Lagged(count)) => Some(FeedItem::Skipped(count)),
            Err(RecvError::Closed) => None,
        }
    }

    /// How many events wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.receiver.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
        }
    }

    #[test]
    fn a_slow_listener_is_told_how_many_it_missed() {
        let feed = Feed::default();
        assert!(!feed.has_listeners());
        let mut listener = feed.subscribe();
        for n in 0..KEEP + 5 {
            feed.show(n.to_string());
        }
        assert_eq!(wait(listener.next()), Some(FeedItem::Skipped(5)));
        assert_eq!(wait(listener.next()), Some(FeedItem::Event("5".into())));
        drop(feed);
        while let Some(FeedItem::Event(_)) = wait(listener.next()) {}
        assert_eq!(wait(listener.next()), None);
    }
}
