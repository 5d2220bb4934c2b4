//! How many events are due: computed from the start, so that no rounding and no late wake-up adds
//! up to a drift.

use std::time::{Duration, Instant};

/// A steady rate since some moment.
pub(crate) struct Pace {
    start: Instant,
    per_second: f64,
    done: u64,
}

impl Pace {
    /// From now on; `per_second` is positive.
    pub(crate) fn start(per_second: f64) -> Pace {
        Pace { start: Instant::now(), per_second, done: 0 }
    }

    /// How many should have been taken by now and were not.
    pub(crate) fn due(&self) -> u64 {
        self.due_at(self.start.elapsed())
    }

    fn due_at(&self, elapsed: Duration) -> u64 {
        // The first is due at once. The cast saturates.
        let by_now = (elapsed.as_secs_f64() * self.per_second) as u64 + 1;
        by_now.saturating_sub(self.done)
    }

    /// Notes that so many were taken.
    pub(crate) fn took(&mut self, number: u64) {
        self.done += number;
    }

    /// How long until one is due.
    pub(crate) fn until_next(&self) -> Duration {
        let at = Duration::try_from_secs_f64(self.done as f64 / self.per_second)
            .unwrap_or(Duration::MAX);
        at.saturating_sub(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uneven_ticks_add_up_to_the_exact_number() {
        let mut pace = Pace::start(333.0);
        let mut total = 0;
        for ms in [0_u64, 1, 2, 19, 20, 500, 501, 4_999, 9_999] {
            let due = pace.due_at(Duration::from_millis(ms));
            pace.took(due);
            total += due;
        }
        // 9.999 s × 333/s, and the one at the start.
        assert_eq!(total, 3_329 + 1);
        assert_eq!(pace.due_at(Duration::from_millis(9_999)), 0);
    }
}
