//! Live questions: which of them are evaluated, and when. No thread, no clock, no lock and no
//! plugin: who has these hands over what was seen, and does what is due.
//!
//! `walker` finds, between two looks at a metric, which questions the rows concern that came; the
//! `machine` keeps what each question (`entry`) waits for. Together they promise: the last answer
//! that was made of a question is the one that it would get now, once nothing is due and nobody
//! evaluates. An answer too many may be made, of which nothing new becomes.

mod entry;
mod machine;
mod types;
mod walker;

pub use machine::LiveMachine;
pub use types::{InterestChange, LiveFinish, LiveLook, LiveOutcome, LiveRound};
pub use walker::{Walked, Walker};

#[cfg(test)]
mod pushed_tests;
