//! JSON strings: where one ends, whether its escapes are right, what it says.
//!
//! The bytes are UTF-8 already. Positions are indexes of the record; every function is total on any
//! index.

use crate::reason::Reason;

/// How strictly a string's escapes are judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Its text is read: surrogates must come in pairs.
    Read,
    /// It is only skipped: any `\uXXXX` will do, as the JSON grammar has it.
    Skipped,
}

/// A string's end and whether it holds escapes.
pub(super) struct Span {
    /// Index of the closing quote.
    pub(super) end: usize,
    /// Whether the raw bytes must be unescaped to be read.
    pub(super) escaped: bool,
}

/// The string whose first byte (after the opening quote) is at `start`.
#[inline(always)]
pub(super) fn string(bytes: &[u8], start: usize, how: Use) -> Result<Span, Reason> {
    let end = stop(bytes, start);
    match bytes.get(end) {
        Some(b'"') => Ok(Span { end, escaped: false }),
        Some(b'\\') => escaped_string(bytes, end, how),
        _ => Err(Reason::InvalidJson),
    }
}

#[cold]
fn escaped_string(bytes: &[u8], mut at: usize, how: Use) -> Result<Span, Reason> {
    loop {
        at = stop(bytes, at);
        match bytes.get(at) {
            Some(b'"') => {
                return Ok(Span { end: at, escaped: true });
            }
            Some(b'\\') => at = escape(bytes, at, how)?,
            _ => return Err(Reason::InvalidJson),
        }
    }
}

/// Checks the escape at `at` (its backslash), returns the index after it.
fn escape(bytes: &[u8], at: usize, how: Use) -> Result<usize, Reason> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let unit = hex4(bytes, at + 2).ok_or(Reason::InvalidJson)?;
            if how == Use::Skipped || !(0xD800..0xE000).contains(&unit) {
                return Ok(at + 6);
            }
            let low =
                if bytes.get(at + 6..at + 8) == Some(b"\\u") { hex4(bytes, at + 8) } else { None };
            match low {
                Some(low) if unit < 0xDC00 && (0xDC00..0xE000).contains(&low) => Ok(at + 12),
                _ => Err(Reason::InvalidJson),
            }
        }
        _ => Err(Reason::InvalidJson),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// The text of the raw bytes between the quotes of a string that [`string`] accepted for reading.
pub(super) fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    unescape_into(raw, &mut text);
    text
}

/// Appends the text that [`unescape`] returns.
pub(super) fn unescape_into(raw: &[u8], text: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            text.push(byte);
            at += 1;
            continue;
        }
        let simple = match raw.get(at + 1) {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (letter, length) = unicode(raw, at);
                text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                at += length;
                continue;
            }
            Some(&same) => same,
            None => break,
        };
        text.push(simple);
        at += 2;
    }
}

/// The character of the `\u` escape at `at` and the escape's length. A lone surrogate (never in
/// accepted text) is U+FFFD.
fn unicode(raw: &[u8], at: usize) -> (char, usize) {
    let unit = hex4(raw, at + 2).unwrap_or(0xFFFD);
    if let Some(letter) = char::from_u32(unit) {
        return (letter, 6);
    }
    let low = hex4(raw, at + 8).filter(|low| unit < 0xDC00 && (0xDC00..0xE000).contains(low));
    let pair =
        low.and_then(|low| char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)));
    pair.map_or((char::REPLACEMENT_CHARACTER, 6), |letter| (letter, 12))
}

/// Index of the first quote, backslash or control byte at or after `at`; the length where there is
/// none.
#[inline(always)]
fn stop(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let stops = stops(u64::from_le_bytes(*chunk));
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}

/// Not 0 iff one of eight bytes is a quote, a backslash or below 0x20; the lowest bit set is in the
/// first of them. (Borrows can set bits above it: A. Mycroft's test for a zero byte.)
#[inline(always)]
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES) & !(word ^ (ONES * 0x22));
    let backslash = (word ^ (ONES * 0x5C)).wrapping_sub(ONES) & !(word ^ (ONES * 0x5C));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<String> {
        let span = string(json.as_bytes(), 1, Use::Read).ok()?;
        let raw = &json.as_bytes()[1..span.end];
        Some(
            String::from_utf8(if span.escaped { unescape(raw) } else { raw.to_vec() })
                .expect("text is UTF-8"),
        )
    }

    #[test]
    fn reads_what_serde_reads() {
        let long = format!("\"{}\\n{}\"", "x".repeat(40), "ü".repeat(20));
        for json in [
            "\"\"",
            "\"a\"",
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u0041\u00fc\u20AC""#,
            r#""\ud83d\ude00 \uD83D\uDE00""#,
            "\"0123456789abcdef\"",
            &long,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\ude00""#,
            r#""\ud800\ud800""#,
            r#""\u12g4""#,
            r#""\x""#,
            r#""\"#,
            r#""abc"#,
            "\"a\u{1}\"",
            "\"0123456789abcdef0\n\"",
        ] {
            assert_eq!(read(json), serde_json::from_str::<String>(json).ok(), "{json}");
        }
    }

    #[test]
    fn a_skipped_string_may_hold_half_a_pair() {
        assert!(string(br#""\ud800""#, 1, Use::Skipped).is_ok());
        assert!(string(br#""\ud80""#, 1, Use::Skipped).is_err());
    }
}
