//! How many event types stand for themselves in a table, which always do, and how many it has come to hold.
//!
//! The rule is that of keys over `max_cells`: a type is kept while its stable hash ends with as many zero bits as the threshold
//! says, and the threshold is the lowest at which no more than so many are kept. So it is a function of the types that were
//! counted, whatever their order: engines, replays and batches come to the same rows. It folds keys; no verdict depends on it.

use super::keyspace::Keyspace;
use super::texts::Texts;
use crate::event::OTHER;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which event types stand for themselves.
#[derive(Clone, Debug)]
pub struct TypeLimit {
    most: usize,
    always: Always,
}

/// The types that stand for themselves however many there are.
pub(crate) type Always = Arc<BTreeSet<Box<[u8]>>>;

impl Default for TypeLimit {
    fn default() -> Self {
        TypeLimit::new(1_000, std::iter::empty())
    }
}

impl TypeLimit {
    /// At most so many of a table, and these in any case.
    pub fn new<'a>(most: u64, always: impl Iterator<Item = &'a str>) -> TypeLimit {
        let always = always.map(|name| name.as_bytes().into()).collect();
        TypeLimit { most: usize::try_from(most).unwrap_or(usize::MAX), always: Arc::new(always) }
    }

    pub(crate) fn always(&self) -> &Always {
        &self.always
    }
}

/// The event types of a table, as far as they have been looked at.
#[derive(Default)]
pub(crate) struct Seen {
    /// Keys that came since.
    pub(crate) fresh: Vec<u32>,
    /// By code of the keyspace.
    seen: Vec<bool>,
    count: usize,
}

impl Seen {
    /// Looks at what came since the last time. `Some`: they are too many under the table's threshold; the one under which they
    /// are not, if there is a higher one.
    pub(crate) fn look(&mut self, keys: &Keyspace, texts: &Texts, limit: &TypeLimit) -> Option<u8> {
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
        let seen = kinds.iter().zip(&self.seen).filter(|(kind, seen)| **seen && Some(**kind) != other);
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
        let lowest = (current..=super::threshold::LAST_OF_TYPES).find(fits).unwrap_or(super::threshold::LAST_OF_TYPES);
        (lowest > current).then_some(lowest)
    }

    /// Bytes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        self.fresh.capacity() * 4 + self.seen.capacity()
    }
}
