//! Keeps followers warm: looks at the store several times a second, so that no question finds a view far behind and no
//! compaction outruns one. It answers nothing; a store that is away is said and waited for.
//! The channel carries nothing, so it is bounded by its silence: its end is the signal to stop.

use super::board::Board;
use super::follower::Followers;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Longest pause between two looks at a store that does not answer.
const LOOK_AT_LEAST: Duration = Duration::from_secs(3);

/// The thread; it ends when this is dropped.
pub struct Watch {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts it.
///
/// # Errors
/// The system gives no more threads.
pub fn watch(followers: Arc<Followers>, board: Arc<Board>) -> std::io::Result<Watch> {
    // Nothing is ever sent: its end is the message.
    let (stop, stopped) = sync_channel::<()>(0);
    let look = move || {
        let mut pause = LOOK;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let begun = Instant::now();
            let fault = followers.all().iter().find_map(|follower| follower.refresh(begun).err());
            pause = if fault.is_some() { (pause * 2).min(LOOK_AT_LEAST) } else { LOOK };
            board.stand(|standing| standing.follow_trouble = fault.map(|fault| fault.to_string()));
        }
    };
    let thread = std::thread::Builder::new().name("tally-follow".into()).spawn(look)?;
    Ok(Watch { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows the store panicked");
        }
    }
}
