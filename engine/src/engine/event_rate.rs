//! How many records a second are counted, over about the last ten seconds.
//!
//! A thread notes twice a second how many were counted so far; who asks compares the number now
//! with one that is old enough. A thread that is late makes the time longer, never the rate wrong.
//! Samples are bounded in number: what is older than the window goes.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over how long the rate is taken, once the engine has run for so long.
const WINDOW: Duration = Duration::from_secs(10);

/// Records counted a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventRate {
    /// Records a second, a mean.
    pub per_second: f64,
    /// Over how long.
    pub window: Duration,
}

/// How many records were counted at some moments, oldest first.
pub(super) struct RateSamples(Mutex<VecDeque<(Instant, u64)>>);

impl RateSamples {
    /// Of an engine that starts now.
    pub(super) fn starting(now: Instant) -> RateSamples {
        RateSamples(Mutex::new(VecDeque::from([(now, 0)])))
    }

    /// Notes how many records were counted by `now`.
    pub(super) fn note(&self, now: Instant, counted: u64) {
        let mut samples = self.0.lock();
        samples.push_back((now, counted));
        // The newest one that is old enough is what is compared with.
        while samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            samples.pop_front();
        }
    }

    /// The rate, of an engine that has counted so many records by `now`.
    pub(super) fn rate(&self, now: Instant, counted: u64) -> EventRate {
        let samples = self.0.lock();
        let is_old = |(at, _): &&(Instant, u64)| now.duration_since(*at) >= WINDOW;
        let since = samples.iter().rev().find(is_old).or(samples.front());
        let Some((from, before)) = since.copied() else { return EventRate::default() };
        let window = now.duration_since(from);
        if window.is_zero() {
            return EventRate::default();
        }
        let more = counted.saturating_sub(before);
        EventRate { per_second: more as f64 / window.as_secs_f64(), window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds_and_before_of_all_there_were() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let samples = RateSamples::starting(begun);
        assert_eq!(samples.rate(begun, 0), EventRate::default());
        assert_eq!(
            samples.rate(at(2_000), 100),
            EventRate { per_second: 50.0, window: Duration::from_secs(2) }
        );
        // 100 a second for a minute, then nothing.
        for half in 1..=120 {
            samples.note(at(half * 500), half * 50);
        }
        assert!(samples.0.lock().len() <= 22, "what is old goes");
        let rate = |ms| samples.rate(at(ms), 6_000).per_second;
        assert_eq!(samples.rate(at(60_000), 6_000).window, WINDOW);
        assert!((rate(60_000) - 100.0).abs() < 0.001, "{}", rate(60_000));
        assert!((rate(65_000) - 50.0).abs() < 0.001, "{}", rate(65_000));
        assert!(rate(75_000) < 0.001, "{}", rate(75_000));
    }

    #[test]
    fn a_late_sample_makes_the_time_longer_and_not_the_rate_wrong() {
        let begun = Instant::now();
        let samples = RateSamples::starting(begun);
        let rate = samples.rate(begun + Duration::from_secs(40), 4_000);
        assert_eq!(rate, EventRate { per_second: 100.0, window: Duration::from_secs(40) });
    }
}
