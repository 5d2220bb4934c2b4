//! What a store holds of a revision, as the protocol knows it: decoded, and compared with itself.

use crate::progress::{Found, Progress, Trouble};
use crate::store::{self, RevisionId, StoreError};
use std::time::{Duration, Instant};

/// How long a read of all buckets may be outrun again and again, by splits and compactions: where many engines count, splits come in
/// bursts of seconds.
const OUTRUN: Duration = Duration::from_secs(10);

/// How often they are read at least, however long that takes.
const TRIES: u32 = 16;

/// Tries at reading all buckets, with a growing pause between them, until they were outrun for too long.
pub(super) fn looks() -> impl Iterator<Item = u32> {
    let begun = Instant::now();
    (0..).take_while(move |tries| {
        if *tries > 0 {
            std::thread::sleep(Duration::from_millis(1 << (*tries).min(6)));
        }
        *tries < TRIES || begun.elapsed() < OUTRUN
    })
}

/// They were.
pub(super) fn outrun(revision: &RevisionId) -> StoreError {
    StoreError::Unavailable(format!(
        "other engines split or compacted buckets of {} while they were read, {TRIES} times and for {} s; they are read again",
        revision.metric,
        OUTRUN.as_secs()
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
