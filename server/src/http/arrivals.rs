//! Waiting until a metric has counted a position, by any number of callers at once.
//!
//! One look in a while serves all who wait: a caller who waits holds neither a thread nor a place, so nobody's waiting keeps
//! anybody else out. Who waits is bounded by the connections. A stop of the server wakes all.

use super::core::Core;
use super::{App, Phase};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::event::Position;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(3);

/// Where the metrics stand that somebody waits for.
pub(crate) struct Arrivals {
    seen: watch::Sender<HashMap<String, Seen>>,
}

/// A metric that is waited for.
#[derive(Default)]
struct Seen {
    waiting: usize,
    position: Option<Position>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The position is counted, as far as was seen.
    There,
    /// It was not in time.
    Late,
    /// The server stops.
    Stopping,
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals { seen: watch::channel(HashMap::new()).0 }
    }
}

impl Arrivals {
    /// Waits until `metric` has counted `position`, at most `limit`.
    pub(crate) async fn wait(app: &Arc<App>, metric: &str, position: &Position, limit: Duration) -> Arrived {
        let mut seen = app.arrivals.seen.subscribe();
        let _waiting = Waiting::new(app, metric);
        let mut phase = app.phase.subscribe();
        let there = |seen: &HashMap<String, Seen>| {
            seen.get(metric).and_then(|seen| seen.position.as_ref()).is_some_and(|stands| stands.reaches(position))
        };
        tokio::select! {
            // A sender that is gone has stopped too.
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => Arrived::Stopping,
            waited = timeout(limit, seen.wait_for(there)) => match waited {
                Ok(Ok(_)) => Arrived::There,
                Ok(Err(_)) => Arrived::Stopping,
                Err(_) => Arrived::Late,
            },
        }
    }
}

/// One who waits; until dropped.
struct Waiting<'a> {
    app: &'a App,
    metric: &'a str,
}

impl<'a> Waiting<'a> {
    fn new(app: &'a Arc<App>, metric: &'a str) -> Waiting<'a> {
        let mut first = false;
        app.arrivals.seen.send_if_modified(|seen| {
            first = seen.is_empty();
            seen.entry(metric.to_owned()).or_default().waiting += 1;
            false
        });
        if first {
            tokio::spawn(look(Arc::clone(app)));
        }
        Waiting { app, metric }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.app.arrivals.seen.send_if_modified(|seen| {
            if let Some(one) = seen.get_mut(self.metric) {
                one.waiting -= 1;
                if one.waiting == 0 {
                    seen.remove(self.metric);
                }
            }
            false
        });
    }
}

/// Looks for all who wait, until nobody does.
async fn look(app: Arc<App>) {
    loop {
        let wanted: Vec<String> = app.arrivals.seen.borrow().keys().cloned().collect();
        let core: Arc<dyn Core> = Arc::clone(&app.core);
        let looked = tokio::task::spawn_blocking(move || {
            let stand = |metric: String| core.stands(&metric).map(|position| (metric, position));
            wanted.into_iter().filter_map(stand).collect::<Vec<_>>()
        });
        match looked.await {
            Ok(stands) => {
                app.arrivals.seen.send_if_modified(|seen| {
                    let mut moved = false;
                    for (metric, position) in stands {
                        let Some(one) = seen.get_mut(&metric) else { continue };
                        moved |= one.position.as_ref() != Some(&position);
                        one.position = Some(position);
                    }
                    moved
                });
            }
            Err(failed) => tracing::error!(%failed, "a look at positions panicked"),
        }
        sleep(LOOK).await;
        // Decided where the next one who waits would begin another.
        let mut nobody = false;
        app.arrivals.seen.send_if_modified(|seen| {
            nobody = seen.is_empty();
            false
        });
        if nobody {
            return;
        }
    }
}
