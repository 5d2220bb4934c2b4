//! Drops texts that are in no key any more: ids of events that no table counts, or that count under
//! `__other__`.
//!
//! So a producer that sends ids without end fills no more memory than the keys that are held. It is
//! due each time the number of texts has doubled, which keeps it cheap. Texts get new numbers, keys
//! keep theirs.

use crate::write::names::Names;
use tally_event::TEXT_BIT;

/// Below this number of texts nothing is dropped.
pub(crate) const LEAST: usize = 1 << 16;

/// The names without unused texts; `None` if fewer than half are unused, since the next collection
/// would be due soon.
pub(crate) fn without_unused(names: &Names) -> Option<Names> {
    let mut held = vec![false; names.texts.len()];
    for value in
        names.keyspaces.iter().flat_map(|keys| &keys.values).filter(|value| *value & TEXT_BIT != 0)
    {
        held[(value & !TEXT_BIT) as usize] = true;
    }
    if held.iter().filter(|held| **held).count() > held.len() / 2 {
        return None;
    }
    let (mut texts, numbers) = names.texts.only(&held);
    let keyspaces =
        names.keyspaces.iter().map(|keyspace| keyspace.renumbered(&numbers, &mut texts)).collect();
    Some(Names { texts, keyspaces })
}
