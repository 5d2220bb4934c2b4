//! The keys of tables as dense numbers: equal key columns, one list, however many tables count by them.
//!
//! A batch is resolved once per distinct list of key columns; every table over it then only indexes. Keys whose leading
//! columns (the group) are equal are chained, so that one user or product is walked without touching the rest.
//! Keys are never removed. Where a table may not grow any further it moves to a keyspace with a higher threshold: that one
//! adds only keys which the threshold keeps, and counts the others under `__other__`.

mod kept;
mod kinds;
mod resolve;

pub(crate) use kept::Held;

use super::index::{ById, hash};
use super::size::list;
use super::source::Column as Key;
use super::texts::Texts;
use super::threshold::{Folding, Threshold};
use crate::slots::Index;
use foldhash::fast::RandomState;
use std::sync::Arc;

/// "No key": the row lacks one of the columns.
pub(crate) const NONE: u32 = u32::MAX;

/// Columns of a key at most: the description is checked when a plugin is loaded.
const MAX_COLUMNS: usize = 3;

/// Which columns, and how many of them lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) columns: Vec<Key>,
    /// Leading columns that form the group; all of them where a table has none.
    pub(crate) group: usize,
}

/// Groups by their leading values.
enum Groups {
    /// Of one column: the usual case.
    ById(ById),
    ByValues(Index),
}

/// The keys seen so far under one shape.
pub(crate) struct Keyspace {
    shape: Shape,
    threshold: Threshold,
    /// Shared with whoever uses numbers of keys beside the tables.
    held: Arc<()>,
    /// Nothing is folded below the first threshold.
    folding: Option<Folding>,
    /// Column values of each key, end to end.
    pub(super) values: Vec<u64>,
    index: Index,
    /// Group of each key, and next key of the same group. Empty where every key is its own group.
    group_of: Vec<u32>,
    next: Vec<u32>,
    /// First key of each group, and the top 16 bits of the group's stable hash (all of it for own groups).
    heads: Vec<u32>,
    group_index: Groups,
    bucket_hash: Vec<u16>,
    hasher: RandomState,
    /// The event types that occur, and for each key the place of its own there (nothing where the key is that alone, or
    /// has none): most reads tell rows apart by it.
    kinds: Vec<u64>,
    kind_index: ById,
    kind_of: Vec<u32>,
    kind_column: Option<usize>,
}

impl Keyspace {
    pub(crate) fn new(shape: Shape) -> Keyspace {
        Keyspace {
            kind_column: shape.columns.iter().position(|column| *column == Key::EventType),
            kinds: Vec::new(),
            kind_index: ById::new(),
            kind_of: Vec::new(),
            group_index: if shape.group == 1 { Groups::ById(ById::new()) } else { Groups::ByValues(Index::new()) },
            shape,
            threshold: Threshold::NONE,
            held: Arc::default(),
            folding: None,
            values: Vec::new(),
            index: Index::new(),
            group_of: Vec::new(),
            next: Vec::new(),
            heads: Vec::new(),
            bucket_hash: Vec::new(),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        if self.width() == 0 { self.bucket_hash.len() } else { self.values.len() / self.width() }
    }

    /// Number of groups.
    pub(crate) fn groups(&self) -> usize {
        if self.grouped() { self.heads.len() } else { self.len() }
    }

    fn width(&self) -> usize {
        self.shape.columns.len()
    }

    fn grouped(&self) -> bool {
        self.shape.group < self.shape.columns.len()
    }

    /// Column values of a key.
    #[inline]
    pub(crate) fn key(&self, key: u32) -> &[u64] {
        let width = self.width();
        &self.values[key as usize * width..][..width]
    }

    /// The group of a key.
    #[inline]
    pub(crate) fn group(&self, key: u32) -> u32 {
        if self.grouped() { self.group_of[key as usize] } else { key }
    }

    /// Top 16 bits of the stable hash of a group.
    #[inline]
    pub(crate) fn bucket_hash(&self, group: u32) -> u16 {
        self.bucket_hash[group as usize]
    }

    /// The keys of a group, newest first.
    pub(crate) fn keys_of(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        let first = if self.grouped() { self.heads[group as usize] } else { group };
        std::iter::successors(Some(first), move |&key| {
            if !self.grouped() {
                return None;
            }
            Some(self.next[key as usize]).filter(|next| *next != NONE)
        })
    }

    /// The group with these leading values, if it was seen.
    pub(crate) fn find_group(&self, values: &[u64]) -> Option<u32> {
        if values.len() != self.shape.group {
            return None;
        }
        if self.grouped() {
            return match &self.group_index {
                Groups::ById(groups) => groups.get(*values.first()?, |group| self.group_values(group) == values),
                Groups::ByValues(groups) => {
                    groups.find(hash(&self.hasher, values), |group| self.group_values(group) == values)
                }
            };
        }
        match self.width() {
            0 => (self.len() > 0).then_some(0),
            _ => self.index.find(hash(&self.hasher, values), |key| self.key(key) == values),
        }
    }

    fn group_values(&self, group: u32) -> &[u64] {
        let key = if self.grouped() { self.heads[group as usize] } else { group };
        &self.key(key)[..self.shape.group]
    }

    /// The number of a key, adding it if it is new.
    pub(crate) fn intern(&mut self, values: &[u64], texts: &Texts) -> u32 {
        debug_assert_eq!(values.len(), self.width());
        if values.is_empty() {
            if self.bucket_hash.is_empty() {
                self.bucket_hash.push(0);
            }
            return 0;
        }
        let hash = hash(&self.hasher, values);
        let (width, stored) = (values.len(), &self.values);
        let same = |key: u32| stored[key as usize * width..][..width] == *values;
        match self.index.find(hash, same) {
            Some(key) => key,
            None => self.settle(values, hash, texts),
        }
    }

    fn add(&mut self, values: &[u64], hash: u32, texts: &Texts) -> u32 {
        let width = values.len();
        let key =
            u32::try_from(self.len()).ok().filter(|key| *key != NONE).expect("four billion keys do not fit in memory");
        self.values.extend_from_slice(values);
        self.index.insert(hash, key);
        if let Some(column) = self.kind_column.filter(|_| width > 1) {
            let kind = self.intern_kind(values[column]);
            self.kind_of.push(kind);
        }
        if self.grouped() {
            self.join_group(key, &values[..self.shape.group], texts);
        } else {
            self.bucket_hash.push((texts.stable_hash(values) >> 48) as u16);
        }
        key
    }

    fn join_group(&mut self, key: u32, group_values: &[u64], texts: &Texts) {
        let (group, next) = match self.find_group(group_values) {
            Some(group) => (group, std::mem::replace(&mut self.heads[group as usize], key)),
            None => {
                let group = self.heads.len() as u32;
                self.heads.push(key);
                self.bucket_hash.push((texts.stable_hash(group_values) >> 48) as u16);
                match &mut self.group_index {
                    Groups::ById(groups) => groups.insert(group_values[0], group),
                    Groups::ByValues(groups) => groups.insert(hash(&self.hasher, group_values), group),
                }
                (group, NONE)
            }
        };
        self.group_of.push(group);
        self.next.push(next);
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        list(&self.values)
            + self.index.memory()
            + list(&self.group_of)
            + list(&self.next)
            + list(&self.heads)
            + match &self.group_index {
                Groups::ById(groups) => groups.memory(),
                Groups::ByValues(groups) => groups.memory(),
            }
            + self.kind_index.memory()
            + list(&self.bucket_hash)
            + list(&self.kind_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(group: usize) -> Keyspace {
        Keyspace::new(Shape { columns: vec![Key::UserId, Key::ProductId], group })
    }

    #[test]
    fn a_key_has_one_number_and_its_group_is_chained() {
        let texts = Texts::default();
        let mut keys = keyspace(1);
        let a = keys.intern(&[1, 10], &texts);
        let b = keys.intern(&[2, 10], &texts);
        let c = keys.intern(&[1, 20], &texts);
        assert_eq!(keys.intern(&[1, 10], &texts), a);
        assert_eq!((keys.len(), keys.groups()), (3, 2));
        let group = keys.find_group(&[1]).expect("user 1 was seen");
        assert_eq!(keys.keys_of(group).collect::<Vec<_>>(), [c, a]);
        assert_eq!(keys.group(b), keys.find_group(&[2]).expect("user 2 was seen"));
        assert_eq!(keys.find_group(&[3]), None);
        assert_eq!(keys.group(a), keys.group(c));
    }

    #[test]
    fn without_a_group_each_key_stands_alone() {
        let texts = Texts::default();
        let mut keys = keyspace(2);
        let a = keys.intern(&[1, 10], &texts);
        assert_eq!(keys.find_group(&[1, 10]), Some(a));
        assert_eq!(keys.keys_of(a).collect::<Vec<_>>(), [a]);
    }

    #[test]
    fn many_keys_survive_growth() {
        let texts = Texts::default();
        let mut keys = keyspace(1);
        let numbers: Vec<u32> = (0..100_000u64).map(|n| keys.intern(&[n % 1_000, n], &texts)).collect();
        for (n, number) in numbers.iter().enumerate() {
            assert_eq!(keys.key(*number), [n as u64 % 1_000, n as u64]);
        }
        assert_eq!(keys.groups(), 1_000);
        assert_eq!(keys.keys_of(7).count(), 100);
    }
}
