//! Why a log is not opened, read or appended to. Each error says what happened, where, and what to
//! do; and whether a retry helps.

use tally_system::outage::Cause;
use thiserror::Error;

/// A log cannot be opened, or read further.
#[derive(Clone, Debug, Error)]
pub enum LogError {
    /// Polling on retries it by itself. The cause says whether waiting can be enough, as does the
    /// end of the text.
    #[error("{1}")]
    Transient(Cause, String),
    /// Nothing more comes from this reader; the text says what to change.
    #[error("{0}")]
    Fatal(String),
}

impl LogError {
    /// Whether the same call can succeed later although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            LogError::Transient(cause, _) => cause.passes(),
            LogError::Fatal(_) => false,
        }
    }
}

/// Events were not appended, or it is not known whether they were.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// They, or as many of them as the text says, were not written, and are refused again until
    /// somebody changes what it names.
    #[error("{0}")]
    Refused(String),
    /// Nothing was written; the same events can be accepted later.
    #[error("{0}")]
    Unavailable(String),
    /// Some or all of them may be in the log. Sending them again with the same `event_id` counts
    /// each once.
    #[error("{0}")]
    InDoubt(String),
}

impl AppendError {
    /// Whether sending the same events again can succeed.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        !matches!(self, AppendError::Refused(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_helps_where_time_alone_can_change_the_answer() {
        let transient = |cause| LogError::Transient(cause, String::new());
        assert!(transient(Cause::Network).retry_helps() && transient(Cause::Unclear).retry_helps());
        assert!(
            !transient(Cause::Authentication).retry_helps()
                && !LogError::Fatal(String::new()).retry_helps()
        );
        assert!(AppendError::Unavailable(String::new()).retry_helps());
        assert!(AppendError::InDoubt(String::new()).retry_helps());
        assert!(!AppendError::Refused(String::new()).retry_helps());
    }
}
