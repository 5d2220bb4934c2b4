//! Named moments at which a test ends or stops the process. In what is shipped they are nothing:
//! the call is empty and inlined.
//!
//! With the feature `armed`, `TALLY_FAILPOINT=commit.stored:3` ends the process when the third call
//! comes past `commit.stored`, and `…:3:stop` stops it there (SIGSTOP) until somebody lets it go
//! on. It promises nothing else: the moments are listed where they are tested, in
//! `tests/src/points.rs`.

/// A moment that a test can name.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub const fn point(_name: &str) {}

/// Records on which a test has a piece of work panic: `TALLY_POISON=decode:1:42` is the decoding of
/// offset 42 of partition 1.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub fn poisoned(_work: &str, _partition: u32, _offsets: impl Iterator<Item = u64>) {}

#[cfg(feature = "armed")]
pub use armed::{point, poisoned};

#[cfg(feature = "armed")]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Plan {
        name: String,
        at: u64,
        stop: bool,
    }

    /// What the environment asks for: read once, for the whole process is to end.
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    fn plan() -> Option<Plan> {
        let text = std::env::var("TALLY_FAILPOINT").ok()?;
        let mut parts = text.split(':');
        let (name, at) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some(Plan { name, at, stop: parts.next() == Some("stop") })
    }

    /// A moment that a test can name.
    pub fn point(name: &str) {
        let Some(plan) = PLAN.get_or_init(plan) else { return };
        if plan.name != name || PASSED.fetch_add(1, Ordering::SeqCst) + 1 != plan.at {
            return;
        }
        // If it cannot be said, the end says enough.
        let _ = writeln!(std::io::stderr(), "failpoint {name}");
        if plan.stop {
            let stop = format!("kill -STOP {}", std::process::id());
            let _ = std::process::Command::new("sh").args(["-c", &stop]).status();
        } else {
            std::process::abort();
        }
    }

    /// Work, partition, offset.
    static POISON: OnceLock<Option<(String, u32, u64)>> = OnceLock::new();

    fn poison() -> Option<(String, u32, u64)> {
        let text = std::env::var("TALLY_POISON").ok()?;
        let mut parts = text.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// Records on which a test has a piece of work panic.
    pub fn poisoned(work: &str, partition: u32, mut offsets: impl Iterator<Item = u64>) {
        let Some((name, of, at)) = POISON.get_or_init(poison) else { return };
        if name == work && *of == partition && offsets.any(|offset| offset == *at) {
            panic!("poisoned: {work} at offset {at} of partition {of}");
        }
    }
}
