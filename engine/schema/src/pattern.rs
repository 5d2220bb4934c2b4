//! Regular expressions as JSON Schema has them (ECMA-262), matched in linear time.
//!
//! What the dialects write alike and mean otherwise is translated: `\d \w \s` are those of ASCII
//! and ECMA, a class knows no set operators, `.` stops at every line end. Look-around and
//! back-references, which no matcher runs in linear time, are refused.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled expression, and of what is kept while it is matched.
const LARGEST: usize = 1 << 20;

/// ECMA's white space and line ends, as the inside of a class.
const SPACE: &str =
    r"\t-\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// An expression that is found somewhere in a text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    regex: Regex,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it, or cannot be matched, as the end of a sentence.
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        let translated = translated(text).ok_or("an escape or class in it is not complete")?;
        let regex =
            RegexBuilder::new(&translated).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        let regex = regex.map_err(|fault| match fault {
            regex::Error::CompiledTooBig(_) => {
                "it is too large; write it shorter, with smaller repetitions".to_owned()
            }
            fault => fault
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        })?;
        Ok(Pattern { text: text.to_owned(), regex })
    }

    #[inline]
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// The expression in the dialect of the crate `regex`; `None`: it ends too early.
fn translated(text: &str) -> Option<String> {
    let mut to = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match char {
            '\\' => escape(&mut rest, &mut to, false)?,
            '[' => class(&mut rest, &mut to)?,
            '.' => to.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            char => to.push(char),
        }
    }
    Some(to)
}

/// What comes after a backslash.
fn escape(rest: &mut std::str::Chars<'_>, to: &mut String, in_class: bool) -> Option<()> {
    match rest.next()? {
        'd' => to.push_str("[0-9]"),
        'D' => to.push_str("[^0-9]"),
        'w' => to.push_str("[A-Za-z0-9_]"),
        'W' => to.push_str("[^A-Za-z0-9_]"),
        's' => to.push_str(&format!("[{SPACE}]")),
        'S' => to.push_str(&format!("[^{SPACE}]")),
        'b' if in_class => to.push_str(r"\x08"),
        'b' => to.push_str(r"(?-u:\b)"),
        '0' => to.push_str(r"\x00"),
        'c' => {
            let letter = rest.next().filter(char::is_ascii_alphabetic)?;
            to.push_str(&format!(r"\x{:02x}", letter as u32 % 32));
        }
        other => to.extend(['\\', other]),
    }
    Some(())
}

/// What comes after the bracket that opens a class. Its characters are written so that none of them
/// is an operator.
fn class(rest: &mut std::str::Chars<'_>, to: &mut String) -> Option<()> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    if rest.as_str().starts_with(']') {
        rest.next();
        // Nothing, or everything.
        to.push_str(if negated { r"[\x00-\u{10ffff}]" } else { r"[^\x00-\u{10ffff}]" });
        return Some(());
    }
    to.push_str(if negated { "[^" } else { "[" });
    loop {
        if rest.as_str().starts_with(']') {
            rest.next();
            to.push(']');
            return Some(());
        }
        let is_set = class_atom(rest, to)?;
        let mut ahead = rest.clone();
        let is_range =
            !is_set && ahead.next() == Some('-') && ahead.next().is_some_and(|last| last != ']');
        if is_range {
            rest.next();
            to.push('-');
            class_atom(rest, to)?;
        }
    }
}

/// One character of a class, or an escape that stands for several; whether it does.
fn class_atom(rest: &mut std::str::Chars<'_>, to: &mut String) -> Option<bool> {
    match rest.next()? {
        '\\' => {
            let is_set = rest.as_str().starts_with(['d', 'D', 'w', 'W', 's', 'S', 'p', 'P']);
            escape(rest, to, true)?;
            // \p{…} up to its end.
            if is_set && to.ends_with(['p', 'P']) {
                let end = rest.as_str().find('}')?;
                let (class, after) = rest.as_str().split_at(end + 1);
                to.push_str(class);
                *rest = after.chars();
            }
            Some(is_set)
        }
        char if char.is_ascii_punctuation() => {
            to.extend(['\\', char]);
            Some(false)
        }
        char => {
            to.push(char);
            Some(false)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a pattern that is not refused is a failed test
mod tests {
    use super::*;

    fn is_in(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault}")).is_in(text)
    }

    #[test]
    fn the_dialect_is_that_of_ecma() {
        for (pattern, fits, differs) in [
            ("^a", "ab", "ba"),
            ("b", "abc", "ac"),
            (r"^\d+$", "42", "٤٢"),
            (r"^\w$", "_", "ü"),
            (r"^\s$", "\u{feff}", "\u{85}"),
            (r"^[\w-]+$", "a-b", "a.b"),
            (r"^[^\d]$", "a", "1"),
            ("^[a-c-]$", "-", "d"),
            ("^[+--]$", ",", "."),
            ("^[[:a]]$", "[]", "x]"),
            ("^[a&&b]+$", "&ab", "c"),
            ("^[~~|]$", "~", "a"),
            ("^[^]$", "\n", ""),
            ("^a[]?$", "a", "ab"),
            (r"^[\]\\]$", r"\", "a"),
            (r"^[\b]$", "\u{8}", "b"),
            (r"^\cA\0$", "\u{1}\u{0}", "A0"),
            (r"^\/\-$", "/-", "a"),
            ("^.$", "ü", "\r"),
            (r"^[\p{Lu}x]$", "Ü", "ü"),
            (r"^\u00fc$", "ü", "u"),
            (r"\bab\b", "x ab", "xab"),
            ("^(a|b){2,3}$", "aba", "a"),
            ("a$", "ba", "a\n"),
        ] {
            assert!(is_in(pattern, fits), "{pattern} is in {fits:?}");
            assert!(!is_in(pattern, differs), "{pattern} is not in {differs:?}");
        }
    }

    #[test]
    fn what_cannot_be_matched_in_linear_time_or_little_memory_is_refused_with_a_reason() {
        for (pattern, reason) in [
            ("a(?=b)", "look-around"),
            ("(?<!a)b", "look-around"),
            (r"(a)\1", "backreferences"),
            ("(", "unclosed group"),
            ("[a", "not complete"),
            (r"\", "not complete"),
            ("[b-a]", "invalid character class range"),
            (r"\p{L}{1000}", "too large"),
        ] {
            let refused = Pattern::new(pattern).map(|_| ()).unwrap_err();
            assert!(refused.contains(reason), "{pattern}: {refused}");
        }
    }
}
