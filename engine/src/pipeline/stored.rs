//! What a store holds of a revision, decoded for the protocol and checked for consistency.

use crate::progress::{Found, Progress, Trouble};
use crate::store::{self, RevisionId, StoreError};
use std::time::{Duration, Instant};

/// How long a read of all buckets is repeated when splits and compactions outrun it: where many
/// engines count, splits come in bursts of seconds.
const OUTRUN: Duration = Duration::from_secs(10);

/// How often the read is repeated at least, however long that takes.
const TRIES: u32 = 16;

/// Attempts at reading all buckets, with a growing pause between them, until the reads were outrun
/// for too long.
pub(super) fn attempts() -> impl Iterator<Item = u32> {
    let begun = Instant::now();
    (0..).take_while(move |tries| {
        if *tries > 0 {
            std::thread::sleep(Duration::from_millis(1 << (*tries).min(6)));
        }
        *tries < TRIES || begun.elapsed() < OUTRUN
    })
}

/// The error after the last attempt.
pub(super) fn outrun(revision: &RevisionId) -> StoreError {
    StoreError::Unavailable(format!(
        "other engines split or compacted buckets of {} during each read, {TRIES} times and for {} \
         s; try again",
        revision.metric,
        OUTRUN.as_secs()
    ))
}

/// Per partition the next offset, without partitions of which nothing was counted: a position does
/// not list those.
pub fn counted_partitions(stored: &store::StoredRevision) -> impl Iterator<Item = (u32, u64)> + '_ {
    let partitions =
        stored.progress.iter().map(|(partition, progress)| (*partition, progress.next));
    partitions.filter(|(_, next)| *next > 0)
}

/// Decodes the progress of a revision.
///
/// # Errors
/// [`Trouble::Corrupt`]: a record is unreadable, or differs from its fence.
pub(super) fn decode_progress(stored: &store::StoredRevision) -> Result<Found, Trouble> {
    let progress = stored.progress.iter().map(|(partition, progress)| {
        let record = Progress::decode(&progress.bytes)
            .map_err(|fault| Trouble::Corrupt(fault.to_string()))?;
        if record.next != progress.next {
            let what =
                format!("the progress record of partition {partition} does not match its fence");
            return Err(Trouble::Corrupt(what));
        }
        Ok((*partition, record))
    });
    Ok(Found { life: stored.life.0, progress: progress.collect::<Result<_, _>>()? })
}

/// Smallest and largest event time that a revision has counted in any partition. The smallest is
/// `None` also where it is not recorded for a partition, because an older engine began to count it.
pub(super) fn recorded_times(found: &Found) -> (Option<i64>, Option<i64>) {
    let counted = || found.progress.iter().filter(|(_, progress)| progress.watermark.is_some());
    let first = counted().map(|(_, progress)| progress.first).min();
    let last = counted().filter_map(|(_, progress)| progress.watermark).max();
    (first.flatten(), last)
}

/// Compares the number of updates in the frames with the number that progress records: if they
/// differ, a bucket is missing.
///
/// # Errors
/// [`Trouble::Corrupt`]: they differ.
pub(super) fn check_updates(found: &Found, rows: u64) -> Result<(), Trouble> {
    let made: u64 = found.progress.iter().map(|(_, progress)| progress.rows).sum();
    if made == rows {
        return Ok(());
    }
    Err(Trouble::Corrupt(format!(
        "the buckets hold {rows} updates, but {made} were made: part of the state is missing"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_time_is_known_if_it_is_of_each_partition_that_has_events() {
        let found = |of: &[(Option<i64>, Option<i64>)]| {
            let progress = of.iter().map(|(first, watermark)| Progress {
                first: *first,
                watermark: *watermark,
                ..Progress::default()
            });
            recorded_times(&Found { life: 1, progress: (0..).zip(progress).collect() })
        };
        let empty = (None, None);
        assert_eq!(found(&[]), (None, None));
        assert_eq!(found(&[empty, empty]), (None, None));
        let known = [(Some(5), Some(9)), empty, (Some(3), Some(4))];
        assert_eq!(found(&known), (Some(3), Some(9)));
        assert_eq!(found(&[(Some(5), Some(9)), (None, Some(20))]), (None, Some(20)));
    }
}
