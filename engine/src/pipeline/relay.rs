//! Shows the events of all partitions where each engine counts only some: reads the topic once
//! more, outside the group, while the feed has listeners.
//!
//! It shows the same events as counting accepts (`judged_tail`), at least once, with positions;
//! records that the log drops first are not shown. Without listeners the feed rests where the
//! engines have counted to. It counts nothing. The channel carries nothing: closing it is the
//! signal to stop.

use super::fatal::{Thread, guard};
use super::judged_tail::JudgedTail;
use super::lane_status::LaneStatus;
use super::publish_events::show_events;
use crate::decode::Decoder;
use crate::event::Position;
use crate::feed::Feed;
use crate::log::{Log, LogError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it checks for listeners.
const CHECK: Duration = Duration::from_millis(50);

/// Longest wait for records.
const WAIT: Duration = Duration::from_millis(20);

/// Pause before a failed read is repeated.
const AGAIN: Duration = Duration::from_secs(2);

/// Records that one poll returns at most.
const RECORDS: usize = 2_048;

/// What a relay is made of.
pub struct RelayParts {
    /// The log to read.
    pub log: Arc<dyn Log>,
    /// Turns records into events.
    pub decoder: Decoder,
    /// The dedupe window, offsets.
    pub window: u64,
    /// Where events are shown.
    pub feed: Arc<Feed>,
    /// Where an internal error of its thread is recorded.
    pub status: Arc<LaneStatus>,
    /// Returns how far the engines have counted: later events are new.
    pub position: Box<dyn Fn() -> Position + Send>,
}

/// The relay's thread; it ends when this is dropped.
pub struct Relay {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the relay.
///
/// # Errors
/// The system starts no more threads.
pub fn relay(parts: RelayParts) -> std::io::Result<Relay> {
    // Nothing is ever sent: closing it is the message.
    let (stop, stopped) = sync_channel(0);
    let status = parts.status.clone();
    let run = move || {
        guard(&status, Thread::Relays, || run(parts, &stopped));
    };
    let thread = std::thread::Builder::new().name(Thread::Relays.name().into()).spawn(run)?;
    Ok(Relay { stop: Some(stop), thread: Some(thread) })
}

fn run(parts: RelayParts, stopped: &Receiver<()>) {
    // Where the feed is: from before the first listener connects, so that no event is missed.
    let mut from = (parts.position)();
    parts.feed.starts_at(&from);
    while stopped.recv_timeout(CHECK) == Err(RecvTimeoutError::Timeout) {
        let counted = (parts.position)();
        if parts.feed.rests(&counted) {
            from = counted;
        } else if let Err(fault) = parts.show_from(&mut from, stopped) {
            tracing::warn!("events cannot be shown on the live feed: {fault}; trying again");
            if stopped.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

impl RelayParts {
    /// Shows events until the feed has no listeners; `from` moves along.
    fn show_from(&self, from: &mut Position, stopped: &Receiver<()>) -> Result<(), LogError> {
        // Of a partition in which nothing was counted yet what is there counts as shown; cursors
        // name it from the first event on.
        for held in self.log.bounds()? {
            from.0.entry(held.partition).or_insert(held.end);
        }
        self.feed.starts_at(from);
        let mut tail = JudgedTail::open(&*self.log, self.decoder.fresh(), self.window, from)?;
        while self.feed.has_listeners() && stopped.try_recv() == Err(TryRecvError::Empty) {
            match tail.poll(WAIT, RECORDS, from, &mut |judged| show_events(&self.feed, judged)) {
                Ok(()) => {}
                Err(LogError::Transient(_, what)) => {
                    tracing::debug!("the live feed waits for the log: {what}")
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop = None;
        // A panic of it is in the lane status.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
