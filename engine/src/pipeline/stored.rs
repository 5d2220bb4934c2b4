//! What a store holds of a revision, as the protocol knows it: decoded, and compared with itself.

use crate::progress::{Found, Progress, Trouble};
use crate::store;

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
