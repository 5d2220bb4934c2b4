//! From batches to rows, and from rows to frames and back: what changes a state.
//!
//! Nothing here knows how the state is read. It leaves readers of a moment what they need: panes
//! are replaced and never changed, tails only grow, and a row is copied before the first change
//! after a moment that is read.

pub(crate) mod buckets;
pub(crate) mod columns;
pub(crate) mod feeds;
pub(crate) mod frame;
pub(crate) mod id_index;
pub(crate) mod keyspace;
pub(crate) mod loaded_rows;
pub(crate) mod metric;
pub(crate) mod names;
pub(crate) mod panes;
pub(crate) mod previous_rows;
pub(crate) mod resolved_batch;
pub(crate) mod table;
pub(crate) mod tail;
pub(crate) mod texts;
pub(crate) mod threshold;
pub(crate) mod type_limit;
