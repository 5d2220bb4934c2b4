//! Foreign text made fit for a terminal and for one line of a log: what would move the cursor,
//! colour, hide or turn text round is written as an escape (`\u{1b}`), so that it is seen and does
//! nothing.
//!
//! Promises: no control character and no character that changes the direction of writing is left.
//! Does not judge what the rest says.

use std::borrow::Cow;

/// Whether a character does something to a terminal, or to the order in which other characters are
/// shown.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text on one line.
#[must_use]
pub fn tame(text: &str) -> Cow<'_, str> {
    escaped(text, is_active, push_escape)
}

/// The text with its lines and tabs as they are.
#[must_use]
pub fn tame_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_active(c) && c != '\n' && c != '\t', push_escape)
}

/// JSON as it is written to a log: line ends stand between records only, every other active
/// character is `\u001b`.
#[must_use]
pub fn tame_json(text: &str) -> Cow<'_, str> {
    // All of them are below 2¹⁶.
    let push = |tamed: &mut String, c: char| tamed.push_str(&format!("\\u{:04x}", u32::from(c)));
    escaped(text, |c| is_active(c) && c != '\n', push)
}

fn push_escape(tamed: &mut String, c: char) {
    tamed.extend(c.escape_default());
}

/// The text with its active characters as `push` appends them.
fn escaped(
    text: &str,
    active: impl Fn(char) -> bool + Copy,
    push: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(active) {
        return Cow::Borrowed(text);
    }
    let mut tamed = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match active(c) {
            true => push(&mut tamed, c),
            false => tamed.push(c),
        }
    }
    Cow::Owned(tamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_is_left_of_any_character() {
        for c in '\0'..=char::MAX {
            let text = format!("a{c}b");
            for (tamed, active) in
                [(tame(&text), is_active(c)), (tame_json(&text), is_active(c) && c != '\n')]
            {
                assert!(!tamed.contains(|c| is_active(c) && c != '\n'), "{c:?}");
                assert_eq!(active, tamed.len() > text.len(), "{c:?}");
            }
            assert!(
                !tame(&text).contains('\n')
                    && tame(&text).starts_with('a')
                    && tame(&text).ends_with('b')
            );
        }
    }

    #[test]
    fn what_is_escaped_can_be_read() {
        assert_eq!(tame("plain, ü, 漢字"), "plain, ü, 漢字");
        assert_eq!(tame("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(tame_lines("a\n\tb\u{9b}"), "a\n\tb\\u{9b}");
        assert_eq!(tame_json("{\"a\":\"\u{9b}\"}\n"), "{\"a\":\"\\u009b\"}\n");
        assert_eq!(tame("\u{202e}"), "\\u{202e}");
    }
}
