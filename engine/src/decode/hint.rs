//! Signs that a sender means something else than it says. They change no verdict: they are counted, for whoever looks for a cause.

/// Event times as they come out when seconds are sent for milliseconds: ten digits, 12 January to 26 April 1970.
const SECONDS: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// Whether an event's time (Unix milliseconds) is probably one in seconds.
#[must_use]
pub fn in_seconds(time_ms: i64) -> bool {
    SECONDS.contains(&time_ms)
}

/// Whether a refused payload probably is Avro or Protobuf as schema registries frame it: a zero byte, then a number of four
/// bytes (the id of the schema), then more. JSON never begins with a zero byte.
#[must_use]
pub fn is_framed(payload: &[u8]) -> bool {
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
