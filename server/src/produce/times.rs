//! Times as files write them: by the grammar of events, with two liberties that files need.

use tally_engine::time::{rfc3339, to_text};

/// RFC 3339 UTC with milliseconds.
pub(crate) fn text(ms: i64) -> String {
    to_text(ms)
}

/// Unix milliseconds of an RFC 3339 text with zone; `UTC` or `GMT` at its end (`2019-10-01 00:00:00
/// UTC`) is a zone too. `untyped`: it is a cell that cannot say that it is a number, so that digits
/// are Unix milliseconds.
pub(crate) fn parse(text: &str, untyped: bool) -> Option<i64> {
    if untyped && let Ok(ms) = text.parse() {
        return Some(ms);
    }
    match text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")) {
        Some(bare) => rfc3339(format!("{}Z", bare.trim_end()).as_bytes()),
        None => rfc3339(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_events_may_say_and_the_zones_of_files() {
        let expected = Some(1_569_888_000_000);
        for text in [
            "2019-10-01 00:00:00 UTC",
            "2019-10-01T00:00:00Z",
            "2019-10-01 02:00:00+02:00",
            "2019-10-01T00:00:00.000 GMT",
        ] {
            assert_eq!(parse(text, false), expected, "{text}");
        }
        assert_eq!(parse("2019-10-01 00:00:00.250999999999 UTC", false), Some(1_569_888_000_250));
        assert_eq!((parse("1569888000000", true), parse("1569888000000", false)), (expected, None));
        for text in [
            "",
            "yesterday",
            "2019-10-01",
            "2019-10-01 00:00:00",
            "2019-10-01T00:00:00+0200",
            "20191001T000000Z",
            "2019-13-01 00:00:00 UTC",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text, true), None, "{text}");
        }
        assert_eq!(self::text(1_569_888_000_250), "2019-10-01T00:00:00.250Z");
    }
}
