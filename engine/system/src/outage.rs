//! Why an outside system (Kafka, Redis, PostgreSQL) does not do what it was asked, as one of a few
//! causes.
//!
//! A cause says whether waiting can mend it. What was not answered is [`Cause::Unclear`] or
//! [`Cause::Network`], never a "no". It asks nobody and repeats nothing: whoever asked tries again
//! in any case, after [`Pauses`], so that no failure outlives its cause.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

/// What stands between us and an outside system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing answers, or not in time: a name that resolves to nothing, a port on which nobody
    /// listens, a server that is down.
    Network,
    /// Something answers, and no encrypted connection comes about: certificate, authority,
    /// versions, or no TLS at all.
    Tls,
    /// It does not believe that we are who we say: user, password, mechanism.
    Authentication,
    /// It knows us, and we lack a right.
    Authorization,
    /// What was asked for is not there: topic, database, slot.
    Missing,
    /// It answers, and is not set up as we need it: version, policy, role, memory limit.
    Misconfigured,
    /// It is in a state that passes: loading, electing, full, busy.
    Passing,
    /// None of these is known.
    Unclear,
}

impl Cause {
    /// Whether waiting alone can mend it. What cannot is tried again all the same, for somebody may
    /// mend it.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Cause::Network | Cause::Passing | Cause::Unclear)
    }

    /// The end of a sentence about it: whether waiting mends it.
    #[must_use]
    pub fn prospect(self) -> &'static str {
        if self.passes() {
            "retrying"
        } else {
            "waiting does not fix this; retrying until somebody does"
        }
    }

    /// Of two causes that were told together the one that says more: a connection that ends is
    /// often only what is seen of a refused password.
    #[must_use]
    pub fn tells_more_than(self, other: Cause) -> bool {
        self.rank() > other.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Cause::Unclear => 0,
            Cause::Network => 1,
            Cause::Passing => 2,
            Cause::Missing | Cause::Misconfigured => 3,
            Cause::Authorization => 4,
            Cause::Authentication | Cause::Tls => 5,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Cause::Network => "network",
            Cause::Tls => "TLS",
            Cause::Authentication => "authentication",
            Cause::Authorization => "authorization",
            Cause::Missing => "missing",
            Cause::Misconfigured => "misconfigured",
            Cause::Passing => "passing",
            Cause::Unclear => "unclear",
        })
    }
}

/// What an error says, followed by what caused it, as far as it does not say that itself.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let told = inner.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        cause = inner.source();
    }
    text
}

/// The pauses before something is tried again: each is twice as long as the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first one.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Pauses {
    /// The first pause, doubled so many times: after the first failure not at all.
    #[must_use]
    pub fn doubled(&self, times: u32) -> Duration {
        self.first.saturating_mul(1 << times.min(10)).min(self.longest)
    }
}

/// What was told of something that lasts is told again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// So many different things are told in that time, no more.
const MOST: usize = 4;

/// Keeps a log short while something lasts: each thing is said at once, and then no oftener than
/// once a minute.
#[derive(Debug, Default)]
pub struct LogThrottle {
    /// What was said in the last minute.
    lately: Vec<(String, Instant)>,
}

impl LogThrottle {
    /// Whether to say something now, by what it is about; takes note of it then.
    pub fn due(&mut self, about: &str) -> bool {
        let now = Instant::now();
        self.lately.retain(|(_, when)| now.duration_since(*when) < AGAIN);
        let due = self.lately.len() < MOST && self.lately.iter().all(|(said, _)| said != about);
        if due {
            self.lately.push((about.to_owned(), now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_once_and_what_differs_a_few_times() {
        let mut said = LogThrottle::default();
        let due: Vec<bool> =
            ["a", "a", "b", "a", "c", "d", "e", "a"].iter().map(|about| said.due(about)).collect();
        assert_eq!(due, [true, false, true, false, true, true, false, false]);
    }

    #[test]
    fn causes_are_said_once() {
        #[derive(Debug, thiserror::Error)]
        enum Told {
            #[error("reset")]
            Reset,
            #[error("protocol: {0}")]
            Whole(#[source] Box<Told>),
            #[error("no answer")]
            Silent(#[source] Box<Told>),
        }
        let told = Told::Whole(Box::new(Told::Reset));
        assert_eq!(with_causes(&told), "protocol: reset");
        assert_eq!(with_causes(&Told::Silent(Box::new(told))), "no answer: protocol: reset");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = Pauses { first: Duration::from_millis(500), longest: Duration::from_secs(3) };
        let millis = [0, 1, 2, 3, u32::MAX].map(|times| pauses.doubled(times).as_millis());
        assert_eq!(millis, [500, 1_000, 2_000, 3_000, 3_000]);
    }

    /// An error by its number, and what caused it.
    #[derive(Debug)]
    struct Caused(u32, Option<Box<Caused>>);

    impl fmt::Display for Caused {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(out, "{}", self.0)
        }
    }

    impl Error for Caused {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let second = Caused(2, Some(Box::new(Caused(3, None))));
        assert_eq!(with_causes(&second), "2: 3");
        assert_eq!(with_causes(&Caused(1, Some(Box::new(second)))), "1: 2: 3");
    }

    #[test]
    fn what_somebody_must_fix_tells_more_than_a_broken_connection() {
        for cause in [
            Cause::Tls,
            Cause::Authentication,
            Cause::Authorization,
            Cause::Missing,
            Cause::Misconfigured,
        ] {
            assert!(!cause.passes() && cause.tells_more_than(Cause::Network), "{cause}");
            assert!(
                !Cause::Network.tells_more_than(cause) && cause.prospect().contains("does not fix"),
                "{cause}"
            );
        }
        for cause in [Cause::Network, Cause::Passing, Cause::Unclear] {
            assert!(cause.passes() && cause.prospect() == "retrying", "{cause}");
        }
    }
}
