//! Records on which the engine's own code panics: those that cannot be decoded, and those that a
//! metric cannot count.
//!
//! A panic while a metric counts a batch does not say which record caused it. So the metric is
//! loaded again from the store, the same records are counted one by one, and a record that panics
//! again is left out of that metric alone. The records are remembered while the lane runs; a new
//! lane finds them again. Corrupted memory cannot be contained here. Decides nothing about
//! progress.

use crate::event::EventBatch;
use crate::progress::{Quarantine, RevisionNo};
use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;

/// Most records of a partition that a metric leaves out; with more, the fault is elsewhere, and the
/// metric is stopped.
const MOST: usize = 1_000;

/// Panics in a row that found no further record, after which no single record can be the cause and
/// the metric is stopped.
const TRIES: u32 = 3;

/// The records that are remembered.
#[derive(Default)]
pub(super) struct PanickingRecords {
    undecodable: BTreeMap<u32, BTreeSet<u64>>,
    /// Offsets among which a metric panicked: they are counted one by one.
    suspect: HashMap<(RevisionNo, u32), Range<u64>>,
    left_out: HashMap<(RevisionNo, u32), BTreeSet<u64>>,
    /// Per metric the panics since the last one that found a further record.
    without_news: HashMap<RevisionNo, u32>,
}

impl PanickingRecords {
    /// Remembers that decoding this record panics.
    pub(super) fn add_undecodable(&mut self, partition: u32, offset: u64) {
        self.undecodable.entry(partition).or_default().insert(offset);
    }

    /// The first of these offsets whose record cannot be decoded.
    pub(super) fn first_undecodable(&self, partition: u32, offsets: Range<u64>) -> Option<u64> {
        self.undecodable.get(&partition)?.range(offsets).next().copied()
    }

    /// Remembers that a metric panicked while it counted these offsets of partitions: from now on
    /// they are counted one by one, and a single offset that was counted so is left out.
    ///
    /// # Errors
    /// The metric must stop: too many records are left out already, or it panics whichever are left
    /// out.
    pub(super) fn note(
        &mut self,
        no: RevisionNo,
        panicked: &[(u32, Range<u64>)],
    ) -> Result<(), Quarantine> {
        let mut news = false;
        for (partition, at) in panicked {
            news |= if at.end - at.start == 1 && self.is_suspect(no, *partition, at.start, at.end) {
                self.leave_out(no, *partition, at.start)?
            } else {
                let known = self.suspect.entry((no, *partition)).or_insert(at.start..at.start);
                // The end may differ: more records may have arrived.
                let new = !known.contains(&at.start);
                *known = known.start.min(at.start)..known.end.max(at.end);
                new
            };
        }
        let without_news = self.without_news.entry(no).or_default();
        *without_news = if news { 0 } else { *without_news + 1 };
        if *without_news < TRIES {
            return Ok(());
        }
        let named = panicked
            .iter()
            .map(|(partition, at)| format!("{} to {} of partition {partition}", at.start, at.end));
        Err(Quarantine::Failing(format!(
            "counting offsets {} panics again and again, whichever records are left out, which is \
             a fault of Tally: please report it, with these records",
            named.collect::<Vec<_>>().join(", ")
        )))
    }

    /// Whether a metric counts a batch from `from` to `to` one record at a time.
    pub(super) fn is_suspect(&self, no: RevisionNo, partition: u32, from: u64, to: u64) -> bool {
        self.suspect
            .get(&(no, partition))
            .is_some_and(|offsets| from < offsets.end && offsets.start < to)
    }

    /// Leaves a record out. Returns whether it was not left out before.
    fn leave_out(
        &mut self,
        no: RevisionNo,
        partition: u32,
        offset: u64,
    ) -> Result<bool, Quarantine> {
        let known = self.left_out.entry((no, partition)).or_default();
        if known.len() >= MOST && !known.contains(&offset) {
            let why = format!(
                "counting panicked on {MOST} records of partition {partition}, the last at offset \
                 {offset}, which is a fault of Tally: please report it, with such a record"
            );
            return Err(Quarantine::Failing(why));
        }
        Ok(known.insert(offset))
    }

    /// Whether a metric leaves out this record.
    pub(super) fn leaves_out(&self, no: RevisionNo, partition: u32, offset: u64) -> bool {
        self.left_out.get(&(no, partition)).is_some_and(|known| known.contains(&offset))
    }

    /// The rows of a batch that do not count in a metric, ascending: those in `skip`, and those it
    /// leaves out.
    pub(super) fn skipped<'a>(
        &self,
        no: RevisionNo,
        batch: &EventBatch,
        skip: &'a [u32],
    ) -> Cow<'a, [u32]> {
        let Some(known) = self.left_out.get(&(no, batch.partition)) else {
            return Cow::Borrowed(skip);
        };
        let rows = (0..)
            .zip(&batch.offsets)
            .filter(|(_, offset)| known.contains(offset))
            .map(|(row, _)| row);
        let all: BTreeSet<u32> = rows.chain(skip.iter().copied()).collect();
        Cow::Owned(all.into_iter().collect())
    }

    /// Forgets a metric.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.suspect.retain(|(of, _), _| *of != no);
        self.left_out.retain(|(of, _), _| *of != no);
        self.without_news.remove(&no);
    }
}

/// A panic of the engine's own code, caught: its message. The same call may panic again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(super) struct CaughtPanic(String);

/// Runs `f`.
///
/// # Errors
/// [`CaughtPanic`]. What `f` changes is then in doubt, and must be made anew.
pub(super) fn contained<T>(f: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| CaughtPanic(message(&*payload)))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    const NO: RevisionNo = RevisionNo(3);

    fn batch(offsets: &[u64]) -> EventBatch {
        EventBatch { partition: 1, offsets: offsets.to_vec(), ..EventBatch::default() }
    }

    #[test]
    fn the_second_panic_on_a_record_leaves_it_out() {
        let mut known = PanickingRecords::default();
        known.note(NO, &[(1, 100..200)]).unwrap();
        known.note(NO, &[(1, 150..220)]).unwrap();
        assert!(known.is_suspect(NO, 1, 219, 300) && known.is_suspect(NO, 1, 0, 101));
        assert!(!known.is_suspect(NO, 1, 220, 300) && !known.is_suspect(NO, 0, 100, 200));
        known.note(NO, &[(1, 163..164)]).unwrap();
        assert!(
            known.leaves_out(NO, 1, 163)
                && !known.leaves_out(NO, 1, 162)
                && !known.leaves_out(NO, 0, 163)
        );
        assert_eq!(*known.skipped(NO, &batch(&[160, 163, 170]), &[2]), [1, 2]);
        assert_eq!(*known.skipped(RevisionNo(4), &batch(&[160, 163, 170]), &[2]), [2]);
        known.forget(NO);
        assert!(!known.leaves_out(NO, 1, 163) && !known.is_suspect(NO, 1, 100, 200));
    }

    #[test]
    fn the_first_panic_on_a_batch_of_one_leaves_nothing_out() {
        let mut known = PanickingRecords::default();
        known.note(NO, &[(1, 7..8)]).unwrap();
        assert!(!known.leaves_out(NO, 1, 7));
        known.note(NO, &[(1, 7..8)]).unwrap();
        assert!(known.leaves_out(NO, 1, 7));
    }

    #[test]
    fn a_metric_that_panics_on_too_many_is_stopped() {
        let mut known = PanickingRecords::default();
        known.note(NO, &[(0, 0..u64::MAX)]).unwrap();
        let left_out =
            (0..).take_while(|offset| known.note(NO, &[(0, *offset..offset + 1)]).is_ok()).count();
        assert_eq!(left_out, MOST);
    }

    #[test]
    fn a_metric_that_panics_whatever_is_left_out_is_stopped() {
        let mut known = PanickingRecords::default();
        known.note(NO, &[(0, 10..20)]).unwrap();
        known.note(NO, &[(0, 12..13)]).unwrap();
        // Of the same record again, and of no single one.
        assert!(known.note(NO, &[(0, 12..13)]).is_ok() && known.note(NO, &[(0, 10..20)]).is_ok());
        let why = known.note(NO, &[(0, 12..13)]).unwrap_err().to_string();
        assert!(why.contains("offsets 12 to 13 of partition 0"), "{why}");
        // More comes meanwhile, and three partitions at once are one panic.
        let mut known = PanickingRecords::default();
        let noted = |end: u64| [(0, 0..end), (1, 0..end), (2, 0..end)];
        assert!((1..4).all(|n| known.note(NO, &noted(100 * n)).is_ok()));
        assert!(known.note(NO, &noted(900)).is_err());
        let mut known = PanickingRecords::default();
        for offset in 0..100 {
            // Another record each time.
            known.note(NO, &[(0, 0..100 + offset)]).unwrap();
            known.note(NO, &[(0, offset..offset + 1)]).unwrap();
        }
    }

    #[test]
    fn a_panic_is_contained_with_its_words() {
        assert_eq!(contained(|| 7), Ok(7));
        assert_eq!(
            contained(|| -> u8 { panic!("index {} is too large", 9) }),
            Err(CaughtPanic("index 9 is too large".into()))
        );
    }
}
