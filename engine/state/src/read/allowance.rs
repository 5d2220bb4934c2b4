//! What a read may cost: until when, how much memory, how long an answer.
//!
//! A read asks before it spends. A refusal ends it at once, and what it took is given back. Nothing
//! is decided here: the caller of a read sets its cost.

use tally_plugin::read::Id;
use thiserror::Error;

/// Why a read has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The request does not fit the table: a fault of the plugin. A retry does not help.
    #[error("{0}")]
    Bad(String),
    /// Something of the moment is no longer held, which must not happen: a fault of the engine. A
    /// retry helps.
    #[error("what was read is not held any more; ask again")]
    Gone,
    /// It took longer than allowed. A retry helps if the machine was busy.
    #[error("the evaluation took longer than its deadline")]
    Deadline,
    /// Other answers use the memory for answers. A retry helps.
    #[error("as much memory as answers may take is in use")]
    Memory,
    /// The answer would be longer than an answer may be. A narrower question helps.
    #[error("what is read is longer than an answer may be")]
    TooLarge,
    /// All series together would have more points than an answer may have. A narrower question
    /// helps.
    #[error("{points} points in {groups} series are more than an answer may have")]
    TooManyPoints {
        /// Number of series asked for.
        groups: u64,
        /// Number of points of all of them.
        points: u64,
        /// Number of series that would fit; 0: not even one.
        fits: u64,
    },
}

/// What a read may still cost.
pub trait Allowance {
    /// Whether the read must give up.
    fn late(&self) -> bool;

    /// The read now holds so many bytes, not counting its answer.
    ///
    /// # Errors
    /// [`ReadError::Memory`]: they are not available.
    fn hold(&self, bytes: usize) -> Result<(), ReadError> {
        let _ = bytes;
        Ok(())
    }

    /// So many more bytes will be returned as text.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`], [`ReadError::Memory`].
    fn take(&self, bytes: usize) -> Result<(), ReadError> {
        let _ = bytes;
        Ok(())
    }

    /// So many groups, neither named nor limited by the request, have a series each; called before
    /// these are read.
    ///
    /// # Errors
    /// [`ReadError::TooManyPoints`].
    fn series(&self, groups: u64) -> Result<(), ReadError> {
        let _ = groups;
        Ok(())
    }

    /// The times (Unix milliseconds, end excluded) outside of which steps of a series are not
    /// wanted; `None`: all are.
    fn steps(&self) -> Option<(i64, i64)> {
        None
    }
}

/// A read that may cost anything until it must give up.
impl<F: Fn() -> bool> Allowance for F {
    fn late(&self) -> bool {
        self()
    }
}

/// Bytes of some ids as text in JSON, approximately.
pub(crate) fn text_of(ids: &[Id]) -> usize {
    let text = |id: &Id| match id {
        Id::Integer(_) => 8,
        Id::Text(text) => text.len() + 3,
    };
    ids.iter().map(text).sum()
}

/// Bytes of a part without its key as text in JSON, approximately.
pub(crate) fn text_of_part(cells: usize, quantiles: usize) -> usize {
    24 + cells * 8 + quantiles * 20
}

/// Bytes of a group, or of a step, without its parts as text in JSON, approximately.
pub(crate) const TEXT_OF_GROUP: usize = 48;
