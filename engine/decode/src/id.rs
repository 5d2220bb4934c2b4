//! Ids: what a user, product or event id may be.

use super::format::{Number, Value};
use super::reason::{Field, Reason};
use tally_event::OTHER;

/// Integers from here on are no ids: beyond 2⁵³ − 1, JSON readers disagree on the value.
const INTEGER_END: u64 = 1 << 53;
/// Longest text id, bytes.
const MAX_TEXT: usize = 64;

/// A user or product id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id<'a> {
    Absent,
    Integer(u64),
    Text(&'a [u8]),
}

/// The id that a value is. `clean`: as in [`Fields`](super::format::Fields).
#[inline(always)]
pub(super) fn id<'a>(
    value: Value<'a>,
    field: Field,
    required: bool,
    clean: bool,
) -> Result<Id<'a>, Reason> {
    match value {
        Value::Text(text) => text_id(text, field, clean),
        Value::Number(Number::Natural(integer)) if integer < INTEGER_END => {
            Ok(Id::Integer(integer))
        }
        Value::Number(Number::Natural(_) | Number::Negative(_) | Number::Huge) => {
            Err(Reason::IdOutOfRange(field))
        }
        Value::Absent if required => Err(Reason::MissingField(field)),
        Value::Absent => Ok(Id::Absent),
        Value::Number(Number::Other) | Value::Other => Err(Reason::WrongType(field)),
    }
}

#[inline(always)]
fn text_id(text: &[u8], field: Field, clean: bool) -> Result<Id<'_>, Reason> {
    match canonical_integer(text) {
        Some(integer) => Ok(Id::Integer(integer)),
        None if is_text_id(text, clean) && *text != *OTHER.as_bytes() => Ok(Id::Text(text)),
        None => Err(Reason::IdOutOfRange(field)),
    }
}

/// The integer that a text is, if it is written without sign, leading zeros and exponent and can be
/// an id.
#[inline(always)]
fn canonical_integer(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        // 2⁵³ − 1 has 16 digits, so this cannot overflow.
        [b'1'..=b'9', rest @ ..] if rest.len() < 16 => {
            let digit = |byte: u8| {
                if byte.is_ascii_digit() { Some(u64::from(byte - b'0')) } else { None }
            };
            let value =
                text.iter().try_fold(0_u64, |value, &byte| Some(value * 10 + digit(byte)?))?;
            (value < INTEGER_END).then_some(value)
        }
        _ => None,
    }
}

/// 1–64 bytes without control characters (Unicode's `Cc`). `clean`: as in [`id`].
#[inline(always)]
pub(super) fn is_text_id(text: &[u8], clean: bool) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && (clean || !has_control(text))
}

#[cold]
fn has_control(text: &[u8]) -> bool {
    // C0 and DEL are one byte; C1 (U+0080–U+009F) is 0xC2 and that byte.
    text.iter().any(|&byte| byte < 0x20 || byte == 0x7F)
        || text.windows(2).any(|pair| pair[0] == 0xC2 && pair[1] < 0xA0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_integer_it_writes() {
        for (text, integer) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("9007199254740991", Some(INTEGER_END - 1)),
            ("9007199254740992", None),
            ("9999999999999999", None),
            ("99999999999999999999", None),
            ("01", None),
            ("00", None),
            ("-1", None),
            ("1.0", None),
            ("1a", None),
            ("+1", None),
            ("", None),
        ] {
            assert_eq!(canonical_integer(text.as_bytes()), integer, "{text}");
        }
    }

    #[test]
    fn control_characters_are_those_of_unicode() {
        for letter in (0..0x800).filter_map(char::from_u32) {
            let text = format!("a{letter}b");
            assert_eq!(is_text_id(text.as_bytes(), false), !letter.is_control(), "{letter:?}");
        }
    }
}
