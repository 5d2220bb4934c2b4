//! Reads all that is stored of a revision, as it is at one moment, in pieces of bounded size.
//!
//! What is small is read at once. What is large is read some buckets at a time, by the sizes that the store knows: the caller folds
//! each piece before the next one is read, and may refuse to go on, so that no more than one piece is in memory beside what is made
//! of it. A last read fetches what came since to each bucket, so that they all stand at one moment; a bucket is read twice, however
//! many pieces there are. Where a bucket was compacted past what was folded of it, or split, everything begins anew, in pieces twice as
//! large: where many engines compact, fewer reads take less time, and one read is not outrun. Folds nothing itself.

use super::stored::{looks, outrun};
use crate::store::{
    Bucket, BucketRead, BucketSize, Known, Life, RevisionId, Store, StoreError, StoredFrame, StoredRevision,
};
use std::collections::BTreeMap;

/// What the frames of a revision are folded into.
pub(super) trait Fold {
    /// Why it goes no further.
    type Fault: From<StoreError>;

    /// Reading begins, perhaps not for the first time: what was folded is dropped. Which buckets are read, where these hold
    /// something.
    fn begin(&mut self, held: Vec<Bucket>) -> Result<Vec<Bucket>, Self::Fault>;

    /// So many bytes of frames are about to be read.
    fn admit(&mut self, bytes: u64) -> Result<(), Self::Fault>;

    /// Folds frames of buckets, of which those before are folded.
    fn fold(&mut self, piece: Vec<(Bucket, Vec<StoredFrame>)>, of: &StoredRevision) -> Result<(), Self::Fault>;
}

/// What became of one reading.
enum Outcome {
    /// All that was asked for is folded, as of this moment.
    Whole(StoredRevision),
    /// Nothing is stored of the revision.
    Nothing,
    /// What was folded of a bucket does not stand any more.
    Outrun,
}

/// Reads all buckets, about `most` bytes of frames at a time, but at least one bucket, and more where it is outrun; a revision without
/// buckets is also read. The moment that was read; `None`: nothing is stored of the revision, and nothing is folded.
pub(super) fn read_pieces<F: Fold>(
    store: &dyn Store,
    revision: &RevisionId,
    most: u64,
    into: &mut F,
) -> Result<Option<StoredRevision>, F::Fault> {
    let mut most = most.max(1);
    for _ in looks() {
        let sizes = store.sizes(revision)?;
        let buckets = into.begin(sizes.iter().map(|size| size.bucket).collect())?;
        match read_once(store, revision, pieces(&buckets, &sizes, most), into)? {
            Outcome::Whole(moment) => return Ok(Some(moment)),
            Outcome::Nothing => {
                into.begin(Vec::new())?;
                return Ok(None);
            }
            Outcome::Outrun => most = most.saturating_mul(2),
        }
    }
    Err(outrun(revision).into())
}

/// Buckets that are read together.
#[derive(Debug, Default, PartialEq)]
struct Piece {
    buckets: Vec<Bucket>,
    bytes: u64,
}

/// At least one.
fn pieces(buckets: &[Bucket], sizes: &[BucketSize], most: u64) -> Vec<Piece> {
    let sizes: BTreeMap<Bucket, u64> = sizes.iter().map(|size| (size.bucket, size.snapshot + size.tail)).collect();
    let mut pieces = vec![Piece::default()];
    for bucket in buckets {
        let bytes = sizes.get(bucket).copied().unwrap_or(0);
        match pieces.last_mut().filter(|piece| piece.bytes + bytes <= most || piece.buckets.is_empty()) {
            Some(piece) => {
                piece.buckets.push(*bucket);
                piece.bytes += bytes;
            }
            None => pieces.push(Piece { buckets: vec![*bucket], bytes }),
        }
    }
    pieces
}

fn read_once<F: Fold>(
    store: &dyn Store,
    revision: &RevisionId,
    pieces: Vec<Piece>,
    into: &mut F,
) -> Result<Outcome, F::Fault> {
    let is_one = pieces.len() == 1;
    let (mut all, mut life): (Vec<Known>, Option<Life>) = (Vec::new(), None);
    for piece in pieces {
        into.admit(piece.bytes)?;
        let mut known: Vec<Known> = piece.buckets.into_iter().map(|bucket| Known { bucket, last: None }).collect();
        match read_on(store, revision, &mut known, &mut life, into)? {
            Outcome::Whole(moment) if is_one => return Ok(Outcome::Whole(moment)),
            Outcome::Whole(_) => all.append(&mut known),
            ended => return Ok(ended),
        }
    }
    read_on(store, revision, &mut all, &mut life, into)
}

/// Reads what follows what is known of some buckets, and folds it. `life`: the one that was read so far.
fn read_on<F: Fold>(
    store: &dyn Store,
    revision: &RevisionId,
    known: &mut [Known],
    life: &mut Option<Life>,
    into: &mut F,
) -> Result<Outcome, F::Fault> {
    let Some(reading) = store.read(revision, known)? else { return Ok(Outcome::Nothing) };
    if *life.get_or_insert(reading.revision.life) != reading.revision.life {
        return Ok(Outcome::Outrun);
    }
    let mut frames = Vec::new();
    for (known, read) in known.iter_mut().zip(reading.buckets) {
        let follows = match read {
            BucketRead::Whole(all) if known.last.is_none() => all,
            BucketRead::Tail(tail) => tail,
            BucketRead::Whole(_) | BucketRead::Split { .. } | BucketRead::None => return Ok(Outcome::Outrun),
        };
        if let Some(last) = follows.last() {
            known.last = Some((last.id, last.end));
            frames.push((known.bucket, follows));
        }
    }
    into.fold(frames, &reading.revision)?;
    Ok(Outcome::Whole(reading.revision))
}

#[cfg(test)]
#[path = "read_pieces_tests.rs"]
mod tests;
