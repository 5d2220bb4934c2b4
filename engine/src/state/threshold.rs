//! Which keys of a table that may not grow any further stand for themselves, and which are counted together.
//!
//! A key is kept while the stable hash of its group ends with as many zero bits as the threshold says; the others count under
//! `__other__`, one row for each event type. So what is kept is a function of the keys alone, whatever their order: engines,
//! replays and batches come to the same rows, and every key that stands for itself is exact. A threshold only rises (each
//! step lets go of about half the groups), and of two that meet the larger is in force: what was folded is not known any more.
//! Event types are few: their rows, and keys that are nothing but a type, are kept for 32 steps longer.

use super::texts::Texts;
use crate::event::OTHER;
use tally_plugin::description::{Key, Table};

/// Steps for which event types are kept longer than ids.
const TYPES: u32 = 32;

/// How many zero bits the hash of a group must end with: 0 keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u8);

impl Threshold {
    /// All keys are kept.
    pub const NONE: Threshold = Threshold(0);
    /// From this one on nothing is kept: a hash has 64 bits.
    const LAST: u32 = u64::BITS + TYPES + 1;

    /// As stated by a frame; `None`: there is no such threshold.
    pub(crate) fn stated(bits: u8) -> Option<Threshold> {
        (u32::from(bits) <= Threshold::LAST).then_some(Threshold(bits))
    }

    /// Zero bits that a hash must end with.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Those that keep fewer keys.
    pub(crate) fn above(self) -> impl Iterator<Item = Threshold> {
        (u32::from(self.0) + 1..=Threshold::LAST).map(|bits| Threshold(bits as u8))
    }
}

/// What decides about the keys of a table.
#[derive(Clone, Copy)]
pub(crate) struct Folding {
    /// Number of leading columns that are hashed.
    group: usize,
    /// The column that is an event type.
    kind: Option<usize>,
    /// Number of [`OTHER`] among the texts.
    other: u64,
}

impl Folding {
    pub(crate) fn new(group: usize, kind: Option<usize>, texts: &mut Texts) -> Folding {
        Folding { group, kind, other: texts.intern(OTHER.as_bytes()) }
    }

    pub(crate) fn of(table: &Table, texts: &mut Texts) -> Folding {
        let group = if table.group == 0 { table.key.len() } else { table.group };
        Folding::new(group, table.key.iter().position(|key| *key == Key::EventType), texts)
    }

    /// The largest threshold that keeps a key as it is; `None`: all do.
    pub(crate) fn keeps(self, key: &[u64], texts: &Texts) -> Option<Threshold> {
        if key.iter().all(|value| *value == self.other) {
            return None;
        }
        let bits = if self.is_folded(key) {
            texts.stable_hash(key).trailing_zeros() + TYPES
        } else {
            texts.stable_hash(&key[..self.group]).trailing_zeros()
        };
        Some(Threshold(bits as u8))
    }

    /// Makes of a key what it counts under.
    pub(crate) fn settle(self, threshold: Threshold, key: &mut [u64], texts: &Texts) {
        let kept = |key: &[u64]| self.keeps(key, texts).is_none_or(|most| most >= threshold);
        if kept(key) {
            return;
        }
        let ids = key.iter_mut().enumerate().filter(|(column, _)| Some(*column) != self.kind);
        ids.for_each(|(_, value)| *value = self.other);
        if !kept(key) {
            key.fill(self.other);
        }
    }

    /// Whether others count under a key: it names nothing but an event type.
    pub(crate) fn is_folded(self, key: &[u64]) -> bool {
        key.iter().enumerate().all(|(column, value)| Some(column) == self.kind || *value == self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn keys() -> impl Strategy<Value = Vec<[u64; 2]>> {
        prop::collection::vec((0..500u64, 0..4u64).prop_map(|(id, kind)| [id, kind]), 0..300)
    }

    fn under(keys: &[[u64; 2]], threshold: Threshold, group: usize, texts: &mut Texts) -> BTreeSet<[u64; 2]> {
        let folding = Folding::new(group, Some(1), texts);
        let settled = keys.iter().map(|key| {
            let mut key = *key;
            folding.settle(threshold, &mut key, texts);
            key
        });
        settled.collect()
    }

    proptest! {
        /// Folded step by step or at once, in whatever order thresholds come: the same rows; and each step has no more of them.
        #[test]
        fn what_is_kept_depends_on_keys_and_threshold_alone(keys in keys(), first in 0..98u8, second in 0..98u8, group in 1..3usize) {
            let mut texts = Texts::default();
            let (low, high) = (Threshold(first.min(second)), Threshold(first.max(second)));
            let at_once = under(&keys, high, group, &mut texts);
            let steps: Vec<[u64; 2]> = under(&keys, low, group, &mut texts).into_iter().collect();
            prop_assert_eq!(&under(&steps, high, group, &mut texts), &at_once);
            prop_assert!(at_once.len() <= steps.len());
            prop_assert!(under(&keys, Threshold(97), group, &mut texts).len() <= 1, "the last keeps nothing");
        }
    }

    #[test]
    fn ids_go_before_types_and_groups_go_whole() {
        let mut texts = Texts::default();
        let other = texts.intern(OTHER.as_bytes());
        let view = texts.intern(b"view");
        let folding = Folding::new(1, Some(1), &mut texts);
        let settled = |threshold, mut key: [u64; 2]| {
            folding.settle(Threshold(threshold), &mut key, &texts);
            key
        };
        let kept: Vec<u64> = (0..1_000).filter(|id| settled(3, [*id, view]) == [*id, view]).collect();
        assert!((90..160).contains(&kept.len()), "an eighth: {}", kept.len());
        for id in 0..1_000 {
            let expected = if kept.contains(&id) { id } else { other };
            assert_eq!(settled(3, [id, 7]), [expected, 7], "whatever else stands in the key");
        }
        assert_eq!(settled(32, [5, view]), [other, view]);
        assert_eq!(settled(97, [5, view]), [other, other]);
        assert_eq!(settled(97, [other, other]), [other, other]);
    }
}
