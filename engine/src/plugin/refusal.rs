//! What was refused of plugin files and sections of the configuration: which, why, and where to look.

use crate::config::document_key;
use std::path::PathBuf;

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
        RejectedFile { file: PathBuf::from(format!("[metrics.{name}]")), reason, section: Some(key) }
    }
}

/// Why a plugin and a section give no metric.
#[derive(Debug)]
pub(super) struct Unfit {
    /// A sentence.
    pub(super) reason: String,
    /// The key inside the section to look at; empty: none in particular.
    pub(super) key: String,
}
