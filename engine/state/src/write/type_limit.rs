//! How many event types keep rows of their own in a table, which always do, and how many a table
//! holds.
//!
//! The rule is that of keys over `max_cells`: a type is kept while its stable hash ends with as
//! many zero bits as the threshold says, and the threshold is the lowest that keeps no more than
//! the limit. So it depends on the types that were counted, not on their order: engines, replays
//! and batches arrive at the same rows. It folds keys; verdicts on records do not depend on it.

use super::keyspace::Keyspace;
use super::texts::Texts;
use super::threshold::{Always, LAST_OF_TYPES};
use std::sync::Arc;
use tally_event::OTHER;

/// Which event types keep rows of their own.
#[derive(Clone, Debug)]
pub struct TypeLimit {
    most: usize,
    always: Always,
}

impl Default for TypeLimit {
    fn default() -> Self {
        TypeLimit::new(1_000, std::iter::empty())
    }
}

impl TypeLimit {
    /// At most `most` in each table, and these in any case.
    pub fn new<'a>(most: u64, always: impl Iterator<Item = &'a str>) -> TypeLimit {
        let always = always.map(|name| name.as_bytes().into()).collect();
        TypeLimit { most: usize::try_from(most).unwrap_or(usize::MAX), always: Arc::new(always) }
    }

    pub(crate) fn always(&self) -> &Always {
        &self.always
    }
}

/// The event types of a table, as far as they have been counted.
#[derive(Default)]
pub(crate) struct TypeCensus {
    /// Keys that were added since.
    pub(crate) fresh: Vec<u32>,
    /// By code of the type in the keyspace.
    seen: Vec<bool>,
    count: usize,
}

impl TypeCensus {
    /// Counts the types of keys that were added since the last call. `Some`: the table has more
    /// types than the limit under its threshold of types; the lowest threshold that keeps few
    /// enough.
    pub(crate) fn over(&mut self, keys: &Keyspace, texts: &Texts, limit: &TypeLimit) -> Option<u8> {
        let kinds = keys.kinds();
        self.seen.resize(kinds.len(), false);
        let other = texts.find(OTHER.as_bytes());
        for key in self.fresh.drain(..) {
            let code = keys.kind(key);
            let new = !std::mem::replace(&mut self.seen[code], true) && Some(kinds[code]) != other;
            self.count += usize::from(new);
        }
        if self.count <= limit.most {
            return None;
        }
        let seen =
            kinds.iter().zip(&self.seen).filter(|(kind, seen)| **seen && Some(**kind) != other);
        let (mut kept, mut bits) = (0, Vec::new());
        for (kind, _) in seen {
            match limit.always.contains(texts.text(*kind)) {
                true => kept += 1,
                false => bits.push(texts.stable_hash(&[*kind]).trailing_zeros() as u8),
            }
        }
        let room = limit.most.saturating_sub(kept);
        let current = keys.threshold().types();
        let fits = |threshold: &u8| bits.iter().filter(|bits| *bits >= threshold).count() <= room;
        let lowest = (current..=LAST_OF_TYPES).find(fits).unwrap_or(LAST_OF_TYPES);
        (lowest > current).then_some(lowest)
    }

    /// Bytes in memory, approximately.
    pub(crate) fn memory(&self) -> usize {
        self.fresh.capacity() * 4 + self.seen.capacity()
    }
}
