//! Wakes those who listen, on a thread of its own: who publishes only says that there is something
//! new, however many listen.
//!
//! Listeners are woken at once after a pause, and then at most every [`PACE`]: what comes meanwhile
//! goes out together. Nobody is forgotten: what is said during a round makes another one. The thread
//! begins with the first listener and ends with the feed; where the system starts no more threads,
//! the one that publishes wakes them, as often as that.

use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The least time between two rounds of waking.
const PACE: Duration = Duration::from_millis(5);

/// See the module's description. Its end tells listeners that there is no more.
pub(super) struct WakeThread {
    signal: Arc<WakeSignal>,
    /// Once somebody has listened.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and those who publish share.
struct WakeSignal {
    moved: watch::Sender<()>,
    state: Mutex<WakeState>,
    /// Wakes the thread.
    told: Condvar,
}

#[derive(Default)]
struct WakeState {
    /// Whether there is something new since the last round began.
    has_moved: bool,
    /// Whether there is no thread, although somebody listens.
    is_alone: bool,
    is_over: bool,
}

impl WakeThread {
    pub(super) fn new() -> WakeThread {
        let (moved, state) = (watch::channel(()).0, Mutex::default());
        let signal = Arc::new(WakeSignal { moved, state, told: Condvar::new() });
        WakeThread { signal, thread: Mutex::default() }
    }

    /// Is told of everything that is new from now on, and by an error that there is no more.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let signal = Arc::clone(&self.signal);
            let run = move || signal.run();
            let begun = std::thread::Builder::new().name("tally-feed".into()).spawn(run);
            let mut state = self.signal.state.lock();
            if let Err(why) = &begun
                && !state.is_alone
            {
                tracing::warn!(
                    "the thread that wakes listeners of events cannot be started ({why}): counting \
                     wakes them itself"
                );
            }
            state.is_alone = begun.is_err();
            *thread = begun.ok();
        }
        self.signal.moved.subscribe()
    }

    /// There is something new. Waits for no listener.
    pub(super) fn tell(&self) {
        let mut state = self.signal.state.lock();
        if state.is_alone {
            drop(state);
            self.signal.moved.send_replace(());
        } else if !std::mem::replace(&mut state.has_moved, true) {
            self.signal.told.notify_one();
        }
    }
}

impl Drop for WakeThread {
    fn drop(&mut self) {
        self.signal.state.lock().is_over = true;
        self.signal.told.notify_one();
        if let Some(thread) = self.thread.get_mut().take() {
            // It has told of its panics.
            let _ = thread.join();
        }
    }
}

impl WakeSignal {
    fn run(&self) {
        let (mut due, mut is_told) = (Instant::now(), false);
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.forward(&mut due))) {
            if !is_told {
                tracing::error!(
                    "waking listeners of events has failed by an internal error: please report it; \
                     it goes on, and some streams may be late"
                );
            }
            is_told = true;
            // Dropping the payload may panic in turn.
            std::mem::forget(panic);
            self.state.lock().has_moved = true;
        }
    }

    /// Wakes all who listen whenever there is something new, not before it is due, to the end.
    fn forward(&self, due: &mut Instant) {
        loop {
            let mut state = self.state.lock();
            while !state.is_over && (!state.has_moved || Instant::now() < *due) {
                if state.has_moved {
                    let _ = self.told.wait_until(&mut state, *due);
                } else {
                    self.told.wait(&mut state);
                }
            }
            if state.is_over {
                return;
            }
            state.has_moved = false;
            drop(state);
            *due = Instant::now() + PACE;
            self.moved.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{new_event, plenty};
    use super::super::{Feed, FeedFilter, FeedItem, FeedListener};
    use super::*;
    use crate::memory::Share;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::Thread;

    /// Far longer than anything here takes.
    const LONG: Duration = Duration::from_secs(30);

    /// Wakes a thread, and counts how often.
    struct CountedWaker(Thread, AtomicUsize);

    impl Wake for CountedWaker {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.unpark();
        }
    }

    /// Listens on a thread until the feed ends: the offsets that it got, and how often it was woken.
    fn listen(mut listener: FeedListener) -> JoinHandle<(Vec<u64>, usize)> {
        std::thread::spawn(move || {
            let wakes = Arc::new(CountedWaker(std::thread::current(), AtomicUsize::new(0)));
            let waker = Waker::from(wakes.clone());
            let mut context = Context::from_waker(&waker);
            let (begun, mut got) = (Instant::now(), Vec::new());
            loop {
                let mut items = Vec::new();
                let is_on = {
                    // Kept while it waits: who is dropped is not woken.
                    let mut next = std::pin::pin!(listener.next(100, &mut items));
                    loop {
                        assert!(begun.elapsed() < LONG, "it is woken");
                        match next.as_mut().poll(&mut context) {
                            Poll::Ready(is_on) => break is_on,
                            Poll::Pending => std::thread::park_timeout(LONG),
                        }
                    }
                };
                if !is_on {
                    return (got, wakes.1.load(Ordering::Relaxed));
                }
                got.extend(items.iter().map(|item| match item {
                    FeedItem::Event(event) => event.next,
                    other => panic!("{other:?}"),
                }));
            }
        })
    }

    #[test]
    fn many_events_wake_each_listener_once_in_a_while_and_nobody_misses_one() {
        let feed = Feed::new(&Arc::new(Share::new(64 << 20)), &plenty());
        let begun = Instant::now();
        let mut listeners = Vec::new();
        // As many as the ring keeps: who is woken late has all of them.
        for next in 1..=4_000 {
            if next % 500 == 1 {
                listeners.push((next, listen(feed.listen(FeedFilter::default()))));
            }
            feed.publish(0, next, vec![new_event(next, 1)]);
            while begun.elapsed() < Duration::from_micros(20) * u32::try_from(next).unwrap_or(0) {
                std::hint::spin_loop();
            }
        }
        drop(feed);
        for (first, listener) in listeners {
            let (got, wakes) = listener.join().expect("it has not failed");
            assert_eq!(got, (first..=4_000).collect::<Vec<u64>>());
            // And once by the end of the feed. One that looks while a round wakes the others may be
            // woken by it again.
            let rounds = begun.elapsed().as_millis() / PACE.as_millis() + 2;
            assert!(wakes as u128 <= 2 * rounds, "{wakes} times in {rounds} rounds");
        }
    }

    #[test]
    fn who_listens_is_woken_without_a_thread_too() {
        let feed = Feed::new(&Arc::new(Share::new(1 << 20)), &plenty());
        let listener = feed.listen(FeedFilter::default());
        feed.wakes.signal.state.lock().is_alone = true;
        let listener = listen(listener);
        (1..=3).for_each(|next| feed.publish(0, next, vec![new_event(next, 1)]));
        drop(feed);
        assert_eq!(listener.join().expect("it has not failed").0, [1, 2, 3]);
    }
}
