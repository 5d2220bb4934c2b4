//! What a read may cost: until when, how much memory, how long an answer.
//!
//! A read asks before it spends, not afterwards; a refusal ends it wherever it stands, and what it took is given back.
//! Decides nothing: who asks the question says what it may cost.

use tally_plugin::read::Id;
use thiserror::Error;

/// Why a read has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The request does not fit the table: the plugin's fault.
    #[error("{0}")]
    Bad(String),
    /// Something of the moment is not held any more, which must not happen: the engine's fault.
    #[error("what was read is not held any more; ask again")]
    Gone,
    /// It took longer than allowed.
    #[error("the evaluation took longer than its deadline")]
    Deadline,
    /// The memory for answers is in use by others.
    #[error("as much memory as answers may take is in use")]
    Memory,
    /// What it would return is longer than an answer may be.
    #[error("what is read is longer than an answer may be")]
    TooLarge,
    /// All series together would have more points than an answer may; how many groups would do.
    #[error("{points} points in {groups} series are more than an answer may have")]
    TooManyPoints {
        /// Series asked for.
        groups: u64,
        /// Points of all of them.
        points: u64,
        /// Series that would do; 0: not one.
        fits: u64,
    },
}

/// Says what a read may still cost.
pub trait Allowance {
    /// Whether it is time to give up.
    fn late(&self) -> bool;

    /// The read holds so many bytes now, its answer not counted.
    ///
    /// # Errors
    /// [`ReadError::Memory`]: there are not as many.
    fn hold(&self, bytes: usize) -> Result<(), ReadError> {
        let _ = bytes;
        Ok(())
    }

    /// So many bytes more are to be returned, as text.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`], [`ReadError::Memory`].
    fn take(&self, bytes: usize) -> Result<(), ReadError> {
        let _ = bytes;
        Ok(())
    }

    /// So many groups that nobody named or limited have a series each; asked before these are read.
    ///
    /// # Errors
    /// [`ReadError::TooManyPoints`].
    fn series(&self, groups: u64) -> Result<(), ReadError> {
        let _ = groups;
        Ok(())
    }

    /// The time outside of which steps of a series are not wanted, Unix milliseconds; `None`: all are.
    fn steps(&self) -> Option<(i64, i64)> {
        None
    }
}

/// A read that may cost anything until it is told to give up.
impl<F: Fn() -> bool> Allowance for F {
    fn late(&self) -> bool {
        self()
    }
}

/// Bytes of some ids as text in JSON, about.
pub(crate) fn text_of(ids: &[Id]) -> usize {
    let text = |id: &Id| match id {
        Id::Integer(_) => 8,
        Id::Text(text) => text.len() + 3,
    };
    ids.iter().map(text).sum()
}

/// Bytes of a part without its key as text in JSON, about.
pub(crate) fn text_of_part(cells: usize, quantiles: usize) -> usize {
    24 + cells * 8 + quantiles * 20
}

/// Bytes of a group, or of a step, without its parts as text in JSON, about.
pub(crate) const TEXT_OF_GROUP: usize = 48;
