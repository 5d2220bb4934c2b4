//! What a store holds of a revision, as the protocol knows it: decoded, and compared with itself.

use crate::progress::{Found, Progress, Trouble};
use crate::store::{self, Bucket, BucketRead, Known, Reading, RevisionId, Store, StoreError};
use std::time::{Duration, Instant};

/// How long buckets may be split again and again between asking which there are and reading them: where many engines count, splits come
/// in bursts of seconds.
const SPLITTING: Duration = Duration::from_secs(10);

/// How often they are read at least, however long that takes.
const TRIES: u32 = 16;

/// All buckets of a revision at one moment; an empty list of them is also read.
pub(super) fn whole(store: &dyn Store, revision: &RevisionId) -> Result<(Vec<Bucket>, Option<Reading>), StoreError> {
    for _ in looks() {
        let buckets = store.buckets(revision)?;
        let known: Vec<Known> = buckets.iter().map(|bucket| Known { bucket: *bucket, last: None }).collect();
        let reading = store.read(revision, &known)?;
        let stands = |read: &BucketRead| matches!(read, BucketRead::Whole(_) | BucketRead::Tail(_));
        if reading.as_ref().is_none_or(|reading| reading.buckets.iter().all(stands)) {
            return Ok((buckets, reading));
        }
    }
    Err(split_on(revision))
}

/// Tries at reading all buckets, with a growing pause between them, until they were split for too long.
pub(super) fn looks() -> impl Iterator<Item = u32> {
    let begun = Instant::now();
    (0..).take_while(move |tries| {
        if *tries > 0 {
            std::thread::sleep(Duration::from_millis(1 << (*tries).min(6)));
        }
        *tries < TRIES || begun.elapsed() < SPLITTING
    })
}

/// They were.
pub(super) fn split_on(revision: &RevisionId) -> StoreError {
    StoreError::Unavailable(format!(
        "the buckets of {} were split again and again while they were read, {TRIES} times and for {SPLITTING:?}",
        revision.metric
    ))
}

/// A partition of which nothing was counted has no place in a position.
pub fn counted_partitions(stored: &store::StoredRevision) -> impl Iterator<Item = (u32, u64)> + '_ {
    let places = stored.progress.iter().map(|(partition, progress)| (*partition, progress.next));
    places.filter(|(_, next)| *next > 0)
}

pub(super) fn found(stored: &store::StoredRevision) -> Result<Found, Trouble> {
    let progress = stored.progress.iter().map(|(partition, progress)| {
        let record = Progress::decode(&progress.bytes).map_err(|fault| Trouble::Corrupt(fault.to_string()))?;
        if record.next != progress.next {
            let what = format!("the progress record of partition {partition} does not match its fence");
            return Err(Trouble::Corrupt(what));
        }
        Ok((*partition, record))
    });
    Ok(Found { life: stored.life.0, progress: progress.collect::<Result<_, _>>()? })
}

/// The updates that frames say they hold must be those that progress says were made: else a bucket is missing.
pub(super) fn accounts(found: &Found, rows: u64) -> Result<(), Trouble> {
    let made: u64 = found.progress.iter().map(|(_, progress)| progress.rows).sum();
    if made == rows {
        return Ok(());
    }
    Err(Trouble::Corrupt(format!(
        "the buckets hold {rows} updates, but {made} were made: part of the state is missing"
    )))
}
