//! How large a batch the topic takes, as far as is known.
//!
//! Brokers say it where they let us ask (`topic`); where they do not, or where it changed since, a
//! batch that is refused says that it is less (`live_sender`). It asks nobody itself.

use std::sync::atomic::{AtomicU32, Ordering};

/// The limit of one topic, shared by those who find it out and those who keep to it. 0: not known.
#[derive(Debug, Default)]
pub(super) struct BatchLimit(AtomicU32);

impl BatchLimit {
    /// Bytes; `None`: not known.
    pub(super) fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    pub(super) fn set(&self, bytes: u32) {
        self.0.store(bytes.max(1), Ordering::Relaxed);
    }
}
