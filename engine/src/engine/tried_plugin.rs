//! Which plugin is being tried, and since when: by a preview, or before a section is written.
//!
//! One at a time. A plugin that does not return keeps the place until the process ends: nothing can
//! be done about code of this process but to name it. Ends nothing.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A plugin that is tried for so long is named in readiness.
const LONG: Duration = Duration::from_secs(10);

/// Letters of a name that are repeated: it may be of no plugin.
const LONGEST_NAME: usize = 64;

/// The place of what is tried.
#[derive(Default)]
pub(super) struct TriedPlugin(Mutex<Option<Occupant>>);

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

impl TriedPlugin {
    /// Takes the place.
    ///
    /// # Errors
    /// [`PlaceTaken`].
    pub(super) fn enter(&self, plugin: &str) -> Result<Trying<'_>, PlaceTaken> {
        let mut place = self.0.lock();
        if let Some(other) = &*place {
            return Err(PlaceTaken(other.say()));
        }
        let plugin: String = plugin.chars().take(LONGEST_NAME).collect();
        let plugin = plugin.escape_debug().to_string();
        *place = Some(Occupant { plugin, since: Instant::now() });
        Ok(Trying(self))
    }

    /// Which plugin has not returned for long, and for how long.
    pub(super) fn stuck(&self) -> Option<String> {
        self.stuck_for(LONG)
    }

    fn stuck_for(&self, long: Duration) -> Option<String> {
        let occupant = self.0.lock().clone();
        occupant.filter(|tried| tried.since.elapsed() >= long).map(|tried| tried.say())
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
    use super::*;

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
}
