//! What a start cannot see in the plugin folder: which revision of each metric answered, what a
//! person decided on a newer one, and until when a previous one receives events. Written beside the
//! private copies of plugin files whenever it changes.
//!
//! Promises: a decision on a revision outlives the engine. Of two revisions the folder's is the
//! newer one. An entry that cannot be read is logged and left out; then the folder's revision
//! answers, once it has counted.

use crate::config::MetricConfig;
use crate::engine::catalog::PromotionWish;
use crate::file_draft;
use crate::files::{self, ReadError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of the file: several times what a thousand metrics take.
const LARGEST: u64 = 64 << 20;

/// A revision by the code that counts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct NotedCode {
    /// Hash of its file's content; the private copy is named after it.
    pub(in crate::engine) sha256: String,
    /// Its section of the configuration.
    pub(in crate::engine) section: MetricConfig,
    /// Its number, 16 hexadecimal digits; engines before this format did not note it.
    #[serde(default)]
    pub(in crate::engine) revision: Option<String>,
}

/// What is noted of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct NotedMetric {
    /// The revision that answers.
    #[serde(flatten)]
    pub(in crate::engine) answering: NotedCode,
    /// Whether a person has to promote the newer one: for older engines, which do not read `newer`.
    #[serde(default)]
    pub(in crate::engine) held: bool,
    /// The newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) newer: Option<NotedNewer>,
    /// The previous one, while it receives events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) before: Option<NotedPrevious>,
}

/// A newer revision; its code is the folder's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct NotedNewer {
    /// Its number, 16 hexadecimal digits.
    pub(in crate::engine) revision: String,
    pub(in crate::engine) will: PromotionWish,
}

/// A previous revision that still receives events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::engine) struct NotedPrevious {
    #[serde(flatten)]
    pub(in crate::engine) code: NotedCode,
    /// Until when, Unix milliseconds.
    pub(in crate::engine) until: i64,
}

/// By metric.
pub(in crate::engine) type NotedMetrics = BTreeMap<String, NotedMetric>;

/// The file.
pub(in crate::engine) struct Notebook {
    file: PathBuf,
    entries: NotedMetrics,
    /// The fault that was logged last; none once writing works.
    said: Option<String>,
}

impl Notebook {
    /// Reads what was noted.
    pub(in crate::engine) fn open(private: &Path) -> Notebook {
        let file = private.join("answering.json");
        let unknown = |what: &dyn std::fmt::Display| {
            tracing::warn!(
                file = %file.display(),
                "it is unknown which revisions answered: {what}"
            );
        };
        let mut entries = NotedMetrics::new();
        match files::read(&file, LARGEST) {
            Err(ReadError::Missing) => {}
            Err(fault) => unknown(&fault),
            Ok(text) => {
                match serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&text) {
                    Err(fault) => unknown(&fault),
                    Ok(noted) => {
                        for (name, entry) in noted {
                            match serde_json::from_value(entry) {
                                Ok(entry) => drop(entries.insert(name, entry)),
                                Err(fault) => unknown(&format!("{name}: {fault}")),
                            }
                        }
                    }
                }
            }
        }
        Notebook { file, entries, said: None }
    }

    /// What is noted of a metric.
    pub(in crate::engine) fn get(&self, name: &str) -> Option<&NotedMetric> {
        self.entries.get(name)
    }

    /// The plugin contents that a later start needs.
    pub(in crate::engine) fn contents(&self) -> impl Iterator<Item = &String> {
        let before = self.entries.values().filter_map(|entry| entry.before.as_ref());
        self.entries
            .values()
            .map(|entry| &entry.answering.sha256)
            .chain(before.map(|kept| &kept.code.sha256))
    }

    /// Notes these, and forgets the metrics named in `gone`; what is noted of others stays. Writes
    /// the file if that changes anything.
    pub(in crate::engine) fn note(&mut self, now: NotedMetrics, gone: &[&str]) {
        let mut entries = self.entries.clone();
        entries.retain(|name, _| !gone.contains(&name.as_str()));
        entries.extend(now);
        if entries == self.entries && self.said.is_none() {
            return;
        }
        self.entries = entries;
        let fault = self.write().err().map(|fault| fault.to_string());
        if let Some(fault) = fault.as_ref().filter(|fault| self.said.as_ref() != Some(fault)) {
            tracing::warn!(
                file = %self.file.display(),
                "the list of revisions that answer cannot be written, trying again: {fault}"
            );
        }
        self.said = fault;
    }

    fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        file_draft::replace(&self.file, &serde_json::to_vec_pretty(&self.entries)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that cannot make its files has failed
mod tests {
    use super::*;

    fn entry(until: i64) -> NotedMetric {
        let code = |sha256: &str, revision: &str| NotedCode {
            sha256: sha256.into(),
            section: toml::from_str("promote = \"manual\"\n[config.weights]\nbuy = 2\nsell = 0.5")
                .unwrap(),
            revision: Some(revision.into()),
        };
        NotedMetric {
            answering: code("aa", "1f"),
            held: true,
            newer: Some(NotedNewer {
                revision: "2f".into(),
                will: PromotionWish { waits: true, accepted: Some(5) },
            }),
            before: Some(NotedPrevious { code: code("bb", "0f"), until }),
        }
    }

    #[test]
    fn what_is_noted_outlives_a_restart_and_what_is_not_noted_again_stays() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("copies");
        let mut notebook = Notebook::open(&private);
        notebook.note([("a".to_owned(), entry(1)), ("b".to_owned(), entry(2))].into(), &[]);
        let mut notebook = Notebook::open(&private);
        assert_eq!((notebook.get("a"), notebook.get("b")), (Some(&entry(1)), Some(&entry(2))));
        notebook.note([("a".to_owned(), entry(7))].into(), &[]);
        notebook.note(NotedMetrics::new(), &["c"]);
        let mut notebook = Notebook::open(&private);
        assert_eq!((notebook.get("a"), notebook.get("b")), (Some(&entry(7)), Some(&entry(2))));
        assert_eq!(notebook.contents().collect::<Vec<_>>(), ["aa", "aa", "bb", "bb"]);
        notebook.note(NotedMetrics::new(), &["b"]);
        assert_eq!(Notebook::open(&private).get("b"), None);
    }

    #[test]
    fn a_book_of_an_older_engine_is_read_and_one_bad_entry_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"old": {"sha256": "aa", "section": {"keep_old": "2h"}, "held": true}, "bad": {"sha256": 7}}"#;
        fs::write(folder.path().join("answering.json"), text).unwrap();
        let notebook = Notebook::open(folder.path());
        let old = notebook.get("old").unwrap();
        assert_eq!(
            (old.answering.sha256.as_str(), &old.answering.revision, old.held),
            ("aa", &None, true)
        );
        assert_eq!((&old.newer, &old.before, notebook.get("bad")), (&None, &None, None));
    }
}
