//! `sections.toml` of the data directory: the `[metrics.NAME]` sections that were added while an
//! engine ran.
//!
//! Promises: the reader of `metrics.toml` reads it, and judges a section that is to be added, so
//! what is added can be read again; what it was given is kept as it was given, comments apart. What
//! a section takes in memory is bounded before it is read ([`super::judge_size`]).
//! Where both files have a section of a name, that of `metrics.toml` counts. Writes nothing.

use super::MetricConfig;
use super::check::MOST_METRICS;
use super::document::{join, too_large};
use super::fault::{ConfigError, Fault, Place};
use super::load::{LARGEST_FILE, Loaded, merge, read_file};
use super::section_size::{self, FILE_PATHS};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The file's name in the data directory.
pub const SECTIONS_FILE: &str = "sections.toml";

/// What the file begins with.
const HEAD: &str = "# Written by the engine: PUT and DELETE /api/sections/NAME. A section of the \
                    same name in metrics.toml\n# goes before one of these.\n\n";

/// What to do about a file that no start can read.
const REMEDY: &str = "correct it, or move the file away: the metrics that it adds are then no \
                      longer served, and what they counted stays stored";

/// The sections of a data directory.
#[derive(Clone, Debug)]
pub struct Sections {
    file: PathBuf,
    /// As they were given.
    given: BTreeMap<String, Table>,
    /// What they mean.
    loaded: Loaded,
}

/// Something that is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionFault {
    /// JSON pointer of the key inside the section; empty: the section as a whole.
    pub pointer: String,
    /// What is wrong and what to do, one line.
    pub detail: String,
}

impl Sections {
    /// Reads the file of a data directory. Without one there are no sections.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault that could be found, and what to do about them.
    pub fn open(data_dir: &Path) -> Result<Sections, ConfigError> {
        Sections::read(data_dir.join(SECTIONS_FILE)).map_err(|mut error| {
            if let Some(first) = error.faults.first_mut() {
                first.message = format!("{} ({REMEDY})", first.message);
            }
            error
        })
    }

    /// Reads the same file once more; one that is missing is as it was.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault that could be found.
    pub fn again(&self) -> Result<Sections, ConfigError> {
        match read_file(&self.file, false).map_err(ConfigError::of)? {
            Some(text) => Sections::of(self.file.clone(), &text),
            None => Ok(self.clone()),
        }
    }

    fn read(file: PathBuf) -> Result<Sections, ConfigError> {
        let text = read_file(&file, false).map_err(ConfigError::of)?;
        Sections::of(file, &text.unwrap_or_default())
    }

    fn of(file: PathBuf, text: &str) -> Result<Sections, ConfigError> {
        let given = sizable(&file, text)?;
        let loaded = merge(Some((file.as_path(), text)), &|_| None, &[])?;
        let is_other = |key: &&String| !key.contains('.') && key.as_str() != "metrics";
        let other = loaded.origins.keys().filter(is_other);
        let message = "only [metrics.NAME] sections stand in this file: write it into metrics.toml";
        let faults: Vec<Fault> = other.map(|key| loaded.fault(key, message.to_owned())).collect();
        if let Some(error) = ConfigError::listing(faults) {
            return Err(error);
        }
        Ok(Sections { file, given, loaded })
    }

    /// With one more section, or another one of its name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn with(&self, name: &str, section: Table) -> Result<Sections, Vec<SectionFault>> {
        let mut given = self.given.clone();
        given.insert(name.to_owned(), section);
        self.of_given(given).map_err(|error| {
            let pointer = |fault: &Fault| {
                fault.key.as_ref().map_or_else(String::new, |key| pointer_in(name, key))
            };
            let fault = |fault: Fault| {
                // An excerpt is of a text that nobody has written.
                SectionFault { pointer: pointer(&fault), detail: fault.message }
            };
            error.faults.into_iter().map(fault).collect()
        })
    }

    /// Without the section of this name.
    ///
    /// # Errors
    /// None, unless the other sections cannot be read either.
    pub fn without(&self, name: &str) -> Result<Sections, ConfigError> {
        let mut given = self.given.clone();
        given.remove(name);
        self.of_given(given)
    }

    /// Whether those of a configuration file may stand beside these.
    ///
    /// # Errors
    /// Together they are more than are served.
    pub fn judge_beside(&self, file: &BTreeMap<String, MetricConfig>) -> Result<(), ConfigError> {
        let own = self.given.keys().filter(|name| !file.contains_key(*name)).count();
        let all = file.len() + own;
        if all <= MOST_METRICS {
            return Ok(());
        }
        Err(of_file(
            &self.file,
            format!(
                "its {own} sections and the {} of the configuration file are {all}; at most \
                 {MOST_METRICS} are served: take some away",
                file.len()
            ),
        ))
    }

    fn of_given(&self, given: BTreeMap<String, Table>) -> Result<Sections, ConfigError> {
        let fault = |message: String| of_file(&self.file, message);
        let text = text_of(&given).map_err(|error| fault(error.to_string()))?;
        if (HEAD.len() + text.len()) as u64 > LARGEST_FILE {
            return Err(fault(format!(
                "{SECTIONS_FILE} would have more than {} KiB: take sections away, or write some \
                 into metrics.toml",
                LARGEST_FILE >> 10
            )));
        }
        Sections::of(self.file.clone(), &text)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The text that the file has to have.
    #[must_use]
    pub fn text(&self) -> String {
        // What was read can be written.
        format!("{HEAD}{}", text_of(&self.given).unwrap_or_default())
    }

    /// The sections as they were given, by name.
    #[must_use]
    pub fn given(&self) -> &BTreeMap<String, Table> {
        &self.given
    }

    /// What they mean, by name.
    #[must_use]
    pub fn metrics(&self) -> &BTreeMap<String, MetricConfig> {
        &self.loaded.config.metrics
    }
}

fn of_file(file: &Path, message: String) -> ConfigError {
    let place = Place::File(file.to_owned());
    ConfigError::of(Fault { place, message, excerpt: None, key: None })
}

/// The sections of a text, as they were given; none of a text that the reader refuses.
///
/// # Errors
/// What is larger than a section may be.
fn sizable(file: &Path, text: &str) -> Result<BTreeMap<String, Table>, ConfigError> {
    let parsed = if too_large(text).is_none() { text.parse::<Table>().ok() } else { None };
    let metrics = parsed.and_then(|mut whole| whole.remove("metrics"));
    let Some(Value::Table(sections)) = metrics else { return Ok(BTreeMap::new()) };
    let table = |(name, section)| match section {
        Value::Table(section) => Some((name, section)),
        _ => None,
    };
    let given: BTreeMap<String, Table> = sections.into_iter().filter_map(table).collect();
    let (mut faults, mut paths) = (Vec::new(), 0_usize);
    for (name, section) in &given {
        match section_size::judge(name, section) {
            Ok(bytes) => paths = paths.saturating_add(bytes),
            Err(SectionFault { detail, .. }) => {
                let shown: String = name.chars().take(64).collect();
                let message = format!("[metrics.{}] {detail}", shown.escape_debug());
                let place = Place::File(file.to_owned());
                faults.push(Fault { place, message, excerpt: None, key: None });
            }
        }
    }
    if let Some(error) = ConfigError::listing(faults) {
        return Err(error);
    }
    if paths > FILE_PATHS {
        let most = FILE_PATHS >> 20;
        let message = format!(
            "has keys whose paths are more than {most} MiB together: take sections away, or put \
             long keys less deep"
        );
        return Err(of_file(file, message));
    }
    Ok(given)
}

impl Loaded {
    /// Adds the sections of the data directory whose names this configuration does not have;
    /// returns the names of the others.
    pub fn add_sections(&mut self, sections: Sections) -> Vec<String> {
        let mut added = sections.loaded;
        let names = added.config.metrics.keys();
        let other: Vec<String> =
            names.filter(|name| self.config.metrics.contains_key(*name)).cloned().collect();
        for name in &other {
            added.config.metrics.remove(name);
            added.origins.retain(|key, _| !is_inside(name, key));
        }
        self.config.metrics.extend(added.config.metrics.clone());
        self.added = Some(Box::new(added));
        other
    }

    /// How many sections of the data directory were added.
    #[must_use]
    pub fn count_added(&self) -> usize {
        self.added.as_ref().map_or(0, |added| added.config.metrics.len())
    }

    /// Whether a key is one of a section that is here.
    pub(super) fn has_section_of(&self, key: &str) -> bool {
        self.config.metrics.keys().any(|name| is_inside(name, key))
    }
}

/// Whether a key is a section or in it.
fn is_inside(name: &str, key: &str) -> bool {
    let rest = key.strip_prefix(&join("metrics", name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Where a key is in the section of a metric, as a JSON pointer; the section as a whole where it is
/// not in it.
#[must_use]
pub fn pointer_in(name: &str, key: &str) -> String {
    let section = join("metrics", name);
    let inside = key.strip_prefix(&section).and_then(|rest| rest.strip_prefix('.'));
    // A key with a line break in it is written in a way that no key may have: then the section.
    let parsed = inside.and_then(|inside| format!("{inside} = 0").parse::<Table>().ok());
    let Some(mut table) = parsed else { return String::new() };
    let mut pointer = String::new();
    while let Some((key, value)) = std::mem::take(&mut table).into_iter().next() {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        if let Value::Table(inner) = value {
            table = inner;
        }
    }
    pointer
}

/// A section as a person writes it into a configuration file.
#[must_use]
pub fn section_toml(name: &str, section: &Table) -> String {
    let one = BTreeMap::from([(name.to_owned(), section.clone())]);
    // What was read can be written.
    text_of(&one).unwrap_or_default()
}

impl MetricConfig {
    /// The keys that are not as they would be without the section.
    #[must_use]
    pub fn given(&self) -> Table {
        // Cannot fail: plain maps, texts and integers below 2⁶³.
        let of = |section: &MetricConfig| Table::try_from(section).unwrap_or_default();
        let (mut given, usual) = (of(self), of(&MetricConfig::default()));
        given.retain(|key, value| usual.get(key) != Some(&*value));
        given
    }
}

fn text_of(sections: &BTreeMap<String, Table>) -> Result<String, toml::ser::Error> {
    if sections.is_empty() {
        return Ok(String::new());
    }
    let each = sections.iter().map(|(name, section)| (name.clone(), Value::Table(section.clone())));
    let metrics = Value::Table(each.collect());
    toml::to_string(&Table::from_iter([("metrics".to_owned(), metrics)]))
}

#[cfg(test)]
#[path = "sections_tests.rs"]
mod tests;
