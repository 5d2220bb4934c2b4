//! What one socket listens to: the events of a bare connection, and its subscriptions to events and
//! to metrics by their ids.
//!
//! Each waits by itself for what it has to send; what is ready first comes first. One is out of here
//! while its items or its update are written, so that it takes no more than the socket does, and
//! comes back with [`Subscriptions::go_on`].

use super::messages::MessageFault;
use crate::http::live::{PacedUpdate, PacedUpdates};
use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::Arc;
use tally_engine::engine::{FeedItem, FeedListener};

/// Items that are taken at a time.
const TOGETHER: usize = 256;

/// See the module's description.
#[derive(Default)]
pub(super) struct Subscriptions {
    /// By id, what ends its wait.
    by_id: HashMap<Arc<str>, AbortHandle>,
    waiting: FuturesUnordered<BoxFuture<'static, Result<Ready, Aborted>>>,
}

/// What is to be sent, and who has it.
pub(super) enum Ready {
    /// Of the feed.
    Items(ReadyItems),
    /// Of a metric.
    Update {
        id: Arc<str>,
        updates: Box<PacedUpdates>,
        /// `None`: the engine has stopped.
        update: Option<PacedUpdate>,
    },
    /// Nothing comes of the subscription.
    Refused { id: Arc<str>, fault: MessageFault },
}

/// What a subscription waits for once that is written.
pub(super) enum NextWait {
    /// More items; without an id: of the bare connection.
    Items(Option<Arc<str>>, FeedListener),
    /// The next update.
    Update(Arc<str>, Box<PacedUpdates>),
}

/// Items of the feed.
pub(super) struct ReadyItems {
    /// Of the subscription; `None`: the bare connection's.
    pub(super) id: Option<Arc<str>>,
    pub(super) listener: FeedListener,
    /// At least one, unless the feed has ended.
    pub(super) items: Vec<FeedItem>,
    /// Whether the feed has ended.
    pub(super) ended: bool,
}

impl Subscriptions {
    /// How many there are, without the bare connection's.
    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is one of this id.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Waits for what a listener has to send; it replaces the one of that id.
    pub(super) fn listen(&mut self, id: Option<Arc<str>>, listener: FeedListener) {
        self.wait(id.clone(), next_items(id, listener));
    }

    /// As [`Subscriptions::listen`], once it is known that it may.
    pub(super) fn listen_if(
        &mut self,
        id: Arc<str>,
        listener: FeedListener,
        judged: impl Future<Output = Result<(), MessageFault>> + Send + 'static,
    ) {
        self.wait(Some(Arc::clone(&id)), async move {
            match judged.await {
                Ok(()) => next_items(Some(id), listener).await,
                Err(fault) => Ready::Refused { id, fault },
            }
        });
    }

    /// Waits for the next update of a question; it replaces the one of that id.
    pub(super) fn watch(&mut self, id: Arc<str>, mut updates: Box<PacedUpdates>) {
        self.wait(Some(Arc::clone(&id)), async move {
            let update = updates.next().await;
            Ready::Update { id, updates, update }
        });
    }

    /// Lets one wait again of which everything is written.
    pub(super) fn go_on(&mut self, next: NextWait) {
        match next {
            NextWait::Items(id, listener) => self.listen(id, listener),
            NextWait::Update(id, updates) => self.watch(id, updates),
        }
    }

    fn wait(&mut self, id: Option<Arc<str>>, ready: impl Future<Output = Ready> + Send + 'static) {
        let (wait, end) = abortable(ready);
        if let Some(id) = id {
            self.by_id.insert(id, end);
        }
        self.waiting.push(Box::pin(wait));
    }

    /// Ends a subscription. Returns whether there was one of this id.
    pub(super) fn end(&mut self, id: &str) -> bool {
        let end = self.by_id.remove(id);
        if let Some(end) = &end {
            end.abort();
        }
        end.is_some()
    }

    /// What is ready next; without a listener it waits for ever. A call that is given up has taken
    /// nothing.
    pub(super) async fn next(&mut self) -> Ready {
        loop {
            match self.waiting.next().await {
                Some(Ok(ready)) => return ready,
                Some(Err(Aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

async fn next_items(id: Option<Arc<str>>, mut listener: FeedListener) -> Ready {
    let mut items = Vec::new();
    let ended = !listener.next(TOGETHER, &mut items).await;
    Ready::Items(ReadyItems { id, listener, items, ended })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tally_engine::engine::FeedFilter;
    use tally_engine::feed::{Feed, NewEvent};
    use tally_engine::memory::Share;

    fn show(feed: &Feed, next: u64) {
        let new = NewEvent {
            next,
            event_type: "view".into(),
            user: None,
            product: None,
            event: "{}".into(),
        };
        feed.publish(0, next, vec![new]);
    }

    fn items(ready: Ready) -> ReadyItems {
        match ready {
            Ready::Items(items) => items,
            Ready::Update { .. } | Ready::Refused { .. } => panic!("there are events only"),
        }
    }

    #[tokio::test]
    async fn subscriptions_are_ready_by_themselves_and_end_by_their_id() {
        let share = || Arc::new(Share::new(1 << 20));
        let feed = Feed::new(&share(), &share());
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.next().now_or_never().is_none());
        for id in [None, Some("a"), Some("b")] {
            subscriptions.listen(id.map(Arc::from), feed.listen(FeedFilter::default()));
        }
        assert!(subscriptions.contains("a") && !subscriptions.contains("c"));
        assert!(subscriptions.next().now_or_never().is_none());
        show(&feed, 1);
        let mut ids = Vec::new();
        for _ in 0..3 {
            let ready = items(subscriptions.next().await);
            assert!(ready.items.len() == 1 && !ready.ended);
            ids.push(ready.id.clone());
            subscriptions.go_on(NextWait::Items(ready.id, ready.listener));
        }
        ids.sort();
        assert_eq!(ids, [None, Some("a".into()), Some("b".into())]);
        // What was ready of one that has ended is not sent any more.
        show(&feed, 2);
        assert!(subscriptions.end("a") && !subscriptions.end("a"));
        for _ in 0..2 {
            let ready = items(subscriptions.next().await);
            assert_ne!(ready.id.as_deref(), Some("a"));
        }
        assert!(subscriptions.next().now_or_never().is_none());
        assert_eq!(subscriptions.count(), 1);
        assert!(!feed.has_listeners());
    }
}
