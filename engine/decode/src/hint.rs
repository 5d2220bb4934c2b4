//! Signs that a sender means something else than it says. They change no verdict: they are counted, for whoever looks for a cause.

use super::property::Found;
use super::scan::{Shape, scan};
use super::{Decoder, Field, Reason, verdict};
use tally_event::time::{EVENT_TIMES, Minute};

/// Event times as they come out when seconds are sent for milliseconds: ten digits, 12 January to 26 April 1970.
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
    /// Only `[events] max_ahead` refuses it: the clock that stamped the record may be the one that is wrong.
    MaxAhead,
    /// Avro or Protobuf as schema registries frame it.
    Framed,
}

impl Hint {
    /// As it stands among the figures.
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
    /// What a record that was refused for this reason probably is. Reads it once more: refusals are rare.
    #[must_use]
    pub fn hint(&self, reason: Reason, payload: &[u8]) -> Option<Hint> {
        match reason {
            _ if is_framed(payload) => Some(Hint::Framed),
            Reason::TimestampTooEarly => self.time_in(payload).filter(|time| in_seconds(*time)).map(|_| Hint::Seconds),
            Reason::TimestampInFuture => {
                self.time_in(payload).filter(|time| *time < EVENT_TIMES.end).map(|_| Hint::MaxAhead)
            }
            _ => None,
        }
    }

    /// The time that a record states.
    fn time_in(&self, payload: &[u8]) -> Option<i64> {
        let (shape, found) = (&mut Shape::default(), &mut Found::default());
        let values = scan(&self.plan, shape, found, verdict::text(payload).ok()?.0).ok()?;
        let value = values[self.plan.slot_of[Field::Timestamp as usize]];
        verdict::stated_time(value, &mut Minute::default()).ok()
    }
}

/// Whether a payload probably is Avro or Protobuf as schema registries frame it: a zero byte, then a number of four bytes (the
/// id of the schema), then more. JSON never begins with a zero byte.
fn is_framed(payload: &[u8]) -> bool {
    payload.len() > 5 && payload[0] == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_ten_digits() {
        assert!(in_seconds(1_700_000_000) && in_seconds(1_000_000_000) && in_seconds(9_999_999_999));
        assert!(!in_seconds(1_700_000_000_000) && !in_seconds(0) && !in_seconds(-1_700_000_000));
        assert!(!in_seconds(999_999_999) && !in_seconds(10_000_000_000));
    }

    #[test]
    fn a_frame_is_a_zero_an_id_and_more() {
        assert!(is_framed(b"\0\0\0\0\x01abc"));
        assert!(!is_framed(b"") && !is_framed(b"\0") && !is_framed(b"\0\0\0\0\x01") && !is_framed(b"{\"a\":1}"));
    }
}
