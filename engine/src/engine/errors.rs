//! Why an engine or a lane of it does not start, why state cannot be read, and why a metric is not
//! served.
//!
//! Each error says what happened, where and what to do, and whether a retry helps. It keeps the
//! error that it comes from, so that nobody has to read a sentence to decide.

use super::first_offsets::FirstOffsetsError;
use crate::config::fault::ConfigError;
use crate::database::DatabaseError;
use crate::decode::EventsError;
use crate::log::LogError;
use crate::pipeline::Fatal;
use crate::query::ParamsSchemaError;
use crate::store::{OpenError, StoreError};
use std::io;
use thiserror::Error;

/// An engine, a lane of it, or a stored state, was not opened.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory was not opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The sections of the data directory cannot be read.
    #[error(transparent)]
    Sections(#[from] ConfigError),
    /// The store was not opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store is open, but what it holds cannot be read.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The log was not opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A setting of `[events]` cannot be used.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The system starts no thread.
    #[error("no thread can be started: {0}")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// Whether starting again may succeed later, without a change of the configuration.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            StartError::Database(fault) => fault.retry_helps(),
            StartError::Store(fault) => fault.retry_helps(),
            StartError::State(fault) => fault.retry_helps(),
            StartError::Log(fault) => fault.retry_helps(),
            StartError::Events(_) | StartError::Sections(_) => false,
            StartError::Thread(_) => true,
        }
    }
}

/// The state of a metric cannot be read.
#[derive(Clone, Debug, Error)]
pub enum StateUnavailable {
    /// The store does not answer, or holds data that cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is being loaded from the store.
    #[error("its state is being loaded from the store; try again")]
    Loading,
    /// The thread that counts has ended, perhaps in the middle of a batch.
    #[error(transparent)]
    Ended(Fatal),
}

impl StateUnavailable {
    /// Whether it may be readable later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            StateUnavailable::Store(fault) => fault.retry_helps(),
            StateUnavailable::Loading => true,
            StateUnavailable::Ended(_) => false,
        }
    }
}

/// A metric is not served.
#[derive(Debug, Error)]
pub(super) enum ServeError {
    /// Nobody could ask it: its params schema cannot be used.
    #[error(transparent)]
    Params(#[from] ParamsSchemaError),
    /// It is one of the first metrics of its store, and where those begin cannot be read.
    #[error("it is unknown where its counting begins: {0}")]
    FirstOffsets(#[from] FirstOffsetsError),
    /// Its `history` begins at a time, and the log does not answer which offsets these are.
    #[error("the log does not say where its history begins: {0}")]
    History(#[source] LogError),
}

impl ServeError {
    /// Whether serving it may succeed later, with the same plugin and configuration.
    pub(super) fn retry_helps(&self) -> bool {
        match self {
            ServeError::Params(_) => false,
            ServeError::FirstOffsets(fault) => fault.retry_helps(),
            ServeError::History(fault) => fault.retry_helps(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outage::Cause;

    fn log(cause: Cause) -> LogError {
        LogError::Transient(cause, "the broker does not answer".into())
    }

    #[test]
    fn a_retry_helps_where_time_alone_can_change_the_outcome() {
        let thread = || io::Error::from(io::ErrorKind::OutOfMemory);
        let away = || StoreError::Unavailable("it is away".into());
        assert!(
            StartError::from(away()).retry_helps()
                && StartError::from(OpenError::from(away())).retry_helps()
        );
        assert!(
            StartError::from(log(Cause::Network)).retry_helps()
                && StartError::Thread(thread()).retry_helps()
        );
        assert!(!StartError::from(log(Cause::Authentication)).retry_helps());
        assert!(!StartError::from(StoreError::Corrupt("damaged".into())).retry_helps());
        assert!(!StartError::from(EventsError::Type("View".into())).retry_helps());

        assert!(ServeError::History(log(Cause::Network)).retry_helps());
        assert!(ServeError::from(FirstOffsetsError::from(away())).retry_helps());
        assert!(!ServeError::from(ParamsSchemaError::NotAnObject).retry_helps());
    }
}
