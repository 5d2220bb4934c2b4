//! Publishes the events of all partitions where each engine counts only some: reads the topic once
//! more, outside the group, while the feed has listeners.
//!
//! It accepts and drops the same events as counting does, duplicates included: it begins to read
//! one dedupe window before the first event that it publishes. Events are published at least once,
//! with positions; records that the log drops first are not published. It counts nothing. The
//! channel carries nothing: closing it is the signal to stop.

use super::fatal::{Thread, guard};
use super::lane_status::LaneStatus;
use super::publish_events::publish_events;
use crate::decode::{Decoder, DedupeWindow, MAX_RECORDS};
use crate::event::{EventBatch, Position, Record};
use crate::feed::Feed;
use crate::log::{Log, LogError};
use std::collections::HashMap;
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
    /// Where events are published.
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

fn run(mut parts: RelayParts, stopped: &Receiver<()>) {
    // From before the first listener connects, so that no event is missed.
    let mut from = (parts.position)();
    while stopped.recv_timeout(CHECK) == Err(RecvTimeoutError::Timeout) {
        if !parts.feed.has_listeners() {
            from = (parts.position)();
        } else if let Err(fault) = parts.publish_from(&mut from, stopped) {
            tracing::warn!("events cannot be published to the live feed: {fault}; trying again");
            if stopped.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

impl RelayParts {
    /// Publishes events until the feed has no listeners; `from` moves along.
    fn publish_from(
        &mut self,
        from: &mut Position,
        stopped: &Receiver<()>,
    ) -> Result<(), LogError> {
        let warm = Position(
            from.0.iter().map(|(p, next)| (*p, next.saturating_sub(self.window))).collect(),
        );
        let mut tail = self.log.tail(&warm)?;
        let mut windows: HashMap<u32, DedupeWindow> = HashMap::new();
        let (mut batch, mut refused) = (EventBatch::default(), Vec::new());
        while self.feed.has_listeners() && stopped.try_recv() == Err(TryRecvError::Empty) {
            let (decoder, feed, window) = (&mut self.decoder, &self.feed, self.window);
            let mut each = |partition: u32, records: &[Record<'_>]| {
                let seen = windows.entry(partition).or_insert_with(|| DedupeWindow::new(window));
                for records in records.chunks(MAX_RECORDS) {
                    let new = from.0.get(&partition).copied().unwrap_or(0);
                    refused.clear();
                    decoder.decode(partition, records, seen, new, &mut batch, &mut refused);
                    publish_events(feed, decoder, &batch, records, new);
                    if let Some(last) = records.last() {
                        from.0.insert(partition, new.max(last.offset + 1));
                    }
                }
            };
            match tail.poll(WAIT, RECORDS, &mut each) {
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
