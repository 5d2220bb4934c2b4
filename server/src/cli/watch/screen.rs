//! An answer as the lines of a screen: a function of the answer and of the screen's size.
//!
//! No line is longer than the screen is wide, and there are no more of them than it is high; rows
//! and columns that find no room are counted in a line of their own. Rows are those of the answer
//! as CSV, with texts as they are; a result without rows is shown as a line for each of its values.
//! What is shown of foreign texts controls no terminal.

use crate::cli::output::{tame, thousands};
use crate::http::rows_for_people;
use csv::{Reader, StringRecord};
use ratatui::text::Span;
use serde_json::{Map, Value};

/// Widest column.
const WIDEST: usize = 40;

/// Between two columns.
const GAP: &str = "  ";

/// What is to be shown.
pub(super) struct ScreenText<'a> {
    /// The first line.
    pub(super) title: &'a str,
    /// The result as JSON, once there is one.
    pub(super) result: Option<&'a str>,
    /// What stands below the table.
    pub(super) below: &'a [&'a str],
}

/// Rows of one width: a header, if there is one, and what is below it.
#[derive(Default)]
struct RowTable {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// How many there are without bound.
    total: usize,
}

/// The lines of a screen of so many columns and rows.
pub(super) fn fit(text: &ScreenText<'_>, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = vec![cut(text.title, columns)];
    let below = words_below(text.below, columns, rows / 2);
    // An empty line around the table.
    let room = |lines: &[String]| rows.saturating_sub(lines.len() + below.len() + 2);
    let Some(result) = text.result else {
        lines.extend(below);
        lines.truncate(rows);
        return lines;
    };
    let (facts, is_listing) = facts(result);
    if let Some(facts) = facts
        && room(&lines) > 3
    {
        lines.push(cut(&facts, columns));
    }
    let most = room(&lines);
    let table = match is_listing {
        true => table_of_rows(result, most),
        false => table_of_values(result, most),
    };
    lines.push(String::new());
    lines.extend(table.lines(columns, most));
    if !below.is_empty() {
        lines.push(String::new());
        lines.extend(below);
    }
    lines.truncate(rows);
    lines
}

/// Lines broken where they are too long; at most so many.
fn words_below(texts: &[&str], columns: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = texts.iter().flat_map(|text| broken(text, columns)).collect();
    if lines.len() > most {
        let left = lines.len() + 1 - most.max(1);
        lines.truncate(most.saturating_sub(1));
        lines.push(cut(&format!("and {}", many(left, "more line")), columns));
    }
    lines.truncate(most);
    lines
}

/// What a result says beside its rows, and whether it has rows.
fn facts(result: &str) -> (Option<String>, bool) {
    let members = match serde_json::from_str(result) {
        Ok(Value::Object(members)) => members,
        Ok(Value::Array(_)) => return (None, true),
        Ok(_) | Err(_) => return (None, false),
    };
    let is_rows = |value: &Value| {
        value.as_array().is_some_and(|elements| elements.iter().all(Value::is_object))
    };
    let (rows, others): (Map<_, _>, Map<_, _>) =
        members.into_iter().partition(|(_, value)| is_rows(value));
    if rows.is_empty() || others.is_empty() {
        return (None, !rows.is_empty());
    }
    let others = table_of_values(&Value::Object(others).to_string(), usize::MAX);
    let said: Vec<String> = others.rows.iter().map(|pair| pair.join(" ")).collect();
    (Some(said.join("   ")), true)
}

fn cells(record: &StringRecord) -> Vec<String> {
    record.iter().map(|cell| cut(&tame(cell), WIDEST)).collect()
}

/// The rows of a result, at most so many.
fn table_of_rows(result: &str, most: usize) -> RowTable {
    let csv = rows_for_people(result);
    let mut reader = Reader::from_reader(csv.as_bytes());
    let header = reader.headers().map(cells).unwrap_or_default();
    let mut table = RowTable { header, ..RowTable::default() };
    for record in reader.records().map_while(Result::ok) {
        if table.rows.len() < most {
            table.rows.push(cells(&record));
        }
        table.total += 1;
    }
    table
}

/// The values of a result, each with its name, at most so many.
fn table_of_values(result: &str, most: usize) -> RowTable {
    let csv = rows_for_people(result);
    let mut reader = Reader::from_reader(csv.as_bytes());
    let names = reader.headers().cloned().unwrap_or_default();
    let values = reader.records().next().and_then(Result::ok).unwrap_or_default();
    let pair = |(name, value): (&str, &str)| vec![cut(&tame(name), WIDEST), tame(value)];
    let rows = names.iter().zip(&values).take(most).map(pair).collect();
    RowTable { header: Vec::new(), rows, total: names.len() }
}

impl RowTable {
    /// At most so many lines, none longer than `columns`.
    fn lines(&self, columns: usize, most: usize) -> Vec<String> {
        if self.total == 0 {
            return vec![cut("no rows", columns)];
        }
        let header = usize::from(!self.header.is_empty());
        let mut shown = self.rows.len().min(most.saturating_sub(header));
        let mut widths = self.widths(shown, columns);
        if shown < self.total || widths.len() < self.width() {
            // For the line that says so.
            shown = shown.min(most.saturating_sub(header + 1));
            widths = self.widths(shown, columns);
        }
        let header = Some(&self.header).filter(|header| !header.is_empty());
        let rows = header.into_iter().chain(&self.rows[..shown]);
        let numeric: Vec<bool> = (0..widths.len()).map(|at| self.is_numeric(at, shown)).collect();
        let mut lines: Vec<String> = rows.map(|row| line(row, &widths, &numeric)).collect();
        let missing =
            [(self.total - shown, "more row"), (self.width() - widths.len(), "more column")];
        let missing: Vec<String> = missing
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| many(count, what))
            .collect();
        if !missing.is_empty() {
            lines.push(cut(&format!("and {}; --json has all", missing.join(", ")), columns));
        }
        lines.truncate(most);
        lines
    }

    /// How many columns there are.
    fn width(&self) -> usize {
        self.rows.first().map_or(self.header.len(), Vec::len)
    }

    /// The widths of the columns that find room, at least of one.
    fn widths(&self, shown: usize, columns: usize) -> Vec<usize> {
        let (mut widths, mut taken) = (Vec::new(), 0);
        for at in 0..self.width() {
            let rows = self.rows[..shown].iter().chain(Some(&self.header));
            let widest = rows.filter_map(|row| row.get(at)).map(|cell| width(cell)).max();
            let mut wide = widest.unwrap_or_default();
            if self.header.is_empty() && at > 0 {
                // Of values there is no other column.
                wide = wide.min(columns.saturating_sub(taken + GAP.len()).max(1));
            }
            let gap = if at > 0 { GAP.len() } else { 0 };
            if at > 0 && taken + gap + wide > columns {
                break;
            }
            taken += gap + wide.min(columns);
            widths.push(wide.min(columns));
        }
        widths
    }

    /// Whether all that is shown of a column is numbers.
    fn is_numeric(&self, at: usize, shown: usize) -> bool {
        let mut cells = self.rows[..shown].iter().filter_map(|row| row.get(at));
        !self.header.is_empty() && cells.all(|cell| cell.is_empty() || cell.parse::<f64>().is_ok())
    }
}

fn line(row: &[String], widths: &[usize], numeric: &[bool]) -> String {
    let mut line = String::new();
    for (at, (cell, wide)) in row.iter().zip(widths).enumerate() {
        if at > 0 {
            line.push_str(GAP);
        }
        let cell = cut(cell, *wide);
        let blanks = " ".repeat(wide - width(&cell));
        match numeric[at] {
            true => line.extend([blanks, cell]),
            false => line.extend([cell, blanks]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn many(count: usize, what: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{} {what}{many}", thousands(count as u64))
}

fn char_width(c: char) -> usize {
    if c.is_ascii() { 1 } else { Span::raw(&*c.encode_utf8(&mut [0; 4])).width() }
}

/// Columns of a text: at least as many as any terminal takes for it.
fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text, or as much of it as fits, with a sign that there is more.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short: String = first(text, columns.saturating_sub(1)).to_owned();
    if columns > 0 {
        short.push('…');
    }
    short
}

/// As much of the beginning as fits.
fn first(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += char_width(*c);
        taken > columns
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The text in lines that fit.
fn broken(text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while width(rest) > columns {
        let whole = first(rest, columns);
        // At a blank, unless that leaves next to nothing.
        let at = whole.rfind(' ').filter(|at| *at > whole.len() / 2).unwrap_or(whole.len());
        if at == 0 {
            return lines;
        }
        lines.push(rest[..at].to_owned());
        rest = rest[at..].trim_start();
    }
    lines.push(rest.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(result: &str, below: &[&str], columns: usize, rows: usize) -> Vec<String> {
        fit(&ScreenText { title: "m {}   now", result: Some(result), below }, columns, rows)
    }

    /// Products with so many types each.
    fn products(count: usize, types: usize) -> String {
        let kinds = |n: usize| (0..types).map(move |kind| format!("\"kind{kind}\":{}", n * kind));
        let one = |n: usize| {
            let kinds: Vec<String> = kinds(n).collect();
            format!("{{\"product_id\":\"p{n}\",\"total\":{n},\"by_type\":{{{}}}}}", kinds.join(","))
        };
        let all: Vec<String> = (0..count).map(one).collect();
        format!("{{\"total\":7,\"products_total\":{count},\"products\":[{}]}}", all.join(","))
    }

    #[test]
    fn rows_are_a_table_below_what_else_is_said() {
        assert_eq!(
            screen(&products(2, 1), &["window: a to b", "warning: w"], 80, 20),
            [
                "m {}   now",
                "total 7   products_total 2",
                "",
                "product_id  total  by_type.kind0",
                "p0              0              0",
                "p1              1              0",
                "",
                "window: a to b",
                "warning: w",
            ]
        );
        let none = r#"{"total":0,"products":[]}"#;
        assert_eq!(screen(none, &[], 80, 20), ["m {}   now", "total 0", "", "no rows"]);
    }

    #[test]
    fn a_result_without_rows_is_a_line_for_each_value() {
        let result = r#"{"total":1200,"by_type":{"buy":1,"view":1199},"share":0.50}"#;
        assert_eq!(
            screen(result, &[], 80, 20),
            [
                "m {}   now",
                "",
                "total         1200",
                "by_type.buy   1",
                "by_type.view  1199",
                "share         0.50"
            ]
        );
        assert_eq!(screen("42", &[], 80, 20), ["m {}   now", "", "value  42"]);
    }

    #[test]
    fn texts_have_no_sign_for_spreadsheets() {
        let rows = r#"{"products":[{"product_id":"-x","=n":-1},{"product_id":"@y","=n":2}]}"#;
        assert_eq!(
            screen(rows, &[], 80, 20)[2..],
            ["product_id  =n", "-x          -1", "@y           2"]
        );
        assert_eq!(screen(r#"{"+a":"=b"}"#, &[], 80, 20)[2..], ["+a  =b"]);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        assert_eq!(
            screen(&products(100, 50), &["window: a to b"], 34, 10),
            [
                "m {}   now",
                "total 7   products_total 100",
                "",
                "product_id  total  by_type.kind0",
                "p0              0              0",
                "p1              1              0",
                "p2              2              0",
                "and 97 more rows, 49 more columns…",
                "",
                "window: a to b",
            ]
        );
        let long = "x".repeat(30);
        assert_eq!(
            screen("{\"a\":1}", &[&long, &long, &long], 10, 10)[4..],
            ["xxxxxxxxxx", "xxxxxxxxxx", "xxxxxxxxxx", "xxxxxxxxxx", "and 5 mor…"]
        );
    }

    #[test]
    fn no_size_is_exceeded_and_nothing_controls_the_terminal() {
        let foreign = r#"{"a":"\u001b[31m漢字漢字","b":{"é":"\u202e"},"rows":[{"漢":"漢字漢字漢字","n":-1},{"x":null}]}"#;
        let (many, wide) = (products(300, 30), products(1, 300));
        for result in [foreign, &many, &wide, "{}", "[]", "7", "none"] {
            for (columns, rows) in [(0, 0), (1, 1), (2, 3), (7, 5), (20, 9), (80, 24), (300, 90)] {
                let below = ["window: 2026-01-01 to 漢字漢字漢字漢字漢字", "w"];
                let lines = screen(result, &below, columns, rows);
                assert!(lines.len() <= rows, "{} lines of {rows}: {result:.80}", lines.len());
                for line in &lines {
                    assert!(width(line) <= columns, "{columns}: {line:?}");
                    assert!(
                        !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
                        "{line:?}"
                    );
                }
            }
        }
        let empty = ScreenText { title: "m", result: None, below: &["waits"] };
        assert_eq!(fit(&empty, 80, 24), ["m", "waits"]);
    }
}
