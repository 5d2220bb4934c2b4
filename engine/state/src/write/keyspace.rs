//! The keys of tables as dense numbers: all tables with the same key columns share one list.
//!
//! A batch is resolved once for each distinct list of key columns; the tables over it only index.
//! Keys with equal leading columns (the group) are chained, so one user or product is walked
//! without touching the rest. Keys are never removed. A table that must not grow any further moves
//! to a keyspace with a higher threshold, which adds only the keys that the threshold keeps and
//! counts the others under `__other__`.

mod key_filter;
mod resolve;

use super::columns::Column as Key;
use super::id_index::{IdIndex, hash};
use super::texts::Texts;
use super::threshold::{Folding, Threshold};
use crate::rows::memory::list_bytes;
use foldhash::fast::RandomState;
use std::sync::Arc;
use tally_event::index::Index;

/// "No key": the row lacks one of the columns.
pub(crate) const NONE: u32 = u32::MAX;

/// Most columns of a key: descriptions are checked when a plugin is loaded.
const MAX_COLUMNS: usize = 3;

/// The key columns, and how many of them lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) columns: Vec<Key>,
    /// Number of leading columns that form the group; all of them if the table has none.
    pub(crate) group: usize,
}

/// While it exists, the numbers of a keyspace's keys stay as they are.
#[derive(Clone, Default)]
pub(crate) struct KeyspaceLease(#[expect(dead_code, reason = "it is only counted")] Arc<()>);

/// Groups by their leading values.
enum Groups {
    /// The usual case: one column.
    ById(IdIndex),
    ByValues(Index),
}

/// The keys seen so far under one shape.
pub(crate) struct Keyspace {
    shape: Shape,
    threshold: Threshold,
    /// Shared with all leases.
    leases: Arc<()>,
    /// `None` below the first threshold, where nothing is folded.
    folding: Option<Folding>,
    /// Column values of each key, end to end.
    pub(crate) values: Vec<u64>,
    index: Index,
    /// Group of each key, and next key of the same group. Empty if every key is its own group.
    group_of: Vec<u32>,
    next: Vec<u32>,
    /// First key of each group, and the top 16 bits of the group's stable hash (`heads` is empty if
    /// every key is its own group).
    heads: Vec<u32>,
    group_index: Groups,
    bucket_hash: Vec<u16>,
    hasher: RandomState,
    /// The event types that occur, and for each key the place of its type in them (nothing if the
    /// type is the whole key, or no column is one): most reads tell rows apart by it.
    kinds: Vec<u64>,
    kind_index: IdIndex,
    kind_of: Vec<u32>,
    kind_column: Option<usize>,
}

impl Keyspace {
    pub(crate) fn new(shape: Shape) -> Keyspace {
        Keyspace {
            kind_column: shape.columns.iter().position(|column| *column == Key::EventType),
            kinds: Vec::new(),
            kind_index: IdIndex::new(),
            kind_of: Vec::new(),
            group_index: if shape.group == 1 {
                Groups::ById(IdIndex::new())
            } else {
                Groups::ByValues(Index::new())
            },
            shape,
            threshold: Threshold::NONE,
            leases: Arc::default(),
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

    /// Whether it has this shape and keeps every key.
    pub(crate) fn keeps_all_of(&self, shape: &Shape) -> bool {
        self.shape == *shape && self.threshold == Threshold::NONE
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
                Groups::ById(groups) => {
                    groups.get(*values.first()?, |group| self.group_values(group) == values)
                }
                Groups::ByValues(groups) => groups
                    .find(hash(&self.hasher, values), |group| self.group_values(group) == values),
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

    /// The number of a key; adds it if it is new.
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
        let key = u32::try_from(self.len())
            .ok()
            .filter(|key| *key != NONE)
            .expect("four billion keys do not fit in memory");
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
                    Groups::ByValues(groups) => {
                        groups.insert(hash(&self.hasher, group_values), group)
                    }
                }
                (group, NONE)
            }
        };
        self.group_of.push(group);
        self.next.push(next);
    }

    /// The key column that is the event type.
    pub(crate) fn kind_column(&self) -> Option<usize> {
        self.kind_column
    }

    /// The event types that occur, by code; empty without such a column.
    pub(crate) fn kinds(&self) -> &[u64] {
        if self.width() == 1 && self.kind_column.is_some() { &self.values } else { &self.kinds }
    }

    /// Code of a key's event type; call it only if there is such a column.
    #[inline]
    pub(crate) fn kind(&self, key: u32) -> usize {
        if self.width() == 1 { key as usize } else { self.kind_of[key as usize] as usize }
    }

    fn intern_kind(&mut self, kind: u64) -> u32 {
        if let Some(code) = self.kind_index.get(kind, |code| self.kinds[code as usize] == kind) {
            return code;
        }
        let code = self.kinds.len() as u32;
        self.kinds.push(kind);
        self.kind_index.insert(kind, code);
        code
    }

    /// Keeps the numbers of the keys as long as the lease exists.
    pub(crate) fn lease(&self) -> KeyspaceLease {
        KeyspaceLease(Arc::clone(&self.leases))
    }

    /// Whether a [`KeyspaceLease`] exists.
    pub(crate) fn is_leased(&self) -> bool {
        Arc::strong_count(&self.leases) > 1
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        list_bytes(&self.values)
            + self.index.memory()
            + list_bytes(&self.group_of)
            + list_bytes(&self.next)
            + list_bytes(&self.heads)
            + match &self.group_index {
                Groups::ById(groups) => groups.memory(),
                Groups::ByValues(groups) => groups.memory(),
            }
            + self.kind_index.memory()
            + list_bytes(&self.bucket_hash)
            + list_bytes(&self.kind_of)
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
        let numbers: Vec<u32> =
            (0..100_000u64).map(|n| keys.intern(&[n % 1_000, n], &texts)).collect();
        for (n, number) in numbers.iter().enumerate() {
            assert_eq!(keys.key(*number), [n as u64 % 1_000, n as u64]);
        }
        assert_eq!(keys.groups(), 1_000);
        assert_eq!(keys.keys_of(7).count(), 100);
    }
}
