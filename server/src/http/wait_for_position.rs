//! Waits until a metric has counted a position, for any number of callers at once.
//!
//! One task polls the positions for all callers: a waiting caller holds neither a thread nor a
//! slot, so it does not keep others out. The number of callers is bounded by the number of
//! connections, and that of the questions of a batch. A stop of the server wakes all of them.

use super::Phase;
use super::engine_api::EngineApi;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::event::Position;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between two looks at a position that somebody waits for.
const POLL: Duration = Duration::from_millis(3);

/// The metrics that callers wait for, and their last known positions.
pub(crate) struct PositionWaits {
    engine: Arc<dyn EngineApi>,
    waited: watch::Sender<WaitedMetrics>,
}

/// All metrics that callers wait for.
#[derive(Default)]
struct WaitedMetrics {
    /// Whether a task polls them.
    is_polled: bool,
    by_name: HashMap<String, WaitedMetric>,
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
    /// It was so when the metric was last polled.
    Reached,
    /// It was not by the limit.
    TimedOut,
    /// The server is stopping.
    Stopping,
}

impl PositionWaits {
    /// Polls the positions of `engine` while somebody waits.
    pub(crate) fn new(engine: &Arc<dyn EngineApi>) -> Arc<PositionWaits> {
        let waited = watch::channel(WaitedMetrics::default()).0;
        Arc::new(PositionWaits { engine: Arc::clone(engine), waited })
    }

    /// Waits until `metric` has counted `position`, at most `limit`.
    pub(crate) async fn reached(
        self: &Arc<Self>,
        phase: &watch::Sender<Phase>,
        metric: &str,
        position: &Position,
        limit: Duration,
    ) -> WaitOutcome {
        let mut waited = self.waited.subscribe();
        let _caller = Caller::new(self, metric);
        let mut phase = phase.subscribe();
        let is_so = |waited: &WaitedMetrics| {
            let known = waited.by_name.get(metric).and_then(|metric| metric.position.as_ref());
            known.is_some_and(|known| known.reaches(position))
        };
        tokio::select! {
            // A dropped sender is a stop too.
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => WaitOutcome::Stopping,
            waited = timeout(limit, waited.wait_for(is_so)) => match waited {
                Ok(Ok(_)) => WaitOutcome::Reached,
                Ok(Err(_)) => WaitOutcome::Stopping,
                Err(_) => WaitOutcome::TimedOut,
            },
        }
    }
}

/// One caller, which waits until this is dropped.
struct Caller<'a> {
    waits: &'a PositionWaits,
    metric: &'a str,
}

impl<'a> Caller<'a> {
    fn new(waits: &'a Arc<PositionWaits>, metric: &'a str) -> Caller<'a> {
        let mut is_polled = true;
        waits.waited.send_if_modified(|waited| {
            is_polled = std::mem::replace(&mut waited.is_polled, true);
            waited.by_name.entry(metric.to_owned()).or_default().callers += 1;
            false
        });
        if !is_polled {
            tokio::spawn(poll_positions(Arc::clone(waits)));
        }
        Caller { waits, metric }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.waits.waited.send_if_modified(|waited| {
            if let Some(metric) = waited.by_name.get_mut(self.metric) {
                metric.callers -= 1;
                if metric.callers == 0 {
                    waited.by_name.remove(self.metric);
                }
            }
            false
        });
    }
}

/// Polls the positions of all metrics that callers wait for, until there is none.
async fn poll_positions(waits: Arc<PositionWaits>) {
    loop {
        let names: Vec<String> = waits.waited.borrow().by_name.keys().cloned().collect();
        let engine = Arc::clone(&waits.engine);
        let polled = tokio::task::spawn_blocking(move || {
            let position =
                |metric: String| engine.metric_position(&metric).map(|position| (metric, position));
            names.into_iter().filter_map(position).collect::<Vec<_>>()
        });
        match polled.await {
            Ok(positions) => {
                waits.waited.send_if_modified(|waited| {
                    let mut has_moved = false;
                    for (metric, position) in positions {
                        let Some(metric) = waited.by_name.get_mut(&metric) else { continue };
                        has_moved |= metric.position.as_ref() != Some(&position);
                        metric.position = Some(position);
                    }
                    has_moved
                });
            }
            Err(failed) => tracing::error!(%failed, "reading the positions of metrics panicked"),
        }
        sleep(POLL).await;
        // Decided under the lock under which the next caller would start another task.
        let mut is_polled = true;
        waits.waited.send_if_modified(|waited| {
            is_polled = !waited.by_name.is_empty();
            waited.is_polled = is_polled;
            false
        });
        if !is_polled {
            return;
        }
    }
}
