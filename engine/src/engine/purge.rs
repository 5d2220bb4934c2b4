//! Removing what is stored of a metric that is no longer served: all its revisions, one after the other, each in one step.
//!
//! Where engines share a store, this one cannot know whether another serves the metric. It looks whether what is stored
//! moves; a metric to which no events come does not. An engine that still counts it finds its state gone, and does
//! what `on_state_loss` says: nothing is ever half there.

use super::Engine;
use super::book::Entries;
use super::life::Work;
use super::roster::{Retired, Roster};
use crate::store::{RevisionId, Store, StoreError};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Whether another engine counts the metric is looked at for so long: several of its commits, where events come.
const WATCHED: Duration = Duration::from_millis(1_500);

/// And so often: one that has just retired it may still be committing its last.
const LOOKS: usize = 3;

impl Work {
    /// Removes what is stored of a metric; a sentence on what was done, or why not.
    pub(super) fn purge(&mut self, name: &str) -> Result<String, String> {
        let retired = {
            let roster = self.parts.roster.read();
            unserved(&roster, name)?;
            roster.retired.get(name).cloned()
        };
        if let Some((file, reason)) = self.unserved.get(name) {
            return Err(format!(
                "{name} is about to be served from {file} ({reason}): take its file or its section away first"
            ));
        }
        if self.leaving.iter().any(|leaving| leaving.what.served.revision.metric == name) {
            return Err(format!(
                "a lane still counts {name} and has not let it go yet, so nothing was removed; try again"
            ));
        }
        let store = &*self.parts.lanes.store;
        let fault = |fault: StoreError| format!("what is stored of {name} is not removed, or not wholly: {fault}");
        let stored = stored(store, name, retired.as_ref()).map_err(fault)?;
        if stored.is_empty() && retired.is_none() {
            return Err(format!("nothing is stored of {name}; tally plugin list shows which metrics there are"));
        }
        let mut removed = 0;
        for revision in &stored {
            removed += u32::from(store.remove(revision).map_err(fault)?);
        }
        self.parts.roster.write().retired.remove(name);
        self.parts.book.note(Entries::new(), &[name]);
        tracing::info!(metric = name, revisions = removed, "what was stored of the metric is removed");
        Ok(format!("{name}: everything stored of it is removed, {removed} revisions"))
    }
}

/// Refuses what is served: what to do first.
fn unserved(roster: &Roster, name: &str) -> Result<(), String> {
    if !roster.served.contains_key(name) {
        return Ok(());
    }
    Err(format!(
        "{name} is served: take its file out of the plugin folder, or its section out of the configuration, and purge it once \
         tally plugin list says that it is retired (within a second or two)"
    ))
}

/// The revisions of a metric that are stored, as far as the store or this engine knows of them.
fn stored(store: &dyn Store, name: &str, retired: Option<&Retired>) -> Result<BTreeSet<RevisionId>, StoreError> {
    let mut known: BTreeSet<RevisionId> = store.revisions(name)?.into_iter().collect();
    known.extend(store.current(name)?);
    known.extend(retired.iter().flat_map(|retired| retired.revisions.iter().cloned()));
    Ok(known)
}

impl Engine {
    /// Refuses a metric that is counted, here or, as far as can be seen, by another engine. Blocks for some seconds where
    /// engines share the store.
    pub(super) fn counted_nowhere(&self, name: &str) -> Result<(), String> {
        let retired = {
            let roster = self.roster.read();
            unserved(&roster, name)?;
            roster.retired.get(name).cloned()
        };
        if !self.shared {
            return Ok(());
        }
        let fault = |fault: StoreError| format!("it is not known whether {name} is counted: {fault}");
        let look = || {
            let stored = stored(&*self.state_store, name, retired.as_ref())?;
            let of = |revision: &RevisionId| Ok((revision.clone(), self.state_store.stored(revision)?));
            stored.iter().map(of).collect::<Result<Vec<_>, StoreError>>()
        };
        let mut before = look().map_err(fault)?;
        for _ in 0..LOOKS {
            let until = Instant::now() + WATCHED;
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                self.view.wait_a_move(left);
            }
            let after = look().map_err(fault)?;
            if after == before {
                return Ok(());
            }
            before = after;
        }
        Err(format!(
            "another engine counts {name}: take its file or its section away there too, then purge it (each engine lists what it serves: \
             tally plugin list --url URL)"
        ))
    }
}
