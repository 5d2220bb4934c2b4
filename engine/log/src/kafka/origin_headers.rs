//! The headers by which a record says that it is a copy of another one: `tally-origin:
//! topic/partition/offset`, and `tally-time`, that record's own timestamp in Unix milliseconds.
//!
//! Anybody who writes to the topic may set them, so they are bounded and judged: an origin that
//! names no place is none, and a time that is none is that of the copy. Other headers are not
//! looked at.

use super::raw::Message;
use rdkafka::message::{Header, OwnedHeaders};
use std::ffi::CStr;
use tally_event::{LONGEST_ORIGIN, Record, RecordPlace, ReplayOf};

const ORIGIN: (&str, &CStr) = ("tally-origin", c"tally-origin");
const TIME: (&str, &CStr) = ("tally-time", c"tally-time");

/// The headers of a copy.
pub(super) fn headers_of(of: ReplayOf<'_>) -> OwnedHeaders {
    let time = of.timestamp_ms.to_string();
    OwnedHeaders::new_with_capacity(2)
        .insert(Header { key: ORIGIN.0, value: Some(of.origin) })
        .insert(Header { key: TIME.0, value: Some(&time) })
}

/// The record that a message holds, without a fault.
#[inline]
pub(super) fn record(message: Message<'_>) -> Record<'_> {
    Record {
        offset: message.offset(),
        timestamp_ms: message.timestamp_ms(),
        payload: message.payload(),
        replayed: replayed(message),
    }
}

/// Of which record it is a copy. For a message without headers that is one call.
#[inline]
fn replayed(message: Message<'_>) -> Option<ReplayOf<'_>> {
    let headers = message.headers()?;
    let time = || -> Option<i64> { text(headers.last(TIME.1)?)?.parse().ok() };
    let origin = place(headers.last(ORIGIN.1)?)?;
    Some(ReplayOf { origin, timestamp_ms: time().unwrap_or_else(|| message.timestamp_ms()) })
}

/// A header that names a place.
fn place(header: &[u8]) -> Option<&str> {
    text(header).filter(|origin| RecordPlace::parse(origin).is_some())
}

fn text(header: &[u8]) -> Option<&str> {
    std::str::from_utf8(header).ok().filter(|text| text.len() <= LONGEST_ORIGIN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use rdkafka::message::Headers;

    #[test]
    fn a_copy_says_of_what_it_is_one() {
        let headers = headers_of(ReplayOf { origin: "events/3/41", timestamp_ms: -7 });
        let pairs: Vec<(&str, &[u8])> =
            headers.iter().map(|header| (header.key, header.value.unwrap())).collect();
        assert_eq!(
            pairs,
            [("tally-origin", b"events/3/41".as_slice()), ("tally-time", b"-7".as_slice())]
        );
        for (name, c_name) in [ORIGIN, TIME] {
            assert_eq!(name.as_bytes(), c_name.to_bytes());
        }
    }

    #[test]
    fn what_names_no_place_is_no_origin() {
        assert_eq!(place(b"events/3/41"), Some("events/3/41"));
        let long = format!("{}/0/0", "x".repeat(70_000));
        for header in [&b""[..], b"events/3", b"events/3/41\0", b"\xff/0/0", long.as_bytes()] {
            assert_eq!(place(header), None);
        }
    }
}
