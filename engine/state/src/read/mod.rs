//! Answers questions about a metric at one moment, while others change the state.
//!
//! From the bottom: `allowance` (what a read may cost), `types` and `access` (what all reads
//! share), `plan` (a request in numbers of this process), `scan` (rows of a range), `fold` and
//! `fold_cache` (rows by group), `aggregate` (the answer). Beside them `changes`: which answers may
//! have become others.

pub(crate) mod access;
pub(crate) mod aggregate;
pub(crate) mod allowance;
pub(crate) mod changes;
pub(crate) mod fold;
pub(crate) mod fold_cache;
pub(crate) mod moment;
pub(crate) mod pending_events;
pub(crate) mod plan;
pub(crate) mod ranking_sets;
pub(crate) mod scan;
pub(crate) mod types;
