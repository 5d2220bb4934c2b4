//! JSON numbers: the grammar, and the value of those that are integers.
//!
//! A number without a fraction is an integer however it is written (`5.0`, `1e1`, `-0`). What is
//! written with a point or an exponent is only recognised while a record is scanned; its value is
//! looked at where a field is read from it.

use crate::format::Number;
use crate::reason::Reason;
use tally_plugin::property::integer;

/// What a number is, its value looked at. `scanned`: what [`number`] found; of it, all that is
/// written with a point or an exponent, and `-0`, is [`Number::Other`] until here.
#[inline(always)]
pub(super) fn settled(scanned: Number, written: &[u8]) -> Number {
    if scanned == Number::Other { whole(written) } else { scanned }
}

/// A number of JSON's grammar, by its value.
#[cold]
fn whole(written: &[u8]) -> Number {
    match integer(written) {
        Some(value) => u64::try_from(value).map_or(Number::Negative(value), Number::Natural),
        None if is_whole(written) => Number::Huge,
        None => Number::Other,
    }
}

/// Whether the digits that are not zero all stand before the point, once the exponent has moved it.
fn is_whole(written: &[u8]) -> bool {
    let (mantissa, exponent) = match written.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&written[..at], &written[at + 1..]),
        None => (written, &b"0"[..]),
    };
    // A record has fewer digits than an exponent beyond 32 bits moves the point.
    let limit = if exponent.first() == Some(&b'-') { i32::MIN } else { i32::MAX };
    let exponent =
        std::str::from_utf8(exponent).ok().and_then(|text| text.parse().ok()).unwrap_or(limit);
    let behind: &[u8] = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(point) => &mantissa[point + 1..],
        None => &[],
    };
    let zeros =
        |digits: &[u8]| digits.iter().rev().take_while(|byte| **byte == b'0').count() as i64;
    let needed = match behind.len() as i64 - zeros(behind) {
        0 => -zeros(&mantissa[..mantissa.len() - behind.len() - usize::from(!behind.is_empty())]),
        places => places,
    };
    i64::from(exponent) >= needed
}

/// The number at `start` (a digit or a minus sign) and the index after it.
#[inline(always)]
pub(super) fn number(bytes: &[u8], start: usize) -> Result<(Number, usize), Reason> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (value, mut at) = digits(bytes, first);
    let length = at - first;
    // No digit, or a leading zero before others.
    if length == 0 || (length > 1 && bytes.get(first) == Some(&b'0')) {
        return Err(Reason::InvalidJson);
    }
    if let Some(b'.' | b'e' | b'E') = bytes.get(at) {
        at = fraction_and_exponent(bytes, at)?;
        return Ok((Number::Other, at));
    }
    let number = match value {
        None => Number::Huge,
        Some(value) if !negative => Number::Natural(value),
        Some(0) => Number::Other,
        Some(value) => 0_i64.checked_sub_unsigned(value).map_or(Number::Huge, Number::Negative),
    };
    Ok((number, at))
}

/// The digits from `at` on: their value (`None` beyond 64 bits) and the index after them.
#[inline(always)]
fn digits(bytes: &[u8], start: usize) -> (Option<u64>, usize) {
    let mut at = start;
    let mut value: u64 = 0;
    if let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>())
        && let Some(eight) = eight_digits(u64::from_le_bytes(*chunk))
    {
        value = eight;
        at += 8;
    }
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        // 19 digits always fit 64 bits.
        if at - start >= 19 {
            return long_digits(bytes, at, value);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    (Some(value), at)
}

#[cold]
fn long_digits(bytes: &[u8], mut at: usize, value: u64) -> (Option<u64>, usize) {
    let mut value = Some(value);
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        value = value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        at += 1;
    }
    (value, at)
}

/// The value of eight ASCII digits (the first in the lowest byte), if they are such.
#[inline(always)]
fn eight_digits(word: u64) -> Option<u64> {
    // Below '0' the subtraction borrows into bit 7 or the addition of 0x46 to a byte above '9' sets
    // it.
    let low = word.wrapping_sub(0x3030_3030_3030_3030);
    let high = word.wrapping_add(0x4646_4646_4646_4646);
    if (low | high) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = low.wrapping_mul(10).wrapping_add(low >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF)
}

fn fraction_and_exponent(bytes: &[u8], mut at: usize) -> Result<usize, Reason> {
    if bytes.get(at) == Some(&b'.') {
        at = some_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = some_digits(bytes, at)?;
    }
    Ok(at)
}

fn some_digits(bytes: &[u8], start: usize) -> Result<usize, Reason> {
    let rest = bytes.get(start..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(Reason::InvalidJson) } else { Ok(start + count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_to_their_ends() {
        for (text, number_) in [
            ("0", Number::Natural(0)),
            ("7", Number::Natural(7)),
            ("12345678", Number::Natural(12_345_678)),
            ("1700000000000", Number::Natural(1_700_000_000_000)),
            ("9999999999999999999", Number::Natural(9_999_999_999_999_999_999)),
            ("18446744073709551615", Number::Natural(u64::MAX)),
            ("18446744073709551616", Number::Huge),
            ("100000000000000000000000", Number::Huge),
            ("-1", Number::Negative(-1)),
            ("-9223372036854775808", Number::Negative(i64::MIN)),
            ("-9223372036854775809", Number::Huge),
            ("-0", Number::Other),
            ("1.0", Number::Other),
            ("1e3", Number::Other),
            ("-1.5E-10", Number::Other),
        ] {
            for after in ["", "}", ", 123456789"] {
                let bytes = format!("{text}{after}");
                assert_eq!(number(bytes.as_bytes(), 0), Ok((number_, text.len())), "{bytes}");
            }
        }
        for text in ["-", "01", "-01", "00", "1.", "1.e3", "1e", "1e+", "-a", "0123456789012"] {
            assert_eq!(number(text.as_bytes(), 0), Err(Reason::InvalidJson), "{text}");
        }
    }

    #[test]
    fn what_has_no_fraction_is_an_integer_however_it_is_written() {
        for (text, expected) in [
            ("5.0", Number::Natural(5)),
            ("1e1", Number::Natural(10)),
            ("1.70e12", Number::Natural(1_700_000_000_000)),
            ("1500e-2", Number::Natural(15)),
            ("-0", Number::Natural(0)),
            ("-0.0e5", Number::Natural(0)),
            ("-5.00", Number::Negative(-5)),
            ("9007199254740991.0", Number::Natural((1 << 53) - 1)),
            ("1e19", Number::Huge),
            ("1e400", Number::Huge),
            ("-1.5e99999999999", Number::Huge),
            ("1230000000000000000000000000e-2", Number::Huge),
            ("1.5", Number::Other),
            ("1e-1", Number::Other),
            ("15e-2", Number::Other),
            ("1e-99999999999", Number::Other),
            ("123456789012345678901234567890.5", Number::Other),
            ("7", Number::Natural(7)),
        ] {
            let (number, _) = number(text.as_bytes(), 0).unwrap_or((Number::Huge, 0));
            assert_eq!(settled(number, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn eight_digits_are_digits() {
        for place in 0..8 {
            for byte in 0..=255_u8 {
                let mut text = *b"90817263";
                text[place] = byte;
                let expected = std::str::from_utf8(&text)
                    .ok()
                    .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|text| text.parse().ok());
                assert_eq!(eight_digits(u64::from_le_bytes(text)), expected);
            }
        }
    }
}
