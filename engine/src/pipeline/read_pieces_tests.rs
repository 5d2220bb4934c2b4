//! Reading in pieces gives one moment, whatever is written between two pieces, and no more bytes
//! than were admitted.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::pipeline::testing::StoreRig;
use crate::store::Compaction;
use std::sync::Arc;

const BUCKETS: u32 = 6;

impl StoreRig {
    /// One frame of ten bytes in each bucket.
    fn commit(&mut self) {
        let to = self.next + 1;
        let frame = |bucket| (Bucket { table: 0, bucket }, vec![to as u8; 10]);
        self.commit_frames(to, to.to_le_bytes().to_vec(), (0..BUCKETS).map(frame).collect());
    }

    /// Replaces all of a bucket by one frame with the same bytes.
    fn compact(&self, bucket: u32) {
        let bucket = Bucket { table: 0, bucket };
        let reading =
            self.store.read(&self.revision, &[Known { bucket, last: None }]).unwrap().unwrap();
        let BucketRead::Whole(frames) = &reading.buckets[0] else { panic!("{reading:?}") };
        let last = frames.last().map(|frame| (frame.id, frame.end)).unwrap();
        let snapshot = frames.iter().flat_map(|frame| frame.bytes.clone()).collect();
        let (revision, life) = (self.revision.clone(), self.life);
        self.store.compact(&Compaction { revision, life, bucket, last, snapshot }).unwrap();
    }
}

/// Keeps the bytes of each bucket, and calls `between` before each piece.
struct Kept<'a> {
    rig: &'a mut StoreRig,
    between: fn(&mut StoreRig, usize),
    pieces: Vec<u64>,
    begun: usize,
    bytes: BTreeMap<Bucket, Vec<u8>>,
    most: u64,
}

#[derive(Debug, PartialEq)]
enum Why {
    Store(String),
    TooMuch,
}

impl From<StoreError> for Why {
    fn from(fault: StoreError) -> Why {
        Why::Store(fault.to_string())
    }
}

impl Fold for Kept<'_> {
    type Fault = Why;

    fn begin(&mut self, held: Vec<Bucket>) -> Result<Vec<Bucket>, Why> {
        self.begun += 1;
        self.bytes.clear();
        Ok(held)
    }

    fn admit(&mut self, bytes: u64) -> Result<(), Why> {
        (self.between)(self.rig, self.pieces.len());
        self.pieces.push(bytes);
        let held = self.bytes.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        if held + bytes > self.most { Err(Why::TooMuch) } else { Ok(()) }
    }

    fn fold(
        &mut self,
        piece: Vec<(Bucket, Vec<StoredFrame>)>,
        _: &StoredRevision,
    ) -> Result<(), Why> {
        for (bucket, frames) in piece {
            let bytes = self.bytes.entry(bucket).or_default();
            frames.iter().for_each(|frame| bytes.extend(&frame.bytes));
        }
        Ok(())
    }
}

/// Reads pieces of `most` bytes; no more than `all` may be held.
fn read(
    rig: &mut StoreRig,
    most: u64,
    all: u64,
    between: fn(&mut StoreRig, usize),
) -> (Result<Option<StoredRevision>, Why>, Kept<'_>) {
    let (store, revision) = (Arc::clone(&rig.store), rig.revision.clone());
    let mut kept =
        Kept { rig, between, pieces: Vec::new(), begun: 0, bytes: BTreeMap::new(), most: all };
    let read = read_pieces(&*store, &revision, most, &mut kept);
    (read, kept)
}

impl Kept<'_> {
    /// Each bucket holds all commits up to the moment that was read, once.
    fn is_of(&self, moment: &StoredRevision) {
        let commits = moment.progress[&0].next;
        let all: Vec<u8> = (1..=commits).flat_map(|commit| [commit as u8; 10]).collect();
        assert_eq!(self.bytes.len(), BUCKETS as usize);
        assert!(self.bytes.values().all(|bytes| *bytes == all), "{commits}: {:?}", self.bytes);
    }
}

#[test]
fn what_is_small_is_read_at_once_and_what_is_large_in_pieces() {
    let mut rig = StoreRig::new();
    (0..3).for_each(|_| rig.commit());
    for (most, pieces) in [
        (u64::MAX, vec![180]),
        (180, vec![180]),
        (179, vec![150, 30]),
        (60, vec![60; 3]),
        (1, vec![30; 6]),
    ] {
        let (whole, kept) = read(&mut rig, most, u64::MAX, |_, _| {});
        kept.is_of(&whole.unwrap().unwrap());
        // A read of several pieces ends with what came meanwhile: here nothing.
        let last = (pieces.len() > 1).then_some(0);
        let pieces: Vec<u64> = pieces.into_iter().chain(last).collect();
        assert_eq!((kept.pieces, kept.begun), (pieces, 1), "{most}");
    }
}

#[test]
fn what_is_written_between_two_pieces_is_in_all_buckets_or_in_none() {
    let mut rig = StoreRig::new();
    rig.commit();
    let (whole, kept) = read(&mut rig, 25, u64::MAX, |rig, _| rig.commit());
    let whole = whole.unwrap().unwrap();
    kept.is_of(&whole);
    assert_eq!((whole.progress[&0].next, kept.begun), (5, 1), "the newest moment");
    // Three commits came between the first piece's and the last: they are judged before they are
    // read.
    assert_eq!(kept.pieces, vec![20, 20, 20, 180]);
}

#[test]
fn a_bucket_that_is_compacted_past_what_was_read_of_it_is_read_again() {
    let mut rig = StoreRig::new();
    (0..2).for_each(|_| rig.commit());
    let (whole, kept) = read(&mut rig, 40, u64::MAX, |rig, piece| {
        if piece == 1 {
            rig.commit();
            rig.compact(0);
        }
    });
    kept.is_of(&whole.unwrap().unwrap());
    assert_eq!(kept.begun, 2);
    // A bucket that was not read yet is read as it is.
    let (whole, kept) = read(&mut rig, 60, u64::MAX, |rig, piece| {
        if piece == 1 {
            rig.compact(BUCKETS - 1);
        }
    });
    kept.is_of(&whole.unwrap().unwrap());
    assert_eq!(kept.begun, 1);
}

#[test]
fn a_read_that_is_outrun_at_each_piece_reads_larger_ones() {
    let mut rig = StoreRig::new();
    rig.commit();
    let (whole, kept) = read(&mut rig, 10, u64::MAX, |rig, _| {
        rig.commit();
        rig.compact(0);
    });
    kept.is_of(&whole.unwrap().unwrap());
    // Pieces of 10 bytes double until one of them holds all buckets, which grow meanwhile.
    assert!(kept.begun > 1 && kept.begun <= 12, "{} times", kept.begun);
}

#[test]
fn what_is_not_admitted_is_not_read() {
    let mut rig = StoreRig::new();
    (0..4).for_each(|_| rig.commit());
    let (whole, kept) = read(&mut rig, 40, 100, |_, _| {});
    assert_eq!(whole.err(), Some(Why::TooMuch));
    assert_eq!(
        (kept.pieces, kept.bytes.len()),
        (vec![40; 3], 2),
        "two pieces are held, and nothing follows the third"
    );
}

#[test]
fn a_revision_without_buckets_has_a_moment_and_one_that_is_gone_has_none() {
    let mut rig = StoreRig::new();
    let (whole, kept) = read(&mut rig, 10, u64::MAX, |_, _| {});
    let whole = whole.unwrap().unwrap();
    assert_eq!((whole.life, kept.bytes.len(), kept.pieces), (rig.life, 0, vec![0]));
    rig.commit();
    let (whole, kept) = read(&mut rig, 20, u64::MAX, |rig, piece| {
        if piece == 2 {
            rig.store.remove(&rig.revision).unwrap();
        }
    });
    assert!(whole.unwrap().is_none() && kept.bytes.is_empty(), "nothing of it is left");
}
