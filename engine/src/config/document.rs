//! From the text of `metrics.toml` to a table that certainly deserialises, with the place of everything in it.
//!
//! Unknown keys and wrong types are reported here, all of them, and left out of the table, so that the values that remain
//! can still be checked. The keys that exist are those of the serialised defaults: a key added to the types is known here.

use super::expected::{nearest, range, type_name, unknown, wrong_type};
use super::fault::{Fault, Text};
use super::{Config, MetricConfig};
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
}

/// Appends a key to a path, quoted where TOML wants quotes.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
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

/// Reads a file's text.
pub(super) fn read(file: &Path, content: &str) -> Document {
    let text = Text::new(file, content);
    let (root, errors) = DeTable::parse_recoverable(content);
    let mut reader = Reader { text, spans: HashMap::new(), faults: Vec::new() };
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reader.faults.push(reader.text.fault(span, error.message().replace('\n', "; ")));
    }
    if !reader.faults.is_empty() {
        // What a recovering parser makes of the rest is a guess; faults in a guess would mislead.
        return Document { table: Table::new(), spans: HashMap::new(), faults: reader.faults };
    }
    let table = reader.section(root.get_ref(), &template(), &mut Vec::new());
    Document { table, spans: reader.spans, faults: reader.faults }
}

struct Reader<'a> {
    text: Text<'a>,
    spans: HashMap<String, Spans>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, message: String) {
        self.faults.push(self.text.fault(span, message));
    }

    /// A table whose keys are fixed.
    fn section(&mut self, table: &DeTable<'_>, template: &Table, path: &mut Vec<String>) -> Table {
        let mut known = Table::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let Some(expected) = template.get(name) else {
                let message = unknown(name, template, &dotted(path));
                self.fault(key.span(), message);
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

    fn value(&mut self, value: &Spanned<DeValue<'_>>, expected: &Value, path: &mut Vec<String>) -> Option<Value> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match (names.as_slice(), expected, value.get_ref()) {
            (["metrics", _, "config"], _, DeValue::Table(table)) => self.free_table(table, path).map(Value::Table),
            (["metrics"], _, DeValue::Table(table)) => {
                let metric = Value::Table(metric_template());
                Some(Value::Table(self.named(table, &metric, path)))
            }
            (["kafka", "settings"] | ["events", "aliases"] | ["metrics", _, "retention"], _, DeValue::Table(table)) => {
                Some(Value::Table(self.named(table, &Value::String(String::new()), path)))
            }
            (_, Value::Table(template), DeValue::Table(table)) => {
                Some(Value::Table(self.section(table, template, path)))
            }
            (_, Value::String(_), DeValue::String(text)) => self.word(value.span(), text, path),
            (_, Value::Boolean(_), DeValue::Boolean(flag)) => Some(Value::Boolean(*flag)),
            (_, Value::Integer(_), DeValue::Integer(_)) => self.integer(value, path),
            (_, Value::Array(_), DeValue::Array(items)) => {
                let before = self.faults.len();
                let mut texts = Vec::new();
                for (n, item) in items.iter().enumerate() {
                    self.spans.insert(format!("{}[{n}]", dotted(path)), Spans { key: item.span(), value: item.span() });
                    match item.get_ref() {
                        DeValue::String(text) => texts.push(Value::String(text.to_string())),
                        other => {
                            let message = format!("{}[{n}] must be text, not {}", dotted(path), type_name(other));
                            self.fault(item.span(), message);
                        }
                    }
                }
                (self.faults.len() == before).then_some(Value::Array(texts))
            }
            (_, expected, found) => {
                let message = wrong_type(&dotted(path), expected, found);
                self.fault(value.span(), message);
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
        let words: &[&str] = match key.as_str() {
            "source.kind" => &["embedded", "kafka"],
            "source.on_gap" => &["halt", "continue"],
            "source.on_state_loss" => &["rebuild", "halt"],
            "store.kind" => &["embedded", "redis"],
            "kafka.start" => &["earliest", "latest"],
            "plugins.checksums" => &["off", "warn", "enforce"],
            "log.durability" => &["process", "power"],
            _ => return Some(Value::String(text.to_owned())),
        };
        if words.contains(&text) {
            return Some(Value::String(text.to_owned()));
        }
        let hint =
            nearest(text, words.iter().copied()).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        let choices: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        self.fault(span, format!("{key} must be {}, not {text:?}{hint}", choices.join(" or ")));
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
                self.fault(value.span(), format!("{key} must be a whole number from {low} to {high}"));
                None
            }
        }
    }

    /// `[metrics.NAME.config]` belongs to the plugin: anything JSON can say.
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
        Some(match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Integer(_) => match integer(value.get_ref()) {
                Some(number) => Value::Integer(number),
                None => {
                    self.fault(value.span(), format!("{} does not fit into 64 bits", dotted(path)));
                    return None;
                }
            },
            DeValue::Float(float) => match float.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => {
                    self.fault(
                        value.span(),
                        format!("{} must be finite: plugins get their configuration as JSON", dotted(path)),
                    );
                    return None;
                }
            },
            // JSON has no dates; a plugin that wants one takes text.
            DeValue::Datetime(_) => {
                self.fault(value.span(), format!("{} is a date, which JSON has not: put it in quotes", dotted(path)));
                return None;
            }
            DeValue::Array(items) => {
                let read: Vec<Option<Value>> = items.iter().map(|item| self.free(item, path)).collect();
                Value::Array(read.into_iter().collect::<Option<_>>()?)
            }
            DeValue::Table(table) => Value::Table(self.free_table(table, path)?),
        })
    }
}

fn dotted(path: &[String]) -> String {
    path.iter().fold(String::new(), |path, key| join(&path, key))
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
