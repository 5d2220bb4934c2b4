//! The only place that knows source, plugins, store and feed at once: it moves records through them.
//!
//! One thread, the lane, polls, counts and drives the commit protocol; one commits, one compacts. What readers see is in
//! [`View`], or, where engines share a store, in a [`Follower`] of each metric, which one more thread keeps warm. Nothing here is unbounded: the source is paused while too much waits for its commit.

mod batch;
mod board;
mod cell_limits;
mod command;
mod containment;
mod dead_letter_buffer;
mod executor;
mod fatal;
mod follower;
mod lane;
mod ledger;
mod load_metric;
mod mark;
mod members;
mod metric_batch;
mod origin;
mod panicking_records;
mod pending;
mod publish_events;
mod read_pieces;
mod relay;
mod room;
mod steering;
mod stop_reasons;
mod stored;
#[cfg(test)]
mod testing;
mod view;
mod watch;

pub use board::{Board, Done, Standing};
pub use command::{Command, Left};
pub use executor::{Shrink, Shrunk};
pub use fatal::{Fatal, Thread, guard};
pub use follower::{FOLLOWED, Followed, Follower, Followers, Refreshed};
pub use lane::Parts;
pub use mark::{Called, Cause, Mark, Marks, Unreturned};
pub use members::{LaneMetric, Role};
pub use origin::Origin;
pub use relay::{Parts as RelayParts, Relay, relay};
pub use room::Room;
pub use stored::counted_partitions;
pub use view::{Counted, Place, View, done};
pub use watch::{Watch, watch};

use lane::Lane;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// A running lane. Dropping it lets the thread end by itself; [`Handle::stop`] waits for it.
pub struct Handle {
    stop: Arc<AtomicU64>,
    commands: SyncSender<Command>,
    /// What it did; sent when it has ended.
    done: Mutex<Option<Receiver<Done>>>,
    board: Arc<Board>,
}

/// Why a lane was not told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// So many commands wait that no more are taken: something in it does not return. Tell it again later.
    Busy,
    /// It has ended: nothing is counted in it any more.
    Ended,
}

/// How much longer than it was told a lane may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Of a lane that replays history: a tenth of the share of one that does not, where both want the same core.
const NICE: i32 = 10;

/// Starts a lane.
///
/// # Errors
/// The system gives no more threads.
pub fn start(parts: Parts) -> std::io::Result<Handle> {
    start_with(parts, |_| {})
}

/// The same with a lane that is prepared before it runs.
fn start_with(parts: Parts, prepare: impl FnOnce(&mut Lane) + Send + 'static) -> std::io::Result<Handle> {
    let stop = Arc::new(AtomicU64::new(0));
    let (commands, told) = sync_channel(command::QUEUE);
    let board = parts.board.clone();
    let shown = board.clone();
    let replays = parts.role == Role::Backfill;
    let name = match parts.role {
        Role::Main => Thread::Counts.name(),
        Role::Backfill => "tally-backfill",
        Role::Beside => "tally-beside",
    };
    board.stand(|standing| standing.mark = parts.mark.clone());
    let (ended, done) = sync_channel(1);
    let (made, outcome) = sync_channel(1);
    let stopping = stop.clone();
    let run = move || {
        if replays {
            give_way();
        }
        // Here, so that the threads beside it give way as well.
        let (mut lane, source) = match Lane::new(parts, told, stopping) {
            Ok(lane) => lane,
            Err(fault) => return drop(made.send(Err(fault))),
        };
        prepare(&mut lane);
        // Whoever starts it waits for this.
        let _ = made.send(Ok(()));
        let done = guard(&board, Thread::Counts, || lane.run(source)).unwrap_or_else(|| unfinished(&board));
        board.stand(|standing| standing.ended = true);
        // Nobody may wait for it any more.
        let _ = ended.send(done);
    };
    std::thread::Builder::new().name(name.into()).spawn(run)?;
    outcome.recv().map_err(std::io::Error::other)??;
    Ok(Handle { stop, commands, done: Mutex::new(Some(done)), board: shown })
}

/// Takes the processor only where the others leave it: nobody waits for history, and the main lane is to keep its pace.
fn give_way() {
    let me = Some(rustix::thread::gettid());
    if let Err(fault) = rustix::process::setpriority_process(me, NICE) {
        tracing::debug!("a lane that replays history is as important as others: {fault}");
    }
}

impl Handle {
    /// Tells the lane something.
    ///
    /// # Errors
    /// [`Untold`]: it was not told.
    pub fn tell(&self, command: Command) -> Result<(), Untold> {
        self.commands.try_send(command).map_err(|fault| match fault {
            TrySendError::Full(_) => Untold::Busy,
            TrySendError::Disconnected(_) => Untold::Ended,
        })
    }

    /// Ends the lane within about `limit`: last commit, close. What it did; nothing the second time, and of a lane that a plugin
    /// does not let go what was known of it: what it has not stored is counted again.
    pub fn stop(&self, limit: Duration) -> Done {
        self.stop.store(millis(limit), Ordering::Relaxed);
        let Some(done) = self.done.lock().take() else { return Done::default() };
        done.recv_timeout(limit + GRACE).unwrap_or_else(|_| {
            tracing::error!("counting does not end, for something in it does not return; it is left behind");
            unfinished(&self.board)
        })
    }
}

/// What is known of a lane that did not end orderly.
fn unfinished(board: &Board) -> Done {
    Done { unfinished: true, ..board.look(|standing| standing.done) }
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
