//! How long functions are.

use super::none;
use super::reading::{Source, sources};
use std::collections::BTreeMap;

/// Lines of a function, from its name to its last brace.
const LINES: usize = 70;

/// Each function of a file with its lines; of several of one name the longest.
fn functions(source: &Source) -> BTreeMap<String, usize> {
    let code = &source.code;
    let mut all = BTreeMap::new();
    for (at, _) in code.match_indices("fn ") {
        let follows_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if follows_word || name.is_empty() {
            continue;
        }
        if let Some(lines) = lines(&code[at..]) {
            let longest = all.entry(name).or_default();
            *longest = lines.max(*longest);
        }
    }
    all
}

/// Lines up to the end of the body; `None`: it has none.
fn lines(code: &str) -> Option<usize> {
    let (mut depth, mut lines) = (0_usize, 1);
    for byte in code.bytes() {
        match byte {
            b'\n' => lines += 1,
            b';' if depth == 0 => return None,
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && byte == b'}' {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn no_function_is_too_long() {
    let mut faults = Vec::new();
    for source in &sources() {
        for (name, lines) in functions(source).into_iter().filter(|(_, lines)| *lines > LINES) {
            faults.push(format!("{} {name} {lines}: over {LINES} lines; divide it", source.path));
        }
    }
    none(faults);
}

#[test]
fn lines_are_counted_from_the_name_to_the_last_brace() {
    assert_eq!(lines("fn a() {}"), Some(1));
    assert_eq!(lines("fn a(\n  b: [u8; 3],\n) -> u8 {\n  if c { d }\n}\nfn e() {}"), Some(5));
    assert_eq!(lines("fn a();\nfn b() {}"), None);
    assert_eq!(lines("fn(u8) -> u8, b: u8) {}"), None);
}
