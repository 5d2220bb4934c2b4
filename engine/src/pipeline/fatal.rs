//! The one condition that only a restart repairs: a thread of the engine has ended by an internal
//! error.
//!
//! Each thread does its work in [`guard`], which records such an end with its reason in a lane
//! status, where readiness reads it. Stored state is safe in any case; what must be prevented is
//! that counting seems to continue.

use super::lane_status::LaneStatus;
use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;

/// The threads of the engine, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// It reads, counts and drives the protocol.
    Counts,
    /// It sends commits to the store.
    Commits,
    /// It compacts buckets.
    Compacts,
    /// It asks the log what it holds.
    Surveys,
    /// It follows what other engines store.
    Follows,
    /// It publishes the events of all partitions.
    Relays,
    /// It manages plugins and their lanes.
    Plugins,
}

impl Thread {
    /// The thread's name in the operating system.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Thread::Counts => "tally-lane",
            Thread::Commits => "tally-commit",
            Thread::Compacts => "tally-compact",
            Thread::Surveys => "tally-survey",
            Thread::Follows => "tally-follow",
            Thread::Relays => "tally-relay",
            Thread::Plugins => "tally-plugins",
        }
    }
}

impl Display for Thread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Thread::Counts => "the thread that counts",
            Thread::Commits => "the thread that commits",
            Thread::Compacts => "the thread that compacts",
            Thread::Surveys => "the thread that asks the log what it holds",
            Thread::Follows => "the thread that follows the store",
            Thread::Relays => "the thread that publishes the events of all partitions",
            Thread::Plugins => "the thread that manages plugins",
        })
    }
}

/// A thread ended by an internal error. Only a restart of the engine helps.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{thread} ended by an internal error ({why}): restart the engine; nothing is lost, what is not \
     stored is counted again"
)]
pub struct Fatal {
    /// The thread.
    pub thread: Thread,
    /// The message of its panic.
    pub why: String,
}

/// Does a thread's work and returns its result; `None`: it panicked, which the status now says.
pub fn guard<T>(status: &LaneStatus, thread: Thread, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            status.fail(Fatal { thread, why: message(&*panic) });
            // Dropping the payload may panic in turn.
            std::mem::forget(panic);
            None
        }
    }
}

/// What a panic says.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_is_kept_in_the_status_with_its_reason() {
        let status = LaneStatus::default();
        assert_eq!(guard(&status, Thread::Commits, || 7), Some(7));
        assert_eq!(status.read(|status| status.failed.clone()), None);
        assert_eq!(guard(&status, Thread::Commits, || panic!("bucket {}", 3)), None::<u8>);
        assert_eq!(guard(&status, Thread::Counts, || panic!("its commits end")), None::<u8>);
        let shown = status.read(|status| status.failed.clone()).map(|fatal| fatal.to_string());
        let shown = shown.unwrap_or_default();
        assert!(
            shown.starts_with(
                "the thread that commits ended by an internal error (bucket 3): restart"
            ),
            "{shown}"
        );
    }
}
