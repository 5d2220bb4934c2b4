//! Shows what is counted and what is stored, row by row, to people and to the audit. Nothing here
//! changes anything.

pub(crate) mod dump;
pub(crate) mod frames;
