//! The threads of what is watched: one that sees what came, some that evaluate. They end before the
//! rest of the engine does; one that hangs in a plugin is left running, and what a panic ends
//! begins anew.

use super::hub::{LiveClock, LiveHub};
use super::round::contained;
use super::{round, watcher};
use crate::config::LiveConfig;
use crate::engine::asking::Asking;
use crate::engine::evaluate::now;
use crate::memory::Share;
use crate::pipeline;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How long to wait for the threads' end.
const PARTING: Duration = Duration::from_secs(1);

/// When what a panic ended begins anew.
const ANEW: Duration = Duration::from_millis(100);

/// The threads; they end when this is dropped.
pub(in crate::engine) struct LiveThreads {
    hub: Arc<LiveHub>,
    /// Nothing is sent: the last thread closes it.
    ended: Mutex<Receiver<()>>,
}

/// Starts the threads. Published answers are taken from `room`.
///
/// # Errors
/// The system starts no more threads.
pub(in crate::engine) fn start(
    asking: &Asking,
    config: &LiveConfig,
    room: Arc<Share>,
) -> io::Result<LiveThreads> {
    start_at(asking, config, room, Box::new(now))
}

/// The same with another clock.
pub(super) fn start_at(
    asking: &Asking,
    config: &LiveConfig,
    room: Arc<Share>,
    clock: LiveClock,
) -> io::Result<LiveThreads> {
    let hub = Arc::new(LiveHub::new(asking, config, room, clock));
    let (working, ended) = sync_channel(0);
    let threads = LiveThreads { hub: hub.clone(), ended: Mutex::new(ended) };
    let count = config.threads as u64;
    for number in 1..=count {
        evaluates(&hub, number, &working)?;
    }
    let mut next = count;
    let run = move || {
        let mut replace = || {
            next += 1;
            if let Err(fault) = evaluates(&hub, next, &working) {
                tracing::warn!("a thread that hangs in a plugin is not replaced: {fault}");
            }
        };
        restarted(|| watcher::watch(&hub, &mut replace));
    };
    std::thread::Builder::new().name("tally-live".into()).spawn(run)?;
    Ok(threads)
}

/// Starts a thread that evaluates.
fn evaluates(hub: &Arc<LiveHub>, number: u64, working: &SyncSender<()>) -> io::Result<()> {
    let (hub, working) = (hub.clone(), working.clone());
    let run = move || {
        let _working = working;
        pipeline::give_way();
        restarted(|| {
            // What it had taken before a panic; else there is nothing.
            hub.end_round(number);
            round::work(&hub, number);
        });
    };
    std::thread::Builder::new().name(format!("tally-live-{number}")).spawn(run).map(drop)
}

/// Works until it is done: what a panic ends begins anew.
pub(super) fn restarted(mut work: impl FnMut()) {
    let mut once = || {
        contained(|| {
            work();
            Ok(())
        })
    };
    while once().is_err() {
        tracing::error!("an internal error ended a thread of what is watched; it begins anew");
        std::thread::sleep(ANEW);
    }
}

impl LiveThreads {
    pub(super) fn hub(&self) -> &Arc<LiveHub> {
        &self.hub
    }

    /// How many questions are watched, and how long an update took at most since this was asked.
    pub(in crate::engine) fn figures(&self) -> (usize, Duration) {
        self.hub.figures()
    }

    /// Ends the threads: nobody who watches is told anything more.
    pub(in crate::engine) fn end(&self) {
        self.hub.stop();
        if self.ended.lock().recv_timeout(PARTING) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "a thread that evaluates what is watched hangs in a plugin; the engine stops \
                 without it"
            );
        }
    }
}

impl Drop for LiveThreads {
    fn drop(&mut self) {
        self.end();
    }
}
