//! Moves records from the source through plugins and state into the store and the feed. No other
//! module knows all four.
//!
//! One thread, the lane, polls, counts and drives the commit protocol; one thread commits, one
//! compacts. Readers read the [`View`] or, where engines share a store, the [`Follower`] of each
//! metric, which another thread keeps up to date. Every queue is bounded: the source is paused
//! while too many rows wait for their commit.
//!
//! * Of a lane: `lane`, `command`, `members`, `lane_status`. What it does with a batch: `batch`,
//!   with `containment`, `metric_batch`, `panicking_records`, `cell_limits`, `dead_letter_buffer`
//!   and `publish_events`. What it may commit: `ledger`, with `pending` and `stop_reasons`. Who
//!   commits and compacts: `executor`. Where the source reads: `steering`.
//! * Reading the store: `read_pieces`, `load_metric`, `stored`, `coverage`, `judged_ranges`.
//! * Readers: `view`, `follower`, `watch`; whether they see all of history: `target`. Beside
//!   counting: `judged_tail`, with `relay` and `replay`.
//! * Without a lane: `trial`.
//! * For all: `memory_share`, `call_marks`, `fatal`.

mod batch;
mod call_marks;
mod cell_limits;
mod command;
mod containment;
mod coverage;
mod dead_letter_buffer;
mod executor;
mod fatal;
mod follower;
mod judged_ranges;
mod judged_tail;
mod lane;
mod lane_status;
mod ledger;
mod load_metric;
mod members;
mod memory_share;
mod metric_batch;
mod panicking_records;
mod pending;
mod publish_events;
mod read_pieces;
mod relay;
mod replay;
mod steering;
mod stop_reasons;
mod stored;
mod target;
#[cfg(test)]
pub(crate) mod testing;
mod trial;
mod view;
mod watch;

pub use call_marks::{CallMark, CallMarks, EndCause, MarkedCall, UnreturnedCall};
pub use command::{Command, Left};
pub use coverage::Coverage;
pub use executor::{Shrink, Shrunk};
pub use fatal::{Fatal, Thread, guard};
pub use follower::{FOLLOWED, Followed, Follower, Followers, Refreshed};
pub use judged_ranges::JudgedRanges;
pub use lane::LaneParts;
pub use lane_status::{FirstBounds, LaneStatus, LaneTotals, StatusSnapshot};
pub use members::{LaneMetric, LaneRole};
pub use memory_share::MemoryShare;
pub use relay::{Relay, RelayParts, relay};
pub use replay::{ReplayParts, ReplayPermit, replay_feed};
pub use stored::counted_partitions;
pub use target::Target;
pub use trial::{Trial, TrialEnd, TrialParts};
pub use view::{Counted, MetricProgress, View};
pub use watch::{Watch, watch};

use lane::Lane;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// A running lane. Dropping the handle asks the thread to end; [`Handle::stop`] waits for it.
pub struct Handle {
    stop: Arc<AtomicU64>,
    commands: SyncSender<Command>,
    /// Receives the lane's totals when it has ended.
    totals: Mutex<Option<Receiver<LaneTotals>>>,
    status: Arc<LaneStatus>,
}

/// Why a lane did not take a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The queue is full, because something in the lane does not return. Retry later.
    Busy,
    /// The lane has ended. A retry does not help.
    Ended,
}

/// How much longer than its limit a lane may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Niceness of what gives way to the main lane: about a tenth of its processor time where both want
/// the same core.
const NICE: i32 = 10;

/// Starts a lane.
///
/// # Errors
/// The system starts no more threads.
pub fn start(parts: LaneParts) -> std::io::Result<Handle> {
    start_with(parts, |_| {})
}

/// Starts a lane and calls `prepare` before it runs.
fn start_with(
    parts: LaneParts,
    prepare: impl FnOnce(&mut Lane) + Send + 'static,
) -> std::io::Result<Handle> {
    let stop = Arc::new(AtomicU64::new(0));
    let (commands, received) = sync_channel(command::QUEUE);
    let status = parts.status.clone();
    let published = status.clone();
    let replays = parts.role == LaneRole::Backfill;
    let name = match parts.role {
        LaneRole::Main => Thread::Counts.name(),
        LaneRole::Backfill => "tally-backfill",
        LaneRole::Beside => "tally-beside",
    };
    status.update(|status| status.call_mark = parts.call_mark.clone());
    let (ended, totals) = sync_channel(1);
    let (made, outcome) = sync_channel(1);
    let stopping = stop.clone();
    let run = move || {
        if replays {
            give_way();
        }
        // After `give_way`: the lane's worker threads inherit the niceness.
        let (mut lane, source) = match Lane::new(parts, received, stopping) {
            Ok(lane) => lane,
            Err(fault) => return drop(made.send(Err(fault))),
        };
        prepare(&mut lane);
        // `start_with` waits for this.
        let _ = made.send(Ok(()));
        let totals = guard(&status, Thread::Counts, || lane.run(source))
            .unwrap_or_else(|| unfinished(&status));
        status.update(|status| status.ended = true);
        // The receiver may be gone.
        let _ = ended.send(totals);
    };
    std::thread::Builder::new().name(name.into()).spawn(run)?;
    outcome.recv().map_err(std::io::Error::other)??;
    Ok(Handle { stop, commands, totals: Mutex::new(Some(totals)), status: published })
}

/// Lowers the priority of this thread: the main lane must keep its pace.
pub fn give_way() {
    let me = Some(rustix::thread::gettid());
    if let Err(fault) = rustix::process::setpriority_process(me, NICE) {
        tracing::debug!("the priority of a thread cannot be lowered: {fault}");
    }
}

impl Handle {
    /// Queues a command. Never blocks.
    ///
    /// # Errors
    /// [`CommandError`]: the lane does not receive it.
    pub fn send(&self, command: Command) -> Result<(), CommandError> {
        self.commands.try_send(command).map_err(|fault| match fault {
            TrySendError::Full(_) => CommandError::Busy,
            TrySendError::Disconnected(_) => CommandError::Ended,
        })
    }

    /// Ends the lane within about `limit`: it commits once more and closes the source. Returns its
    /// totals; zeros if it is called again. A lane that a plugin blocks is abandoned: its totals
    /// are those last known, and what it has not stored is counted again.
    pub fn stop(&self, limit: Duration) -> LaneTotals {
        self.stop.store(millis(limit), Ordering::Relaxed);
        let Some(totals) = self.totals.lock().take() else { return LaneTotals::default() };
        totals.recv_timeout(limit + GRACE).unwrap_or_else(|_| {
            tracing::error!(
                "a lane does not end because something in it does not return; it is abandoned"
            );
            unfinished(&self.status)
        })
    }
}

/// The last known totals of a lane that did not end in order.
fn unfinished(status: &LaneStatus) -> LaneTotals {
    LaneTotals { unfinished: true, ..status.read(|status| status.totals) }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.store(millis(Duration::from_secs(2)), Ordering::Relaxed);
    }
}

/// At least 1, because 0 means "run".
fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)
}
