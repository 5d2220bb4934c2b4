//! What was refused of plugin files and sections of the configuration: which, why, and what to do.

use std::fmt;
use std::path::PathBuf;
use tally_config::document_key;

/// Why a plugin file is not loaded. Its text goes after the file's name: `is empty (copy it
/// again)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// What kind of failure it is.
    pub kind: LoadErrorKind,
    /// What happened.
    pub what: String,
    /// What to do; empty where `what` says it.
    pub fix: String,
}

/// The kinds of failures to load a plugin file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// The file, its folder, or the place of the private copies cannot be read or written.
    Unreadable,
    /// Others could change what would run: its owner, its permissions, or the list of checksums
    /// does not vouch for it.
    Untrusted,
    /// It is not a plugin.
    NotAPlugin,
    /// It is not whole.
    Damaged,
    /// It was built for another machine, system or engine.
    Incompatible,
    /// What it says of itself cannot be served.
    Invalid,
}

impl LoadError {
    pub(super) fn new(
        kind: LoadErrorKind,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> LoadError {
        LoadError { kind, what: what.into(), fix: fix.into() }
    }

    /// Whether the same file may load later without a change to it.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        matches!(self.kind, LoadErrorKind::Unreadable | LoadErrorKind::Untrusted)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.what)?;
        if self.fix.is_empty() { Ok(()) } else { write!(to, " ({})", self.fix) }
    }
}

impl std::error::Error for LoadError {}

impl From<LoadError> for String {
    fn from(fault: LoadError) -> String {
        fault.to_string()
    }
}

/// A file, or a section of the configuration, that was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedFile {
    /// The file; for a section that cannot be served, `[metrics.NAME]`.
    pub file: PathBuf,
    /// One sentence.
    pub reason: String,
    /// For a section: the key to look at, `metrics.NAME.config.cells`.
    pub section: Option<String>,
}

impl RejectedFile {
    /// A file.
    pub(super) fn file(file: PathBuf, reason: String) -> RejectedFile {
        RejectedFile { file, reason, section: None }
    }

    /// A section; `key` is the path inside it, empty: the section as a whole.
    pub(super) fn of_section(name: &str, key: &str, reason: String) -> RejectedFile {
        let section = document_key("metrics", name);
        let key = if key.is_empty() { section } else { format!("{section}.{key}") };
        RejectedFile {
            file: PathBuf::from(format!("[metrics.{name}]")),
            reason,
            section: Some(key),
        }
    }
}

/// Why a plugin and a section give no metric.
#[derive(Debug)]
pub(super) struct Unfit {
    /// A sentence.
    pub(super) reason: String,
    /// The same without the metric's name and without a cure.
    pub(super) what: String,
    /// The key inside the section to look at; empty: none in particular.
    pub(super) key: String,
    /// What the plugin's schema has against single keys.
    pub(super) faults: Vec<KeyFault>,
}

/// What is wrong with a key of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// Its path inside the section, `config.cells`; empty: the section as a whole.
    pub key: String,
    /// One sentence.
    pub reason: String,
}

impl Unfit {
    /// Key by key; never empty.
    pub(super) fn into_faults(self) -> Vec<KeyFault> {
        let Unfit { reason, key, faults, .. } = self;
        if faults.is_empty() { vec![KeyFault { key, reason }] } else { faults }
    }
}
