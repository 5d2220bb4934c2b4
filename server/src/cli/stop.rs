//! Ctrl-C and SIGTERM: the first requests an orderly stop, the second ends the process at once with
//! 130. SIGHUP, where the command handles it, requests a new check of the files; elsewhere it ends
//! the process, as usual. A stop that takes too long is forced.

use super::output;
use parking_lot::{Condvar, Mutex};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// After this the process is killed: an orderly stop takes 20 s at most.
const LATEST: Duration = Duration::from_secs(30);

/// The request to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<(Mutex<StopRequest>, Condvar)>);

/// What was requested.
#[derive(Debug, Default)]
struct StopRequest {
    stop: bool,
    /// A SIGHUP came that is not handled yet.
    hangup: bool,
}

/// See [`Stop::on_panic`].
pub(crate) struct OnPanic(Stop);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask();
        }
    }
}

impl Stop {
    /// Whether a stop was requested.
    pub(crate) fn asked(&self) -> bool {
        self.0.0.lock().stop
    }

    /// Requests a stop.
    pub(crate) fn ask(&self) {
        self.0.0.lock().stop = true;
        self.0.1.notify_all();
    }

    /// Requests a stop if the task that holds this panics: no part that the process needs ends
    /// unnoticed.
    pub(crate) fn on_panic(&self) -> OnPanic {
        OnPanic(self.clone())
    }

    /// Waits this long, or until a stop is requested.
    pub(crate) fn wait(&self, limit: Duration) {
        let mut asked = self.0.0.lock();
        let Some(end) = Instant::now().checked_add(limit) else {
            return self.0.1.wait_while(&mut asked, |asked| !asked.stop);
        };
        self.0.1.wait_while_until(&mut asked, |asked| !asked.stop, end);
    }

    /// Waits until a stop is requested, and calls `on_hangup` for each SIGHUP, also for one that
    /// came before.
    pub(crate) fn wait_with_hangups(&self, on_hangup: impl Fn()) {
        loop {
            let mut asked = self.0.0.lock();
            self.0.1.wait_while(&mut asked, |asked| !asked.stop && !asked.hangup);
            if asked.stop {
                return;
            }
            asked.hangup = false;
            drop(asked);
            on_hangup();
        }
    }

    /// Listens for signals from now on.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn on_signals() -> Result<Stop, String> {
        Stop::listen(false)
    }

    /// As [`Stop::on_signals`], and for SIGHUP.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) fn on_signals_and_hangup() -> Result<Stop, String> {
        Stop::listen(true)
    }

    fn listen(hangup: bool) -> Result<Stop, String> {
        let stop = Stop::default();
        let fault = |error: std::io::Error| format!("cannot listen for signals: {error}");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
        let (interrupt, terminate, hangup) = {
            let _inside = runtime.enter();
            let hangup = hangup.then(|| signal(SignalKind::hangup())).transpose().map_err(fault)?;
            (
                signal(SignalKind::interrupt()).map_err(fault)?,
                signal(SignalKind::terminate()).map_err(fault)?,
                hangup,
            )
        };
        let asking = stop.clone();
        let listen = move || {
            let _seen = asking.on_panic();
            asking.hear(&runtime, interrupt, terminate, hangup);
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(fault)?;
        Ok(stop)
    }

    fn hear(
        &self,
        runtime: &Runtime,
        mut interrupt: Signal,
        mut terminate: Signal,
        mut hangup: Option<Signal>,
    ) {
        let told = runtime.block_on(async move {
            let mut latest = None;
            loop {
                tokio::select! {
                    () = passed(latest) => break true,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = hung_up(hangup.as_mut()) => {
                        self.0.0.lock().hangup = true;
                        self.0.1.notify_all();
                        continue;
                    }
                }
                if self.asked() {
                    break false;
                }
                self.ask();
                latest = Some(tokio::time::Instant::now() + LATEST);
            }
        });
        if told {
            output::note(&format!(
                "error: the engine has not stopped after {} s: a file, a device or a plugin hangs; \
                 the process is killed now, which loses nothing",
                LATEST.as_secs()
            ));
            std::process::exit(1);
        }
        // A second request means not to wait for a drain; the log makes that safe.
        std::process::exit(130);
    }
}

async fn passed(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_by_a_panic_asks_for_the_end_and_what_ends_by_itself_does_not() {
        let (calm, broken) = (Stop::default(), Stop::default());
        let ends = |stop: &Stop, panics: bool| {
            let seen = stop.on_panic();
            std::thread::spawn(move || {
                let _seen = seen;
                assert!(!panics, "told to");
            })
            .join()
        };
        assert!(ends(&calm, false).is_ok() && ends(&broken, true).is_err());
        assert_eq!((calm.asked(), broken.asked()), (false, true));
    }
}
