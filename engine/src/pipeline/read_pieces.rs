//! Reads everything that is stored of a revision, as of one moment, in pieces of bounded size.
//!
//! A small revision is read at once. A large one is read some buckets at a time, by the sizes that
//! the store reports: the caller folds each piece before the next one is read, and may refuse more,
//! so that at most one piece is in memory beside the result. A last read fetches what was appended
//! to each bucket since, so that all are as of one moment; each bucket is read twice, however many
//! pieces there are. If a bucket was compacted past what was folded of it, or split, the read
//! begins again with pieces of twice the size: where many engines compact, fewer reads take less
//! time, and a single read cannot be outrun. Folds nothing itself.

use super::stored::{attempts, outrun};
use crate::store::{
    Bucket, BucketRead, BucketSize, Known, Life, RevisionId, Store, StoreError, StoredFrame,
    StoredRevision,
};
use std::collections::BTreeMap;

/// Receives the frames of a revision.
pub(super) trait Fold {
    /// Why it takes no more.
    type Fault: From<StoreError>;

    /// Reading begins, perhaps again: drops what was folded. `held`: the buckets that hold
    /// something. Returns the buckets to read.
    fn begin(&mut self, held: Vec<Bucket>) -> Result<Vec<Bucket>, Self::Fault>;

    /// Asks whether `bytes` of frames may be read now.
    fn admit(&mut self, bytes: u64) -> Result<(), Self::Fault>;

    /// Folds the next frames of some buckets.
    fn fold(
        &mut self,
        piece: Vec<(Bucket, Vec<StoredFrame>)>,
        of: &StoredRevision,
    ) -> Result<(), Self::Fault>;
}

/// The result of reading some pieces.
enum PiecesOutcome {
    /// Everything asked for is folded, as of this moment.
    Whole(StoredRevision),
    /// Nothing is stored of the revision.
    Nothing,
    /// What was folded of a bucket is no longer valid.
    Outrun,
}

/// Reads all buckets, about `most` bytes of frames at a time, but at least one bucket, and more
/// after it was outrun; a revision without buckets is read too. Returns the moment that was read;
/// `None`: nothing is stored of the revision, and nothing is folded.
///
/// # Errors
/// The store fails, `into` takes no more, or other engines outrun the read for too long.
pub(super) fn read_pieces<F: Fold>(
    store: &dyn Store,
    revision: &RevisionId,
    most: u64,
    into: &mut F,
) -> Result<Option<StoredRevision>, F::Fault> {
    let mut most = most.max(1);
    for _ in attempts() {
        let sizes = store.sizes(revision)?;
        let buckets = into.begin(sizes.iter().map(|size| size.bucket).collect())?;
        match read_once(store, revision, pieces(&buckets, &sizes, most), into)? {
            PiecesOutcome::Whole(moment) => return Ok(Some(moment)),
            PiecesOutcome::Nothing => {
                into.begin(Vec::new())?;
                return Ok(None);
            }
            PiecesOutcome::Outrun => most = most.saturating_mul(2),
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

/// Divides buckets into pieces of at most `most` bytes, but at least one bucket each. At least one
/// piece.
fn pieces(buckets: &[Bucket], sizes: &[BucketSize], most: u64) -> Vec<Piece> {
    let sizes: BTreeMap<Bucket, u64> =
        sizes.iter().map(|size| (size.bucket, size.snapshot + size.tail)).collect();
    let mut pieces = vec![Piece::default()];
    for bucket in buckets {
        let bytes = sizes.get(bucket).copied().unwrap_or(0);
        match pieces
            .last_mut()
            .filter(|piece| piece.bytes + bytes <= most || piece.buckets.is_empty())
        {
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
) -> Result<PiecesOutcome, F::Fault> {
    let is_one = pieces.len() == 1;
    let bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
    let (mut all, mut life): (Vec<Known>, Option<Life>) = (Vec::new(), None);
    for piece in pieces {
        into.admit(piece.bytes)?;
        let mut known: Vec<Known> =
            piece.buckets.into_iter().map(|bucket| Known { bucket, last: None }).collect();
        match read_on(store, revision, &mut known, &mut life, into)? {
            PiecesOutcome::Whole(moment) if is_one => return Ok(PiecesOutcome::Whole(moment)),
            PiecesOutcome::Whole(_) => all.append(&mut known),
            ended => return Ok(ended),
        }
    }
    // What was appended to the buckets meanwhile is read at once, and is judged before as a piece
    // is.
    let now: u64 = store.sizes(revision)?.iter().map(|size| size.snapshot + size.tail).sum();
    into.admit(now.saturating_sub(bytes))?;
    read_on(store, revision, &mut all, &mut life, into)
}

/// Reads and folds what follows what is known of some buckets. `life`: that of the reads before, if
/// any.
fn read_on<F: Fold>(
    store: &dyn Store,
    revision: &RevisionId,
    known: &mut [Known],
    life: &mut Option<Life>,
    into: &mut F,
) -> Result<PiecesOutcome, F::Fault> {
    let Some(reading) = store.read(revision, known)? else { return Ok(PiecesOutcome::Nothing) };
    if *life.get_or_insert(reading.revision.life) != reading.revision.life {
        return Ok(PiecesOutcome::Outrun);
    }
    let mut frames = Vec::new();
    for (known, read) in known.iter_mut().zip(reading.buckets) {
        let follows = match read {
            BucketRead::Whole(all) if known.last.is_none() => all,
            BucketRead::Tail(tail) => tail,
            BucketRead::Whole(_) | BucketRead::Split { .. } | BucketRead::None => {
                return Ok(PiecesOutcome::Outrun);
            }
        };
        if let Some(last) = follows.last() {
            known.last = Some((last.id, last.end));
            frames.push((known.bucket, follows));
        }
    }
    into.fold(frames, &reading.revision)?;
    Ok(PiecesOutcome::Whole(reading.revision))
}

#[cfg(test)]
#[path = "read_pieces_tests.rs"]
mod tests;
