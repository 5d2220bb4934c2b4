//! What the index said of buckets when it was last looked at: lengths of snapshots, places. Only
//! ever a hint.
//!
//! Another engine may have compacted since, or the server gone back: a read looks at the id that
//! stands at the place and falls back to the index; a commit's sizes are looked up when by the hint
//! a compaction is due. So that most steps need not read the index. Bounded by the buckets there
//! are: an entry has some 30 bytes.

use crate::{Bucket, RevisionId};
use parking_lot::Mutex;
use std::collections::HashMap;

/// What the index says of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Bytes of its snapshot, 0 without one.
    pub(super) snapshot: u64,
    /// What is added to a place in the string for the logical one.
    pub(super) shift: i64,
    /// How long the bucket was when the index was asked for it; 0: it was not.
    pub(super) looked: u64,
}

impl Entry {
    /// Of a bucket that begins with a snapshot of `length` bytes, whose last frame ends at the
    /// logical place `end`.
    pub(super) fn new(length: u64, end: u64) -> Entry {
        Entry { snapshot: length, shift: end.wrapping_sub(length) as i64, looked: 0 }
    }

    /// Where in the string a frame ends; `None`: before anything that can stand there.
    pub(super) fn place(self, end: u64) -> Option<u64> {
        let place = i128::from(end) - i128::from(self.shift);
        u64::try_from(place).ok().filter(|place| *place >= super::FRAME_OVERHEAD)
    }
}

/// Of all revisions.
#[derive(Default)]
pub(super) struct Hints(Mutex<HashMap<RevisionId, HashMap<Bucket, Entry>>>);

impl Hints {
    pub(super) fn of(
        &self,
        revision: &RevisionId,
        buckets: impl Iterator<Item = Bucket>,
    ) -> Vec<Option<Entry>> {
        let held = self.0.lock();
        let held = held.get(revision);
        buckets.map(|bucket| held?.get(&bucket).copied()).collect()
    }

    pub(super) fn set(
        &self,
        revision: &RevisionId,
        seen: impl IntoIterator<Item = (Bucket, Option<Entry>)>,
    ) {
        let mut seen = seen.into_iter().peekable();
        if seen.peek().is_none() {
            return;
        }
        let mut held = self.0.lock();
        let held = held.entry(revision.clone()).or_default();
        for (bucket, entry) in seen {
            match entry {
                Some(entry) => held.insert(bucket, entry),
                None => held.remove(&bucket),
            };
        }
    }

    /// Its state began anew.
    pub(super) fn forget(&self, revision: &RevisionId) {
        self.0.lock().remove(revision);
    }
}
