//! Shows the events of all partitions where each engine counts only some: reads the topic once more, outside the group,
//! while somebody listens.
//!
//! What it shows is judged as counting judges it, duplicates included: it reads a dedupe window ahead of the first event
//! shown. At-least-once, with positions; what the log drops before it is read is not shown. It counts nothing.
//! The channel carries nothing: its end is the signal to stop.

use super::board::Board;
use super::fatal::{Thread, guard};
use super::publish_events::publish_events;
use crate::decode::{Decoder, DedupeWindow, MAX_RECORDS};
use crate::event::{EventBatch, Position, Record};
use crate::feed::Feed;
use crate::source::{Log, SourceError};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks whether somebody listens.
const LOOK: Duration = Duration::from_millis(50);

/// Longest wait for records.
const WAIT: Duration = Duration::from_millis(20);

/// What could not be read is tried again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// Records handed over at once.
const RECORDS: usize = 2_048;

/// What a relay is made of.
pub struct Parts {
    /// What is shown.
    pub log: Arc<dyn Log>,
    /// Judges records.
    pub decoder: Decoder,
    /// The dedupe window, offsets.
    pub window: u64,
    /// Where events are shown.
    pub feed: Arc<Feed>,
    /// Where its end is said.
    pub board: Arc<Board>,
    /// Where counting stands: what comes after it is new.
    pub position: Box<dyn Fn() -> Position + Send>,
}

/// The thread; it ends when this is dropped.
pub struct Relay {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts it.
///
/// # Errors
/// The system gives no more threads.
pub fn relay(parts: Parts) -> std::io::Result<Relay> {
    // Nothing is ever sent: its end is the message.
    let (stop, stopped) = sync_channel(0);
    let board = parts.board.clone();
    let run = move || {
        guard(&board, Thread::Relays, || run(parts, &stopped));
    };
    let thread = std::thread::Builder::new().name(Thread::Relays.name().into()).spawn(run)?;
    Ok(Relay { stop: Some(stop), thread: Some(thread) })
}

fn run(mut parts: Parts, stopped: &Receiver<()>) {
    // As of before the first listener came, so that nothing new is missed.
    let mut from = (parts.position)();
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if !parts.feed.has_listeners() {
            from = (parts.position)();
        } else if let Err(fault) = parts.show_from(&mut from, stopped) {
            tracing::warn!("events cannot be shown: {fault}; trying again");
            if stopped.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

impl Parts {
    /// Shows what comes until nobody listens; `from` moves along.
    fn show_from(&mut self, from: &mut Position, stopped: &Receiver<()>) -> Result<(), SourceError> {
        let warm = Position(from.0.iter().map(|(p, next)| (*p, next.saturating_sub(self.window))).collect());
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
                Err(SourceError::Transient(_, what)) => tracing::debug!("the live feed waits: {what}"),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop = None;
        // Its panic is on the board.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
