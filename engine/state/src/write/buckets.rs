//! Which bucket a key is in: the buckets that a table began with, each halved as often as it grew.
//!
//! A bucket is a range of the stable hash of keys' groups, given by its leading bits. A table
//! begins with a power of two of them; one that has grown too large is split by one more bit,
//! independently of the others. Its number holds how often it was split (8 bits) and the leading
//! bits (24), so the first buckets are numbered 0, 1, 2 …. This is arithmetic only: the store knows
//! which buckets exist.

use super::frame::FrameError;
use std::collections::BTreeSet;
use tally_plugin::description::{Key, Table};

/// Bits of the stable hash that tell buckets apart: a table has at most 65,536.
const HASH: u32 = 16;
/// Bits of a number that hold the leading bits of the hash.
const PREFIX: u32 = 24;

/// Number of buckets that a table begins with: one if its keys are only event types, which are few;
/// 16 otherwise (not more, since each frame repeats the texts that its rows use).
#[must_use]
pub fn buckets(table: &Table) -> u32 {
    if table.key.iter().all(|key| *key == Key::EventType) { 1 } else { 16 }
}

/// The two buckets that one is split into; `None`: its keys cannot be divided any further.
#[must_use]
pub fn halves(table: &Table, bucket: u32) -> Option<[u32; 2]> {
    let (splits, prefix) = (splits(bucket), bucket & ((1 << PREFIX) - 1));
    let first = (splits + 1) << PREFIX | prefix << 1;
    (buckets(table).trailing_zeros() + splits < HASH).then_some([first, first | 1])
}

/// How often a bucket was split since the table began: the layout that its frames state.
#[must_use]
pub fn splits(bucket: u32) -> u32 {
    bucket >> PREFIX
}

/// Which half of a bucket a key with this hash is in; call it only for a bucket that has halves.
pub(crate) fn half(table: &Table, bucket: u32, hash: u64) -> usize {
    let used = buckets(table).trailing_zeros() + splits(bucket);
    (hash >> (63 - used) & 1) as usize
}

/// The bits of a hash that decide where a key is, however often buckets are split.
#[inline]
pub(crate) fn top(hash: u64) -> u16 {
    (hash >> (64 - HASH)) as u16
}

/// The layout of one table: every key is in exactly one of its buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// In order of the hashes that they hold.
    leaves: Vec<u32>,
    /// By the leading bits of the smallest bucket: place in `leaves`.
    places: Vec<u32>,
}

impl Buckets {
    /// The layout in which these buckets hold something; whatever they do not split is as it began.
    ///
    /// # Errors
    /// [`FrameError`] if they are not buckets of one layout of this table.
    pub fn new(table: &Table, held: impl IntoIterator<Item = u32>) -> Result<Buckets, FrameError> {
        let bits = buckets(table).trailing_zeros();
        let held: BTreeSet<u32> = held.into_iter().collect();
        let mut split = BTreeSet::new();
        for bucket in &held {
            let (mut splits, mut prefix) = (splits(*bucket), *bucket & ((1 << PREFIX) - 1));
            if bits + splits > HASH || prefix >> (bits + splits) != 0 {
                return Err(FrameError::Damaged("it names a bucket that its table cannot have"));
            }
            while splits > 0 {
                (splits, prefix) = (splits - 1, prefix >> 1);
                split.insert(splits << PREFIX | prefix);
            }
        }
        if held.iter().any(|bucket| split.contains(bucket)) {
            return Err(FrameError::Damaged("it names a bucket and also its halves"));
        }
        let mut leaves = Vec::new();
        let mut open: Vec<u32> = (0..1 << bits).rev().collect();
        while let Some(bucket) = open.pop() {
            match halves(table, bucket).filter(|_| split.contains(&bucket)) {
                Some([first, second]) => open.extend([second, first]),
                None => leaves.push(bucket),
            }
        }
        let deepest = leaves.iter().map(|bucket| splits(*bucket)).max().unwrap_or(0);
        let spread = |(place, bucket): (usize, &u32)| {
            std::iter::repeat_n(place as u32, 1 << (deepest - splits(*bucket)))
        };
        let places = leaves.iter().enumerate().flat_map(spread).collect();
        Ok(Buckets { leaves, places })
    }

    /// The buckets that a table begins with.
    #[must_use]
    pub fn begun(table: &Table) -> Buckets {
        let leaves: Vec<u32> = (0..buckets(table)).collect();
        Buckets { places: leaves.clone(), leaves }
    }

    /// The buckets, in order of the hashes that they hold.
    #[must_use]
    pub fn leaves(&self) -> &[u32] {
        &self.leaves
    }

    /// Place in `leaves` of a hash with these top 16 bits.
    #[inline]
    pub(crate) fn place(&self, hash: u16) -> usize {
        let bits = self.places.len().trailing_zeros();
        self.places[(u32::from(hash) >> (HASH - bits)) as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
    use super::*;
    use proptest::prelude::*;

    fn table(key: Vec<Key>) -> Table {
        Table { name: "t".into(), key, group: 0, only: vec![], cells: vec![], tiers: vec![] }
    }

    proptest! {
        /// However often and in whatever order buckets are split: each key is in one bucket, that
        /// of its leading bits, and the halves of a bucket hold what the bucket held.
        #[test]
        fn a_key_is_in_one_bucket(splits_at in prop::collection::vec(any::<prop::sample::Index>(), 0..40), hashes in prop::collection::vec(any::<u64>(), 1..50), few in any::<bool>()) {
            let table = table(if few { vec![Key::EventType] } else { vec![Key::UserId] });
            let mut layout = Buckets::begun(&table);
            prop_assert_eq!(&layout, &Buckets::new(&table, []).unwrap());
            for at in splits_at {
                let bucket = *at.get(layout.leaves());
                let Some(both) = halves(&table, bucket) else { continue };
                let held: Vec<u32> = layout.leaves().iter().filter(|leaf| **leaf != bucket).copied().chain(both).collect();
                let next = Buckets::new(&table, held).unwrap();
                for hash in &hashes {
                    let top = top(*hash);
                    let (before, after) = (layout.leaves()[layout.place(top)], next.leaves()[next.place(top)]);
                    prop_assert_eq!(after, if before == bucket { both[half(&table, bucket, *hash)] } else { before });
                }
                layout = next;
            }
            for hash in &hashes {
                let bucket = layout.leaves()[layout.place((hash >> 48) as u16)];
                let bits = buckets(&table).trailing_zeros() + splits(bucket);
                prop_assert_eq!(u64::from(bucket) & ((1 << PREFIX) - 1), if bits == 0 { 0 } else { hash >> (64 - bits) });
            }
        }
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        let table = table(vec![Key::UserId]);
        let [first, second] = halves(&table, 3).unwrap();
        assert_eq!((first, second), (1 << 24 | 6, 1 << 24 | 7));
        assert!(Buckets::new(&table, [3, first]).is_err(), "a bucket and its half");
        assert!(
            Buckets::new(&table, [16]).is_err() && Buckets::new(&table, [1 << 24 | 32]).is_err()
        );
        assert!(Buckets::new(&table, [13 << 24]).is_err(), "more bits than there are");
        assert!(halves(&table, 12 << 24).is_none() && halves(&table, 11 << 24).is_some());
        // What was stored before tables could split.
        assert_eq!(Buckets::new(&table, 0..16).unwrap(), Buckets::begun(&table));
    }
}
