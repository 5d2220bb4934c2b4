//! Ends what threads of a test do until a flag is set, also where the test panics: a scope waits
//! for its threads, and a test that fails must not wait for ever.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when dropped.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
