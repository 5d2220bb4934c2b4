//! Numbers as they are written in events, exactly.

/// Magnitude that a scaled decimal stays below: 2³³ of the largest add up in 128 bits.
pub const DECIMAL_END: i128 = 10_i128.pow(28);

/// Largest number of digits after the point of a declared decimal.
pub const LARGEST_SCALE: u8 = 18;

/// Longest text of a property or a computed key, bytes.
pub const LONGEST_TEXT: usize = 255;

/// A number of JSON's grammar times 10 to `scale`, rounded to a whole number, halves away from
/// zero; and whether nothing had to be rounded. `None`: it is no such number, or not below
/// [`DECIMAL_END`].
#[must_use]
pub fn scaled(text: &[u8], scale: u8) -> Option<(i128, bool)> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole == 0 || (whole > 1 && digits[0] == b'0') {
        return None;
    }
    let (whole, mut rest) = digits.split_at(whole);
    let mut fraction: &[u8] = &[];
    if let Some((b'.', after)) = rest.split_first() {
        let length = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        (fraction, rest) = after.split_at(length);
    }
    let exponent = exponent(rest)?;
    // Significant digits beyond 37 decide no rounding that anybody could check; only that there are
    // some is kept.
    let (mut value, mut power, mut cut) = (0_i128, i64::from(scale) + exponent, false);
    let end = 10_i128.pow(37);
    for (n, digit) in whole.iter().chain(fraction).enumerate() {
        let behind = n >= whole.len();
        if value < end {
            value = value * 10 + i128::from(digit - b'0');
            power -= i64::from(behind);
        } else {
            cut |= *digit != b'0';
            power += i64::from(!behind);
        }
    }
    let mut exact = !cut;
    if value == 0 {
        return Some((0, true));
    }
    if power >= 0 {
        let factor = 10_i128.checked_pow(u32::try_from(power).ok()?)?;
        value = value.checked_mul(factor)?;
    } else {
        let divisor = u32::try_from(-power).ok().and_then(|power| 10_i128.checked_pow(power));
        let Some(divisor) = divisor else { return Some((0, false)) };
        let (quotient, left) = (value / divisor, value % divisor);
        exact &= left == 0;
        value = quotient + i128::from(left >= divisor - left);
    }
    (value < DECIMAL_END).then_some((if negative { -value } else { value }, exact))
}

/// The exponent at the end of a number, 0 where there is none. One of more than six digits is as
/// good as a million.
fn exponent(rest: &[u8]) -> Option<i64> {
    let Some((b'e' | b'E', rest)) = rest.split_first() else {
        return rest.is_empty().then_some(0);
    };
    let (negative, digits) = match rest.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000));
    Some(if negative { -value } else { value })
}

/// A JSON number that is whole and fits 64 bits.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    scaled(text, 0).filter(|(_, exact)| *exact).and_then(|(value, _)| i64::try_from(value).ok())
}

/// A JSON number as the nearest float; `None` beyond the largest.
#[must_use]
pub fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, scale, value) in [
            ("0", 2, Some((0, true))),
            ("12.5", 2, Some((1_250, true))),
            ("-12.50", 1, Some((-125, true))),
            ("0.1", 18, Some((100_000_000_000_000_000, true))),
            ("1e3", 2, Some((100_000, true))),
            ("1.5E-1", 2, Some((15, true))),
            ("0.005", 2, Some((1, false))),
            ("0.0049999", 2, Some((0, false))),
            ("-0.005", 2, Some((-1, false))),
            ("2.675", 2, Some((268, false))),
            ("1e-400", 2, Some((0, false))),
            ("0e999999999999", 2, Some((0, true))),
            ("0.00000000000000000000000000000000000000000000001e47", 0, Some((1, true))),
            ("10000000000000000000000000000000000000000000e-42", 0, Some((10, true))),
            ("9999999999999999999999999999", 0, Some((DECIMAL_END - 1, true))),
            ("9999999999999999999999999999.5", 0, None),
            ("1e28", 0, None),
            ("1e400", 0, None),
            ("1e99999999999999999999", 0, None),
            ("", 0, None),
            ("-", 0, None),
            ("01", 0, None),
            ("1.", 0, None),
            (".5", 0, None),
            ("1e", 0, None),
            ("1x", 0, None),
            ("NaN", 0, None),
            (" 1", 0, None),
        ] {
            assert_eq!(scaled(text.as_bytes(), scale), value, "{text}");
        }
    }

    #[test]
    fn integers_and_floats_are_what_fits() {
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), None);
        assert_eq!((integer(b"3.0"), integer(b"3e2"), integer(b"3.5")), (Some(3), Some(300), None));
        assert_eq!((float(b"1e308"), float(b"1e309"), float(b"-1e309")), (Some(1e308), None, None));
    }
}
