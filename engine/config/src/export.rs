//! `[export.prometheus.NAME]`: answers of metrics as series of `/metrics`.
//!
//! Says what is wrong with a section, as far as that is known without the metric; whether the
//! metric exists and takes the params is known only while an engine runs.

use super::duration::{self, DurationFault};
use super::names::is_metric_name;
use super::pointer::{self, PointerFault};
use super::secret::quoted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// The label that is not taken from inside a row: the key under which the row stands, or its index.
pub const KEY_LABEL: &str = "@key";

/// Sections `[export.prometheus.NAME]`: each is a question that is watched.
pub(super) const MOST_EXPORTS: usize = 1_000;

/// Labels of a series.
const MOST_LABELS: usize = 16;

/// Bytes of the name of a series or label.
const LONGEST_NAME: usize = 128;

/// Bytes of a pointer.
const LONGEST_POINTER: usize = 256;

/// The longest time between two evaluations.
const LONGEST_PACE: Duration = Duration::from_secs(24 * 60 * 60);

/// `[export]`: what is shown elsewhere of metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// `[export.prometheus.NAME]`, by the name of the series.
    pub prometheus: BTreeMap<String, PrometheusExport>,
}

/// `[export.prometheus.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusExport {
    /// The metric whose answer is exported.
    pub metric: String,
    /// Its params, as TOML writes them.
    pub params: toml::Table,
    /// JSON pointer to the rows in the result: an object has one for each member, an array one for
    /// each element; empty: the result itself is the only row.
    pub rows: String,
    /// JSON pointer to the number in a row; empty: the row itself.
    pub value: String,
    /// Label by name: [`KEY_LABEL`], or a JSON pointer to a text or number in a row.
    pub labels: BTreeMap<String, String>,
    /// Most series; further rows are left out, and told.
    pub max_series: usize,
    /// The least time between two evaluations: `"15s"`.
    pub every: String,
}

impl Default for PrometheusExport {
    fn default() -> Self {
        PrometheusExport {
            metric: String::new(),
            params: toml::Table::new(),
            rows: String::new(),
            value: String::new(),
            labels: BTreeMap::new(),
            max_series: 100,
            every: "15s".into(),
        }
    }
}

/// What is wrong with a section or a key of it: the end of a sentence that begins with the key.
/// Trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExportFault {
    /// Its name cannot be that of a series.
    #[error("{0} cannot be the name of a series: a-z A-Z _ first, then a-z A-Z 0-9 _, at most 128")]
    Series(String),
    /// Its name is kept for the engine's own figures.
    #[error("{0} begins with tally_, as the names of the engine's own figures do")]
    Own(String),
    /// It names no metric.
    #[error("has no `metric`: the name of the metric whose answer is exported")]
    NoMetric,
    /// It names something that cannot be a metric.
    #[error("{0} is not a metric name: a-z first, then a-z 0-9 _, at most 64")]
    Metric(String),
    /// A pointer leads nowhere in any answer.
    #[error("{0}: {1}")]
    Pointer(String, PointerFault),
    /// A pointer is too long.
    #[error("is longer than {LONGEST_POINTER} bytes")]
    LongPointer,
    /// Its name cannot be that of a label.
    #[error(
        "cannot be the name of a label: a-z A-Z _ first, then a-z A-Z 0-9 _, at most 128, and not \
         __ at the beginning"
    )]
    Label,
    /// It has too many labels.
    #[error("has {0} labels; at most {MOST_LABELS} are shown")]
    Labels(usize),
    /// The only row is no member of anything.
    #[error("is \"@key\", but without `rows` the only row is the result itself, which has no key")]
    NoKey,
    /// Nothing tells its rows apart.
    #[error(
        "has `rows` and no `labels`, which tell their series apart; write labels = {{ name = \
         \"@key\" }}"
    )]
    Alike,
    /// It is no length of time.
    #[error(transparent)]
    Every(#[from] DurationFault),
    /// It is too long.
    #[error("{0:?} is longer than a day")]
    Slow(String),
}

impl PrometheusExport {
    /// The least time between two evaluations.
    ///
    /// # Errors
    /// [`ExportFault::Every`], [`ExportFault::Slow`].
    pub fn pace(&self) -> Result<Duration, ExportFault> {
        let pace = duration::parse(&self.every)?;
        if pace > LONGEST_PACE { Err(ExportFault::Slow(self.every.clone())) } else { Ok(pace) }
    }

    /// All that is wrong with the section of this name: with the section itself, with one of its
    /// keys, or with the name of a label.
    pub(super) fn faults(&self, name: &str) -> Vec<(FaultyPart<'_>, ExportFault)> {
        let mut faults = Vec::new();
        let mut add = |part, verdict: Result<(), ExportFault>| {
            faults.extend(verdict.err().map(|fault| (part, fault)));
        };
        add(FaultyPart::Section, series_name(name));
        match self.metric.as_str() {
            "" => add(FaultyPart::Lacks("metric"), Err(ExportFault::NoMetric)),
            metric if is_metric_name(metric) => {}
            metric => add(FaultyPart::Key("metric"), Err(ExportFault::Metric(quoted(metric)))),
        }
        add(FaultyPart::Key("rows"), path(&self.rows).map(drop));
        add(FaultyPart::Key("value"), path(&self.value).map(drop));
        match self.labels.len() {
            0 if !self.rows.is_empty() => add(FaultyPart::Section, Err(ExportFault::Alike)),
            count if count > MOST_LABELS => {
                add(FaultyPart::Key("labels"), Err(ExportFault::Labels(count)));
            }
            _ => {}
        }
        for (label, from) in self.labels.iter().take(MOST_LABELS) {
            let is_name = is_name(label) && !label.starts_with("__");
            add(FaultyPart::Label(label), is_name.then_some(()).ok_or(ExportFault::Label));
            let verdict = match from.as_str() {
                KEY_LABEL if self.rows.is_empty() => Err(ExportFault::NoKey),
                KEY_LABEL => Ok(()),
                pointer => path(pointer).map(drop),
            };
            add(FaultyPart::Source(label), verdict);
        }
        add(FaultyPart::Key("every"), self.pace().map(drop));
        faults
    }
}

/// Where in a section a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultyPart<'a> {
    /// Its name, or the whole of it.
    Section,
    /// A key that it does not have.
    Lacks(&'static str),
    /// The value of a key.
    Key(&'static str),
    /// The name of a label.
    Label(&'a str),
    /// What a label is taken from.
    Source(&'a str),
}

/// The keys that a pointer of a section leads through; none: it leads to what it begins at.
///
/// # Errors
/// [`ExportFault::Pointer`], [`ExportFault::LongPointer`].
pub fn path(pointer: &str) -> Result<Vec<String>, ExportFault> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    if pointer.len() > LONGEST_POINTER {
        return Err(ExportFault::LongPointer);
    }
    pointer::keys(pointer).map_err(|fault| ExportFault::Pointer(quoted(pointer), fault))
}

fn series_name(name: &str) -> Result<(), ExportFault> {
    if !is_name(name) {
        return Err(ExportFault::Series(quoted(name)));
    }
    if name.starts_with("tally_") {
        return Err(ExportFault::Own(quoted(name)));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let rest = |byte: u8| letter(byte) || byte.is_ascii_digit();
    name.bytes().next().is_some_and(letter) && name.bytes().all(rest) && name.len() <= LONGEST_NAME
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    fn export(text: &str) -> PrometheusExport {
        toml::from_str(text).unwrap()
    }

    fn told(name: &str, text: &str) -> Vec<String> {
        export(text).faults(name).into_iter().map(|(_, fault)| fault.to_string()).collect()
    }

    #[test]
    fn a_section_needs_a_metric_and_nothing_else() {
        let least = export("metric = \"event_frequencies\"");
        assert!(least.faults("shop_events").is_empty());
        assert_eq!((least.max_series, least.pace()), (100, Ok(Duration::from_secs(15))));
        assert_eq!(export("").faults("x"), [(FaultyPart::Lacks("metric"), ExportFault::NoMetric)]);
        let whole = "metric = \"m\"\nrows = \"/by_type\"\nvalue = \"/n\"\nevery = \"1d\"\n\
                     labels = { type = \"@key\", product = \"/product~1id\", all = \"\" }\n";
        assert_eq!(told("Shop_1", whole), [""; 0]);
    }

    #[test]
    fn what_cannot_be_is_told_with_what_to_write() {
        let metric = |more: &str| format!("metric = \"m\"\n{more}\n");
        for (name, text, words) in [
            ("1x", metric(""), "cannot be the name of a series"),
            ("a:b", metric(""), "cannot be the name of a series"),
            ("", metric(""), "cannot be the name of a series"),
            ("tally_x", metric(""), "begins with tally_"),
            ("x", "metric = \"M\"".to_owned(), "\"M\" is not a metric name"),
            ("x", metric("value = \"total\""), "\"total\": not a JSON pointer"),
            ("x", metric("value = \"/~2\""), "must be written"),
            ("x", metric("rows = \"/a\""), "no `labels`"),
            ("x", metric("labels = { a = \"@key\" }"), "which has no key"),
            ("x", metric("labels = { a-b = \"/a\" }"), "name of a label"),
            ("x", metric("labels = { __a = \"/a\" }"), "name of a label"),
            ("x", metric("every = \"15\""), "is not a duration"),
            ("x", metric("every = \"2d\""), "longer than a day"),
        ] {
            let told = told(name, &text);
            assert!(matches!(told.as_slice(), [one] if one.contains(words)), "{text}: {told:?}");
        }
        let long = "x".repeat(LONGEST_NAME);
        assert_eq!(told(&long, &metric("")), [""; 0]);
        assert_eq!(told(&format!("{long}x"), &metric("")).len(), 1);
        let labels: Vec<String> = (0..17).map(|n| format!("a{n} = \"/a\"")).collect();
        let many = told("x", &metric(&format!("labels = {{ {} }}", labels.join(", "))));
        assert_eq!(many, ["has 17 labels; at most 16 are shown"]);
        let pointer = told("x", &metric(&format!("value = \"/{}\"", "x".repeat(256))));
        assert_eq!(pointer, ["is longer than 256 bytes"]);
    }

    #[test]
    fn pointers_lead_through_keys() {
        assert_eq!(path("").unwrap(), [""; 0]);
        assert_eq!(path("/a~1b/0").unwrap(), ["a/b", "0"]);
        assert!(path("a").is_err());
    }
}
