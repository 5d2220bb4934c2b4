//! Times as the contract writes them: RFC 3339, UTC, milliseconds.

/// `2026-01-01T00:00:00.000Z`; a time outside the years 0000…9999 is written as the nearest of them.
pub(crate) fn text(unix_ms: i64) -> String {
    tally_engine::time::to_text(unix_ms)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_written_with_milliseconds_always() {
        assert_eq!(super::text(1_767_225_600_000), "2026-01-01T00:00:00.000Z");
        assert_eq!(super::text(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(super::text(253_402_300_799_000), "9999-12-31T23:59:59.000Z");
        assert_eq!(super::text(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(super::text(i64::MIN), "0000-01-01T00:00:00.000Z");
    }
}
