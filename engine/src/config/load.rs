//! Reading the configuration: flags before environment before file before default, with the origin of every value.
//!
//! Pure but for reading the one file: the environment is handed in. Opens nothing that the configuration names.

use super::document::{self, Document, Spans};
use super::fault::{ConfigError, Fault, Place, Text, is_secret};
use super::url::masked;
use super::{Config, check};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A configuration file is a page or two; more is a wrong file.
const LARGEST_FILE: u64 = 1 << 20;

/// Which file to read.
#[derive(Clone, Debug)]
pub enum FileChoice {
    /// None.
    Nothing,
    /// This one, if it exists.
    IfPresent(PathBuf),
    /// This one; its absence is a fault.
    Given(PathBuf),
}

/// A value from the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As the user writes it: `--listen`.
    pub flag: &'static str,
    /// Key path: `server.listen`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// Where values may come from.
pub struct Inputs<'a> {
    /// The file.
    pub file: FileChoice,
    /// Looks up an environment variable. Empty ones count as not set.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// From the command line; of text keys only.
    pub flags: Vec<Flag>,
}

/// A configuration that holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values; relative folders of the file are resolved against the file's folder.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where each value that is not a default comes from, by key path.
    pub origins: BTreeMap<String, Place>,
}

/// Environment variables and the keys they set.
const ENV_KEYS: [(&str, &str); 6] = [
    ("KAFKA_BROKER", "kafka.brokers"),
    ("TOPIC", "kafka.topic"),
    ("GROUP_ID", "kafka.group"),
    ("POSTGRES_URL", "catalogue.postgres_url"),
    ("REDIS_URL", "redis.url"),
    ("REDIS_PORT", "redis.port"),
];

/// Environment variables that also choose what they configure.
const ENV_KINDS: [(&str, &str, &str); 3] = [
    ("KAFKA_BROKER", "source.kind", "kafka"),
    ("REDIS_URL", "store.kind", "redis"),
    ("REDIS_PORT", "store.kind", "redis"),
];

/// Reads, merges and checks.
///
/// # Errors
/// [`ConfigError`] with every fault that could be found.
pub fn load(inputs: Inputs<'_>) -> Result<Loaded, ConfigError> {
    let (path, required) = match inputs.file {
        FileChoice::Nothing => (None, false),
        FileChoice::IfPresent(path) => (Some(path), false),
        FileChoice::Given(path) => (Some(path), true),
    };
    let read = match path {
        Some(path) => {
            read_file(&path, required).map_err(|fault| ConfigError { faults: vec![fault] })?.map(|text| (path, text))
        }
        None => None,
    };
    merge(read.as_ref().map(|(path, text)| (path.as_path(), text.as_str())), inputs.env, &inputs.flags)
}

fn read_file(path: &Path, required: bool) -> Result<Option<String>, Fault> {
    let fault = |message: String| Fault { place: Place::File(path.into()), message, excerpt: None };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(fault("is a folder, not a file".into())),
        Ok(found) if found.len() > LARGEST_FILE => {
            return Err(fault("is larger than 1 MiB: that is no configuration".into()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(fault("there is no such file; without -c the built-in defaults are used".into()));
        }
        Err(error) => return Err(fault(format!("cannot be read: {error}"))),
    }
    let bytes = std::fs::read(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let head = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            let mut fault = Text::new(path, &head).fault(valid..valid, "is not UTF-8 from here on".into());
            fault.excerpt = None;
            Err(fault)
        }
    }
}

/// Everything after reading; `file` is a path (for messages and relative folders) and a text.
pub(super) fn merge(
    file: Option<(&Path, &str)>,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &[Flag],
) -> Result<Loaded, ConfigError> {
    let document = match file {
        Some((path, text)) => document::read(path, text),
        None => Document { table: Table::new(), spans: Default::default(), faults: Vec::new() },
    };
    let Document { mut table, spans, mut faults } = document;
    let mut origins = BTreeMap::new();
    if let Some((path, content)) = file {
        let text = Text::new(path, content);
        for (key, at) in &spans {
            let (line, column) = text.line_column(at.key.start);
            origins.insert(key.clone(), Place::Spot { file: path.into(), line, column });
        }
    }

    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    for (name, key) in ENV_KEYS {
        if let Some(value) = set(name) {
            origins.insert(key.into(), Place::Env(name.into()));
            match value_of(key, &value) {
                Ok(value) => put(&mut table, key, value),
                Err(message) => faults.push(Fault { place: Place::Env(name.into()), message, excerpt: None }),
            }
        }
    }
    for (name, key, kind) in ENV_KINDS {
        if set(name).is_some() {
            put(&mut table, key, Value::String(kind.into()));
            origins.insert(key.into(), Place::Env(name.into()));
        }
    }
    for flag in flags {
        put(&mut table, flag.key, Value::String(flag.value.clone()));
        origins.insert(flag.key.into(), Place::Flag(flag.flag.into()));
    }

    match Config::try_from_table(table) {
        Ok(mut config) => {
            for complaint in check::check(&config) {
                faults.push(located(&complaint, &origins, &spans, file));
            }
            if faults.is_empty() {
                resolve(&mut config, &origins, file.map(|(path, _)| path));
                return Ok(Loaded { config, file: file.map(|(path, _)| path.into()), origins });
            }
        }
        // The document reader let something through that the types refuse; still a sentence, not a panic.
        Err(message) => {
            let place = file.map_or(Place::Default, |(path, _)| Place::File(path.into()));
            faults.push(Fault { place, message, excerpt: None });
        }
    }
    faults.sort_by_key(|fault| match fault.place {
        Place::Spot { line, column, .. } => (line, column),
        _ => (usize::MAX, 0),
    });
    Err(ConfigError { faults })
}

impl Config {
    fn try_from_table(table: Table) -> Result<Config, String> {
        table.try_into().map_err(|error| error.message().to_owned())
    }
}

/// The text of an environment variable as what its key holds.
fn value_of(key: &str, text: &str) -> Result<Value, String> {
    if key != "redis.port" {
        return Ok(Value::String(text.into()));
    }
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    port.map(|port| Value::Integer(port.into())).ok_or_else(|| format!("{text:?} is no port: 1 to 65535"))
}

/// Sets `section.key`; both exist in the types.
fn put(table: &mut Table, path: &str, value: Value) {
    let Some((section, key)) = path.split_once('.') else {
        return;
    };
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.into(), value);
    }
}

fn located(
    complaint: &check::Complaint,
    origins: &BTreeMap<String, Place>,
    spans: &std::collections::HashMap<String, Spans>,
    file: Option<(&Path, &str)>,
) -> Fault {
    let message = format!("{} {}", complaint.key, complaint.message);
    match (origins.get(&complaint.key), spans.get(&complaint.key), file) {
        (Some(Place::Spot { .. }), Some(at), Some((path, content))) => {
            let span = if complaint.in_key { at.key.clone() } else { at.value.clone() };
            Text::new(path, content).fault(span, message)
        }
        (place, ..) => Fault { place: place.cloned().unwrap_or(Place::Default), message, excerpt: None },
    }
}

/// Folders that the file names, or would name by default, are beside the file; those of flags are where the user stands.
fn resolve(config: &mut Config, origins: &BTreeMap<String, Place>, file: Option<&Path>) {
    let Some(folder) = file.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty()) else {
        return;
    };
    let beside = |key: &str| matches!(origins.get(key), None | Some(Place::Spot { .. }));
    if beside("plugins.dir") {
        config.plugins.dir = folder.join(&config.plugins.dir);
    }
    if beside("store.data_dir") {
        config.store.data_dir = folder.join(&config.store.data_dir);
    }
}

/// One line of `tally config show`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Key path.
    pub key: String,
    /// The value, a URL without its password; `None` for a secret.
    pub value: Option<Value>,
    /// Where it comes from.
    pub origin: Place,
}

impl Loaded {
    /// Every value in force, by key path. Empty tables show as such.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Ok(table) = Table::try_from(&self.config) {
            self.flatten(&table, "", &mut settings);
        }
        settings
    }

    fn flatten(&self, table: &Table, path: &str, settings: &mut Vec<Setting>) {
        for (key, value) in table {
            let key = document::join(path, key);
            match value {
                Value::Table(inner) if !inner.is_empty() => self.flatten(inner, &key, settings),
                value => {
                    let origin = self.origins.get(&key).cloned().unwrap_or(Place::Default);
                    let value = (!is_secret(&key)).then(|| match value {
                        Value::String(text) => Value::String(masked(text)),
                        other => other.clone(),
                    });
                    settings.push(Setting { key, value, origin });
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
