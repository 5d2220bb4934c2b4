//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once with 130.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Whether to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Whether it was asked for.
    pub(crate) fn asked(&self) -> bool {
        *self.0.0.lock()
    }

    /// Asks for it.
    pub(crate) fn ask(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Waits that long, or until it is asked for.
    pub(crate) fn wait(&self, limit: Duration) {
        let mut asked = self.0.0.lock();
        let Some(end) = Instant::now().checked_add(limit) else {
            return self.0.1.wait_while(&mut asked, |asked| !*asked);
        };
        self.0.1.wait_while_until(&mut asked, |asked| !*asked, end);
    }

    /// Listens for signals from now on.
    ///
    /// # Errors
    /// A sentence: the system lets us not.
    pub(crate) fn on_signals() -> Result<Stop, String> {
        let stop = Stop::default();
        let asking = stop.clone();
        let fault = |error: std::io::Error| format!("cannot listen for Ctrl-C: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
        let listening = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(fault)?, signal(SignalKind::terminate()).map_err(fault)?)
        };
        let listen = move || {
            let (mut interrupt, mut terminate) = listening;
            runtime.block_on(async move {
                for first in [true, false] {
                    tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
                    if first {
                        asking.ask();
                    }
                }
                // Whoever asks twice does not want to wait for a drain; the log makes it safe.
                std::process::exit(130);
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(fault)?;
        Ok(stop)
    }
}
