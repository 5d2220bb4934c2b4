//! File descriptors as a budget: how many this process may have, how many of them callers may take,
//! and whether some are left.
//!
//! Who runs out of them at the wrong moment fails in ways that do not pass by themselves. So the
//! soft limit is raised to the hard one, connections get what is left of it beyond what the engine
//! keeps for itself (256), and the database stops writing before the rest is used up.

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// What the engine itself may need: tables, journals, brokers, lanes that replay, the catalogue,
/// plugin files, some spare.
const RESERVE: usize = 256;

/// Beyond this a limit is as good as none; some hard limits are a thousand million, and tables grow
/// with the limit.
const ENOUGH: u64 = 65_536;

/// Spare below which nothing is written any more.
const SPARE: usize = 32;

/// The folder that has an entry for each that is open.
const OPEN: &str = "/proc/self/fd";

/// How long a count holds: an older system has no other way than to read a folder.
const COUNTED_FOR: Duration = Duration::from_millis(20);

/// Raises the soft limit to the hard one, as far as that is of use.
///
/// # Errors
/// What the system says; the limit stays as it is.
pub fn raise() -> std::io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(ENOUGH).min(ENOUGH);
    // None: there is no limit.
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?;
    }
    Ok(())
}

/// How many this process may have.
#[must_use]
pub fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How many of so many the callers' connections may take.
#[must_use]
pub fn for_connections(limit: usize) -> usize {
    limit - RESERVE.min(limit / 4 * 3)
}

/// Counts those in use, at most every now and then.
#[derive(Default)]
pub struct Gauge(Mutex<Option<(Instant, usize)>>);

impl Gauge {
    /// How many are left and the limit, where that is too few to write safely.
    #[must_use]
    pub fn scarce(&self) -> Option<(usize, usize)> {
        let limit = limit();
        let free = limit.saturating_sub(self.used()?);
        (free < SPARE.min(limit / 16).max(1)).then_some((free, limit))
    }

    /// How many are in use, as counted a moment ago at most; `None` where the system does not say.
    fn used(&self) -> Option<usize> {
        let mut counted = self.0.lock();
        match *counted {
            Some((at, used)) if at.elapsed() < COUNTED_FOR => Some(used),
            _ => {
                let used = count().or_else(list)?;
                *counted = Some((Instant::now(), used));
                Some(used)
            }
        }
    }
}

/// How many are in use, where the system says so by the folder's size: Linux 6.2 and newer. It takes
/// the same time for any number of them.
fn count() -> Option<usize> {
    let size = std::fs::metadata(OPEN).ok()?.len();
    usize::try_from(size).ok().filter(|used| *used > 0)
}

/// The same by what the folder holds.
fn list() -> Option<usize> {
    // Opening the folder takes one itself; where there is none left, all are in use.
    match std::fs::read_dir(OPEN) {
        Ok(entries) => Some(entries.count()),
        Err(fault) if fault.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => Some(usize::MAX),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_count_agree() {
        let Some(counted) = count() else { return };
        let more: Vec<_> = (0..500).filter_map(|_| std::fs::File::open("/dev/null").ok()).collect();
        let (after, listed) = (count().unwrap_or(0), list().unwrap_or(0));
        // Tests beside this one open and close some.
        assert!(more.len() == 500 && after.abs_diff(counted + 500) < 100, "{counted} {after}");
        assert!(after.abs_diff(listed) < 100, "{after} {listed}");
    }

    #[test]
    fn whatever_the_limit_connections_leave_something_for_the_engine() {
        for (limit, connections) in
            [(65_536, 65_280), (1_024, 768), (341, 86), (256, 64), (64, 16), (4, 1)]
        {
            assert_eq!(for_connections(limit), connections, "{limit}");
        }
    }
}
