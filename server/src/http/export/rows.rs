//! The series that are made of an answer: a row of the result each.
//!
//! Numbers keep their digits. What is no series of its own is left out and counted by its reason:
//! a row beyond the most that are shown, one without a number, one without the text for a label or
//! with a longer one than is shown, one with the labels of a row before. Work and memory grow with
//! the answer alone. Knows no metric.

use crate::http::exposition::{push_label, push_sample};
use crate::http::json_members::{Members, elements, members};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use tally_engine::config::{ExportFault, KEY_LABEL, PrometheusExport, export_path};
use thiserror::Error;

/// Bytes of a label's value.
pub(super) const LONGEST_LABEL: usize = 128;

/// Letters of a number that are shown as they are.
const LONGEST_NUMBER: usize = 64;

/// How many rows are no series, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Rows beyond the most series that are shown.
    max_series: usize,
    /// Rows without a number.
    value: usize,
    /// Rows without the text for a label, or with a longer one than is shown.
    label: usize,
    /// Rows with the labels of a row before.
    duplicate: usize,
}

impl LeftOut {
    /// Each reason in a word, with its number, also if that is 0.
    pub(super) fn counts(&self) -> [(&'static str, usize); 4] {
        let LeftOut { max_series, value, label, duplicate } = *self;
        [("max_series", max_series), ("value", value), ("label", label), ("duplicate", duplicate)]
    }

    /// The words for the reasons that there are, in one text.
    pub(super) fn reasons(&self) -> String {
        let counts = self.counts().into_iter();
        let there: Vec<&str> =
            counts.filter(|(_, count)| *count > 0).map(|(reason, _)| reason).collect();
        there.join(", ")
    }
}

/// Why an answer has no rows. Another answer may have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NoRows {
    /// It is no JSON.
    #[error("the answer is not JSON")]
    NotJson,
    /// `rows` leads nowhere.
    #[error("the result has nothing where `rows` leads")]
    Nowhere,
    /// `rows` leads to a text, a number, or null.
    #[error("the result has neither an object nor an array where `rows` leads")]
    NoList,
}

impl NoRows {
    /// It in a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            NoRows::NotJson => "invalid_json",
            NoRows::Nowhere => "no_rows",
            NoRows::NoList => "no_list",
        }
    }
}

/// Which series a result has.
pub(super) struct SeriesPlan {
    name: String,
    /// `None`: the result itself is the only row.
    rows: Option<Vec<String>>,
    value: Vec<String>,
    labels: Vec<(String, LabelSource)>,
    most: usize,
}

enum LabelSource {
    Key,
    Path(Vec<String>),
}

/// The series of an answer.
#[derive(Debug, Default)]
pub(super) struct ShownSeries {
    /// A sample on each line.
    pub(super) samples: String,
    pub(super) left_out: LeftOut,
    shown: usize,
    /// The labels of each.
    labels: HashSet<String>,
}

impl SeriesPlan {
    /// For the series of this name.
    ///
    /// # Errors
    /// A pointer is none.
    pub(super) fn new(name: &str, export: &PrometheusExport) -> Result<SeriesPlan, ExportFault> {
        let source = |(label, from): (&String, &String)| {
            let source = match from.as_str() {
                KEY_LABEL => LabelSource::Key,
                pointer => LabelSource::Path(export_path(pointer)?),
            };
            Ok::<_, ExportFault>((label.clone(), source))
        };
        let rows = (!export.rows.is_empty()).then(|| export_path(&export.rows)).transpose()?;
        Ok(SeriesPlan {
            name: name.to_owned(),
            rows,
            value: export_path(&export.value)?,
            labels: export.labels.iter().map(source).collect::<Result<_, ExportFault>>()?,
            most: export.max_series,
        })
    }

    /// The series that a result has.
    ///
    /// # Errors
    /// It has no rows.
    pub(super) fn series(&self, result: &str) -> Result<ShownSeries, NoRows> {
        let whole: &RawValue = serde_json::from_str(result).map_err(|_| NoRows::NotJson)?;
        let mut series = ShownSeries::default();
        let Some(rows) = &self.rows else {
            self.add(&mut series, "", whole);
            return Ok(series);
        };
        let rows = follow(whole, rows).ok_or(NoRows::Nowhere)?;
        if let Some(Members(rows)) = object(rows) {
            rows.iter().for_each(|(key, row)| self.add(&mut series, key, row));
        } else if let Some(rows) = array(rows) {
            let rows = rows.into_iter().enumerate();
            rows.for_each(|(index, row)| self.add(&mut series, &index.to_string(), row));
        } else {
            return Err(NoRows::NoList);
        }
        // Nobody asks for them any more.
        series.labels = HashSet::new();
        Ok(series)
    }

    /// Adds the series of a row, or counts why it has none.
    fn add(&self, series: &mut ShownSeries, key: &str, row: &RawValue) {
        let left_out = &mut series.left_out;
        if series.shown == self.most {
            left_out.max_series += 1;
            return;
        }
        let Some(value) = follow(row, &self.value).and_then(number) else {
            left_out.value += 1;
            return;
        };
        let Some(labels) = self.labels_of(key, row) else {
            left_out.label += 1;
            return;
        };
        if series.labels.contains(&labels) {
            left_out.duplicate += 1;
            return;
        }
        push_sample(&mut series.samples, &self.name, &labels, value);
        series.labels.insert(labels);
        series.shown += 1;
    }

    fn labels_of(&self, key: &str, row: &RawValue) -> Option<String> {
        let mut labels = String::new();
        for (name, source) in &self.labels {
            let value = match source {
                LabelSource::Key => Cow::Borrowed(key),
                LabelSource::Path(path) => follow(row, path).and_then(label_text)?,
            };
            if value.len() > LONGEST_LABEL {
                return None;
            }
            push_label(&mut labels, name, &value);
        }
        Some(labels)
    }
}

/// What is at the end of a path; `None`: the path leads nowhere.
fn follow<'a>(value: &'a RawValue, path: &[String]) -> Option<&'a RawValue> {
    path.iter().try_fold(value, |value, key| {
        if let Some(Members(members)) = object(value) {
            // Of two members of one name readers of JSON take the last.
            return members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value);
        }
        let elements = array(value)?;
        // As RFC 6901 writes an index: without a sign and leading zeros.
        let index = key.parse::<usize>().ok().filter(|index| index.to_string() == *key)?;
        elements.get(index).copied()
    })
}

fn object(value: &RawValue) -> Option<Members<'_>> {
    value.get().starts_with('{').then(|| members(value)).flatten()
}

fn array(value: &RawValue) -> Option<Vec<&RawValue>> {
    value.get().starts_with('[').then(|| elements(value)).flatten()
}

/// A number as Prometheus reads it: one of JSON, or a text that is written like one, as sums have
/// it that are longer than a number of JSON may be.
fn number(value: &RawValue) -> Option<Cow<'_, str>> {
    let written = match value.get().starts_with('"') {
        true => Cow::Owned(serde_json::from_str::<String>(value.get()).ok()?),
        false => Cow::Borrowed(value.get()),
    };
    let begins = written.trim_start_matches('-').bytes().next()?.is_ascii_digit();
    let is_number = begins && written.bytes().all(|byte| b"0123456789+-.eE".contains(&byte));
    let number = written.parse::<f64>().ok().filter(|number| is_number && number.is_finite())?;
    // All that Prometheus keeps of one that is longer.
    Some(if written.len() > LONGEST_NUMBER { format!("{number:e}").into() } else { written })
}

/// A text, a number, true or false.
fn label_text(value: &RawValue) -> Option<Cow<'_, str>> {
    let written = value.get();
    match written.bytes().next()? {
        b'"' => serde_json::from_str::<String>(written).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(written.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    fn plan(text: &str) -> SeriesPlan {
        SeriesPlan::new("x", &toml::from_str(text).unwrap()).unwrap()
    }

    fn shown(plan: &str, result: &str) -> (String, Vec<usize>) {
        let series = self::plan(plan).series(result).unwrap();
        let counts = series.left_out.counts().map(|(_, count)| count).to_vec();
        (series.samples, counts)
    }

    #[test]
    fn objects_arrays_and_the_result_itself_have_rows() {
        for (text, result, samples) in [
            ("value = \"/total\"", r#"{"total": 11, "x": 1}"#, "x 11\n"),
            ("", "11", "x 11\n"),
            ("value = \"/a~1b/1/n\"", r#"{"a/b": [0, {"n": -0.5}]}"#, "x -0.5\n"),
            (
                "rows = \"/by_type\"\nlabels = { type = \"@key\" }",
                r#"{"by_type": {"view": 8, "a\"b": 2}}"#,
                "x{type=\"view\"} 8\nx{type=\"a\\\"b\"} 2\n",
            ),
            (
                "rows = \"/p\"\nvalue = \"/n\"\nlabels = { id = \"/id\", rank = \"@key\", ok = \"/ok\" }",
                r#"{"p": [{"id": 10, "n": 5, "ok": true}, {"id": "abc", "n": 4, "ok": false}]}"#,
                "x{id=\"10\",ok=\"true\",rank=\"0\"} 5\nx{id=\"abc\",ok=\"false\",rank=\"1\"} 4\n",
            ),
            ("rows = \"/p\"\nlabels = { id = \"/id\" }", r#"{"p": []}"#, ""),
        ] {
            assert_eq!(shown(text, result), (samples.to_owned(), vec![0; 4]), "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (written, expected) in [
            ("9007199254740993", "9007199254740993"),
            ("340282366920938463463374607431768211455", "340282366920938463463374607431768211455"),
            ("0.1", "0.1"),
            ("2.50", "2.50"),
            ("-1E-7", "-1E-7"),
            ("\"123456789012345678.90\"", "123456789012345678.90"),
        ] {
            assert_eq!(shown("", written).0, format!("x {expected}\n"));
        }
        assert_eq!(shown("", &format!("1{}", "0".repeat(100))).0, "x 1e100\n");
        let none = [
            "true", "null", "\"\"", "\"NaN\"", "\"Inf\"", "\"1 \"", "\"0x1\"", "\"+1\"", "\"-\"",
            "1e999", "{}", "[1]",
        ];
        for written in none {
            assert_eq!(shown("", written), (String::new(), vec![0, 1, 0, 0]), "{written}");
        }
    }

    #[test]
    fn what_is_no_series_of_its_own_is_counted_by_its_reason() {
        let text = "rows = \"/p\"\nvalue = \"/n\"\nlabels = { id = \"/id\" }\nmax_series = 2";
        let long = "y".repeat(LONGEST_LABEL + 1);
        let result = format!(
            r#"{{"p": [{{"id": 1, "n": 1}}, {{"id": "1", "n": 2}}, {{"n": 3}}, {{"id": null, "n": 4}},
                {{"id": "{long}", "n": 5}}, {{"id": 2}}, {{"id": 3, "n": 6}}, {{"id": 4, "n": 7}}, 8]}}"#
        );
        let series = plan(text).series(&result).unwrap();
        assert_eq!(series.samples, "x{id=\"1\"} 1\nx{id=\"3\"} 6\n");
        let counts = series.left_out.counts();
        assert_eq!(counts, [("max_series", 2), ("value", 1), ("label", 3), ("duplicate", 1)]);
        assert_eq!(series.left_out.reasons(), "max_series, value, label, duplicate");
        assert_eq!(LeftOut::default().reasons(), "");
        // As long as may be.
        let (samples, counts) =
            shown(text, &format!(r#"{{"p":[{{"id":"{}","n":1}}]}}"#, &long[1..]));
        assert_eq!((samples.len(), counts), (128 + "x{id=\"\"} 1\n".len(), vec![0; 4]));
    }

    #[test]
    fn a_result_without_rows_says_what_is_there() {
        let plan = plan("rows = \"/a/0\"\nlabels = { id = \"@key\" }");
        for (result, fault) in [
            ("{", NoRows::NotJson),
            ("{}", NoRows::Nowhere),
            ("{\"a\": 1}", NoRows::Nowhere),
            ("{\"a\": []}", NoRows::Nowhere),
            ("{\"a\": [7]}", NoRows::NoList),
            ("{\"a\": [null]}", NoRows::NoList),
        ] {
            assert_eq!(plan.series(result).unwrap_err(), fault, "{result}");
        }
        assert!(plan.series("{\"a\": [{}]}").is_ok());
        let signs = self::plan("rows = \"/a/00\"\nlabels = { id = \"@key\" }");
        assert_eq!(signs.series("{\"a\": [{}]}").unwrap_err(), NoRows::Nowhere);
    }
}
