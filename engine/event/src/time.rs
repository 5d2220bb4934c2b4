//! Times: the one grammar in which they are written, the range in which events may lie, and their
//! text.
//!
//! The whole grammar of RFC 3339 §5.6 is read here, not a dialect: what is valid must not change
//! with a library's version. Fractions are cut (not rounded) to milliseconds; a leap second is the
//! last millisecond before it. Events, questions, `metrics.toml` and `tally produce` all read times
//! by this module. It reads no clock.

use std::ops::Range;
use tally_plugin::values::civil;

/// 0000-01-01T00:00:00.000Z, the first time that RFC 3339 can write.
pub const FIRST_MS: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z, the last.
pub const LAST_MS: i64 = 253_402_300_799_999;

/// The times that an event can have: from the first that can be written up to 2200-01-01,
/// exclusive. `[events] earliest` narrows it. Whatever computes with event times must hold all of
/// it.
pub const EVENT_TIMES: Range<i64> = FIRST_MS..7_258_118_400_000;

/// Unix milliseconds of an RFC 3339 text with zone, or of a date (its start in UTC): how
/// `metrics.toml` writes a time.
#[must_use]
pub fn date_or_time(text: &str) -> Option<i64> {
    match text.len() {
        10 => rfc3339(format!("{text}T00:00:00Z").as_bytes()),
        _ => rfc3339(text.as_bytes()),
    }
}

/// Unix milliseconds of an RFC 3339 text with zone. `None` if it is none, or names no day or time
/// of day. A zone may move it up to a day beyond [`FIRST_MS`] and [`LAST_MS`].
#[must_use]
pub fn rfc3339(text: &[u8]) -> Option<i64> {
    let head = text.first_chunk::<19>()?;
    let rest = &text[19..];
    if head[4] != b'-'
        || head[7] != b'-'
        || !matches!(head[10], b'T' | b't' | b' ')
        || head[13] != b':'
        || head[16] != b':'
    {
        return None;
    }
    let year = two(head, 0)? * 100 + two(head, 2)?;
    let (month, day) = (two(head, 5)?, two(head, 8)?);
    let (hour, minute, second) = (two(head, 11)?, two(head, 14)?, two(head, 17)?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(year, month)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (mut milliseconds, zone) = fraction(rest)?;
    let mut second = second;
    if second == 60 {
        (second, milliseconds) = (59, 999);
    }
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - offset_minutes(zone)?;
    Some((minutes * 60 + second) * 1_000 + milliseconds)
}

/// The minute of the last text in the usual form, `YYYY-MM-DDTHH:MM:SS.mmmZ`: the next one's is
/// mostly the same.
#[derive(Clone, Copy, Debug)]
pub struct Minute {
    /// Up to the second, as it is written.
    text: [u8; 17],
    /// Its start, Unix milliseconds.
    start: i64,
}

impl Default for Minute {
    fn default() -> Self {
        // no text: UTF-8 never has such bytes
        Minute { text: [0xFF; 17], start: 0 }
    }
}

impl Minute {
    /// As [`rfc3339`] says, whatever came before.
    #[inline]
    pub fn rfc3339(&mut self, text: &[u8]) -> Option<i64> {
        let Some(usual) =
            <&[u8; 24]>::try_from(text).ok().filter(|text| text[19] == b'.' && text[23] == b'Z')
        else {
            return rfc3339(text);
        };
        if usual.first_chunk() == Some(&self.text)
            && let (Some(second @ 0..60), Some(tens)) = (two(text, 17), two(text, 20))
            && usual[22].is_ascii_digit()
        {
            return Some(self.start + second * 1_000 + tens * 10 + i64::from(usual[22] - b'0'));
        }
        let time = rfc3339(text)?;
        if let Some(text) = usual.first_chunk() {
            *self = Minute { text: *text, start: time.div_euclid(60_000) * 60_000 };
        }
        Some(time)
    }
}

#[inline(always)]
fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(i64::from(tens) * 10 + i64::from(ones)) }
}

/// The milliseconds of an optional `.digits`, and what follows.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = rest.split_first() else {
        return Some((0, rest));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let digit = |n: usize| {
        if n < count { i64::from(digits[n] - b'0') } else { 0 }
    };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &digits[count..]))
}

fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
            let offset = if hours > 23 || minutes > 59 { None } else { Some(hours * 60 + minutes) };
            offset.map(|offset| if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (H. Hinnant,
/// "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// RFC 3339 in UTC with milliseconds. Times outside of what it can write are shown as the nearest
/// that it can.
#[must_use]
pub fn to_text(time_ms: i64) -> String {
    let time = time_ms.clamp(FIRST_MS, LAST_MS);
    let (day, millis) = (time.div_euclid(86_400_000), time.rem_euclid(86_400_000));
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        millis % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_rfc_3339_and_nothing_else() {
        let good = [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
            ("2023-11-14t22:13:20.1z", 1_700_000_000_100),
            ("2023-11-14 22:13:20.12399999999Z", 1_700_000_000_123),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
            ("2023-11-14T16:43:20-05:30", 1_700_000_000_000),
            ("2023-11-14T22:13:20-00:00", 1_700_000_000_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999),
            ("2016-12-31T23:59:60.5Z", 1_483_228_799_999),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("0000-01-01T00:00:00Z", FIRST_MS),
            ("9999-12-31T23:59:59.999Z", LAST_MS),
        ];
        for (text, ms) in good {
            assert_eq!(rfc3339(text.as_bytes()), Some(ms), "{text}");
        }
        let bad = [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13Z",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:60:00Z",
            "2023-01-01T00:00:61Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00,5Z",
            "2023-01-01T00:00:00+24:00",
            "2023-01-01T00:00:00+01:60",
            "2023-01-01T00:00:00+0100",
            "2023-01-01T00:00:00+01",
            "2023-01-01T00:00:00Z[UTC]",
            "2023-01-01T00:00:00ZZ",
            "+2023-01-01T00:00:00Z",
            "2023-1-01T00:00:00Z",
            "20230101T000000Z",
            "2023-01-01T00:00:00 Z",
            "2023-01-01T00:00:0aZ",
            "２023-01-01T00:00:00Z",
        ];
        for text in bad {
            assert_eq!(rfc3339(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn is_written_with_milliseconds_always() {
        assert_eq!(to_text(1_767_225_600_000), "2026-01-01T00:00:00.000Z");
        assert_eq!(to_text(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn the_range_of_events_ends_with_2199_and_dates_are_days() {
        assert_eq!(to_text(EVENT_TIMES.end), "2200-01-01T00:00:00.000Z");
        assert_eq!(to_text(LAST_MS + 1), "9999-12-31T23:59:59.999Z");
        assert_eq!(to_text(FIRST_MS - 1), "0000-01-01T00:00:00.000Z");
        assert_eq!(date_or_time("1990-01-01"), Some(631_152_000_000));
        assert_eq!(date_or_time("1990-01-01T01:00:00+01:00"), Some(631_152_000_000));
        for text in ["", "1990", "1990-13-01", "1990-01-01 ", "1990-01-01T00:00:00", "soon"] {
            assert_eq!(date_or_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(ms in FIRST_MS..=LAST_MS, minutes in -1_439_i64..1_440) {
            let text = to_text(ms);
            prop_assert_eq!(rfc3339(text.as_bytes()), Some(ms));
            // The library has no moments for the last hours of the year 9999.
            if let Ok(jiff) = jiff::Timestamp::from_millisecond(ms) {
                prop_assert_eq!(&text, &format!("{jiff:.3}"));
            }
            // The same moment written in another zone, where the local year can still be written.
            let local = ms + minutes * 60_000;
            if (FIRST_MS..=LAST_MS).contains(&local) {
                let sign = if minutes < 0 { '-' } else { '+' };
                let zoned = format!("{}{sign}{:02}:{:02}", to_text(local).trim_end_matches('Z'), minutes.abs() / 60, minutes.abs() % 60);
                prop_assert_eq!(rfc3339(zoned.as_bytes()), Some(ms));
            }
        }

        /// One letter of a usual text changed: its minute is known from the text itself, and must
        /// not be taken for another's.
        #[test]
        fn the_last_minute_changes_nothing(ms in FIRST_MS..=LAST_MS, at in 0_usize..24, letter in "[0-9:.TZz+ a-]", step in 0_i64..100_000) {
            let text = to_text(ms);
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            let mut minute = Minute::default();
            for text in [text, changed, to_text(ms.saturating_add(step).min(LAST_MS)), to_text(ms)] {
                prop_assert_eq!(minute.rfc3339(text.as_bytes()), rfc3339(text.as_bytes()), "{}", text);
            }
        }

        #[test]
        fn what_is_read_is_what_jiff_reads(year in 0_i64..10_000, month in 0_i64..14, day in 0_i64..33, hour in 0_i64..25, minute in 0_i64..61, second in 0_i64..60) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
            let jiff = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
            prop_assert_eq!(rfc3339(text.as_bytes()), jiff);
        }
    }
}
