//! Which plugins ended the process: the conclusions from the marks of earlier processes, kept in a
//! file beside the state.
//!
//! A plugin is blamed if a cause is noted with its mark: a fatal signal of the thread that called
//! it, an exit from within, or a call that hung. Without a cause (a `kill -9`, no memory, a power
//! cut) no plugin is blamed: the next process gives the plugin the range in which the process ended
//! event by event, and blames it only if the process ends at the same single event again. A blamed
//! plugin is stopped until the content of its file changes; everything else counts. One that was
//! only loaded or tried is named in the log. Judges only; loads and stops nothing.

use crate::file_draft;
use crate::files::{self, ReadError};
use crate::host;
use crate::pipeline::{EndCause, MarkedCall, UnreturnedCall};
use crate::progress::Quarantine;
use crate::store::RevisionId;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// Suspicions that are kept; older ones are dropped.
const MOST: usize = 64;

/// Most bytes of the file: several times what all of them take.
const LARGEST: u64 = 1 << 20;

/// What is known of earlier processes.
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
    /// Why the plugin is blamed; absent if it is only suspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blamed: Option<String>,
}

/// Half of the SHA-256 of a plugin's file, which identifies code here.
pub(super) fn code(plugin: &host::Metric) -> String {
    plugin.sha256().chars().take(32).collect()
}

impl CrashSuspects {
    /// Reads the file, and adds what the process before left behind.
    pub(super) fn recall(file: &Path, found: Vec<UnreturnedCall>, now: i64) -> CrashSuspects {
        let known = match files::read(file, LARGEST) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|fault| {
                tracing::warn!(
                    "{} cannot be read, so earlier suspicions are lost: {fault}",
                    file.display()
                );
                Vec::new()
            }),
            Err(ReadError::Missing) => Vec::new(),
            Err(fault) => {
                tracing::warn!(
                    "{} cannot be read, so no suspicions are known: {fault}",
                    file.display()
                );
                Vec::new()
            }
        };
        let mut crash_suspects = CrashSuspects { known };
        let (found, tried): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|unreturned| unreturned.called.has_events());
        tried.iter().for_each(name_tried);
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

    fn add(&mut self, UnreturnedCall { called, cause }: UnreturnedCall, now: i64) {
        let MarkedCall { revision, code, partition, from, to } = called;
        let place = format!("offset {from} of partition {partition}");
        let before = self.known.iter().position(|known| {
            (&known.metric, known.fingerprint, &known.code)
                == (&revision.metric, revision.fingerprint, &code)
                && known.partition == partition
        });
        let again = before.is_some_and(|n| (self.known[n].from, self.known[n].to) == (from, to))
            && to - from == 1;
        let blamed = match cause {
            Some(EndCause::Signal(signal)) => {
                Some(format!("ended the process with signal {signal} in a batch from {place} on"))
            }
            Some(EndCause::Exit) => Some(format!(
                "ended the process by an exit from within, in a batch from {place} on"
            )),
            Some(EndCause::Hung) => Some(format!(
                "did not return from a batch from {place} on, until the process was ended"
            )),
            None if again => Some(format!(
                "was being called with the event at {place} both times when the process ended there"
            )),
            None => None,
        };
        match &blamed {
            Some(why) => tracing::error!(metric = revision.metric, "its plugin {why}"),
            None => tracing::warn!(
                metric = revision.metric,
                "the process ended while its plugin was being called, from {place} on; it now gets \
                 these events one by one"
            ),
        }
        if let Some(n) = before {
            self.known.remove(n);
        }
        let RevisionId { metric, fingerprint } = revision;
        self.known.push(Suspicion {
            metric,
            fingerprint,
            code,
            partition,
            from,
            to,
            since: now,
            blamed,
        });
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        file_draft::replace(file, &serde_json::to_vec_pretty(&self.known)?)
    }

    fn of<'a>(&'a self, revision: &RevisionId, code: &str) -> impl Iterator<Item = &'a Suspicion> {
        let of = move |known: &&Suspicion, code: &str, revision: &RevisionId| {
            (&*known.metric, known.fingerprint, &*known.code)
                == (&*revision.metric, revision.fingerprint, code)
        };
        let (revision, code) = (revision.clone(), code.to_owned());
        self.known.iter().filter(move |known| of(known, &code, &revision))
    }

    /// Why this code of a revision is not called any more, if it is blamed.
    pub(super) fn blame(&self, revision: &RevisionId, code: &str) -> Option<Quarantine> {
        let why = self.of(revision, code).find_map(|known| known.blamed.as_ref())?;
        Some(Quarantine::Failing(format!(
            "the plugin {why} (fix it and put its file into the plugin folder: it continues from \
             there)"
        )))
    }

    /// Per partition the offsets that this code is given event by event.
    pub(super) fn suspected(&self, revision: &RevisionId, code: &str) -> Vec<(u32, Range<u64>)> {
        let only_suspected = self.of(revision, code).filter(|known| known.blamed.is_none());
        only_suspected.map(|known| (known.partition, known.from..known.to)).collect()
    }
}

/// Names a plugin that was being loaded or tried when the process ended. What it serves is not
/// stopped: it was counting.
fn name_tried(UnreturnedCall { called, cause }: &UnreturnedCall) {
    let plugin = &called.revision.metric;
    let how = match cause {
        Some(EndCause::Signal(signal)) => format!("ended the process with signal {signal}"),
        Some(EndCause::Exit) => "ended the process by an exit from within".to_owned(),
        Some(EndCause::Hung) => "did not return until the process was ended".to_owned(),
        None => {
            return tracing::warn!(
                plugin,
                "the process ended while this plugin was loaded or tried; nothing says that it is \
                 to blame"
            );
        }
    };
    tracing::error!(
        plugin,
        "this plugin {how}, while it was loaded or tried: correct it, or take its file away"
    );
}

#[cfg(test)]
#[path = "crash_suspects_tests.rs"]
mod tests;
