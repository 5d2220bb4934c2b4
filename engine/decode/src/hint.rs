//! Signs that a sender means something else than it says. They change no verdict: they are counted,
//! for people who look for a cause.

use super::{Decoder, Reason};
use tally_event::time::EVENT_TIMES;

/// Event times as they come out when seconds are sent for milliseconds: ten digits, 12 January to
/// 26 April 1970.
const SECONDS: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// Whether an event's time (Unix milliseconds) is probably one in seconds.
#[must_use]
pub fn in_seconds(time_ms: i64) -> bool {
    SECONDS.contains(&time_ms)
}

/// What a refused record probably is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Its time is one in seconds where milliseconds are read.
    Seconds,
    /// Only `[events] max_ahead` refuses it: the clock that stamped the record may be the one that
    /// is wrong.
    MaxAhead,
    /// Avro or Protobuf as schema registries frame it.
    Framed,
}

impl Hint {
    /// Its label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hint::Seconds => "timestamp_in_seconds",
            Hint::MaxAhead => "timestamp_over_max_ahead",
            Hint::Framed => "schema_registry_frame",
        }
    }
}

impl Decoder {
    /// What a record that was refused for this reason probably is. Reads it once more: refusals are
    /// rare.
    #[must_use]
    pub fn hint(&self, reason: Reason, payload: &[u8]) -> Option<Hint> {
        let stated_time = || self.reader.stated_time(payload);
        self.reader.format_hint(payload).or_else(|| match reason {
            Reason::TimestampTooEarly => {
                stated_time().filter(|time| in_seconds(*time)).map(|_| Hint::Seconds)
            }
            Reason::TimestampInFuture => {
                stated_time().filter(|time| *time < EVENT_TIMES.end).map(|_| Hint::MaxAhead)
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_ten_digits() {
        assert!(
            in_seconds(1_700_000_000) && in_seconds(1_000_000_000) && in_seconds(9_999_999_999)
        );
        assert!(!in_seconds(1_700_000_000_000) && !in_seconds(0) && !in_seconds(-1_700_000_000));
        assert!(!in_seconds(999_999_999) && !in_seconds(10_000_000_000));
    }
}
