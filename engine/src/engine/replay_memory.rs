//! What calls that replay dead letters leave to the next one. It is in memory only: after a restart
//! a call begins again, and finds in the log what was sent. It decides nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A call goes on where the one before ended if it comes within this time.
pub(super) const GOES_ON: Duration = Duration::from_secs(60);

/// Where a call ended that was bounded.
pub(super) struct LeftOff {
    /// The reason that was asked for.
    pub(super) reason: Option<String>,
    /// Number of the next letter.
    pub(super) next: u64,
    /// Letters before it that were undecided.
    pub(super) undecided: u64,
    /// When that was.
    pub(super) at: Instant,
}

/// What calls leave to the next one.
#[derive(Default)]
pub(super) struct ReplayMemory {
    /// Where the last call ended, if it was bounded.
    pub(super) left_off: Option<LeftOff>,
    /// While the oldest letter is looked for: the number of the next one, and the oldest time so
    /// far, Unix milliseconds.
    pub(super) oldest: Option<(u64, i64)>,
    /// Before which offset of each partition everything lies whose outcome is not known. Empty:
    /// nothing is waited for.
    pub(super) ends: BTreeMap<u32, u64>,
}

impl LeftOff {
    /// Whether a call for this reason goes on from here now.
    pub(super) fn is_of(&self, reason: Option<&str>) -> bool {
        self.reason.as_deref() == reason && self.at.elapsed() < GOES_ON
    }
}
