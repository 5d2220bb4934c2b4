//! What a call that replays dead letters leaves to the next one. It is in memory only: after a
//! restart a call begins again, and finds in the log what was copied. Nothing is decided here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A call goes on where the one before ended if it comes within this time.
pub(super) const GOES_ON: Duration = Duration::from_secs(60);

/// How far a replay has gone through the letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LetterCursor {
    /// Number of the next letter.
    pub(super) next: u64,
    /// Letters before it that were undecided.
    pub(super) undecided: u64,
}

/// Where a call ended at its bound.
pub(super) struct LeftOff {
    /// The reason that was asked for.
    pub(super) reason: Option<String>,
    pub(super) cursor: LetterCursor,
    /// When that was.
    pub(super) at: Instant,
}

/// The oldest of the letters that were looked at so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OldestLetter {
    /// Number of the next letter to look at.
    pub(super) next: u64,
    /// The oldest timestamp of a record, Unix milliseconds.
    pub(super) time_ms: i64,
}

/// What calls leave to the next one.
#[derive(Default)]
pub(in crate::engine) struct LetterReplayMemory {
    /// Where the last call ended, if that was at its bound.
    pub(super) left_off: Option<LeftOff>,
    /// Set while the oldest letter is looked for.
    pub(super) oldest: Option<OldestLetter>,
    /// By partition, the offset that the log has to reach until it is known which of the intended
    /// copies it holds. Empty: all are known.
    pub(super) ends: BTreeMap<u32, u64>,
}

impl LeftOff {
    /// Whether a call for this reason goes on from here now.
    pub(super) fn is_of(&self, reason: Option<&str>) -> bool {
        self.reason.as_deref() == reason && self.at.elapsed() < GOES_ON
    }
}
