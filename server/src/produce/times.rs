//! Times as data sets write them, to the form of the API and back.

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

/// RFC 3339 UTC with milliseconds.
pub(crate) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

/// Unix milliseconds of `2019-10-01T00:00:00Z`, `2019-10-01 00:00:00 UTC`, `2019-10-01 00:00:00.123` (UTC where no zone
/// is written) or of an integer (Unix milliseconds, as in the API).
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(ms) = text.parse::<i64>() {
        return Timestamp::from_millisecond(ms).ok().map(Timestamp::as_millisecond);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let bare = text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")).unwrap_or(text).trim_end();
    let civil: DateTime = bare.parse().ok()?;
    // "2019-10-01" alone parses as midnight; a column of days is no column of times.
    if !bare.contains(':') {
        return None;
    }
    TimeZone::UTC.to_timestamp(civil).ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_data_sets() {
        let expected = Some(1_569_888_000_000);
        for text in [
            "2019-10-01 00:00:00 UTC",
            "2019-10-01T00:00:00Z",
            "2019-10-01 02:00:00+02:00",
            "2019-10-01 00:00:00",
            "1569888000000",
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse("2019-10-01 00:00:00.250 UTC"), Some(1_569_888_000_250));
        for text in ["", "yesterday", "2019-10-01", "2019-13-01 00:00:00 UTC", "99999999999999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(rfc3339(1_569_888_000_250), "2019-10-01T00:00:00.250Z");
    }
}
