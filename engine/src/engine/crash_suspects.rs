//! Which plugins ended the process: what the marks of earlier processes say, remembered in a file beside the state.
//!
//! A plugin is blamed where a cause stands beside its mark: a fatal signal of the thread that called it, an exit from within, a call
//! that hung. Without a cause (a `kill -9`, no memory, a power cut) nobody is blamed: the range in which the process ended is
//! given to that plugin event by event by the next process, and only one that ends at the same single event again is blamed. A blamed
//! plugin stands still until its file has another content; everything else counts. Judges only; loads and stops nothing.

use crate::files::{self, ReadError};
use crate::pipeline::{Called, Cause, Unreturned};
use crate::plugin;
use crate::progress::Quarantine;
use crate::store::RevisionId;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Suspicions that are remembered; the oldest are forgotten.
const MOST: usize = 64;

/// All of them, with room, bytes.
const LARGEST: u64 = 1 << 20;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct CrashSuspects {
    known: Vec<Suspicion>,
}

/// A place at which the process ended while a plugin was being called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Suspicion {
    metric: String,
    fingerprint: u64,
    /// Of the plugin's file.
    code: String,
    partition: u32,
    from: u64,
    to: u64,
    /// When it was found, Unix milliseconds.
    since: i64,
    /// Why the plugin is blamed; absent while it is only suspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blamed: Option<String>,
}

/// The half of a SHA-256 that names code here.
pub(super) fn code(plugin: &plugin::Metric) -> String {
    plugin.sha256().chars().take(32).collect()
}

impl CrashSuspects {
    /// Reads what is remembered, and adds what the process before left behind.
    pub(super) fn recall(file: &Path, found: Vec<Unreturned>, now: i64) -> CrashSuspects {
        let known = match files::read(file, LARGEST) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|fault| {
                tracing::warn!("{} cannot be read, so earlier suspicions are lost: {fault}", file.display());
                Vec::new()
            }),
            Err(ReadError::Missing) => Vec::new(),
            Err(fault) => {
                tracing::warn!("{} cannot be read, so no suspicions are known: {fault}", file.display());
                Vec::new()
            }
        };
        let mut crash_suspects = CrashSuspects { known };
        if found.is_empty() {
            return crash_suspects;
        }
        found.into_iter().for_each(|unreturned| crash_suspects.add(unreturned, now));
        let surplus = crash_suspects.known.len().saturating_sub(MOST);
        crash_suspects.known.drain(..surplus);
        if let Err(fault) = crash_suspects.write(file) {
            tracing::warn!(
                "{} cannot be written: {fault}; the next start will not know these suspicions",
                file.display()
            );
        }
        crash_suspects
    }

    fn add(&mut self, Unreturned { called, cause }: Unreturned, now: i64) {
        let Called { revision, code, partition, from, to } = called;
        let place = format!("offset {from} of partition {partition}");
        let before = self.known.iter().position(|known| {
            (&known.metric, known.fingerprint, &known.code) == (&revision.metric, revision.fingerprint, &code)
                && known.partition == partition
        });
        let again = before.is_some_and(|n| (self.known[n].from, self.known[n].to) == (from, to)) && to - from == 1;
        let blamed = match cause {
            Some(Cause::Signal(signal)) => {
                Some(format!("ended the process with signal {signal} in a batch from {place} on"))
            }
            Some(Cause::Exit) => Some(format!("ended the process by an exit from within, in a batch from {place} on")),
            Some(Cause::Hung) => {
                Some(format!("did not return from a batch from {place} on, until the process was ended"))
            }
            None if again => {
                Some(format!("was being called with the event at {place} both times when the process ended there"))
            }
            None => None,
        };
        match &blamed {
            Some(why) => tracing::error!(metric = revision.metric, "its plugin {why}"),
            None => tracing::warn!(
                metric = revision.metric,
                "the process ended while its plugin was being called, from {place} on; it is given these events one by one"
            ),
        }
        if let Some(n) = before {
            self.known.remove(n);
        }
        let RevisionId { metric, fingerprint } = revision;
        self.known.push(Suspicion { metric, fingerprint, code, partition, from, to, since: now, blamed });
    }

    /// Written beside and moved into place, so that it is whole or not there.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        let beside: PathBuf = file.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec_pretty(&self.known)?)?;
        std::fs::rename(beside, file)
    }

    fn of<'a>(&'a self, revision: &RevisionId, code: &str) -> impl Iterator<Item = &'a Suspicion> {
        let of = move |known: &&Suspicion, code: &str, revision: &RevisionId| {
            (&*known.metric, known.fingerprint, &*known.code) == (&*revision.metric, revision.fingerprint, code)
        };
        let (revision, code) = (revision.clone(), code.to_owned());
        self.known.iter().filter(move |known| of(known, &code, &revision))
    }

    /// Why this code of a revision is not called any more, if it is blamed.
    pub(super) fn blame(&self, revision: &RevisionId, code: &str) -> Option<Quarantine> {
        let why = self.of(revision, code).find_map(|known| known.blamed.as_ref())?;
        Some(Quarantine::Failing(format!(
            "the plugin {why} (fix it and put its file into the plugin folder: it goes on from there)"
        )))
    }

    /// Per partition the offsets that this code is given event by event.
    pub(super) fn suspected(&self, revision: &RevisionId, code: &str) -> Vec<(u32, Range<u64>)> {
        let only_suspected = self.of(revision, code).filter(|known| known.blamed.is_none());
        only_suspected.map(|known| (known.partition, known.from..known.to)).collect()
    }
}

#[cfg(test)]
#[path = "crash_suspects_tests.rs"]
mod tests;
