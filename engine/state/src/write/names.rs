//! Ids and keys as numbers, for all metrics of a state: texts, and the keys of each list of key
//! columns.

use super::keyspace::Keyspace;
use super::texts::Texts;

/// Ids and keys as numbers.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) texts: Texts,
    pub(crate) keyspaces: Vec<Keyspace>,
}
