//! From the text of `metrics.toml` to a table that certainly deserialises, with the place of
//! everything in it.
//!
//! Unknown keys and wrong types are reported here, all of them, and left out of the table, so that
//! the values that remain can still be checked. The keys that exist are those of the serialised
//! defaults: a key added to the types is known here. Of very many faults the first that are found
//! are described, the rest is counted.

use super::expected::{choices, nearest, range, type_name, unknown, wrong_type};
use super::fault::{Fault, LISTED, Quote, Text};
use super::secret::{is_secret, quoted};
use super::{Config, MetricConfig, PrometheusExport};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Bytes of key and value.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// A file that was read.
pub(super) struct Document {
    /// What it says, without what is faulty.
    pub(super) table: Table,
    /// By key path (`kafka.topic`, `events.types[1]`).
    pub(super) spans: HashMap<String, Spans>,
    /// Unknown keys, wrong types, syntax.
    pub(super) faults: Vec<Fault>,
    /// Faults that are not listed.
    pub(super) more: usize,
}

impl Document {
    /// Of nothing.
    pub(super) fn empty() -> Document {
        Document { table: Table::new(), spans: HashMap::new(), faults: Vec::new(), more: 0 }
    }
}

/// Appends a key to a path, quoted where TOML wants quotes.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let key = if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The defaults as TOML: the keys that exist, with their types.
pub(super) fn template() -> Table {
    // Cannot fail: plain maps, texts and integers below 2⁶³.
    Table::try_from(Config::default()).unwrap_or_default()
}

/// The keys of `[metrics.NAME]`.
pub(super) fn metric_template() -> Table {
    let named = MetricConfig { plugin: Some(String::new()), ..MetricConfig::default() };
    Table::try_from(named).unwrap_or_default()
}

/// The keys of `[export.prometheus.NAME]`.
pub(super) fn export_template() -> Table {
    Table::try_from(PrometheusExport::default()).unwrap_or_default()
}

/// Whether there is a key of that name somewhere.
pub(super) fn is_known(name: &str) -> bool {
    fn among(name: &str, table: &Table) -> bool {
        let inside = |value: &Value| value.as_table().is_some_and(|inner| among(name, inner));
        table.iter().any(|(key, value)| key == name || inside(value))
    }
    [template(), metric_template(), export_template()].iter().any(|table| among(name, table))
}

/// Tables and lists inside each other that what becomes JSON may have.
const DEEPEST: usize = 32;

/// More keys, and items of lists, than anybody writes: what is above it is not looked at.
const MOST: usize = 100_000;

/// Parts that a dotted key may have: each is a table inside the one before.
const PARTS: usize = 1_000;

/// What is said of a text that would take far more time or memory than its length.
pub(super) fn too_large(content: &str) -> Option<String> {
    // What is made of each of them takes a hundred times its letters.
    if content.bytes().filter(|byte| b".=,[{".contains(byte)).count() > MOST {
        return Some(format!(
            "has more than {MOST} keys and items: this is not a configuration file"
        ));
    }
    let dots = |run: &str| run.bytes().filter(|byte| *byte == b'.').count();
    let deep =
        content.split(['\n', '=', ',', '[', ']', '{', '}', '#']).any(|run| dots(run) > PARTS);
    deep.then(|| format!("has a key of more than {PARTS} parts: this is not a configuration file"))
}

/// Reads a file's text.
pub(super) fn read(file: &Path, content: &str) -> Document {
    let text = Text::new(file, content);
    if let Some(message) = too_large(content) {
        let place = super::fault::Place::File(file.into());
        return Document {
            faults: vec![Fault { place, message, excerpt: None, key: None }],
            ..Document::empty()
        };
    }
    let (root, errors) = DeTable::parse_recoverable(content);
    let (template, metric, export) = (template(), metric_template(), export_template());
    let mut reader = Reader {
        text,
        template: &template,
        metric: &metric,
        export: &export,
        spans: HashMap::new(),
        faults: Vec::new(),
        more: 0,
    };
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let message = || error.message().replace('\n', "; ");
        reader.fault("", span, Quote::Nothing, message);
    }
    if !reader.faults.is_empty() {
        // What a recovering parser makes of the rest is a guess; faults in a guess would mislead.
        return Document { faults: reader.faults, more: reader.more, ..Document::empty() };
    }
    let table = reader.section(root.get_ref(), &template, &mut Vec::new());
    Document { table, spans: reader.spans, faults: reader.faults, more: reader.more }
}

struct Reader<'a> {
    text: Text<'a>,
    template: &'a Table,
    metric: &'a Table,
    export: &'a Table,
    spans: HashMap<String, Spans>,
    faults: Vec<Fault>,
    more: usize,
}

impl Reader<'_> {
    /// `key`: the path of what is at fault; empty: no key is.
    fn fault(
        &mut self,
        key: &str,
        span: Range<usize>,
        quote: Quote<'_>,
        message: impl FnOnce() -> String,
    ) {
        if self.faults.len() < LISTED {
            let key = (!key.is_empty()).then(|| key.to_owned());
            self.faults.push(Fault { key, ..self.text.fault(span, message(), quote) });
        } else {
            self.more += 1;
        }
    }

    /// A fault in the value of a known key, or in an item of its list.
    fn wrong(&mut self, span: Range<usize>, path: &[String], message: impl FnOnce(&str) -> String) {
        let key = dotted(path);
        let spans = self
            .spans
            .get(&key)
            .cloned()
            .unwrap_or(Spans { key: span.clone(), value: span.clone() });
        self.fault(&key, span, quote(&key, &spans), || message(&key));
    }

    /// A table whose keys are fixed.
    fn section(&mut self, table: &DeTable<'_>, template: &Table, path: &mut Vec<String>) -> Table {
        let mut known = Table::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let Some(expected) = template.get(name) else {
                let (known, at) = (self.template, join(&dotted(path), name));
                self.fault(&at, key.span(), Quote::Key(&key.span()), || {
                    unknown(name, template, known, &dotted(path))
                });
                continue;
            };
            if let Some(value) = self.entry(key, value, expected, path) {
                known.insert(name.to_owned(), value);
            }
        }
        known
    }

    fn entry(
        &mut self,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        expected: &Value,
        path: &mut Vec<String>,
    ) -> Option<Value> {
        path.push(key.get_ref().as_ref().to_owned());
        self.spans.insert(dotted(path), Spans { key: key.span(), value: value.span() });
        let read = self.value(value, expected, path);
        path.pop();
        read
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        expected: &Value,
        path: &mut Vec<String>,
    ) -> Option<Value> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match (names.as_slice(), expected, value.get_ref()) {
            (
                ["metrics", _, "config"] | ["export", "prometheus", _, "params"],
                _,
                DeValue::Table(table),
            ) => self.free_table(table, path).map(Value::Table),
            (["metrics"], _, DeValue::Table(table)) => {
                let metric = Value::Table(self.metric.clone());
                Some(Value::Table(self.named(table, &metric, path)))
            }
            (["export", "prometheus"], _, DeValue::Table(table)) => {
                let export = Value::Table(self.export.clone());
                Some(Value::Table(self.named(table, &export, path)))
            }
            (
                ["kafka", "settings"]
                | ["events", "aliases"]
                | ["metrics", _, "retention"]
                | ["export", "prometheus", _, "labels"],
                _,
                DeValue::Table(table),
            ) => Some(Value::Table(self.named(table, &Value::String(String::new()), path))),
            (_, Value::Table(template), DeValue::Table(table)) => {
                Some(Value::Table(self.section(table, template, path)))
            }
            (_, Value::String(_), DeValue::String(text)) => self.word(value.span(), text, path),
            (_, Value::Boolean(_), DeValue::Boolean(flag)) => Some(Value::Boolean(*flag)),
            (_, Value::Integer(_), DeValue::Integer(_)) => self.integer(value, path),
            (_, Value::Array(_), DeValue::Array(items)) => {
                let mut texts = Vec::with_capacity(items.len());
                for (n, item) in items.iter().enumerate() {
                    self.spans.insert(
                        format!("{}[{n}]", dotted(path)),
                        Spans { key: item.span(), value: item.span() },
                    );
                    match item.get_ref() {
                        DeValue::String(text) => texts.push(Value::String(text.to_string())),
                        other => {
                            let found = type_name(other);
                            self.wrong(item.span(), path, |key| {
                                format!("{key}[{n}] must be text, not {found}")
                            });
                        }
                    }
                }
                (texts.len() == items.len()).then_some(Value::Array(texts))
            }
            (_, expected, found) => {
                self.wrong(value.span(), path, |key| wrong_type(key, expected, found));
                None
            }
        }
    }

    /// A table whose keys the user chooses, all values of one type.
    fn named(&mut self, table: &DeTable<'_>, expected: &Value, path: &mut Vec<String>) -> Table {
        let mut read = Table::new();
        for (key, value) in table {
            if let Some(value) = self.entry(key, value, expected, path) {
                read.insert(key.get_ref().to_string(), value);
            }
        }
        read
    }

    fn word(&mut self, span: Range<usize>, text: &str, path: &[String]) -> Option<Value> {
        let key = dotted(path);
        let Some(words) = choices(&key) else { return Some(Value::String(text.to_owned())) };
        if words.contains(&text) {
            return Some(Value::String(text.to_owned()));
        }
        self.wrong(span, path, |key| {
            let near = nearest(text, words.iter().copied());
            let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            let choices: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            format!("{key} must be {}, not {}{hint}", choices.join(" or "), quoted(text))
        });
        None
    }

    fn integer(&mut self, value: &Spanned<DeValue<'_>>, path: &[String]) -> Option<Value> {
        let key = dotted(path);
        let allowed = range(&key);
        let number = integer(value.get_ref());
        match number {
            Some(number) if allowed.contains(&number) => Some(Value::Integer(number)),
            _ => {
                let (low, high) = (allowed.start(), allowed.end());
                self.wrong(value.span(), path, |key| {
                    format!("{key} must be a whole number from {low} to {high}")
                });
                None
            }
        }
    }

    /// `[metrics.NAME.config]` and the params of an export belong to a plugin: anything JSON can
    /// say.
    fn free_table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) -> Option<Table> {
        let mut read = Some(Table::new());
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.spans.insert(dotted(path), Spans { key: key.span(), value: value.span() });
            match (self.free(value, path), &mut read) {
                (Some(value), Some(read)) => drop(read.insert(key.get_ref().to_string(), value)),
                _ => read = None,
            }
            path.pop();
        }
        read
    }

    fn free(&mut self, value: &Spanned<DeValue<'_>>, path: &mut Vec<String>) -> Option<Value> {
        if path.len() > DEEPEST {
            self.wrong(value.span(), path, |_| {
                format!("what a plugin gets is at most {DEEPEST} tables deep")
            });
            return None;
        }
        Some(match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Integer(_) => match integer(value.get_ref()) {
                Some(number) => Value::Integer(number),
                None => {
                    self.wrong(value.span(), path, |key| {
                        format!("{key} does not fit into 64 bits")
                    });
                    return None;
                }
            },
            DeValue::Float(float) => match float.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => {
                    self.wrong(value.span(), path, |key| {
                        format!("{key} must be finite: plugins get it as JSON")
                    });
                    return None;
                }
            },
            // JSON has no dates; a plugin that wants one takes text.
            DeValue::Datetime(_) => {
                self.wrong(value.span(), path, |key| {
                    format!("{key} is a date, which JSON does not have: put it in quotes")
                });
                return None;
            }
            DeValue::Array(items) => {
                let read: Vec<Option<Value>> =
                    items.iter().map(|item| self.free(item, path)).collect();
                Value::Array(read.into_iter().collect::<Option<_>>()?)
            }
            DeValue::Table(table) => Value::Table(self.free_table(table, path)?),
        })
    }
}

/// What may be quoted of a key that Tally knows. Free keys may hold anything.
pub(super) fn quote<'a>(key: &str, spans: &'a Spans) -> Quote<'a> {
    let free = key.starts_with("kafka.settings.")
        || key.starts_with("metrics.") && key.contains(".config.")
        || key.starts_with("export.") && key.contains(".params.");
    let address = key.ends_with("url") || key == "kafka.brokers";
    if free || address || is_secret(key) {
        Quote::Key(&spans.key)
    } else {
        Quote::Pair(&spans.key, &spans.value)
    }
}

fn dotted(path: &[String]) -> String {
    path.iter().fold(String::new(), |path, key| join(&path, key))
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
