//! Times as the contract writes them: RFC 3339, UTC, milliseconds.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// `2026-01-01T00:00:00.000Z`; a time outside the years −9999…9999 is written as the nearest of them.
pub(crate) fn text(unix_ms: i64) -> String {
    let time =
        Timestamp::from_millisecond(unix_ms).unwrap_or(if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX });
    PRINTER.timestamp_to_string(&time)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_written_with_milliseconds_always() {
        assert_eq!(super::text(1_767_225_600_000), "2026-01-01T00:00:00.000Z");
        assert_eq!(super::text(-1), "1969-12-31T23:59:59.999Z");
        assert!(super::text(i64::MAX).starts_with("9999-12-3"));
        assert!(super::text(i64::MIN).starts_with("-009999-01-0"));
    }
}
