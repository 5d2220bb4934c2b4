//! What a cell of CSV says, and what its column is called.
//!
//! Texts and names may come from anybody who sends events. A spreadsheet takes what begins with one
//! of [`FORMULA`] for a formula, so that such a text gets a `'` before it, which spreadsheets take
//! for the sign of a text; numbers stay as they are. What is shown to a person stays as it is.

use super::json_members::{self, in_one_line};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a formula may begin with.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What reads cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellReader {
    /// Perhaps one: whoever asks for CSV.
    Spreadsheet,
    /// Somebody at a terminal.
    Person,
}

/// A member's name as a part of a path: a dot of its own has a backslash before it.
pub(super) fn column_part(name: &str) -> String {
    name.replace('\\', "\\\\").replace('.', "\\.")
}

/// The name of the column with this path; no two paths have one name.
pub(super) fn column_name(path: &str, reader: CellReader) -> String {
    // One that begins with the sign itself gets another, so that it is told from these.
    let has_sign = path.starts_with(FORMULA) || path.starts_with('\'');
    if has_sign && reader == CellReader::Spreadsheet { format!("'{path}") } else { path.to_owned() }
}

/// A value as the text of a cell: nothing for null, values without structure joined by semicolons,
/// JSON for the rest. A text that a spreadsheet would take for a formula begins with `'` for one.
pub(super) fn cell_text(value: &RawValue, reader: CellReader) -> Cow<'_, str> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'[') => {
            let elements = json_members::elements(value).unwrap_or_default();
            let nested = |element: &&RawValue| element.get().starts_with(['[', '{']);
            if elements.iter().any(nested) {
                return in_one_line(value);
            }
            let has_text = elements.iter().any(|element| element.get().starts_with('"'));
            let texts: Vec<Cow<'_, str>> = elements.into_iter().map(plain).collect();
            let joined = texts.join(";").into();
            if has_text { inert(joined, reader) } else { joined }
        }
        Some(b'"') => inert(plain_text(text), reader),
        Some(b'{') => in_one_line(value),
        _ => plain(value),
    }
}

/// A value without structure.
fn plain(value: &RawValue) -> Cow<'_, str> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'n') => Cow::Borrowed(""),
        Some(b'"') => plain_text(text),
        _ => Cow::Borrowed(text),
    }
}

/// A text without its quotes and escapes.
fn plain_text(json: &str) -> Cow<'_, str> {
    let inside = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    match inside.filter(|inside| !inside.contains('\\')) {
        Some(inside) => Cow::Borrowed(inside),
        None => serde_json::from_str::<String>(json).unwrap_or_default().into(),
    }
}

/// A text that is no formula to who reads it.
fn inert(text: Cow<'_, str>, reader: CellReader) -> Cow<'_, str> {
    let is_formula = reader == CellReader::Spreadsheet && text.starts_with(FORMULA);
    if is_formula { format!("'{text}").into() } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_formula_and_numbers_stay() {
        for (json, cell) in [
            (r#""=1+1""#, "'=1+1"),
            (r#""+49""#, "'+49"),
            (r#""-1""#, "'-1"),
            (r#""@x""#, "'@x"),
            (r#""\tx""#, "'\tx"),
            (r#""\rx""#, "'\rx"),
            (r#""'=x""#, "'=x"),
            (r#""a=b""#, "a=b"),
            (r#""""#, ""),
            ("-1.50", "-1.50"),
            ("[-1,2]", "-1;2"),
            (r#"[-1,"x"]"#, "'-1;x"),
            (r#"["=x","=y",null]"#, "'=x;=y;"),
            ("true", "true"),
            ("null", ""),
        ] {
            let value: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(cell_text(value, CellReader::Spreadsheet), cell, "{json}");
        }
    }

    #[test]
    fn a_person_reads_what_is_there() {
        for (json, cell) in [(r#""-x""#, "-x"), (r#"["=x","y"]"#, "=x;y"), ("-1", "-1")] {
            let value: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(cell_text(value, CellReader::Person), cell, "{json}");
        }
        assert_eq!(["-x", "'x"].map(|path| column_name(path, CellReader::Person)), ["-x", "'x"]);
    }

    #[test]
    fn names_are_told_from_each_other() {
        assert_eq!(column_part(r"a.b\c"), r"a\.b\\c");
        let names = ["=x", "'=x", "''=x", "x"];
        let names = names.map(|path| column_name(path, CellReader::Spreadsheet));
        assert_eq!(names, ["'=x", "''=x", "'''=x", "x"]);
    }
}
