//! How far each revision has counted each partition, and the protocol that keeps state and offset
//! together.
//!
//! [`Machine`] decides, its driver does: it hands in every [`Event`] and performs the [`Effect`]s
//! in order. A round:
//!
//! ```text
//! on(Joined(r, Whole))            -> Load r                   the driver reads the store
//! on(Assigned([0]))               -> Load r, Pause 0          inside the source's callback
//! on(Loaded(r, t, found))         -> Bounds [0]               the driver asks the log, now
//! on(Bounds(t, [0: 0..90]))       -> Stands r 0 46            where it stands before a record is counted
//!                                    Read 0 from 40 epoch 1   the assignment's start, or a rewind
//!                                    Resume 0
//! for each batch of partition 0 read under epoch 1:
//!   anchors(0, to)                report such a record with on(Anchor) first
//!   due(0, 1, to)                 r counts rows from 46 on; rows before only fill the dedupe window
//!   on(Counted { to, counts })    its deltas are in memory
//! on(CheckpointDue)               -> Commit r [46, 90)        the driver sends the deltas with it, and keeps them
//! on(Answered(r, t, Applied))     -> Forget r 0 90
//! ```
//!
//! What each answer leads to is told by [`Outcome`]. It never sees a delta, a store or a source.
//! Every effect may fail; what the driver cannot answer with a failure, because it is for the
//! source, stays due in [`Deliveries`].

mod begin;
mod cell;
mod commit;
mod delivery;
mod load;
mod machine;
mod position;
mod protocol;
mod query;
mod record;
mod topic;

pub use delivery::{Deliveries, ReadFrom, Step};
pub use machine::Machine;
pub use position::Position;
pub use protocol::*;
pub use record::{Anchor, MAX_GAPS, MAX_TOPIC, Progress, Span, Unreadable};
pub use topic::same_log;

#[cfg(test)]
mod simulation;
