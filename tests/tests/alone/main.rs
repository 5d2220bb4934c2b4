//! What compares speeds or processor time: the tests of this program run one after another, and
//! nothing runs beside them.
//!
//! All other tests of the built binary are in `system`.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod answers;
mod gate;
mod waiting;

use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no other test of this program runs; each test begins with it. A test that failed
/// holds up none.
fn wait_for_turn() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
