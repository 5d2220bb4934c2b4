//! The one state that only a restart mends: a thread of the engine ended by an internal error.
//!
//! Whoever starts a thread has its work done in [`guard`], so its end stands on a board, where readiness finds it, with the reason.
//! State is safe whatever happens; what must not be is that somebody believes it is still being counted.

use super::board::Board;
use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;

/// What a thread does.
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
    /// It shows the events of all partitions.
    Relays,
    /// It looks after plugins and their lanes.
    Plugins,
}

impl Thread {
    /// Its name in the system.
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
            Thread::Relays => "the thread that shows the events of all partitions",
            Thread::Plugins => "the thread that looks after plugins",
        })
    }
}

/// A thread ended though nobody asked it to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{thread} ended by an internal error ({why}): restart the engine; nothing is lost, what is not stored is counted again"
)]
pub struct Fatal {
    /// Which.
    pub thread: Thread,
    /// What it said last.
    pub why: String,
}

/// Does a thread's work. If it panics, that is written on the board; nothing is returned then.
pub fn guard<T>(board: &Board, thread: Thread, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            board.fail(Fatal { thread, why: said(&*panic) });
            // Its destructor may panic in turn.
            std::mem::forget(panic);
            None
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_stands_on_the_board_with_its_reason() {
        let board = Board::default();
        assert_eq!(guard(&board, Thread::Commits, || 7), Some(7));
        assert_eq!(board.look(|standing| standing.failed.clone()), None);
        assert_eq!(guard(&board, Thread::Commits, || panic!("bucket {}", 3)), None::<u8>);
        assert_eq!(guard(&board, Thread::Counts, || panic!("its commits end")), None::<u8>);
        let told = board.look(|standing| standing.failed.clone()).map(|fatal| fatal.to_string());
        let told = told.unwrap_or_default();
        assert!(told.starts_with("the thread that commits ended by an internal error (bucket 3): restart"), "{told}");
    }
}
