//! Named moments at which a test may end or stop the process, and records on which it may have a
//! piece of work panic. In what is shipped nobody does anything there: the call finds an empty
//! place and is over.
//!
//! The binary of the tests fills that place before anything else; what it does there, and how it is
//! told, is said by `tests/src/bin/tally-failpoints.rs`. It promises nothing else: the moments are
//! listed where they are tried, in `tests/src/points.rs`.

use std::sync::OnceLock;

/// Who does something at the moments.
pub trait FailPoints: Send + Sync {
    /// A moment that a test can name.
    fn point(&self, name: &str);

    /// A piece of work is about to take the records at these offsets: panics where it is to fail.
    fn poisoned(&self, work: &str, partition: u32, offsets: &mut dyn Iterator<Item = u64>);
}

/// Empty in what is shipped. For the whole process: that is what is to end.
static FAIL_POINTS: OnceLock<Box<dyn FailPoints>> = OnceLock::new();

/// Has something done at the moments from now on; what was set first stays. Only tests call it.
pub fn set_fail_points(fail_points: Box<dyn FailPoints>) {
    let _ = FAIL_POINTS.set(fail_points);
}

/// A moment that a test can name.
#[inline]
pub fn point(name: &str) {
    if let Some(fail_points) = FAIL_POINTS.get() {
        fail_points.point(name);
    }
}

/// Records on which a test can have a piece of work panic.
#[inline]
pub fn poisoned(work: &str, partition: u32, mut offsets: impl Iterator<Item = u64>) {
    if let Some(fail_points) = FAIL_POINTS.get() {
        fail_points.poisoned(work, partition, &mut offsets);
    }
}
