//! The only place that knows source, plugins, store and feed at once: it moves records through them.
//!
//! One thread, the lane, polls, counts and drives the commit protocol; one commits, one compacts. What readers see is in
//! [`View`], or, where engines share a store, in a [`Follower`] of each metric, which one more thread keeps warm. Nothing here is unbounded: the source is paused while too much waits for its commit.

#[cfg(test)]
mod cells_tests;
mod compacting;
mod counting;
mod effects;
mod follower;
mod halts;
mod lane;
mod origin;
mod relay;
mod show;
mod stored;
mod view;
mod watch;
mod workers;

pub use counting::Metric;
pub use follower::{FOLLOWED, Followed, Follower};
pub use lane::{Done, Parts};
pub use origin::Origin;
pub use relay::{Parts as RelayParts, Relay, relay};
pub use view::{Counted, Place, Standing, View};
pub use watch::{Watch, watch};

use lane::Lane;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running lane. Dropping it lets the thread end by itself; [`Handle::stop`] waits for it.
pub struct Handle {
    stop: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<Done>>>,
}

/// Starts a lane.
///
/// # Errors
/// The system gives no more threads.
pub fn start(parts: Parts) -> std::io::Result<Handle> {
    let stop = parts.stop.clone();
    let view = parts.view.clone();
    let (lane, source) = Lane::new(parts)?;
    let run = move || {
        // State is safe whatever happens here; but nobody must believe that it is still being counted.
        catch_unwind(AssertUnwindSafe(|| lane.run(source))).unwrap_or_else(|_| {
            tracing::error!(
                "counting ended by an internal error; restart the engine: what is not stored is counted again"
            );
            view.stand(|standing| standing.failed = true);
            Done::default()
        })
    };
    let thread = std::thread::Builder::new().name("tally-lane".into()).spawn(run)?;
    Ok(Handle { stop, thread: Mutex::new(Some(thread)) })
}

impl Handle {
    /// Ends the lane within about `limit`: last commit, close. What it did; nothing the second time.
    pub fn stop(&self, limit: Duration) -> Done {
        self.stop.store(millis(limit), Ordering::Relaxed);
        let Some(thread) = self.thread.lock().take() else { return Done::default() };
        thread.join().unwrap_or_default()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.store(millis(Duration::from_secs(2)), Ordering::Relaxed);
    }
}

/// At least 1: 0 means "run".
fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)
}
