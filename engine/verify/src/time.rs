//! RFC 3339 to Unix milliseconds and back, by the calendar of `jiff`.

use jiff::Timestamp;
use jiff::civil::Date;

/// 0000-01-01T00:00:00.000Z, the first that RFC 3339 can write.
pub(super) const FIRST: i64 = -62_167_219_200_000;

/// 9999-12-31T23:59:59.999Z, the last.
pub(super) const LAST: i64 = 253_402_300_799_999;

/// 2200-01-01T00:00:00Z: no event lies here or later.
pub(super) const END: i64 = 7_258_118_400_000;

/// The moment that an RFC 3339 text names, or at which a date begins in UTC.
pub(super) fn date_or_millis(text: &str) -> Option<i64> {
    if text.len() == 10 { millis(&format!("{text}T00:00:00Z")) } else { millis(text) }
}

/// Milliseconds of `5m`, `48h`, `30d`.
pub(super) fn length(text: &str) -> Option<i64> {
    let unit = match text.chars().next_back()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 7 * 86_400_000,
        _ => return None,
    };
    text[..text.len() - 1].parse::<i64>().ok()?.checked_mul(unit)
}

/// The moment that an RFC 3339 text with zone names; fractions are cut, a leap second is the last
/// millisecond before it.
pub(super) fn millis(text: &str) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    // Its digits, and what stands between them.
    let shape: String = date_time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c.to_ascii_uppercase() })
        .collect();
    if !matches!(shape.as_str(), "0000-00-00T00:00:00" | "0000-00-00 00:00:00") {
        return None;
    }
    let year = date_time[..4].parse().ok()?;
    let two = |from: usize| date_time[from..from + 2].parse::<i8>().ok();
    // Civil dates alone: the library's moments end some hours before the last that RFC 3339 can
    // write.
    let days = Date::new(year, two(5)?, two(8)?)
        .ok()?
        .duration_since(Date::new(1970, 1, 1).ok()?)
        .as_hours()
        / 24;
    let (hour, minute, second) = (i64::from(two(11)?), i64::from(two(14)?), i64::from(two(17)?));
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leap = second == 60;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            if digits == 0 {
                return None;
            }
            rest.split_at(digits)
        }
    };
    let cut: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis: i64 = if leap { 999 } else { cut.parse().ok()? };
    let minutes = (days * 24 + hour) * 60 + minute - offset(zone)?;
    Some((minutes * 60 + second.min(59)) * 1_000 + millis)
}

/// `2026-01-01T00:00:00Z`; what the library has no moment for as it is.
pub(super) fn shown(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}

/// Minutes east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let shape: String = zone.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let sign = match shape.as_str() {
        "+00:00" => 1,
        "-00:00" => -1,
        _ => return None,
    };
    let (hours, minutes): (i64, i64) = (zone[1..3].parse().ok()?, zone[4..6].parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_dates_are_those_of_the_configuration() {
        assert_eq!(
            (length("5m"), length("2w"), length("x"), length("")),
            (Some(300_000), Some(1_209_600_000), None, None)
        );
        assert_eq!(
            (date_or_millis("1990-01-01"), date_or_millis("2200-01-01")),
            (Some(631_152_000_000), Some(END))
        );
    }

    #[test]
    fn what_is_rfc_3339_is_read_and_nothing_else() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2023-11-14t22:13:20.1z", Some(1_700_000_000_100)),
            ("2023-11-14 22:13:20.12399999999Z", Some(1_700_000_000_123)),
            ("2023-11-14T16:43:20-05:30", Some(1_700_000_000_000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2016-12-31T23:59:60.5Z", Some(1_483_228_799_999)),
            ("0000-01-01T00:00:00Z", Some(-62_167_219_200_000)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
            ("2023-02-29T00:00:00Z", None),
            ("2023-01-01T24:00:00Z", None),
            ("2023-01-01T00:00:61Z", None),
            ("2023-01-01T00:00:00", None),
            ("2023-01-01T00:00:00.Z", None),
            ("2023-01-01T00:00:00,5Z", None),
            ("2023-01-01T00:00:00+0100", None),
            ("2023-01-01T00:00:00+24:00", None),
            ("2023-01-01T00:00:00Z[UTC]", None),
            ("+023-01-01T00:00:00Z", None),
            ("２023-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
