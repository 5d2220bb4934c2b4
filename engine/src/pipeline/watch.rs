//! Keeps followers warm: looks at the store several times a second, so that no question finds a view far behind and no
//! compaction outruns one. It answers nothing; a store that is away is said and waited for.
//! The channel carries nothing: its end is the signal to stop.

use super::board::Board;
use super::fatal::{Thread, guard};
use super::follower::Followers;
use crate::store::StoreError;
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
    let told = board.clone();
    let look = move || {
        let mut pause = LOOK;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let begun = Instant::now();
            let fault = refresh(&followers, begun);
            pause = if fault.is_some() { (pause * 2).min(LOOK_AT_LEAST) } else { LOOK };
            board.stand(|standing| standing.follow_trouble = fault.map(|fault| fault.to_string()));
        }
    };
    let run = move || {
        guard(&told, Thread::Follows, look);
    };
    let thread = std::thread::Builder::new().name(Thread::Follows.name().into()).spawn(run)?;
    Ok(Watch { stop: Some(stop), thread: Some(thread) })
}

/// Looks for all of them; the first fault. One that cannot be read keeps none of the others from being looked at, a store that is
/// away does.
fn refresh(followers: &Followers, begun: Instant) -> Option<StoreError> {
    let mut first = None;
    for follower in followers.all() {
        // What stays where it is for lack of memory says so with its answers.
        let found = if follower.refused().is_none() { follower.refresh(begun).map(drop) } else { Ok(()) };
        let Err(fault) = found else { continue };
        if follower.refused().is_some() {
            continue;
        }
        let away = matches!(fault, StoreError::Unavailable(_));
        first.get_or_insert(fault);
        if away {
            break;
        }
    }
    first
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        // Its panic is on the board.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
