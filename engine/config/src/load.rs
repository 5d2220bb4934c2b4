//! Reading the configuration: flags before environment before file before default, with the origin
//! of every value.
//!
//! Pure but for reading the one file: the environment is handed in. Opens nothing that the
//! configuration names.

use super::document::{self, Document, Spans};
use super::fault::{ConfigError, Fault, LISTED, Place, Quote, Text};
use super::secret::{Secret, is_plain, is_secret, masked, quoted};
use super::{Config, check};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tally_system::files::{self, FileStamp, ReadError};
use toml::{Table, Value};

/// A configuration file is a page or two; more is a wrong file.
pub(super) const LARGEST_FILE: u64 = 1 << 20;

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
    /// Its stamp, from before it was read; `None`: there was none.
    pub stamp: Option<FileStamp>,
    /// Where each value that is not a default comes from, by key path.
    pub origins: BTreeMap<String, Place>,
    /// What was left out though it was set: a sentence for the log each.
    pub ignored: Vec<String>,
    /// The file's text and where its keys stand, to point at them.
    text: Secret,
    spans: HashMap<String, Spans>,
    /// The sections of the data directory that are among the values.
    pub(super) added: Option<Box<Loaded>>,
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
    // One that cannot be looked at is refused by who reads it.
    let stamp = path.as_deref().and_then(|path| FileStamp::of(path).ok().flatten());
    let read = match path {
        Some(path) => read_file(&path, required).map_err(ConfigError::of)?.map(|text| (path, text)),
        None => None,
    };
    let loaded = merge(
        read.as_ref().map(|(path, text)| (path.as_path(), text.as_str())),
        inputs.env,
        &inputs.flags,
    )?;
    Ok(Loaded { stamp, ..loaded })
}

/// The text of a configuration file; `None`: there is none, and none is required.
pub(super) fn read_file(path: &Path, required: bool) -> Result<Option<String>, Fault> {
    let fault = |message: String| Fault {
        place: Place::File(path.into()),
        message,
        excerpt: None,
        key: None,
    };
    match files::read(path, LARGEST_FILE) {
        Ok(bytes) => text_of(path, bytes).map(Some),
        Err(ReadError::Missing) if !required => Ok(None),
        Err(ReadError::Missing) => {
            Err(fault("the file does not exist; without -c the built-in defaults are used".into()))
        }
        Err(why @ ReadError::TooLarge(_)) => {
            Err(fault(format!("{why}: this is not a configuration file")))
        }
        Err(why) => Err(fault(why.to_string())),
    }
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let head = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let message = "is not UTF-8 from here on".into();
        Fault {
            excerpt: None,
            ..Text::new(path, &head).fault(valid..valid, message, Quote::Nothing)
        }
    })
}

/// A variable that a platform wrote for a service of that name (Kubernetes:
/// `REDIS_PORT=tcp://10.96.12.7:6379`).
fn is_of_a_platform(value: &str) -> bool {
    value.trim_start().get(..6).is_some_and(|start| start.eq_ignore_ascii_case("tcp://"))
}

/// Everything after reading; `file` is a path (for messages and relative folders) and a text.
pub(super) fn merge(
    file: Option<(&Path, &str)>,
    env: &dyn Fn(&str) -> Option<String>,
    flags: &[Flag],
) -> Result<Loaded, ConfigError> {
    let document = match file {
        Some((path, text)) => document::read(path, text),
        None => Document::empty(),
    };
    let Document { mut table, spans, mut faults, mut more } = document;
    let mut origins = file.map(|(path, content)| spots(path, content, &spans)).unwrap_or_default();
    set_variables(env, &mut table, &mut origins, &mut faults);
    for flag in flags {
        put(&mut table, flag.key, Value::String(flag.value.clone()));
        origins.insert(flag.key.into(), Place::Flag(flag.flag.into()));
    }

    match Config::try_from_table(table) {
        Ok(mut config) => {
            let mut complaints = check::check(&config);
            let has = |key: &String| origins.contains_key(key);
            complaints.retain(|complaint| !complaint.lacks.as_ref().is_some_and(has));
            let listed = complaints.len().min(LISTED.saturating_sub(faults.len()));
            more += complaints.len() - listed;
            let text = file.map(|(path, content)| Text::new(path, content));
            let place = |complaint| located(complaint, &origins, &spans, text.as_ref());
            faults.extend(complaints.iter().take(listed).map(place));
            if faults.is_empty() {
                resolve(&mut config, &origins, file.map(|(path, _)| path));
                let (file, text) =
                    file.map_or((None, ""), |(path, text)| (Some(path.into()), text));
                return Ok(Loaded {
                    config,
                    file,
                    stamp: None,
                    origins,
                    ignored: ignored(env),
                    text: text.into(),
                    spans,
                    added: None,
                });
            }
        }
        // The document reader let something through that the types refuse; still a sentence, not a
        // panic.
        Err(message) if faults.is_empty() => {
            let place = file.map_or(Place::Default, |(path, _)| Place::File(path.into()));
            faults.push(Fault { place, message, excerpt: None, key: None });
        }
        Err(_) => {}
    }
    faults.sort_by_key(|fault| match fault.place {
        Place::Spot { line, column, .. } => (line, column),
        _ => (usize::MAX, 0),
    });
    Err(ConfigError { faults, more })
}

/// Where the file sets each key.
fn spots(path: &Path, content: &str, spans: &HashMap<String, Spans>) -> BTreeMap<String, Place> {
    let text = Text::new(path, content);
    let spot = |at: &Spans| {
        let (line, column) = text.line_column(at.key.start);
        Place::Spot { file: path.into(), line, column }
    };
    spans.iter().map(|(key, at)| (key.clone(), spot(at))).collect()
}

/// Sets what environment variables say.
fn set_variables(
    env: &dyn Fn(&str) -> Option<String>,
    table: &mut Table,
    origins: &mut BTreeMap<String, Place>,
    faults: &mut Vec<Fault>,
) {
    let set = |name: &str| env(name).filter(|value| !value.is_empty() && !is_of_a_platform(value));
    for (name, key) in ENV_KEYS {
        if let Some(value) = set(name) {
            origins.insert(key.into(), Place::Env(name.into()));
            match value_of(key, &value) {
                Ok(value) => put(table, key, value),
                Err(message) => {
                    let place = Place::Env(name.into());
                    faults.push(Fault { place, message, excerpt: None, key: Some(key.into()) });
                }
            }
        }
    }
    for (name, key, kind) in ENV_KINDS {
        if set(name).is_some() {
            put(table, key, Value::String(kind.into()));
            origins.insert(key.into(), Place::Env(name.into()));
        }
    }
}

/// A sentence for each environment variable that was set by a platform and is therefore not read.
fn ignored(env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let names = ENV_KEYS.into_iter().map(|(name, _)| name);
    let by_platforms = names.filter(|name| env(name).as_deref().is_some_and(is_of_a_platform));
    let sentence = |name: &str| {
        format!(
            "environment variable {name} is ignored: it begins with tcp://, as platforms set it \
             for a service of that name"
        )
    };
    by_platforms.map(sentence).collect()
}

impl Config {
    fn try_from_table(table: Table) -> Result<Config, String> {
        // What the deserialiser says quotes the value.
        table
            .try_into()
            .map_err(|_| "has a value of the wrong type; compare it with metrics.toml".into())
    }
}

/// The text of an environment variable as what its key holds.
fn value_of(key: &str, text: &str) -> Result<Value, String> {
    if key != "redis.port" {
        return Ok(Value::String(text.into()));
    }
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    port.map(|port| Value::Integer(port.into()))
        .ok_or_else(|| format!("{} is not a port (1–65535)", quoted(text)))
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
    spans: &HashMap<String, Spans>,
    text: Option<&Text<'_>>,
) -> Fault {
    let message = format!("{} {}", complaint.key, complaint.message);
    // Of an item of a list the list's key stands in the file.
    let list = complaint
        .key
        .split_once('[')
        .filter(|_| complaint.key.ends_with(']'))
        .map(|(list, _)| list);
    let key = list.filter(|list| origins.contains_key(*list)).unwrap_or(&complaint.key);
    let fault = match (origins.get(key), spans.get(&complaint.key), text) {
        (Some(Place::Spot { .. }), Some(at), Some(text)) => {
            let span = if complaint.in_key { at.key.clone() } else { at.value.clone() };
            text.fault(span, message, document::quote(key, spans.get(key).unwrap_or(at)))
        }
        (place, ..) => {
            let place = place.cloned().unwrap_or(Place::Default);
            Fault { place, message, excerpt: None, key: None }
        }
    };
    Fault { key: Some(complaint.key.clone()), ..fault }
}

/// Folders that the file names, or would name by default, are beside the file; those of flags are
/// where the user stands.
fn resolve(config: &mut Config, origins: &BTreeMap<String, Place>, file: Option<&Path>) {
    let Some(folder) = file.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty())
    else {
        return;
    };
    let beside = |key: &str| matches!(origins.get(key), None | Some(Place::Spot { .. }));
    if beside("plugins.dir") {
        config.plugins.dir = folder.join(&config.plugins.dir);
    }
    if beside("store.data_dir") {
        config.store.data_dir = folder.join(&config.store.data_dir);
    }
    if beside("server.boards") && !config.server.boards.as_os_str().is_empty() {
        config.server.boards = folder.join(&config.server.boards);
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

/// A value as it may be shown, lists and tables too.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(text)),
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        Value::Table(table) => Value::Table(
            table
                .iter()
                .map(|(key, value)| match is_secret(key) {
                    true => (key.clone(), Value::String("***".into())),
                    false => (key.clone(), without_secrets(value)),
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

impl Loaded {
    /// A fault at a key of this configuration, for who judges what types cannot say; where the key
    /// was not set, at the nearest table around it that stands in the file.
    #[must_use]
    pub fn fault(&self, key: &str, message: String) -> Fault {
        if let Some(added) = self.added.as_ref().filter(|added| added.has_section_of(key)) {
            return added.fault(key, message);
        }
        let text = self.file.as_deref().map(|file| Text::new(file, self.text.reveal()));
        let mut at = key;
        while !self.origins.contains_key(at) {
            match at.rsplit_once('.') {
                Some((around, _)) => at = around,
                None => break,
            }
        }
        let in_key = at != key
            || matches!(self.spans.get(at), Some(spans) if spans.value.start < spans.key.start);
        let complaint =
            check::Complaint { key: at.to_owned(), in_key, message: String::new(), lacks: None };
        let located = located(&complaint, &self.origins, &self.spans, text.as_ref());
        Fault { message, key: Some(key.to_owned()), ..located }
    }

    /// The value of a key without what may be secret. What the types hide is looked up and masked.
    fn shown(&self, key: &str, value: &Value) -> Value {
        let config = &self.config;
        let setting = || {
            let name = |name: &&String| document::join("kafka.settings", name) == key;
            config
                .kafka
                .settings
                .iter()
                .find(|(setting, _)| name(setting))
                .map(|(_, value)| value.reveal())
        };
        let hidden = match key {
            "redis.url" => Some(config.redis.url.reveal()),
            "catalogue.postgres_url" => Some(config.catalogue.postgres_url.reveal()),
            "kafka.brokers" => Some(config.kafka.brokers.as_str()),
            _ if key.starts_with("kafka.settings.") => setting(),
            _ => return without_secrets(value),
        };
        let hosts = |text: &str| text.split(',').all(|host| super::secret::is_host(host.trim()));
        match hidden {
            // Without a scheme only hosts are certainly no secret.
            Some(text)
                if !key.starts_with("kafka.settings.")
                    && !text.contains("://")
                    && is_plain(text)
                    && !hosts(text) =>
            {
                Value::String("***".into())
            }
            Some(text) => Value::String(masked(text)),
            None => Value::String("***".into()),
        }
    }

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
                    let added = self.added.as_ref().and_then(|added| added.origins.get(&key));
                    let origin = self.origins.get(&key).or(added);
                    let origin = origin.cloned().unwrap_or(Place::Default);
                    let value = (!is_secret(&key)).then(|| self.shown(&key, value));
                    settings.push(Setting { key, value, origin });
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
