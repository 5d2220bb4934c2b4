//! What the machine gives an engine, and what an engine asks of it: time, files, memory,
//! descriptors, threads.
//!
//! Each module stands alone. None knows events, metrics or configuration.

pub mod clock;
pub mod descriptors;
pub mod files;
pub mod memory;
pub mod outage;
pub mod terminal;
pub mod threads;
