//! Answers that plugins are computing: how many of one metric at once, and which of them do not
//! return.
//!
//! A plugin is code of this process: an answer that hangs keeps its thread for good. So the answers
//! of one metric are bounded in number; while some of them are past their deadline the next is
//! refused at once, otherwise it waits for its turn until its own deadline. Hung answers of one
//! metric thus take a bounded number of threads, and other metrics answer.

use super::EvaluateError;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Answers of one metric at once.
const MOST: usize = 16;

/// How late an answer must be before it is logged: some are late because the machine is busy.
const LATE: Duration = Duration::from_secs(1);

/// How late an answer is that is not expected to return.
pub(super) const HUNG: Duration = Duration::from_millis(250);

/// All answers that are under way.
#[derive(Default)]
pub(super) struct AnswerSlots {
    under_way: Mutex<BTreeMap<String, Vec<Instant>>>,
    ended: Condvar,
}

/// An answer is under way while this exists.
pub(super) struct AnswerSlot<'a> {
    of: &'a AnswerSlots,
    metric: &'a str,
    deadline: Instant,
}

impl AnswerSlots {
    /// Begins an answer of a metric. Blocks at most until its deadline.
    ///
    /// # Errors
    /// [`EvaluateError::Overloaded`]: too many of that metric are under way.
    pub(super) fn begin<'a>(
        &'a self,
        metric: &'a str,
        deadline: Instant,
    ) -> Result<AnswerSlot<'a>, EvaluateError> {
        let mut under_way = self.under_way.lock();
        loop {
            let of_metric = match under_way.get_mut(metric) {
                Some(of_metric) => of_metric,
                None => under_way.entry(metric.to_owned()).or_default(),
            };
            if of_metric.len() < MOST {
                of_metric.push(deadline);
                return Ok(AnswerSlot { of: self, metric, deadline });
            }
            let stuck = late(of_metric, Duration::ZERO);
            if stuck > 0 {
                return Err(EvaluateError::Overloaded(format!(
                    "{stuck} of {MOST} answers of metric {metric} have not returned from its \
                     plugin by their deadline (tally_answers_stuck), and no more run at once; if \
                     this lasts, restart with `tally run --disable {metric}`"
                )));
            }
            if self.ended.wait_until(&mut under_way, deadline).timed_out() {
                return Err(EvaluateError::Overloaded(format!(
                    "{MOST} answers of metric {metric} are under way, and no more run at once; try \
                     again"
                )));
            }
        }
    }

    /// Begins an answer of a metric that nobody waits for; `None`: as many as may be are under way.
    /// Never blocks.
    ///
    /// # Errors
    /// [`EvaluateError::Overloaded`]: one of that metric hangs, and so may this one.
    pub(super) fn try_begin<'a>(
        &'a self,
        metric: &'a str,
        deadline: Instant,
    ) -> Result<Option<AnswerSlot<'a>>, EvaluateError> {
        let mut under_way = self.under_way.lock();
        let of_metric = under_way.get(metric).map_or(&[][..], Vec::as_slice);
        none_hangs(metric, of_metric)?;
        if of_metric.len() >= MOST {
            return Ok(None);
        }
        under_way.entry(metric.to_owned()).or_default().push(deadline);
        Ok(Some(AnswerSlot { of: self, metric, deadline }))
    }

    /// Refuses a metric of which an answer hangs, for who must not be kept by another one.
    ///
    /// # Errors
    /// [`EvaluateError::Overloaded`]: one of that metric hangs, and so may this one.
    pub(super) fn none_hangs(&self, metric: &str) -> Result<(), EvaluateError> {
        let under_way = self.under_way.lock();
        under_way.get(metric).map_or(Ok(()), |of_metric| none_hangs(metric, of_metric))
    }

    /// How many answers of each metric have not returned by their deadline; only metrics that have
    /// some.
    pub(super) fn stuck(&self) -> BTreeMap<String, usize> {
        self.late(Duration::ZERO)
    }

    /// The same, of answers that are late enough to be logged.
    pub(super) fn long_stuck(&self) -> BTreeMap<String, usize> {
        self.late(LATE)
    }

    fn late(&self, by: Duration) -> BTreeMap<String, usize> {
        let under_way = self.under_way.lock();
        let of_each = under_way.iter().map(|(metric, of_metric)| (metric, late(of_metric, by)));
        of_each.filter(|(_, late)| *late > 0).map(|(metric, late)| (metric.clone(), late)).collect()
    }
}

fn none_hangs(metric: &str, of_metric: &[Instant]) -> Result<(), EvaluateError> {
    match late(of_metric, HUNG) {
        0 => Ok(()),
        stuck => Err(EvaluateError::Overloaded(format!(
            "{stuck} answers of metric {metric} have not returned from its plugin by their deadline \
             (tally_answers_stuck), and what is watched or compared of it waits for them; if this \
             lasts, restart with `tally run --disable {metric}`"
        ))),
    }
}

fn late(deadlines: &[Instant], by: Duration) -> usize {
    deadlines.iter().filter(|deadline| deadline.elapsed() > by).count()
}

impl Drop for AnswerSlot<'_> {
    fn drop(&mut self) {
        let mut under_way = self.of.under_way.lock();
        if let Some(of_metric) = under_way.get_mut(self.metric) {
            let at = of_metric.iter().position(|deadline| *deadline == self.deadline);
            at.map(|at| of_metric.swap_remove(at));
            if of_metric.is_empty() {
                under_way.remove(self.metric);
            }
        }
        drop(under_way);
        self.of.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn hung_answers_take_no_more_than_their_share_and_other_metrics_go_on() {
        let answering = AnswerSlots::default();
        let past = Instant::now();
        let hung: Vec<_> =
            (0..MOST).map(|_| answering.begin("slow", past).expect("there is room")).collect();
        let Err(EvaluateError::Overloaded(what)) = answering.begin("slow", soon()) else {
            panic!("it is let in")
        };
        assert!(
            what.contains("16 of 16 answers of metric slow") && what.contains("--disable slow"),
            "{what}"
        );
        assert!(answering.begin("quick", soon()).is_ok());
        assert_eq!(answering.stuck(), BTreeMap::from([("slow".to_owned(), MOST)]));
        assert!(answering.long_stuck().is_empty());
        drop(hung);
        assert!(answering.begin("slow", soon()).is_ok() && answering.stuck().is_empty());
    }

    #[test]
    fn what_nobody_waits_for_begins_at_once_or_not_and_never_beside_one_that_hangs() {
        let answering = AnswerSlots::default();
        let begins = || answering.try_begin("busy", soon()).map(|slot| slot.is_some());
        let busy: Vec<_> =
            (0..MOST).map(|_| answering.begin("busy", soon()).expect("there is room")).collect();
        assert!(matches!(begins(), Ok(false)));
        drop(busy);
        assert!(matches!(begins(), Ok(true)));
        let past = Instant::now().checked_sub(HUNG * 2).expect("the machine runs for a while");
        let hung = answering.begin("busy", past).expect("there is room");
        let Err(EvaluateError::Overloaded(what)) = begins() else { panic!("it is let in") };
        assert!(what.contains("1 answers of metric busy"), "{what}");
        assert!(answering.none_hangs("busy").is_err() && answering.none_hangs("quick").is_ok());
        drop(hung);
        assert!(matches!(begins(), Ok(true)) && answering.stuck().is_empty());
    }

    #[test]
    fn one_more_waits_for_its_turn_until_its_deadline() {
        let answering = AnswerSlots::default();
        let mut busy: Vec<_> =
            (0..MOST).map(|_| answering.begin("busy", soon()).expect("there is room")).collect();
        let Err(EvaluateError::Overloaded(what)) = answering.begin("busy", Instant::now()) else {
            panic!("it is let in")
        };
        assert!(what.contains("try again"), "{what}");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| answering.begin("busy", soon()).map(drop).is_ok());
            busy.pop();
            assert!(waiting.join().expect("it comes back"));
        });
    }
}
