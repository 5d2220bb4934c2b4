//! Numbers of JSON, compared and divided exactly: an integer of 64 bits with a float, a decimal as
//! it is written.

use serde_json::Number;
use std::cmp::Ordering;

/// Whether a number has no fraction.
pub(crate) fn is_integer(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn float(number: &Number) -> f64 {
    // Every number of JSON that is not an integer of 64 bits is a finite float.
    number.as_f64().unwrap_or_default()
}

/// Their order as numbers: `1`, `1.0` and `1e0` are equal.
pub(crate) fn compare(one: &Number, other: &Number) -> Ordering {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(one), None) => compare_with_float(one, float(other)),
        (None, Some(other)) => compare_with_float(other, float(one)).reverse(),
        (None, None) => float(one).partial_cmp(&float(other)).unwrap_or(Ordering::Equal),
    }
}

fn compare_with_float(integer: i128, float: f64) -> Ordering {
    // An integer has at most 64 bits here; beyond 2⁶⁴ the sign decides. Below, the float's whole
    // part fits.
    if float.abs() > 18_446_744_073_709_551_616.0 {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    let whole = float.trunc();
    integer
        .cmp(&(whole as i128))
        .then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal))
}

/// Whether `number` is a whole multiple of `of`, both taken as the decimals that they are written
/// as: 0.3 is one of 0.1. `of` is above zero.
pub(crate) fn is_multiple(number: &Number, of: &Number) -> bool {
    let ((value, value_exponent), (divisor, exponent)) = (decimal(number), decimal(of));
    if value == 0 || divisor == 0 {
        return value == 0;
    }
    if value_exponent < exponent {
        // The divisor becomes longer; one that no longer fits is above the value, which is not
        // zero.
        let scale = 10_u128.checked_pow(exponent.abs_diff(value_exponent));
        return scale
            .and_then(|scale| divisor.checked_mul(scale))
            .is_some_and(|divisor| value % divisor == 0);
    }
    // value × 10ⁿ modulo the divisor. Both factors are below 2⁶⁴.
    let (mut power, mut left) = (10 % divisor, value_exponent.abs_diff(exponent));
    let mut rest = value % divisor;
    while left > 0 {
        if left % 2 == 1 {
            rest = rest * power % divisor;
        }
        power = power * power % divisor;
        left /= 2;
    }
    rest == 0
}

/// The digits of a number's absolute value, below 2⁶⁴, and the power of ten that they are
/// multiplied by.
fn decimal(number: &Number) -> (u128, i32) {
    if let Some(integer) = integer(number) {
        return (integer.unsigned_abs(), 0);
    }
    // The shortest text that is this float: at most 17 digits.
    let text = format!("{:e}", float(number).abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i32);
    let digits = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |all, digit| all * 10 + u128::from(digit - b'0'));
    (digits, exponent.parse().unwrap_or(0) - fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn number(text: &str) -> Number {
        match serde_json::from_str(text) {
            Ok(Value::Number(number)) => number,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn numbers_are_compared_exactly() {
        for (less, more) in [
            ("1", "1.5"),
            ("-1.5", "-1"),
            ("9007199254740992.0", "9007199254740993"),
            ("9223372036854775807", "9223372036854775808.0"),
            ("18446744073709551615", "18446744073709551616.0"),
            ("-9223372036854775809.0e1", "-9223372036854775808"),
            ("18446744073709551615", "1e300"),
            ("-1e300", "-9223372036854775808"),
        ] {
            assert_eq!(compare(&number(less), &number(more)), Ordering::Less, "{less} {more}");
            assert_eq!(compare(&number(more), &number(less)), Ordering::Greater, "{more} {less}");
        }
        for (one, other) in [
            ("1", "1.0"),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("9223372036854775808", "9223372036854775808.0"),
        ] {
            assert_eq!(compare(&number(one), &number(other)), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn multiples_are_those_of_the_decimals_as_written() {
        for (value, of, expected) in [
            ("0.3", "0.1", true),
            ("0.35", "0.1", false),
            ("4.02", "0.01", true),
            ("0", "0.7", true),
            ("-6", "3", true),
            ("7", "3", false),
            ("7.5", "2.5", true),
            ("1e300", "2", true),
            ("1e300", "3", false),
            ("1", "1e300", false),
            ("1e-300", "1e-301", true),
            ("1e-301", "1e-300", false),
            ("18446744073709551615", "18446744073709551615", true),
            ("18446744073709551614", "18446744073709551615", false),
            ("5e-324", "5e-324", true),
            ("1.7976931348623157e308", "5e-324", true),
            ("1.7976931348623157e308", "3e-323", false),
        ] {
            assert_eq!(is_multiple(&number(value), &number(of)), expected, "{value} of {of}");
        }
    }

    #[test]
    fn an_integer_has_no_fraction_however_it_is_written() {
        assert!(["1", "1.0", "1e300", "-0.0"].iter().all(|text| is_integer(&number(text))));
        assert!(["1.5", "-0.1", "1e-7"].iter().all(|text| !is_integer(&number(text))));
    }
}
