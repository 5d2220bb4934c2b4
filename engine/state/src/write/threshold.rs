//! Which keys of a table that must not grow any further keep rows of their own, and which are
//! counted together.
//!
//! A key is kept while the stable hash of its group ends with as many zero bits as the threshold
//! says; the others count under `__other__`, in one row for each event type. So what is kept
//! depends on the keys alone, not on their order: engines, replays and batches arrive at the same
//! rows, and every key that is kept is exact. A threshold only rises (each step drops about half of
//! the groups), and where two meet, the larger is in force: what was folded cannot be told apart
//! again.
//!
//! Event types have a threshold of their own (`types`), which is applied first. The threshold of
//! groups keeps types longer, since they are few: their rows, and keys that are only a type, are
//! kept for 32 further steps.

use super::texts::Texts;
use std::collections::BTreeSet;
use std::sync::Arc;
use tally_event::OTHER;
use tally_plugin::description::{Key, Table};

/// Steps for which event types are kept longer than ids.
const TYPES: u32 = 32;

/// From this threshold of groups on nothing is kept: a hash has 64 bits.
const LAST: u8 = (u64::BITS + TYPES + 1) as u8;

/// From this threshold of types on only those that are always kept are.
pub(crate) const LAST_OF_TYPES: u8 = u64::BITS as u8 + 1;

/// How many zero bits the hash of a group, and the hash of an event type, must end with; 0 keeps
/// all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threshold {
    groups: u8,
    types: u8,
}

impl Threshold {
    /// All keys are kept.
    pub const NONE: Threshold = Threshold { groups: 0, types: 0 };

    /// The threshold that a frame states; `None`: there is no such threshold.
    pub(crate) fn stated(groups: u8, types: u8) -> Option<Threshold> {
        (groups <= LAST && types <= LAST_OF_TYPES).then_some(Threshold { groups, types })
    }

    /// Zero bits that the hash of a group must end with.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.groups
    }

    /// Zero bits that the hash of an event type must end with.
    #[must_use]
    pub fn types(self) -> u8 {
        self.types
    }

    /// The same for groups, with another threshold of types.
    pub(crate) fn with_types(self, types: u8) -> Threshold {
        Threshold { types, ..self }
    }

    /// The threshold that keeps what both keep.
    #[must_use]
    pub fn and(self, other: Threshold) -> Threshold {
        Threshold { groups: self.groups.max(other.groups), types: self.types.max(other.types) }
    }

    /// Whether it keeps no more than another.
    #[must_use]
    pub fn covers(self, other: Threshold) -> bool {
        self.and(other) == self
    }

    /// The thresholds that keep fewer groups, ascending.
    pub(crate) fn above(self) -> impl Iterator<Item = Threshold> {
        (self.groups + 1..=LAST).map(move |groups| Threshold { groups, ..self })
    }
}

/// The event types that are kept whatever the threshold.
pub(crate) type Always = Arc<BTreeSet<Box<[u8]>>>;

/// Decides about the keys of a table.
#[derive(Clone)]
pub(crate) struct Folding {
    /// Number of leading columns that are hashed.
    group: usize,
    /// The column that is the event type.
    kind: Option<usize>,
    /// Number of [`OTHER`] among the texts.
    other: u64,
    /// The types that every threshold keeps.
    pub(crate) always: Always,
}

impl Folding {
    pub(crate) fn new(
        group: usize,
        kind: Option<usize>,
        always: &Always,
        texts: &mut Texts,
    ) -> Folding {
        Folding {
            group,
            kind,
            other: texts.intern(OTHER.as_bytes()),
            always: Always::clone(always),
        }
    }

    /// For the groups of a table; it keeps all types.
    pub(crate) fn of_groups(table: &Table, texts: &mut Texts) -> Folding {
        let group = if table.group == 0 { table.key.len() } else { table.group };
        Folding::new(
            group,
            table.key.iter().position(|key| *key == Key::EventType),
            &Always::default(),
            texts,
        )
    }

    /// The largest threshold of groups that keeps a key as it is, provided that its type is kept;
    /// `None`: all do.
    pub(crate) fn keeps(&self, key: &[u64], types: u8, texts: &Texts) -> Option<u8> {
        if key.iter().all(|value| *value == self.other) {
            return None;
        }
        if self.is_folded(key) {
            return Some((texts.stable_hash(key).trailing_zeros() + TYPES) as u8);
        }
        // Types that were folded have no hash by which groups could be told apart: the first
        // threshold folds these keys, whichever of the two thresholds rose first.
        if types > 0 && self.kind.is_some_and(|kind| kind < self.group && key[kind] == self.other) {
            return Some(0);
        }
        Some(texts.stable_hash(&key[..self.group]).trailing_zeros() as u8)
    }

    /// Replaces a key by the one that it counts under.
    pub(crate) fn settle(&self, threshold: Threshold, key: &mut [u64], texts: &Texts) {
        if let Some(kind) = self.kind.and_then(|kind| key.get_mut(kind))
            && !self.keeps_type(threshold.types, *kind, texts)
        {
            *kind = self.other;
        }
        self.settle_groups(threshold, key, texts);
    }

    /// The same for a key whose type is kept or already folded.
    pub(crate) fn settle_groups(&self, threshold: Threshold, key: &mut [u64], texts: &Texts) {
        let kept = |key: &[u64]| {
            self.keeps(key, threshold.types, texts).is_none_or(|most| most >= threshold.groups)
        };
        if kept(key) {
            return;
        }
        let ids = key.iter_mut().enumerate().filter(|(column, _)| Some(*column) != self.kind);
        ids.for_each(|(_, value)| *value = self.other);
        if !kept(key) {
            key.fill(self.other);
        }
    }

    fn keeps_type(&self, threshold: u8, kind: u64, texts: &Texts) -> bool {
        threshold == 0
            || kind == self.other
            || texts.stable_hash(&[kind]).trailing_zeros() >= u32::from(threshold)
            || self.always.contains(texts.text(kind))
    }

    /// Whether other keys count under this one: it names nothing but an event type.
    pub(crate) fn is_folded(&self, key: &[u64]) -> bool {
        key.iter()
            .enumerate()
            .all(|(column, value)| Some(column) == self.kind || *value == self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Vec<[u64; 2]>> {
        prop::collection::vec((0..500u64, 0..200u64).prop_map(|(id, kind)| [id, kind]), 0..300)
    }

    /// `kind`: which of the two columns is the type, of which some are kept always.
    fn under(
        keys: &[[u64; 2]],
        threshold: Threshold,
        (group, kind): (usize, usize),
        texts: &mut Texts,
    ) -> BTreeSet<[u64; 2]> {
        let always = Always::new(["kind-3".as_bytes().into()].into());
        let folding = Folding::new(group, Some(kind), &always, texts);
        let settled = keys.iter().map(|key| {
            let mut key = *key;
            folding.settle(threshold, &mut key, texts);
            key
        });
        settled.collect()
    }

    fn threshold() -> impl Strategy<Value = Threshold> {
        (0..=LAST, prop_oneof![Just(0), 0..=LAST_OF_TYPES])
            .prop_map(|(groups, types)| Threshold { groups, types })
    }

    proptest! {
        /// Folded step by step or at once, in whatever order thresholds come: the same rows; and
        /// each step has no more of them.
        #[test]
        fn what_is_kept_depends_on_keys_and_threshold_alone(
            keys in keys(), first in threshold(), second in threshold(), group in 1..3usize, kind in 0..2usize,
        ) {
            let mut texts = Texts::default();
            let of = |mut key: [u64; 2], texts: &mut Texts| {
                if kind == 0 {
                    key.swap(0, 1);
                }
                key[kind] = texts.intern(format!("kind-{}", key[kind]).as_bytes());
                key
            };
            let keys: Vec<[u64; 2]> = keys.into_iter().map(|key| of(key, &mut texts)).collect();
            let both = first.and(second);
            let at_once = under(&keys, both, (group, kind), &mut texts);
            let steps: Vec<[u64; 2]> = under(&keys, first, (group, kind), &mut texts).into_iter().collect();
            prop_assert_eq!(&under(&steps, both, (group, kind), &mut texts), &at_once);
            prop_assert!(at_once.len() <= steps.len());
            let last = Threshold { groups: LAST, types: 0 };
            prop_assert!(under(&keys, last, (group, kind), &mut texts).len() <= 1, "the last keeps nothing");
        }
    }

    #[test]
    fn ids_go_before_types_and_groups_go_whole() {
        let mut texts = Texts::default();
        let other = texts.intern(OTHER.as_bytes());
        let view = texts.intern(b"view");
        let folding = Folding::new(1, Some(1), &Always::default(), &mut texts);
        let settled = |threshold, mut key: [u64; 2]| {
            folding.settle(Threshold { groups: threshold, types: 0 }, &mut key, &texts);
            key
        };
        let kept: Vec<u64> =
            (0..1_000).filter(|id| settled(3, [*id, view]) == [*id, view]).collect();
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
