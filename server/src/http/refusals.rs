//! How often this server reached each of its limits since it started, by the code of the problem
//! that it answered with, or that it told on a WebSocket or a stream.
//!
//! Only the codes of a list are counted: those that say that something was too much or too long,
//! not those of a wrong request. So nothing that a caller writes becomes a name.

use std::sync::atomic::{AtomicU64, Ordering};

/// The codes of limits.
const CODES: [&str; 10] = [
    "answer_too_large",
    "deadline_exceeded",
    "message_too_large",
    "overloaded",
    "payload_too_large",
    "request_timeout",
    "too_many_messages",
    "too_many_points",
    "too_many_subscriptions",
    "uri_too_long",
];

/// How often each was answered or told.
#[derive(Debug, Default)]
pub(crate) struct LimitsHit([AtomicU64; CODES.len()]);

impl LimitsHit {
    /// Counts a problem, if its code is that of a limit.
    pub(crate) fn count(&self, code: &str) {
        if let Some(at) = CODES.iter().position(|limit| *limit == code) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each limit was reached, by code.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// The limits that were reached, by code, and how often.
    pub(crate) fn reached(&self) -> Vec<(&'static str, u64)> {
        self.counts().filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_counted_and_wrong_requests_are_not() {
        let hit = LimitsHit::default();
        ["overloaded", "invalid_params", "overloaded", "uri_too_long", "x"]
            .into_iter()
            .for_each(|code| hit.count(code));
        assert_eq!(hit.reached(), [("overloaded", 2), ("uri_too_long", 1)]);
    }
}
