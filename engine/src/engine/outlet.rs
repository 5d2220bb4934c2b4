//! Writing to the log without an engine: for senders of their own, as fast as the log takes it.
//!
//! Only a log that is shared can be written to from outside; the embedded one is its engine's, and is written to through
//! [`Engine::append`](super::Engine::append). Judges nothing: what is no event becomes a dead letter.

use super::AppendError;
use crate::config::{Config, SourceKind};
use crate::source::kafka::Outbox;

/// A way into the log; what is in flight is bounded by the log's client (100,000 records or 64 MiB).
pub struct Outlet(Outbox);

/// What became of the records of an [`Outlet`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Durable in the log.
    pub acknowledged: u64,
    /// Refused, or in doubt.
    pub errors: u64,
}

/// The way into the configured log, or `None` where it is an engine's own.
///
/// # Errors
/// [`AppendError`]: it cannot be reached; what to do.
pub fn open_outlet(config: &Config) -> Result<Option<Outlet>, AppendError> {
    match config.source.kind {
        SourceKind::Embedded => Ok(None),
        SourceKind::Kafka => match Outbox::open(&config.kafka) {
            Ok(outbox) => Ok(Some(Outlet(outbox))),
            Err(fault) => Err(AppendError(fault.to_string())),
        },
    }
}

impl Outlet {
    /// Takes an event, keyed by its user; waits while as much is in flight as may be.
    ///
    /// # Errors
    /// [`AppendError`]: the log takes no more.
    pub fn send(&mut self, user: &[u8], event: &[u8]) -> Result<(), AppendError> {
        self.0.send(user, event).map_err(AppendError)
    }

    /// What is known so far.
    pub fn counts(&self) -> Sent {
        let (acknowledged, errors) = self.0.counts();
        Sent { acknowledged, errors }
    }

    /// The first few failures since the last call, each a sentence.
    pub fn complaints(&mut self) -> Vec<String> {
        self.0.told()
    }

    /// Waits until everything is acknowledged or has failed.
    pub fn finish(&mut self) {
        self.0.finish();
    }
}
