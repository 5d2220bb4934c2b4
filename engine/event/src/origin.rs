//! The origin of a copy: the place that the record first had, as the text `topic/partition/offset`,
//! and its timestamp there.
//!
//! Promises: one text for each place, so that equal texts are equal places. Says nothing of whether
//! the place holds a record.

use std::fmt::{self, Display};
use std::str::FromStr;

/// Longest name of a topic, bytes.
const LONGEST_TOPIC: usize = 249;

/// Longest text of a place, bytes.
pub const LONGEST_ORIGIN: usize = LONGEST_TOPIC + "/4294967295/18446744073709551615".len();

/// Where the record of a copy first was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOrigin<'a> {
    /// Its first place, as [`RecordPlace`] writes it: however often it is copied, it counts once.
    pub place: &'a str,
    /// Its own timestamp there, Unix milliseconds.
    pub timestamp_ms: i64,
}

/// Where a record is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordPlace<'a> {
    /// Name of its topic; of the embedded log, `log`.
    pub topic: &'a str,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

impl<'a> RecordPlace<'a> {
    /// The place that a text writes; `None` where it writes none, or not in the one way in which it
    /// is written.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<RecordPlace<'a>> {
        let mut parts = text.split('/');
        let (topic, partition, offset) = (parts.next()?, parts.next()?, parts.next()?);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_name = (1..=LONGEST_TOPIC).contains(&topic.len()) && topic.bytes().all(plain);
        let place = RecordPlace { topic, partition: number(partition)?, offset: number(offset)? };
        (is_name && parts.next().is_none()).then_some(place)
    }
}

/// The number that is written so and in no other way.
fn number<N: FromStr + Display>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

impl Display for RecordPlace<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_text() {
        let longest = "t".repeat(LONGEST_TOPIC);
        for (topic, partition, offset) in
            [("log", 0, 0), ("shop.events-2_a", 7, 1_204), (longest.as_str(), u32::MAX, u64::MAX)]
        {
            let place = RecordPlace { topic, partition, offset };
            let text = place.to_string();
            assert_eq!(RecordPlace::parse(&text), Some(place), "{text}");
            assert!(text.len() <= LONGEST_ORIGIN);
        }
        let long = format!("{}/0/0", "t".repeat(LONGEST_TOPIC + 1));
        for text in [
            "",
            "log",
            "log/0",
            "log/0/",
            "/0/0",
            "log//0",
            "log/0/0/",
            "log/0/0/0",
            "log/00/0",
            "log/0/+1",
            "log/0/01",
            "log/-1/0",
            "log/4294967296/0",
            "log/0/1 ",
            "l\u{e9}g/0/0",
            "a b/0/0",
            "\0/0/0",
            long.as_str(),
        ] {
            assert_eq!(RecordPlace::parse(text), None, "{text:?}");
        }
    }
}
