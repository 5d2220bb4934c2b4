//! How the cells of a table lie in memory and in panes: rows, blocks of rows, compact runs, and the
//! times of panes.
//!
//! Nothing here knows what a key is: a row belongs to a number.

pub(crate) mod block;
pub(crate) mod cells;
pub(crate) mod floors;
pub(crate) mod memory;
pub(crate) mod radix;
pub(crate) mod row;
pub(crate) mod run;
pub(crate) mod varint;
