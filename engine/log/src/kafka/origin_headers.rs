//! The headers in which a copy states its origin: `tally-origin: topic/partition/offset`, and
//! `tally-time`, the record's own timestamp there in Unix milliseconds.
//!
//! Anybody who writes to the topic may set them, so they are bounded and judged: an origin that
//! names no place is none, and a time that is none is that of the copy. Other headers are not
//! looked at.

use super::raw::Message;
use rdkafka::message::{Header, OwnedHeaders};
use std::ffi::CStr;
use tally_event::{LONGEST_ORIGIN, Record, RecordOrigin, RecordPlace};

const ORIGIN: (&str, &CStr) = ("tally-origin", c"tally-origin");
const TIME: (&str, &CStr) = ("tally-time", c"tally-time");

/// The headers of a copy with this origin.
pub(super) fn headers_of(origin: RecordOrigin<'_>) -> OwnedHeaders {
    let time = origin.timestamp_ms.to_string();
    OwnedHeaders::new_with_capacity(2)
        .insert(Header { key: ORIGIN.0, value: Some(origin.place) })
        .insert(Header { key: TIME.0, value: Some(&time) })
}

/// The record that a message holds, without a fault.
#[inline]
pub(super) fn record(message: Message<'_>) -> Record<'_> {
    Record {
        offset: message.offset(),
        timestamp_ms: message.timestamp_ms(),
        payload: message.payload(),
        origin: origin(message),
    }
}

/// Where the record of a copy first was. For a message without headers that is one call.
#[inline]
fn origin(message: Message<'_>) -> Option<RecordOrigin<'_>> {
    let headers = message.headers()?;
    let time = || -> Option<i64> { text(headers.last(TIME.1)?)?.parse().ok() };
    let place = place(headers.last(ORIGIN.1)?)?;
    Some(RecordOrigin { place, timestamp_ms: time().unwrap_or_else(|| message.timestamp_ms()) })
}

/// A header that names a place.
fn place(header: &[u8]) -> Option<&str> {
    text(header).filter(|place| RecordPlace::parse(place).is_some())
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
    fn a_copy_states_its_origin() {
        let headers = headers_of(RecordOrigin { place: "events/3/41", timestamp_ms: -7 });
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
