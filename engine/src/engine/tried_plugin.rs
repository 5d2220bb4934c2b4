//! Which plugins are being loaded or tried, and since when: by a preview, before a section is
//! written, or by a look at the plugin folders.
//!
//! Each of these has a place for one at a time. A plugin that does not return keeps its place until
//! the process ends: nothing can be done about code of this process but to name it, in readiness and
//! by a mark for the next start. That finds one that ended the process, too. Ends nothing.

use crate::host::CallObserver;
use crate::pipeline::{CallMark, CallMarks, MarkedCall};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A plugin that is tried for so long is named in readiness.
const LONG: Duration = Duration::from_secs(10);

/// Letters of a name that are repeated: it may be of no plugin.
const LONGEST_NAME: usize = 64;

/// The places.
#[derive(Default)]
pub(super) struct TriedPlugins {
    /// Of previews.
    pub(super) preview: TriedPlugin,
    /// Of a section that is to be written: of the plugin manager.
    pub(super) judging: Arc<TriedPlugin>,
    /// Of what lies in the plugin folders: of a start, then of the plugin manager.
    pub(super) loading: Arc<TriedPlugin>,
}

/// The place of what is tried.
#[derive(Default)]
pub(super) struct TriedPlugin {
    place: Mutex<Option<Occupant>>,
    /// For the next start, if marks are possible.
    mark: Option<CallMark>,
}

#[derive(Clone)]
struct Occupant {
    plugin: String,
    since: Instant,
}

impl Occupant {
    fn say(&self) -> String {
        format!("the plugin \"{}\" for {} s", self.plugin, self.since.elapsed().as_secs())
    }
}

/// Another plugin is tried: which, and for how long.
#[derive(Debug)]
pub(super) struct PlaceTaken(pub(super) String);

/// Held while a plugin is tried.
pub(super) struct Trying<'a>(&'a TriedPlugin);

impl TriedPlugins {
    /// Places that mark who has them.
    pub(super) fn marked(marks: Option<&CallMarks>) -> TriedPlugins {
        let place =
            || TriedPlugin { mark: marks.and_then(CallMarks::take_slot), ..TriedPlugin::default() };
        TriedPlugins { preview: place(), judging: Arc::new(place()), loading: Arc::new(place()) }
    }

    /// The lines of readiness on plugins that do not return.
    pub(super) fn stuck(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.stuck_for(LONG)
    }

    fn stuck_for(&self, long: Duration) -> impl Iterator<Item = (&'static str, String)> {
        let preview = self.preview.stuck_for(long).map(|stuck| {
            let line =
                format!("a preview has been trying {stuck}; until it returns there is no other");
            ("previews", line)
        });
        let nothing = "until it returns, no plugin and no section is looked at; what is served \
                       counts and answers";
        let section = self.judging.stuck_for(long).map(|stuck| {
            let line =
                format!("a section that is to be written has been trying {stuck}; {nothing}");
            ("sections", line)
        });
        let folder = self.loading.stuck_for(long).map(|stuck| {
            let line = format!("a look at the plugin folders has been loading {stuck}; {nothing}");
            ("loading", line)
        });
        preview.into_iter().chain(section).chain(folder)
    }

    /// Which plugin the plugin manager has been waiting for, and for how long.
    pub(super) fn stuck_in_manager(&self) -> Option<String> {
        self.judging.stuck().or_else(|| self.loading.stuck())
    }

    /// Marks those that do not return, for a start after an end that they delay.
    pub(super) fn mark_stuck(&self) {
        for place in [&self.preview, &*self.judging, &*self.loading] {
            // What is said of it is known.
            let _ = place.stuck();
        }
    }
}

impl TriedPlugin {
    /// Takes the place.
    ///
    /// # Errors
    /// [`PlaceTaken`].
    pub(super) fn enter(&self, plugin: &str) -> Result<Trying<'_>, PlaceTaken> {
        let mut place = self.place.lock();
        if let Some(other) = &*place {
            return Err(PlaceTaken(other.say()));
        }
        *place = Some(self.occupant(plugin));
        Ok(Trying(self))
    }

    /// Marks one who is about to have the place.
    fn occupant(&self, plugin: &str) -> Occupant {
        let plugin: String = plugin.chars().take(LONGEST_NAME).collect();
        let plugin = plugin.escape_debug().to_string();
        if let Some(mark) = &self.mark {
            mark.begin(&MarkedCall::of_trial(&plugin));
        }
        Occupant { plugin, since: Instant::now() }
    }

    fn leave(&self) {
        let mut place = self.place.lock();
        if let Some(mark) = &self.mark {
            mark.end();
        }
        *place = None;
    }

    /// Which plugin has not returned for long, and for how long; it is marked, too.
    pub(super) fn stuck(&self) -> Option<String> {
        self.stuck_for(LONG)
    }

    fn stuck_for(&self, long: Duration) -> Option<String> {
        let place = self.place.lock();
        let stuck = place.as_ref().filter(|tried| tried.since.elapsed() >= long)?;
        if let Some(mark) = &self.mark {
            mark.set_hung();
        }
        Some(stuck.say())
    }

    /// One that a plugin has kept for long.
    #[cfg(test)]
    pub(super) fn hung(plugin: &str) -> TriedPlugin {
        let place = TriedPlugin::default();
        let since = Instant::now().checked_sub(LONG).unwrap_or_else(Instant::now);
        *place.place.lock() = Some(Occupant { plugin: plugin.to_owned(), since });
        place
    }
}

impl CallObserver for TriedPlugin {
    fn begins(&self, plugin: &str) {
        *self.place.lock() = Some(self.occupant(plugin));
    }

    fn returned(&self) {
        self.leave();
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
    use super::*;
    use crate::pipeline::{EndCause, UnreturnedCall};

    #[test]
    fn the_plugin_that_keeps_the_place_is_named_until_it_returns() {
        let place = TriedPlugin::default();
        assert_eq!(place.stuck_for(Duration::ZERO), None);
        let long = format!("a\n{}", "x".repeat(100));
        let trying = place.enter(&long).unwrap();
        let name = format!("the plugin \"a\\n{}\" for ", "x".repeat(62));
        assert!(place.enter("b").err().unwrap().0.starts_with(&name));
        assert!(place.stuck_for(Duration::ZERO).unwrap().starts_with(&name));
        assert_eq!(place.stuck(), None, "it may still return");
        drop(trying);
        assert_eq!(place.stuck_for(Duration::ZERO), None);
        assert!(place.enter("b").is_ok());
    }

    #[test]
    fn a_panic_frees_the_place() {
        let place = TriedPlugin::default();
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _trying = place.enter("a").unwrap();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(tried.is_err() && place.enter("b").is_ok());
    }

    #[test]
    fn each_place_has_a_line_of_readiness() {
        let tried = TriedPlugins::default();
        let lines = |tried: &TriedPlugins| -> Vec<(&'static str, String)> {
            tried.stuck_for(Duration::ZERO).collect()
        };
        assert!(lines(&tried).is_empty());
        let _preview = tried.preview.enter("one").unwrap();
        let judging = tried.judging.enter("two").unwrap();
        tried.loading.begins("three.so");
        let said = lines(&tried);
        for ((line, what), (name, plugin)) in
            said.iter().zip([("previews", "one"), ("sections", "two"), ("loading", "three.so")])
        {
            assert!(*line == name && what.contains(&format!("\"{plugin}\"")), "{line}: {what}");
        }
        assert_eq!((said.len(), tried.stuck().count()), (3, 0));
        tried.loading.returned();
        drop(judging);
        assert_eq!(lines(&tried).len(), 1);
    }

    #[test]
    fn the_next_start_finds_who_had_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let (marks, _) = CallMarks::open(&path).unwrap();
        let tried = TriedPlugins::marked(Some(&marks));
        drop(tried.judging.enter("returned").unwrap());
        std::mem::forget(tried.preview.enter("slow").unwrap());
        tried.loading.begins("hung.so");
        assert!(tried.loading.stuck_for(Duration::ZERO).is_some());
        // As at the end of a process: nothing is dropped.
        std::mem::forget(tried);
        let found = CallMarks::open(&path).unwrap().1;
        let of =
            |plugin: &str, cause| UnreturnedCall { called: MarkedCall::of_trial(plugin), cause };
        assert_eq!(found, [of("slow", None), of("hung.so", Some(EndCause::Hung))]);
    }
}
