//! Keeps state small: stored frames, the keys of a table, the texts of all keys.

pub(crate) mod collect_texts;
pub(crate) mod compact;
pub(crate) mod memory_shares;
pub(crate) mod overflow_keys;
