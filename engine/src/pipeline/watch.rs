//! Keeps followers up to date: refreshes them several times a second, so that no question finds a
//! view far behind and no compaction outruns one.
//!
//! Answers nothing. A store that does not answer is reported in the lane status and tried again.
//! The channel carries nothing: closing it is the signal to stop.

use super::fatal::{Thread, guard};
use super::follower::Followers;
use super::lane_status::LaneStatus;
use crate::store::StoreError;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between two refreshes.
const PAUSE: Duration = Duration::from_millis(250);

/// Longest pause while the store does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The refreshing thread; it ends when this is dropped.
pub struct Watch {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the refreshing thread.
///
/// # Errors
/// The system starts no more threads.
pub fn watch(followers: Arc<Followers>, status: Arc<LaneStatus>) -> std::io::Result<Watch> {
    // Nothing is ever sent: closing it is the message.
    let (stop, stopped) = sync_channel::<()>(0);
    let published = status.clone();
    let refresh_all = move || {
        let mut pause = PAUSE;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let begun = Instant::now();
            let fault = refresh(&followers, begun);
            pause = if fault.is_some() { (pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
            status.update(|status| status.follow_trouble = fault.map(|fault| fault.to_string()));
        }
    };
    let run = move || {
        guard(&published, Thread::Follows, refresh_all);
    };
    let thread = std::thread::Builder::new().name(Thread::Follows.name().into()).spawn(run)?;
    Ok(Watch { stop: Some(stop), thread: Some(thread) })
}

/// Refreshes all followers and returns the first fault. A follower that cannot be read does not
/// keep the others from being refreshed; a store that does not answer does.
fn refresh(followers: &Followers, begun: Instant) -> Option<StoreError> {
    let mut first = None;
    for follower in followers.all() {
        // One that was refused for lack of memory says so in its answers.
        let found =
            if follower.refused().is_none() { follower.refresh(begun).map(drop) } else { Ok(()) };
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
        // A panic of it is in the lane status.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
