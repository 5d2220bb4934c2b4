//! What a declared property of a record is, read a second time by the rules of
//! `tally_plugin::description`.
//!
//! JSON is walked by `serde_json` one level at a time; numbers are taken apart digit by digit, so
//! that they are exact. What is absent, or something else than declared, is `None`, and never a
//! reason to refuse a record.

use super::members::Members;
use super::time;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest text, bytes.
const LONGEST: usize = 255;

/// A scaled decimal has at most so many digits.
const DIGITS: i64 = 28;

/// A property as a metric declares it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Property {
    pub(super) name: String,
    /// A JSON pointer.
    pub(super) pointer: String,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
}

/// What a property is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
    /// Digits after the point.
    Decimal(u8),
    Bool,
    Time,
}

/// A value of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// An integer id.
    Id(u64),
    Text(String),
    /// An integer, a scaled decimal, a time.
    Whole(i128),
    Float(f64),
    Bool(bool),
}

/// What a property of a record is read as: its keys and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PropertyReader {
    pub(super) keys: Vec<String>,
    pub(super) kind: Kind,
}

impl PropertyReader {
    /// The value in a record. `None`: a null.
    pub(super) fn of(&self, record: &RawValue) -> Option<Scalar> {
        let value = self.keys.iter().try_fold(record, |value, key| member(value, key))?;
        scalar(value, self.kind)
    }
}

/// The keys of a JSON pointer.
///
/// # Errors
/// A sentence: it is none.
pub(super) fn keys(pointer: &str) -> Result<Vec<String>, String> {
    let path =
        pointer.strip_prefix('/').ok_or_else(|| format!("{pointer:?} is not a JSON pointer"))?;
    Ok(path.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect())
}

/// The member of an object, or the item of an array, that a key names; of several the last.
fn member<'a>(container: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    match container.get().as_bytes().first()? {
        b'{' => {
            let Members(members): Members<'_, &RawValue> =
                serde_json::from_str(container.get()).ok()?;
            // A key that is no text (half a character) is nobody's.
            let named =
                |(name, _): &&(&RawValue, &RawValue)| text(name).is_some_and(|name| name == key);
            members.iter().rev().find(named).map(|(_, value)| *value)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(container.get()).ok()?;
            let index: usize = key.parse().ok().filter(|index: &usize| index.to_string() == key)?;
            items.get(index).copied()
        }
        _ => None,
    }
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn scalar(value: &RawValue, kind: Kind) -> Option<Scalar> {
    let json = value.get();
    let number =
        json.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(json);
    match kind {
        Kind::Text => text(value).filter(|text| text.len() <= LONGEST).map(Scalar::Text),
        Kind::Integer => integer(number?).map(|value| Scalar::Whole(value.into())),
        Kind::Float => {
            number?.parse().ok().filter(|value: &f64| value.is_finite()).map(Scalar::Float)
        }
        Kind::Decimal(scale) => match number {
            Some(number) => decimal(number, scale),
            None => decimal(&text(value)?, scale),
        }
        .map(Scalar::Whole),
        Kind::Bool => serde_json::from_str(json).ok().map(Scalar::Bool),
        Kind::Time => match number {
            Some(number) => {
                integer(number).filter(|time| (time::FIRST..=time::LAST).contains(time))
            }
            None => time::millis(&text(value)?),
        }
        .map(|time| Scalar::Whole(time.into())),
    }
}

/// A number as it is written, times 10 to `scale`: its sign, its digits, and how many of them stand
/// before the point.
fn parts(number: &str, scale: u8) -> Option<(bool, String, i64)> {
    // JSON's grammar and nothing around it.
    let whole: &RawValue = serde_json::from_str(number).ok()?;
    if whole.get() != number || !number.ends_with(|last: char| last.is_ascii_digit()) {
        return None;
    }
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !before.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    // A record has fewer digits than an exponent beyond 32 bits moves the point.
    let exponent: i64 = exponent
        .parse::<i32>()
        .unwrap_or(if exponent.starts_with('-') { i32::MIN } else { i32::MAX })
        .into();
    let digits = format!("{before}{after}");
    let significant = digits.trim_start_matches('0');
    let zeros = (digits.len() - significant.len()) as i64;
    Some((
        negative,
        significant.to_owned(),
        before.len() as i64 - zeros + exponent + i64::from(scale),
    ))
}

/// The digits before the point, as a number below 10³⁸.
fn before(digits: &str, point: i64) -> i128 {
    let place =
        |n: i64| digits.as_bytes().get(n as usize).map_or(0, |digit| i128::from(digit - b'0'));
    (0..point.min(38)).fold(0, |value, n| value * 10 + place(n))
}

/// Times 10 to `scale`, halves away from zero; below 10²⁸.
fn decimal(number: &str, scale: u8) -> Option<i128> {
    let (negative, digits, point) = parts(number, scale)?;
    if digits.is_empty() || point < 0 {
        return Some(0);
    }
    if point > DIGITS {
        return None;
    }
    let up = digits.as_bytes().get(point as usize).is_some_and(|digit| *digit >= b'5');
    let value = before(&digits, point) + i128::from(up);
    (value < 10_i128.pow(DIGITS as u32)).then_some(if negative { -value } else { value })
}

/// Without a fraction, however it is written; in 64 bits.
pub(super) fn integer(number: &str) -> Option<i64> {
    let (negative, digits, point) = parts(number, 0)?;
    if digits.is_empty() {
        return Some(0);
    }
    let fraction = digits.get(point.max(0) as usize..).unwrap_or_default();
    if point > 19 || fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let value = before(&digits, point);
    i64::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
#[path = "property_tests.rs"]
mod tests;
