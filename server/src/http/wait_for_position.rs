//! Waits until a metric has counted a position, for any number of callers at once.
//!
//! One task polls the positions for all callers: a waiting caller holds neither a thread nor a
//! slot, so it does not keep others out. The number of callers is bounded by the number of
//! connections. A stop of the server wakes all of them.

use super::engine_api::EngineApi;
use super::{App, Phase};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::event::Position;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between two polls.
const POLL: Duration = Duration::from_millis(3);

/// The metrics that callers wait for, and their last known positions.
pub(crate) struct PositionWaits {
    metrics: watch::Sender<HashMap<String, WaitedMetric>>,
}

/// A metric that callers wait for.
#[derive(Default)]
struct WaitedMetric {
    callers: usize,
    position: Option<Position>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitOutcome {
    /// The metric had counted the position when it was last polled.
    Reached,
    /// It had not by the limit.
    TimedOut,
    /// The server is stopping.
    Stopping,
}

impl Default for PositionWaits {
    fn default() -> PositionWaits {
        PositionWaits { metrics: watch::channel(HashMap::new()).0 }
    }
}

impl PositionWaits {
    /// Waits until `metric` has counted `position`, at most `limit`.
    pub(crate) async fn wait(
        app: &Arc<App>,
        metric: &str,
        position: &Position,
        limit: Duration,
    ) -> WaitOutcome {
        let mut metrics = app.position_waits.metrics.subscribe();
        let _caller = Caller::new(app, metric);
        let mut phase = app.phase.subscribe();
        let is_reached = |metrics: &HashMap<String, WaitedMetric>| {
            let known = metrics.get(metric).and_then(|metric| metric.position.as_ref());
            known.is_some_and(|known| known.reaches(position))
        };
        tokio::select! {
            // A dropped sender is a stop too.
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => WaitOutcome::Stopping,
            waited = timeout(limit, metrics.wait_for(is_reached)) => match waited {
                Ok(Ok(_)) => WaitOutcome::Reached,
                Ok(Err(_)) => WaitOutcome::Stopping,
                Err(_) => WaitOutcome::TimedOut,
            },
        }
    }
}

/// One caller, which waits until this is dropped.
struct Caller<'a> {
    app: &'a App,
    metric: &'a str,
}

impl<'a> Caller<'a> {
    fn new(app: &'a Arc<App>, metric: &'a str) -> Caller<'a> {
        let mut is_first = false;
        app.position_waits.metrics.send_if_modified(|metrics| {
            is_first = metrics.is_empty();
            metrics.entry(metric.to_owned()).or_default().callers += 1;
            false
        });
        if is_first {
            tokio::spawn(poll_positions(Arc::clone(app)));
        }
        Caller { app, metric }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.app.position_waits.metrics.send_if_modified(|metrics| {
            if let Some(waited) = metrics.get_mut(self.metric) {
                waited.callers -= 1;
                if waited.callers == 0 {
                    metrics.remove(self.metric);
                }
            }
            false
        });
    }
}

/// Polls the positions of all metrics that callers wait for, until there is none.
async fn poll_positions(app: Arc<App>) {
    loop {
        let waited: Vec<String> = app.position_waits.metrics.borrow().keys().cloned().collect();
        let engine: Arc<dyn EngineApi> = Arc::clone(&app.engine);
        let polled = tokio::task::spawn_blocking(move || {
            let position =
                |metric: String| engine.metric_position(&metric).map(|position| (metric, position));
            waited.into_iter().filter_map(position).collect::<Vec<_>>()
        });
        match polled.await {
            Ok(positions) => {
                app.position_waits.metrics.send_if_modified(|metrics| {
                    let mut has_moved = false;
                    for (metric, position) in positions {
                        let Some(waited) = metrics.get_mut(&metric) else { continue };
                        has_moved |= waited.position.as_ref() != Some(&position);
                        waited.position = Some(position);
                    }
                    has_moved
                });
            }
            Err(failed) => tracing::error!(%failed, "reading the positions of metrics panicked"),
        }
        sleep(POLL).await;
        // Decided under the lock under which the next caller would start another task.
        let mut is_done = false;
        app.position_waits.metrics.send_if_modified(|metrics| {
            is_done = metrics.is_empty();
            false
        });
        if is_done {
            return;
        }
    }
}
