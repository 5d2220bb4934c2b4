//! Sends events into a log, at a given rate: a generator makes them up or a file is replayed, and
//! an outlet sends them.
//!
//! Promises: every event handed over is either acknowledged or counted as an error before the
//! closing counts are taken; what waits for acknowledgement is bounded by the outlet. Knows neither
//! arguments nor terminals.

pub(crate) mod generator;
pub(crate) mod http;
pub(crate) mod ids;
pub(crate) mod log;
pub(crate) mod pace;
pub(crate) mod pointer;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod times;

use crate::cli::stop::Stop;
use pace::Pace;
use std::time::Duration;

/// An event ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    /// The user as text: the record's key, so that a user's events stay in order.
    pub(crate) key: String,
    /// The record, one line of JSON.
    pub(crate) json: Vec<u8>,
    /// Line in the replayed file, or number of the generated event.
    pub(crate) line: u64,
}

/// The outcome of events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Durable in the log.
    pub(crate) acknowledged: u64,
    /// Refused, or given up.
    pub(crate) errors: u64,
}

/// The output cannot be used any more; the sentence says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutletError(pub(crate) String);

/// Where events go.
pub(crate) trait Outlet {
    /// Takes an event; waits while as much is in flight as may be.
    fn send(&mut self, event: Outgoing) -> Result<(), OutletError>;

    /// Sends what has been collected; does not wait for it.
    fn flush(&mut self) -> Result<(), OutletError>;

    /// What is known so far.
    fn counts(&self) -> Counts;

    /// The first few complaints, each a sentence, since the last call.
    fn complaints(&mut self) -> Vec<String>;

    /// Waits until everything is acknowledged or given up.
    fn finish(&mut self) -> Result<(), OutletError>;
}

/// Where events come from.
pub(crate) trait Supply {
    /// The next event, a bad row as a sentence, or the end.
    fn next(&mut self) -> Option<Result<Outgoing, String>>;
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Events handed to the outlet.
    pub(crate) sent: u64,
    /// Rows that were not events.
    pub(crate) bad_rows: u64,
    /// The outcome of those that were sent.
    pub(crate) counts: Counts,
    /// Whether it ended before the events did.
    pub(crate) interrupted: bool,
    /// Why the outlet gave up.
    pub(crate) broken: Option<String>,
}

/// With a rate, collected events are sent this often.
const TICK: Duration = Duration::from_millis(20);

/// Most events between two checks of the clock and of `stop`.
const RUN: u64 = 1_000;

/// Moves up to `count` events at `rate` a second (none: as fast as the outlet takes them). `report`
/// hears of progress and, as texts, of everything that went wrong.
pub(crate) fn pump(
    supply: &mut dyn Supply,
    outlet: &mut dyn Outlet,
    count: Option<u64>,
    rate: Option<f64>,
    stop: &Stop,
    report: &mut dyn FnMut(&Outcome, &[String]),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut pace = rate.map(Pace::start);
    let mut moved = 0;
    let mut faults = Vec::new();
    let result = (|| {
        loop {
            if stop.asked() {
                outcome.interrupted = true;
                return outlet.finish();
            }
            let left = count.map_or(u64::MAX, |count| count - moved);
            let due = pace.as_ref().map_or(RUN, Pace::due).min(RUN).min(left);
            for _ in 0..due {
                match supply.next() {
                    None => return outlet.finish(),
                    Some(Ok(event)) => {
                        outcome.sent += 1;
                        outlet.send(event)?;
                    }
                    Some(Err(fault)) => {
                        outcome.bad_rows += 1;
                        faults.push(fault);
                    }
                }
                moved += 1;
            }
            if let Some(pace) = &mut pace {
                pace.took(due);
                outlet.flush()?;
            }
            faults.extend(outlet.complaints());
            outcome.counts = outlet.counts();
            report(&outcome, &faults);
            faults.clear();
            if count == Some(moved) {
                return outlet.finish();
            }
            if let Some(pace) = &pace
                && pace.due() == 0
            {
                stop.wait(pace.until_next().max(TICK));
            }
        }
    })();
    if let Err(error) = result {
        outcome.broken = Some(error.0);
    }
    outcome.counts = outlet.counts();
    // Events that an outlet had not heard of when it gave up are not acknowledged.
    outcome.counts.errors = outcome.sent.saturating_sub(outcome.counts.acknowledged);
    faults.extend(outlet.complaints());
    report(&outcome, &faults);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rows(u64);

    impl Supply for Rows {
        fn next(&mut self) -> Option<Result<Outgoing, String>> {
            self.0 = self.0.checked_sub(1)?;
            let event = Outgoing { key: String::new(), json: Vec::new(), line: self.0 };
            Some(if self.0 == 3 { Err("row 3".into()) } else { Ok(event) })
        }
    }

    /// Breaks at its n-th event; acknowledges in `finish` what came before.
    #[derive(Default)]
    struct Fake {
        taken: u64,
        breaks_at: Option<u64>,
        counts: Counts,
    }

    impl Outlet for Fake {
        fn send(&mut self, _: Outgoing) -> Result<(), OutletError> {
            if self.breaks_at == Some(self.taken) {
                self.counts.acknowledged = self.taken / 2;
                return Err(OutletError("broken".into()));
            }
            self.taken += 1;
            Ok(())
        }
        fn flush(&mut self) -> Result<(), OutletError> {
            Ok(())
        }
        fn counts(&self) -> Counts {
            self.counts.clone()
        }
        fn complaints(&mut self) -> Vec<String> {
            Vec::new()
        }
        fn finish(&mut self) -> Result<(), OutletError> {
            self.counts.acknowledged = self.taken;
            Ok(())
        }
    }

    fn run(
        outlet: &mut Fake,
        rows: u64,
        count: Option<u64>,
        rate: Option<f64>,
        stop: &Stop,
    ) -> (Outcome, Vec<String>) {
        let mut told = Vec::new();
        let outcome = pump(&mut Rows(rows), outlet, count, rate, stop, &mut |_, faults| {
            told.extend_from_slice(faults)
        });
        (outcome, told)
    }

    #[test]
    fn everything_is_counted_and_bad_rows_are_told_even_at_the_end() {
        let (outcome, told) = run(&mut Fake::default(), 2_500, None, None, &Stop::default());
        assert_eq!(
            (outcome.sent, outcome.bad_rows, outcome.counts.acknowledged, outcome.counts.errors),
            (2_499, 1, 2_499, 0)
        );
        assert_eq!(told, ["row 3"]);
    }

    #[test]
    fn a_count_ends_the_run_exactly_with_and_without_rate() {
        for rate in [None, Some(100_000.0)] {
            let (outcome, _) =
                run(&mut Fake::default(), u64::MAX, Some(1_234), rate, &Stop::default());
            assert_eq!((outcome.sent, outcome.counts.acknowledged), (1_234, 1_234));
        }
    }

    #[test]
    fn what_a_broken_outlet_did_not_acknowledge_is_an_error() {
        let mut outlet = Fake { breaks_at: Some(10), ..Fake::default() };
        let (outcome, _) = run(&mut outlet, 100, None, None, &Stop::default());
        assert_eq!(outcome.broken.as_deref(), Some("broken"));
        assert_eq!((outcome.sent, outcome.counts.acknowledged, outcome.counts.errors), (11, 5, 6));
    }

    #[test]
    fn a_stop_is_an_interruption() {
        let stop = Stop::default();
        stop.ask();
        let (outcome, _) = run(&mut Fake::default(), 100, None, None, &stop);
        assert!(outcome.interrupted && outcome.sent == 0);
    }
}
