//! Ids as text: of a URL, a file or a database column. The rules are the event's.
//!
//! Text of 1–64 bytes without control characters; the canonical decimal text of an integer of
//! 0…2⁵³−1 *is* that integer. Says nothing about whether the id exists.

use tally_plugin::read::Id;
use thiserror::Error;

/// The largest integer id, 2⁵³−1: exact in every JSON reader.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The text under which what is folded away is counted; no id.
const RESERVED: &str = "__other__";

/// Why a text cannot be an id. No retry helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdFault {
    /// Nothing there.
    #[error("an id must not be empty")]
    Empty,
    /// Over 64 bytes.
    #[error("an id must have at most 64 bytes")]
    TooLong,
    /// Control characters.
    #[error("an id must not contain control characters")]
    Control,
    /// `__other__`.
    #[error("\"__other__\" is reserved")]
    Reserved,
}

/// Reads an id.
///
/// # Errors
/// [`IdFault`].
pub fn parse(text: &str) -> Result<Id, IdFault> {
    match text {
        "" => return Err(IdFault::Empty),
        _ if text.len() > 64 => return Err(IdFault::TooLong),
        _ if text.chars().any(char::is_control) => return Err(IdFault::Control),
        RESERVED => return Err(IdFault::Reserved),
        _ => {}
    }
    Ok(integer(text).map_or_else(|| Id::Text(text.to_owned()), Id::Integer))
}

/// The text of an id; [`parse`] gives it back.
#[must_use]
pub fn text(id: &Id) -> String {
    match id {
        Id::Integer(number) => number.to_string(),
        Id::Text(text) => text.clone(),
    }
}

fn integer(text: &str) -> Option<u64> {
    let canonical =
        text == "0" || (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'));
    let number: u64 = if canonical {
        text.parse().ok()?
    } else {
        return None;
    };
    (number <= MAX_INTEGER).then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn canonical_integers_are_integers_and_all_else_is_text() {
        assert_eq!(parse("7"), Ok(Id::Integer(7)));
        assert_eq!(parse("0"), Ok(Id::Integer(0)));
        assert_eq!(parse("9007199254740991"), Ok(Id::Integer(MAX_INTEGER)));
        for other in
            ["07", "-1", "+1", "1.0", "9007199254740992", "99999999999999999999", "abc", " 7"]
        {
            assert_eq!(parse(other), Ok(Id::Text(other.into())), "{other}");
            assert_eq!(text(&parse(other).unwrap()), other);
        }
    }

    #[test]
    fn what_cannot_be_an_id_is_refused() {
        assert_eq!(parse(""), Err(IdFault::Empty));
        assert_eq!(parse(&"x".repeat(65)), Err(IdFault::TooLong));
        assert!(parse(&"x".repeat(64)).is_ok());
        assert_eq!(parse("a\0"), Err(IdFault::Control));
        assert_eq!(parse("__other__"), Err(IdFault::Reserved));
    }
}
