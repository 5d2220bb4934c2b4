//! Lengths of time as people write them: `"48h"`, `"30d"`, `"all"`.

use super::secret::quoted;
use std::time::Duration;
use thiserror::Error;

/// The form, for messages.
const FORM: &str = "a number and one of s, m, h, d, w (\"48h\", \"30d\")";

/// Why a text is not a length of time: a sentence that begins with the text. Trying again does not
/// help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationFault {
    /// It has another form. The text, as it may be shown.
    #[error("{0} is not a duration; write {FORM}")]
    Form(String),
    /// It is zero.
    #[error("{text:?} is zero; write at least \"1{unit}\"")]
    Zero {
        /// The text.
        text: String,
        /// Its unit.
        unit: char,
    },
}

/// Why a text does not say how long something is kept. As [`DurationFault`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}, or \"all\"")]
pub struct RetentionFault(DurationFault);

/// Reads a length of time: a positive whole number of at most nine digits and a unit `s m h d w`.
///
/// # Errors
/// [`DurationFault`].
pub fn parse(text: &str) -> Result<Duration, DurationFault> {
    let fault = || DurationFault::Form(quoted(text));
    let unit = text.chars().next_back().ok_or_else(fault)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(fault()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault());
    }
    let number: u64 = digits.parse().map_err(|_| fault())?;
    if number == 0 {
        return Err(DurationFault::Zero { text: text.to_owned(), unit });
    }
    // At most 10⁹ × 604,800, far below u64.
    Ok(Duration::from_secs(number * seconds))
}

/// Reads how long something is kept: a length of time, or `"all"` (`None`). There is no other
/// grammar: whoever keeps something reads it here.
///
/// # Errors
/// [`RetentionFault`].
pub fn parse_retention(text: &str) -> Result<Option<Duration>, RetentionFault> {
    if text == "all" {
        return Ok(None);
    }
    parse(text).map(Some).map_err(RetentionFault)
}

/// As [`parse_retention`], in milliseconds.
///
/// # Errors
/// [`RetentionFault`].
pub fn retention_ms(text: &str) -> Result<Option<i64>, RetentionFault> {
    // At most 10⁹ × 604,800,000, far below 2⁶³.
    Ok(parse_retention(text)?.map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("48h").unwrap(), Duration::from_secs(48 * 3_600));
        assert_eq!(parse("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(parse_retention("all").unwrap(), None);
        assert_eq!(parse_retention("2w").unwrap(), Some(Duration::from_secs(1_209_600)));
    }

    #[test]
    fn refuses_the_rest_without_panic() {
        for text in
            ["", "h", "0h", "-1h", "1", "1.5h", "1 h", "1y", "9999999999d", "3ü", "all", "+1h"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["", "ALL", "0d", "30"] {
            assert!(parse_retention(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let said = |text: &str| parse_retention(text).unwrap_err().to_string();
        assert_eq!(said("30"), format!("\"30\" is not a duration; write {FORM}, or \"all\""));
        assert_eq!(said("0d"), "\"0d\" is zero; write at least \"1d\", or \"all\"");
    }
}
